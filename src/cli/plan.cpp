#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/train_options.h"
#include "data/dataset.h"
#include "train/calibration.h"
#include "train/dry_run.h"
#include "train/trainer.h"

namespace nibble::cli {

int run_plan(std::vector<std::string> arguments) {
  TrainOptions options;
  bool json = false;
  OptionTable table(
      "plan",
      "Shows what a training run would take, and trains nothing. With a dataset the plan "
      "is exact for its rows; without, every row is taken to be max_length long.");
  add_training_options(table, options);
  table.add_flag("json", json, "print JSON");
  if (!table.parse(std::move(arguments))) return 0;
  const MemoryPlan plan = plan_run(options);
  if (json)
    fmt::print("{}\n", plan_json(plan).dump(2));
  else
    fmt::print("{}", plan_table(plan));
  return 0;
}

}  // namespace nibble::cli
