// JSONL: a row is a line.
#include <algorithm>

#include "core/error.h"
#include "data/row_reader.h"
#include "files/json.h"

namespace nibble {
namespace {

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == line.npos; }

class JsonlRows : public RowReader {
 public:
  JsonlRows(ByteSource source, const RowReaderOptions& options)
      : RowReader(std::move(source), options) {}

  bool next(RawRow& row) override {
    do {
      row.text.clear();
      row.too_long = false;
      row.offset = line_ == 0 ? 0 : source_.offset();  // a byte order mark belongs to line 1
      row.number = ++line_;
      if (source_.peek().empty()) return false;
      read_line(row);
    } while (!row.too_long && is_blank(row.text));
    return true;
  }

 private:
  void read_line(RawRow& row) {
    for (std::string_view bytes = source_.peek(); !bytes.empty(); bytes = source_.peek()) {
      const size_t end = bytes.find('\n');
      append(row, bytes.substr(0, end));
      source_.skip(std::min(bytes.size(), end == bytes.npos ? end : end + 1));
      if (end != bytes.npos) return;
    }
  }

  nlohmann::ordered_json parse_text(const RawRow& row) const override {
    return parse_ordered_json(row.text, "JSON", {.max_bytes = options_.max_row_bytes});
  }

  int64_t line_ = 0;
};

}  // namespace

std::unique_ptr<RowReader> read_jsonl(ByteSource source, const RowReaderOptions& options) {
  return std::make_unique<JsonlRows>(std::move(source), options);
}

}  // namespace nibble
