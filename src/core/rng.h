// Counter-based random numbers: Philox4x32-10 (Salmon et al., SC 2011, section 3.3).
//
// The value at a counter depends on nothing but key and counter: a recomputed block draws the same
// dropout mask, and a resumed run the same data order, without any state to save.
#pragma once

#include <array>
#include <cstdint>

namespace nibble {

inline std::array<uint32_t, 4> philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  std::array<uint32_t, 4> c = {
      static_cast<uint32_t>(counter_low), static_cast<uint32_t>(counter_low >> 32),
      static_cast<uint32_t>(counter_high), static_cast<uint32_t>(counter_high >> 32)};
  auto k0 = static_cast<uint32_t>(key);
  auto k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

// What a stream of random numbers is for; part of the key, so that streams never overlap.
enum class RandomUse : uint64_t {
  lora_init = 1,
  dropout = 2,
  shuffle = 3,
  sampling = 4,
  held_out = 5,
  dataset_weights = 6
};

inline uint64_t random_key(uint64_t seed, RandomUse use) {
  const auto words = philox(seed, static_cast<uint64_t>(use), 0x6e6962626c65);
  return uint64_t{words[0]} << 32 | words[1];
}

// Uniform in [0, 1), 24 bits.
inline float uniform_float(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

// A sequence of words for host-side use, in counter order.
class RandomSequence {
 public:
  RandomSequence(uint64_t key, uint64_t stream) : key_(key), stream_(stream) {}
  uint32_t next() {
    if (used_ == 4) {
      block_ = philox(key_, counter_++, stream_);
      used_ = 0;
    }
    return block_[used_++];
  }
  // Uniform in [0, bound) without bias (Lemire 2019).
  uint32_t below(uint32_t bound) {
    uint64_t product = uint64_t{next()} * bound;
    if (static_cast<uint32_t>(product) < bound) {
      const uint32_t threshold = (0u - bound) % bound;
      while (static_cast<uint32_t>(product) < threshold) product = uint64_t{next()} * bound;
    }
    return static_cast<uint32_t>(product >> 32);
  }

 private:
  uint64_t key_, stream_, counter_ = 0;
  std::array<uint32_t, 4> block_{};
  unsigned used_ = 4;
};

}  // namespace nibble
