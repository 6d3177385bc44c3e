// Random numbers for tests: seeded, the same on every machine, replayable. The seed is 1 or
// $NIBBLE_TEST_SEED; tests name it in their failures (SCOPED_TRACE).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <numbers>
#include <string>
#include <vector>

#include "core/rng.h"

namespace nibble::test {

inline uint64_t test_seed() {
  const char* given = std::getenv("NIBBLE_TEST_SEED");
  return given ? std::stoull(given) : 1;
}

class Random {
 public:
  // Streams of one seed are independent: one for each case of a table.
  explicit Random(uint64_t stream) : words_(test_seed(), stream) {}

  double uniform() { return (words_.next() + 0.5) * 0x1p-32; }  // in (0, 1)
  double normal() {                                             // Box and Muller 1958
    const double radius = std::sqrt(-2 * std::log(uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }
  // Inclusive at both ends.
  int64_t integer(int64_t low, int64_t high) {
    return low + words_.below(static_cast<uint32_t>(high - low + 1));
  }
  std::vector<float> normals(size_t n, double scale = 1) {
    std::vector<float> values(n);
    for (float& value : values) value = static_cast<float>(scale * normal());
    return values;
  }

 private:
  RandomSequence words_;
};

}  // namespace nibble::test
