#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/console.h"
#include "cli/train_options.h"
#include "train/evaluation.h"

namespace nibble::cli {

int run_eval(std::vector<std::string> arguments) {
  TrainOptions options;
  std::string logits_out;
  bool json = false;
  OptionTable table("eval", "Mean loss and perplexity of a model over a dataset's trained tokens.");
  add_model_options(table, options);
  table.add("adapter", options.adapter_name_or_path, "folder of a PEFT adapter",
            {"adapter_name_or_path"});
  add_data_options(table, options);
  table.add("per_device_eval_batch_size", options.per_device_eval_batch_size,
            "rows in a batch; changes speed and memory, not the result", {"batch_size"});
  table.add("logits_out", logits_out,
            "also write every row's token ids and logits to this new .safetensors file");
  table.add_flag("json", json, "print JSON");
  if (!table.parse(std::move(arguments))) return 0;

  Console console(stderr);
  EvaluationEvents events;
  events.note = [&](const std::string& line) { console.note(line); };
  events.loading = [&](uint64_t done, uint64_t total) { console.bytes("loading", done, total); };
  events.progress = [&](int64_t documents, int64_t total) {
    console.transient(fmt::format("document {} of {}", documents, total));
  };
  const Evaluation result = run_evaluation(options, logits_out, events);
  console.clear();
  const double rate = static_cast<double>(result.tokens) / result.seconds;
  if (json) {
    nlohmann::ordered_json out;
    out["loss"] = result.loss;
    out["perplexity"] = result.perplexity;
    out["rows"] = result.rows;
    out["tokens"] = result.tokens;
    out["trained_tokens"] = result.trained_tokens;
    out["tokens_per_second"] = rate;
    out["peak_bytes"] = result.peak_bytes;
    fmt::print("{}\n", out.dump(2));
    return 0;
  }
  fmt::print("loss {:.6f}  perplexity {:.4f}  over {} trained tokens of {} rows\n", result.loss,
             result.perplexity, result.trained_tokens, result.rows);
  fmt::print("{} tokens, {:.0f} tokens/s, peak {}\n", result.tokens, rate,
             human_bytes(result.peak_bytes));
  return 0;
}

}  // namespace nibble::cli
