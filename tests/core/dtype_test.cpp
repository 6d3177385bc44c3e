// Conversions of bfloat16 and float16: every pattern, every midpoint between neighbours, against
// arithmetic on exponents in double.
#include "core/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cfenv>
#include <cmath>
#include <limits>

namespace nibble {
namespace {

struct Format {
  int mantissa_bits, bias, exponent_bits;
};
constexpr Format bf16_format{7, 127, 8};
constexpr Format f16_format{10, 15, 5};

// The value of a pattern, by the definition of IEEE 754.
double value_of(uint16_t bits, const Format& f) {
  const int exponent = bits >> f.mantissa_bits & ((1 << f.exponent_bits) - 1);
  const int mantissa = bits & ((1 << f.mantissa_bits) - 1);
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == (1 << f.exponent_bits) - 1)
    return mantissa ? std::numeric_limits<double>::quiet_NaN()
                    : sign * std::numeric_limits<double>::infinity();
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - f.bias - f.mantissa_bits);
  return sign * std::ldexp((1 << f.mantissa_bits) + mantissa, exponent - f.bias - f.mantissa_bits);
}

// The nearest value of the format, ties to even, by scaling to integers.
double nearest(double x, const Format& f) {
  if (x == 0 || !std::isfinite(x)) return x;
  int exponent = 0;
  std::frexp(x, &exponent);  // |x| in [2^(e-1), 2^e)
  const int quantum = std::max(exponent - 1, 1 - f.bias) - f.mantissa_bits;
  const double rounded = std::ldexp(std::nearbyint(std::ldexp(x, -quantum)), quantum);
  const double limit = std::ldexp(1.0, f.bias + 1);
  return std::fabs(rounded) >= limit ? std::copysign(std::numeric_limits<double>::infinity(), x)
                                     : rounded;
}

// Tries x, and x with its sign turned.
template <typename T, typename Convert>
void expect_nearest(float x, const Format& format, Convert convert) {
  for (const float value : {x, -x}) {
    const auto got = static_cast<double>(to_float(convert(value)));
    const double expected = nearest(static_cast<double>(value), format);
    ASSERT_EQ(got, expected) << std::hexfloat << value;
    ASSERT_EQ(std::signbit(got), std::signbit(expected)) << std::hexfloat << value;
  }
}

template <typename T, typename Convert>
void check_all(const Format& format, Convert convert) {
  ASSERT_EQ(std::fegetround(), FE_TONEAREST);
  for (uint32_t pattern = 0; pattern < 0x10000; ++pattern) {
    const T x{static_cast<uint16_t>(pattern)};
    const float widened = to_float(x);
    const double expected = value_of(x.bits, format);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(widened)) << pattern;
      ASSERT_TRUE(std::isnan(to_float(convert(widened)))) << pattern;
      continue;
    }
    ASSERT_EQ(static_cast<double>(widened), expected) << pattern;
    ASSERT_EQ(std::signbit(widened), std::signbit(expected)) << pattern;
    ASSERT_EQ(convert(widened).bits, x.bits) << pattern;
  }
  // Between each positive pattern and the next: the midpoint and its float neighbours.
  const auto infinity =
      static_cast<uint16_t>(((1 << format.exponent_bits) - 1) << format.mantissa_bits);
  for (uint16_t pattern = 0; pattern + 1 < infinity; ++pattern) {
    const double low = value_of(pattern, format);
    const double high = value_of(static_cast<uint16_t>(pattern + 1), format);
    const auto midpoint = static_cast<float>((low + high) / 2);
    expect_nearest<T>(midpoint, format, convert);
    expect_nearest<T>(std::nextafter(midpoint, 0.0f), format, convert);
    expect_nearest<T>(std::nextafter(midpoint, HUGE_VALF), format, convert);
  }
  // Around the limit of overflow, and the extremes of float.
  const double largest = value_of(static_cast<uint16_t>(infinity - 1), format);
  const double limit = (largest + std::ldexp(1.0, format.bias + 1)) / 2;
  if (limit < static_cast<double>(std::numeric_limits<float>::max())) {
    const auto edge = static_cast<float>(limit);
    expect_nearest<T>(edge, format, convert);
    expect_nearest<T>(std::nextafter(edge, 0.0f), format, convert);
    expect_nearest<T>(std::nextafter(edge, HUGE_VALF), format, convert);
  }
  expect_nearest<T>(std::numeric_limits<float>::max(), format, convert);
  expect_nearest<T>(std::numeric_limits<float>::min(), format, convert);
  expect_nearest<T>(std::numeric_limits<float>::denorm_min(), format, convert);
  expect_nearest<T>(HUGE_VALF, format, convert);
}

TEST(DType, Bfloat16) {
  check_all<bf16>(bf16_format, [](float x) { return to_bf16(x); });
}

TEST(DType, Float16) {
  check_all<f16>(f16_format, [](float x) { return to_f16(x); });
}

TEST(DType, NanStaysNanEvenWithAnEmptyHighMantissa) {
  const float nan = std::bit_cast<float>(0x7f800001u);
  EXPECT_TRUE(std::isnan(to_float(to_bf16(nan))));
  EXPECT_TRUE(std::isnan(to_float(to_f16(nan))));
}

TEST(DType, SizesAndNames) {
  EXPECT_EQ(size_of(DType::f32), 4u);
  EXPECT_EQ(size_of(DType::bf16), 2u);
  EXPECT_EQ(size_of(DType::f16), 2u);
  EXPECT_EQ(size_of(DType::u8), 1u);
  EXPECT_EQ(size_of(DType::i32), 4u);
  EXPECT_EQ(name_of(DType::bf16), "bfloat16");
  EXPECT_EQ(name_of(DType::f32), "float32");
}

}  // namespace
}  // namespace nibble
