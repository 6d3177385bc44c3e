#include "ops/cuda/far_copies.h"

#include <algorithm>

#include "ops/cuda/check.h"

namespace nibble::cuda {

FarCopies::FarCopies(cudaStream_t compute, int device)
    : compute_(compute), queues_{Queue(device), Queue(device)} {}

int64_t FarCopies::copy(Direction direction, void* y, const void* x, size_t bytes) {
  Queue& queue = queues_[direction];
  check(cudaEventRecord(ready_, compute_), "cudaEventRecord");
  check(cudaStreamWaitEvent(queue.stream, ready_, 0), "cudaStreamWaitEvent");
  check(cudaMemcpyAsync(y, x, bytes, cudaMemcpyDefault, queue.stream), "cudaMemcpyAsync");
  ++queue.copies;
  check(cudaEventRecord(queue.done[static_cast<size_t>(queue.copies % remembered)], queue.stream),
        "cudaEventRecord");
  return queue.copies;
}

void FarCopies::wait(Direction direction, int64_t number) {
  const Queue& queue = queues_[direction];
  const int64_t told = std::max(number, queue.copies - remembered + 1);
  check(cudaStreamWaitEvent(compute_, queue.done[static_cast<size_t>(told % remembered)], 0),
        "cudaStreamWaitEvent");
}

}  // namespace nibble::cuda
