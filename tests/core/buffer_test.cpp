#include "core/buffer.h"

#include <gtest/gtest.h>

#include <limits>
#include <utility>

#include "core/error.h"

namespace nibble {
namespace {

TEST(Buffer, HostMemoryIsZeroedAndWritable) {
  Buffer buffer = Buffer::host(10000);
  ASSERT_EQ(buffer.size(), 10000u);
  for (size_t i = 0; i < buffer.size(); ++i) ASSERT_EQ(buffer.data()[i], std::byte{0});
  buffer.data()[9999] = std::byte{7};
  buffer.commit();  // keeps what was written
  EXPECT_EQ(buffer.data()[9999], std::byte{7});
}

TEST(Buffer, MovingTakesTheBytesAlong) {
  Buffer a = Buffer::host(100);
  a.data()[5] = std::byte{42};
  std::byte* const data = a.data();
  Buffer b = std::move(a);
  EXPECT_EQ(b.data(), data);
  Buffer c;
  EXPECT_EQ(c.data(), nullptr);
  c = std::move(b);
  EXPECT_EQ(c.data()[5], std::byte{42});
  EXPECT_EQ(c.size(), 100u);
}

TEST(Buffer, WhatCannotBeReservedIsNoResources) {
  try {
    Buffer::host(std::numeric_limits<size_t>::max() / 2);
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::no_resources);
  }
}

TEST(BufferDeathTest, AddressesHoldNoMemory) {
  const Buffer addresses = Buffer::addresses_only(4096);
  EXPECT_DEATH(addresses.data()[0] = std::byte{1}, "");
}

TEST(HostMemory, SomeIsAvailable) {
  EXPECT_GT(available_host_memory(), size_t{1} << 20);
  EXPECT_LT(available_host_memory(), std::numeric_limits<size_t>::max());
}

}  // namespace
}  // namespace nibble
