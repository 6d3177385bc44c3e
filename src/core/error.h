// The one exception type of the library, and the exit code each kind maps to.
//
// The library throws; only cli/main.cpp catches and exits. A message names who (file, option,
// tensor), what was got, what was expected, and the remedy:
//   "config.json: num_attention_heads: got 0, expected 1..65536; is the file damaged?"
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace nibble {

// The value is the process exit code (sysexits.h where it has one).
enum class ErrorKind {
  usage = 64,         // command line, configuration, options that cannot be honoured
  diverged = 65,      // non-finite loss or gradient
  bad_input = 66,     // a file from outside is missing, damaged, or not understood
  internal = 70,      // a broken invariant: a bug in Nibble
  no_resources = 69,  // not enough memory, no such device
  in_use = 73,        // the run folder belongs to another run
  io = 74,            // disk full, I/O error, hardware
  interrupted = 75,   // stopped by a signal; the run resumes
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

// fail(ErrorKind::bad_input, "{}: got {}, expected {}", ...)
template <typename... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace nibble
