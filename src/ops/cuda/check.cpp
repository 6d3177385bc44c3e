#include "ops/cuda/check.h"

#include "core/error.h"

namespace nibble::cuda {

void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  const ErrorKind kind =
      status == cudaErrorMemoryAllocation ? ErrorKind::no_resources : ErrorKind::io;
  fail(kind, "CUDA: {}: {} ({})", call, cudaGetErrorString(status), cudaGetErrorName(status));
}

void check(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const ErrorKind kind =
      status == CUBLAS_STATUS_ALLOC_FAILED ? ErrorKind::no_resources : ErrorKind::io;
  fail(kind, "cuBLASLt: {}: {}", call, cublasLtGetStatusString(status));
}

}  // namespace nibble::cuda
