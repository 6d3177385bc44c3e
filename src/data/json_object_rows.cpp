// Objects of a JSON array, or one after the other: only the extent of each is found here, by
// brackets and strings; the strict parser then says whether it is JSON. So the file is never held.
#include "core/error.h"
#include "data/row_reader.h"
#include "files/json.h"

namespace nibble {
namespace {

class JsonObjectRows : public RowReader {
 public:
  JsonObjectRows(ByteSource source, bool enclosed, const RowReaderOptions& options)
      : RowReader(std::move(source), options), enclosed_(enclosed) {
    if (!enclosed_) return;
    if (skip_space() != '[') refuse("expected '[' at the start of an array of rows");
    source_.skip(1);
  }

  bool next(RawRow& row) override {
    if (ended_) return false;
    if (!find_object()) {
      ended_ = true;
      return false;
    }
    row.number = ++number_;
    row.offset = source_.offset();
    row.text.clear();
    row.too_long = false;
    read_object(row);
    return true;
  }

 private:
  // Moves to the next object; false at the end of the rows.
  bool find_object() {
    int byte = skip_space();
    if (enclosed_) {
      if (byte == ',' && number_ > 0) {
        source_.skip(1);
        byte = skip_space();
        if (byte == ']') refuse("a comma before ']'");
      } else if (byte == ']') {
        source_.skip(1);
        if (skip_space() >= 0) refuse("expected nothing after the array");
        return false;
      } else if (number_ > 0) {
        refuse("expected ',' or ']' after a row");
      }
    } else if (byte < 0) {
      return false;
    }
    if (byte != '{') refuse("expected a row, which is an object");
    return true;
  }

  int skip_space() {
    for (std::string_view bytes = source_.peek(); !bytes.empty(); bytes = source_.peek()) {
      const size_t end = bytes.find_first_not_of(" \t\r\n");
      source_.skip(std::min(bytes.size(), end));
      if (end != bytes.npos) return static_cast<unsigned char>(bytes[end]);
    }
    return -1;
  }

  // From '{' to the bracket that closes it.
  void read_object(RawRow& row) {
    uint64_t depth = 0;
    bool in_string = false, escaped = false;
    for (std::string_view bytes = source_.peek(); !bytes.empty(); bytes = source_.peek()) {
      size_t at = 0;
      bool closed = false;
      while (at < bytes.size() && !closed) {
        const char c = bytes[at++];
        if (in_string) {
          if (escaped) {
            escaped = false;
          } else if (c == '\\') {
            escaped = true;
          } else if (c == '"') {
            in_string = false;
          }
        } else if (c == '"') {
          in_string = true;
        } else if (c == '{' || c == '[') {
          ++depth;
        } else if (c == '}' || c == ']') {
          closed = --depth == 0;
        }
      }
      append(row, bytes.substr(0, at));
      source_.skip(at);
      if (closed) return;
    }
    fail(ErrorKind::bad_input, "{}: the file ends inside {}; is it truncated?",
         place_of(name(), row), in_string ? "a string of this row" : "this row");
  }

  nlohmann::ordered_json parse_text(const RawRow& row) const override {
    return parse_ordered_json(row.text, "JSON", {.max_bytes = options_.max_row_bytes});
  }

  [[noreturn]] void refuse(const char* problem) {
    const int byte = peek_byte();
    const char c = static_cast<char>(byte);
    fail(ErrorKind::bad_input, "{}: byte {} (after row {}): got {}, {}", name(), source_.offset(),
         number_, byte < 0 ? "the end of the file" : printable({&c, 1}), problem);
  }

  const bool enclosed_;
  int64_t number_ = 0;
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<RowReader> read_json_objects(ByteSource source, bool enclosed,
                                             const RowReaderOptions& options) {
  return std::make_unique<JsonObjectRows>(std::move(source), enclosed, options);
}

}  // namespace nibble
