// What the plan says is what the arena hands out, to the byte: the planned peak is the measured
// one.
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "ops/cpu/isa.h"
#include "support/data.h"
#include "support/demo_run.h"
#include "support/golden_model.h"
#include "support/random.h"
#include "train/dry_run.h"

namespace nibble::test {
namespace {

struct RandomRow {
  std::vector<int32_t> ids, labels;
};

// Documents of random lengths and masks; at least one trained token each.
std::vector<RandomRow> random_rows(Random& random, int64_t count, int64_t longest, int64_t vocab) {
  std::vector<RandomRow> rows(static_cast<size_t>(count));
  for (RandomRow& row : rows) {
    const int64_t length = random.integer(2, longest);
    for (int64_t i = 0; i < length; ++i) {
      row.ids.push_back(static_cast<int32_t>(random.integer(0, vocab - 1)));
      const bool trained = i + 1 == length || random.uniform() < 0.6;
      row.labels.push_back(trained ? row.ids.back() : -100);
    }
  }
  return rows;
}

std::vector<MicroBatch> batches_of(const std::vector<RandomRow>& rows, int64_t batch_size) {
  std::vector<MicroBatch> batches;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i % static_cast<size_t>(batch_size) == 0) batches.emplace_back();
    batches.back().push_back({rows[i].ids, rows[i].labels});
  }
  return batches;
}

class Plan : public testing::TestWithParam<std::string> {};

TEST_P(Plan, PeakIsTheMeasuredPeak) {
  const GoldenModel golden(GetParam());
  const std::vector<std::string> names = golden_cases();
  const auto family = static_cast<uint64_t>(std::ranges::find(names, GetParam()) - names.begin());
  for (uint64_t draw = 0; draw < 6; ++draw) {
    Random random(family * 100 + draw);
    TrainOptions options = golden.options();
    options.lora.rank_pattern.clear();
    options.lora.alpha_pattern.clear();
    options.lora.r = static_cast<uint64_t>(random.integer(1, 40));
    options.lora.lora_dropout = random.uniform() < 0.5 ? 0 : 0.2;
    options.gradient_checkpointing = static_cast<int64_t>(draw % 3);
    options.optim = random.uniform() < 0.5 ? OptimizerType::adamw : OptimizerType::adamw_8bit;
    const ModelSource source = ModelSource::open(options.model_name_or_path);
    options.load_in_4bit = source.prequantized || draw % 2 == 0;
    options.bnb_4bit_use_double_quant = source.prequantized || random.uniform() < 0.5;
    options.bnb_4bit_compute_dtype =
        cpu::cpu_has_bf16() && random.uniform() < 0.5 ? "bfloat16" : "float32";
    const int64_t batch_size = random.integer(1, 5), accumulation = random.integer(1, 4);
    const int64_t longest = random.integer(3, 96);
    const bool evaluates = random.uniform() < 0.5;
    std::ostringstream trace;
    trace << "seed " << test_seed() << " draw " << draw << ": batch " << batch_size << " x "
          << accumulation << " length " << longest << " rank " << options.lora.r
          << " checkpointing " << options.gradient_checkpointing << " 8-bit "
          << (options.optim == OptimizerType::adamw_8bit) << " 4-bit " << options.load_in_4bit
          << " dropout " << options.lora.lora_dropout << " " << options.bnb_4bit_compute_dtype
          << " eval " << evaluates;
    SCOPED_TRACE(trace.str());

    const auto rows =
        random_rows(random, batch_size * accumulation, longest, source.spec.vocab_size);
    const auto eval_rows = random_rows(random, 7, longest, source.spec.vocab_size);
    const auto train = batches_of(rows, batch_size);
    const auto eval = evaluates ? batches_of(eval_rows, 3) : std::vector<MicroBatch>();
    const RunShape shape = {largest_batches(train), largest_batches(eval), accumulation};
    const int threads = draw == 5 ? 3 : 1;  // scratch may depend on it
    DeviceProfile profile;
    profile.threads = threads;
    profile.cuda = choose_device(test_device(), threads).is_cuda();
    const MemoryPlan plan =
        plan_training(source, options, shape, profile,
                      recompute_every(options.gradient_checkpointing, source.spec.layers));

    TrainingRig rig(options, threads);
    rig.step.train(train, 1, options.learning_rate);
    TrainStep::EvalResult result;
    for (const MicroBatch& batch : eval) rig.step.evaluate(batch, result);
    EXPECT_EQ(plan.peak_bytes(), rig.arena.peak().bytes);
    EXPECT_EQ(plan.peak.by_use, rig.arena.peak().by_use);
    size_t sum = 0;
    for (const size_t bytes : plan.peak.by_use) sum += bytes;
    EXPECT_EQ(sum, plan.peak_bytes());
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, Plan, testing::ValuesIn(golden_cases()),
                         [](const auto& test) { return test.param; });

// Of the run as a user starts it: the reservation is the plan, and the log says the same number.
TEST(RunPlan, WholeRunTakesWhatWasPlanned) {
  for (const bool big_eval : {false, true}) {
    SCOPED_TRACE(big_eval ? "evaluation is the larger" : "training is the larger");
    const TempDir folder;
    TrainOptions options = demo_options(folder.path());
    options.max_steps = 3;
    options.per_device_train_batch_size = big_eval ? 1 : 4;
    options.gradient_checkpointing = big_eval ? 1 : 0;
    write_file(folder / "eval.jsonl", demo_rows(big_eval ? 20 : 2));
    options.eval_dataset = (folder / "eval.jsonl").string();
    options.per_device_eval_batch_size = big_eval ? 20 : 1;
    const MemoryPlan plan = plan_run(options);
    const RunOutcome outcome = run(options);
    ASSERT_TRUE(outcome.result) << outcome.message;
    EXPECT_EQ(outcome.result->planned_bytes(), plan.peak_bytes());
    EXPECT_EQ(outcome.result->planned_bytes(), outcome.result->measured_bytes());
    if (big_eval) continue;  // the log's last line is written before the last evaluation
    const std::string log = read_file(folder / "run/metrics.jsonl");
    EXPECT_NE(log.find("\"peak_bytes\":" + std::to_string(plan.peak_bytes())), std::string::npos)
        << log;
  }
}

// Without a dataset the plan is for rows of max_length, which no dataset exceeds.
TEST(RunPlan, WithoutDatasetBoundsEveryDataset) {
  const TempDir folder;
  TrainOptions options = demo_options(folder.path());
  options.max_length = 24;
  const size_t exact = plan_run(options).peak_bytes();
  options.dataset.clear();
  EXPECT_GE(plan_run(options).peak_bytes(), exact);
}

}  // namespace
}  // namespace nibble::test
