// Copies between the device and pinned host memory, beside the computation: a stream for each
// direction, which waits for the computation, and which the computation waits for, by events.
#pragma once

#include <array>

#include "ops/cuda/device.h"

namespace nibble::cuda {

class FarCopies {
 public:
  FarCopies(cudaStream_t compute, int device);

  enum Direction : size_t { inward, outward };
  // Queues a copy that begins when what is queued on the compute stream has ended; its number.
  int64_t copy(Direction direction, void* y, const void* x, size_t bytes);
  // The compute stream goes on when that copy has ended.
  void wait(Direction direction, int64_t number);

 private:
  // Copies of a queue end in order: of older ones than these events a later one tells.
  static constexpr int64_t remembered = 64;
  struct Queue {
    explicit Queue(int device) : stream(device) {}
    Stream stream;
    std::array<Event, remembered> done;
    int64_t copies = 0;
  };
  cudaStream_t compute_;
  Event ready_;
  std::array<Queue, 2> queues_;
};

}  // namespace nibble::cuda
