// Token embedding: rows of the table.
#include <cstring>

#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/parallel.h"

namespace nibble {

void CpuOps::do_embedding(Tensor y, Tensor table, Tensor ids) {
  const size_t row = static_cast<size_t>(y.cols) * size_of(y.dtype);
  const int32_t* id = ids.as<int32_t>();
  cpu::parallel_ranges(threads_, y.rows, 64, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      std::memcpy(y.row_range(r, 1).data, table.row_range(id[r], 1).data, row);
  });
}

}  // namespace nibble
