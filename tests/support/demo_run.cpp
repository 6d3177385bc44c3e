#include "support/demo_run.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "support/data.h"

namespace nibble::test {
namespace fs = std::filesystem;

fs::path demo_model() { return fs::path(NIBBLE_SOURCE_DIR) / "demo" / "model"; }

std::string demo_rows(int rows) {
  const std::vector<std::string> words = {"river", "lantern", "oak", "harbour", "bell"};
  std::string text;
  for (int i = 0; i < rows; ++i) {
    std::string completion;
    for (int j = 0; j <= i % 7; ++j) completion += " " + words[static_cast<size_t>(i + j) % 5];
    text +=
        fmt::format("{{\"prompt\": \"Question: what is number {}?\", \"completion\": \"{}\"}}\n", i,
                    completion);
  }
  return text;
}

TrainOptions demo_options(const fs::path& folder) {
  write_file(folder / "dataset.jsonl", demo_rows(20));
  TrainOptions options;
  options.model_name_or_path = demo_model().string();
  options.dataset = (folder / "dataset.jsonl").string();
  options.output_dir = (folder / "run").string();
  options.per_device_train_batch_size = 2;
  options.max_steps = 12;
  options.max_length = 64;
  options.logging_steps = 1;
  options.learning_rate = 1e-3;
  options.threads = 1;
  options.lora.lora_dropout = 0.1;
  return options;
}

std::vector<std::string> demo_arguments(const fs::path& folder) {
  const TrainOptions options = demo_options(folder);
  return {"train",
          "--model_name_or_path",
          options.model_name_or_path,
          "--dataset",
          options.dataset,
          "--output_dir",
          options.output_dir,
          "--per_device_train_batch_size",
          "2",
          "--max_steps",
          "12",
          "--max_length",
          "64",
          "--logging_steps",
          "1",
          "--learning_rate",
          "1e-3",
          "--threads",
          "1",
          "--lora_dropout",
          "0.1"};
}

RunOutcome run(const TrainOptions& options, int64_t stop_after) {
  RunOutcome outcome;
  int64_t done = 0;
  TrainEvents events;
  events.note = [&](const std::string& line) { outcome.notes += line + "\n"; };
  events.progress = [&](const StepReport& report) { done = report.step; };
  events.stop_requested = [&] { return stop_after > 0 && done >= stop_after; };
  try {
    outcome.result = run_training(options, events);
  } catch (const Error& error) {
    outcome.error = error.kind();
    outcome.message = error.what();
  }
  return outcome;
}

std::map<std::string, std::string> snapshot(const fs::path& folder) {
  std::map<std::string, std::string> files;
  if (!fs::exists(folder)) return files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = fs::relative(entry.path(), folder).string();
    if (entry.is_regular_file() && name != "run.lock" && !name.starts_with("dataset_cache/"))
      files[name] = read_file(entry.path());
  }
  return files;
}

std::vector<std::string> timeless_metrics(const fs::path& run) {
  std::vector<std::string> lines;
  std::istringstream text(read_file(run / "metrics.jsonl"));
  for (std::string line; std::getline(text, line);) {
    nlohmann::json json = nlohmann::json::parse(line);
    for (const char* key : {"tokens_per_second", "step_seconds", "peak_bytes"}) json.erase(key);
    lines.push_back(json.dump());
  }
  return lines;
}

}  // namespace nibble::test
