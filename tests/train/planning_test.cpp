// A budget is kept: what is found fits, more memory is never slower, the smallest budget that a
// refusal names runs, and one byte less does not.
#include "train/planning.h"

#include <gtest/gtest.h>

#include <regex>

#include "ops/plan/device_profiles.h"
#include "support/data.h"
#include "support/demo_run.h"
#include "train/plan_report.h"
#include "train/trainer.h"

namespace nibble::test {
namespace {

TEST(ParseBytes, KnowsUnitsAndRefusesTheRest) {
  const std::pair<const char*, size_t> cases[] = {{"0", 0},
                                                  {"1024", 1024},
                                                  {"6GiB", size_t{6} << 30},
                                                  {"6 GiB", size_t{6} << 30},
                                                  {"1.5GiB", size_t{3} << 29},
                                                  {"8GB", 8'000'000'000},
                                                  {"512M", size_t{512} << 20},
                                                  {"2k", 2048},
                                                  {"3TiB", size_t{3} << 40}};
  for (const auto& [text, bytes] : cases)
    EXPECT_EQ(parse_bytes("memory_budget", text), bytes) << text;
  for (const char* text : {"", "GiB", "-1GiB", "6XB", "1e30GiB", "nan", "six", "6GiBs"}) {
    try {
      parse_bytes("memory_budget", text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
      EXPECT_NE(std::string(error.what()).find("memory_budget"), std::string::npos);
    }
  }
}

// A plan of a known shape for a card that is not here.
TrainOptions card_options(const std::string& model, const char* card) {
  TrainOptions options;
  options.model_name_or_path = model;
  options.device_profile = card;
  options.max_length = 2048;
  options.per_device_train_batch_size = 2;
  options.host_memory_budget = "64GiB";
  return options;
}

struct Planned {
  Planned(const std::string& model, TrainOptions given)
      : source(ModelSource::synthesize(model)), options(std::move(given)) {
    device = resolve_device(options);
    shape = longest_shape(options, zeros);
    profile = to_profile(device_profile(options.device_profile));
  }
  ModelSource source;
  TrainOptions options;
  Device device;
  std::vector<int32_t> zeros;
  RunShape shape;
  DeviceProfile profile;
};

TEST(Planner, FindsWhatFitsAndMoreMemoryIsNeverSlower) {
  for (const char* model : {"phi4mini", "llama3.2-1b"}) {
    SCOPED_TRACE(model);
    Planned run(model, card_options(model, "4090"));
    Planner planner(run.source, run.options, run.shape, run.profile);
    const size_t far = size_t{64} << 30;
    const size_t least = planner.smallest(far).cost.near, most = planner.richest().cost.near;
    EXPECT_FALSE(planner.find(least - 1, far));
    EXPECT_TRUE(planner.runs({least, 0, far, {}}));
    double before = 1e9;
    for (int i = 0; i <= 6; ++i) {
      const size_t near = least + (most - least) / 6 * static_cast<size_t>(i) + (i == 6 ? 6 : 0);
      const auto found = planner.find(near, far);
      ASSERT_TRUE(found);
      EXPECT_LE(found->cost.near, near);
      EXPECT_LE(found->cost.far, far);
      EXPECT_LE(found->cost.seconds, before);
      before = found->cost.seconds;
      const MemoryPlan plan =
          plan_training(run.source, run.options, run.shape, run.profile, found->policy);
      EXPECT_LE(plan.peak_bytes(), near);
      EXPECT_EQ(plan.far_bytes(), found->cost.far);
    }
    EXPECT_LE(before, planner.richest().cost.seconds * 1.0005) << "room for everything, and slower";
  }
}

// What the driver was seen to take for a recording on an H200 (bench/results/h200.md) has room.
TEST(Planner, CountsWhatIsRecorded) {
  constexpr size_t mib = size_t{1} << 20;
  const auto plan_of = [](const std::string& model, TrainOptions options, size_t* besides) {
    Planned run(model, std::move(options));
    const MemoryLimits limits = memory_limits(run.options, run.device);
    const MemoryPlan plan =
        Planner(run.source, run.options, run.shape, run.profile).fastest(limits);
    *besides = plan.context_bytes - limits.context;
    EXPECT_LE(plan.device_bytes(), limits.budget);
    return plan;
  };
  size_t besides = 0;
  TrainOptions options = card_options("qwen3-0.6b", "h200");
  options.gradient_checkpointing = 0;  // what is kept is given: fewer policies to look at
  EXPECT_TRUE(plan_of("qwen3-0.6b", options, &besides).policy.recorded);
  EXPECT_GE(besides, 34 * mib);
  EXPECT_LE(besides, 68 * mib);

  options.gradient_checkpointing = 1;
  options.memory_budget = "1600MiB";  // some of it goes to the host
  const MemoryPlan streamed = plan_of("qwen3-0.6b", options, &besides);
  EXPECT_GT(streamed.far_bytes(), 0u);
  EXPECT_FALSE(streamed.policy.recorded);
  EXPECT_EQ(besides, streamed.far_bytes() / 512);

  options.memory_budget.clear();
  options.per_device_train_batch_size = 3;  // more tokens than a tile of rows
  EXPECT_FALSE(plan_of("qwen3-0.6b", options, &besides).policy.recorded);
  EXPECT_EQ(besides, 0u);

  options = card_options("phi4mini", "h200");
  options.per_device_train_batch_size = 1;
  options.max_length = 512;
  options.gradient_checkpointing = 1;
  EXPECT_TRUE(plan_of("phi4mini", options, &besides).policy.recorded);
  EXPECT_GE(besides, 52 * mib);
  EXPECT_LE(besides, 104 * mib);
}

// Within what a user would wait for; a limit to catch a search that went wild, not a measurement.
TEST(Planner, LooksAtFewPolicies) {
  Planned run("llama70b", card_options("llama70b", "4090"));
  Planner planner(run.source, run.options, run.shape, run.profile);
  ASSERT_TRUE(planner.find(size_t{12} << 30, size_t{64} << 30));
  EXPECT_LT(planner.measured(), 1500u);
}

std::string refusal(const TrainOptions& options, const std::string& architecture) {
  try {
    plan_report(options, architecture);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::no_resources) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "it was planned";
  return {};
}

TEST(Budget, RefusalNamesTheSmallestThatRuns) {
  TrainOptions options = card_options("phi4mini", "3060");
  options.memory_budget = "1GiB";
  const std::string message = refusal(options, "phi4mini");
  std::smatch bytes;
  ASSERT_TRUE(std::regex_search(message, bytes, std::regex("\\(([0-9]+) bytes\\)"))) << message;
  options.memory_budget = bytes[1];
  const PlanReport report = plan_report(options, "phi4mini");
  EXPECT_LE(report.plan.device_bytes(), std::stoull(bytes[1]));
  EXPECT_EQ(report.smallest_budget, std::stoull(bytes[1]));
  options.memory_budget = std::to_string(std::stoull(bytes[1]) - 1);
  EXPECT_NE(refusal(options, "phi4mini").find(bytes[1]), std::string::npos);
}

TEST(Budget, TooLittleHostMemoryIsSaidBeforeLoading) {
  TrainOptions options = card_options("llama70b", "3060");
  options.host_memory_budget = "1GiB";
  const std::string message = refusal(options, "llama70b");
  EXPECT_NE(message.find("the smallest budget"), std::string::npos) << message;
  EXPECT_NE(message.find("1.00 GiB outside"), std::string::npos) << message;
}

TEST(Budget, MoreThanTheMachineHasIsRefused) {
  const TempDir folder;
  TrainOptions options = demo_options(folder.path());
  options.memory_budget = "4000TiB";
  try {
    plan_run(options);
    ADD_FAILURE() << "it was planned";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::no_resources);
    EXPECT_NE(std::string(error.what()).find("memory_budget"), std::string::npos);
  }
}

TEST(GlobalBatch, IsCutAsFitsAndKeepsItsRows) {
  TrainOptions options = card_options("llama3.2-1b", "4090");
  options.global_batch_size = 6;
  Planned run("llama3.2-1b", options);
  const auto plan = [&] {
    return plan_within(run.source, run.options, memory_limits(run.options, run.device), run.profile,
                       [&] { return longest_shape(run.options, run.zeros); });
  };
  const auto rows = [&] {
    return run.options.per_device_train_batch_size * run.options.gradient_accumulation_steps;
  };
  for (const char* budget : {"", "2GiB"}) {
    run.options.memory_budget = budget;
    EXPECT_EQ(plan().step_tokens, 6 * 2048);
    EXPECT_EQ(rows(), 6);
  }
  run.options.micro_batch_given = true;
  run.options.per_device_train_batch_size = 2;
  (void)plan();
  EXPECT_EQ(run.options.gradient_accumulation_steps, 3);
  run.options.per_device_train_batch_size = 5;
  EXPECT_THROW(plan(), Error);
}

// A whole run in nearly the least memory leaves the same adapter as one without a budget.
TEST(Budget, LeastMemoryTrainsTheSameAdapter) {
  const TempDir folder;
  TrainOptions options = demo_options(folder.path());
  options.max_steps = 3;
  const RunOutcome free = run(options);
  ASSERT_TRUE(free.result) << free.message;
  const std::string adapter = read_file(folder / "run/adapter/adapter_model.safetensors");
  EXPECT_EQ(free.result->far_measured.bytes, 0u);

  options.overwrite_output_dir = true;
  options.global_batch_size =
      options.per_device_train_batch_size * options.gradient_accumulation_steps;
  options.micro_batch_given = true;
  // A little above the least, as the program itself takes more or less from one plan to the next.
  const MemoryPlan all = plan_run(options);
  options.memory_budget = "1MiB";
  size_t least = 0;
  try {
    plan_run(options);
  } catch (const Error& error) {
    std::smatch bytes;
    const std::string message = error.what();
    ASSERT_TRUE(std::regex_search(message, bytes, std::regex("\\(([0-9]+) bytes\\)"))) << message;
    least = std::stoull(bytes[1]);
  }
  ASSERT_GT(least, 0u);
  options.memory_budget = std::to_string(least + (size_t{24} << 20));
  const RunOutcome tight = run(options);
  ASSERT_TRUE(tight.result) << tight.message;
  EXPECT_LE(tight.result->planned_bytes(), all.peak_bytes());
  EXPECT_EQ(tight.result->planned_bytes(), tight.result->measured_bytes());
  EXPECT_EQ(tight.result->plan.far_bytes(), tight.result->far_measured.bytes);
  EXPECT_EQ(read_file(folder / "run/adapter/adapter_model.safetensors"), adapter);
}

}  // namespace
}  // namespace nibble::test
