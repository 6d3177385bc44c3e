// A regular expression that must match a whole string, as Python's re.fullmatch.
#pragma once

#include <memory>
#include <string>

namespace nibble {

class FullMatch {
 public:
  // `who` names the option in errors. Throws usage for a pattern that does not compile.
  FullMatch(const std::string& pattern, const std::string& who);
  ~FullMatch();

  // Throws usage when matching takes more steps than any honest module pattern needs.
  bool operator()(const std::string& text) const;

 private:
  struct Code;
  std::unique_ptr<Code> code_;
  std::string who_;
};

}  // namespace nibble
