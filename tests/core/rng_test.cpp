// Philox4x32-10 against the known answers of Random123 (tests/kat_vectors of its distribution), and
// the distributions built on it.
#include "core/rng.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace nibble {
namespace {

using Words = std::array<uint32_t, 4>;

TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox(0, 0, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(~0ull, ~0ull, ~0ull), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  // Digits of pi: counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0.
  EXPECT_EQ(philox(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, KeysDifferByUseAndSeed) {
  std::set<uint64_t> keys;
  for (uint64_t seed = 0; seed < 100; ++seed)
    for (const RandomUse use :
         {RandomUse::lora_init, RandomUse::dropout, RandomUse::shuffle, RandomUse::sampling})
      keys.insert(random_key(seed, use));
  EXPECT_EQ(keys.size(), 400u);
}

TEST(UniformFloat, CoversZeroToBelowOne) {
  EXPECT_EQ(uniform_float(0), 0.0f);
  EXPECT_EQ(uniform_float(255), 0.0f);
  EXPECT_EQ(uniform_float(256), 0x1p-24f);
  EXPECT_EQ(uniform_float(0x80000000u), 0.5f);
  EXPECT_EQ(uniform_float(~0u), 1.0f - 0x1p-24f);
}

TEST(RandomSequence, GivesTheWordsInCounterOrder) {
  RandomSequence sequence(7, 9);
  for (uint64_t counter = 0; counter < 3; ++counter)
    for (const uint32_t word : philox(7, counter, 9)) EXPECT_EQ(sequence.next(), word);
}

TEST(RandomSequence, BelowIsUniform) {
  // 60000 draws of 6: each count is binomial with deviation 91; six of them are allowed.
  RandomSequence sequence(1, 2);
  int counts[6] = {};
  for (int i = 0; i < 60000; ++i) {
    const uint32_t value = sequence.below(6);
    ASSERT_LT(value, 6u);
    ++counts[value];
  }
  for (const int count : counts) EXPECT_NEAR(count, 10000, 550);
}

TEST(RandomSequence, BelowRejectsWhatWouldBias) {
  // 3 * 2^30 divides 2^32 once with a rest: without rejection the first third came up twice as
  // often as the others.
  RandomSequence sequence(3, 4);
  int low = 0;
  for (int i = 0; i < 30000; ++i) low += sequence.below(3u << 30) < 1u << 30 ? 1 : 0;
  EXPECT_NEAR(low, 10000, 490);  // deviation 82, six of them
  EXPECT_EQ(sequence.below(1), 0u);
}

}  // namespace
}  // namespace nibble
