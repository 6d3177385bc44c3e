// Construction, and the movement of data.
#include "ops/cpu/cpu_ops.h"

#include <algorithm>
#include <cstring>

#include "core/buffer.h"
#include "ops/cpu/isa.h"
#include "ops/cpu/parallel.h"

namespace nibble {

using cpu::Element;
using cpu::parallel_ranges;

CpuOps::CpuOps(Arena& arena, int threads, Arena* far)
    : Ops(arena, far), threads_(threads), kernels_(cpu::kernels()), matmul_(threads) {
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

void CpuOps::do_scatter_rows(Tensor y, Tensor x, Tensor rows) {
  const size_t row = static_cast<size_t>(x.cols) * size_of(x.dtype);
  const int32_t* to = rows.as<int32_t>();
  parallel_ranges(threads_, x.rows, 64, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      std::memcpy(y.row_range(to[r], 1).data, x.row_range(r, 1).data, row);
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

// ---- far memory: pages of a file

// In pieces, so that few of the file's pages are resident at a time.
void CpuOps::copy_now(const PendingCopy& copy) {
  constexpr int64_t piece = int64_t{8} << 20;
  const Tensor& far = is_far(copy.from) ? copy.from : copy.to;
  for (int64_t first = 0; first < copy.from.bytes(); first += piece) {
    const int64_t count = std::min(piece, copy.from.bytes() - first);
    parallel_ranges(threads_, count, int64_t{1} << 18, [&](int64_t begin, int64_t end) {
      std::memcpy(copy.to.raw() + first + begin, copy.from.raw() + first + begin,
                  static_cast<size_t>(end - begin));
    });
    forget_pages(far.raw() + first, static_cast<size_t>(count));
  }
}

Ops::Ticket CpuOps::do_fetch(Tensor y, Tensor x) {
  expect_pages(x.data, static_cast<size_t>(x.bytes()));
  pending_.push_back({++copies_, y, x});
  return {copies_, false};
}

// At once: what computes next may write x.
Ops::Ticket CpuOps::do_store(Tensor y, Tensor x) {
  copy_now({++copies_, y, x});
  return {copies_, true};
}

void CpuOps::do_idle(Tensor x) { forget_pages(x.data, static_cast<size_t>(x.bytes())); }

void CpuOps::do_wait(Ticket ticket) {
  while (!pending_.empty() && pending_.front().number <= ticket.number) {
    copy_now(pending_.front());
    pending_.erase(pending_.begin());
  }
}

}  // namespace nibble
