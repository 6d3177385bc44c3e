#include "train/calibration.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>

#include "core/buffer.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/threads.h"

namespace nibble {
namespace {

// The best of a few runs, as other work on the machine only ever adds time.
double best_seconds(const std::function<void()>& work) {
  double best = 1e9;
  for (int i = 0; i < 4; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    if (i > 0) best = std::min(best, taken.count());  // the first builds kernels
  }
  return best;
}

}  // namespace

DeviceProfile calibrate_cpu(const TrainOptions& options) {
  constexpr int64_t size = 512, copied = int64_t{16} << 20;
  const DType compute = compute_dtype(options.bnb_4bit_compute_dtype);
  DeviceProfile profile;
  profile.threads = cpu::thread_count(options.threads);

  const Buffer buffer = Buffer::host(size_t{128} << 20);
  Arena arena(buffer.data(), buffer.size());
  CpuOps ops(arena, profile.threads);
  const auto tensor = [&](int64_t rows, int64_t cols, DType dtype) {
    return arena.tensor(rows, cols, dtype, MemoryUse::working_set, "calibration");
  };

  const Tensor x = tensor(size, size, compute), y = tensor(size, size, compute);
  FrozenLinear w;
  w.out_features = w.in_features = size;
  w.dense = tensor(size, size, compute);
  const double product_flops = 2.0 * size * size * size;
  profile.product_flops =
      product_flops / best_seconds([&] { ops.lora_linear_forward(y, {}, {}, x, w, {}); });

  const AttentionShape shape{8, 8, 64, 0.125f, 0};
  const std::array<int32_t, 2> offsets = {0, size};
  const Tensor q = x, k = w.dense, lse = tensor(size, shape.heads, DType::f32);
  const double attention_flops = 2.0 * size * (size + 1) * static_cast<double>(size);
  profile.attention_flops = attention_flops / best_seconds([&] {
                              ops.attention_forward(y, lse, q, k, k, {offsets, offsets}, shape);
                            });

  const Tensor from = tensor(1, copied, DType::u8), to = tensor(1, copied, DType::u8);
  profile.memory_bytes = 2.0 * copied / best_seconds([&] { ops.copy(to, from); });
  return profile;
}

}  // namespace nibble
