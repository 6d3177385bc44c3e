// The whole training step on the CPU against the machine's own matrix-product rate.
//
//   step_bench MODEL_DIR [batch] [length] [steps] [rank] [checkpointing] [threads]
//
// Random tokens, every one trained. First the ceiling: oneDNN through Nibble's product wrapper on
// the model's own shapes. Then steps: tokens/s, FLOPs done and useful, and both as parts of the
// ceiling.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>

#include "core/buffer.h"
#include "core/rng.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/threads.h"
#include "train/calibration.h"
#include "train/dry_run.h"

using namespace nibble;

namespace {

double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// FLOP/s of the best of five products of the model's most frequent shape, forward.
double product_ceiling(const ModelSpec& spec, int64_t tokens, DType compute, int threads) {
  const int64_t out = spec.intermediate_size, in = spec.hidden_size;
  const Buffer buffer =
      Buffer::host(static_cast<size_t>((tokens * (in + out) + in * out) * 4) + (size_t{64} << 20));
  Arena arena(buffer.data(), buffer.size());
  CpuOps ops(arena, threads);
  const auto tensor = [&](int64_t rows, int64_t cols) {
    const Tensor t = arena.tensor(rows, cols, compute, MemoryUse::working_set, "bench");
    RandomSequence random(1, 1);
    for (int64_t i = 0; i < t.size(); ++i) {
      const float value = 2 * uniform_float(random.next()) - 1;
      if (compute == DType::bf16)
        t.as<bf16>()[i] = to_bf16(value);
      else
        t.as<float>()[i] = value;
    }
    return t;
  };
  const Tensor x = tensor(tokens, in), y = tensor(tokens, out);
  LoraLinear layer;
  layer.weight.out_features = out;
  layer.weight.in_features = in;
  layer.weight.dense = tensor(out, in);
  double best = 1e9;
  for (int i = 0; i < 6; ++i)
    best = std::min(best, seconds([&] { ops.lora_linear_forward(y, {}, x, {{&layer, 1}}); }));
  return 2.0 * static_cast<double>(tokens * in * out) / best;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr,
               "usage: {} MODEL_DIR [batch] [length] [steps] [rank] [checkpointing] [threads]\n",
               argv[0]);
    return 64;
  }
  const auto argument = [&](int i, int64_t otherwise) {
    return argc > i ? std::atoll(argv[i]) : otherwise;
  };
  TrainOptions options;
  options.model_name_or_path = argv[1];
  options.per_device_train_batch_size = argument(2, 4);
  options.max_length = argument(3, 512);
  const int64_t steps = argument(4, 5);
  options.lora.r = static_cast<uint64_t>(argument(5, 16));
  options.gradient_checkpointing = argument(6, 1);
  options.threads = cpu::thread_count(static_cast<int>(argument(7, 0)));

  const ModelSource source = ModelSource::open(options.model_name_or_path);
  std::vector<int32_t> zeros;
  const RunShape shape = longest_shape(options, zeros);
  RandomSequence random(random_key(1, RandomUse::sampling), 0);
  for (int32_t& id : zeros)
    id = static_cast<int32_t>(random.below(static_cast<uint32_t>(source.spec.vocab_size)));
  options.device = "cpu";
  const Device device = resolve_device(options);
  const DType compute = compute_dtype(options);
  const MemoryPlan plan =
      plan_training(source, options, shape, calibrate(device, compute),
                    recompute_every(options.gradient_checkpointing, source.spec.layers));

  Buffer buffer = Buffer::host(plan.peak_bytes());
  Arena arena(buffer.data(), plan.peak_bytes());
  CpuOps ops(arena, options.threads);
  TrainStep step(source, options, plan.policy, ops);
  buffer.commit();

  const double ceiling = product_ceiling(source.spec, plan.step_tokens, compute, options.threads);
  std::vector<double> times;
  for (int64_t i = 0; i <= steps; ++i) {
    const double taken = seconds([&] { step.train(shape.train, i + 1, 1e-4); });
    if (i > 0) times.push_back(taken);  // the first builds kernels
  }
  std::ranges::sort(times);
  const double median = times[times.size() / 2];
  const double done = plan.step.product_flops + plan.step.attention_flops;
  fmt::print("{} parameters, {} tokens a step, rank {}, {}, {} threads, checkpointing {}\n",
             source.spec.parameters(), plan.step_tokens, options.lora.r, name_of(compute),
             options.threads, options.gradient_checkpointing);
  fmt::print("oneDNN product ceiling      {:8.1f} GFLOP/s\n", ceiling / 1e9);
  fmt::print("step, median of {:<2}           {:8.3f} s   {:.0f} tokens/s (predicted {:.3f} s)\n",
             steps, median, static_cast<double>(plan.step_tokens) / median, plan.step.seconds);
  fmt::print("FLOPs done                   {:8.1f} GFLOP/s = {:.1f} % of the ceiling\n",
             done / median / 1e9, 100 * done / median / ceiling);
  fmt::print("FLOPs useful (no recompute)  {:8.1f} GFLOP/s = {:.1f} %\n",
             plan.useful_flops / median / 1e9, 100 * plan.useful_flops / median / ceiling);
  fmt::print("memory: planned {} bytes, measured {} bytes\n", plan.peak_bytes(),
             arena.peak().bytes);
  return 0;
}
