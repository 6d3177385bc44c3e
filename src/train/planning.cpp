#include "train/planning.h"

#include <charconv>
#include <filesystem>

#include "core/error.h"
#include "ops/cuda/scratch.h"
#include "ops/plan/device_profiles.h"

namespace nibble {
namespace {

// What cuDNN and cuBLASLt load onto a GPU when they first run.
constexpr size_t library_bytes = size_t{16} << 20;
// A context is no larger than this; what else is in use belongs to others.
constexpr size_t most_context_bytes = size_t{640} << 20;
// What the driver's tables on the GPU take of it for each byte of pinned host memory: 8 bytes a
// page of 4 KiB (measured on an H200: 97 MiB for 46 GiB, 150 for 75).
constexpr size_t pinned_per_table_byte = 512;
// And for the recording of a micro-batch, at most for each block (measured likewise, of eight
// models and settings: 10 to 15 KiB a kernel).
constexpr size_t recorded_block = size_t{1344} << 10;
constexpr size_t recorded_recomputation = size_t{384} << 10, recorded_dropout = size_t{192} << 10;

// Kept free on a device whose budget nobody stated, and of the host's memory.
constexpr size_t spare_bytes = size_t{64} << 20;

size_t minus(size_t a, size_t b) { return a > b ? a - b : 0; }

void limit_gpu(MemoryLimits& limits, const Device& device, bool stated) {
  const GpuInfo gpu = gpu_info(device.index);
  const size_t used = minus(gpu.total_memory, gpu.free_memory);
  const size_t context = std::min(used, most_context_bytes);
  limits.context = context + library_bytes;
  const size_t most = gpu.free_memory + context;
  if (!stated) {
    limits.budget = minus(most, spare_bytes);
    limits.stated = fmt::format("what {} has free", device.name());
  } else if (limits.budget > most) {
    fail(
        ErrorKind::no_resources,
        "memory_budget: {} asked for, and {} of {} are free on {}; end other programs that use it, "
        "or ask for less",
        human_bytes(limits.budget), human_bytes(most), human_bytes(gpu.total_memory),
        device.name());
  }
}

void limit_cpu(MemoryLimits& limits, bool stated) {
  limits.context = used_host_memory() + spare_bytes;
  const size_t most = available_host_memory() + used_host_memory();
  if (!stated) {
    limits.budget = most;
    limits.stated = "what the machine has free";
  } else if (limits.budget > most) {
    fail(ErrorKind::no_resources,
         "memory_budget: {} asked for, and the machine has {} free; end other programs, or ask for "
         "less",
         human_bytes(limits.budget), human_bytes(most));
  }
}

size_t free_disk(const std::string& folder) {
  std::error_code error;
  const auto space = std::filesystem::space(folder, error);
  return error ? 0 : space.available;
}

}  // namespace

size_t parse_bytes(const std::string& option, const std::string& text) {
  const auto refuse = [&] {
    fail(ErrorKind::usage, "{}: got '{}', expected a size such as 6GiB, 6144MiB or 8GB", option,
         text);
  };
  double number = 0;
  const auto [rest, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (status != std::errc() || !(number >= 0)) refuse();
  std::string unit(rest, text.data() + text.size());
  std::erase(unit, ' ');
  double factor = 1;
  if (!unit.empty() && unit != "B") {
    const size_t power = std::string_view("KMGT").find(static_cast<char>(std::toupper(unit[0])));
    const std::string suffix = unit.substr(1);
    if (power == std::string_view::npos || (suffix != "iB" && suffix != "B" && !suffix.empty()))
      refuse();
    for (size_t i = 0; i <= power; ++i) factor *= suffix == "B" ? 1000 : 1024;
  }
  if (number * factor >= 0x1p62) refuse();
  return static_cast<size_t>(number * factor);
}

MemoryLimits memory_limits(const TrainOptions& options, const Device& device) {
  MemoryLimits limits;
  const bool stated = !options.memory_budget.empty();
  if (stated) {
    limits.budget = parse_bytes("memory_budget", options.memory_budget);
    limits.stated = fmt::format("memory_budget {}", options.memory_budget);
  }
  if (!options.device_profile.empty()) {
    const NamedProfile& card = device_profile(options.device_profile);
    limits.context = static_cast<size_t>(context_bytes) + library_bytes;
    if (!stated) {
      limits.budget = (static_cast<size_t>(card.memory_gib) << 30) - spare_bytes;
      limits.stated = fmt::format("the card's {} GiB", card.memory_gib);
    }
  } else if (device.is_cuda()) {
    limit_gpu(limits, device, stated);
  } else {
    limit_cpu(limits, stated);
  }
  if (!options.host_memory_budget.empty())
    limits.far = parse_bytes("host_memory_budget", options.host_memory_budget);
  else if (device.is_cuda())
    limits.far = available_host_memory() / 10 * 9;
  else
    limits.far = free_disk(far_folder(options));
  return limits;
}

Planner::Planner(const ModelSource& source, const TrainOptions& options, const RunShape& shape,
                 const DeviceProfile& profile)
    : source_(source),
      options_(options),
      shape_(shape),
      profile_(profile),
      search_(source.spec.layers, source.spec.tied_head, fixed_levels(options, source.spec.layers),
              [this](const MemoryPolicy& policy) {
                PolicyCost cost = policy_cost(source_, options_, shape_, profile_, policy);
                cost.near += driver_bytes(policy, cost.far);
                return cost;
              }) {}

// More tokens keep a device busy by themselves.
bool Planner::records(const MemoryPolicy& policy) const {
  return profile_.cuda && !policy.uses_far_memory() && shape_.most_tokens() <= cuda::row_tile;
}

size_t Planner::driver_bytes(const MemoryPolicy& policy, size_t far) const {
  if (!profile_.cuda) return 0;
  size_t recording = 0;
  if (records(policy))
    for (const BlockPolicy& block : policy.blocks)
      recording += recorded_block + (block.keep < Keep::all ? recorded_recomputation : 0) +
                   (options_.lora.lora_dropout > 0 ? recorded_dropout : 0);
  return far / pinned_per_table_byte + recording;
}

MemoryPlan Planner::fastest(const MemoryLimits& limits) {
  const auto found = find(limits.reservation(), limits.far);
  if (!found) {
    const FoundPolicy least = smallest(limits.far);
    if (least.cost.far > limits.far)
      fail(ErrorKind::no_resources,
           "this run fits in {} only with {} outside of it, and {} are free for that{}; give a "
           "larger memory_budget, or a smaller per_device_train_batch_size or max_length",
           human_bytes(limits.budget), human_bytes(least.cost.far), human_bytes(limits.far),
           profile_.cuda ? " in the host's memory (host_memory_budget)" : " on the disk");
    const size_t budget = least.cost.near + limits.context;
    fail(
        ErrorKind::no_resources,
        "{}: {} is too little for this run: the smallest budget that runs, with at most {} outside "
        "of it, is {} ({} bytes), of which {} are not Nibble's to plan{}; use a smaller "
        "per_device_train_batch_size (with "
        "gradient_accumulation_steps), a smaller max_length, or optim adamw_8bit",
        limits.stated, human_bytes(limits.budget), human_bytes(limits.far), human_bytes(budget),
        budget, human_bytes(limits.context),
        profile_.cuda ? " (CUDA's context)" : " (the program itself)");
  }
  MemoryPlan plan = plan_training(source_, options_, shape_, profile_, found->policy);
  plan.policy.recorded = records(plan.policy);
  plan.budget = limits.budget;
  plan.context_bytes = limits.context + driver_bytes(plan.policy, plan.far_bytes());
  plan.cuda = profile_.cuda;
  return plan;
}

namespace {

// Rows of a micro-batch that cut a global batch into equal parts, the largest first.
std::vector<int64_t> micro_batch_sizes(const TrainOptions& options) {
  constexpr size_t most = 8;
  const int64_t rows = options.global_batch_size;
  if (options.micro_batch_given) {
    const int64_t given = options.per_device_train_batch_size;
    if (rows % given != 0)
      fail(ErrorKind::usage,
           "global_batch_size: got {}, expected a multiple of per_device_train_batch_size ({})",
           rows, given);
    return {given};
  }
  std::vector<int64_t> sizes;
  for (int64_t n = rows; n >= 1 && sizes.size() < most; --n)
    if (rows % n == 0) sizes.push_back(n);
  if (sizes.back() != 1) sizes.push_back(1);
  return sizes;
}

}  // namespace

RunShape choose_micro_batch(const ModelSource& source, TrainOptions& options,
                            const MemoryLimits& limits, const DeviceProfile& profile,
                            const std::function<RunShape()>& shape) {
  if (options.global_batch_size == 0) return shape();
  const auto cut = [&](int64_t rows) {
    options.per_device_train_batch_size = rows;
    options.gradient_accumulation_steps = options.global_batch_size / rows;
  };
  const std::vector<int64_t> sizes = micro_batch_sizes(options);
  int64_t best = sizes.back();
  double best_seconds = 0;
  for (const int64_t rows : sizes) {
    cut(rows);
    const RunShape run = shape();
    const auto found = Planner(source, options, run, profile).about(limits);
    const double seconds =
        found ? found->cost.seconds * static_cast<double>(options.global_batch_size / rows) : 0;
    if (!found || (best_seconds > 0 && seconds >= best_seconds)) {
      if (best_seconds > 0) break;  // smaller ones are slower still
      continue;
    }
    best = rows;
    best_seconds = seconds;
  }
  cut(best);
  return shape();
}

MemoryPlan plan_within(const ModelSource& source, TrainOptions& options, const MemoryLimits& limits,
                       const DeviceProfile& profile, const std::function<RunShape()>& shape) {
  const RunShape run = choose_micro_batch(source, options, limits, profile, shape);
  return Planner(source, options, run, profile).fastest(limits);
}

}  // namespace nibble
