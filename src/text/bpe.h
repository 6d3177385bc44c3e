// Byte-pair encoding: the `model` of tokenizer.json.
//
// A word becomes its characters (or bytes); then, again and again, the neighbours whose merge has
// the lowest rank become one, the leftmost first among equals. With a heap this takes
// O(n log n) steps for a word of n characters; frequent short words come from a cache.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"
#include "text/word_cache.h"

namespace nibble {

// A token and the number of bytes of the word that it covers.
struct BpeToken {
  int32_t id;
  uint32_t length;
};

class Bpe {
 public:
  // What encoding writes to besides its result; one for each caller at a time.
  class Workspace {
   private:
    friend class Bpe;
    struct Symbol {
      int32_t id;
      uint32_t length;  // 0: merged into the symbol before
      int32_t previous, next;
    };
    WordCache cache_;
    std::vector<Symbol> symbols_;
    std::vector<uint64_t> heap_;  // rank << 32 | position, the smallest first
  };

  // byte_level: words are bytes and the vocabulary spells them (byte_level.h); else words are
  // UTF-8. Throws Error(bad_input) for a damaged model, or one that asks for what is not here
  // (another type, dropout, affixes of subwords together with byte_fallback).
  Bpe(const nlohmann::json& model, bool byte_level, const std::string& who);

  // Appends the tokens of a non-empty word, whose lengths add up to it. Throws Error(bad_input)
  // for a character that has no token where the model has no unk_token.
  void encode(std::string_view word, Workspace& workspace, std::vector<BpeToken>& tokens) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  struct Merge {
    int32_t left = -1;
    int32_t right = -1;
    uint32_t rank = 0;
    int32_t merged = 0;
  };

  void read_vocabulary(const nlohmann::json& vocab);
  void read_merges(const nlohmann::json& merges);
  void read_symbols();
  void insert_merge(const Merge& merge);
  const Merge* find_merge(int32_t left, int32_t right) const;

  void encode_unit(std::string_view word, Workspace& workspace,
                   std::vector<BpeToken>& tokens) const;
  std::optional<int32_t> whole_word(std::string_view word) const;
  int32_t symbol_of(std::string_view character, bool is_first, bool is_last) const;
  void start_symbols(std::string_view word, Workspace& workspace) const;
  void merge_symbols(Workspace& workspace) const;

  std::string who_;
  bool byte_level_;
  bool ignore_merges_ = false;
  bool fuse_unk_ = false;
  std::optional<int32_t> unk_;
  // Of characters that do not begin a word, and of those that end one.
  std::string prefix_, suffix_;
  // No token continues past a space mark, so that a text of many words falls into its words.
  bool splits_at_marks_ = false;
  Vocabulary vocabulary_;
  std::vector<Merge> merges_;            // open addressing, a power of two; left < 0: empty
  std::array<int32_t, 256> byte_ids_{};  // byte_level: of each byte; else of "<0xNN>"; -1: none
};

}  // namespace nibble
