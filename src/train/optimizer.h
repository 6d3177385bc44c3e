// AdamW over the adapter, with 32-bit or 8-bit moments.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lora/parameters.h"
#include "ops/ops.h"
#include "transformer/policy.h"

namespace nibble {

enum class OptimizerType { adamw, adamw_8bit };

struct OptimizerOptions {
  OptimizerType type = OptimizerType::adamw;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  double max_grad_norm = 1;  // 0: no clipping
  Place moments = Place::near;
};

class Optimizer {
 public:
  // Takes the moments from the arena or from far memory, and one number for the norm.
  Optimizer(const OptimizerOptions& options, const LoraParameters& parameters, Ops& ops);

  void reset();  // all moments to zero, as before the first step

  // Global L2 norm of the gradients; waits for the device.
  float gradient_norm();
  // One update at `learning_rate`, the `step`-th (from 1), of gradients that are loss_scale times
  // too large, clipped as torch's clip_grad_norm_ does for the norm given (of the true ones).
  void update(double learning_rate, int64_t step, float gradient_norm, float loss_scale = 1);

  // The state as named tensors, in a fixed order, for checkpoints.
  struct StateTensor {
    std::string name;
    Tensor data;
  };
  std::vector<StateTensor> state() const;

 private:
  static constexpr int64_t far_piece = int64_t{1} << 22;  // elements
  // bitsandbytes keeps moments of tensors below this size in 32 bits.
  static constexpr int64_t min_8bit_size = 4096;
  struct Moments {
    LoraParameters::Slot slot;
    Tensor m, v;          // f32 [1, n], or
    Adam8bitState state;  // 8-bit
  };

  // Far moments pass through near memory in pieces, the next one coming while one is used.
  void update_far(Tensor p, Tensor g, const AdamWOptions& options);

  OptimizerOptions options_;
  const LoraParameters& parameters_;
  Ops& ops_;
  Tensor m_, v_;  // f32 [1, count]: of all parameters at once when nothing is in 8 bits
  std::vector<Moments> moments_;
  Tensor norm_;  // f32 [1, 1]
};

}  // namespace nibble
