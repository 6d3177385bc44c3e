// What a run keeps, and where: in the device's memory (near), or outside of it (far: on the host
// beside a GPU, in a file beside the CPU). Never changes a bit of the result; memory/search
// chooses.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/ops.h"

namespace nibble {

enum class Place : uint8_t { near, far };

// What forward leaves of a block for backward besides its input; each level also leaves what those
// before it do. Backward computes the rest again.
enum class Keep : uint8_t {
  input,      // nothing
  attention,  // attention's output and log-sum-exp
  qkv,        // q, k and v as attention reads them
  mlp_input,  // x + o(attention)
  gate_up,    // the MLP's two projections
  all,        // every activation
};
inline constexpr int keep_levels = 6;
const char* name_of(Keep keep);

struct BlockPolicy {
  Place weights = Place::near;  // far: fetched for each use
  Place input = Place::near;    // between forward and backward
  Keep keep = Keep::input;
  Place kept = Place::near;  // what `keep` keeps; blocks that keep it far all keep the same
};

struct MemoryPolicy {
  std::vector<BlockPolicy> blocks;
  Place embedding = Place::near;  // also the head that is tied to it
  Place head = Place::near;       // of its own
  Place moments = Place::near;    // of the optimizer
  LogitsIn logits = LogitsIn::rows;
  int passing = 2;  // near copies of far inputs, 1 or 2: with 2 the next comes while one is used
  // Whether micro-batches go through Ops::repeat: worth its memory where a device has less to do in
  // one than the host has to queue it. Only with everything near.
  bool recorded = false;

  bool uses_far_memory() const;
};

// Everything near; every n-th block keeps only its input (1: every block), the others all; n = 0:
// no block recomputes.
MemoryPolicy recompute_every(int64_t n, int64_t layers);

}  // namespace nibble
