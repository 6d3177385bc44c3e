// Tokenizer speed on one core:  tokenizer_bench <tokenizer.json> <text file> [lines]
//
// Prints the CPU seconds to load, then MB/s and ids/s of encoding the whole text at once, or with
// "lines" line by line (rows of a dataset). Verifies first that decoding the ids of the text and
// encoding again gives the same ids.
#include <fmt/format.h>

#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace {

double seconds_of(const auto& work) {
  const std::clock_t start = std::clock();  // CPU time: one thread, and the machine may be busy
  work();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

std::string read(const char* path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << in.rdbuf();
  return bytes.str();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: tokenizer_bench <tokenizer.json> <text file> [lines]\n");
    return 64;
  }
  std::optional<nibble::Tokenizer> tokenizer;
  const double load = seconds_of([&] {
    tokenizer = nibble::Tokenizer::from_json(nlohmann::json::parse(read(argv[1])), argv[1]);
  });
  const std::string text = read(argv[2]);
  std::vector<std::string> rows = {text};
  if (argc > 3) {
    rows.clear();
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) rows.push_back(line);
  }
  size_t ids = 0;
  for (const std::string& row : rows) {
    const auto first = tokenizer->encode(row, false).ids;
    if (tokenizer->encode(tokenizer->decode(first, false), false).ids != first) {
      fmt::print(stderr, "round trip differs\n");
      return 1;
    }
    ids += first.size();
  }
  fmt::print("load {:.3f} s; {} rows, {} bytes, {} ids\n", load, rows.size(), text.size(), ids);
  for (int run = 0; run < 3; ++run) {
    const double seconds = seconds_of([&] {
      for (const std::string& row : rows) tokenizer->encode(row, false);
    });
    fmt::print("encode {:.3f} s: {:.2f} MB/s, {:.2f} M ids/s\n", seconds,
               static_cast<double>(text.size()) / seconds / 1e6,
               static_cast<double>(ids) / seconds / 1e6);
  }
}
