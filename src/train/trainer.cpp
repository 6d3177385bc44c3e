#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <future>

#include "core/error.h"
#include "data/batch_schedule.h"
#include "files/model_fingerprint.h"
#include "files/model_writer.h"
#include "files/run_dir.h"
#include "memory/planned_memory.h"
#include "ops/device.h"
#include "ops/plan/device_profiles.h"
#include "train/calibration.h"
#include "train/checkpoint.h"
#include "train/data_source.h"
#include "train/dry_run.h"
#include "train/evaluation.h"
#include "train/guards.h"
#include "train/planning.h"
#include "train/run_checks.h"
#include "train/tokenizer_source.h"
#include "transformer/inference_model.h"

namespace nibble {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

MicroBatch micro_batch(const TokenizedDataset& data, const std::vector<int64_t>& documents) {
  MicroBatch batch;
  for (const int64_t document : documents) batch.push_back(view_of(data, document));
  return batch;
}

// Of the card that is asked about, or measured.
DeviceProfile profile_of(const Device& device, const TrainOptions& options) {
  if (!options.device_profile.empty()) return to_profile(device_profile(options.device_profile));
  return calibrate(device, compute_dtype(options));
}

class Trainer {
 public:
  Trainer(const TrainOptions& options, TrainEvents events)
      : Trainer(options, std::move(events),
                TokenizerSource::begin_open(options.model_name_or_path, options.data.chat)) {}

  // Keeps tokenized rows in `cache_folder` unless that is empty.
  void load_data(const std::filesystem::path& cache_folder);
  // Of the dataset's own rows, which are loaded: what plan_within or report_plan say of them.
  template <typename Plan>
  auto plan_with(const Plan& plan) {
    const DeviceProfile profile = profile_ ? *profile_ : profile_of(device_, options_);
    return plan(source_, options_, memory_limits(options_, device_), profile,
                [this] { return shape(); });
  }
  TrainResult run();

 private:
  Trainer(const TrainOptions& options, TrainEvents events, std::future<TokenizerSource> tokens)
      : options_(options),
        device_(resolve_device(options_)),
        events_(std::move(events)),
        source_(ModelSource::open(options.model_name_or_path, options.ignore_config_fields)),
        profile_(device_.is_cuda() ? std::optional(profile_of(device_, options_)) : std::nullopt),
        tokens_(tokens.get()) {
    check_vocabulary(tokens_.tokenizer, source_.spec);
    if (!options.adapter_name_or_path.empty()) start_ = read_adapter(options.adapter_name_or_path);
    if (start_) options_.lora = start_->config;
    options_.lora.base_model_name_or_path = options.model_name_or_path;
  }

  void note(const std::string& line) const {
    if (events_.note) events_.note(line);
  }
  void check_data();
  void make_schedule();
  RunShape shape();
  void train(RunDir& run, TrainStep& step);
  double evaluate(TrainStep& step, int64_t at);
  void checkpoint(RunDir& run, TrainStep& step, MetricsLog& metrics);
  void write_result(RunDir& run, TrainStep& step);

  const Clock::time_point started_ = Clock::now();
  TrainOptions options_;
  const Device device_;
  TrainEvents events_;
  ModelSource source_;
  std::optional<DeviceProfile> profile_;  // of a GPU; a CPU reads the tokenizer meanwhile
  TokenizerSource tokens_;
  std::optional<Adapter> start_;
  RunData data_;
  std::vector<MicroBatch> eval_batches_;
  std::optional<BatchSchedule> schedule_;
  nlohmann::json identity_;
  TrainerState state_;
  bool moved_ = false;              // a step had a learning rate above 0
  bool gradients_checked_ = false;  // in the first step after that
  TrainResult result_;
};

void Trainer::load_data(const std::filesystem::path& cache_folder) {
  data_ = load_run_data(options_, tokens_, source_.spec.vocab_size, cache_folder, true,
                        {events_.reading, events_.note});
  describe_dataset("dataset", data_.train, events_.note);
  if (data_.eval) {
    describe_dataset("eval_dataset", *data_.eval, events_.note);
    eval_batches_ = eval_batches(*data_.eval, options_.per_device_eval_batch_size);
  }
  make_schedule();
  if (const auto& packs = schedule_->packs())
    note(fmt::format("packing: {} in {} packs of {}, {:.1f} % full",
                     rows_and_documents(data_.train), packs->count(), packs->capacity,
                     100 * packs->fill()));
}

void Trainer::make_schedule() {
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < data_.train.documents(); ++i) lengths.push_back(data_.train.length(i));
  schedule_.emplace(lengths, schedule_options(options_));
}

// The whole schedule is known, so the plan is for the largest micro-batches that will really occur.
RunShape Trainer::shape() {
  if (options_.global_batch_size > 0) make_schedule();  // of the micro-batch that is asked about
  RunShape shape;
  std::vector<MicroBatch> batches;
  for (int64_t step = 0; step < schedule_->total_steps(); ++step) {
    const auto rows_of_step = schedule_->micro_batches(step);
    shape.micro_batches = std::max(shape.micro_batches, static_cast<int64_t>(rows_of_step.size()));
    for (const auto& rows : rows_of_step) batches.push_back(micro_batch(data_.train, rows));
    if (batches.size() > 4096) batches = largest_batches(std::move(batches));
  }
  shape.train = largest_batches(std::move(batches));
  shape.eval = largest_batches(eval_batches_);
  return shape;
}

double Trainer::evaluate(TrainStep& step, int64_t at) {
  TrainStep::EvalResult result;
  for (const MicroBatch& batch : eval_batches_) step.evaluate(batch, result);
  if (!std::isfinite(result.loss()))
    fail(ErrorKind::diverged,
         "step {}: the loss over eval_dataset is {}: training diverged; lower learning_rate (now "
         "{})",
         at, result.loss(), options_.learning_rate);
  if (events_.evaluated) events_.evaluated(at, result.loss(), result.trained_tokens);
  return result.loss();
}

void Trainer::checkpoint(RunDir& run, TrainStep& step, MetricsLog& metrics) {
  metrics.sync();
  save_checkpoint(run, step, state_);
  run.prune(static_cast<uint64_t>(options_.save_total_limit));
  if (events_.saved)
    events_.saved(run.checkpoint_path(static_cast<uint64_t>(state_.step)).string());
}

void Trainer::check_data() {
  const std::vector<GuardResult> guards = check_guards(options_, source_, tokens_, data_);
  for (const GuardResult& guard : guards)
    if (guard.verdict == Verdict::warning || guard.verdict == Verdict::note)
      note(fmt::format("{}: {}{}: {}", verdict_name(guard.verdict), guard.name, rows_of(guard),
                       guard.detail));
  require_guards(guards, options_);
  if (events_.example) events_.example(data_.train, tokens_.tokenizer);
}

void Trainer::write_result(RunDir& run, TrainStep& step) {
  AtomicDir folder(run.adapter_path());
  Adapter adapter = step.parameters().to_adapter(step.ops());
  adapter.metadata[base_fingerprint_key] = fingerprint(source_.weights());
  if (tokens_.chat) adapter.metadata[chat_template_key] = tokens_.chat->sha256;
  write_adapter(folder, adapter);
  std::map<std::string, std::string> others;
  const auto corrected = corrected_generation_config(
      source_.weights().read_file("generation_config.json", uint64_t{1} << 20), tokens_.special,
      trained_ends(data_.train, tokens_.tokenizer));
  if (corrected) {
    others["generation_config.json"] = *corrected;
    note("adapter: its generation_config.json stops at the end tokens that were trained");
  }
  copy_side_files(source_.weights(), folder, others);
  folder.commit(0, static_cast<uint64_t>(state_.step));
  verify_adapter(run.adapter_path(), adapter, moved_);
  result_.adapter_path = run.adapter_path().string();
}

void Trainer::train(RunDir& run, TrainStep& step) {
  MetricsLog metrics(run.metrics_path(), static_cast<uint64_t>(state_.step));
  const LearningRateSchedule rates = learning_rate_schedule(options_, schedule_->total_steps());
  const int64_t first = state_.step, total = schedule_->total_steps();
  const Clock::time_point start = Clock::now();
  Clock::time_point since_log = start;
  int64_t tokens_since_log = 0, steps_since_log = 0;
  int64_t saved_step = first > 0 ? first : -1;  // a stop before the first step is saved, too
  StepReport report;

  const auto stop_if_requested = [&] {
    if (!events_.stop_requested || !events_.stop_requested()) return;
    if (saved_step != state_.step) checkpoint(run, step, metrics);
    fail(ErrorKind::interrupted,
         "interrupted after step {} of {}; run the same command with --resume_from_checkpoint true "
         "to go on",
         state_.step, total);
  };

  while (state_.step < total) {
    stop_if_requested();
    const Clock::time_point step_start = Clock::now();
    std::vector<MicroBatch> batches;
    for (const auto& rows : schedule_->micro_batches(state_.step))
      batches.push_back(micro_batch(data_.train, rows));
    const double rate = rates.at(state_.step);
    const StepResult result = step.train(batches, state_.step + 1, rate);
    // A's gradient is zero as long as B is: it can be judged once a step has moved B.
    if (moved_ && !gradients_checked_ && !result.skipped) {
      require_gradients(step);
      gradients_checked_ = true;
    }
    moved_ = moved_ || (rate > 0 && !result.skipped);
    if (result.skipped)
      note(
          fmt::format("step {}: a float16 gradient overflowed; the step is skipped, and the loss "
                      "scale is now {}",
                      state_.step + 1, step.loss_scale().scale));

    if (state_.step == first)
      note(fmt::format("first step done {:.2f} s after the start", seconds_since(started_)));
    ++state_.step;
    ++steps_since_log;
    state_.tokens += result.tokens;
    state_.trained_tokens += result.trained_tokens;
    state_.logged_loss_sum += result.loss;
    ++state_.logged_loss_count;
    tokens_since_log += result.tokens;
    const bool last = state_.step == total;

    report = {state_.step,
              total,
              schedule_->epoch_after(state_.step),
              state_.logged_loss_sum / static_cast<double>(state_.logged_loss_count),
              result.gradient_norm,
              rate,
              state_.tokens,
              static_cast<double>(tokens_since_log) / seconds_since(since_log),
              seconds_since(step_start),
              step.ops().arena().peak().bytes,
              seconds_since(start) / static_cast<double>(state_.step - first) *
                  static_cast<double>(total - state_.step)};
    if (events_.progress) events_.progress(report);
    if (state_.step % options_.logging_steps == 0 || last) {
      nlohmann::ordered_json line;
      line["step"] = report.step;
      line["epoch"] = report.epoch;
      line["loss"] = report.loss;
      line["grad_norm"] = report.gradient_norm;
      line["learning_rate"] = report.learning_rate;
      line["tokens"] = report.tokens;
      line["tokens_per_second"] = report.tokens_per_second;
      line["step_seconds"] = report.step_seconds;
      line["peak_bytes"] = report.peak_bytes;
      if (!metrics.append(line)) note(metrics.error());
      if (events_.logged) events_.logged(report);
      state_.logged_loss_sum = 0;
      state_.logged_loss_count = 0;
      result_.final_loss = report.loss;
    }
    if (options_.eval_steps > 0 && !eval_batches_.empty() &&
        state_.step % options_.eval_steps == 0 && !last) {
      nlohmann::ordered_json line;
      line["step"] = state_.step;
      line["eval_loss"] = evaluate(step, state_.step);
      if (!metrics.append(line)) note(metrics.error());
    }
    if (options_.save_steps > 0 && state_.step % options_.save_steps == 0 && !last) {
      try {
        checkpoint(run, step, metrics);
        saved_step = state_.step;
      } catch (const Error& error) {  // training goes on; the next interval tries again
        if (error.kind() != ErrorKind::io) throw;
        note(fmt::format("checkpoint of step {} was not saved: {}", state_.step, error.what()));
      }
    }
    if (tokens_since_log > 0 && (state_.step % options_.logging_steps == 0)) {
      since_log = Clock::now();
      tokens_since_log = 0;
    }
  }
  if (!eval_batches_.empty()) {
    nlohmann::ordered_json line;
    line["step"] = state_.step;
    line["eval_loss"] = evaluate(step, state_.step);
    if (!metrics.append(line)) note(metrics.error());
  }
  if (saved_step != state_.step) checkpoint(run, step, metrics);
}

TrainResult Trainer::run() {
  const RunMode mode = !options_.resume_from_checkpoint.empty() ? RunMode::resume
                       : options_.overwrite_output_dir          ? RunMode::overwrite
                                                                : RunMode::fresh;
  RunDir run(options_.output_dir, mode);
  load_data(run.path() / "dataset_cache");
  check_data();
  const MemoryPlan planned = plan_with(plan_within);
  if (events_.planned) events_.planned(planned);
  identity_ =
      run_identity(options_, source_, data_.train.sha256(), schedule_->total_steps(), tokens_);
  state_.identity = identity_;

  PlannedMemory memory(device_, planned, far_folder(options_));
  if (device_.is_cuda())
    note(fmt::format("device: {}, {}", device_.name(), gpu_info(device_.index).name));
  TrainStep step(source_, options_, planned.policy, memory.ops(), events_.loading);
  note(fmt::format("loaded {}: {} linear layers in 4 bits", options_.model_name_or_path,
                   step.weights().quantized_linears));
  const LoraParameters& parameters = step.parameters();
  for (const auto& [name, count] : parameters.targets().match_counts)
    note(fmt::format("adapter: {} matches {} linear layers", name, count));
  note(trainable_line(parameters.count(), source_.spec.parameters()));

  if (mode == RunMode::resume) {
    std::filesystem::path folder = options_.resume_from_checkpoint;
    if (options_.resume_from_checkpoint == "true") {
      std::vector<std::string> problems;
      const auto newest = run.newest_valid(problems);
      for (const std::string& problem : problems) note(problem);
      if (!newest)
        fail(ErrorKind::bad_input, "resume_from_checkpoint: {} holds no intact checkpoint",
             options_.output_dir);
      folder = newest->path;
    }
    state_ = load_checkpoint(folder, step, identity_);
    note(fmt::format("resumed from {} at step {}", folder.string(), state_.step));
  } else if (start_) {
    step.parameters().load(memory.ops(), *start_, options_.adapter_name_or_path);
    note(fmt::format("adapter starts from {}", options_.adapter_name_or_path));
  }
  memory.commit();
  if (mode == RunMode::overwrite) run.clear();  // not before weights and adapter proved sound

  train(run, step);
  write_result(run, step);
  result_.steps = state_.step;
  result_.plan = planned;
  result_.measured = memory.near().peak();
  result_.far_measured = memory.far().peak();
  result_.device_bytes = used_memory(device_);
  return result_;
}

// What plan_within and report_plan ask for, of a run that is only planned.
template <typename Plan>
auto plan_with(const TrainOptions& options, const std::string& architecture, const Plan& plan) {
  check_options(options);
  if (!options.dataset.empty()) {
    Trainer trainer(options, {});
    trainer.load_data({});
    return trainer.plan_with(plan);
  }
  const ModelSource source = architecture.empty() ? ModelSource::open(options.model_name_or_path,
                                                                      options.ignore_config_fields)
                                                  : ModelSource::synthesize(architecture);
  TrainOptions resolved = options;
  const Device device = resolve_device(resolved);
  const DeviceProfile profile = profile_of(device, resolved);
  std::vector<int32_t> zeros;
  return plan(source, resolved, memory_limits(resolved, device), profile,
              [&] { return longest_shape(resolved, zeros); });
}

}  // namespace

MemoryPlan plan_run(const TrainOptions& options) { return plan_with(options, {}, plan_within); }

PlanReport plan_report(const TrainOptions& options, const std::string& architecture) {
  return plan_with(options, architecture, report_plan);
}

TrainResult run_training(const TrainOptions& options, const TrainEvents& events) {
  check_options(options);
  if (options.dataset.empty())
    fail(ErrorKind::usage,
         "dataset is missing; give a data file: .jsonl, .json, .csv, .tsv or .txt");
  if (options.output_dir.empty())
    fail(ErrorKind::usage, "output_dir is missing; give a folder for the adapter");
  return Trainer(options, events).run();
}

}  // namespace nibble
