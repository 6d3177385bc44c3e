// tokenizer.json -> ids, and ids -> text, as Hugging Face `tokenizers` defines them.
//
// Understood: BPE models of the byte-level kind (GPT-2, Llama 3, Qwen, Phi-4) and of the
// byte-fallback kind (Llama 2, Phi-3, Mistral, Gemma). The five parts of the file are five files
// here, in the order in which text passes them:
//   added_tokens -> normalizer -> pre_tokenizer -> bpe -> post_processor      and back: decoder
// What a file asks for beyond that is refused by name when it is loaded; docs/tokenizer.md lists
// it. The `truncation` and `padding` of a file are not obeyed: whoever makes rows decides lengths.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nibble {

struct Encoding {
  std::vector<int32_t> ids;
  // For each id, the bytes [first, second) of the original text that it came from. Widened to
  // whole characters, so neighbours overlap where one character is several tokens; (0, 0) for a
  // token that the post-processor added (BOS).
  std::vector<std::pair<uint32_t, uint32_t>> offsets;
};

// A place of the text that spells an added token.
struct AddedTokenPlace {
  int32_t id = 0;
  bool special = false;
  uint32_t begin = 0, end = 0;  // bytes of the text, without stripped white space
};

// Whether such a place is to be read as that token; else it is text like any other.
using AcceptAddedToken = std::function<bool(const AddedTokenPlace&)>;

// Immutable after loading; all members may be called from several threads at once.
class Tokenizer {
 public:
  // `json` is a parsed tokenizer.json; `who` names it in errors. Throws Error(bad_input).
  static Tokenizer from_json(const nlohmann::json& json, const std::string& who);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Text -> ids. Added tokens ("<|end|>") are recognized in the text, where `accept`, if there is
  // one, agrees; add_special_tokens adds what the post-processor adds (BOS), nothing else. The text
  // is at most 2^31 bytes. Throws Error(bad_input) for invalid UTF-8 (naming the byte offset), a
  // character that has no token, and a text on which the file's regex would take superlinear time.
  // Who would rather have U+FFFD for what is not UTF-8, as Python's bytes.decode(errors="replace")
  // puts it, gives replace_invalid_utf8(bytes) (utf8.h); the offsets are then of that text.
  Encoding encode(std::string_view utf8, bool add_special_tokens,
                  const AcceptAddedToken& accept = {}) const;

  // Ids -> text. An id that no token has (rows that pad the embedding) gives no text; bytes that
  // are no UTF-8 give U+FFFD, so one character split over two calls is lost.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const;

  // The token as the file spells it ("Ġthe", "▁the", "<0x0A>"); empty for an id that none has.
  std::string_view piece(int32_t id) const;
  std::optional<int32_t> id_of(std::string_view token) const;
  // Marked `special` in the file: left out by decode(..., true).
  bool is_special(int32_t id) const;
  // One more than the largest id. The model's vocab_size may be larger (padded), never smaller.
  int32_t vocab_size() const;

 private:
  struct Parts;
  explicit Tokenizer(std::unique_ptr<const Parts> parts);
  std::unique_ptr<const Parts> parts_;
};

}  // namespace nibble
