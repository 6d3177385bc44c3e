#include "transformer/inference_model.h"

#include "core/error.h"
#include "files/model_fingerprint.h"

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

std::optional<std::string> base_warning(const AdapterSource& adapter, const ModelSource& source) {
  const auto trained_on = adapter.adapter.metadata.find(base_fingerprint_key);
  if (trained_on == adapter.adapter.metadata.end() || !source.dir ||
      trained_on->second == fingerprint(*source.dir))
    return std::nullopt;
  return fmt::format("warning: {} was trained on another base than {}: the weights differ",
                     adapter.path, source.path);
}

InferenceModel::InferenceModel(const ModelSource& source, const WeightOptions& options,
                               const AdapterSource* adapter, Ops& ops, const LoadProgress& progress)
    : weights_(load_weights(source, options, ops, progress)),
      lora_(load_adapter(source.spec, adapter, ops)),
      model_(source.spec, weights_, lora_ ? &*lora_ : nullptr, options.compute, ops) {}

}  // namespace nibble
