#include "quant/dynamic_map.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace nibble {
namespace {

// n points from 0.1 to 1 as torch.linspace makes them: from both ends towards the middle.
std::vector<float> boundaries(int n) {
  const float begin = 0.1f;
  const float step = (1.0f - begin) / static_cast<float>(n - 1);
  std::vector<float> points;
  for (int j = 0; j < n; ++j)
    points.push_back(j < n / 2 ? std::fma(step, static_cast<float>(j), begin)
                               : std::fma(-step, static_cast<float>(n - 1 - j), 1.0f));
  return points;
}

// bitsandbytes' create_dynamic_map(signed, max_exponent_bits=7, total_bits=8) in float arithmetic:
// for each power of ten the means of neighbouring boundaries, twice as many per decade upwards.
DynamicMap make_map(bool with_sign) {
  const std::array<float, 7> decades = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
  std::vector<float> values = {0.0f, 1.0f};
  for (int i = 0; i < 7; ++i) {
    const std::vector<float> points = boundaries((1 << (with_sign ? i : i + 1)) + 1);
    for (size_t j = 0; j + 1 < points.size(); ++j) {
      const float mean = (points[j] + points[j + 1]) / 2.0f;
      const float value = decades[static_cast<size_t>(i)] * mean;
      values.push_back(value);
      if (with_sign) values.push_back(-value);
    }
  }
  std::sort(values.begin(), values.end());
  DynamicMap map{};
  std::copy(values.begin(), values.end(), map.begin());
  return map;
}

}  // namespace

const DynamicMap& dynamic_map_signed() {
  static const DynamicMap map = make_map(true);
  return map;
}

const DynamicMap& dynamic_map_unsigned() {
  static const DynamicMap map = make_map(false);
  return map;
}

}  // namespace nibble
