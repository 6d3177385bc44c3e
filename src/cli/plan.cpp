#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/train_options.h"
#include "files/file_io.h"
#include "ops/plan/device_profiles.h"
#include "train/trainer.h"
#include "transformer/architectures.h"

namespace nibble::cli {

namespace {

// Where the figures of a card that is not here come from.
void print_card(const std::string& name) {
  const NamedProfile& card = device_profile(name);
  fmt::print("  for {}, {} GiB; rates {}\n", card.product, card.memory_gib,
             card.measured ? "measured" : "80 % of the data sheet's");
}

}  // namespace

int run_plan(std::vector<std::string> arguments) {
  TrainOptions options;
  std::string architecture, plot;
  bool json = false;
  OptionTable table(
      "plan",
      "Shows what a training run would take, and trains nothing. With a dataset the plan "
      "is exact for its rows; without, every row is taken to be max_length long.");
  add_training_options(table, options);
  table.add("device_profile", options.device_profile,
            "plan for this GPU, whatever the machine has: h200, 4090, 3060, ...");
  table.add("arch", architecture,
            fmt::format("plan for this shape instead of a model: {}",
                        fmt::join(architecture_names(), ", ")));
  table.add("plot", plot, "write what memory buys as an SVG picture to this file");
  table.add_flag("json", json, "print JSON");
  if (!table.parse(std::move(arguments))) return 0;
  options.micro_batch_given = table.given("per_device_train_batch_size");
  if (!architecture.empty()) {
    if (!options.model_name_or_path.empty() || !options.dataset.empty())
      fail(ErrorKind::usage, "arch: it stands for a model; give no model_name_or_path or dataset");
    options.model_name_or_path = architecture;
  }
  const PlanReport report = plan_report(options, architecture);
  if (json)
    fmt::print("{}\n", report_json(report).dump(2));
  else
    fmt::print("{}", report_text(report));
  if (!options.device_profile.empty() && !json) print_card(options.device_profile);
  if (!plot.empty()) {
    const std::string where =
        options.device_profile.empty() ? std::string() : " on " + options.device_profile;
    replace_file(plot, curve_svg(report, fmt::format("{}{}: what memory buys",
                                                     options.model_name_or_path, where)));
    if (!json) fmt::print("  picture: {}\n", plot);
  }
  return 0;
}

}  // namespace nibble::cli
