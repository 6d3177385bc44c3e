#include "memory/plan.h"

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

std::string plan_table(const MemoryPlan& plan) {
  std::string table = "memory plan\n";
  const auto row = [&](const char* name, size_t bytes) {
    const double share = 100.0 * static_cast<double>(bytes) / static_cast<double>(plan.peak.bytes);
    table += fmt::format("  {:<22}{:>12}{:>7.1f} %\n", name, human_bytes(bytes), share);
  };
  for (size_t i = 0; i < memory_use_count; ++i)
    row(name_of(static_cast<MemoryUse>(i)), plan.peak.by_use[i]);
  table += fmt::format("  {:<22}{:>12}   {} bytes\n", "peak", human_bytes(plan.peak.bytes),
                       plan.peak.bytes);
  const double done = plan.step.product_flops + plan.step.attention_flops;
  table += fmt::format(
      "  largest micro-batch {} tokens; a step of {} tokens does {:.3g} TFLOP ({:.3g} without "
      "recomputation)\n",
      plan.largest_micro_batch, plan.step_tokens, done / 1e12, plan.useful_flops / 1e12);
  table += fmt::format("  predicted {:.3g} s a step, {:.0f} tokens/s\n", plan.step.seconds,
                       plan.tokens_per_second());
  return table;
}

nlohmann::ordered_json plan_json(const MemoryPlan& plan) {
  nlohmann::ordered_json json;
  json["peak_bytes"] = plan.peak.bytes;
  for (size_t i = 0; i < memory_use_count; ++i)
    json["by_category"][name_of(static_cast<MemoryUse>(i))] = plan.peak.by_use[i];
  json["largest_micro_batch_tokens"] = plan.largest_micro_batch;
  json["step_tokens"] = plan.step_tokens;
  json["step_flops"] = plan.step.product_flops + plan.step.attention_flops;
  json["step_useful_flops"] = plan.useful_flops;
  json["step_seconds"] = plan.step.seconds;
  json["tokens_per_second"] = plan.tokens_per_second();
  return json;
}

void check_fits(const MemoryPlan& plan, const Device& device) {
  const size_t available = available_memory(device);
  if (plan.peak_bytes() <= available) return;
  fail(ErrorKind::no_resources,
       "this run needs {} of memory ({} bytes), and {} are free on {}; use a smaller "
       "per_device_train_batch_size (with gradient_accumulation_steps), a smaller max_length, or "
       "gradient_checkpointing every",
       human_bytes(plan.peak_bytes()), plan.peak_bytes(), human_bytes(available), device.name());
}

}  // namespace nibble
