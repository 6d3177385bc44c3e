// A row as it will be trained: its documents, and what was noticed on the way.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "data/findings.h"

namespace nibble {

struct Document {
  std::vector<int32_t> ids;
  std::vector<int32_t> labels;  // ids[i], or -100 where the token is not trained
};

struct EncodedRow {
  std::vector<Document> documents;  // none where the row is dropped, several where it is split
  std::vector<Finding> findings;
  int64_t cut_tokens = 0;  // lost to max_length

  void found(Guard guard, std::string detail) {
    findings.emplace_back(Finding{guard, std::move(detail)});
  }
};

}  // namespace nibble
