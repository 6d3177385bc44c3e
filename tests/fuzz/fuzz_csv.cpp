// Any bytes as CSV, TSV, or text in one of its cuts, as the first byte says: every row is found,
// parsed, and either refused with Error(bad_input) or an object of strings; and what is written as
// CSV is read back.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "core/error.h"
#include "data/row_format.h"
#include "data/row_reader.h"

namespace {

using namespace nibble;

void require(bool holds) {
  if (!holds) std::abort();
}

std::string quoted(const std::string& cell) {
  std::string text = "\"";
  for (const char c : cell) text += c == '"' ? "\"\"" : std::string(1, c);
  return text + "\"";
}

// A record of the row's cells, each in quotes, means the same row.
void check_round_trip(const nlohmann::ordered_json& row) {
  std::string header, record;
  for (const auto& [key, value] : row.items()) {
    header += (header.empty() ? "" : ",") + quoted(key);
    record += (record.empty() ? "" : ",") + quoted(value.get<std::string>());
  }
  const auto reader = read_csv(ByteSource::of(header + "\n" + record + "\n", "again"), ',');
  RawRow again;
  require(reader->next(again) && reader->parse(again) == row);
  require(!reader->next(again));
}

std::unique_ptr<RowReader> open(char mode, std::string bytes) {
  RowReaderOptions options;
  options.max_row_bytes = 1024;
  options.sample_by = mode == 'p'   ? SampleBy::paragraph
                      : mode == 'd' ? SampleBy::document
                                    : SampleBy::line;
  ByteSource source = ByteSource::of(std::move(bytes), "fuzz");
  if (mode == 'p' || mode == 'd' || mode == 'l') return read_text(std::move(source), options);
  return read_csv(std::move(source), mode == 't' ? '\t' : ',', options);
}

void check_file(char mode, const std::string& bytes) {
  const std::unique_ptr<RowReader> reader = open(mode, bytes);
  int64_t last_number = 0;
  uint64_t last_offset = 0;
  for (RawRow row; reader->next(row);) {
    require(row.number > last_number && !row.text.empty());
    require(last_number == 0 || row.offset > last_offset);
    require(row.offset + row.text.size() <= bytes.size());
    last_number = row.number;
    last_offset = row.offset;
    try {
      const nlohmann::ordered_json json = reader->parse(row);
      require(json.is_object());
      for (const auto& cell : json) require(cell.is_string());
      check_round_trip(json);
      to_example(json, recognize_format(json, {}), {});
    } catch (const Error& error) {
      require(error.kind() == ErrorKind::bad_input && *error.what() != '\0');
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  try {
    check_file(bytes[0], bytes.substr(1));
  } catch (const nibble::Error& error) {
    require(error.kind() == nibble::ErrorKind::bad_input);
  }
  return 0;
}
