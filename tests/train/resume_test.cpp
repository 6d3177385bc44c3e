// A run that is stopped and resumed is the run that was never stopped: same adapter bytes, same
// log.
#include <gtest/gtest.h>

#include "support/data.h"
#include "support/demo_run.h"

namespace nibble::test {
namespace {

namespace fs = std::filesystem;

std::string adapter_bytes(const TrainOptions& options) {
  return read_file(fs::path(options.output_dir) / "adapter" / "adapter_model.safetensors");
}

void expect_same_run(const TrainOptions& options, const TrainOptions& whole) {
  EXPECT_TRUE(adapter_bytes(options) == adapter_bytes(whole));
  EXPECT_EQ(timeless_metrics(options.output_dir), timeless_metrics(whole.output_dir));
}

struct Setting {
  int64_t accumulation;
  OptimizerType optim;
};

class Resume : public testing::TestWithParam<Setting> {
 protected:
  // 20 rows in pairs: an epoch has 10 steps, or 3 with accumulation 4.
  TrainOptions options() const {
    TrainOptions options = demo_options(folder_.path());
    options.gradient_accumulation_steps = GetParam().accumulation;
    options.optim = GetParam().optim;
    options.logging_steps = 4;  // stops fall between two logged steps, too
    return options;
  }
  int64_t steps_per_epoch() const { return GetParam().accumulation == 1 ? 10 : 3; }
  TempDir folder_;
};

TEST_P(Resume, IsBitExact) {
  TrainOptions whole = options();
  write_file(folder_ / "eval.jsonl", demo_rows(3));
  whole.eval_dataset = (folder_ / "eval.jsonl").string();
  whole.eval_steps = 5;
  const RunOutcome uninterrupted = run(whole);
  ASSERT_TRUE(uninterrupted.result) << uninterrupted.message;
  for (const int64_t stop : {int64_t{1}, steps_per_epoch(), int64_t{6}, int64_t{11}}) {
    SCOPED_TRACE("stopped after step " + std::to_string(stop));
    TrainOptions stopped = whole;
    stopped.output_dir = (folder_ / ("stopped-" + std::to_string(stop))).string();
    EXPECT_EQ(run(stopped, stop).error, ErrorKind::interrupted);
    EXPECT_FALSE(fs::exists(fs::path(stopped.output_dir) / "adapter"));
    stopped.resume_from_checkpoint = "true";
    const RunOutcome resumed = run(stopped);
    ASSERT_TRUE(resumed.result) << resumed.message;
    EXPECT_EQ(resumed.result->steps, 12);
    expect_same_run(stopped, whole);
  }
}

TEST_P(Resume, TwiceIsStillBitExact) {
  const TrainOptions whole = options();
  ASSERT_TRUE(run(whole).result);
  TrainOptions stopped = whole;
  stopped.output_dir = (folder_ / "stopped").string();
  EXPECT_EQ(run(stopped, 2).error, ErrorKind::interrupted);
  stopped.resume_from_checkpoint = "true";
  EXPECT_EQ(run(stopped, 7).error, ErrorKind::interrupted);
  ASSERT_TRUE(run(stopped).result);
  expect_same_run(stopped, whole);
}

INSTANTIATE_TEST_SUITE_P(
    Settings, Resume,
    testing::Values(Setting{1, OptimizerType::adamw}, Setting{4, OptimizerType::adamw},
                    Setting{1, OptimizerType::adamw_8bit}, Setting{4, OptimizerType::adamw_8bit}),
    [](const auto& test) {
      return std::string(test.param.optim == OptimizerType::adamw ? "adamw" : "adamw_8bit") + "_x" +
             std::to_string(test.param.accumulation);
    });

// A stop before the first step leaves a run that resumes, too.
TEST(Interrupted, BeforeTheFirstStep) {
  const TempDir folder;
  TrainOptions options = demo_options(folder.path());
  TrainEvents events;
  events.stop_requested = [] { return true; };
  EXPECT_THROW(run_training(options, events), Error);
  options.resume_from_checkpoint = "true";
  const RunOutcome resumed = run(options);
  ASSERT_TRUE(resumed.result) << resumed.message;
  TrainOptions whole = options;
  whole.resume_from_checkpoint.clear();
  whole.output_dir = (folder / "whole").string();
  ASSERT_TRUE(run(whole).result);
  expect_same_run(options, whole);
}

// A stopped run of 8 steps with checkpoints 4 and 8, and what an uninterrupted one ends with.
class StoppedRun : public testing::Test {
 protected:
  void SetUp() override {
    options_ = demo_options(folder_.path());
    options_.save_steps = 4;
    ASSERT_EQ(run(options_, 8).error, ErrorKind::interrupted);
    options_.resume_from_checkpoint = "true";
  }
  fs::path checkpoint(int step) const {
    return fs::path(options_.output_dir) / ("checkpoint-" + std::to_string(step));
  }
  TempDir folder_;
  TrainOptions options_;
};

TEST_F(StoppedRun, ChangedOptionIsRefusedByName) {
  using Change = void (*)(TrainOptions&);
  const std::vector<std::pair<std::string, Change>> changes = {
      {"learning_rate", [](TrainOptions& o) { o.learning_rate = 2e-3; }},
      {"per_device_train_batch_size", [](TrainOptions& o) { o.per_device_train_batch_size = 4; }},
      {"seed", [](TrainOptions& o) { o.seed = 43; }},
      {"total_steps", [](TrainOptions& o) { o.max_steps = 13; }},
      {"optim", [](TrainOptions& o) { o.optim = OptimizerType::adamw_8bit; }},
      {"lora", [](TrainOptions& o) { o.lora.lora_alpha = 7; }},
      {"load_in_4bit", [](TrainOptions& o) { o.load_in_4bit = false; }},
      {"dataset_sha256", [](TrainOptions& o) { write_file(o.dataset, demo_rows(21)); }},
  };
  const auto before = snapshot(options_.output_dir);
  for (const auto& [field, change] : changes) {
    SCOPED_TRACE(field);
    TrainOptions options = options_;
    change(options);
    const RunOutcome outcome = run(options);
    EXPECT_EQ(outcome.error, ErrorKind::usage) << outcome.message;
    EXPECT_NE(outcome.message.find("\n  " + field + ": "), std::string::npos) << outcome.message;
    EXPECT_TRUE(snapshot(options_.output_dir) == before);
  }
}

TEST_F(StoppedRun, DamagedCheckpointIsNamedAndTheOneBeforeUsed) {
  const fs::path file = checkpoint(8) / "adapter_model.safetensors";
  std::string bytes = read_file(file);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write_file(file, bytes);
  const RunOutcome resumed = run(options_);
  ASSERT_TRUE(resumed.result) << resumed.message;
  EXPECT_NE(resumed.notes.find("checkpoint-8"), std::string::npos) << resumed.notes;
  EXPECT_NE(resumed.notes.find("at step 4"), std::string::npos) << resumed.notes;
  TrainOptions whole = options_;
  whole.resume_from_checkpoint.clear();
  whole.output_dir = (folder_ / "whole").string();
  ASSERT_TRUE(run(whole).result);
  expect_same_run(options_, whole);
}

TEST_F(StoppedRun, CheckpointWithoutManifestIsSkipped) {
  fs::remove(checkpoint(8) / "MANIFEST.json");
  const RunOutcome resumed = run(options_);
  ASSERT_TRUE(resumed.result) << resumed.message;
  EXPECT_NE(resumed.notes.find("at step 4"), std::string::npos) << resumed.notes;
}

TEST_F(StoppedRun, WithoutIntactCheckpointIsAnError) {
  for (const int step : {4, 8}) write_file(checkpoint(step) / "optimizer.safetensors", "damaged");
  const RunOutcome resumed = run(options_);
  EXPECT_EQ(resumed.error, ErrorKind::bad_input);
  EXPECT_NE(resumed.message.find("no intact checkpoint"), std::string::npos) << resumed.message;
}

TEST_F(StoppedRun, FolderWithARunIsRefusedUnlessOverwritten) {
  TrainOptions fresh = options_;
  fresh.resume_from_checkpoint.clear();
  const auto before = snapshot(options_.output_dir);
  const RunOutcome refused = run(fresh);
  EXPECT_EQ(refused.error, ErrorKind::usage);
  EXPECT_NE(refused.message.find("overwrite_output_dir"), std::string::npos) << refused.message;
  EXPECT_NE(refused.message.find("resume_from_checkpoint"), std::string::npos) << refused.message;
  EXPECT_TRUE(snapshot(options_.output_dir) == before);
  fresh.overwrite_output_dir = true;
  const RunOutcome overwritten = run(fresh);
  ASSERT_TRUE(overwritten.result) << overwritten.message;
  EXPECT_EQ(timeless_metrics(fresh.output_dir).size(), 12u);
}

}  // namespace
}  // namespace nibble::test
