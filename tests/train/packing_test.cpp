// A document is trained the same wherever it lies: alone, beside others in a batch, in a pack, or
// in a padded batch of transformers.
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "data/batch_schedule.h"
#include "files/json.h"
#include "support/data.h"
#include "support/golden_model.h"
#include "support/random.h"

namespace nibble::test {
namespace {

struct Row {
  std::vector<int32_t> ids, labels;
  DocumentView view() const { return {ids, labels}; }
};

// Random tokens, of which the first of each row and some others are untrained.
std::vector<Row> random_rows(uint64_t stream, const std::vector<int64_t>& lengths, int64_t vocab) {
  Random random(stream);
  std::vector<Row> rows;
  for (const int64_t length : lengths) {
    Row& row = rows.emplace_back();
    for (int64_t i = 0; i < length; ++i) {
      row.ids.push_back(static_cast<int32_t>(random.integer(0, vocab - 1)));
      row.labels.push_back(i % 3 == 0 && i + 1 < length ? -100 : row.ids.back());
    }
  }
  return rows;
}

MicroBatch batch_of(const std::vector<Row>& rows) {
  MicroBatch batch;
  for (const Row& row : rows) batch.push_back(row.view());
  return batch;
}

std::vector<MicroBatch> batches_of_step(const BatchSchedule& schedule, int64_t step,
                                        const std::vector<Row>& rows) {
  std::vector<MicroBatch> batches;
  for (const auto& documents : schedule.micro_batches(step)) {
    batches.emplace_back();
    for (const int64_t d : documents) batches.back().push_back(rows[static_cast<size_t>(d)].view());
  }
  return batches;
}

// [tokens, vocabulary] of all documents of a batch. final_length, where given, decides longrope's
// list for all of them.
std::vector<float> logits_of(TrainingRig& rig, const MicroBatch& documents,
                             int64_t final_length = 0) {
  const Model& model = rig.step.model();
  std::vector<Batch::Continuation> continuations;
  if (final_length > 0) continuations.assign(documents.size(), {0, final_length});
  const Arena::Scope scope(rig.arena);
  const Batch batch(documents, model.spec(), rig.step.weights().inverse_frequencies, rig.ops,
                    continuations);
  const Tensor logits = rig.arena.tensor(batch.tokens(), model.spec().vocab_size, DType::f32,
                                         MemoryUse::working_set, "logits");
  model.forward_logits(batch, logits);
  return download(rig.ops, logits);
}

struct Outcome {
  double loss;
  std::vector<float> gradients;
  int64_t trained;
};

// One step at rate 0, which leaves the adapter as it is.
Outcome step_over(TrainingRig& rig, const std::vector<MicroBatch>& batches) {
  const StepResult result = rig.step.train(batches, 1, 0);
  return {result.loss, download(rig.ops, rig.step.parameters().gradients()), result.trained_tokens};
}

// The next `count` values, from `begin` on, which is advanced.
std::vector<float> take(const std::vector<float>& values, size_t& begin, size_t count) {
  const auto first = values.begin() + static_cast<std::ptrdiff_t>(begin);
  begin += count;
  return {first, first + static_cast<std::ptrdiff_t>(count)};
}

double widest(std::span<const float> a, std::span<const float> b) {
  double widest = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    widest = std::max(widest, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return widest;
}

// A packed document meets the same operands in the same operations. Only matrix products may sum
// in another order when they have more rows. Summing n terms in another order is the same as moving
// each weight by about sqrt(n) 2^-24 of itself (Higham and Mary 2019), in both runs; with n <= 260
// in these models that is 16 times the 2^-23 by which the goldens moved them for "sensitivity".
double rounding_bound(const GoldenModel& golden, const char* result) {
  return 16 * golden.expected().at("sensitivity").at(result).get<double>();
}

// Of loss and gradient, which are means: over fewer tokens than the golden's, each weighs more.
void expect_equal(const Outcome& a, const Outcome& b, const GoldenModel& golden) {
  ASSERT_EQ(a.trained, b.trained);
  const double tokens = golden.expected().at("trained_tokens");
  const double weight = std::max(1.0, tokens / static_cast<double>(a.trained));
  EXPECT_LE(std::fabs(a.loss - b.loss), weight * rounding_bound(golden, "loss"));
  EXPECT_LE(widest(a.gradients, b.gradients), weight * rounding_bound(golden, "grad"));
}

class Packed : public testing::TestWithParam<std::string> {
 protected:
  Packed() : golden_(GetParam()), rig_(golden_.options(), 1) {
    rig_.step.parameters().load(rig_.ops, golden_.start(), "golden");
  }
  int64_t vocab() const { return rig_.source.spec.vocab_size; }

  GoldenModel golden_;
  TrainingRig rig_;
};

TEST_P(Packed, LogitsAreThoseOfTheDocumentAlone) {
  const std::vector<Row> rows = random_rows(1, {3, 40, 7, 21, 64, 2, 15, 33}, vocab());
  const std::vector<float> packed = logits_of(rig_, batch_of(rows));
  size_t begin = 0;
  for (const Row& row : rows) {
    const std::vector<float> alone = logits_of(rig_, {row.view()});
    EXPECT_LE(widest(alone, take(packed, begin, alone.size())), rounding_bound(golden_, "logits"))
        << row.ids.size() << " tokens";
  }
  EXPECT_EQ(begin, packed.size());
}

// Of a pack in which it alone is trained, a document's gradient is the one it has alone.
TEST_P(Packed, GradientIsThatOfTheDocumentAlone) {
  std::vector<Row> rows = random_rows(2, {12, 40, 9}, vocab());
  for (size_t trained = 0; trained < rows.size(); ++trained) {
    std::vector<Row> pack = rows;
    for (size_t i = 0; i < rows.size(); ++i)
      if (i != trained) pack[i].labels.assign(pack[i].labels.size(), -100);
    expect_equal(step_over(rig_, {batch_of(pack)}), step_over(rig_, {{rows[trained].view()}}),
                 golden_);
  }
}

// Nothing at all passes from one document to another: with all tokens of its neighbours replaced,
// a document's logits, loss and gradient keep every bit.
TEST_P(Packed, NothingCrossesBetweenDocuments) {
  const Row kept = random_rows(3, {20}, vocab())[0];
  struct {
    Outcome outcome;
    std::vector<float> logits;
  } runs[2];
  for (const uint64_t i : {0, 1}) {
    std::vector<Row> rows = random_rows(4 + i, {24, 20, 17}, vocab());
    for (Row& row : rows) row.labels.assign(row.ids.size(), -100);
    rows[1] = kept;
    runs[i] = {step_over(rig_, {batch_of(rows)}), logits_of(rig_, batch_of(rows))};
  }
  EXPECT_EQ(runs[0].outcome.loss, runs[1].outcome.loss);
  EXPECT_TRUE(runs[0].outcome.gradients == runs[1].outcome.gradients);
  const auto logits_of_tokens = [&](const std::vector<float>& logits, int64_t begin, int64_t end) {
    return std::span(logits).subspan(static_cast<size_t>(begin * vocab()),
                                     static_cast<size_t>((end - begin) * vocab()));
  };
  const auto changed = [&](int64_t begin, int64_t end) {
    return widest(logits_of_tokens(runs[0].logits, begin, end),
                  logits_of_tokens(runs[1].logits, begin, end));
  };
  EXPECT_GT(changed(0, 24), 0.1);
  EXPECT_EQ(changed(24, 44), 0);
  EXPECT_GT(changed(44, 61), 0.1);

  // As one document with its neighbour it would be another.
  Row joined = random_rows(4, {24}, vocab())[0];
  joined.ids.insert(joined.ids.end(), kept.ids.begin(), kept.ids.end());
  const std::vector<float> leaking = logits_of(rig_, {{joined.ids, {}}});
  EXPECT_GT(widest(logits_of_tokens(leaking, 24, 44), logits_of_tokens(runs[0].logits, 24, 44)),
            0.1);
}

// However the rows of a step are laid out, loss and gradient are the same: both are sums over its
// 185 tokens in another order.
TEST_P(Packed, LayoutOfAStepDoesNotChangeIt) {
  const std::vector<int64_t> lengths = {3, 40, 7, 21, 64, 2, 15, 33};
  const std::vector<Row> rows = random_rows(6, lengths, vocab());
  const auto layout = [&](int64_t batch_size, int64_t accumulation, int64_t pack_capacity) {
    ScheduleOptions options;
    options.batch_size = batch_size;
    options.accumulation_steps = accumulation;
    options.pack_capacity = pack_capacity;
    const BatchSchedule schedule(lengths, options);
    EXPECT_EQ(schedule.steps_per_epoch(), 1);
    return batches_of_step(schedule, 0, rows);
  };
  const Outcome whole = step_over(rig_, layout(8, 1, 0));
  for (const auto& [batch_size, accumulation, pack_capacity] : std::vector<std::array<int64_t, 3>>{
           {1, 8, 0}, {2, 4, 0}, {4, 2, 0}, {1, 8, 64}, {2, 2, 64}, {1, 1, 185}}) {
    SCOPED_TRACE(testing::Message()
                 << batch_size << " x " << accumulation << ", packs of " << pack_capacity);
    expect_equal(step_over(rig_, layout(batch_size, accumulation, pack_capacity)), whole, golden_);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, Packed, testing::ValuesIn(golden_cases()),
                         [](const auto& test) { return test.param; });

// Documents below and beyond original_max_position_embeddings (16) in one pack: each has the list
// that its own length asks for, and equals what transformers gives for it alone.
TEST(PackedLongrope, EachDocumentChoosesItsOwnList) {
  for (const char* name : {"phi4mini", "phi35"}) {
    const GoldenModel golden(name);
    TrainingRig rig(golden.options());
    rig.step.parameters().load(rig.ops, golden.start(), "golden");
    const std::vector<float> packed = logits_of(rig, golden.batch());
    size_t begin = 0;
    for (int64_t d = 0; d < golden.documents(); ++d) {
      SCOPED_TRACE(testing::Message() << name << " document " << d);
      const std::vector<float> alone = golden.result("doc" + std::to_string(d) + ".logits");
      EXPECT_LT(relative_error(take(packed, begin, alone.size()), alone),
                1e-4);  // as golden_test.cpp
      // The list that the pack's length, or the shortest document's, would choose is far off.
      const int64_t length = golden.expected().at("documents").at(d).at("length");
      const std::vector<float> other = logits_of(rig, golden.document(d), length > 16 ? 16 : 47);
      EXPECT_GT(relative_error(other, alone), 1e-2);
    }
  }
}

// transformers pads a batch of rows and masks the padding; Nibble lays the rows end to end. Both
// compute in float32: the bound of golden_test.cpp.
TEST(PaddingFree, EqualsThePaddedBatchOfTransformers) {
  const auto expected = read_json_file(golden("train/padding.json"), "padding.json").at("cases");
  const SafetensorsFile gradients(golden("train/padding.safetensors"));
  ASSERT_EQ(expected.size(), 4u);
  for (const auto& [name, numbers] : expected.items()) {
    SCOPED_TRACE(name);
    ASSERT_GT(numbers.at("padding").get<int>(), 20);
    const GoldenModel model(name);
    TrainingRig rig(model.options());
    LoraParameters& parameters = rig.step.parameters();
    parameters.load(rig.ops, model.start(), "golden");
    const double loss = numbers.at("loss");
    EXPECT_NEAR(step_over(rig, {model.batch()}).loss, loss, 1e-4 * loss);
    for (const LoraParameters::Slot& slot : parameters.slots()) {
      const std::string key = name + ".base_model.model." + parameters.modules()[slot.module].path +
                              ".lora_" + slot.factor + ".weight";
      const SafetensorsInfo* info = gradients.find(key);
      ASSERT_TRUE(info) << key;
      std::vector<float> padded(info->bytes() / sizeof(float));
      gradients.read(*info, 0, std::as_writable_bytes(std::span(padded)));
      EXPECT_LT(
          relative_error(download(rig.ops, parameters.slice(parameters.gradients(), slot)), padded),
          1e-4)
          << key;
    }
  }
}

// A trained model, in 4 bits as it would be fine-tuned.
TEST(PackedStories, LogitsAreThoseOfTheDocumentAlone) {
  NIBBLE_NEEDS_SHARED_DATA();
  TrainOptions options;
  options.model_name_or_path = (shared_data() / "models/tinystories-260k").string();
  options.bnb_4bit_compute_dtype = "float32";
  TrainingRig rig(options, 1);
  const std::vector<Row> rows = random_rows(7, {120, 3, 200, 64, 37}, rig.source.spec.vocab_size);
  const std::vector<float> packed = logits_of(rig, batch_of(rows));
  size_t begin = 0;
  for (const Row& row : rows) {
    const std::vector<float> alone = logits_of(rig, {row.view()});
    EXPECT_LT(relative_error(take(packed, begin, alone.size()), alone), 1e-5);
  }
}

}  // namespace
}  // namespace nibble::test
