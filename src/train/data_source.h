// The datasets of a run: from options to tokenized documents, and what was found on the way.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "data/dataset_loader.h"
#include "data/row_encoder.h"
#include "train/options.h"
#include "train/tokenizer_source.h"
#include "transformer/batch.h"

namespace nibble {

inline DocumentView view_of(const TokenizedDataset& data, int64_t document) {
  return {data.ids(document), data.labels(document)};
}

struct RunData {
  TokenizedDataset train;
  std::optional<TokenizedDataset> eval;  // eval_dataset, or the rows held out by val_set_size
};

// Loads options.dataset and, with `with_eval`, options.eval_dataset. Tokenized rows are kept in
// `cache_folder` unless that is empty. Throws what load_dataset does.
RunData load_run_data(const TrainOptions& options, const TokenizerSource& tokens,
                      int64_t vocab_size, const std::filesystem::path& cache_folder, bool with_eval,
                      const DatasetEvents& events);

// "1456 rows", or "1400 rows in 1456 documents" where some rows are several.
std::string rows_and_documents(const TokenizedDataset& data);

// Rows, tokens, how many are trained, what was cut: lines for people.
void describe_dataset(const std::string& name, const TokenizedDataset& data,
                      const std::function<void(const std::string&)>& note);

}  // namespace nibble
