// The regular expressions of tokenizer.json, with PCRE2 as the engine.
//
// The files are written for Oniguruma, so a pattern is translated first (regex_dialect.h), and
// characters newer than PCRE2's Unicode tables are seen as their general category says.
// Cost is bounded: a text that would take superlinear time is an error, never a hang.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nibble {

struct Match {
  size_t begin = 0;
  size_t end = 0;
};

class Regex {
 public:
  // `who` names the pattern in errors. Throws Error(bad_input) for one that does not compile, or
  // that uses what is not supported.
  Regex(std::string_view oniguruma_pattern, std::string who);

  // One character of a word, as Unicode (UTS #18) and Rust's \w have it.
  static Regex word_character();

  // All matches from left to right, without overlap, as Oniguruma's scan finds them: an empty
  // match right after another match is passed over. `text` is valid UTF-8. Throws
  // Error(bad_input) when the matching takes too many steps for the length of the text.
  void find_all(std::string_view text, std::vector<Match>& matches) const;

 private:
  explicit Regex(std::string who) : who_(std::move(who)) {}
  void compile(const std::string& pcre2_pattern);

  struct Code;
  struct FreeCode {
    void operator()(Code* code) const;
  };
  std::string who_;
  std::unique_ptr<Code, FreeCode> code_;
};

}  // namespace nibble
