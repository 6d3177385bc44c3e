#include "support/golden_model.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "files/json.h"
#include "support/data.h"

namespace nibble::test {
namespace fs = std::filesystem;

GoldenModel::GoldenModel(const std::string& name)
    : path_(golden("models") / name),
      expected_(read_json_file(path_ / "expected.json", name)),
      file_(std::make_unique<SafetensorsFile>(path_ / "expected.safetensors")) {
  for (size_t d = 0; d < expected_.at("documents").size(); ++d) {
    ids_.push_back(integers("doc" + std::to_string(d) + ".tokens"));
    labels_.push_back(integers("doc" + std::to_string(d) + ".labels"));
  }
}

std::vector<float> GoldenModel::floats(const std::string& name) const {
  const SafetensorsInfo* info = file_->find(name);
  if (!info || info->dtype != "F32") throw std::runtime_error("no F32 tensor " + name);
  std::vector<float> values(info->bytes() / sizeof(float));
  file_->read(*info, 0, std::as_writable_bytes(std::span(values)));
  return values;
}

std::vector<float> GoldenModel::result(const std::string& name) const {
  return floats(file_->find("rounded." + name) ? "rounded." + name : name);
}

const nlohmann::json& GoldenModel::results(const char* name) const {
  return expected_.contains("rounded") ? expected_.at("rounded").at(name) : expected_.at(name);
}

std::vector<int32_t> GoldenModel::integers(const std::string& name) const {
  const SafetensorsInfo* info = file_->find(name);
  if (!info || info->dtype != "I32") throw std::runtime_error("no I32 tensor " + name);
  std::vector<int32_t> values(info->bytes() / sizeof(int32_t));
  file_->read(*info, 0, std::as_writable_bytes(std::span(values)));
  return values;
}

bool GoldenModel::has_final_values() const {
  return std::ranges::any_of(file_->tensors(), [](const SafetensorsInfo& info) {
    return info.name.starts_with("final.");
  });
}

MicroBatch GoldenModel::batch() const {
  MicroBatch all;
  for (size_t d = 0; d < ids_.size(); ++d) all.push_back({ids_[d], labels_[d]});
  return all;
}

MicroBatch GoldenModel::document(int64_t d) const {
  const auto i = static_cast<size_t>(d);
  return {{ids_[i], labels_[i]}};
}

AdapterConfig GoldenModel::lora() const {
  if (fs::exists(path_ / "adapter" / "adapter_config.json"))
    return read_adapter(path_ / "adapter").config;
  AdapterConfig config;
  config.r = expected_.at("lora").at("r").get<uint64_t>();
  config.lora_alpha = expected_.at("lora").at("alpha").get<double>();
  for (const auto& module : expected_.at("lora").at("modules").items())
    config.target_modules.push_back(module.key());
  return config;
}

TrainOptions GoldenModel::options() const {
  TrainOptions options;
  options.model_name_or_path = path_.string();
  options.lora = lora();
  options.load_in_4bit = fs::path(path_).filename().string().starts_with("bnb");
  options.bnb_4bit_compute_dtype = "float32";
  const nlohmann::json& optimizer = expected_.at("optimizer");
  options.learning_rate = optimizer.at("lr").get<double>();
  options.weight_decay = optimizer.at("weight_decay").get<double>();
  options.adam_epsilon = optimizer.at("eps").get<double>();
  options.max_grad_norm = optimizer.at("max_grad_norm").get<double>();
  return options;
}

Adapter GoldenModel::start() const {
  Adapter adapter;
  adapter.config = lora();
  const std::string prefix = "start.base_model.model.";
  for (const SafetensorsInfo& info : file_->tensors()) {
    if (!info.name.starts_with(prefix)) continue;
    AdapterTensor tensor;
    const size_t factor = info.name.find(".lora_");
    tensor.module = info.name.substr(prefix.size(), factor - prefix.size());
    tensor.factor = info.name[factor + 6];
    tensor.shape = info.shape;
    tensor.values = floats(info.name);
    adapter.tensors.push_back(std::move(tensor));
  }
  return adapter;
}

std::string test_device() {
  const char* device = std::getenv("NIBBLE_TEST_DEVICE");
  return device ? device : "cpu";
}

std::vector<float> download(Ops& ops, Tensor x) {
  std::vector<float> values(static_cast<size_t>(x.size()));
  ops.download(std::as_writable_bytes(std::span(values)), x);
  return values;
}

double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return INFINITY;
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference += d * d;
    norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return std::sqrt(difference / std::max(norm, 1e-300));
}

std::vector<std::string> golden_cases() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(golden("models")))
    if (fs::exists(entry.path() / "expected.json"))
      names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  return names;
}

}  // namespace nibble::test
