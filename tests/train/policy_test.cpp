// What lies where, and what is kept, never changes a bit: of the losses, of the gradient's norm, of
// the adapter. And each policy takes what its plan says, near and far.
#include "transformer/policy.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "ops/plan/plan_ops.h"
#include "support/data.h"
#include "support/golden_model.h"
#include "support/random.h"
#include "train/dry_run.h"

namespace nibble::test {
namespace {

// A model of random weights whose batch has several tiles of rows and whose head has several of the
// vocabulary, on the device under test.
struct Job {
  ModelSource source;
  TrainOptions options;
  const TempDir folder;
  std::vector<std::vector<int32_t>> ids, labels;

  Job(const std::string& model_type, bool tied, float dropout) {
    const bool cuda = test_device() != "cpu";
    nlohmann::json config = {{"model_type", model_type},
                             {"hidden_size", 64},
                             {"intermediate_size", 96},
                             {"num_hidden_layers", 4},
                             {"num_attention_heads", 4},
                             {"num_key_value_heads", 2},
                             {"head_dim", 16},
                             {"vocab_size", cuda ? 33001 : 8301},
                             {"max_position_embeddings", 8192},
                             {"rms_norm_eps", 1e-5},
                             {"hidden_act", "silu"},
                             {"rope_theta", 10000.0},
                             {"tie_word_embeddings", tied},
                             {"torch_dtype", "bfloat16"}};
    if (model_type == "qwen3") config["attention_bias"] = false;
    write_file(folder / "config.json", config.dump());
    source = open();
    options.model_name_or_path = (folder / "config.json").string();
    options.bnb_4bit_compute_dtype = cuda ? "bfloat16" : "float32";
    options.lora.r = 4;
    options.lora.lora_dropout = static_cast<double>(dropout);
    options.lora.rank_pattern = {{"layers.2.mlp.down_proj", 20}};
    options.learning_rate = 1e-2;
    options.device = test_device();

    Random random(71);
    for (const int64_t length :
         cuda ? std::vector<int64_t>{3000, 2500, 700, 1} : std::vector<int64_t>{700, 330, 1, 90}) {
      ids.emplace_back();
      labels.emplace_back();
      for (int64_t i = 0; i < length; ++i) {
        ids.back().push_back(static_cast<int32_t>(random.integer(0, source.spec.vocab_size - 1)));
        labels.back().push_back(random.uniform() < 0.15 ? ids.back().back() : -100);
      }
    }
  }
  ModelSource open() const {
    ModelSource opened = ModelSource::open((folder / "config.json").string());
    opened.synthetic = true;
    return opened;
  }
  MicroBatch batch(size_t from, size_t to) const {
    MicroBatch batch;
    for (size_t i = from; i < to; ++i) batch.push_back({ids[i], labels[i]});
    return batch;
  }
  std::vector<MicroBatch> step() const { return {batch(0, 3), batch(1, 4)}; }
};

struct Trained {
  std::vector<double> losses;
  std::vector<float> norms, adapter;
  bool operator==(const Trained&) const = default;
};

// Two steps of two micro-batches, with an evaluation between them. The second step begins with the
// micro-batch that the first ended with: what is recorded is played back.
Trained train(const Job& job, const MemoryPolicy& policy) {
  const std::vector<MicroBatch> batches = job.step(), reversed(batches.rbegin(), batches.rend());
  TrainingRig rig(job.open(), job.options, policy);
  Trained outcome;
  for (int64_t step = 1; step <= 2; ++step) {
    const StepResult result =
        rig.step.train(step == 1 ? batches : reversed, step, job.options.learning_rate);
    outcome.losses.push_back(result.loss);
    outcome.norms.push_back(result.gradient_norm);
    TrainStep::EvalResult evaluated;
    rig.step.evaluate(batches[0], evaluated);
    outcome.losses.push_back(evaluated.loss_sum);
  }
  outcome.adapter = download(rig.ops, rig.step.parameters().values());

  DeviceProfile profile;
  profile.threads = 2;
  profile.cuda = rig.device.is_cuda();
  const MemoryPlan plan =
      plan_training(job.source, job.options, {batches, {batches[0]}, 2}, profile, policy);
  EXPECT_EQ(plan.peak_bytes(), rig.arena.peak().bytes);
  EXPECT_EQ(plan.peak.by_use, rig.arena.peak().by_use);
  EXPECT_EQ(plan.far_bytes(), rig.far.peak().bytes);
  EXPECT_EQ(plan.far_peak.by_use, rig.far.peak().by_use);
  return outcome;
}

MemoryPolicy random_policy(Random& random, int64_t layers) {
  const auto place = [&] { return random.integer(0, 1) ? Place::far : Place::near; };
  MemoryPolicy policy;
  const auto far_level = static_cast<Keep>(random.integer(1, keep_levels - 1));
  for (int64_t i = 0; i < layers; ++i) {
    BlockPolicy block;
    block.weights = place();
    block.input = place();
    block.kept = place();
    block.keep = block.kept == Place::far ? far_level
                                          : static_cast<Keep>(random.integer(0, keep_levels - 1));
    policy.blocks.push_back(block);
  }
  policy.embedding = place();
  policy.head = place();
  policy.moments = place();
  policy.logits =
      policy.head == Place::far || random.integer(0, 1) ? LogitsIn::tiles : LogitsIn::rows;
  policy.passing = static_cast<int>(random.integer(1, 2));
  return policy;
}

std::string describe(const MemoryPolicy& policy) {
  std::string text;
  for (const BlockPolicy& block : policy.blocks)
    text += fmt::format("[weights {} input {} keep {} kept {}] ", static_cast<int>(block.weights),
                        static_cast<int>(block.input), static_cast<int>(block.keep),
                        static_cast<int>(block.kept));
  return text + fmt::format("embedding {} head {} moments {} tiles {} passing {}",
                            static_cast<int>(policy.embedding), static_cast<int>(policy.head),
                            static_cast<int>(policy.moments), policy.logits == LogitsIn::tiles,
                            policy.passing);
}

class Policies : public testing::Test {
 protected:
  static void expect_equal_bits(const Job& job, bool every_level, int random_policies) {
    const int64_t layers = job.source.spec.layers;
    const Trained expected = train(job, recompute_every(0, layers));
    std::vector<MemoryPolicy> policies;
    for (int keep = 0; every_level && keep < keep_levels; ++keep) {
      MemoryPolicy policy;
      policy.blocks.assign(static_cast<size_t>(layers), {});
      for (BlockPolicy& block : policy.blocks) block.keep = static_cast<Keep>(keep);
      policies.push_back(policy);
      policy.logits = LogitsIn::tiles;
      policy.embedding = policy.head = policy.moments = Place::far;
      for (BlockPolicy& block : policy.blocks)
        block.weights = block.input = block.kept = Place::far;
      policy.passing = 1 + keep % 2;
      policies.push_back(policy);
    }
    Random random(72);
    for (int i = 0; i < random_policies; ++i) policies.push_back(random_policy(random, layers));
    if (job.source.spec.tied_head)
      for (MemoryPolicy& policy : policies) {
        policy.head = policy.embedding;
        if (policy.head == Place::far) policy.logits = LogitsIn::tiles;
      }
    for (MemoryPolicy& policy : policies) {
      policy.recorded = !policy.uses_far_memory();
      SCOPED_TRACE(describe(policy));
      const Trained outcome = train(job, policy);
      EXPECT_EQ(outcome.losses, expected.losses);
      EXPECT_EQ(outcome.norms, expected.norms);
      EXPECT_TRUE(outcome.adapter == expected.adapter) << "the adapters differ";
    }
    EXPECT_NE(expected.losses[0], expected.losses[2]) << "nothing was learnt";
  }
};

TEST_F(Policies, NeverChangeABit) { expect_equal_bits(Job("llama", false, 0), true, 10); }
TEST_F(Policies, NeverChangeABitWithDropoutAndATiedHead) {
  expect_equal_bits(Job("qwen3", true, 0.1f), false, 4);
}

// Blocks below the lowest adapter leave nothing; what lies far of them is still fetched.
TEST_F(Policies, NeverChangeABitBelowTheLowestAdapter) {
  Job job("llama", false, 0);
  job.options.lora.layers_to_transform = {1, 3};
  job.options.lora.rank_pattern.clear();
  expect_equal_bits(job, false, 3);
}

}  // namespace
}  // namespace nibble::test
