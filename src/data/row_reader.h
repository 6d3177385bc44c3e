// Rows of a data file, whatever its format, one at a time and with where they stand.
//
// Reading is split in two: next() only finds where rows begin and end, in order; parse() gives a
// row its meaning and may be called by several threads. Memory is one row and one buffer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "data/byte_source.h"

namespace nibble {

// How plain text is cut into rows: names and meaning of Hugging Face's load_dataset("text"), but an
// empty line or paragraph is no row.
enum class SampleBy { line, paragraph, document };
SampleBy parse_sample_by(std::string_view name);  // throws usage

struct RowReaderOptions {
  SampleBy sample_by = SampleBy::line;
  uint64_t max_row_bytes = uint64_t{64} << 20;
};

struct RawRow {
  int64_t number = 0;     // from 1: line of JSONL and text, element of an array, record of CSV (its
                          // header is 1)
  uint64_t offset = 0;    // of its first byte in the file
  std::string text;       // its bytes; a part of them where it is too long
  bool too_long = false;  // parse() will say so
};

class RowReader {
 public:
  virtual ~RowReader() = default;

  // The next row that is not blank; false at the end. Throws bad_input, naming the place, where the
  // file itself is broken, so that nobody can say where the next row begins.
  virtual bool next(RawRow& row) = 0;

  // The row as JSON: an object for CSV ({column: cell}) and text ({"text": ...}), else whatever the
  // row holds. Throws bad_input without naming the place.
  nlohmann::ordered_json parse(const RawRow& row) const;

  const std::string& name() const { return source_.name(); }
  uint64_t bytes() const { return source_.size(); }
  uint64_t bytes_read() const { return source_.offset(); }
  const FileStamp& stamp() const { return source_.stamp(); }
  void check_unchanged() const { source_.check_unchanged(); }

 protected:
  RowReader(ByteSource source, const RowReaderOptions& options);

  virtual nlohmann::ordered_json parse_text(const RawRow& row) const = 0;
  // Adds bytes to the row up to the limit.
  void append(RawRow& row, std::string_view bytes) const;
  // The next byte, not skipped; -1 at the end.
  int peek_byte();

  ByteSource source_;
  RowReaderOptions options_;
};

// "train.jsonl: row 3 (byte 812)"
std::string place_of(const std::string& file, const RawRow& row);

// The readers. They refuse (bad_input, naming what it is) a file that starts like a compressed one,
// Parquet, Arrow or UTF-16.
//
// One object a line.
std::unique_ptr<RowReader> read_jsonl(ByteSource source, const RowReaderOptions& options = {});
// One array of objects, or (`enclosed` false) objects one after the other, over any number of
// lines.
std::unique_ptr<RowReader> read_json_objects(ByteSource source, bool enclosed,
                                             const RowReaderOptions& options = {});
// RFC 4180 with a header. There is no guessing of delimiters.
std::unique_ptr<RowReader> read_csv(ByteSource source, char delimiter,
                                    const RowReaderOptions& options = {});
std::unique_ptr<RowReader> read_text(ByteSource source, const RowReaderOptions& options = {});

// By the extension: .jsonl .ndjson, .json (JSONL, an array, or one object over several lines),
// .csv, .tsv, .txt. Throws bad_input, naming what it is, for any other, and for bytes that are
// compressed, Parquet, Arrow or UTF-16 whatever the extension says.
std::unique_ptr<RowReader> open_rows(const std::filesystem::path& path,
                                     const RowReaderOptions& options = {});
// Whether open_rows() knows the extension.
bool is_data_file(const std::filesystem::path& path);
// Whether the extension is of data that Nibble does not read (.parquet, .gz, ...).
bool is_foreign_data_file(const std::filesystem::path& path);

}  // namespace nibble
