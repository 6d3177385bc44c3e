#include "train/bench.h"

#include <algorithm>
#include <chrono>

#include "core/error.h"
#include "core/rng.h"
#include "memory/planned_memory.h"
#include "train/calibration.h"
#include "train/dry_run.h"
#include "train/planning.h"

namespace nibble {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

double BenchResult::median_step() const {
  std::vector<double> sorted = step_seconds;
  std::ranges::sort(sorted);
  return sorted[sorted.size() / 2];
}

BenchResult run_bench(const std::string& architecture, const TrainOptions& given, int64_t steps,
                      bool phases) {
  if (steps < 1 || steps > 1'000'000)
    fail(ErrorKind::usage, "steps: got {}, expected 1..1000000", steps);
  TrainOptions options = given;
  options.model_name_or_path = architecture;
  check_options(options);
  const Device device = resolve_device(options);
  const ModelSource source = ModelSource::synthesize(architecture);
  BenchResult result;
  result.device = device.name();
  result.parameters = source.spec.parameters();

  std::vector<int32_t> tokens;
  const DeviceProfile profile_of_device = calibrate(device, compute_dtype(options));
  result.product_ceiling = profile_of_device.product_ceiling;
  const auto plan_start = std::chrono::steady_clock::now();
  result.plan = plan_within(source, options, memory_limits(options, device), profile_of_device,
                            [&] { return longest_shape(options, tokens); });
  result.plan_seconds = seconds_since(plan_start);
  const RunShape shape = longest_shape(options, tokens);
  RandomSequence random(random_key(options.seed, RandomUse::sampling), 0);
  for (int32_t& token : tokens)
    token = static_cast<int32_t>(random.below(static_cast<uint32_t>(source.spec.vocab_size)));

  result.context_bytes = used_memory(device);
  PlannedMemory memory(device, result.plan, far_folder(options));
  auto start = std::chrono::steady_clock::now();
  TrainStep step(source, options, result.plan.policy, memory.ops());
  result.load_seconds = seconds_since(start);
  memory.commit();

  const std::vector<MicroBatch> batches(static_cast<size_t>(shape.micro_batches),
                                        shape.train.front());
  for (int64_t i = 0; i <= steps; ++i) {
    start = std::chrono::steady_clock::now();
    result.losses.push_back(step.train(batches, i + 1, options.learning_rate).loss);
    const double taken = seconds_since(start);
    if (i == 0)
      result.first_step_seconds = taken;
    else
      result.step_seconds.push_back(taken);
  }
  if (phases)
    result.phases =
        profile(memory.ops(), [&] { step.train(batches, steps + 2, options.learning_rate); });
  result.measured_bytes = memory.near().peak().bytes;
  result.far_measured_bytes = memory.far().peak().bytes;
  result.device_bytes = used_memory(device);
  return result;
}

}  // namespace nibble
