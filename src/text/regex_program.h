// A regular expression as instructions: made of the tree (regex_syntax.h), run by the matcher
// (regex.cpp).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/regex_syntax.h"
#include "text/unicode_tables.h"

namespace nibble {

struct RegexInstruction {
  enum class Op : uint8_t {
    character,   // one of class a
    run,         // min..max characters of class a, by greed
    fork,        // to a; if that fails, to b; first_a, first_b: what each begins with
    jump,        // to a
    mark,        // remember the position in slot a
    progress,    // to b if the position is still that of slot a: an empty round ends a loop
    atomic,      // the body that follows and ends in accept, then to a
    look_ahead,  // likewise, but go on from here
    not_ahead,
    look_behind,  // likewise; the body begins min characters back
    not_behind,
    line_begin,
    line_end,
    text_begin,
    text_end,
    text_end_or_newline,
    word_boundary,
    no_boundary,
    accept,
  };
  // Instead of a class: may begin with anything, or match nothing at all.
  static constexpr uint32_t kAnything = UINT32_MAX;

  Op op;
  RegexNode::Greed greed = RegexNode::Greed::greedy;
  uint32_t a = 0, b = 0;
  uint32_t min = 0, max = 0;
  uint32_t first_a = kAnything, first_b = kAnything;
};

struct RegexProgram {
  std::vector<RegexInstruction> code;
  std::vector<CharacterClass> classes;
  uint32_t slots = 0;
  uint32_t first = RegexInstruction::kAnything;  // what a match begins with
  uint32_t word = 0;                             // \w, where there is a word boundary
};

// Throws Error(bad_input) for a pattern whose repeats make it too long; `who` names it.
RegexProgram compile_regex(const RegexTree& tree, const std::string& who);

}  // namespace nibble
