// Arena: hands out named, aligned pieces of one reservation, last in first out, and remembers the
// peak: how many bytes, in which categories, by which names.
//
// The same code runs over a real reservation and over the plan backend's empty addresses, which is
// why the planned peak and the measured one are the same number.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace nibble {

// The rows of the memory table, in the order in which it prints them.
enum class MemoryUse : uint8_t {
  base_weights,
  embeddings_and_head,
  adapter,
  gradients,
  optimizer,
  checkpoints,  // what forward keeps for backward
  working_set,  // what lives within one block, one operation
  batch,
};
inline constexpr size_t memory_use_count = 8;
const char* name_of(MemoryUse use);

class Arena {
 public:
  static constexpr size_t alignment = 256;

  struct Piece {
    const char* name;  // static storage
    MemoryUse use;
    size_t bytes;  // rounded up to the alignment
  };
  struct Peak {
    size_t bytes = 0;
    std::array<size_t, memory_use_count> by_use{};
    std::vector<Piece> pieces;  // alive at the peak, oldest first
  };

  Arena(std::byte* base, size_t capacity) : base_(base), capacity_(capacity) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Throws no_resources, naming the piece, when the reservation is exhausted.
  Tensor tensor(int64_t rows, int64_t cols, DType dtype, MemoryUse use, const char* name);

  bool contains(const void* data) const {
    return data >= base_ && static_cast<const std::byte*>(data) < base_ + capacity_;
  }
  size_t used() const { return used_; }
  size_t capacity() const { return capacity_; }
  const Peak& peak() const { return peak_; }

  // Returns everything handed out since the object was made; scopes nest like brackets.
  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), pieces_(arena.pieces_.size()) {}
    ~Scope() { arena_.release_to(pieces_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    size_t pieces_;
  };

  // For what cannot be bracketed by a scope, as kept activations: a mark to release to.
  size_t mark() const { return pieces_.size(); }
  void release_to(size_t mark);

 private:
  std::byte* base_;
  size_t capacity_;
  size_t used_ = 0;
  std::array<size_t, memory_use_count> by_use_{};
  std::vector<Piece> pieces_;
  Peak peak_;
};

}  // namespace nibble
