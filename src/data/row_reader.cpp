// What all readers share, and the choice of one by extension and first bytes.
#include "data/row_reader.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/error.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
constexpr const char* expected_files = "expected .jsonl, .json, .csv, .tsv or .txt";

constexpr std::array known_extensions = {".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt"};
constexpr std::array foreign_extensions = {".parquet", ".arrow", ".feather", ".gz", ".bz2", ".xz",
                                           ".zst",     ".zip",   ".tar",     ".7z", ".lz4"};

struct Magic {
  std::string_view bytes;
  const char* what;
};
using namespace std::string_view_literals;
constexpr std::array magics = {
    Magic{"\x1F\x8B"sv, "gzip-compressed; unpack it first"},
    Magic{"\x28\xB5\x2F\xFD"sv, "zstd-compressed; unpack it first"},
    Magic{"\xFD\x37zXZ"sv, "xz-compressed; unpack it first"},
    Magic{"BZh91AY"sv, "bzip2-compressed; unpack it first"},
    Magic{"PK\x03\x04"sv, "a zip archive; unpack it first"},
    Magic{"PAR1"sv, "Parquet; convert it to JSONL"},
    Magic{"ARROW1"sv, "Arrow; convert it to JSONL"},
    Magic{"\xFF\xFE"sv, "UTF-16 or UTF-32; save it as UTF-8"},
    Magic{"\xFE\xFF"sv, "UTF-16; save it as UTF-8"},
    Magic{"\x00\x00\xFE\xFF"sv, "UTF-32; save it as UTF-8"},
};

// Refuses what is no UTF-8 text by its first bytes.
void check_start(const std::string& name, std::string_view start) {
  for (const Magic& magic : magics)
    if (start.starts_with(magic.bytes))
      fail(ErrorKind::bad_input, "{}: the file is {}", name, magic.what);
  // A text of UTF-16 without a mark has a NUL in its first character.
  if (start.substr(0, 2).find('\0') != start.npos)
    fail(ErrorKind::bad_input,
         "{}: the file starts with a NUL byte; it is UTF-16 (save it as UTF-8) or no text", name);
}

template <size_t n>
bool contains(const std::array<const char*, n>& extensions, const fs::path& path) {
  return std::ranges::any_of(extensions, [&](const char* e) { return path.extension() == e; });
}

// A .json that starts with an object is JSONL when its first line ends with an object's end.
bool first_line_is_whole(std::string_view start) {
  std::string_view line = start.substr(0, start.find('\n'));
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
  return line.size() == start.size() || line.ends_with('}');
}

}  // namespace

SampleBy parse_sample_by(std::string_view name) {
  if (name == "line") return SampleBy::line;
  if (name == "paragraph") return SampleBy::paragraph;
  if (name == "document") return SampleBy::document;
  fail(ErrorKind::usage, "sample_by: got \"{}\", expected line, paragraph or document", name);
}

RowReader::RowReader(ByteSource source, const RowReaderOptions& options)
    : source_(std::move(source)), options_(options) {
  const std::string_view start = source_.peek();
  check_start(source_.name(), start);
  if (start.starts_with(byte_order_mark)) source_.skip(byte_order_mark.size());
}

nlohmann::ordered_json RowReader::parse(const RawRow& row) const {
  if (row.too_long)
    fail(ErrorKind::bad_input, "the row is longer than {} bytes", options_.max_row_bytes);
  if (const size_t at = row.text.find('\0'); at != row.text.npos)
    fail(ErrorKind::bad_input, "byte {} of the row is NUL; the file is damaged, or no UTF-8 text",
         at);
  return parse_text(row);
}

void RowReader::append(RawRow& row, std::string_view bytes) const {
  const uint64_t room = options_.max_row_bytes - row.text.size();
  row.text.append(bytes.substr(0, room));
  row.too_long |= bytes.size() > room;
}

int RowReader::peek_byte() {
  const std::string_view bytes = source_.peek();
  return bytes.empty() ? -1 : static_cast<unsigned char>(bytes[0]);
}

std::string place_of(const std::string& file, const RawRow& row) {
  return fmt::format("{}: row {} (byte {})", file, row.number, row.offset);
}

bool is_data_file(const fs::path& path) { return contains(known_extensions, path); }

bool is_foreign_data_file(const fs::path& path) { return contains(foreign_extensions, path); }

std::unique_ptr<RowReader> open_rows(const fs::path& path, const RowReaderOptions& options) {
  ByteSource source = ByteSource::open(path);
  const std::string extension = path.extension().string();
  if (extension == ".jsonl" || extension == ".ndjson")
    return read_jsonl(std::move(source), options);
  if (extension == ".csv") return read_csv(std::move(source), ',', options);
  if (extension == ".tsv") return read_csv(std::move(source), '\t', options);
  if (extension == ".txt") return read_text(std::move(source), options);
  if (extension != ".json")
    fail(ErrorKind::bad_input, "{}: the extension is {}, {}", path.string(),
         extension.empty() ? "missing" : extension, expected_files);
  std::string_view start = source.peek();
  if (start.starts_with(byte_order_mark)) start.remove_prefix(byte_order_mark.size());
  start.remove_prefix(std::min(start.size(), start.find_first_not_of(" \t\r\n")));
  if (start.starts_with('[')) return read_json_objects(std::move(source), true, options);
  if (first_line_is_whole(start)) return read_jsonl(std::move(source), options);
  return read_json_objects(std::move(source), false, options);
}

}  // namespace nibble
