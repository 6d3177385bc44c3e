#include "export/merge_model.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/rng.h"
#include "export/derived_model.h"
#include "memory/planned_run.h"

namespace nibble {
namespace {

constexpr int64_t prompt_length = 32;
constexpr const char* remedy =
    "give --compare_prompts 0 to merge without comparing, which takes one tensor's memory";

// A and B of each module, and what they are scaled by.
class AdapterFactors {
 public:
  AdapterFactors(const AdapterSource& source, const ModelSpec& spec)
      : targets_(match_targets(source.adapter.config, lora_modules(spec))) {
    for (const AdapterTensor& tensor : source.adapter.tensors)
      tensors_[tensor.module + "/" + tensor.factor] = &tensor;
  }

  const LoraTarget& target(const LinearPlace& linear) const {
    return targets_.modules[linear.index];
  }
  const AdapterTensor& factor(const LinearPlace& linear, char factor) const {
    return *tensors_.at(linear.path + "/" + factor);
  }

 private:
  LoraTargets targets_;
  std::map<std::string, const AdapterTensor*> tensors_;
};

// w += scaling * B A, all float32. With A transposed as the weight of a linear layer and the rows
// of B as its tokens, this is a linear layer with a residual.
void add_product(Tensor w, const AdapterFactors& factors, const LinearPlace& linear, Ops& ops) {
  const LoraTarget& target = factors.target(linear);
  const int64_t rank = target.rank;
  Arena& arena = ops.arena();
  const Arena::Scope scope(arena);
  const auto use = MemoryUse::adapter;
  const Tensor scaled_b = arena.tensor(w.rows, rank, DType::f32, use, "scaling * B");
  FrozenLinear a_transposed;
  a_transposed.out_features = w.cols;
  a_transposed.in_features = rank;
  a_transposed.dense = arena.tensor(w.cols, rank, DType::f32, use, "A transposed");
  if (ops.has_data()) {
    std::vector<float> b = factors.factor(linear, 'B').values;
    for (float& value : b) value *= target.scaling;
    const std::vector<float>& a = factors.factor(linear, 'A').values;
    std::vector<float> transposed(a.size());
    for (int64_t i = 0; i < w.cols; ++i)
      for (int64_t r = 0; r < rank; ++r)
        transposed[static_cast<size_t>(i * rank + r)] = a[static_cast<size_t>(r * w.cols + i)];
    ops.upload(scaled_b, std::as_bytes(std::span(b)));
    ops.upload(a_transposed.dense, std::as_bytes(std::span(transposed)));
  }
  const LoraLinear product{a_transposed, {}, {}};
  ops.lora_linear_forward(w, w, scaled_b, {{&product, 1}});
}

class Merge {
 public:
  Merge(const ModelSource& source, const AdapterSource& adapter, const MergeOptions& options,
        const MergeEvents& events)
      : source_(source),
        adapter_(adapter),
        options_(options),
        cpu_{Device::Kind::cpu, 0, options.threads},
        events_(events),
        linears_(linear_places(source.spec)),
        factors_(adapter, source.spec) {}

  MergeResult run();

 private:
  void stream(Ops& ops, ModelWriter* writer);
  WeightOptions weight_options(bool quantized) const {
    return {options_.compute, quantized, options_.quant, {}};
  }
  std::vector<std::vector<int32_t>> prompts() const;
  Work logits_work(const ModelSource& source, bool live, std::vector<float>* logits,
                   const LoadProgress& progress) const;
  void compare(const ModelSource& merged, MergeResult& result) const;

  const ModelSource& source_;
  const AdapterSource& adapter_;
  const MergeOptions& options_;
  const Device cpu_;  // merging is bound by the disk
  const MergeEvents& events_;
  std::vector<LinearPlace> linears_;
  AdapterFactors factors_;
  std::vector<DType> stored_dtypes_;  // of each linear layer, merged
};

// One layer at a time: load, dequantize, add, round, write. Without a writer it finds out the
// dtypes.
void Merge::stream(Ops& ops, ModelWriter* writer) {
  stored_dtypes_.resize(linears_.size());
  WeightOptions weights = weight_options(options_.into == MergeInto::dequantized);
  weights.compute = DType::f32;
  for (const LinearPlace& linear : linears_) {
    const bool adapted = factors_.target(linear).rank > 0;
    DType& dtype = stored_dtypes_[linear.index];
    dtype = source_.weights().info(linear.weight()).dtype;
    if (!adapted && options_.into == MergeInto::original) {
      if (writer) writer->copy(source_.weights(), linear.weight());
      continue;
    }
    const Arena::Scope scope(ops.arena());
    Arena& arena = ops.arena();
    LinearSpec spec = linear.spec;
    spec.bias = false;  // copied with the other tensors
    const FrozenLinear loaded = load_linear(source_, weights, linear.path, spec, ops);
    Tensor w = loaded.dense;
    if (loaded.quantized) {
      dtype = loaded.quantized.source_dtype;
      w = arena.tensor(spec.out_features, spec.in_features, DType::f32, MemoryUse::working_set,
                       "dequantized weight");
      ops.dequantize(w, loaded.quantized);
    }
    if (adapted) add_product(w, factors_, linear, ops);
    Tensor rounded = w;
    if (dtype != DType::f32) {
      rounded = arena.tensor(w.rows, w.cols, dtype, MemoryUse::working_set, "merged weight");
      ops.convert(rounded, w);
    }
    if (!writer) continue;
    std::vector<std::byte> bytes(static_cast<size_t>(rounded.bytes()));
    ops.download(bytes, rounded);
    writer->write(linear.weight(), bytes);
    if (events_.merging) events_.merging(writer->written_bytes(), writer->total_bytes());
  }
}

std::vector<std::vector<int32_t>> Merge::prompts() const {
  const int64_t length = std::min(prompt_length, source_.spec.max_positions);
  RandomSequence random(random_key(0, RandomUse::sampling), 1);
  std::vector<std::vector<int32_t>> all(static_cast<size_t>(options_.compare_prompts));
  for (std::vector<int32_t>& prompt : all)
    for (int64_t i = 0; i < length; ++i)
      prompt.push_back(
          static_cast<int32_t>(random.below(static_cast<uint32_t>(source_.spec.vocab_size))));
  return all;
}

// Computes the logits after each prompt: `live` with the adapter beside the base, else the source
// as it is.
Work Merge::logits_work(const ModelSource& source, bool live, std::vector<float>* logits,
                        const LoadProgress& progress) const {
  return [this, &source, live, logits, progress](Ops& ops) {
    const bool quantized = live && options_.into == MergeInto::dequantized;
    const InferenceModel loaded(source, weight_options(quantized), live ? &adapter_ : nullptr, ops,
                                progress);
    const Model& model = loaded.model();
    const auto vocab = static_cast<size_t>(source.spec.vocab_size);
    const Tensor last =
        ops.arena().tensor(1, source.spec.vocab_size, DType::f32, MemoryUse::working_set, "logits");
    for (const std::vector<int32_t>& prompt : prompts()) {
      const Arena::Scope scope(ops.arena());
      const DocumentView document{prompt, {}};
      const Batch batch({&document, 1}, source.spec, model.weights().inverse_frequencies, ops);
      model.forward_logits(batch, last);
      if (!ops.has_data()) return;
      logits->resize(logits->size() + vocab);
      ops.download(std::as_writable_bytes(std::span(*logits).last(vocab)), last);
    }
  };
}

void Merge::compare(const ModelSource& merged, MergeResult& result) const {
  std::vector<float> a, b;
  for (const bool live : {true, false}) {
    const size_t peak = run_planned(
        cpu_, logits_work(live ? source_ : merged, live, live ? &a : &b, events_.comparing),
        live ? "comparing with the live adapter" : "comparing the merged model", remedy);
    result.peak_bytes = std::max(result.peak_bytes, peak);
  }
  LogitDifference& difference = result.difference;
  difference.prompts = options_.compare_prompts;
  difference.prompt_tokens = static_cast<int64_t>(prompts().front().size());
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!std::isfinite(d))
      fail(ErrorKind::diverged, "merge: logits of the {} model are not finite; nothing was written",
           std::isfinite(a[i]) ? "merged" : "live");
    difference.largest = std::max(difference.largest, d);
    difference.mean += d / static_cast<double>(a.size());
    difference.largest_logit =
        std::max(difference.largest_logit, std::fabs(static_cast<double>(a[i])));
  }
}

MergeResult Merge::run() {
  const ModelDir& dir = source_.weights();
  if (options_.compare_prompts < 0 || options_.compare_prompts > 1024)
    fail(ErrorKind::usage, "compare_prompts: got {}, expected 0..1024", options_.compare_prompts);
  if (options_.into == MergeInto::original && source_.prequantized)
    fail(
        ErrorKind::usage,
        "into: original is impossible, {} holds weights in 4 bits only; use --into dequantized, or "
        "give the 16-bit folder of the model",
        source_.path);
  MergeResult result;
  result.path = check_output_dir(options_.output_dir, options_.overwrite_output_dir, dir.path());
  // Adapter and memory are checked now, before hours of writing.
  const size_t live = dry_peak(cpu_, logits_work(source_, true, nullptr, {}));
  if (options_.compare_prompts > 0)
    check_device_has(cpu_, live, "comparing with the live adapter", remedy);
  (void)dry_peak(cpu_, [&](Ops& ops) { stream(ops, nullptr); });

  const std::vector<std::string> others = other_tensors(source_, linears_);
  std::vector<SafetensorsInfo> infos;
  for (const std::string& name : others) {
    const TensorInfo info = dir.info(name);
    infos.push_back({name, std::string(safetensors_name_of(info.dtype)), info.shape});
  }
  for (const LinearPlace& linear : linears_)
    infos.push_back({linear.weight(),
                     std::string(safetensors_name_of(stored_dtypes_[linear.index])),
                     {static_cast<uint64_t>(linear.spec.out_features),
                      static_cast<uint64_t>(linear.spec.in_features)}});

  AtomicDir folder(result.path);
  write_config_and_side_files(dir, nullptr, folder);
  ModelWriter writer(folder, infos, options_.max_shard_bytes);
  for (const std::string& name : others) writer.copy(dir, name);
  result.peak_bytes = run_planned(
      cpu_, [&](Ops& ops) { stream(ops, ops.has_data() ? &writer : nullptr); },
      "merging the largest tensor", "close other programs");
  writer.finish();
  dir.check_unchanged();
  result.linears = static_cast<int64_t>(linears_.size());
  result.merged_linears = std::ranges::count_if(
      linears_, [&](const LinearPlace& linear) { return factors_.target(linear).rank > 0; });
  result.bytes = writer.total_bytes();
  result.shards = writer.shards();
  if (options_.compare_prompts > 0)
    compare(ModelSource::open(folder.path().string(), options_.ignore_config_fields), result);
  folder.commit();
  return result;
}

}  // namespace

MergeResult merge_model(const ModelSource& source, const AdapterSource& adapter,
                        const MergeOptions& options, const MergeEvents& events) {
  return Merge(source, adapter, options, events).run();
}

}  // namespace nibble
