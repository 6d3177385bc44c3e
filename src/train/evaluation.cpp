#include "train/evaluation.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "files/file_io.h"
#include "files/safetensors.h"
#include "memory/planned_run.h"
#include "train/dry_run.h"
#include "train/tokenizer_source.h"
#include "transformer/inference_model.h"

namespace nibble {
namespace {

void check_eval_options(const TrainOptions& o) {
  if (o.dataset.empty())
    fail(ErrorKind::usage,
         "dataset is missing; give a data file: .jsonl, .json, .csv, .tsv or .txt");
  if (o.max_length < 2)
    fail(ErrorKind::usage, "max_length: got {}, expected 2 or more", o.max_length);
  if (o.per_device_eval_batch_size < 1)
    fail(ErrorKind::usage, "per_device_eval_batch_size: got {}, expected 1 or more",
         o.per_device_eval_batch_size);
}

// The loss of every batch, summed: f32 [1, 1] is read after each, and summed in double.
class LossSum {
 public:
  explicit LossSum(Ops& ops)
      : ops_(ops), loss_(ops.arena().tensor(1, 1, DType::f32, MemoryUse::working_set, "loss")) {}

  double add(const Model& model, const MicroBatch& documents) {
    const Arena::Scope scope(ops_.arena());
    ops_.zero(loss_);
    const Batch batch(documents, model.spec(), model.weights().inverse_frequencies, ops_);
    model.evaluate(batch, loss_);
    float loss = 0;
    ops_.download(std::as_writable_bytes(std::span(&loss, 1)), loss_);
    return static_cast<double>(loss);
  }

 private:
  Ops& ops_;
  Tensor loss_;
};

// Writes row<i>.ids and row<i>.logits; the file has its name only when it is whole.
class LogitsFile {
 public:
  LogitsFile(const std::string& path, const TokenizedDataset& data, int64_t vocab)
      : data_(data), path_(path), writer_(fresh(), infos(data, vocab)) {}

  void write(int64_t row, std::span<const float> logits) {
    writer_.write(name(row, "ids"), std::as_bytes(data_.ids(row)));
    writer_.write(name(row, "logits"), std::as_bytes(logits));
  }
  void finish() {
    writer_.finish();
    rename_path(partial(), path_);
    sync_directory(parent_of(path_));
  }

 private:
  // Where to write; what a dead run left there is in the way.
  std::filesystem::path fresh() const {
    if (std::filesystem::exists(path_))
      fail(ErrorKind::io, "logits_out: {} exists; delete it or name another file", path_.string());
    std::filesystem::remove(partial());
    return partial();
  }
  std::filesystem::path partial() const { return path_.string() + ".tmp"; }
  static std::string name(int64_t row, const char* what) {
    return fmt::format("row{}.{}", row, what);
  }
  static std::vector<SafetensorsInfo> infos(const TokenizedDataset& data, int64_t vocab) {
    std::vector<SafetensorsInfo> result;
    for (int64_t row = 0; row < data.documents(); ++row) {
      const auto length = static_cast<uint64_t>(data.length(row));
      result.push_back({name(row, "ids"), "I32", {length}});
      result.push_back({name(row, "logits"), "F32", {length, static_cast<uint64_t>(vocab)}});
    }
    return result;
  }

  const TokenizedDataset& data_;
  std::filesystem::path path_;
  SafetensorsWriter writer_;
};

std::vector<float> logits_of(const Model& model, const DocumentView& document) {
  Ops& ops = model.ops();
  const Arena::Scope scope(ops.arena());
  const Batch batch({&document, 1}, model.spec(), model.weights().inverse_frequencies, ops);
  const Tensor logits = ops.arena().tensor(batch.tokens(), model.spec().vocab_size, DType::f32,
                                           MemoryUse::working_set, "logits");
  model.forward_logits(batch, logits);
  if (!ops.has_data()) return {};
  std::vector<float> host(static_cast<size_t>(logits.size()));
  ops.download(std::as_writable_bytes(std::span(host)), logits);
  return host;
}

}  // namespace

std::vector<MicroBatch> eval_batches(const TokenizedDataset& data, int64_t batch_size) {
  std::vector<MicroBatch> batches;
  for (int64_t i = 0; i < data.documents(); ++i) {
    if (i % batch_size == 0) batches.emplace_back();
    batches.back().push_back(view_of(data, i));
  }
  return batches;
}

Evaluation run_evaluation(const TrainOptions& given, const std::string& logits_out,
                          const EvaluationEvents& events) {
  check_eval_options(given);
  TrainOptions options = given;
  const Device device = resolve_device(options);
  const ModelSource source =
      ModelSource::open(options.model_name_or_path, options.ignore_config_fields);
  const TokenizerSource tokens =
      TokenizerSource::open(options.model_name_or_path, options.data.chat);
  check_vocabulary(tokens.tokenizer, source.spec);
  std::optional<AdapterSource> adapter;
  if (!options.adapter_name_or_path.empty())
    adapter = AdapterSource::open(options.adapter_name_or_path);
  if (adapter && events.note)
    if (const auto warning = base_warning(*adapter, source)) events.note(*warning);
  const TokenizedDataset data =
      load_run_data(options, tokens, source.spec.vocab_size, {}, false, {{}, events.note}).train;
  if (data.report().cut_rows > 0) describe_dataset("dataset", data, events.note);
  const std::vector<MicroBatch> batches = eval_batches(data, options.per_device_eval_batch_size);
  std::vector<MicroBatch> largest = largest_batches(batches);
  int64_t longest = 0;
  for (int64_t i = 1; i < data.documents(); ++i)
    if (data.length(i) > data.length(longest)) longest = i;

  Evaluation result;
  result.rows = data.rows();
  result.tokens = data.tokens();
  result.trained_tokens = data.trained_tokens();
  const auto work = [&](Ops& ops) {
    const InferenceModel loaded(source, weight_options(options), adapter ? &*adapter : nullptr, ops,
                                ops.has_data() ? events.loading : LoadProgress{});
    const Model& model = loaded.model();
    LossSum loss(ops);
    if (!ops.has_data()) {
      for (const MicroBatch& batch : largest) loss.add(model, batch);
      if (!logits_out.empty()) logits_of(model, view_of(data, longest));
      return;
    }
    const auto start = std::chrono::steady_clock::now();
    double sum = 0;
    int64_t documents = 0;
    for (const MicroBatch& batch : batches) {
      sum += loss.add(model, batch);
      documents += static_cast<int64_t>(batch.size());
      if (events.progress) events.progress(documents, data.documents());
    }
    result.loss = sum / static_cast<double>(data.trained_tokens());
    result.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (logits_out.empty()) return;
    LogitsFile file(logits_out, data, source.spec.vocab_size);
    for (int64_t row = 0; row < data.documents(); ++row)
      file.write(row, logits_of(model, view_of(data, row)));
    file.finish();
  };
  result.peak_bytes =
      run_planned(device, work, "this evaluation",
                  "use a smaller per_device_eval_batch_size or a smaller max_length");
  if (!std::isfinite(result.loss))
    fail(ErrorKind::diverged, "eval: the loss is {}; are weights and adapter sound?", result.loss);
  result.perplexity = std::exp(result.loss);
  return result;
}

}  // namespace nibble
