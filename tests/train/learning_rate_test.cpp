// Schedules against transformers.optimization (tools/make_schedule_goldens.py).
#include <gtest/gtest.h>

#include <map>

#include "files/json.h"
#include "support/data.h"
#include "train/options.h"

namespace nibble::test {
namespace {

TEST(LearningRate, IsThatOfTransformers) {
  const std::map<std::string, SchedulerType> types = {
      {"linear", SchedulerType::linear},
      {"cosine", SchedulerType::cosine},
      {"constant", SchedulerType::constant},
      {"constant_with_warmup", SchedulerType::constant_with_warmup}};
  const nlohmann::json goldens = read_json_file(golden("train/schedules.json"), "schedules.json");
  const double peak = goldens.at("learning_rate").get<double>();
  for (const auto& item : goldens.at("cases")) {
    const LearningRateSchedule schedule{types.at(item.at("type").get<std::string>()), peak,
                                        item.at("warmup_steps").get<int64_t>(),
                                        item.at("total_steps").get<int64_t>()};
    const auto rates = item.at("rates").get<std::vector<double>>();
    for (size_t step = 0; step < rates.size(); ++step)
      // The same formula in double; only the order of a few roundings may differ.
      EXPECT_NEAR(schedule.at(static_cast<int64_t>(step)), rates[step], peak * 0x1p-50)
          << item.at("type") << " warmup " << schedule.warmup_steps << " of "
          << schedule.total_steps << ", step " << step;
  }
}

TEST(LearningRate, WarmupStepsWinOverRatioWhichRoundsUp) {
  TrainOptions options;
  options.warmup_ratio = 0.05;
  EXPECT_EQ(learning_rate_schedule(options, 50).warmup_steps, 3);  // ceil(2.5)
  EXPECT_EQ(learning_rate_schedule(options, 40).warmup_steps, 2);
  options.warmup_steps = 7;
  EXPECT_EQ(learning_rate_schedule(options, 50).warmup_steps, 7);
}

}  // namespace
}  // namespace nibble::test
