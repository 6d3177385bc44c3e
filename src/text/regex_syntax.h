// Oniguruma's regular expressions (its Ruby syntax, as tokenizer.json holds them), as a tree.
//
// Understood: literals; . \n \r \t \f \v \a \e \uHHHH \x{H..}; \s \d \w \h and their complements;
// \p{..} and \P{..} of general categories and some scripts; classes with ranges, nesting and &&; ^
// $ \A \z \Z \b \B; groups, (?i:..), (?i), (?>..), lookahead, lookbehind of fixed length; greedy,
// lazy and possessive repeats. Everything else is refused by name: back references and calls,
// conditions, absent groups, \K \G \R \X, octal and raw bytes, POSIX brackets, other options, and
// under (?i) whatever folds otherwise than ASCII letters do.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/unicode_tables.h"

namespace nibble {

struct RegexNode {
  enum class Kind {
    character,            // one of `set`
    sequence,             // children in order; none: matches the empty string
    choice,               // the first child that leads to a match
    repeat,               // child 0, min..max times
    atomic,               // child 0; once it has matched it never gives back
    look_ahead,           // child 0 matches here
    not_ahead,            // child 0 does not match here
    look_behind,          // child 0, of `min` characters, ends here
    not_behind,           // child 0, of `min` characters, does not end here
    line_begin,           // ^
    line_end,             // $
    text_begin,           // \A
    text_end,             // \z
    text_end_or_newline,  // \Z
    word_boundary,        // \b
    no_boundary,          // \B
  };
  enum class Greed { greedy, lazy, possessive };
  static constexpr uint32_t kUnlimited = UINT32_MAX;

  Kind kind = Kind::sequence;
  Greed greed = Greed::greedy;
  uint32_t set = 0;  // of RegexTree::sets
  uint32_t min = 0, max = 0;
  std::vector<RegexNode> children;
};

struct RegexTree {
  RegexNode root;
  std::vector<CharacterSet> sets;
};

// Throws Error(bad_input) with the position of what is not understood; `who` names the pattern.
RegexTree parse_regex(std::string_view pattern, const std::string& who);

}  // namespace nibble
