// Generation with a cache against the golden logits of transformers, and the sampler.
#include "transformer/generation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/error.h"
#include "support/golden_model.h"

namespace nibble::test {
namespace {

class CachedGeneration : public testing::TestWithParam<std::string> {};

// Token by token, and in pieces, as in one forward. Float32 on both sides: the bound of the golden
// tests, 1e-4 of the norm.
TEST_P(CachedGeneration, LogitsEqualThoseOfOneForward) {
  const GoldenModel golden(GetParam());
  TrainingRig rig(golden.options());
  rig.step.parameters().load(rig.ops, golden.start(), "golden");
  const Model& model = rig.step.model();
  const std::vector<int32_t> ids = golden.integers("doc0.tokens");
  const std::vector<float> expected = golden.result("doc0.logits");
  const auto vocab = static_cast<size_t>(rig.source.spec.vocab_size);
  const auto row = [&](size_t t) {
    const auto begin = expected.begin() + static_cast<std::ptrdiff_t>(t * vocab);
    return std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(vocab));
  };
  for (const size_t prompt : {size_t{1}, ids.size() / 2, ids.size()}) {
    const size_t used = rig.arena.used();
    {
      const Arena::Scope scope(rig.arena);
      Generation document(model, static_cast<int64_t>(ids.size()));
      auto logits = document.advance(std::span(ids).first(prompt));
      for (size_t t = prompt;; ++t) {
        EXPECT_LT(relative_error({logits.begin(), logits.end()}, row(t - 1)), 1e-4)
            << "after " << t << " tokens, of which " << prompt << " at once";
        if (t == ids.size()) break;
        logits = document.advance(std::span(ids).subspan(t, 1));
      }
      EXPECT_EQ(document.length(), static_cast<int64_t>(ids.size()));
      EXPECT_THROW(document.advance(std::span(ids).first(1)), Error);  // full
    }
    EXPECT_EQ(rig.arena.used(), used);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, CachedGeneration, testing::ValuesIn(golden_cases()),
                         [](const auto& test) { return test.param; });

GenerationOptions sampling(float temperature, float top_p, uint64_t seed = 1) {
  GenerationOptions options;
  options.temperature = temperature;
  options.top_p = top_p;
  options.seed = seed;
  return options;
}

TEST(Sampler, GreedyTakesTheFirstOfTheGreatest) {
  Sampler sampler(sampling(0, 1));
  EXPECT_EQ(sampler.pick(std::vector<float>{1, 3, 3, -INFINITY}), 1);
}

// Frequencies of n draws: each within 5 standard deviations of its probability.
void expect_frequencies(const GenerationOptions& options, const std::vector<float>& logits,
                        const std::vector<double>& probabilities) {
  constexpr int n = 20000;
  Sampler sampler(options);
  std::vector<int> counts(logits.size());
  for (int i = 0; i < n; ++i) ++counts[static_cast<size_t>(sampler.pick(logits))];
  for (size_t i = 0; i < logits.size(); ++i) {
    const double p = probabilities[i];
    EXPECT_NEAR(static_cast<double>(counts[i]) / n, p, 5 * std::sqrt(p * (1 - p) / n)) << i;
  }
}

TEST(Sampler, DrawsByTemperatureAndNucleus) {
  // softmax of log p is p.
  const std::vector<float> logits = {std::log(0.1f), std::log(0.6f), std::log(0.1f),
                                     std::log(0.2f)};
  expect_frequencies(sampling(1, 1), logits, {0.1, 0.6, 0.1, 0.2});
  // Temperature 1/2 squares the probabilities; their sum is 0.42.
  expect_frequencies(sampling(0.5f, 1), logits,
                     {0.01 / 0.42, 0.36 / 0.42, 0.01 / 0.42, 0.04 / 0.42});
  // The smallest set with 0.7: 0.6 and 0.2.
  expect_frequencies(sampling(1, 0.7f), logits, {0, 0.75, 0, 0.25});
  expect_frequencies(sampling(1, 0.5f), logits, {0, 1, 0, 0});
  // A tie at the edge of the nucleus: the lower id.
  expect_frequencies(sampling(1, 0.85f), logits, {0.1 / 0.9, 0.6 / 0.9, 0, 0.2 / 0.9});
}

TEST(Sampler, SeedsDecide) {
  const std::vector<float> logits(50, 0.0f);
  const auto draws = [&](uint64_t seed) {
    Sampler sampler(sampling(1, 1, seed));
    std::vector<int32_t> ids(20);
    for (int32_t& id : ids) id = sampler.pick(logits);
    return ids;
  };
  EXPECT_EQ(draws(7), draws(7));
  EXPECT_NE(draws(7), draws(8));
}

TEST(Sampler, RefusesLogitsThatAreNotFinite) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float temperature : {0.0f, 1.0f}) {
    Sampler sampler(sampling(temperature, 1));
    EXPECT_THROW(sampler.pick(std::vector<float>{0, nan}), Error);
    EXPECT_THROW(sampler.pick(std::vector<float>{0, INFINITY}), Error);
    EXPECT_THROW(sampler.pick(std::vector<float>{-INFINITY, -INFINITY}), Error);
  }
}

TEST(NewTokenLimit, IsTheModelsPositions) {
  ModelSpec spec;
  spec.max_positions = 100;
  GenerationOptions options;
  options.max_new_tokens = 30;
  EXPECT_EQ(new_token_limit(spec, 10, options), 30);
  EXPECT_EQ(new_token_limit(spec, 90, options), 10);
  EXPECT_THROW(new_token_limit(spec, 100, options), Error);
  EXPECT_THROW(new_token_limit(spec, 0, options), Error);
}

}  // namespace
}  // namespace nibble::test
