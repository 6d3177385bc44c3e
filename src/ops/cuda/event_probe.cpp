#include "ops/cuda/event_probe.h"

#include "ops/cuda/check.h"

namespace nibble::cuda {

EventProbe::~EventProbe() {
  for (const Span& span : spans_) {
    (void)cudaEventDestroy(span.begin);
    if (span.end) (void)cudaEventDestroy(span.end);
  }
}

cudaEvent_t EventProbe::record() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event), "cudaEventCreate");
  check(cudaEventRecord(event, stream_), "cudaEventRecord");
  return event;
}

void EventProbe::begin(const char* name) {
  const std::string path = open_.empty() ? name : spans_[open_.back()].path + "/" + name;
  open_.push_back(spans_.size());
  spans_.push_back({path, record(), nullptr});
}

void EventProbe::end() {
  spans_[open_.back()].end = record();
  open_.pop_back();
}

std::map<std::string, double> EventProbe::milliseconds() {
  check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  std::map<std::string, double> sums;
  for (const Span& span : spans_) {
    float elapsed = 0;
    check(cudaEventElapsedTime(&elapsed, span.begin, span.end), "cudaEventElapsedTime");
    sums[span.path] += static_cast<double>(elapsed);
  }
  return sums;
}

}  // namespace nibble::cuda
