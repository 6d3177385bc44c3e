#include "transformer/inference_model.h"

namespace nibble {
namespace {

std::optional<LoraParameters> load_adapter(const ModelSpec& spec, const AdapterSource* source,
                                           Ops& ops) {
  if (!source) return std::nullopt;
  LoraParameters parameters(source->adapter.config, lora_modules(spec), 0, false, ops.arena());
  parameters.load(ops, source->adapter, source->path);
  return parameters;
}

}  // namespace

InferenceModel::InferenceModel(const ModelSource& source, const WeightOptions& options,
                               const AdapterSource* adapter, Ops& ops, const LoadProgress& progress)
    : weights_(load_weights(source, options, ops, progress)),
      lora_(load_adapter(source.spec, adapter, ops)),
      model_(source.spec, weights_, lora_ ? &*lora_ : nullptr, options.compute, ops) {}

}  // namespace nibble
