// Which rows a step trains is a pure function of its number; an epoch is every row, or every pack
// of them, once.
#include "data/batch_schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "files/json.h"
#include "support/data.h"
#include "support/random.h"

namespace nibble::test {
namespace {

ScheduleOptions schedule(int64_t batch, int64_t accumulation, double epochs = 3) {
  ScheduleOptions options;
  options.batch_size = batch;
  options.accumulation_steps = accumulation;
  options.epochs = epochs;
  return options;
}

std::vector<int64_t> ones(int64_t rows) {
  return std::vector<int64_t>(static_cast<size_t>(rows), 1);
}

std::vector<int64_t> random_lengths(uint64_t stream, int64_t rows, int64_t longest) {
  Random random(stream);
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < rows; ++i) lengths.push_back(random.integer(1, longest));
  return lengths;
}

std::vector<int64_t> rows_of(const BatchSchedule& schedule, int64_t first, int64_t count) {
  std::vector<int64_t> rows;
  for (int64_t step = first; step < first + count; ++step)
    for (const auto& batch : schedule.micro_batches(step))
      rows.insert(rows.end(), batch.begin(), batch.end());
  return rows;
}

TEST(BatchSchedule, EveryRowOnceInEveryEpoch) {
  for (const int64_t rows : {1, 2, 7, 20, 64})
    for (const int64_t batch : {1, 3, 8})
      for (const int64_t accumulation : {1, 2, 5}) {
        SCOPED_TRACE(testing::Message() << rows << " rows, " << batch << " x " << accumulation);
        const BatchSchedule s(ones(rows), schedule(batch, accumulation));
        const int64_t per_step = batch * accumulation;
        EXPECT_EQ(s.steps_per_epoch(), (rows + per_step - 1) / per_step);
        EXPECT_EQ(s.total_steps(), 3 * s.steps_per_epoch());
        std::vector<int64_t> every(static_cast<size_t>(rows));
        std::iota(every.begin(), every.end(), 0);
        for (int64_t epoch = 0; epoch < 3; ++epoch) {
          auto seen = rows_of(s, epoch * s.steps_per_epoch(), s.steps_per_epoch());
          std::ranges::sort(seen);
          EXPECT_EQ(seen, every);
        }
        for (int64_t step = 0; step < s.total_steps(); ++step) {
          const auto batches = s.micro_batches(step);
          EXPECT_GE(batches.size(), 1u);
          EXPECT_LE(static_cast<int64_t>(batches.size()), accumulation);
          for (size_t i = 0; i < batches.size(); ++i) {  // only an epoch's last batch is smaller
            EXPECT_GE(batches[i].size(), 1u);
            if (i + 1 < batches.size() || (step + 1) % s.steps_per_epoch() != 0) {
              EXPECT_EQ(static_cast<int64_t>(batches[i].size()), batch);
            }
          }
        }
      }
}

TEST(BatchSchedule, LastStepOfAnEpochIsSmaller) {
  const BatchSchedule s(ones(20), schedule(2, 4));  // 10 micro-batches: 4 + 4 + 2
  EXPECT_EQ(s.micro_batches(2).size(), 2u);
  EXPECT_EQ(s.micro_batches(3).size(), 4u);
  EXPECT_DOUBLE_EQ(s.epoch_after(3), 1);
}

// Asking in any order, from a schedule made anew, gives the same rows: a resumed run needs no
// state.
TEST(BatchSchedule, StepAloneDecides) {
  const BatchSchedule forward(ones(23), schedule(2, 2));
  for (int64_t step = forward.total_steps(); step-- > 0;) {
    const BatchSchedule fresh(ones(23), schedule(2, 2));
    EXPECT_EQ(forward.micro_batches(step), fresh.micro_batches(step)) << step;
  }
}

TEST(BatchSchedule, EpochsAndSeedsDiffer) {
  const BatchSchedule s(ones(50), schedule(50, 1));
  ScheduleOptions other = schedule(50, 1);
  other.seed = 43;
  EXPECT_NE(s.micro_batches(0), s.micro_batches(1));
  EXPECT_NE(s.micro_batches(0), BatchSchedule(ones(50), other).micro_batches(0));
}

TEST(BatchSchedule, SequentialKeepsFileOrder) {
  ScheduleOptions options = schedule(3, 1, 2);
  options.sampling = Sampling::sequential;
  EXPECT_EQ(rows_of(BatchSchedule(ones(5), options), 0, 4),
            (std::vector<int64_t>{0, 1, 2, 3, 4, 0, 1, 2, 3, 4}));
}

// Each row is equally likely in each place: a chi-square of 20 x 20 counts over 4000 epochs has 361
// degrees of freedom; 361 + 6 * sqrt(2 * 361) = 522 is passed once in a billion times.
TEST(BatchSchedule, ShufflesUniformly) {
  constexpr int64_t rows = 20, epochs = 4000;
  const BatchSchedule s(ones(rows), schedule(rows, 1, epochs));
  std::vector<double> counts(rows * rows);
  for (int64_t epoch = 0; epoch < epochs; ++epoch) {
    const auto batches = s.micro_batches(epoch);
    for (size_t place = 0; place < rows; ++place)
      ++counts[place * rows + static_cast<size_t>(batches[0][place])];
  }
  double chi_square = 0;
  constexpr double expected = static_cast<double>(epochs) / rows;
  for (const double count : counts)
    chi_square += (count - expected) * (count - expected) / expected;
  EXPECT_LT(chi_square, 522);
}

TEST(BatchSchedule, StepsAndFractionsOfEpochs) {
  ScheduleOptions options = schedule(2, 1);
  options.max_steps = 7;
  EXPECT_EQ(BatchSchedule(ones(20), options).total_steps(), 7);
  EXPECT_EQ(rows_of(BatchSchedule(ones(4), options), 0, 7).size(), 14u);  // beyond the first epoch
  EXPECT_EQ(BatchSchedule(ones(20), schedule(2, 1, 0.25)).total_steps(), 3);
  EXPECT_EQ(BatchSchedule(ones(20), schedule(2, 1, 1e-9)).total_steps(), 1);
}

// With packing a micro-batch is so many packs, whole and each once in an epoch.
TEST(BatchSchedule, PacksAreTheUnits) {
  for (const Sampling sampling :
       {Sampling::random, Sampling::sequential, Sampling::group_by_length}) {
    const std::vector<int64_t> lengths = random_lengths(1, 200, 50);
    ScheduleOptions options = schedule(2, 3);
    options.sampling = sampling;
    options.pack_capacity = 128;
    const BatchSchedule s(lengths, options);
    ASSERT_TRUE(s.packs());
    const Packs& packs = *s.packs();
    EXPECT_EQ(packs.documents, pack_best_fit(lengths, 128).documents);
    EXPECT_EQ(s.steps_per_epoch(), (packs.count() + 5) / 6);
    std::vector<int64_t> pack_of(200);
    for (int64_t pack = 0; pack < packs.count(); ++pack)
      for (const int64_t row : packs[pack]) pack_of[static_cast<size_t>(row)] = pack;
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      std::vector<int64_t> order;  // of the packs
      for (int64_t i = 0; i < s.steps_per_epoch(); ++i) {
        const auto batches = s.micro_batches(epoch * s.steps_per_epoch() + i);
        EXPECT_LE(batches.size(), 3u);
        for (const auto& batch : batches) {
          std::vector<int64_t> packs_of_batch;
          for (const int64_t row : batch)
            if (const int64_t pack = pack_of[static_cast<size_t>(row)];
                packs_of_batch.empty() || packs_of_batch.back() != pack)
              packs_of_batch.push_back(pack);
          EXPECT_LE(packs_of_batch.size(), 2u);
          order.insert(order.end(), packs_of_batch.begin(), packs_of_batch.end());
        }
      }
      auto rows = rows_of(s, epoch * s.steps_per_epoch(), s.steps_per_epoch());
      EXPECT_EQ(rows.size(), 200u);
      std::ranges::sort(rows);
      EXPECT_EQ(std::ranges::adjacent_find(rows), rows.end());
      EXPECT_EQ(std::ranges::is_sorted(order), sampling == Sampling::sequential);
      std::ranges::sort(order);
      EXPECT_EQ(static_cast<int64_t>(order.size()), packs.count());  // none was taken apart
      EXPECT_EQ(std::ranges::adjacent_find(order), order.end());
    }
    EXPECT_EQ(s.micro_batches(0) == s.micro_batches(s.steps_per_epoch()),
              sampling == Sampling::sequential);
    for (int64_t step = s.total_steps(); step-- > 0;)
      EXPECT_EQ(s.micro_batches(step), BatchSchedule(lengths, options).micro_batches(step));
  }
}

TEST(GroupByLength, IsWhatTransformersMakesOfTheSameOrder) {
  const auto golden_file = read_json_file(golden("train/length_groups.json"), "length_groups.json");
  ASSERT_EQ(golden_file.at("cases").size(), 6u);
  for (const auto& item : golden_file.at("cases"))
    EXPECT_EQ(group_by_length(item.at("order"), item.at("lengths").get<std::vector<int64_t>>(),
                              item.at("group")),
              item.at("grouped").get<std::vector<int64_t>>());
  EXPECT_TRUE(group_by_length({}, {}, 4).empty());
}

TEST(GroupByLength, OrdersEveryEpochAnew) {
  const std::vector<int64_t> lengths = random_lengths(2, 1000, 2000);
  ScheduleOptions options = schedule(4, 2);
  options.sampling = Sampling::group_by_length;
  const BatchSchedule s(lengths, options);
  int64_t spread = 0;
  for (int64_t step = 0; step < s.steps_per_epoch(); ++step) {
    std::vector<int64_t> of_step;
    for (const auto& batch : s.micro_batches(step))
      for (const int64_t row : batch) of_step.push_back(lengths[static_cast<size_t>(row)]);
    const auto [least, most] = std::ranges::minmax(of_step);
    spread += most - least;
    if (step == 0) {
      EXPECT_EQ(most, std::ranges::max(lengths));
    }
  }
  // Eight random rows span 2000 * 7/9 = 1556 on average; of a sorted stretch of 31 steps, 56.
  EXPECT_LT(spread / s.steps_per_epoch(), 200);
  auto rows = rows_of(s, 0, s.steps_per_epoch());
  EXPECT_NE(rows, rows_of(s, s.steps_per_epoch(), s.steps_per_epoch()));
  std::ranges::sort(rows);
  EXPECT_EQ(rows.size(), 1000u);
  EXPECT_EQ(std::ranges::adjacent_find(rows), rows.end());
}

}  // namespace
}  // namespace nibble::test
