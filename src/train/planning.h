// From "how much memory" to a plan: the fastest memory policy of a run that stays within it.
#pragma once

#include <functional>
#include <string>

#include "memory/plan.h"
#include "memory/search.h"
#include "train/dry_run.h"

namespace nibble {

// What a run may take, in bytes.
struct MemoryLimits {
  size_t budget = 0;   // of the device, all that the process takes there
  size_t context = 0;  // of it, what is taken besides: CUDA's context and libraries (the driver's
                       // tables of pinned memory are the planner's to add); on the CPU the program
  size_t far = 0;      // host memory beside a GPU, disk beside the CPU
  std::string stated;  // who set the budget, for messages
  size_t reservation() const { return budget > context ? budget - context : 0; }
};

// Of options.memory_budget and host_memory_budget or, without them, of what the device (or the card
// that device_profile names) and the host have free. Throws usage for a text that is no size, and
// no_resources for a budget that the device has not free.
MemoryLimits memory_limits(const TrainOptions& options, const Device& device);

// "6GiB", "6144 MiB", "8GB", "2000000000". Throws usage, naming the option.
size_t parse_bytes(const std::string& option, const std::string& text);

// The plans of one run, for as many limits as are asked for.
class Planner {
 public:
  // All must outlive the planner.
  Planner(const ModelSource& source, const TrainOptions& options, const RunShape& shape,
          const DeviceProfile& profile);

  // The fastest within the limits. Throws no_resources, saying the smallest budget that runs, or
  // how much host memory is missing.
  MemoryPlan fastest(const MemoryLimits& limits);
  std::optional<FoundPolicy> find(size_t reservation, size_t far) {
    return search_.fastest(reservation, far);
  }
  std::optional<FoundPolicy> about(const MemoryLimits& limits) {
    return search_.about_fastest(limits.reservation(), limits.far);
  }
  FoundPolicy smallest(size_t far) { return search_.smallest(far); }
  FoundPolicy richest() { return search_.richest(); }
  bool runs(const MemoryLimits& limits) { return search_.runs(limits.reservation(), limits.far); }
  size_t measured() const { return search_.measured(); }

 private:
  bool records(const MemoryPolicy& policy) const;
  // What the driver takes on the device besides the reservation for a policy and its far memory.
  size_t driver_bytes(const MemoryPolicy& policy, size_t far) const;

  const ModelSource& source_;
  const TrainOptions& options_;
  const RunShape& shape_;
  const DeviceProfile& profile_;
  PolicySearch search_;
};

// What `shape` says of the run that options describe. With global_batch_size it first chooses, and
// sets in options, how many rows a micro-batch has: what is fastest within the limits.
RunShape choose_micro_batch(const ModelSource& source, TrainOptions& options,
                            const MemoryLimits& limits, const DeviceProfile& profile,
                            const std::function<RunShape()>& shape);

// The fastest plan of the run, its micro-batch chosen, within the limits. Throws as
// Planner::fastest.
MemoryPlan plan_within(const ModelSource& source, TrainOptions& options, const MemoryLimits& limits,
                       const DeviceProfile& profile, const std::function<RunShape()>& shape);

}  // namespace nibble
