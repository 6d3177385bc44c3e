#include "transformer/policy.h"

#include <algorithm>

namespace nibble {

const char* name_of(Keep keep) {
  switch (keep) {
    case Keep::input:
      return "nothing";
    case Keep::attention:
      return "attention output";
    case Keep::qkv:
      return "+ q, k, v";
    case Keep::mlp_input:
      return "+ MLP input";
    case Keep::gate_up:
      return "+ gate, up";
    case Keep::all:
      return "everything";
  }
  return "?";
}

bool MemoryPolicy::uses_far_memory() const {
  return embedding == Place::far || head == Place::far || moments == Place::far ||
         std::ranges::any_of(blocks, [](const BlockPolicy& block) {
           return block.weights == Place::far || block.input == Place::far ||
                  (block.keep != Keep::input && block.kept == Place::far);
         });
}

MemoryPolicy recompute_every(int64_t n, int64_t layers) {
  MemoryPolicy policy;
  policy.blocks.resize(static_cast<size_t>(layers));
  for (int64_t i = 0; i < layers; ++i)
    policy.blocks[static_cast<size_t>(i)].keep = n > 0 && i % n == 0 ? Keep::input : Keep::all;
  return policy;
}

}  // namespace nibble
