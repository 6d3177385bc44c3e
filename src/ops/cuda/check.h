// Every call of the CUDA libraries is checked; a failure throws no_resources when memory ran out,
// else io, naming the call and what the library says.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

namespace nibble::cuda {

void check(cudaError_t status, const char* call);
void check(cublasStatus_t status, const char* call);

// The launch of the kernels queued last.
inline void check_launch(const char* kernel) { check(cudaPeekAtLastError(), kernel); }

}  // namespace nibble::cuda
