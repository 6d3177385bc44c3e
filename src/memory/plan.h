// A memory plan: what a run will take, found by running it dry.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/arena.h"
#include "ops/device.h"
#include "ops/plan/plan_ops.h"
#include "transformer/policy.h"

namespace nibble {

struct MemoryPlan {
  Arena::Peak peak;      // of the whole run: loading, the largest step, evaluation
  Arena::Peak far_peak;  // the same of far memory
  MemoryPolicy policy;
  PlanCosts step;           // of one optimizer step with the largest micro-batches
  double useful_flops = 0;  // of that step without recomputation
  int64_t step_tokens = 0;
  int64_t largest_micro_batch = 0;  // tokens
  size_t budget = 0;                // bytes of the device, of which
  size_t context_bytes = 0;         // are taken besides the reservation
  bool cuda = false;                // of a GPU

  size_t peak_bytes() const { return peak.bytes; }
  size_t far_bytes() const { return far_peak.bytes; }
  size_t device_bytes() const {
    return peak.bytes + context_bytes;
  }  // all that the run takes of it
  double tokens_per_second() const { return static_cast<double>(step_tokens) / step.seconds; }
};

// "1.66 GiB", "23.1 MiB", "512 B".
std::string human_bytes(size_t bytes);

// The table by category, total and peak, for a terminal.
std::string plan_table(const MemoryPlan& plan);
// A column for each block: where its weights and its input lie, and what is kept of it.
std::string policy_picture(const MemoryPolicy& policy);
// What the speed is limited by, for people.
const char* limit_of(const MemoryPlan& plan);
// Planned against measured, by category.
std::string measured_table(const MemoryPlan& plan, const Arena::Peak& near, const Arena::Peak& far);
nlohmann::ordered_json plan_json(const MemoryPlan& plan);

}  // namespace nibble
