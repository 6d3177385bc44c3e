// The tokenizer on one core.
//   tokenizer_bench time <tokenizer.json> <rows>          seconds, MB/s and ids/s of encoding
//   tokenizer_bench encode <tokenizer.json> <rows> <out>  what each row becomes
//
// <rows>: for each row its length (4 bytes, little-endian) and its bytes; what is not UTF-8 is
// replaced. `time` first verifies that decoding and encoding again gives the same ids, then prints
// a line of JSON. `encode` writes for each row: 0, or 1 where it is refused and nothing else; the
// number of ids; the ids; their offsets; twice the length and the bytes of the decoded text, with
// and without special tokens; all numbers as 4 bytes. tools/compare_tokenizers.py and
// tools/compare_tokenizer_speed.py make the rows and read the results.
#include <fmt/format.h>

#include <cstdint>
#include <cstring>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "core/error.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

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

std::vector<std::string> read_rows(const char* path) {
  const std::string bytes = read(path);
  std::vector<std::string> rows;
  for (size_t at = 0; at + 4 <= bytes.size();) {
    uint32_t length = 0;
    std::memcpy(&length, bytes.data() + at, 4);
    rows.push_back(nibble::replace_invalid_utf8(std::string_view(bytes).substr(at + 4, length)));
    at += 4 + size_t{length};
  }
  return rows;
}

void put(std::ofstream& out, uint32_t value) {
  out.write(reinterpret_cast<const char*>(&value), sizeof value);
}

void encode(const nibble::Tokenizer& tokenizer, const std::vector<std::string>& rows,
            const char* path) {
  std::ofstream out(path, std::ios::binary);
  for (const std::string& row : rows) {
    nibble::Encoding encoding;
    try {
      encoding = tokenizer.encode(row, true);
    } catch (const nibble::Error& error) {
      fmt::print(stderr, "{}\n", error.what());
      put(out, 1);
      continue;
    }
    put(out, 0);
    put(out, static_cast<uint32_t>(encoding.ids.size()));
    for (const int32_t id : encoding.ids) put(out, static_cast<uint32_t>(id));
    for (const auto& [begin, end] : encoding.offsets) {
      put(out, begin);
      put(out, end);
    }
    for (const bool skip : {false, true}) {
      const std::string text = tokenizer.decode(encoding.ids, skip);
      put(out, static_cast<uint32_t>(text.size()));
      out << text;
    }
  }
}

int time(const nibble::Tokenizer& tokenizer, const std::vector<std::string>& rows) {
  size_t bytes = 0, ids = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    bytes += rows[i].size();
    if (i % 64 != 0) continue;
    const auto first = tokenizer.encode(rows[i], false).ids;
    if (tokenizer.encode(tokenizer.decode(first, false), false).ids != first) {
      fmt::print(stderr, "row {}: decoding and encoding again gives other ids\n", i);
      return 1;
    }
  }
  const double seconds = seconds_of([&] {
    for (const std::string& row : rows) ids += tokenizer.encode(row, false).ids.size();
  });
  fmt::print("{{\"bytes\": {}, \"ids\": {}, \"seconds\": {:.4f}}}\n", bytes, ids, seconds);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (!(mode == "time" && argc == 4) && !(mode == "encode" && argc == 5)) {
    fmt::print(stderr,
               "usage: tokenizer_bench time <tokenizer.json> <rows>\n"
               "       tokenizer_bench encode <tokenizer.json> <rows> <out>\n");
    return 64;
  }
  try {
    const auto tokenizer =
        nibble::Tokenizer::from_json(nlohmann::json::parse(read(argv[2])), argv[2]);
    const std::vector<std::string> rows = read_rows(argv[3]);
    if (mode == "time") return time(tokenizer, rows);
    encode(tokenizer, rows, argv[4]);
  } catch (const nibble::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return static_cast<int>(error.kind());
  }
  return 0;
}
