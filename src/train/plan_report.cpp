#include "train/plan_report.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

namespace nibble {
namespace {

constexpr double gib = 0x1p30;

// The largest n in [1, most] with fits(n), which holds for all smaller ones too; 0 when none does.
int64_t largest(int64_t most, const std::function<bool(int64_t)>& fits) {
  int64_t low = 0, high = 1;
  while (high <= most && fits(high)) low = high, high *= 2;
  high = std::min(high, most + 1);
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return low;
}

bool rows_fit(const ModelSource& source, TrainOptions options, const MemoryLimits& limits,
              const DeviceProfile& profile, int64_t rows, int64_t length) {
  options.per_device_train_batch_size = rows;
  options.max_length = length;
  std::vector<int32_t> zeros;
  const RunShape shape = longest_shape(options, zeros);
  return Planner(source, options, shape, profile).runs(limits);
}

// Budgets from the smallest that runs to the one that has room for everything: whole GiB where
// there are few, else as many equal steps.
std::vector<size_t> budgets(size_t smallest, size_t most) {
  constexpr size_t points = 12;
  std::vector<size_t> all = {smallest};
  const size_t gib_bytes = size_t{1} << 30;
  const size_t step =
      std::max(gib_bytes, ((most - smallest) / points + gib_bytes - 1) / gib_bytes * gib_bytes);
  for (size_t budget = (smallest / gib_bytes + 1) * gib_bytes; budget < most; budget += step)
    all.push_back(budget);
  if (most > all.back()) all.push_back(most);
  return all;
}

std::vector<BudgetPoint> budget_curve(Planner& planner, const MemoryLimits& limits, double tokens,
                                      double steps) {
  std::vector<BudgetPoint> curve;
  const size_t smallest = planner.smallest(limits.far).cost.near + limits.context;
  const size_t most = std::max(smallest, planner.richest().cost.near + limits.context);
  for (const size_t budget : budgets(smallest, most))
    if (const auto found = planner.find(budget - limits.context, limits.far))
      curve.push_back({budget, tokens / (steps * found->cost.seconds)});
  return curve;
}

std::vector<Offer> offers_of(const ModelSource& source, const TrainOptions& options,
                             const MemoryLimits& limits, const DeviceProfile& profile,
                             const RunShape& shape, double tokens) {
  std::vector<Offer> offers;
  const auto offer = [&](const TrainOptions& other, const char* option, const char* changes) {
    Planner planner(source, other, shape, profile);
    const size_t smallest = planner.smallest(limits.far).cost.near + limits.context;
    const auto found = planner.find(limits.reservation(), limits.far);
    const double seconds =
        found ? found->cost.seconds * static_cast<double>(shape.micro_batches) : 0;
    offers.push_back({option, changes, smallest, found ? tokens / seconds : 0});
  };
  if (options.optim == OptimizerType::adamw) {
    TrainOptions other = options;
    other.optim = OptimizerType::adamw_8bit;
    offer(other, "optim adamw_8bit", "the optimizer's moments are rounded to 8 bits");
  }
  if (options.load_in_4bit && !options.bnb_4bit_use_double_quant) {
    TrainOptions other = options;
    other.bnb_4bit_use_double_quant = true;
    offer(other, "bnb_4bit_use_double_quant true", "the scales of the base are rounded to 8 bits");
  }
  return offers;
}

std::string with_commas(double number) {
  std::string digits = fmt::format("{:.0f}", number);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

}  // namespace

PlanReport report_plan(const ModelSource& source, TrainOptions& options, const MemoryLimits& limits,
                       const DeviceProfile& profile, const std::function<RunShape()>& shape) {
  PlanReport report;
  const auto start = std::chrono::steady_clock::now();
  const RunShape run = choose_micro_batch(source, options, limits, profile, shape);
  Planner planner(source, options, run, profile);
  report.plan = planner.fastest(limits);
  report.search_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  report.micro_batch = options.per_device_train_batch_size;
  report.accumulation = run.micro_batches;

  const auto tokens = static_cast<double>(report.plan.step_tokens);
  report.smallest_budget = planner.smallest(limits.far).cost.near + limits.context;
  report.curve = budget_curve(planner, limits, tokens, static_cast<double>(run.micro_batches));
  report.offers = offers_of(source, options, limits, profile, run, tokens);
  const int64_t rows = options.per_device_train_batch_size;
  report.longest_sequence = largest(source.spec.max_positions, [&](int64_t length) {
    return length < 2 || rows_fit(source, options, limits, profile, rows, length);
  });
  report.largest_batch = largest(4096, [&](int64_t n) {
    return rows_fit(source, options, limits, profile, n, options.max_length);
  });
  return report;
}

std::string report_text(const PlanReport& report) {
  std::string text = plan_table(report.plan);
  text += fmt::format("  micro-batch of {} x {} accumulated; found in {:.2f} s\n",
                      report.micro_batch, report.accumulation, report.search_seconds);
  text += fmt::format("  smallest budget that runs: {} ({} bytes)\n",
                      human_bytes(report.smallest_budget), report.smallest_budget);
  text += fmt::format("  within this budget: rows of up to {} tokens, or up to {} rows\n",
                      with_commas(static_cast<double>(report.longest_sequence)),
                      with_commas(static_cast<double>(report.largest_batch)));
  if (report.curve.size() > 1) {
    text += "  what memory buys (predicted):\n";
    const double best = report.curve.back().tokens_per_second;
    for (const BudgetPoint& point : report.curve)
      text +=
          fmt::format("    {:>7.2f} GiB {:>9} tokens/s  {}\n",
                      static_cast<double>(point.budget) / gib, with_commas(point.tokens_per_second),
                      std::string(static_cast<size_t>(40 * point.tokens_per_second / best), '#'));
  }
  for (const Offer& offer : report.offers)
    text += fmt::format("  offer: {} ({}): smallest budget {}, here {} tokens/s\n", offer.option,
                        offer.changes, human_bytes(offer.smallest_budget),
                        with_commas(offer.tokens_per_second));
  return text;
}

nlohmann::ordered_json report_json(const PlanReport& report) {
  nlohmann::ordered_json json = plan_json(report.plan);
  json["per_device_train_batch_size"] = report.micro_batch;
  json["gradient_accumulation_steps"] = report.accumulation;
  json["search_seconds"] = report.search_seconds;
  json["smallest_budget_bytes"] = report.smallest_budget;
  json["longest_sequence"] = report.longest_sequence;
  json["largest_batch"] = report.largest_batch;
  json["curve"] = nlohmann::ordered_json::array();
  for (const BudgetPoint& point : report.curve)
    json["curve"].push_back(
        {{"budget_bytes", point.budget}, {"tokens_per_second", point.tokens_per_second}});
  json["offers"] = nlohmann::ordered_json::array();
  for (const Offer& offer : report.offers)
    json["offers"].push_back({{"option", offer.option},
                              {"changes", offer.changes},
                              {"smallest_budget_bytes", offer.smallest_budget},
                              {"tokens_per_second", offer.tokens_per_second}});
  return json;
}

std::string curve_svg(const PlanReport& report, const std::string& title) {
  constexpr double width = 640, height = 360, left = 70, right = 20, top = 40, bottom = 50;
  const double most_gib = std::max(
      1.0, static_cast<double>(report.curve.empty() ? 1 : report.curve.back().budget) / gib);
  double most_speed = 1;
  for (const BudgetPoint& point : report.curve)
    most_speed = std::max(most_speed, point.tokens_per_second);
  const auto x = [&](double budget) { return left + budget / most_gib * (width - left - right); };
  const auto y = [&](double speed) {
    return height - bottom - speed / (1.05 * most_speed) * (height - top - bottom);
  };
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
      "viewBox=\"0 0 {0} {1}\" font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"white\"/>\n"
      "<text x=\"{2}\" y=\"24\" font-size=\"14\">{3}</text>\n",
      width, height, left, title);
  const auto line = [&](double x1, double y1, double x2, double y2, const char* colour) {
    svg += fmt::format(
        "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\"/>\n", x1, y1,
        x2, y2, colour);
  };
  for (int tick = 0; tick <= 4; ++tick) {
    const double speed = most_speed * tick / 4, budget = most_gib * tick / 4;
    line(left, y(speed), width - right, y(speed), "#dddddd");
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n", left - 6,
                       y(speed) + 4, with_commas(speed));
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{:.3g}</text>\n",
                       x(budget), height - bottom + 18, budget);
  }
  line(left, height - bottom, width - right, height - bottom, "black");
  line(left, top, left, height - bottom, "black");
  svg += fmt::format(
      "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">budget, GiB (context "
      "included)</text>\n"
      "<text x=\"16\" y=\"{:.1f}\" text-anchor=\"middle\" transform=\"rotate(-90 16 "
      "{:.1f})\">tokens/s, "
      "predicted</text>\n",
      (left + width - right) / 2, height - 12, height / 2, height / 2);
  std::string points;
  for (const BudgetPoint& point : report.curve)
    points += fmt::format("{:.1f},{:.1f} ", x(static_cast<double>(point.budget) / gib),
                          y(point.tokens_per_second));
  svg += fmt::format(
      "<polyline points=\"{}\" fill=\"none\" stroke=\"#1f77b4\" stroke-width=\"2\"/>\n", points);
  for (const BudgetPoint& point : report.curve)
    svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"#1f77b4\"/>\n",
                       x(static_cast<double>(point.budget) / gib), y(point.tokens_per_second));
  return svg + "</svg>\n";
}

}  // namespace nibble
