// Lines of a JSONL file, one at a time, with where they stand. Memory is one line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace nibble {

class JsonlReader {
 public:
  static constexpr uint64_t max_line_bytes = uint64_t{64} << 20;

  explicit JsonlReader(const std::filesystem::path& path);

  // The next line that is not blank. Throws bad_input for a line over max_line_bytes and for a file
  // that is no text (NUL, UTF-16, gzip).
  bool next(std::string& line);

  // Of the line last returned, for messages: "train.jsonl: row 3 (byte 812)". Rows count from 1.
  std::string where() const;
  int64_t row() const { return row_; }

 private:
  bool read_line(std::string& line);

  std::filesystem::path path_;
  std::ifstream file_;
  int64_t row_ = 0;
  uint64_t offset_ = 0, next_offset_ = 0;
};

}  // namespace nibble
