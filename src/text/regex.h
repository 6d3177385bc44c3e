// The regular expressions of tokenizer.json, matched as Oniguruma does it (regex_syntax.h), with
// the characters' properties that `tokenizers` sees (unicode_tables.h).
//
// A backtracking matcher that counts its steps. Cost is bounded: a text that would take superlinear
// time is an error, never a hang. Its memory is bounded by the steps.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

struct Match {
  size_t begin = 0;
  size_t end = 0;
};

struct RegexProgram;

class Regex {
 public:
  // `who` names the pattern in errors. Throws Error(bad_input) for one that is not understood.
  Regex(std::string_view pattern, std::string who);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // All matches from left to right, without overlap, as Oniguruma's scan finds them: an empty match
  // right after another match is passed over. `text` is valid UTF-8. Throws Error(bad_input) when
  // the matching takes too many steps for the length of the text, naming the byte where it stopped.
  void find_all(std::string_view text, std::vector<Match>& matches) const;

 private:
  std::string who_;
  std::unique_ptr<const RegexProgram> program_;
};

}  // namespace nibble
