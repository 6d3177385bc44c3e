// The trainable parameters: every adapter's A and B, one after the other in one float32 vector,
// with their gradients in a second vector of the same layout.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/arena.h"
#include "files/adapter_dir.h"
#include "lora/targets.h"
#include "ops/ops.h"

namespace nibble {

class LoraParameters {
 public:
  // One tensor of one module, at [offset, offset + size) of the vectors.
  struct Slot {
    size_t module = 0;
    char factor = 'A';
    int64_t rows = 0, cols = 0, offset = 0;
    int64_t size() const { return rows * cols; }
  };

  // Lays out adapters for `modules`; takes the parameters from the arena, and the gradients too
  // when `with_gradients`. `seed` draws the first values and the dropout masks.
  LoraParameters(const AdapterConfig& config, std::vector<LoraModule> modules, uint64_t seed,
                 bool with_gradients, Arena& arena);

  const AdapterConfig& config() const { return config_; }
  const std::vector<LoraModule>& modules() const { return modules_; }
  const LoraTargets& targets() const { return targets_; }
  const std::vector<Slot>& slots() const { return slots_; }
  int64_t count() const { return count_; }

  Tensor values() const { return values_; }        // f32 [1, count]
  Tensor gradients() const { return gradients_; }  // f32 [1, count], or empty
  Tensor slice(Tensor vector, const Slot& slot) const {
    return vector.columns(slot.offset, slot.size());
  }

  // Empty views for a module without adapter. dropout is the configured one only when `training`.
  LoraAdapter adapter(size_t module, bool training, Tensor dropout_step) const;
  LoraGradient gradient(size_t module) const;
  int64_t rank(size_t module) const { return targets_.modules[module].rank; }

  // A uniform in +-1/sqrt(in) (kaiming_uniform with a = sqrt(5), as PEFT), B zero.
  void initialize(Ops& ops);
  // From an adapter on disk. Throws bad_input unless its tensors are exactly the ones laid out
  // here.
  void load(Ops& ops, const Adapter& adapter, const std::string& who);
  // The tensors as files/adapter_dir writes them.
  Adapter to_adapter(Ops& ops) const;

 private:
  Tensor factor(Tensor vector, size_t module, char factor) const;

  AdapterConfig config_;
  std::vector<LoraModule> modules_;
  LoraTargets targets_;
  std::vector<Slot> slots_;
  std::vector<std::array<int, 2>> slot_of_;  // module -> slots of A and B, or -1
  int64_t count_ = 0;
  uint64_t seed_;
  Tensor values_, gradients_;
};

}  // namespace nibble
