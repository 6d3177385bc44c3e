// The test strings of tools/make_tokenizer_goldens.py, made again from the same seeds, and the
// hashes of what becomes of them.
#pragma once

#include <openssl/sha.h>

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/data.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace nibble::test {

inline nlohmann::json read_json(const std::filesystem::path& path) {
  return nlohmann::json::parse(read_file(path));
}

class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}
  uint64_t below(uint64_t n) {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (z ^ z >> 31) % n;
  }

 private:
  uint64_t state_;
};

// make_string of the script.
inline std::string make_string(const std::vector<std::string>& fragments,
                               const std::vector<std::string>& added, uint64_t i) {
  SplitMix64 random(i);
  std::string out;
  const auto scalar = [&](uint64_t c) {
    append_utf8(out, static_cast<char32_t>(c < 0xD800 ? c : c + 0x800));
  };
  for (uint64_t part = random.below(16); part > 0; --part) {
    const uint64_t kind = random.below(16);
    if (kind < 10) {
      out += fragments[random.below(fragments.size())];
    } else if (kind == 10) {
      const std::string& fragment = fragments[random.below(fragments.size())];
      for (uint64_t n = random.below(40); n > 0; --n) out += fragment;
    } else if (kind == 11) {
      for (uint64_t n = random.below(4); n > 0; --n) scalar(random.below(0x10F800));
    } else if (kind == 12) {
      const uint64_t base = random.below(0x3400);
      for (uint64_t n = random.below(12); n > 0; --n) scalar(base + random.below(24));
    } else if (kind == 13) {
      for (uint64_t n = random.below(24); n > 0; --n) scalar(32 + random.below(95));
    } else if (kind == 14) {
      scalar(97 + random.below(26));
      for (uint64_t n = random.below(4); n > 0; --n) scalar(0x300 + random.below(0x70));
    } else {
      out += added[random.below(added.size())];
    }
  }
  return out;
}

inline std::vector<std::string> fragments() {
  return read_json(golden("text/fragments.json")).get<std::vector<std::string>>();
}

inline std::vector<std::string> added_contents(const nlohmann::json& file) {
  std::vector<std::string> contents;
  for (const auto& token : file.at("added_tokens")) contents.push_back(token.at("content"));
  return contents;
}

// First 16 hex digits of the SHA-256 of bytes given in parts.
class ShortHash {
 public:
  ShortHash& add(const std::string& bytes) {
    bytes_ += bytes;
    return *this;
  }
  ShortHash& add(int32_t little_endian) {
    for (int shift = 0; shift < 32; shift += 8)
      bytes_ += static_cast<char>(static_cast<uint32_t>(little_endian) >> shift & 0xFF);
    return *this;
  }
  std::string hex() const {
    std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
    SHA256(reinterpret_cast<const unsigned char*>(bytes_.data()), bytes_.size(), digest.data());
    std::string hex;
    for (size_t i = 0; i < 8; ++i) hex += fmt_hex(digest[i]);
    return hex;
  }

 private:
  static std::string fmt_hex(unsigned char byte) {
    constexpr const char* kDigits = "0123456789abcdef";
    return {kDigits[byte >> 4], kDigits[byte & 15]};
  }
  std::string bytes_;
};

struct HashCounts {
  size_t strings = 0, equal_ids = 0, equal_offsets = 0, equal_texts = 0;
};

// `rows`: for each 100 strings the hashes of ids, offsets and decoded texts. Names each chunk
// that differs.
inline HashCounts compare_hashes(const Tokenizer& tokenizer, const nlohmann::json& file,
                                 const nlohmann::json& rows) {
  constexpr size_t kChunk = 100;
  const auto made_of = fragments();
  const auto added = added_contents(file);
  HashCounts counts;
  for (const auto& row : rows) {
    ShortHash ids, offsets, texts;
    for (size_t i = counts.strings; i < counts.strings + kChunk; ++i) {
      const Encoding encoding = tokenizer.encode(make_string(made_of, added, i), true);
      for (const int32_t id : encoding.ids) ids.add(id);
      for (const auto& [begin, end] : encoding.offsets)
        offsets.add(static_cast<int32_t>(begin)).add(static_cast<int32_t>(end));
      ids.add(-1);
      offsets.add(-1);
      for (const bool skip : {false, true})
        texts.add(tokenizer.decode(encoding.ids, skip) + std::string(1, '\0'));
    }
    const auto check = [&](const ShortHash& hash, size_t column, const char* what, size_t& equal) {
      if (hash.hex() == row.at(column).get<std::string>()) {
        equal += kChunk;
      } else {
        ADD_FAILURE() << what << " differ in strings " << counts.strings << ".."
                      << counts.strings + kChunk - 1;
      }
    };
    check(ids, 0, "ids", counts.equal_ids);
    check(offsets, 1, "offsets", counts.equal_offsets);
    check(texts, 2, "decoded texts", counts.equal_texts);
    counts.strings += kChunk;
  }
  return counts;
}

}  // namespace nibble::test
