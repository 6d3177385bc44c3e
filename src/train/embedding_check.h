// Tokens that the base model never saw in training, known by their embedding: rows of initial
// values are far shorter than trained ones.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "transformer/weights.h"

namespace nibble {

struct UntrainedToken {
  int32_t id = 0;
  double part_of_median = 0;  // of the norms of the vocabulary's rows
};

// Those of `ids` whose embedding's norm is below a quarter of the vocabulary's median, which 512
// rows spread over the first vocab_size ones tell. Nothing for a folder without weights.
std::vector<UntrainedToken> untrained_tokens(const ModelSource& source,
                                             std::span<const int32_t> ids, int64_t vocab_size);

}  // namespace nibble
