#include "core/arena.h"

#include <gtest/gtest.h>

#include <string>

#include "core/buffer.h"

namespace nibble {
namespace {

constexpr MemoryUse work = MemoryUse::working_set;
constexpr MemoryUse batch = MemoryUse::batch;

size_t by_use(const Arena::Peak& peak, MemoryUse use) {
  return peak.by_use[static_cast<size_t>(use)];
}

class ArenaTest : public testing::Test {
 protected:
  Buffer buffer = Buffer::host(1 << 16);
  Arena arena{buffer.data(), buffer.size()};
};

TEST_F(ArenaTest, PiecesAreAlignedAndApart) {
  const Tensor a = arena.tensor(3, 5, DType::f32, work, "a");
  const Tensor b = arena.tensor(1, 1, DType::u8, work, "b");
  const Tensor c = arena.tensor(2, 200, DType::bf16, batch, "c");
  EXPECT_EQ(a.raw(), buffer.data());
  EXPECT_EQ(b.raw(), buffer.data() + 256);
  EXPECT_EQ(c.raw(), buffer.data() + 512);
  EXPECT_EQ(arena.used(), 512u + 1024u);
  EXPECT_EQ(a.rows, 3);
  EXPECT_EQ(a.cols, 5);
  EXPECT_EQ(a.stride, 5);
  EXPECT_EQ(c.dtype, DType::bf16);
}

TEST_F(ArenaTest, EmptyTensorsTakeNothing) {
  arena.tensor(0, 5, DType::f32, work, "none");
  EXPECT_EQ(arena.used(), 0u);
}

TEST_F(ArenaTest, ScopesNestLikeBrackets) {
  arena.tensor(1, 64, DType::f32, work, "outside");
  void* first = nullptr;
  {
    const Arena::Scope outer(arena);
    first = arena.tensor(1, 64, DType::f32, work, "outer").data;
    {
      const Arena::Scope inner(arena);
      arena.tensor(1, 128, DType::f32, work, "inner");
      EXPECT_EQ(arena.used(), 1024u);
    }
    EXPECT_EQ(arena.used(), 512u);
  }
  EXPECT_EQ(arena.used(), 256u);
  EXPECT_EQ(arena.tensor(1, 1, DType::f32, work, "again").data, first);
}

TEST_F(ArenaTest, MarksReleaseLastInFirstOut) {
  const size_t mark = arena.mark();
  arena.tensor(1, 64, DType::f32, work, "a");
  const size_t later = arena.mark();
  arena.tensor(1, 64, DType::f32, work, "b");
  arena.release_to(later);
  EXPECT_EQ(arena.used(), 256u);
  arena.release_to(mark);
  EXPECT_EQ(arena.used(), 0u);
}

TEST_F(ArenaTest, PeakRemembersUsesAndNames) {
  arena.tensor(1, 64, DType::f32, batch, "tokens");
  {
    const Arena::Scope scope(arena);
    arena.tensor(1, 256, DType::f32, work, "big");
  }
  {
    const Arena::Scope scope(arena);  // more pieces, fewer bytes: not the peak
    arena.tensor(1, 64, DType::f32, work, "small");
    arena.tensor(1, 64, DType::f32, MemoryUse::checkpoints, "kept");
  }
  const Arena::Peak& peak = arena.peak();
  EXPECT_EQ(peak.bytes, 1280u);
  EXPECT_EQ(by_use(peak, batch), 256u);
  EXPECT_EQ(by_use(peak, work), 1024u);
  EXPECT_EQ(by_use(peak, MemoryUse::checkpoints), 0u);
  ASSERT_EQ(peak.pieces.size(), 2u);
  EXPECT_STREQ(peak.pieces[0].name, "tokens");
  EXPECT_STREQ(peak.pieces[1].name, "big");
  EXPECT_EQ(peak.pieces[1].bytes, 1024u);
}

TEST_F(ArenaTest, ExhaustionNamesThePieceAndChangesNothing) {
  arena.tensor(1, 64, DType::f32, work, "small");
  try {
    arena.tensor(256, 256, DType::f32, work, "attention scores");
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::no_resources);
    EXPECT_NE(std::string(error.what()).find("attention scores"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("262144"), std::string::npos);
  }
  EXPECT_EQ(arena.used(), 256u);
  EXPECT_EQ(arena.peak().bytes, 256u);
}

TEST_F(ArenaTest, TheWholeReservationCanBeUsed) {
  arena.tensor(1, 1 << 16, DType::u8, work, "all");
  EXPECT_EQ(arena.used(), arena.capacity());
  EXPECT_THROW(arena.tensor(1, 1, DType::u8, work, "one more"), Error);
}

TEST_F(ArenaTest, AbsurdSizesAreRefused) {
  const int64_t huge = int64_t{1} << 40;
  for (const auto& [rows, cols] : {std::pair{huge, huge},
                                   {huge, int64_t{1} << 22},
                                   {int64_t{-1}, int64_t{4}},
                                   {int64_t{4}, int64_t{-1}}}) {
    try {
      arena.tensor(rows, cols, DType::f32, work, "absurd");
      ADD_FAILURE() << rows << " x " << cols;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::internal);
    }
  }
}

TEST(ArenaOnAddresses, TensorsAreLaidOutWithoutMemory) {
  const size_t capacity = size_t{1} << 40;  // more than any machine that runs this
  const Buffer addresses = Buffer::addresses_only(capacity);
  Arena arena(addresses.data(), capacity);
  const Tensor x = arena.tensor(1 << 20, 1 << 17, DType::f32, MemoryUse::base_weights, "weights");
  EXPECT_EQ(x.raw(), addresses.data());
  EXPECT_EQ(arena.peak().bytes, size_t{1} << 39);
}

TEST(MemoryUseNames, AreAllThere) {
  for (size_t i = 0; i < memory_use_count; ++i)
    EXPECT_STRNE(name_of(static_cast<MemoryUse>(i)), "?");
}

}  // namespace
}  // namespace nibble
