#include "train/optimizer.h"

#include <algorithm>
#include <array>
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
  for (const StateTensor& tensor : state()) {
    ops_.zero(tensor.data);
    ops_.idle(tensor.data);
  }
}

float Optimizer::gradient_norm() {
  ops_.sum_of_squares(norm_, parameters_.gradients());
  float sum = 0;
  ops_.download(std::as_writable_bytes(std::span(&sum, 1)), norm_);
  return std::sqrt(sum);
}

void Optimizer::update_far(Tensor p, Tensor g, const AdamWOptions& options) {
  Arena& arena = ops_.arena();
  const Arena::Scope scope(arena);
  const int64_t piece = std::min(far_piece, p.cols), pieces = (p.cols + piece - 1) / piece;
  struct Slot {
    Tensor m, v;
    Ops::Ticket fetched, stored;
  };
  std::array<Slot, 3> slots;  // one in use, one coming, one leaving
  for (Slot& slot : slots) {
    slot.m = arena.tensor(1, piece, DType::f32, MemoryUse::working_set, "passing moments");
    slot.v = arena.tensor(1, piece, DType::f32, MemoryUse::working_set, "passing moments");
  }
  const auto part = [&](Tensor all, int64_t i) {
    return all.columns(i * piece, std::min(piece, p.cols - i * piece));
  };
  const auto slot_of = [&](int64_t i) -> Slot& {
    return slots[static_cast<size_t>(i) % slots.size()];
  };
  const auto fetch = [&](int64_t i) {
    if (i >= pieces) return;
    Slot& slot = slot_of(i);
    const Tensor m = part(m_, i), v = part(v_, i);
    ops_.wait(slot.stored);
    (void)ops_.fetch(slot.m.columns(0, m.cols), m);
    slot.fetched = ops_.fetch(slot.v.columns(0, v.cols), v);  // behind the former
  };
  fetch(0);
  for (int64_t i = 0; i < pieces; ++i) {
    fetch(i + 1);
    Slot& slot = slot_of(i);
    const Tensor far_m = part(m_, i), far_v = part(v_, i);
    const Tensor m = slot.m.columns(0, far_m.cols), v = slot.v.columns(0, far_v.cols);
    ops_.wait(slot.fetched);
    ops_.adamw(part(p, i), part(g, i), m, v, options);
    (void)ops_.store(far_m, m);
    slot.stored = ops_.store(far_v, v);
  }
  for (const Slot& slot : slots) ops_.wait(slot.stored);
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
  if (m_ && ops_.is_far(m_)) return update_far(p, g, options);
  if (m_) return ops_.adamw(p, g, m_, v_, options);
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
