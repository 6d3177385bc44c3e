// One micro-batch on the device: documents laid end to end, without padding.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/arena.h"
#include "ops/ops.h"
#include "transformer/model_spec.h"

namespace nibble {

// A tokenized document on the host, a view. labels[i] is ids[i] where the token is trained and -100
// where it is not, as in Hugging Face datasets; the shift to next-token targets happens in the
// batch. Without labels nothing is trained.
struct DocumentView {
  std::span<const int32_t> ids;
  std::span<const int32_t> labels;
};

// Tokens that a document contributes to the loss: the first token is never predicted.
int64_t trained_tokens(const DocumentView& document);

class Batch {
 public:
  // Where a document of a generation stands: so many tokens are in the cache already, and so long
  // will it become (which decides longrope's list once for all of it).
  struct Continuation {
    int32_t cached = 0;
    int64_t final_length = 0;
  };

  // Takes the device tensors from the arena and fills them. `continuations` is empty in training,
  // else one for each document.
  Batch(std::span<const DocumentView> documents, const ModelSpec& spec, Tensor inverse_frequencies,
        Ops& ops, std::span<const Continuation> continuations = {});

  int64_t tokens() const { return ids.cols; }
  Documents documents() const { return {query_offsets_, key_offsets_, offsets_}; }
  // What training on the batch depends on besides what lies on the device.
  Ops::Key shape() const;

  int64_t trained = 0;  // targets >= 0
  Tensor ids;           // i32 [1, T]
  Tensor targets;       // i32 [1, T]: the next token of the same document, or -100
  Tensor cos, sin;      // f32 [T, rotary_dim/2]
  Tensor positions;     // i32 [1, T], in their documents; in generation only

 private:
  std::vector<int32_t> query_offsets_, key_offsets_;
  Tensor offsets_;
};

}  // namespace nibble
