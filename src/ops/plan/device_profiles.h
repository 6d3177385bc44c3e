// What known GPUs do, for plans on machines without them. One table; `nibble doctor` measures the
// machine's own.
#pragma once

#include <string>
#include <vector>

#include "ops/plan/plan_ops.h"

namespace nibble {

struct NamedProfile {
  const char* name;         // "3060"
  const char* product;      // as the driver calls it
  int64_t memory_gib;       // of the card
  double product_tflops;    // bfloat16 products of a decoder's shapes, float32 sums
  double attention_tflops;  // causal attention
  double memory_gb_per_s;   // as elementwise and thin operations reach it
  double link_gb_per_s;     // to pinned host memory, each way
  bool measured;            // else from the data sheet: 80 % of its rates
};

// What a small kernel takes on any of them, its launch included.
inline constexpr double gpu_launch_seconds = 2.4e-6;

const std::vector<NamedProfile>& device_profiles();

// Throws usage, listing the names, for one that is not known.
const NamedProfile& device_profile(const std::string& name);
DeviceProfile to_profile(const NamedProfile& named);

// What a process holds on a GPU before its first reservation: CUDA's context and cuBLASLt.
// Measured on an H200; a smaller card takes less.
inline constexpr int64_t context_bytes = int64_t{554} * 1000 * 1000;

}  // namespace nibble
