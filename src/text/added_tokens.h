// The `added_tokens` of tokenizer.json: strings that are one id wherever they stand in the text,
// found before anything else looks at it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"
#include "text/unicode_tables.h"

namespace nibble {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool single_word = false;  // not inside a word
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // takes the white space after it along
  bool normalized = false;   // looked for after normalization, in its own normalized form
  bool special = false;
};

// In the order of the file. Throws Error(bad_input) for a list that is damaged: ids out of range
// or twice, contents empty, too long or twice.
std::vector<AddedToken> read_added_tokens(const nlohmann::json& json, const std::string& who);

// Finds a set of added tokens: leftmost first, the longest of those that start there.
class AddedTokenFinder {
 public:
  // Of two equal patterns the first counts. `tokens` are read during find, so must outlive this.
  struct Entry {
    std::string pattern;  // 1..1024 bytes
    const AddedToken* token;
  };
  explicit AddedTokenFinder(std::vector<Entry> entries);

  struct Part {
    Match range;
    const AddedToken* token;  // null: text between tokens
  };
  // Whether the token that stands at this range of the text is to be read as one.
  using Accept = std::function<bool(const AddedToken&, const Match&)>;

  // Cuts `text` into parts, in order. Stripped white space belongs to its token; where a second
  // token has stripped space that is a token itself, the parts overlap, as in `tokenizers`. A token
  // that `accept`, if there is one, does not accept is text.
  void find(std::string_view text, std::vector<Part>& parts, const Accept& accept = {}) const;

 private:
  // A trie over bytes: the edges of a node are a run in edges_, sorted by byte.
  struct Node {
    uint32_t first_edge = 0;
    uint32_t edge_count = 0;
    const AddedToken* token = nullptr;
  };
  struct Edge {
    char byte;
    uint32_t child;
  };
  const Node* child(const Node& node, char byte) const;
  bool stands_alone(std::string_view text, const Match& range) const;

  std::array<bool, 256> starts_{};  // bytes that patterns start with
  std::vector<Node> nodes_;
  std::vector<Edge> edges_;
  std::optional<CharacterClass> word_;  // of characters of words, if a token is single_word
};

}  // namespace nibble
