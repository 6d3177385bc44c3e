#include "support/program.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <stdexcept>

#include "support/data.h"

namespace nibble::test {

Program::Program(const std::vector<std::string>& arguments, uint64_t max_file_bytes,
                 const std::string& input) {
  std::vector<char*> argv = {const_cast<char*>(NIBBLE_PROGRAM)};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  std::array<int, 2> out{}, err{};
  if (pipe(out.data()) != 0 || pipe(err.data()) != 0) throw std::runtime_error("pipe failed");
  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("fork failed");
  if (pid_ == 0) {  // between fork and exec only calls that are safe in a signal handler
    dup2(out[1], STDOUT_FILENO);
    dup2(err[1], STDERR_FILENO);
    for (const int fd : {out[0], out[1], err[0], err[1]}) close(fd);
    if (!input.empty()) {
      const int fd = open(input.c_str(), O_RDONLY);
      if (fd < 0 || dup2(fd, STDIN_FILENO) < 0) _exit(125);
    }
    if (max_file_bytes > 0) {
      const rlimit limit = {max_file_bytes, max_file_bytes};
      if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(126);
    }
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(out[1]);
  close(err[1]);
  out_ = out[0];
  err_ = err[0];
}

Program::~Program() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  finish();
}

bool Program::read_some() {
  std::array<pollfd, 2> files = {pollfd{out_, POLLIN, 0}, pollfd{err_, POLLIN, 0}};
  if (out_ < 0 && err_ < 0) return false;
  if (poll(files.data(), files.size(), -1) < 0) return errno == EINTR;
  const auto take = [](const pollfd& file, int& fd, std::string& text) {
    if (fd < 0 || file.revents == 0) return;
    std::array<char, 4096> bytes{};
    const ssize_t count = read(fd, bytes.data(), bytes.size());
    if (count > 0) {
      text.append(bytes.data(), static_cast<size_t>(count));
    } else {
      close(fd);
      fd = -1;
    }
  };
  take(files[0], out_, result_.out);
  take(files[1], err_, result_.err);
  return true;
}

bool Program::wait_for(const std::string& text) {
  const auto said = [&] {
    return result_.out.find(text) != std::string::npos ||
           result_.err.find(text) != std::string::npos;
  };
  while (!said())
    if (!read_some()) return false;
  return true;
}

void Program::send(int signal) { kill(pid_, signal); }

ProgramResult Program::finish() {
  while (read_some()) {
  }
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  if (WIFEXITED(status)) result_.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result_.signal = WTERMSIG(status);
  return result_;
}

ProgramResult run_program(const std::vector<std::string>& arguments, uint64_t max_file_bytes) {
  return Program(arguments, max_file_bytes).finish();
}

ProgramResult run_program_with_input(const std::vector<std::string>& arguments,
                                     const std::string& input) {
  const TempDir folder;
  write_file(folder / "input", input);
  return Program(arguments, 0, (folder / "input").string()).finish();
}

}  // namespace nibble::test
