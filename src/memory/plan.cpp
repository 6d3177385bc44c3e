#include "memory/plan.h"

#include <cctype>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace nibble {

std::string human_bytes(size_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes >= size_t{1} << 30) return fmt::format("{:.2f} GiB", value / 0x1p30);
  if (bytes >= size_t{1} << 20) return fmt::format("{:.1f} MiB", value / 0x1p20);
  if (bytes >= size_t{1} << 10) return fmt::format("{:.1f} KiB", value / 0x1p10);
  return fmt::format("{} B", bytes);
}

namespace {

// Of the pieces at the two peaks: the device's column and, where there is one, that outside of it.
std::string by_category(const Arena::Peak& near, const Arena::Peak& far) {
  std::string table;
  const auto cell = [](size_t bytes) { return bytes > 0 ? human_bytes(bytes) : std::string("-"); };
  for (size_t i = 0; i < memory_use_count; ++i) {
    const double share =
        100.0 * static_cast<double>(near.by_use[i]) / static_cast<double>(near.bytes);
    table += fmt::format("  {:<22}{:>12}{:>7.1f} %", name_of(static_cast<MemoryUse>(i)),
                         cell(near.by_use[i]), share);
    if (far.bytes > 0) table += fmt::format("{:>14}", cell(far.by_use[i]));
    table += "\n";
  }
  return table;
}

const char* outside_of(const MemoryPlan& plan) { return plan.cuda ? "on the host" : "on the disk"; }

}  // namespace

std::string policy_picture(const MemoryPolicy& policy) {
  std::string weights, inputs, kept;
  for (const BlockPolicy& block : policy.blocks) {
    weights += block.weights == Place::far ? '>' : '.';
    inputs += block.input == Place::far ? '>' : '.';
    const char level = "-aqmg*"[static_cast<size_t>(block.keep)];
    kept += block.kept == Place::far ? static_cast<char>(std::toupper(level)) : level;
  }
  std::vector<std::string> outside;
  if (policy.embedding == Place::far) outside.emplace_back("embedding");
  if (policy.head == Place::far) outside.emplace_back("head");
  if (policy.moments == Place::far) outside.emplace_back("optimizer");
  return fmt::format(
      "  weights  {}\n"
      "  inputs   {}   . on the device, > outside\n"
      "  kept     {}   - nothing, a attention, q +qkv, m +MLP input, g +gate/up, * all; A outside\n"
      "  outside: {}; logits by {}{}\n",
      weights, inputs, kept,
      outside.empty() ? "nothing else" : fmt::format("{}", fmt::join(outside, ", ")),
      policy.logits == LogitsIn::rows ? "rows" : "tiles of the vocabulary",
      policy.recorded ? "; micro-batches of one shape are recorded and played back" : "");
}

std::string plan_table(const MemoryPlan& plan) {
  const bool far = plan.far_bytes() > 0;
  std::string table = fmt::format(
      "memory plan{}\n", far ? fmt::format("{:>25}{:>23}", "device", outside_of(plan)) : "");
  table += by_category(plan.peak, plan.far_peak);
  table += fmt::format("  {:<22}{:>12}   {} bytes", "peak", human_bytes(plan.peak.bytes),
                       plan.peak.bytes);
  if (far) table += fmt::format("; {} {} bytes", outside_of(plan), plan.far_bytes());
  table += "\n";
  if (plan.budget > 0)
    table +=
        fmt::format("  with {} for {}: {} of a budget of {}\n", human_bytes(plan.context_bytes),
                    !plan.cuda             ? "the program itself"
                    : plan.policy.recorded ? "CUDA's context, libraries and the recording"
                                           : "CUDA's context, libraries and tables",
                    human_bytes(plan.device_bytes()), human_bytes(plan.budget));
  table += policy_picture(plan.policy);
  const double done = plan.step.product_flops + plan.step.attention_flops;
  table += fmt::format(
      "  largest micro-batch {} tokens; a step of {} tokens does {:.3g} TFLOP ({:.3g} without "
      "recomputation)\n",
      plan.largest_micro_batch, plan.step_tokens, done / 1e12, plan.useful_flops / 1e12);
  table += fmt::format("  predicted {:.3g} s a step, {:.0f} tokens/s; limited by {}\n",
                       plan.step.seconds, plan.tokens_per_second(), limit_of(plan));
  return table;
}

// Where most of the time goes; waiting counts from a tenth on, as it is what more memory would end.
const char* limit_of(const MemoryPlan& plan) {
  const PlanCosts& step = plan.step;
  if (step.stalled > 0.1 * step.seconds) return plan.cuda ? "the link to the host" : "the disk";
  return step.computing >= 0.5 * step.seconds ? "compute" : "memory bandwidth and small operations";
}

std::string measured_table(const MemoryPlan& plan, const Arena::Peak& near,
                           const Arena::Peak& far) {
  std::string table = fmt::format("memory{:>33}{:>14}\n", "planned", "measured");
  const auto rows = [&](const Arena::Peak& planned, const Arena::Peak& measured,
                        const std::string& where) {
    for (size_t i = 0; i < memory_use_count; ++i)
      if (planned.by_use[i] > 0 || measured.by_use[i] > 0)
        table +=
            fmt::format("  {:<25}{:>12}{:>14}{}\n", name_of(static_cast<MemoryUse>(i)),
                        human_bytes(planned.by_use[i]), human_bytes(measured.by_use[i]), where);
    table += fmt::format("  {:<25}{:>12}{:>14}{}\n", "peak, bytes", planned.bytes, measured.bytes,
                         where);
  };
  rows(plan.peak, near, "");
  if (plan.far_bytes() > 0) rows(plan.far_peak, far, fmt::format("  {}", outside_of(plan)));
  return table;
}

nlohmann::ordered_json plan_json(const MemoryPlan& plan) {
  nlohmann::ordered_json json;
  json["peak_bytes"] = plan.peak.bytes;
  json["far_peak_bytes"] = plan.far_peak.bytes;
  json["budget_bytes"] = plan.budget;
  json["context_bytes"] = plan.context_bytes;
  for (size_t i = 0; i < memory_use_count; ++i) {
    json["by_category"][name_of(static_cast<MemoryUse>(i))] = plan.peak.by_use[i];
    json["far_by_category"][name_of(static_cast<MemoryUse>(i))] = plan.far_peak.by_use[i];
  }
  const auto place = [](Place where) { return where == Place::far ? "far" : "near"; };
  nlohmann::ordered_json& policy = json["policy"];
  policy["embedding"] = place(plan.policy.embedding);
  policy["head"] = place(plan.policy.head);
  policy["moments"] = place(plan.policy.moments);
  policy["logits"] = plan.policy.logits == LogitsIn::rows ? "rows" : "tiles";
  policy["passing"] = plan.policy.passing;
  policy["recorded"] = plan.policy.recorded;
  for (const BlockPolicy& block : plan.policy.blocks)
    policy["blocks"].push_back({{"weights", place(block.weights)},
                                {"input", place(block.input)},
                                {"keep", name_of(block.keep)},
                                {"kept", place(block.kept)}});
  json["largest_micro_batch_tokens"] = plan.largest_micro_batch;
  json["step_tokens"] = plan.step_tokens;
  json["step_flops"] = plan.step.product_flops + plan.step.attention_flops;
  json["step_useful_flops"] = plan.useful_flops;
  json["step_seconds"] = plan.step.seconds;
  json["step_stalled_seconds"] = plan.step.stalled;
  json["link_bytes_in"] = plan.step.link_in;
  json["link_bytes_out"] = plan.step.link_out;
  json["limited_by"] = limit_of(plan);
  json["tokens_per_second"] = plan.tokens_per_second();
  return json;
}

}  // namespace nibble
