// CUDA devices: what there is, its memory, a stream, and the way from host memory to it.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/buffer.h"

namespace nibble::cuda {

struct DeviceProperties {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  size_t total_memory = 0;
  size_t free_memory = 0;
};

// Devices this program can use. Never throws: 0 without a driver.
int device_count();
// Throws no_resources with the remedy: no driver, driver too old, no such device, a compute
// capability below 8.0. Makes the device current and creates its context.
DeviceProperties open_device(int device);

// Device memory of the current device. Throws no_resources, stating what is free.
Buffer device_memory(size_t bytes);

// Pinned host memory, which kernels can use in place. Throws no_resources.
Buffer pinned_memory(size_t bytes);

class Stream {
 public:
  explicit Stream(int device);  // makes the device current
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// For order among streams; it keeps no time.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

// Copies host memory to the device through pinned pieces, so that the host goes on while the
// device copies.
class Staging {
 public:
  explicit Staging(cudaStream_t stream);
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  void upload(void* to, std::span<const std::byte> from);

 private:
  static constexpr size_t piece_bytes = size_t{4} << 20;
  struct Piece {
    std::byte* data = nullptr;
    cudaEvent_t copied = nullptr;
  };
  void next_piece();

  cudaStream_t stream_;
  std::array<Piece, 2> pieces_{};
  size_t current_ = 0;
  size_t used_ = 0;  // of the current piece
};

}  // namespace nibble::cuda
