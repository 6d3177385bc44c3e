#include "core/arena.h"

#include <utility>

namespace nibble {

const char* name_of(MemoryUse use) {
  switch (use) {
    case MemoryUse::base_weights:
      return "base weights";
    case MemoryUse::embeddings_and_head:
      return "embeddings and head";
    case MemoryUse::adapter:
      return "adapter";
    case MemoryUse::gradients:
      return "gradients";
    case MemoryUse::optimizer:
      return "optimizer";
    case MemoryUse::checkpoints:
      return "checkpoints";
    case MemoryUse::working_set:
      return "working set";
    case MemoryUse::batch:
      return "batch";
  }
  return "?";
}

Tensor Arena::tensor(int64_t rows, int64_t cols, DType dtype, MemoryUse use, const char* name) {
  int64_t elements = 0;
  int64_t bytes = 0;
  if (rows < 0 || cols < 0 || __builtin_mul_overflow(rows, cols, &elements) ||
      __builtin_mul_overflow(elements, static_cast<int64_t>(size_of(dtype)), &bytes))
    fail(ErrorKind::internal, "{}: a tensor of {} x {} overflows", name, rows, cols);
  const size_t rounded = (static_cast<size_t>(bytes) + alignment - 1) / alignment * alignment;
  if (rounded > capacity_ - used_)
    fail(
        ErrorKind::no_resources,
        "memory plan exceeded: {} needs {} bytes, {} of {} are left; this is a bug unless the data "
        "changed after planning",
        name, rounded, capacity_ - used_, capacity_);
  const Tensor result = dense_tensor(base_ + used_, rows, cols, dtype);
  used_ += rounded;
  by_use_[static_cast<size_t>(use)] += rounded;
  pieces_.push_back({name, use, rounded});
  if (used_ > peak_.bytes) peak_ = {used_, by_use_, pieces_};
  return result;
}

void Arena::release_to(size_t mark) {
  while (pieces_.size() > mark) {
    const Piece& piece = pieces_.back();
    used_ -= piece.bytes;
    by_use_[static_cast<size_t>(piece.use)] -= piece.bytes;
    pieces_.pop_back();
  }
}

}  // namespace nibble
