// A base model with, perhaps, an adapter, laid out for forward passes only: no gradients, no
// moments. What evaluation, generation and the check of a merge run on.
#pragma once

#include <optional>
#include <string>

#include "files/adapter_dir.h"
#include "lora/parameters.h"
#include "transformer/model.h"
#include "transformer/weights.h"

namespace nibble {

// An adapter folder, read and checked.
struct AdapterSource {
  std::string path;
  Adapter adapter;

  static AdapterSource open(const std::string& path) { return {path, read_adapter(path)}; }
};

// What Nibble writes about an adapter's base into its metadata.
constexpr const char* base_fingerprint_key = "base_fingerprint";

// A line for people when the adapter says that it was trained on other weights than these.
std::optional<std::string> base_warning(const AdapterSource& adapter, const ModelSource& source);

class InferenceModel {
 public:
  // Lays out and, with data, fills weights and adapter (null: the bare base) in the arena of `ops`.
  // Throws bad_input or usage for an adapter that does not belong to this model, without data too.
  InferenceModel(const ModelSource& source, const WeightOptions& options,
                 const AdapterSource* adapter, Ops& ops, const LoadProgress& progress = {});
  InferenceModel(const InferenceModel&) = delete;
  InferenceModel& operator=(const InferenceModel&) = delete;

  const Model& model() const { return model_; }

 private:
  ModelWeights weights_;
  std::optional<LoraParameters> lora_;
  Model model_;
};

}  // namespace nibble
