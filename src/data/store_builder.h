// The pipeline behind load_dataset: rows are read and results written by the calling thread, in
// order; in between, workers parse and encode batches of rows.
#pragma once

#include <filesystem>
#include <vector>

#include "data/dataset_files.h"
#include "data/dataset_loader.h"

namespace nibble {

// Writes the files of a TokenStore into `folder`, an existing one. Throws what load_dataset does.
// Memory: batches in flight (at most 16 MiB of rows, or one row that is larger, with what they
// become), and then 8 bytes a row to find duplicates.
void build_token_store(const std::vector<HashedFile>& files, const DatasetSpec& spec,
                       const EncodeRow& encode, const DatasetEvents& events,
                       const std::filesystem::path& folder);

}  // namespace nibble
