// What `nibble plan` tells beyond the plan itself: what would fit, what more memory would buy, and
// what options that change the numbers would save.
#pragma once

#include <string>
#include <vector>

#include "train/planning.h"

namespace nibble {

struct BudgetPoint {
  size_t budget = 0;  // bytes
  double tokens_per_second = 0;
};

// An option that is never chosen silently, as it changes results.
struct Offer {
  std::string option;            // "optim adamw_8bit"
  std::string changes;           // what it changes, for people
  size_t smallest_budget = 0;    // that would run with it
  double tokens_per_second = 0;  // within the same budget
};

struct PlanReport {
  MemoryPlan plan;
  int64_t micro_batch = 0, accumulation = 0;
  size_t smallest_budget = 0;
  int64_t longest_sequence = 0;    // rows of that length, as many in a micro-batch as planned
  int64_t largest_batch = 0;       // rows of max_length in a micro-batch
  std::vector<BudgetPoint> curve;  // from the smallest budget to the one that keeps everything
  std::vector<Offer> offers;
  double search_seconds = 0;  // of the plan itself
};

// As plan_within, and the rest.
PlanReport report_plan(const ModelSource& source, TrainOptions& options, const MemoryLimits& limits,
                       const DeviceProfile& profile, const std::function<RunShape()>& shape);

std::string report_text(const PlanReport& report);
nlohmann::ordered_json report_json(const PlanReport& report);
// The curve as an SVG picture.
std::string curve_svg(const PlanReport& report, const std::string& title);

}  // namespace nibble
