#include "train/run_checks.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace nibble {
namespace {

bool all_zero(std::span<const float> values) {
  return std::ranges::all_of(values, [](float x) { return x == 0; });
}

}  // namespace

void require_gradients(TrainStep& step) {
  const LoraParameters& parameters = step.parameters();
  std::vector<float> gradients(static_cast<size_t>(parameters.count()));
  step.ops().download(std::as_writable_bytes(std::span(gradients)), parameters.gradients());
  for (const LoraParameters::Slot& slot : parameters.slots()) {
    const auto of_slot = std::span(gradients).subspan(static_cast<size_t>(slot.offset),
                                                      static_cast<size_t>(slot.size()));
    if (all_zero(of_slot))
      fail(
          ErrorKind::diverged,
          "lora_{} of {} has no gradient: it would learn nothing; is its layer connected, and is a "
          "token trained in every step?",
          slot.factor, parameters.modules()[slot.module].path);
  }
}

void verify_adapter(const std::filesystem::path& folder, const Adapter& trained, bool moved) {
  const Adapter written = read_adapter(folder);
  std::map<std::string, const AdapterTensor*> by_key;
  for (const AdapterTensor& tensor : written.tensors) by_key[tensor.key()] = &tensor;
  if (by_key.size() != trained.tensors.size())
    fail(ErrorKind::internal, "{}: {} tensors were written, expected {}", folder.string(),
         by_key.size(), trained.tensors.size());
  for (const AdapterTensor& tensor : trained.tensors) {
    const auto found = by_key.find(tensor.key());
    if (found == by_key.end() || found->second->values != tensor.values)
      fail(ErrorKind::internal, "{}: {} is not what was trained", folder.string(), tensor.key());
    if (moved && tensor.factor == 'B' && all_zero(tensor.values))
      fail(ErrorKind::diverged,
           "{}: {} is still zero after training: the adapter would change nothing", folder.string(),
           tensor.key());
  }
}

std::set<int32_t> trained_ends(const TokenizedDataset& data, const Tokenizer& tokenizer) {
  std::set<int32_t> ends;
  for (int64_t document = 0; document < data.documents(); ++document) {
    const auto labels = data.labels(document);
    for (size_t i = 0; i < labels.size(); ++i)
      if (labels[i] >= 0 && (i + 1 == labels.size() || labels[i + 1] < 0) &&
          tokenizer.is_special(labels[i]))
        ends.insert(labels[i]);
  }
  return ends;
}

std::optional<std::string> corrected_generation_config(const std::optional<std::string>& present,
                                                       const SpecialTokens& special,
                                                       const std::set<int32_t>& ends) {
  std::vector<int32_t> stops = special.stop_ids;
  for (const int32_t end : ends)
    if (std::ranges::count(stops, end) == 0) stops.push_back(end);
  if (stops == special.stop_ids) return std::nullopt;
  auto json = nlohmann::ordered_json::object();
  if (present) json = nlohmann::ordered_json::parse(*present);
  json["eos_token_id"] = stops;
  return json.dump(2) + "\n";
}

}  // namespace nibble
