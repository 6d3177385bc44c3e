// Text on stdout as it comes, and Ctrl-C that ends it.
#pragma once

#include <string>

namespace nibble::cli {

void write_text(const std::string& text);

// From now on Ctrl-C does not end the program: it is noted.
void watch_interrupt();
bool interrupted();
void forget_interrupt();

}  // namespace nibble::cli
