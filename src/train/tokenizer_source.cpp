#include "train/tokenizer_source.h"

#include <optional>

#include "core/error.h"
#include "files/hashes.h"
#include "files/json.h"

namespace nibble {
namespace {

// tokenizer.json of a 250k vocabulary is about 35 MB.
constexpr uint64_t max_tokenizer_bytes = uint64_t{256} << 20;

std::optional<nlohmann::json> optional_json(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return std::nullopt;
  JsonLimits limits;
  limits.wide_integers_as_reals = true;
  return read_json_file(path, path.string(), limits);
}

}  // namespace

TokenizerSource TokenizerSource::open(const std::filesystem::path& folder,
                                      const ChatOptions& chat) {
  const std::filesystem::path path = folder / "tokenizer.json";
  std::error_code error;
  if (!std::filesystem::exists(path, error))
    fail(ErrorKind::bad_input,
         "{}: no such file; Nibble reads tokenizer.json only (tokenizer.model is never parsed): "
         "save the tokenizer with a recent transformers",
         path.string());
  JsonLimits limits;
  limits.max_bytes = max_tokenizer_bytes;
  const std::string text = read_text_file(path, max_tokenizer_bytes);
  Tokenizer tokenizer =
      Tokenizer::from_json(parse_json(text, path.string(), limits), path.string());
  const auto tokenizer_config = optional_json(folder / "tokenizer_config.json");
  const auto generation_config = optional_json(folder / "generation_config.json");
  const auto config = optional_json(folder / "config.json");
  const auto pointer = [](const auto& json) { return json ? &*json : nullptr; };
  SpecialTokens special = read_special_tokens(tokenizer, pointer(tokenizer_config),
                                              pointer(generation_config), pointer(config));
  return {std::move(tokenizer), std::move(special), sha256_hex(std::as_bytes(std::span(text))),
          read_chat_format(folder, pointer(tokenizer_config), chat)};
}

std::future<TokenizerSource> TokenizerSource::begin_open(std::filesystem::path folder,
                                                         ChatOptions chat) {
  return std::async(std::launch::async, [folder = std::move(folder), chat = std::move(chat)] {
    return open(folder, chat);
  });
}

// Ids beyond the embedding would read foreign memory.
void check_vocabulary(const Tokenizer& tokenizer, const ModelSpec& spec) {
  if (tokenizer.vocab_size() > spec.vocab_size)
    fail(ErrorKind::bad_input,
         "tokenizer.json has ids up to {}, but vocab_size in config.json is {}; do tokenizer and "
         "model belong together?",
         tokenizer.vocab_size() - 1, spec.vocab_size);
}

}  // namespace nibble
