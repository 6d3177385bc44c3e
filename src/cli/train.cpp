#include <fmt/format.h>

#include <csignal>

#include "cli/commands.h"
#include "cli/console.h"
#include "cli/document_view.h"
#include "cli/train_options.h"
#include "train/trainer.h"

namespace nibble::cli {
namespace {

volatile std::sig_atomic_t stop_signal = 0;

void request_stop(int signal) { stop_signal = signal; }

std::string duration(double seconds) {
  const auto s = static_cast<int64_t>(seconds + 0.5);
  if (s >= 3600) return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
  if (s >= 60) return fmt::format("{}m{:02}s", s / 60, s % 60);
  return fmt::format("{}s", s);
}

std::string progress_line(const StepReport& r) {
  return fmt::format(
      "step {:>{}}/{}  epoch {:.2f}  loss {:.4f}  grad {:.3f}  lr {:.2e}  {:>7.0f} tok/s  {}  {} "
      "left",
      r.step, std::to_string(r.total_steps).size(), r.total_steps, r.epoch, r.loss, r.gradient_norm,
      r.learning_rate, r.tokens_per_second, human_bytes(r.peak_bytes),
      duration(r.remaining_seconds));
}

}  // namespace

int run_train(std::vector<std::string> arguments) {
  TrainOptions options;
  OptionTable table("train", "Fine-tunes a model with QLoRA and writes a PEFT adapter.");
  add_training_options(table, options);
  if (!table.parse(std::move(arguments))) return 0;
  options.micro_batch_given = table.given("per_device_train_batch_size");

  std::signal(SIGINT, request_stop);
  std::signal(SIGTERM, request_stop);
  Console console;
  TrainEvents events;
  events.note = [&](const std::string& line) { console.note(line); };
  events.reading = [&](uint64_t done, uint64_t total) { console.bytes("reading", done, total); };
  events.example = [&](const TokenizedDataset& data, const Tokenizer& tokenizer) {
    console.clear();
    print_document(data, 0, tokenizer, 200);
  };
  events.planned = [&](const MemoryPlan& plan) { console.note(plan_table(plan)); };
  events.loading = [&](uint64_t done, uint64_t total) { console.bytes("loading", done, total); };
  events.progress = [&](const StepReport& report) { console.transient(progress_line(report)); };
  events.logged = [&](const StepReport& report) { console.note(progress_line(report)); };
  events.evaluated = [&](int64_t step, double loss, int64_t tokens) {
    console.note(fmt::format("eval at step {}: loss {:.4f} over {} tokens", step, loss, tokens));
  };
  events.saved = [&](const std::string& path) { console.note("saved " + path); };
  events.stop_requested = [] { return stop_signal != 0; };

  const TrainResult result = run_training(options, events);
  console.note(measured_table(result.plan, result.measured, result.far_measured));
  console.note(fmt::format("memory: planned {} bytes, measured {} bytes", result.planned_bytes(),
                           result.measured_bytes()));
  if (result.device_bytes > 0)
    console.note(fmt::format("in use on the device, by all programs: {}; budget {}",
                             human_bytes(result.device_bytes), human_bytes(result.plan.budget)));
  console.note("adapter: " + result.adapter_path);
  return 0;
}

}  // namespace nibble::cli
