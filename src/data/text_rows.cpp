// Plain text: a row is a line, a paragraph (up to two line ends), or the whole file. As in Python's
// text mode, "\r\n" and "\r" end a line like "\n".
#include "core/error.h"
#include "data/row_reader.h"
#include "text/utf8.h"

namespace nibble {
namespace {

class TextRows : public RowReader {
 public:
  TextRows(ByteSource source, const RowReaderOptions& options)
      : RowReader(std::move(source), options) {}

  bool next(RawRow& row) override {
    do {
      row.text.clear();
      row.too_long = false;
      row.offset = source_.offset();
      row.number = ++number_;
      if (source_.peek().empty()) return false;
      read_row(row);
    } while (row.text.empty());
    return true;
  }

 private:
  void read_row(RawRow& row) {
    bool after_newline = false;
    for (std::string_view bytes = source_.peek(); !bytes.empty(); bytes = source_.peek()) {
      const size_t end = bytes.find_first_of("\r\n");
      if (end != 0) {
        append(row, bytes.substr(0, end));
        source_.skip(std::min(bytes.size(), end));
        after_newline = false;
        continue;
      }
      const bool carriage_return = bytes[0] == '\r';
      source_.skip(1);
      if (carriage_return && peek_byte() == '\n') source_.skip(1);
      if (options_.sample_by == SampleBy::line) return;
      if (options_.sample_by == SampleBy::paragraph && after_newline) {
        if (!row.too_long) row.text.pop_back();
        return;
      }
      append(row, "\n");
      after_newline = true;
    }
  }

  nlohmann::ordered_json parse_text(const RawRow& row) const override {
    if (const size_t at = find_invalid_utf8(row.text); at != row.text.npos)
      fail(ErrorKind::bad_input, "byte {} of the row is invalid UTF-8", at);
    return {{"text", row.text}};
  }

  int64_t number_ = 0;
};

}  // namespace

std::unique_ptr<RowReader> read_text(ByteSource source, const RowReaderOptions& options) {
  return std::make_unique<TextRows>(std::move(source), options);
}

}  // namespace nibble
