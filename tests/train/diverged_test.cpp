// A run whose numbers explode ends with the step's number and leaves only finite files.
#include <gtest/gtest.h>

#include <cmath>

#include "support/data.h"
#include "support/demo_run.h"

namespace nibble::test {
namespace {

namespace fs = std::filesystem;

void expect_finite_files(const fs::path& run) {
  for (const auto& [name, bytes] : snapshot(run)) {
    EXPECT_EQ(bytes.find("null"), name.ends_with(".jsonl") ? std::string::npos : bytes.find("null"))
        << name;
    if (!name.ends_with("adapter_model.safetensors")) continue;
    const Adapter adapter = read_adapter((run / name).parent_path());
    for (const AdapterTensor& tensor : adapter.tensors)
      for (const float value : tensor.values) ASSERT_TRUE(std::isfinite(value)) << name;
  }
}

TEST(Diverged, EndsTheRunAtItsStep) {
  const TempDir folder;
  TrainOptions options = demo_options(folder.path());
  options.learning_rate = 1e30;
  options.save_steps = 1;
  const RunOutcome outcome = run(options);
  EXPECT_EQ(outcome.error, ErrorKind::diverged);
  EXPECT_NE(outcome.message.find("step 2:"), std::string::npos) << outcome.message;
  EXPECT_NE(outcome.message.find("learning_rate"), std::string::npos) << outcome.message;
  EXPECT_FALSE(fs::exists(folder / "run/adapter"));
  expect_finite_files(folder / "run");
}

TEST(Diverged, UpdateBeyondFloatIsNeverSaved) {
  const TempDir folder;
  TrainOptions options = demo_options(folder.path());
  options.learning_rate = 1e300;
  options.max_steps = 1;
  EXPECT_EQ(run(options).error, ErrorKind::diverged);
  EXPECT_FALSE(fs::exists(folder / "run/adapter"));
  expect_finite_files(folder / "run");
}

TEST(Diverged, EvaluationThatIsNotFiniteEndsTheRun) {
  const TempDir folder;
  TrainOptions options = demo_options(folder.path());
  options.learning_rate = 1e30;
  options.max_steps = 1;
  write_file(folder / "eval.jsonl", demo_rows(2));
  options.eval_dataset = (folder / "eval.jsonl").string();
  const RunOutcome outcome = run(options);
  EXPECT_EQ(outcome.error, ErrorKind::diverged) << outcome.message;
  EXPECT_NE(outcome.message.find("step 1"), std::string::npos) << outcome.message;
  expect_finite_files(folder / "run");
}

// The adapter of the steps before stays as it was: the error comes before the update.
TEST(Diverged, EarlierCheckpointIsUntouched) {
  const TempDir folder;
  TrainOptions options = demo_options(folder.path());
  options.save_steps = 4;
  ASSERT_EQ(run(options, 4).error, ErrorKind::interrupted);
  const auto before = snapshot(folder / "run/checkpoint-4");
  ASSERT_FALSE(before.empty());
  TrainOptions other = options;
  other.learning_rate = 1e30;
  other.resume_from_checkpoint.clear();
  other.adapter_name_or_path = (folder / "run/checkpoint-4").string();
  other.output_dir = (folder / "other").string();
  EXPECT_EQ(run(other).error, ErrorKind::diverged);
  EXPECT_TRUE(snapshot(folder / "run/checkpoint-4") == before);
}

}  // namespace
}  // namespace nibble::test
