// The tokens of short words met before: a direct-mapped table, where a newcomer takes the place.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string_view>

namespace nibble {

class WordCache {
 public:
  static constexpr size_t kMaxBytes = 27;
  static constexpr size_t kMaxTokens = 7;

  // One cache line. tokens == 0: empty.
  struct Entry {
    std::array<char, kMaxBytes + 1> key{};  // the word, zeros, its length
    uint8_t tokens = 0;
    std::array<uint8_t, kMaxTokens> lengths{};
    std::array<int32_t, kMaxTokens> ids{};
  };
  static_assert(sizeof(Entry) == 64);

  static bool fits(std::string_view word) { return word.size() <= kMaxBytes; }

  // The place of a word that fits. It holds the word's tokens if holds() says so; else they are
  // to be written there, after claim().
  Entry& at(std::string_view word);
  static bool holds(const Entry& entry, std::string_view word) {
    return entry.tokens > 0 && entry.key == key_of(word);
  }
  static void claim(Entry& entry, std::string_view word) {
    entry.key = key_of(word);
    entry.tokens = 0;
  }

 private:
  static constexpr size_t kBits = 15;

  static std::array<char, kMaxBytes + 1> key_of(std::string_view word) {
    std::array<char, kMaxBytes + 1> key{};
    std::memcpy(key.data(), word.data(), word.size());
    key[kMaxBytes] = static_cast<char>(word.size());
    return key;
  }

  // Zero pages of the system: what no word needs is never touched.
  struct Free {
    void operator()(Entry* entries) const { std::free(entries); }
  };
  static Entry* allocate() {
    void* zeros = std::calloc(size_t{1} << kBits, sizeof(Entry));
    if (!zeros) throw std::bad_alloc();
    return static_cast<Entry*>(zeros);
  }
  std::unique_ptr<Entry[], Free> entries_{allocate()};
};

inline WordCache::Entry& WordCache::at(std::string_view word) {
  const auto key = key_of(word);
  std::array<uint64_t, 4> parts{};
  std::memcpy(parts.data(), key.data(), key.size());
  uint64_t hash = 0;
  for (const uint64_t part : parts) {
    hash = (hash ^ part) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
  }
  return entries_[(hash * 0x9E3779B97F4A7C15u) >> (64 - kBits)];
}

}  // namespace nibble
