// The tensors of a model folder, read in pieces: each checked to be finite, and all to have a place
// in the model. Of a synthetic source every piece is the same random numbers.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>

#include "transformer/weights.h"

namespace nibble {

class TensorReader {
 public:
  // Whole blocks of every block size, whole nested blocks, and even: 4 MiB of float32.
  static constexpr int64_t piece_elements = 1 << 20;

  // Both must outlive the reader.
  TensorReader(const ModelSource& source, const LoadProgress& progress);

  // Before the first read. Throws bad_input for a source without weights.
  void begin();

  // Gives a tensor its place and returns its stored dtype; without a folder the config's. Throws
  // bad_input for another shape than [rows, cols] ([cols] with one row).
  DType use(const std::string& name, int64_t rows, int64_t cols);
  // The same of so many bytes of a dtype, any for u8.
  void use_bytes(const std::string& name, int64_t bytes, DType dtype);

  // Reads a tensor of n elements, several pieces at once, and calls take(first element, elements,
  // bytes) for each in order. Throws bad_input for NaN or infinity.
  using TakePiece = std::function<void(int64_t, int64_t, std::span<const std::byte>)>;
  void read(const std::string& name, DType dtype, int64_t n, const TakePiece& take);
  // Of at most so many bytes.
  std::string read_text(const std::string& name, uint64_t most);

  // A tied model whose folder also holds a head: the two must be the same bytes, which are compared
  // when `filling`.
  void check_tied(const std::string& head, const std::string& embedding, bool filling);
  // Throws bad_input for a tensor that was given no place.
  void check_nothing_left() const;

 private:
  const ModelDir& dir() const { return source_.weights(); }

  static constexpr size_t piece_bytes = piece_elements * sizeof(float);
  static constexpr int64_t readers = 8;

  const ModelSource& source_;
  const LoadProgress& progress_;
  // Pieces; pages that small tensors never reach are never taken.
  const std::unique_ptr<std::byte[]> buffer_ =
      std::make_unique_for_overwrite<std::byte[]>(readers * piece_bytes);
  std::set<std::string> used_;
  uint64_t done_ = 0, total_ = 0;
};

}  // namespace nibble
