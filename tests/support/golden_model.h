// A tiny model with what transformers and PEFT computed for it (tools/make_model_goldens.py), and a
// machine that runs the same thing on Nibble: on the CPU, or on the device that the environment's
// NIBBLE_TEST_DEVICE names.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "files/safetensors.h"
#include "ops/device.h"
#include "train/step.h"

namespace nibble::test {

class GoldenModel {
 public:
  explicit GoldenModel(const std::string& name);

  const std::filesystem::path& path() const { return path_; }
  const nlohmann::json& expected() const { return expected_; }
  std::vector<float> floats(const std::string& name) const;
  // Results: what the golden has for weights that are dequantized to their stored dtype first, as
  // Nibble does, where it distinguishes ("rounded."); else the plain ones.
  std::vector<float> result(const std::string& name) const;
  const nlohmann::json& results(const char* name) const;
  std::vector<int32_t> integers(const std::string& name) const;
  bool has_final_values() const;  // variants of another case have none

  int64_t documents() const { return static_cast<int64_t>(ids_.size()); }
  MicroBatch batch() const;              // all documents
  MicroBatch document(int64_t d) const;  // one
  AdapterConfig lora() const;
  // Training options of the golden's ten steps, in float32 without dropout.
  TrainOptions options() const;
  Adapter start() const;  // the adapter values that the golden starts from

 private:
  std::filesystem::path path_;
  nlohmann::json expected_;
  std::unique_ptr<SafetensorsFile> file_;
  std::vector<std::vector<int32_t>> ids_, labels_;
};

// NIBBLE_TEST_DEVICE, or cpu.
std::string test_device();

// Backend, reservations and training step for a model.
struct TrainingRig {
  ModelSource source;
  Device device;
  Buffer buffer;
  Arena arena;
  Buffer outside;
  Arena far;
  std::unique_ptr<Ops> backend;
  Ops& ops;
  TrainStep step;

  explicit TrainingRig(TrainOptions options, int threads = 2)
      : TrainingRig(ModelSource::open(options.model_name_or_path), options, {}, threads) {}
  // Without blocks the policy is what options.gradient_checkpointing says.
  TrainingRig(ModelSource of, TrainOptions options, const MemoryPolicy& policy, int threads = 2)
      : source(std::move(of)),
        device(choose_device(test_device(), threads)),
        buffer(reserve(device, bytes)),
        arena(buffer.data(), buffer.size()),
        outside(
            policy.uses_far_memory()
                ? reserve_far(device, far_bytes, std::filesystem::temp_directory_path().string())
                : Buffer()),
        far(outside.data(), outside.size()),
        backend(make_ops(device, arena, &far)),
        ops(*backend),
        step(source, on(device, options),
             policy.blocks.empty()
                 ? recompute_every(options.gradient_checkpointing, source.spec.layers)
                 : policy,
             ops) {}

 private:
  static constexpr size_t bytes = size_t{512} << 20, far_bytes = size_t{128} << 20;
  static const TrainOptions& on(const Device& device, TrainOptions& options) {
    options.device = device.name();
    return options;
  }
};

std::vector<float> download(Ops& ops, Tensor x);

// ||a - b|| / ||b|| in double.
double relative_error(const std::vector<float>& a, const std::vector<float>& b);

// The names of all golden cases with `expected.json`.
std::vector<std::string> golden_cases();

}  // namespace nibble::test
