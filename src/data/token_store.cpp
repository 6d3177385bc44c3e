#include "data/token_store.h"

#include <algorithm>
#include <bit>

#include "core/error.h"
#include "files/json.h"

namespace nibble {
namespace {

static_assert(std::endian::native == std::endian::little, "the files are little-endian");

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr size_t stream_buffer = size_t{1} << 20;
constexpr uint64_t tokens_at_once = uint64_t{8} << 20;  // that a check holds in memory
constexpr uint64_t max_report_bytes = uint64_t{64} << 20;

fs::path tokens_path(const fs::path& folder) { return folder / "tokens.bin"; }
fs::path documents_path(const fs::path& folder) { return folder / "documents.bin"; }
fs::path rows_path(const fs::path& folder) { return folder / "rows.bin"; }

uint32_t count_trained(std::span<const int32_t> labels) {
  return static_cast<uint32_t>(
      std::ranges::count_if(labels.subspan(1), [](int32_t label) { return label >= 0; }));
}

}  // namespace

std::string DatasetReport::to_json() const {
  Json json;
  json["files"] = Json::array();
  for (const File& file : files)
    json["files"].push_back(Json::object({{"path", file.path},
                                          {"format", file.format},
                                          {"bytes", file.bytes},
                                          {"rows", file.rows},
                                          {"entry", file.entry}}));
  json["rows"] = rows;
  json["skipped_rows"] = skipped_rows;
  json["dropped_rows"] = dropped_rows;
  json["cut_rows"] = cut_rows;
  json["cut_tokens"] = cut_tokens;
  json["findings"] = findings.to_json();
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

DatasetReport DatasetReport::from_json(const std::string& text, const std::string& who) {
  DatasetReport report;
  try {
    const Json json = parse_ordered_json(text, who);
    for (const Json& file : json.at("files"))
      report.files.push_back({file.at("path").get<std::string>(),
                              file.at("format").get<std::string>(),
                              file.at("bytes").get<uint64_t>(), file.at("rows").get<int64_t>(),
                              file.at("entry").get<uint64_t>()});
    report.rows = json.at("rows").get<int64_t>();
    report.skipped_rows = json.at("skipped_rows").get<int64_t>();
    report.dropped_rows = json.at("dropped_rows").get<int64_t>();
    report.cut_rows = json.at("cut_rows").get<int64_t>();
    report.cut_tokens = json.at("cut_tokens").get<int64_t>();
    report.findings = Findings::from_json(json.at("findings"));
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorKind::bad_input, "{}: not understood: {}", who, error.what());
  }
  return report;
}

void TokenStoreWriter::Stream::write(std::span<const std::byte> bytes) {
  if (buffer_.size() + bytes.size() > stream_buffer) flush();
  if (bytes.size() > stream_buffer) return write_all(file_, bytes, path_);
  buffer_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void TokenStoreWriter::Stream::flush() {
  write_all(file_, as_bytes(buffer_), path_);
  buffer_.clear();
}

TokenStoreWriter::TokenStoreWriter(const fs::path& folder)
    : tokens_(tokens_path(folder)), documents_(documents_path(folder)), rows_(rows_path(folder)) {}

void TokenStoreWriter::add(const RowRecord& row, const std::vector<Document>& documents) {
  rows_.write(std::as_bytes(std::span(&row, 1)));
  for (const Document& document : documents) {
    if (document.ids.empty() || document.ids.size() > UINT32_MAX / 2 ||
        document.labels.size() != document.ids.size())
      fail(ErrorKind::internal, "token store: a document of {} ids and {} labels",
           document.ids.size(), document.labels.size());
    const DocumentRecord record{token_offset_, static_cast<uint32_t>(document.ids.size()),
                                count_trained(document.labels), row_count_};
    documents_.write(std::as_bytes(std::span(&record, 1)));
    tokens_.write(std::as_bytes(std::span(document.ids)));
    tokens_.write(std::as_bytes(std::span(document.labels)));
    token_offset_ += 2 * document.ids.size();
  }
  ++row_count_;
}

void TokenStoreWriter::finish() {
  tokens_.flush();
  documents_.flush();
  rows_.flush();
}

TokenStore::TokenStore(const fs::path& folder, int64_t vocab_size)
    : tokens_(tokens_path(folder)), documents_(documents_path(folder)), rows_(rows_path(folder)) {
  const fs::path report = folder / "report.json";
  report_ = DatasetReport::from_json(read_text_file(report, max_report_bytes), report.string());
  try {
    check(vocab_size);
  } catch (const Error& error) {
    fail(error.kind(), "{}: {}", folder.string(), error.what());
  }
}

void TokenStore::check(int64_t vocab_size) const {
  const auto require = [](bool holds, const char* what, uint64_t at) {
    if (!holds) fail(ErrorKind::bad_input, "{} {} is not sound", what, at);
  };
  require(tokens_.bytes().size() % sizeof(int32_t) == 0, "the size of tokens.bin,",
          tokens_.bytes().size());
  require(documents_.bytes().size() % sizeof(DocumentRecord) == 0, "the size of documents.bin,",
          documents_.bytes().size());
  require(rows_.bytes().size() % sizeof(RowRecord) == 0, "the size of rows.bin,",
          rows_.bytes().size());
  const uint64_t token_count = tokens_.as<int32_t>().size();
  for (uint64_t i = 0; const RowRecord& row : rows())
    require(row.file < report_.files.size(), "row", i++);
  uint64_t offset = 0, rows_seen = 0, released = 0;
  for (size_t i = 0; i < documents().size(); ++i) {
    const DocumentRecord& document = documents()[i];
    const uint64_t size = uint64_t{document.length} * 2;
    // Documents follow each other without gap, and so do rows.
    rows_seen += document.row == rows_seen ? 1 : 0;
    require(document.offset == offset && size > 0 && size <= token_count - offset &&
                rows_seen > 0 && document.row == rows_seen - 1 && rows_seen <= rows().size(),
            "document", i);
    offset += size;
    const auto document_ids = ids(static_cast<int64_t>(i));
    const auto document_labels = labels(static_cast<int64_t>(i));
    bool sound = document.trained == count_trained(document_labels);
    for (size_t k = 0; k < document_ids.size(); ++k)
      sound &= document_ids[k] >= 0 && document_ids[k] < vocab_size &&
               (document_labels[k] == document_ids[k] || document_labels[k] == -100);
    require(sound, "the tokens of document", i);
    if (offset - released > tokens_at_once) {
      tokens_.release();
      released = offset;
    }
  }
  require(offset == token_count, "the end of tokens.bin at", offset);
  require(rows_seen == rows().size(), "the end of rows.bin at", rows_seen);
  tokens_.release();
}

std::span<const int32_t> TokenStore::ids(int64_t document) const {
  const DocumentRecord& record = documents()[static_cast<size_t>(document)];
  return tokens_.as<int32_t>().subspan(record.offset, record.length);
}

std::span<const int32_t> TokenStore::labels(int64_t document) const {
  const DocumentRecord& record = documents()[static_cast<size_t>(document)];
  return tokens_.as<int32_t>().subspan(record.offset + record.length, record.length);
}

std::string TokenStore::place(const RowRecord& row) const {
  return fmt::format("{}: row {} (byte {})", report_.files[row.file].path, row.number, row.offset);
}

}  // namespace nibble
