#include "text/vocabulary.h"

#include <algorithm>
#include <functional>

namespace nibble {
namespace {

constexpr size_t kBlock = 1u << 16;

uint32_t hash_of(std::string_view token) {
  return static_cast<uint32_t>(std::hash<std::string_view>()(token));
}

}  // namespace

bool Vocabulary::add(std::string_view token, int32_t id) {
  if (has_id(id) || id_of(token)) return false;
  if (slots_.size() < 2 * (count_ + 1)) grow();
  const auto index = static_cast<size_t>(id);
  if (index >= tokens_.size()) tokens_.resize(index + 1);
  tokens_[index] = store(token);
  const uint32_t hash = hash_of(token);
  slots_[slot_of(token, hash)] = {hash, id};
  ++count_;
  return true;
}

std::optional<int32_t> Vocabulary::id_of(std::string_view token) const {
  if (!slots_.empty()) {
    const uint32_t hash = hash_of(token);
    const Slot& slot = slots_[slot_of(token, hash)];
    if (slot.id >= 0) return slot.id;
  }
  return base_ ? base_->id_of(token) : std::nullopt;
}

std::string_view Vocabulary::token_of(int32_t id) const {
  if (id >= 0 && static_cast<size_t>(id) < tokens_.size() &&
      tokens_[static_cast<size_t>(id)].data())
    return tokens_[static_cast<size_t>(id)];
  return base_ ? base_->token_of(id) : std::string_view();
}

bool Vocabulary::has_id(int32_t id) const { return token_of(id).data() != nullptr; }

int32_t Vocabulary::end_id() const {
  return std::max(static_cast<int32_t>(tokens_.size()), base_ ? base_->end_id() : 0);
}

std::string_view Vocabulary::store(std::string_view token) {
  if (storage_.empty() || storage_.back().capacity() - storage_.back().size() < token.size())
    storage_.emplace_back().reserve(std::max(kBlock, token.size()));
  std::string& block = storage_.back();
  const size_t at = block.size();
  block += token;
  return {block.data() + at, token.size()};
}

void Vocabulary::grow() {
  std::vector<Slot> old(std::max<size_t>(64, slots_.size() * 2));
  old.swap(slots_);
  for (const Slot& slot : old)
    if (slot.id >= 0) slots_[slot_of(tokens_[static_cast<size_t>(slot.id)], slot.hash)] = slot;
}

// The slot that holds the token, or the empty one where it belongs.
size_t Vocabulary::slot_of(std::string_view token, uint32_t hash) const {
  const size_t mask = slots_.size() - 1;
  for (size_t i = hash & mask;; i = (i + 1) & mask) {
    const Slot& slot = slots_[i];
    if (slot.id < 0 || (slot.hash == hash && tokens_[static_cast<size_t>(slot.id)] == token))
      return i;
  }
}

}  // namespace nibble
