#include "data/jsonl_reader.h"

#include <algorithm>

#include "core/error.h"

namespace nibble {

JsonlReader::JsonlReader(const std::filesystem::path& path) : path_(path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error))
    fail(ErrorKind::bad_input, "dataset: {}: no such file{}", path.string(),
         std::filesystem::is_directory(path, error) ? " (it is a folder; give a .jsonl file)" : "");
  file_.open(path, std::ios::binary);
  if (!file_) fail(ErrorKind::bad_input, "dataset: {}: cannot be opened", path.string());
}

// getline with a limit, so that a file of one endless line cannot take all memory.
bool JsonlReader::read_line(std::string& line) {
  line.clear();
  std::streambuf& buffer = *file_.rdbuf();
  for (int c = buffer.sbumpc(); c != EOF; c = buffer.sbumpc()) {
    ++next_offset_;
    if (c == '\n') return true;
    if (line.size() >= max_line_bytes)
      fail(ErrorKind::bad_input, "{}: the row is longer than {} MiB", where(),
           max_line_bytes >> 20);
    line.push_back(static_cast<char>(c));
  }
  return !line.empty();
}

bool JsonlReader::next(std::string& line) {
  for (;;) {
    offset_ = next_offset_;
    ++row_;
    if (!read_line(line)) return false;
    if (line.ends_with('\r')) line.pop_back();
    if (row_ == 1 && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);
    if (row_ == 1 && (line.starts_with("\xFF\xFE") || line.starts_with("\xFE\xFF")))
      fail(ErrorKind::bad_input, "{}: the file is UTF-16; save it as UTF-8", where());
    if (row_ == 1 && line.starts_with("\x1F\x8B"))
      fail(ErrorKind::bad_input, "{}: the file is gzip-compressed; unpack it first", where());
    if (row_ == 1 && line.starts_with("PAR1"))
      fail(ErrorKind::bad_input, "{}: the file is Parquet; convert it to JSONL", where());
    if (std::ranges::any_of(line, [](char c) { return c != ' ' && c != '\t'; })) return true;
  }
}

std::string JsonlReader::where() const {
  return fmt::format("{}: row {} (byte {})", path_.string(), row_, offset_);
}

}  // namespace nibble
