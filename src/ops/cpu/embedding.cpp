// Token embedding: rows of the table.
#include <algorithm>
#include <cstring>

#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/parallel.h"

namespace nibble {

void CpuOps::do_embedding(Tensor y, Tensor table, Tensor ids) {
  const size_t row = static_cast<size_t>(y.cols) * size_of(y.dtype);
  const int32_t* id = ids.as<int32_t>();
  const auto gather = [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r)
      std::memcpy(y.row_range(r, 1).data, table.row_range(id[r], 1).data, row);
  };
  if (!is_far(table)) return cpu::parallel_ranges(threads_, y.rows, 64, gather);
  // Reading a row may bring up to 2 MiB of the file around it into memory.
  constexpr int64_t rows_at_once = 16;
  for (int64_t first = 0; first < y.rows; first += rows_at_once) {
    gather(first, std::min(first + rows_at_once, y.rows));
    do_idle(table);
  }
}

}  // namespace nibble
