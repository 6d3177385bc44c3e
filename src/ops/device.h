// Which device computes: the choice, its memory, and its Ops.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "core/buffer.h"
#include "ops/ops.h"

namespace nibble {

struct Device {
  enum class Kind { cpu, cuda };
  Kind kind = Kind::cpu;
  int index = 0;    // of the GPU
  int threads = 1;  // of the CPU

  bool is_cuda() const { return kind == Kind::cuda; }
  std::string name() const;  // "cpu", "cuda:0"
};

struct GpuInfo {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  size_t total_memory = 0, free_memory = 0;
};
// How many GPUs there are, usable or not; 0 in a program built without CUDA.
int gpu_count();
bool built_with_cuda();
// Opens the GPU. Throws as choose_device.
GpuInfo gpu_info(int index);

// "auto" (the first GPU where there is one, else the CPU), "cpu", "cuda", "cuda:N". Throws
// usage for another text or a GPU in a program built without CUDA, no_resources when the GPU named
// is missing or cannot be used.
Device choose_device(const std::string& text, int threads);

// Bytes that can be taken on the device now.
size_t available_memory(const Device& device);

// One reservation of the device's memory. Throws no_resources.
Buffer reserve(const Device& device, size_t bytes);

// Memory outside of the device's own: pinned on the host beside a GPU; beside the CPU, pages of a
// nameless file in `folder`. Throws no_resources, io.
Buffer reserve_far(const Device& device, size_t bytes, const std::string& folder);

// The device's backend, over an arena in memory of reserve(), and one of reserve_far() or null.
std::unique_ptr<Ops> make_ops(const Device& device, Arena& arena, Arena* far = nullptr);

// Bytes of a GPU that are in use by anybody, this process's context included; 0 for the CPU.
size_t used_memory(const Device& device);

// Runs `work` with a probe and returns the milliseconds of every operation and its parts.
std::map<std::string, double> profile(Ops& ops, const std::function<void()>& work);

}  // namespace nibble
