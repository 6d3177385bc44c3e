// CSV as in RFC 4180: a header, then records of as many fields; a field with delimiter, quote or
// line end stands in quotes, a quote in it is doubled. Blank lines are no records.
#include <algorithm>
#include <optional>
#include <vector>

#include "core/error.h"
#include "data/row_reader.h"
#include "files/json.h"
#include "text/utf8.h"

namespace nibble {
namespace {

constexpr size_t max_columns = 4096;

class CsvRows : public RowReader {
 public:
  CsvRows(ByteSource source, char delimiter, const RowReaderOptions& options)
      : RowReader(std::move(source), options), delimiter_(delimiter) {
    RawRow header;
    if (!next(header)) return;
    try {
      read_header(header);
    } catch (const Error& error) {
      fail(error.kind(), "{}: the header: {}", place_of(name(), header), error.what());
    }
  }

  bool next(RawRow& row) override {
    do {
      row.text.clear();
      row.too_long = false;
      row.offset = source_.offset();
      row.number = number_ + 1;
      if (source_.peek().empty()) return false;
      read_record(row);
      if (row.text.ends_with('\r')) row.text.pop_back();
    } while (row.text.empty());
    ++number_;
    return true;
  }

 private:
  // Up to the line end that is in no quotes. What is wrong within, parse_text() says.
  void read_record(RawRow& row) {
    enum class State { field_start, plain, quoted, quote_in_quoted } state = State::field_start;
    uint64_t quote_offset = 0;
    for (std::string_view bytes = source_.peek(); !bytes.empty(); bytes = source_.peek()) {
      size_t at = 0;
      bool ended = false;
      for (; at < bytes.size() && !ended; ++at) {
        const char c = bytes[at];
        if (state == State::quoted) {
          if (c == '"') state = State::quote_in_quoted;
        } else if (c == '"' && state == State::field_start) {
          state = State::quoted;
          quote_offset = source_.offset() + at;
        } else if (c == '"' && state == State::quote_in_quoted) {
          state = State::quoted;
        } else if (c == '\n') {
          ended = true;
        } else {
          state = c == delimiter_ ? State::field_start : State::plain;
        }
      }
      append(row, bytes.substr(0, ended ? at - 1 : at));
      source_.skip(at);
      if (ended) return;
    }
    if (state == State::quoted)
      fail(ErrorKind::bad_input, "{}: the quote opened at byte {} is never closed",
           place_of(name(), row), quote_offset);
  }

  std::vector<std::string> fields_of(const std::string& record) const {
    std::vector<std::string> fields;
    size_t at = 0;
    for (;;) {
      if (fields.size() == max_columns)
        fail(ErrorKind::bad_input, "more than {} columns", max_columns);
      std::string& field = fields.emplace_back();
      if (at < record.size() && record[at] == '"') {
        at = read_quoted(record, at + 1, field);
      } else {
        const size_t end = std::min(record.size(), record.find(delimiter_, at));
        field = record.substr(at, end - at);
        if (const size_t odd = field.find_first_of("\"\r"); odd != field.npos)
          fail(ErrorKind::bad_input, "byte {} of the row: {} in a field without quotes", at + odd,
               field[odd] == '"' ? "a quote" : "a carriage return");
        at = end;
      }
      if (at == record.size()) return fields;
      if (record[at] != delimiter_)
        fail(ErrorKind::bad_input,
             "byte {} of the row: got {} after a closing quote, expected the delimiter {}", at,
             printable(record.substr(at, 1)), printable({&delimiter_, 1}));
      ++at;
    }
  }

  // Reads up to the closing quote, which the record has, and returns the byte after it.
  static size_t read_quoted(const std::string& record, size_t at, std::string& field) {
    for (;;) {
      const size_t quote = record.find('"', at);
      if (quote == record.npos) fail(ErrorKind::bad_input, "a quote is never closed");
      field.append(record, at, quote - at);
      at = quote + 1;
      if (at == record.size() || record[at] != '"') return at;
      field += '"';
      ++at;
    }
  }

  void check_utf8(const std::string& text) const {
    if (const size_t at = find_invalid_utf8(text); at != text.npos)
      fail(ErrorKind::bad_input, "byte {} of the row is invalid UTF-8", at);
  }

  void read_header(const RawRow& row) {
    if (row.too_long || row.text.find('\0') != row.text.npos)
      fail(ErrorKind::bad_input, "is no text, or longer than {} bytes", options_.max_row_bytes);
    check_utf8(row.text);
    columns_ = fields_of(row.text);
    std::vector<std::string_view> names(columns_.begin(), columns_.end());
    std::ranges::sort(names);
    const auto twice = std::ranges::adjacent_find(names);
    if (twice != names.end())
      fail(ErrorKind::bad_input, "the column {} is there twice", printable(*twice));
  }

  nlohmann::ordered_json parse_text(const RawRow& row) const override {
    check_utf8(row.text);
    std::vector<std::string> fields = fields_of(row.text);
    if (fields.size() != columns_.size())
      fail(ErrorKind::bad_input, "got {} fields, expected {} as in the header", fields.size(),
           columns_.size());
    // Appended as to the vector that ordered_map is: its own insertion looks through all keys.
    nlohmann::ordered_json::object_t object;
    object.reserve(columns_.size());
    for (size_t i = 0; i < columns_.size(); ++i)
      static_cast<nlohmann::ordered_json::object_t::Container&>(object).emplace_back(
          columns_[i], std::move(fields[i]));
    return object;
  }

  const char delimiter_;
  int64_t number_ = 0;
  std::vector<std::string> columns_;
};

}  // namespace

std::unique_ptr<RowReader> read_csv(ByteSource source, char delimiter,
                                    const RowReaderOptions& options) {
  return std::make_unique<CsvRows>(std::move(source), delimiter, options);
}

}  // namespace nibble
