// Tokenized rows on disk, memory-mapped: what a dataset takes in memory does not grow with its
// tokens. Layout: a folder of
//   tokens.bin     i32: of each document its ids, then its labels
//   documents.bin  a DocumentRecord for each document
//   rows.bin       a RowRecord for each row that gave a document
//   report.json    files and counts (DatasetReport)
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "data/encoded_row.h"
#include "data/findings.h"
#include "data/mapped_file.h"
#include "files/file_io.h"

namespace nibble {

struct DocumentRecord {
  uint64_t offset = 0;   // of its ids in tokens.bin, in i32; the labels follow them
  uint32_t length = 0;   // tokens
  uint32_t trained = 0;  // labels >= 0 behind the first token, which is never predicted
  uint64_t row = 0;      // index into rows.bin
};
static_assert(sizeof(DocumentRecord) == 24);

struct RowRecord {
  uint64_t file = 0;    // index into DatasetReport::files
  uint64_t number = 0;  // as in RawRow
  uint64_t offset = 0;
  uint64_t text_hash = 0;   // first 8 bytes of the SHA-256 of the row's bytes,
  uint64_t token_hash = 0;  // and of its documents' ids
};
static_assert(sizeof(RowRecord) == 40);

// What was read, before weights and held-out rows choose among it.
struct DatasetReport {
  struct File {
    std::string path;
    std::string format;  // row_format_name()
    uint64_t bytes = 0;
    int64_t rows = 0;    // understood
    uint64_t entry = 0;  // which of DatasetSpec::paths named it
  };
  std::vector<File> files;
  int64_t rows = 0;          // understood
  int64_t skipped_rows = 0;  // not understood, under BadRows::skip
  int64_t dropped_rows = 0;  // of which the encoder made no document
  int64_t cut_rows = 0;      // that lost tokens to max_length,
  int64_t cut_tokens = 0;    // and how many
  Findings findings;

  std::string to_json() const;
  // Throws bad_input.
  static DatasetReport from_json(const std::string& text, const std::string& who);
};

class TokenStoreWriter {
 public:
  // Creates the three files in an existing folder.
  explicit TokenStoreWriter(const std::filesystem::path& folder);

  // `row` must have documents. Memory is a buffer.
  void add(const RowRecord& row, const std::vector<Document>& documents);
  void finish();

 private:
  // Appends to a file through a buffer.
  class Stream {
   public:
    explicit Stream(const std::filesystem::path& path) : path_(path), file_(create_file(path)) {}
    void write(std::span<const std::byte> bytes);
    void flush();

   private:
    std::filesystem::path path_;
    FileDescriptor file_;
    std::string buffer_;
  };

  Stream tokens_, documents_, rows_;
  uint64_t token_offset_ = 0;
  uint64_t row_count_ = 0;
};

class TokenStore {
 public:
  // Checks every record and token: sizes and offsets, ids in [0, vocab_size), labels that are the
  // id or -100, counts. Throws bad_input where something is amiss. The files may be removed
  // afterwards.
  TokenStore(const std::filesystem::path& folder, int64_t vocab_size);

  std::span<const DocumentRecord> documents() const { return documents_.as<DocumentRecord>(); }
  std::span<const RowRecord> rows() const { return rows_.as<RowRecord>(); }
  std::span<const int32_t> ids(int64_t document) const;
  std::span<const int32_t> labels(int64_t document) const;
  const DatasetReport& report() const { return report_; }
  // "train.jsonl: row 3 (byte 812)"
  std::string place(const RowRecord& row) const;

 private:
  void check(int64_t vocab_size) const;

  MappedFile tokens_, documents_, rows_;
  DatasetReport report_;
};

}  // namespace nibble
