#include "train/calibration.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>

#include "core/buffer.h"
#include "ops/device.h"

namespace nibble {
namespace {

// The best of a few runs, as other work on the machine only ever adds time.
double best_seconds(Ops& ops, Tensor result, const std::function<void()>& work) {
  std::array<std::byte, 4> bytes{};
  double best = 1e9;
  for (int i = 0; i < 4; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    ops.download(bytes, result.columns(0, 4));  // waits for the device
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    if (i > 0) best = std::min(best, taken.count());  // the first builds kernels
  }
  return best;
}

}  // namespace

DeviceProfile calibrate(const Device& device, DType compute) {
  // Large enough to run well past the launch of the work.
  const int64_t size = device.is_cuda() ? 8192 : 512;
  const int64_t copied = int64_t{device.is_cuda() ? 1024 : 16} << 20;
  DeviceProfile profile;
  profile.cuda = device.is_cuda();
  profile.threads = device.threads;

  const Buffer buffer = reserve(device, static_cast<size_t>(8 * copied));
  Arena arena(buffer.data(), buffer.size());
  const auto ops = make_ops(device, arena);
  const auto tensor = [&](int64_t rows, int64_t cols, DType dtype) {
    const Tensor t = arena.tensor(rows, cols, dtype, MemoryUse::working_set, "calibration");
    ops->zero(t);
    return t;
  };

  const Tensor x = tensor(size, size, compute), y = tensor(size, size, compute);
  const Tensor first = dense_tensor(y.data, 1, 4, DType::u8);
  LoraLinear linear;
  linear.weight.out_features = linear.weight.in_features = size;
  linear.weight.dense = tensor(size, size, compute);
  const double product_flops = 2.0 * static_cast<double>(size * size * size);
  profile.product_flops = product_flops / best_seconds(*ops, first, [&] {
                            ops->lora_linear_forward(y, {}, x, {{&linear, 1}});
                          });

  const AttentionShape shape{size / 64, size / 64, 64, 0.125f, 0};
  const std::array<int32_t, 2> offsets = {0, static_cast<int32_t>(size)};
  const Tensor q = x, k = linear.weight.dense, lse = tensor(size, shape.heads, DType::f32);
  const double attention_flops = 2.0 * static_cast<double>(size * (size + 1) * size);
  profile.attention_flops = attention_flops / best_seconds(*ops, first, [&] {
                              ops->attention_forward(y, lse, q, k, k, {offsets, offsets}, shape);
                            });

  const Tensor from = tensor(1, copied, DType::u8), to = tensor(1, copied, DType::u8);
  profile.memory_bytes =
      2.0 * static_cast<double>(copied) / best_seconds(*ops, to, [&] { ops->copy(to, from); });
  return profile;
}

}  // namespace nibble
