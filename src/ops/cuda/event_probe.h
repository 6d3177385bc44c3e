// A probe that times spans on a stream by CUDA events.
#pragma once

#include <cuda_runtime_api.h>

#include <map>
#include <string>
#include <vector>

#include "ops/ops.h"

namespace nibble::cuda {

class EventProbe final : public Probe {
 public:
  explicit EventProbe(cudaStream_t stream) : stream_(stream) {}
  ~EventProbe() override;

  void begin(const char* name) override;
  void end() override;

  // Waits for the stream. Milliseconds of all spans by their path, "operation/part".
  std::map<std::string, double> milliseconds();

 private:
  struct Span {
    std::string path;
    cudaEvent_t begin, end;
  };
  cudaEvent_t record();

  cudaStream_t stream_;
  std::vector<Span> spans_;
  std::vector<size_t> open_;
};

}  // namespace nibble::cuda
