// Sets of characters, against sets of bits.
#include <gtest/gtest.h>

#include <bitset>
#include <random>

#include "text/unicode_tables.h"

namespace nibble {
namespace {

constexpr char32_t characters = 64;
using Bits = std::bitset<characters>;

// What is in `set`, whose ranges must be sorted and neither overlap nor touch.
Bits bits_of(const CharacterSet& set) {
  Bits bits;
  char32_t next = 0;
  for (const auto& [first, last] : set.ranges()) {
    EXPECT_LE(first, last);
    EXPECT_TRUE(first > next || (first == 0 && next == 0)) << "touches the range before";
    for (char32_t c = first; c <= last && c < characters; ++c) bits.set(c);
    next = last + 1;
  }
  return bits;
}

TEST(CharacterSets, AreWhatWasAddedInAnyOrder) {
  std::mt19937 random(1);
  const auto draw = [&](char32_t below) { return static_cast<char32_t>(random() % below); };
  for (int round = 0; round < 5000; ++round) {
    CharacterSet a, b;
    Bits in_a, in_b;
    for (uint32_t i = draw(12); i > 0; --i) {
      const char32_t first = draw(characters);
      const char32_t last = std::min(characters - 1, first + draw(6));
      const bool to_a = draw(2) == 0;
      (to_a ? a : b).add(first, last);
      for (char32_t c = first; c <= last; ++c) (to_a ? in_a : in_b).set(c);
      ASSERT_EQ(bits_of(a), in_a);
      ASSERT_EQ(bits_of(b), in_b);
    }
    CharacterSet joined = a, common = a, other = a;
    joined.add(b);
    ASSERT_EQ(bits_of(joined), in_a | in_b);
    common.intersect(b);
    ASSERT_EQ(bits_of(common), in_a & in_b);
    other.invert();
    ASSERT_EQ(bits_of(other), ~in_a);
    other.add(other);
    ASSERT_EQ(bits_of(other), ~in_a);
  }
}

TEST(CharacterSets, EndWithTheLastCharacter) {
  CharacterSet set;
  set.add(0x10FFFF, 0x10FFFF);
  set.add(0, 0x10FFFE);
  ASSERT_EQ(set.ranges().size(), 1u);
  EXPECT_EQ(set.ranges()[0].last, 0x10FFFFu);
  set.invert();
  EXPECT_TRUE(set.ranges().empty());
}

}  // namespace
}  // namespace nibble
