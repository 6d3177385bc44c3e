// Work on a stream that comes again: recorded as a CUDA graph, and queued as a whole from then on.
// A step of a few thousand tokens on a small model is thousands of short kernels, which a host
// queues more slowly one by one than the device computes them.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>

#include "ops/ops.h"

namespace nibble::cuda {

class Recording {
 public:
  explicit Recording(cudaStream_t stream) : stream_(stream) {}
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  // Does `work`, or what it queued before under this key. The first key that comes twice in a row
  // is recorded the second time, when libraries have loaded their kernels; there is one recording,
  // since it takes memory of the device, which the plan counts.
  void run(const Ops::Key& key, const std::function<void()>& work);

 private:
  void record(const std::function<void()>& work);

  cudaStream_t stream_;
  Ops::Key key_;  // of what is recorded; before, of what came last
  cudaGraphExec_t graph_ = nullptr;
};

}  // namespace nibble::cuda
