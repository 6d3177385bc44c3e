#include "cli/streaming.h"

#include <csignal>
#include <cstdio>

namespace nibble::cli {
namespace {

volatile std::sig_atomic_t interrupt_signals = 0;

}  // namespace

void write_text(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void watch_interrupt() {
  std::signal(SIGINT, [](int) { interrupt_signals = 1; });
}

bool interrupted() { return interrupt_signals != 0; }

void forget_interrupt() { interrupt_signals = 0; }

}  // namespace nibble::cli
