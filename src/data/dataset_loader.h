// Data files -> tokenized documents, for data of any size.
//
// Rows are read in order, encoded by several threads, and written in order to a token store on
// disk, so that the result does not depend on the number of threads. The store is kept in a cache
// folder under the hash of all that it depends on, or, without a folder, as files already removed.
// Memory: docs/data.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/encoded_row.h"
#include "data/row_format.h"
#include "data/row_reader.h"
#include "data/token_store.h"

namespace nibble {

// What becomes of a row that is not understood, or that the encoder refuses.
enum class BadRows { refuse, skip };
BadRows parse_bad_rows(std::string_view name);  // throws usage

struct DatasetSpec {
  std::vector<std::string> paths;  // files and folders
  // dataset_weights, one for each path or none: how often its rows are taken. A fraction takes each
  // row by a hash of seed and row: 1.5 is every row once, and about half of them twice.
  std::vector<double> weights;
  RowFormatOptions format;
  RowReaderOptions rows;
  BadRows bad_rows = BadRows::refuse;
  // Rows held out for evaluation: a fraction below 1, or a count. Chosen by a hash of seed and the
  // row's bytes, so equal rows stay together and the order of files does not matter.
  double val_set_size = 0;
  uint64_t seed = 42;

  int64_t vocab_size = 0;  // every id is below
  std::string identity;    // of the encoder: changes with whatever its result depends on
  // Where stores are kept, as <cache_name>-<key>; those of the same name with other keys are
  // removed. Empty: nothing is kept.
  std::filesystem::path cache_folder;
  std::string cache_name = "train";
  int threads = 0;  // 0: all processors
};

// Called from several threads. An Error(bad_input) that it throws gets the row's place in front.
using EncodeRow = std::function<EncodedRow(const Example&)>;

struct DatasetEvents {
  std::function<void(uint64_t done, uint64_t total)> progress;  // bytes; may throw to stop
  std::function<void(const std::string&)> note;
};

// Documents of a store, some of them or some several times. Copies share the store.
class TokenizedDataset {
 public:
  TokenizedDataset() = default;
  // `documents` are indices into the store's.
  TokenizedDataset(std::shared_ptr<const TokenStore> store, std::vector<int64_t> documents,
                   std::string sha256);

  int64_t documents() const { return std::ssize(documents_); }
  std::span<const int32_t> ids(int64_t i) const { return store_->ids(at(i)); }
  // ids(i), with -100 where a token is not trained.
  std::span<const int32_t> labels(int64_t i) const { return store_->labels(at(i)); }
  int64_t length(int64_t i) const { return record(i).length; }
  int64_t trained(int64_t i) const { return record(i).trained; }
  // Of the row that the document is of: "train.jsonl: row 3 (byte 812)".
  std::string place(int64_t i) const { return store_->place(row(i)); }
  const RowRecord& row(int64_t i) const { return store_->rows()[record(i).row]; }
  // A row that is split, or whose turns are texts of their own, is several documents, one after the
  // other. Whether document i is the first of them.
  bool starts_row(int64_t i) const {
    return at(i) == 0 || store_->documents()[static_cast<size_t>(at(i)) - 1].row != record(i).row;
  }

  int64_t rows() const { return rows_; }  // each as often as it is taken
  int64_t tokens() const { return tokens_; }
  int64_t trained_tokens() const { return trained_tokens_; }
  int64_t longest() const { return longest_; }
  // Of what was read: also of rows that are held out or not taken.
  const DatasetReport& report() const { return store_->report(); }
  // Of all that the documents depend on: the files' bytes, the encoder, and what was chosen.
  const std::string& sha256() const { return sha256_; }

 private:
  int64_t at(int64_t i) const { return documents_[static_cast<size_t>(i)]; }
  const DocumentRecord& record(int64_t i) const {
    return store_->documents()[static_cast<size_t>(at(i))];
  }

  std::shared_ptr<const TokenStore> store_;
  std::vector<int64_t> documents_;
  std::string sha256_;
  int64_t rows_ = 0, tokens_ = 0, trained_tokens_ = 0, longest_ = 0;
};

struct LoadedDataset {
  TokenizedDataset train;
  TokenizedDataset held_out;  // without documents where val_set_size is 0
  bool from_cache = false;
};

// Throws bad_input, naming file, row and byte, for the first row that is bad (BadRows::refuse), a
// file that is broken or has no rows, and where no document is left; usage for a bad weight or
// val_set_size.
LoadedDataset load_dataset(const DatasetSpec& spec, const EncodeRow& encode,
                           const DatasetEvents& events = {});

// Rows of `eval` that have the same tokens as a row of `train`: a leak.
struct SharedRows {
  int64_t count = 0;
  std::string first_place;  // in `eval`
};
SharedRows shared_rows(const TokenizedDataset& train, const TokenizedDataset& eval);

}  // namespace nibble
