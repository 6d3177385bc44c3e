// What Split and Replace look for: a literal string, a regular expression, or characters of a
// class; and the five ways to cut a text at what was found.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "text/regex.h"
#include "text/unicode_tables.h"

namespace nibble {

class Pattern {
 public:
  explicit Pattern(std::string literal) : pattern_(std::move(literal)) {}
  explicit Pattern(Regex regex) : pattern_(std::move(regex)) {}
  // Each character of the set is a match of its own.
  explicit Pattern(const CharacterSet& each) : pattern_(CharacterClass(each)) {}
  // Longest runs of characters of either set, which have none in common.
  Pattern(const CharacterSet& a, const CharacterSet& b)
      : pattern_(Runs(CharacterClass(a), CharacterClass(b))) {}
  // {"String": "..."} or {"Regex": "..."}.
  static Pattern from_json(const nlohmann::json& json, const std::string& who);

  // Appends the matches in `text` (valid UTF-8) from left to right, without overlap.
  void find_all(std::string_view text, std::vector<Match>& matches) const;

 private:
  using Runs = std::pair<CharacterClass, CharacterClass>;
  std::variant<std::string, Regex, CharacterClass, Runs> pattern_;
};

enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

// The most bytes that a text of so many may become by the replacements of a file: steps that each
// double it would fill any memory.
inline size_t growth_limit(size_t bytes) { return 64 * bytes + 1024; }
// Throws Error(bad_input).
[[noreturn]] void fail_growth(const std::string& who, size_t bytes);

// "Removed", "Isolated", ... as the files spell them.
SplitBehavior split_behavior(std::string_view name, const std::string& who);

// Cuts `text` at the matches of the pattern, or (invert) at what lies between them; appends the
// pieces in order, empty ones left out. "the-final--count" at "-":
//   removed               the | final | count
//   isolated              the | - | final | - | - | count
//   merged_with_previous  the- | final- | - | count
//   merged_with_next      the | -final | - | -count
//   contiguous            the | - | final | -- | count
void split(std::string_view text, const Pattern& pattern, SplitBehavior behavior, bool invert,
           std::vector<Match>& pieces);

}  // namespace nibble
