// Runs the nibble program as a user does, and tells what it said and how it ended.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace nibble::test {

struct ProgramResult {
  int exit_code = -1;  // -1: killed by `signal`
  int signal = 0;
  std::string out, err;
};

class Program {
 public:
  // Starts it. A file it writes may grow to `max_file_bytes` (0: any size), as on a full disk. Its
  // standard input is the file `input`, or without one that of the test.
  explicit Program(const std::vector<std::string>& arguments, uint64_t max_file_bytes = 0,
                   const std::string& input = {});
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Waits until it has written `text`; false when it ended without.
  bool wait_for(const std::string& text);
  void send(int signal);
  ProgramResult finish();

 private:
  bool read_some();  // false at the end of both streams

  pid_t pid_ = -1;
  int out_ = -1, err_ = -1;
  ProgramResult result_;
};

ProgramResult run_program(const std::vector<std::string>& arguments, uint64_t max_file_bytes = 0);
// The same, with `input` on its standard input.
ProgramResult run_program_with_input(const std::vector<std::string>& arguments,
                                     const std::string& input);

}  // namespace nibble::test
