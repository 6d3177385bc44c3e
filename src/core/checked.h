// Unsigned 64-bit arithmetic that remembers overflow instead of wrapping. Every size that is
// computed from numbers in a file goes through it.
//
//   const auto bytes = Checked(rows) * columns * 2;
//   if (!bytes.ok() || bytes.value() > file_size) fail(...);
#pragma once

#include <cstdint>
#include <span>

namespace nibble {

class Checked {
 public:
  constexpr Checked(uint64_t value) : value_(value) {}  // implicit: Checked(a) * b + c

  constexpr bool ok() const { return ok_; }
  // Meaningless unless ok().
  constexpr uint64_t value() const { return value_; }

  constexpr Checked operator+(Checked other) const {
    Checked sum(0);
    sum.ok_ = !__builtin_add_overflow(value_, other.value_, &sum.value_) && ok_ && other.ok_;
    return sum;
  }
  constexpr Checked operator-(Checked other) const {
    Checked difference(0);
    difference.ok_ =
        !__builtin_sub_overflow(value_, other.value_, &difference.value_) && ok_ && other.ok_;
    return difference;
  }
  constexpr Checked operator*(Checked other) const {
    Checked product(0);
    product.ok_ =
        !__builtin_mul_overflow(value_, other.value_, &product.value_) && ok_ && other.ok_;
    return product;
  }

 private:
  uint64_t value_;
  bool ok_ = true;
};

// Product of all dimensions (1 for none). Zeros are left out of the overflow check's product, so
// that a zero cannot hide dimensions whose strides would overflow; the result is then 0.
constexpr Checked checked_product(std::span<const uint64_t> dims) {
  Checked product(1);
  bool zero = false;
  for (const uint64_t dim : dims) {
    if (dim == 0) {
      zero = true;
    } else {
      product = product * dim;
    }
  }
  return zero && product.ok() ? Checked(0) : product;
}

}  // namespace nibble
