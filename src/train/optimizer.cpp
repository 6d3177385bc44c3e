#include "train/optimizer.h"

#include <algorithm>
#include <cmath>

namespace nibble {

Optimizer::Optimizer(const OptimizerOptions& options, const LoraParameters& parameters, Ops& ops)
    : options_(options), parameters_(parameters), ops_(ops) {
  const auto use = MemoryUse::optimizer;
  norm_ = ops.arena().tensor(1, 1, DType::f32, use, "gradient norm");
  Arena& arena = options.moments == Place::far ? ops.far() : ops.arena();
  if (options.type == OptimizerType::adamw) {
    m_ = arena.tensor(1, parameters.count(), DType::f32, use, "first moments");
    v_ = arena.tensor(1, parameters.count(), DType::f32, use, "second moments");
    return;
  }
  for (const LoraParameters::Slot& slot : parameters.slots()) {
    Moments moments{slot, {}, {}, {}};
    const int64_t n = slot.size();
    if (n < min_8bit_size) {
      moments.m = arena.tensor(1, n, DType::f32, use, "first moments");
      moments.v = arena.tensor(1, n, DType::f32, use, "second moments");
    } else {
      const int64_t blocks = (n + 255) / 256;
      moments.state = {arena.tensor(1, n, DType::u8, use, "first moment codes"),
                       arena.tensor(1, n, DType::u8, use, "second moment codes"),
                       arena.tensor(1, blocks, DType::f32, use, "first moment scales"),
                       arena.tensor(1, blocks, DType::f32, use, "second moment scales")};
    }
    moments_.push_back(moments);
  }
}

std::vector<Optimizer::StateTensor> Optimizer::state() const {
  if (m_) return {{"m", m_}, {"v", v_}};
  std::vector<StateTensor> all;
  for (const Moments& moments : moments_) {
    const std::string name =
        parameters_.modules()[moments.slot.module].path + ".lora_" + moments.slot.factor;
    if (moments.m) {
      all.push_back({name + ".m", moments.m});
      all.push_back({name + ".v", moments.v});
    } else {
      all.push_back({name + ".m_codes", moments.state.m_codes});
      all.push_back({name + ".v_codes", moments.state.v_codes});
      all.push_back({name + ".m_absmax", moments.state.m_absmax});
      all.push_back({name + ".v_absmax", moments.state.v_absmax});
    }
  }
  return all;
}

void Optimizer::reset() {
  for (const StateTensor& tensor : state()) ops_.zero(tensor.data);
}

float Optimizer::gradient_norm() {
  ops_.sum_of_squares(norm_, parameters_.gradients());
  float sum = 0;
  ops_.download(std::as_writable_bytes(std::span(&sum, 1)), norm_);
  return std::sqrt(sum);
}

void Optimizer::update(double learning_rate, int64_t step, float gradient_norm, float loss_scale) {
  AdamWOptions options;
  options.learning_rate = learning_rate;
  options.beta1 = options_.beta1;
  options.beta2 = options_.beta2;
  options.epsilon = options_.epsilon;
  options.weight_decay = options_.weight_decay;
  options.step = step;
  if (options_.max_grad_norm > 0)  // torch.nn.utils.clip_grad_norm_
    options.gradient_scale =
        std::min(1.0f, static_cast<float>(options_.max_grad_norm) / (gradient_norm + 1e-6f));
  options.gradient_scale /= loss_scale;
  const Tensor p = parameters_.values(), g = parameters_.gradients();
  if (m_) {
    ops_.adamw(p, g, m_, v_, options);
    ops_.idle(m_);
    ops_.idle(v_);
    return;
  }
  for (const Moments& moments : moments_) {
    const Tensor slot_p = parameters_.slice(p, moments.slot);
    const Tensor slot_g = parameters_.slice(g, moments.slot);
    if (moments.m)
      ops_.adamw(slot_p, slot_g, moments.m, moments.v, options);
    else
      ops_.adamw_8bit(slot_p, slot_g, moments.state, options);
  }
}

}  // namespace nibble
