#include "ops/cpu/isa.h"

#include <cstdlib>
#include <string_view>

#include "core/dtype.h"
#include "core/error.h"

namespace nibble::cpu {
namespace {

static_assert(static_cast<int>(Element::f32) == static_cast<int>(DType::f32) &&
              static_cast<int>(Element::f16) == static_cast<int>(DType::f16) &&
              static_cast<int>(Element::bf16) == static_cast<int>(DType::bf16));

#if defined(NIBBLE_X86_KERNELS)
bool has_avx2() { return __builtin_cpu_supports("x86-64-v3"); }
bool has_avx512() { return __builtin_cpu_supports("x86-64-v4"); }
#endif

const Kernels& choose() {
  const char* variable = std::getenv("NIBBLE_ISA");
  const std::string_view forced = variable ? variable : "";
  const auto wanted = [&](std::string_view name, bool supported, bool preferred = true) {
    if (forced.empty()) return supported && preferred;
    if (forced != name) return false;
    if (!supported)
      fail(ErrorKind::usage, "NIBBLE_ISA={}: this processor does not have it; unset the variable",
           forced);
    return true;
  };
#if defined(NIBBLE_X86_KERNELS)
  if (wanted("avx512bf16", has_avx512() && __builtin_cpu_supports("avx512bf16"),
             __builtin_cpu_is("amd")))
    return avx512bf16::kernels;
  if (wanted("avx512", has_avx512())) return avx512::kernels;
  if (wanted("avx2", has_avx2())) return avx2::kernels;
#endif
  if (wanted("generic", true)) return generic::kernels;
  fail(ErrorKind::usage, "NIBBLE_ISA: got \"{}\", expected generic, avx2, avx512 or avx512bf16",
       forced);
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

bool cpu_has_bf16() {
#if defined(NIBBLE_X86_KERNELS)
  return has_avx512();
#else
  return false;
#endif
}

// Intel's cores run VDPBF16PS at half the rate of FMA (Emerald Rapids: 89 against 178 GFLOP/s per
// core): they are fast by AMX, or not at all. AMD's run it at the rate of FMA.
bool cpu_prefers_bf16() {
#if defined(NIBBLE_X86_KERNELS)
  return __builtin_cpu_supports("amx-bf16") ||
         (__builtin_cpu_supports("avx512bf16") && __builtin_cpu_is("amd"));
#else
  return false;
#endif
}

}  // namespace nibble::cpu
