// Progress on one line that is rewritten on a terminal; piped, only the notes.
#pragma once

#include <fmt/format.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <string>

#include "memory/plan.h"

namespace nibble::cli {

class Console {
 public:
  // `stream` is stdout, or stderr for a command whose output is for machines or is text itself.
  explicit Console(std::FILE* stream = stdout)
      : stream_(stream), terminal_(isatty(fileno(stream)) != 0) {}
  ~Console() { clear(); }
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  void note(const std::string& line) {
    clear();
    fmt::print(stream_, "{}\n", line);
    std::fflush(stream_);
  }
  void transient(const std::string& line) {
    if (!terminal_) return;
    fmt::print(stream_, "\r\x1b[K{}", line);
    std::fflush(stream_);
    open_ = true;
  }
  void clear() {
    if (open_) fmt::print(stream_, "\r\x1b[K");
    if (open_) std::fflush(stream_);
    open_ = false;
  }
  // "loading 1.2 GiB of 2.4 GiB" and the like, for callbacks that count bytes.
  void bytes(const char* what, uint64_t done, uint64_t total) {
    if (terminal_)
      transient(fmt::format("{} {} of {}", what, human_bytes(done), human_bytes(total)));
  }

 private:
  std::FILE* const stream_;
  const bool terminal_;
  bool open_ = false;
};

}  // namespace nibble::cli
