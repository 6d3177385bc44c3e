// Tokens and their ids, both ways: the model's own, and on top of them the added ones.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

// Ids above this are damage: no model has millions of tokens, and the tables here grow with them.
inline constexpr int32_t kMaxTokenId = (1 << 22) - 1;

class Vocabulary {
 public:
  // What is not found here is looked up in `base`, which must outlive this.
  explicit Vocabulary(const Vocabulary* base = nullptr) : base_(base) {}
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  // False, and nothing done, if the token is there or the id is taken. 0 <= id <= kMaxTokenId.
  bool add(std::string_view token, int32_t id);

  std::optional<int32_t> id_of(std::string_view token) const;
  // Empty for an id that no token has.
  std::string_view token_of(int32_t id) const;
  bool has_id(int32_t id) const;
  // One more than the largest id.
  int32_t end_id() const;
  size_t count() const { return count_ + (base_ ? base_->count() : 0); }

 private:
  struct Slot {
    uint32_t hash = 0;
    int32_t id = -1;  // empty
  };

  std::string_view store(std::string_view token);
  void grow();
  size_t slot_of(std::string_view token, uint32_t hash) const;

  const Vocabulary* base_;
  size_t count_ = 0;
  std::deque<std::string> storage_;       // blocks that never move
  std::vector<std::string_view> tokens_;  // by id; null data: no such id
  std::vector<Slot> slots_;               // open addressing, a power of two, at most half full
};

}  // namespace nibble
