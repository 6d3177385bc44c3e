#include "ops/cuda/recording.h"

#include "ops/cuda/check.h"

namespace nibble::cuda {

Recording::~Recording() {
  if (!graph_) return;
  (void)cudaStreamSynchronize(stream_);
  (void)cudaGraphExecDestroy(graph_);
}

void Recording::record(const std::function<void()>& work) {
  cudaGraph_t graph = nullptr;
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal),
        "cudaStreamBeginCapture");
  try {
    work();
  } catch (...) {
    (void)cudaStreamEndCapture(stream_, &graph);
    if (graph) (void)cudaGraphDestroy(graph);
    throw;
  }
  check(cudaStreamEndCapture(stream_, &graph), "cudaStreamEndCapture");
  const cudaError_t status = cudaGraphInstantiate(&graph_, graph, 0);
  (void)cudaGraphDestroy(graph);
  check(status, "cudaGraphInstantiate");
}

void Recording::run(const Ops::Key& key, const std::function<void()>& work) {
  if (key != key_) {
    if (!graph_) key_ = key;
    return work();
  }
  if (!graph_) record(work);
  check(cudaGraphLaunch(graph_, stream_), "cudaGraphLaunch");
}

}  // namespace nibble::cuda
