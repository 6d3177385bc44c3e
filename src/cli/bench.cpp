#include "train/bench.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/train_options.h"
#include "transformer/architectures.h"

namespace nibble::cli {
namespace {

double giga(double x) { return x * 1e-9; }

nlohmann::ordered_json to_json(const BenchResult& r, const std::string& architecture) {
  const double flops = r.plan.step.product_flops + r.plan.step.attention_flops;
  nlohmann::ordered_json json;
  json["architecture"] = architecture;
  json["device"] = r.device;
  json["parameters"] = r.parameters;
  json["tokens_per_second"] = r.tokens_per_second();
  json["step_seconds"] = r.median_step();
  json["steps_seconds"] = r.step_seconds;
  json["losses"] = r.losses;
  json["step_tokens"] = r.plan.step_tokens;
  json["predicted_step_seconds"] = r.plan.step.seconds;
  json["first_step_seconds"] = r.first_step_seconds;
  json["load_seconds"] = r.load_seconds;
  json["product_ceiling_gflops"] = giga(r.product_ceiling);
  json["done_of_ceiling"] = flops / r.median_step() / r.product_ceiling;
  json["useful_of_ceiling"] = r.plan.useful_flops / r.median_step() / r.product_ceiling;
  json["plan_seconds"] = r.plan_seconds;
  json["planned_bytes"] = r.plan.peak_bytes();
  json["far_planned_bytes"] = r.plan.far_bytes();
  json["far_measured_bytes"] = r.far_measured_bytes;
  json["budget_bytes"] = r.plan.budget;
  json["policy"] = policy_picture(r.plan.policy);
  json["measured_bytes"] = r.measured_bytes;
  json["context_bytes"] = r.context_bytes;
  json["device_planned_bytes"] = r.plan.device_bytes();
  json["device_bytes"] = r.device_bytes;
  json["phases_ms"] = r.phases;
  return json;
}

void print_text(const BenchResult& r, const std::string& architecture) {
  const double step = r.median_step();
  const double done = r.plan.step.product_flops + r.plan.step.attention_flops;
  fmt::print("{} on {}: {:.0f} tokens/s, {:.1f} ms a step of {} tokens (predicted {:.1f} ms)\n",
             architecture, r.device, r.tokens_per_second(), 1e3 * step, r.plan.step_tokens,
             1e3 * r.plan.step.seconds);
  fmt::print("FLOPs done {:.1f} TFLOP/s = {:.1f} % of a large product's {:.1f}; useful {:.1f} %\n",
             done / step / 1e12, 100 * done / step / r.product_ceiling, r.product_ceiling / 1e12,
             100 * r.plan.useful_flops / step / r.product_ceiling);
  fmt::print("policy (found in {:.2f} s):\n{}", r.plan_seconds, policy_picture(r.plan.policy));
  if (r.plan.far_bytes() > 0)
    fmt::print("outside: planned {}, measured {} bytes\n", r.plan.far_bytes(),
               r.far_measured_bytes);
  fmt::print("memory: planned {}, measured {} bytes; before the reservation {}\n",
             r.plan.peak_bytes(), r.measured_bytes, human_bytes(r.context_bytes));
  if (r.plan.cuda)
    fmt::print("on the device in all: planned {}, measured {}\n",
               human_bytes(r.plan.device_bytes()), human_bytes(r.device_bytes));
  fmt::print("weights {:.2f} s, first step {:.2f} s, loss {:.4f} to {:.4f}\n", r.load_seconds,
             r.first_step_seconds, r.losses.front(), r.losses.back());
  if (r.phases.empty()) return;
  double all = 0;
  for (const auto& [path, ms] : r.phases)
    if (path.find('/') == std::string::npos) all += ms;
  fmt::print("one step by operation, as the device's queue saw it: {:.1f} ms\n", all);
  for (const auto& [path, ms] : r.phases) {
    const size_t slash = path.find('/');
    const std::string name = slash == std::string::npos ? path : "  " + path.substr(slash + 1);
    fmt::print("  {:<32}{:>9.2f} ms{:>7.1f} %\n", name, ms, 100 * ms / all);
  }
}

}  // namespace

int run_bench(std::vector<std::string> arguments) {
  TrainOptions options;
  options.per_device_train_batch_size = 4;
  options.max_length = 2048;
  std::string architecture = "phi4mini";
  int64_t steps = 5;
  bool json = false, phases = true;
  OptionTable table("bench",
                    "Times the real training step on random weights and tokens: no model files.");
  table.add("arch", architecture, fmt::format("shape: {}", fmt::join(architecture_names(), ", ")));
  table.add("batch", options.per_device_train_batch_size, "rows in a micro-batch");
  table.add("seq", options.max_length, "tokens of each row");
  table.add("steps", steps, "steps to time, after a first one");
  table.add("phases", phases, "one more step, timed by operation");
  add_step_options(table, options);
  table.add("global_batch_size", options.global_batch_size,
            "rows in an optimizer step, cut into micro-batches as is fastest");
  add_memory_options(table, options);
  table.add_flag("json", json, "print JSON");
  if (!table.parse(std::move(arguments))) return 0;
  options.micro_batch_given = table.given("batch");
  const BenchResult result = nibble::run_bench(architecture, options, steps, phases);
  if (json)
    fmt::print("{}\n", to_json(result, architecture).dump(2));
  else
    print_text(result, architecture);
  return 0;
}

}  // namespace nibble::cli
