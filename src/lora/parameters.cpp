#include "lora/parameters.h"

#include <cmath>
#include <map>
#include <span>

#include "core/rng.h"

namespace nibble {

LoraParameters::LoraParameters(const AdapterConfig& config, std::vector<LoraModule> modules,
                               uint64_t seed, bool with_gradients, Arena& arena)
    : config_(config),
      modules_(std::move(modules)),
      targets_(match_targets(config, modules_)),
      seed_(seed) {
  for (size_t i = 0; i < modules_.size(); ++i) {
    const int64_t r = rank(i);
    if (r == 0) {
      slot_of_.push_back({-1, -1});
      continue;
    }
    slot_of_.push_back({static_cast<int>(slots_.size()), static_cast<int>(slots_.size()) + 1});
    slots_.push_back({i, 'A', r, modules_[i].in_features, count_});
    count_ += slots_.back().size();
    slots_.push_back({i, 'B', modules_[i].out_features, r, count_});
    count_ += slots_.back().size();
  }
  values_ = arena.tensor(1, count_, DType::f32, MemoryUse::adapter, "adapter");
  if (with_gradients)
    gradients_ = arena.tensor(1, count_, DType::f32, MemoryUse::gradients, "adapter gradients");
}

Tensor LoraParameters::factor(Tensor vector, size_t module, char factor) const {
  const Slot& slot = slots_[static_cast<size_t>(slot_of_[module][factor == 'A' ? 0 : 1])];
  return slice(vector, slot).reshaped(slot.rows, slot.cols);
}

LoraAdapter LoraParameters::adapter(size_t module, bool training, Tensor dropout_step) const {
  if (rank(module) == 0) return {};
  LoraAdapter lora;
  lora.a = factor(values_, module, 'A');
  lora.b = factor(values_, module, 'B');
  lora.scaling = targets_.modules[module].scaling;
  lora.dropout = training ? static_cast<float>(config_.lora_dropout) : 0;
  lora.dropout_key = random_key(seed_, RandomUse::dropout) + module;
  lora.dropout_step = dropout_step;
  return lora;
}

LoraGradient LoraParameters::gradient(size_t module) const {
  if (rank(module) == 0) return {};
  return {factor(gradients_, module, 'A'), factor(gradients_, module, 'B')};
}

void LoraParameters::initialize(Ops& ops) {
  if (!ops.has_data()) return;
  std::vector<float> values(static_cast<size_t>(count_), 0.0f);
  const uint64_t key = random_key(seed_, RandomUse::lora_init);
  for (const Slot& slot : slots_) {
    if (slot.factor != 'A') continue;
    RandomSequence random(key, slot.module);
    const float bound = 1 / std::sqrt(static_cast<float>(slot.cols));
    for (int64_t i = 0; i < slot.size(); ++i)
      values[static_cast<size_t>(slot.offset + i)] = bound * (2 * uniform_float(random.next()) - 1);
  }
  ops.upload(values_, std::as_bytes(std::span(values)));
}

void LoraParameters::load(Ops& ops, const Adapter& adapter, const std::string& who) {
  std::map<std::string, const AdapterTensor*> given;
  for (const AdapterTensor& tensor : adapter.tensors)
    given[tensor.module + "/" + tensor.factor] = &tensor;
  for (const Slot& slot : slots_) {
    const std::string& module = modules_[slot.module].path;
    const auto found = given.find(module + "/" + slot.factor);
    if (found == given.end())
      fail(ErrorKind::bad_input,
           "{}: no lora_{} for {}; the adapter was made for another model or other targets", who,
           slot.factor, module);
    const AdapterTensor& tensor = *found->second;
    if (tensor.shape !=
        std::vector<uint64_t>{static_cast<uint64_t>(slot.rows), static_cast<uint64_t>(slot.cols)})
      fail(ErrorKind::bad_input, "{}: lora_{} of {} is {} x {}, expected {} x {}", who, slot.factor,
           module, tensor.shape.at(0), tensor.shape.at(1), slot.rows, slot.cols);
    ops.upload(slice(values_, slot), std::as_bytes(std::span(tensor.values)));
    given.erase(found);
  }
  if (!given.empty())
    fail(ErrorKind::bad_input, "{}: tensor {} belongs to no adapted module of this model", who,
         given.begin()->first);
}

Adapter LoraParameters::to_adapter(Ops& ops) const {
  Adapter adapter;
  adapter.config = config_;
  for (const Slot& slot : slots_) {
    AdapterTensor tensor;
    tensor.module = modules_[slot.module].path;
    tensor.factor = slot.factor;
    tensor.shape = {static_cast<uint64_t>(slot.rows), static_cast<uint64_t>(slot.cols)};
    tensor.values.resize(static_cast<size_t>(slot.size()));
    ops.download(std::as_writable_bytes(std::span(tensor.values)), slice(values_, slot));
    adapter.tensors.push_back(std::move(tensor));
  }
  return adapter;
}

}  // namespace nibble
