// Construction, and the movement of data.
#include "ops/cpu/cpu_ops.h"

#include <cstring>

#include "ops/cpu/isa.h"
#include "ops/cpu/parallel.h"

namespace nibble {

using cpu::Element;
using cpu::parallel_ranges;

CpuOps::CpuOps(Arena& arena, int threads)
    : Ops(arena), threads_(threads), kernels_(cpu::kernels()), matmul_(threads) {
  if (threads < 1) fail(ErrorKind::usage, "threads: got {}, expected at least 1", threads);
}

void CpuOps::do_zero(Tensor y) {
  const size_t row = static_cast<size_t>(y.cols) * size_of(y.dtype);
  const size_t stride = static_cast<size_t>(y.stride) * size_of(y.dtype);
  parallel_ranges(threads_, y.rows, 64, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      std::memset(y.raw() + static_cast<size_t>(r) * stride, 0, row);
  });
}

void CpuOps::do_copy(Tensor y, Tensor x) {
  const size_t row = static_cast<size_t>(y.cols) * size_of(y.dtype);
  const size_t y_stride = static_cast<size_t>(y.stride) * size_of(y.dtype);
  const size_t x_stride = static_cast<size_t>(x.stride) * size_of(x.dtype);
  parallel_ranges(threads_, y.rows, 64, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      std::memmove(y.raw() + static_cast<size_t>(r) * y_stride,
                   x.raw() + static_cast<size_t>(r) * x_stride, row);
  });
}

void CpuOps::do_convert(Tensor y, Tensor x) {
  const int64_t y_size = static_cast<int64_t>(size_of(y.dtype));
  const int64_t x_size = static_cast<int64_t>(size_of(x.dtype));
  parallel_ranges(threads_, y.size(), 1 << 14, [&](int64_t begin, int64_t end) {
    kernels_.convert(y.raw() + begin * y_size, static_cast<Element>(y.dtype),
                     x.raw() + begin * x_size, static_cast<Element>(x.dtype), end - begin);
  });
}

void CpuOps::do_upload(Tensor y, std::span<const std::byte> x) {
  if (!x.empty()) std::memcpy(y.data, x.data(), x.size());
}

void CpuOps::do_download(std::span<std::byte> y, Tensor x) {
  if (!y.empty()) std::memcpy(y.data(), x.data, y.size());
}

}  // namespace nibble
