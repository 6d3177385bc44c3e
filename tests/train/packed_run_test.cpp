// Whole runs with packs and with length grouping: plan, resume, refusals.
#include <gtest/gtest.h>

#include <algorithm>

#include "data/batch_schedule.h"
#include "support/data.h"
#include "support/demo_run.h"
#include "support/golden_model.h"
#include "support/random.h"
#include "train/dry_run.h"

namespace nibble::test {
namespace {

namespace fs = std::filesystem;

TrainOptions packed_options(const fs::path& folder) {
  TrainOptions options = demo_options(folder);
  options.packing = true;
  options.per_device_train_batch_size = 1;
  return options;
}

std::string adapter_of(const TrainOptions& options) {
  return read_file(fs::path(options.output_dir) / "adapter" / "adapter_model.safetensors");
}

TEST(PackedRun, ResumesInTheMiddleOfAnEpochBitByBit) {
  using Change = void (*)(TrainOptions&);
  const std::vector<std::pair<std::string, Change>> settings = {
      {"packing", [](TrainOptions& o) { o.packing = true, o.per_device_train_batch_size = 1; }},
      {"grouped", [](TrainOptions& o) { o.train_sampling_strategy = Sampling::group_by_length; }},
      {"both", [](TrainOptions& o) {
         o.packing = true, o.train_sampling_strategy = Sampling::group_by_length;
       }}};
  for (const auto& [name, change] : settings) {
    const TempDir folder;
    TrainOptions whole = demo_options(folder.path());
    change(whole);
    const RunOutcome uninterrupted = run(whole);
    ASSERT_TRUE(uninterrupted.result) << uninterrupted.message;
    EXPECT_EQ(uninterrupted.notes.find("packing: 20 rows in ") != std::string::npos, whole.packing)
        << uninterrupted.notes;
    for (const int64_t stop : {5, 11}) {
      SCOPED_TRACE(testing::Message() << name << ", stopped after step " << stop);
      TrainOptions stopped = whole;
      stopped.output_dir = (folder / ("stopped-" + std::to_string(stop))).string();
      EXPECT_EQ(run(stopped, stop).error, ErrorKind::interrupted);
      stopped.resume_from_checkpoint = "true";
      const RunOutcome resumed = run(stopped);
      ASSERT_TRUE(resumed.result) << resumed.message;
      EXPECT_TRUE(adapter_of(stopped) == adapter_of(whole));
      EXPECT_EQ(timeless_metrics(stopped.output_dir), timeless_metrics(whole.output_dir));
    }
  }
}

TEST(PackedRun, OtherPacksAreAnotherRun) {
  using Change = void (*)(TrainOptions&);
  const std::vector<std::pair<std::string, Change>> changes = {
      {"packing", [](TrainOptions& o) { o.packing = false; }},
      {"max_length", [](TrainOptions& o) { o.max_length = 128; }},
      {"train_sampling_strategy",
       [](TrainOptions& o) { o.train_sampling_strategy = Sampling::group_by_length; }},
  };
  const TempDir folder;
  const TrainOptions options = packed_options(folder.path());
  ASSERT_EQ(run(options, 3).error, ErrorKind::interrupted);
  for (const auto& [field, change] : changes) {
    SCOPED_TRACE(field);
    TrainOptions other = options;
    other.resume_from_checkpoint = "true";
    change(other);
    const RunOutcome outcome = run(other);
    EXPECT_EQ(outcome.error, ErrorKind::usage) << outcome.message;
    EXPECT_NE(outcome.message.find("\n  " + field + ": "), std::string::npos) << outcome.message;
  }
}

TEST(PackedRun, StrategiesThatCutRowsAreRefusedByName) {
  const TempDir folder;
  TrainOptions options = packed_options(folder.path());
  for (const auto& [strategy, reason] : std::vector<std::pair<std::string, std::string>>{
           {"wrapped", "cuts rows"}, {"bfd_split", "split"}, {"ffd", "expected bfd"}}) {
    options.packing_strategy = strategy;
    const RunOutcome outcome = run(options);
    EXPECT_EQ(outcome.error, ErrorKind::usage);
    EXPECT_NE(outcome.message.find("packing_strategy: "), std::string::npos) << outcome.message;
    EXPECT_NE(outcome.message.find(strategy), std::string::npos) << outcome.message;
    EXPECT_NE(outcome.message.find(reason), std::string::npos) << outcome.message;
  }
}

TEST(PackedRun, TakesWhatWasPlanned) {
  const TempDir folder;
  TrainOptions options = packed_options(folder.path());
  options.per_device_train_batch_size = 2;
  options.max_steps = 4;
  const MemoryPlan plan = plan_run(options);
  EXPECT_LE(plan.largest_micro_batch, 2 * options.max_length);
  const RunOutcome outcome = run(options);
  ASSERT_TRUE(outcome.result) << outcome.message;
  EXPECT_EQ(outcome.result->planned_bytes(), plan.peak_bytes());
  EXPECT_EQ(outcome.result->planned_bytes(), outcome.result->measured_bytes());
  options.dataset.clear();  // full packs
  const MemoryPlan full = plan_run(options);
  EXPECT_EQ(full.largest_micro_batch, 2 * options.max_length);
  EXPECT_GE(full.peak_bytes(), plan.peak_bytes());
}

// Packs of the same length differ in documents and in trained tokens, and on a GPU in who computes
// their attention: planning with those that decide is planning with all.
TEST(PackedRun, DecidingBatchesNeedWhatAllNeed) {
  const GoldenModel golden("llama3");
  const ModelSource source = ModelSource::open(golden.path().string());
  for (const bool cuda : {false, true})
    for (uint64_t draw = 0; draw < 8; ++draw) {
      SCOPED_TRACE(testing::Message()
                   << (cuda ? "GPU" : "CPU") << " seed " << test_seed() << " draw " << draw);
      Random random(draw);
      std::vector<int64_t> lengths;
      std::vector<std::vector<int32_t>> ids, labels;
      for (int i = 0; i < 300; ++i) {
        const int64_t length = random.uniform() < 0.2 ? 128 * random.integer(1, 32)
                                                      : random.integer(2, draw % 2 ? 4000 : 60);
        lengths.push_back(length);
        ids.emplace_back(length, 3);
        labels.emplace_back(length, -100);
        const int64_t trained = random.uniform() < 0.5 ? 1 : random.integer(1, length);
        std::fill(labels.back().end() - trained, labels.back().end(), 3);
      }
      ScheduleOptions packs;
      packs.pack_capacity = 4096;
      packs.batch_size = 1 + static_cast<int64_t>(draw % 3);
      const BatchSchedule schedule(lengths, packs);
      std::vector<MicroBatch> all;
      for (int64_t step = 0; step < schedule.steps_per_epoch(); ++step) {
        all.emplace_back();
        const auto batches = schedule.micro_batches(step);
        for (const int64_t d : batches.front())
          all.back().push_back({ids[static_cast<size_t>(d)], labels[static_cast<size_t>(d)]});
      }
      TrainOptions options = golden.options();
      options.device = cuda ? "cuda" : "cpu";
      options.bnb_4bit_compute_dtype = cuda ? "bfloat16" : "float32";
      DeviceProfile profile;
      profile.cuda = cuda;
      const auto peak = [&](const std::vector<MicroBatch>& batches) {
        return plan_training(source, options, {batches, {}, 1}, profile,
                             recompute_every(1, source.spec.layers))
            .peak_bytes();
      };
      const std::vector<MicroBatch> deciding = largest_batches(all);
      EXPECT_LT(deciding.size(), all.size());
      size_t most = 0;
      for (const MicroBatch& batch : all) most = std::max(most, peak({batch}));
      EXPECT_EQ(peak(deciding), most);
    }
}

}  // namespace
}  // namespace nibble::test
