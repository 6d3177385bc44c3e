#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/train_options.h"
#include "ops/plan/device_profiles.h"
#include "train/trainer.h"

namespace nibble::cli {

namespace {

// Whether it fits on the card, CUDA's context included.
void print_card(const MemoryPlan& plan, const std::string& name) {
  const NamedProfile& card = device_profile(name);
  const size_t whole = plan.peak_bytes() + static_cast<size_t>(context_bytes);
  const size_t memory = static_cast<size_t>(card.memory_gib) << 30;
  fmt::print("  {}: {} with CUDA's context of {}; {} its {} GiB; rates {}\n", card.product,
             human_bytes(whole), human_bytes(static_cast<size_t>(context_bytes)),
             whole <= memory ? "fits in" : "does NOT fit in", card.memory_gib,
             card.measured ? "measured" : "80 % of the data sheet's");
}

}  // namespace

int run_plan(std::vector<std::string> arguments) {
  TrainOptions options;
  bool json = false;
  OptionTable table(
      "plan",
      "Shows what a training run would take, and trains nothing. With a dataset the plan "
      "is exact for its rows; without, every row is taken to be max_length long.");
  add_training_options(table, options);
  table.add("device_profile", options.device_profile,
            "plan for this GPU, whatever the machine has: h200, 4090, 3060, ...");
  table.add_flag("json", json, "print JSON");
  if (!table.parse(std::move(arguments))) return 0;
  const MemoryPlan plan = plan_run(options);
  if (json)
    fmt::print("{}\n", plan_json(plan).dump(2));
  else
    fmt::print("{}", plan_table(plan));
  if (!options.device_profile.empty() && !json) print_card(plan, options.device_profile);
  return 0;
}

}  // namespace nibble::cli
