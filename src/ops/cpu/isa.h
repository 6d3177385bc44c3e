// Which instruction set the kernels run with, decided once per process.
//
// NIBBLE_ISA=generic|avx2|avx512|avx512bf16 in the environment forces one; a set that the processor
// lacks is an error. oneDNN decides for itself.
#pragma once

#include "ops/cpu/kernels/kernels.h"

namespace nibble::cpu {

// The kernels of the best instruction set, or of the forced one. Throws ErrorKind::usage.
const Kernels& kernels();

// True if the CPU backend computes in bfloat16 here at all: oneDNN's products need AVX-512.
bool cpu_has_bf16();

// True if the processor multiplies bfloat16 faster than float32; if not, float32 is the faster
// compute dtype, and bfloat16 the smaller one.
bool cpu_prefers_bf16();

}  // namespace nibble::cpu
