#include "train/calibration.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <vector>

#include "core/buffer.h"
#include "core/rng.h"
#include "ops/device.h"
#include "ops/plan/device_profiles.h"

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

// Random values: products of zeros can run faster than others.
void fill(Ops& ops, Tensor x) {
  constexpr int64_t piece = 1 << 20;
  std::vector<float> values(static_cast<size_t>(std::min(piece, x.size())));
  RandomSequence random(0, 0);
  for (float& value : values) value = uniform_float(random.next()) - 0.5f;
  std::vector<uint16_t> rounded(values.size());
  std::ranges::transform(values, rounded.begin(), [&](float value) {
    return x.dtype == DType::f16 ? to_f16(value).bits : to_bf16(value).bits;
  });
  const Tensor flat = x.reshaped(1, x.size());
  for (int64_t begin = 0; begin < x.size(); begin += piece) {
    const auto count = static_cast<size_t>(std::min(piece, x.size() - begin));
    const Tensor part = flat.columns(begin, static_cast<int64_t>(count));
    if (x.dtype != DType::f32)
      ops.upload(part, std::as_bytes(std::span(rounded).first(count)));
    else
      ops.upload(part, std::as_bytes(std::span(values).first(count)));
  }
}

}  // namespace

DeviceProfile calibrate(const Device& device, DType compute) {
  // Large enough to run well past the launch of the work.
  const bool gpu = device.is_cuda();
  const int64_t size = gpu ? 8192 : 512;
  const int64_t in = gpu ? 3072 : size;  // of a decoder's layer
  const int64_t copied = int64_t{gpu ? 256 : 16} << 20;
  DeviceProfile profile;
  profile.cuda = gpu;
  profile.threads = device.threads;

  const size_t matrix = static_cast<size_t>(size * size) * size_of(compute);
  const Buffer buffer =
      reserve(device, 3 * matrix + 3 * static_cast<size_t>(copied) + (size_t{96} << 20));
  Arena arena(buffer.data(), buffer.size());
  // Of a GPU; a disk's rate is for the plan to assume.
  const size_t link_copy = gpu ? size_t{64} << 20 : 0;
  const Buffer outside = gpu ? reserve_far(device, link_copy, {}) : Buffer();
  Arena far(outside.data(), link_copy);
  const auto ops = make_ops(device, arena, gpu ? &far : nullptr);
  const auto tensor = [&](int64_t rows, int64_t cols, DType dtype) {
    return arena.tensor(rows, cols, dtype, MemoryUse::working_set, "calibration");
  };
  const Tensor x = tensor(size, size, compute), y = tensor(size, size, compute);
  const Tensor w = tensor(size, size, compute);
  fill(*ops, x);
  fill(*ops, w);
  const Tensor first = dense_tensor(y.data, 1, 4, DType::u8);
  const auto product = [&](int64_t inner) {
    LoraLinear linear;
    linear.weight.out_features = size;
    linear.weight.in_features = inner;
    linear.weight.dense = dense_tensor(w.data, size, inner, compute);
    const Tensor input = dense_tensor(x.data, size, inner, compute);
    return 2.0 * static_cast<double>(size * size * inner) / best_seconds(*ops, first, [&] {
             ops->lora_linear_forward(y, {}, input, {{&linear, 1}});
           });
  };
  profile.product_flops = product(in);
  profile.product_ceiling = in == size ? profile.product_flops : product(size);

  const int64_t head_dim = gpu ? 128 : 64, length = gpu ? 2048 : size;
  const AttentionShape shape{size / head_dim, size / head_dim, head_dim, 0.1f, 0};
  std::vector<int32_t> offsets;
  for (int64_t i = 0; i <= size; i += length) offsets.push_back(static_cast<int32_t>(i));
  const Documents documents{offsets, offsets, tensor(2, std::ssize(offsets), DType::i32)};
  for (const int64_t row : {0, 1})
    ops->upload(documents.offsets.row_range(row, 1), std::as_bytes(std::span(offsets)));
  const Tensor lse = tensor(size, shape.heads, DType::f32);
  const double attention_flops = 2.0 * static_cast<double>(size * (length + 1) * size);
  profile.attention_flops = attention_flops / best_seconds(*ops, first, [&] {
                              ops->attention_forward(y, lse, x, w, w, documents, shape);
                            });

  const Tensor from = tensor(1, copied, DType::u8), to = tensor(1, copied, DType::u8);
  profile.memory_bytes =
      2.0 * static_cast<double>(copied) / best_seconds(*ops, to, [&] { ops->copy(to, from); });
  if (gpu) {
    const auto bytes = static_cast<int64_t>(link_copy);
    const Tensor there = far.tensor(1, bytes, DType::u8, MemoryUse::working_set, "calibration");
    const Tensor here = from.columns(0, bytes);
    profile.link_bytes = static_cast<double>(link_copy) /
                         best_seconds(*ops, here, [&] { ops->wait(ops->fetch(here, there)); });
    // A step's products are of many shapes, its other operations less regular than a copy: what
    // they reach of these rates on an H200 (bench/results/h200.md).
    profile.product_flops *= 0.9;
    profile.memory_bytes *= 0.7;
    profile.launch_seconds = gpu_launch_seconds;
  }
  return profile;
}

}  // namespace nibble
