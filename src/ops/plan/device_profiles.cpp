#include "ops/plan/device_profiles.h"

#include "core/error.h"

namespace nibble {

const std::vector<NamedProfile>& device_profiles() {
  // Data sheets: dense bfloat16 with float32 accumulation, memory bandwidth, PCIe.
  static const std::vector<NamedProfile> profiles = {
      {"h200", "NVIDIA H200", 141, 680, 530, 2700, 55, true},
      {"h100", "NVIDIA H100", 80, 660, 400, 2700, 50, false},
      {"a100", "NVIDIA A100", 80, 250, 150, 1600, 24, false},
      {"l40s", "NVIDIA L40S", 48, 145, 90, 690, 24, false},
      {"a6000", "NVIDIA RTX A6000", 48, 120, 75, 610, 24, false},
      {"l4", "NVIDIA L4", 24, 48, 30, 240, 24, false},
      {"5090", "NVIDIA GeForce RTX 5090", 32, 167, 100, 1430, 50, false},
      {"4090", "NVIDIA GeForce RTX 4090", 24, 132, 80, 800, 24, false},
      {"4080", "NVIDIA GeForce RTX 4080", 16, 78, 47, 570, 24, false},
      {"4070", "NVIDIA GeForce RTX 4070", 12, 46, 28, 400, 24, false},
      {"4060ti", "NVIDIA GeForce RTX 4060 Ti", 16, 35, 21, 230, 12, false},
      {"3090", "NVIDIA GeForce RTX 3090", 24, 57, 34, 750, 24, false},
      {"3080", "NVIDIA GeForce RTX 3080", 10, 47, 28, 610, 24, false},
      {"3060", "NVIDIA GeForce RTX 3060", 12, 20, 12, 290, 24, false},
  };
  return profiles;
}

const NamedProfile& device_profile(const std::string& name) {
  std::string names;
  for (const NamedProfile& profile : device_profiles()) {
    if (name == profile.name) return profile;
    names += names.empty() ? profile.name : fmt::format(", {}", profile.name);
  }
  fail(ErrorKind::usage, "device_profile: got {}, expected one of {}", name, names);
}

DeviceProfile to_profile(const NamedProfile& named) {
  DeviceProfile profile;
  profile.cuda = true;
  profile.product_flops = named.product_tflops * 1e12;
  profile.attention_flops = named.attention_tflops * 1e12;
  profile.memory_bytes = named.memory_gb_per_s * 1e9;
  profile.link_bytes = named.link_gb_per_s * 1e9;
  profile.launch_seconds = gpu_launch_seconds;
  return profile;
}

}  // namespace nibble
