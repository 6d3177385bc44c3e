// The optimizer's updates.
#include "ops/cpu/kernels/declarations.h"
#include "ops/cpu/kernels/dynamic_code.h"
#include "ops/cpu/kernels/vec.h"

namespace nibble::cpu::NIBBLE_ISA {

double sum_of_squares(const float* x, int64_t n) {
  constexpr int64_t width = 16;
  double sums[width] = {};
  int64_t i = 0;
  for (; i + width <= n; i += width)
    for (int j = 0; j < width; ++j) sums[j] += double(x[i + j]) * double(x[i + j]);
  for (int j = 0; i + j < n; ++j) sums[j] += double(x[i + j]) * double(x[i + j]);
  for (int step = 8; step > 0; step /= 2)
    for (int j = 0; j < step; ++j) sums[j] += sums[j + step];
  return sums[0];
}

// torch.optim.AdamW (torch/optim/adamw.py, single tensor), operation by operation.
void adamw(float* __restrict p, const float* __restrict g, float* __restrict m, float* __restrict v,
           int64_t n, const AdamWStep& step) {
  const AdamWStep s = step;
  for (int64_t i = 0; i < n; ++i) {
    const float gradient = g[i] * s.gradient_scale;
    const float first = m[i] + s.one_minus_beta1 * (gradient - m[i]);
    const float second = v[i] * s.beta2 + s.one_minus_beta2 * gradient * gradient;
    m[i] = first;
    v[i] = second;
    const float denominator = __builtin_sqrtf(second) / s.sqrt_correction2 + s.epsilon;
    p[i] = p[i] * s.decay - s.step_size * (first / denominator);
  }
}

// bitsandbytes' kOptimizerStatic8bit2StateBlockwise (docs/numerics.md, "Optimizer").
void adamw_8bit(float* p, const float* g, uint8_t* m_codes, uint8_t* v_codes, float* m_absmax,
                float* v_absmax, int64_t n, const Adam8bitStep& step) {
  const Adam8bitStep s = step;
  constexpr int64_t block = 256;
  float m[block], v[block];
  F m_maxima{}, v_maxima{};
  for_lanes(n, [&](int64_t i, int64_t part) {
    const F g_raw = load_n(g + i, part);
    const I finite = abs(g_raw) < __builtin_inff();
    const F gradient = g_raw * s.gradient_scale;
    F first = look_up(s.signed_map, load_codes(m_codes + i, part)) * *m_absmax;
    F second = look_up(s.unsigned_map, load_codes(v_codes + i, part)) * *v_absmax;
    first = first * s.beta1 + (1.0f - s.beta1) * gradient;
    second = second * s.beta2 + (1.0f - s.beta2) * gradient * gradient;
    const F old = load_n(p + i, part);
    const F updated =
        (old + s.step_size * (first / (sqrt(second) + s.corrected_epsilon))) * s.decay;
    store_n(p + i, finite ? updated : old, part);
    first = finite ? first : F{};
    second = finite ? second : F{};
    // Lanes beyond a short block hold decayed code 0, which is not theirs to count.
    for (int64_t j = part; j < lanes; ++j) first[j] = second[j] = 0;
    store_n(m + i, first, part);
    store_n(v + i, second, part);
    m_maxima = max(abs(first), m_maxima);
    v_maxima = max(second, v_maxima);
  });
  *m_absmax = maximum(m_maxima);
  *v_absmax = maximum(v_maxima);
  for_lanes(n, [&](int64_t i, int64_t part) {
    const F first = load_n(m + i, part);
    I code = dynamic_codes(first / *m_absmax, s.signed_map);
    // A moment never changes its sign by rounding.
    const I flipped = ((I)look_up(s.signed_map, code) ^ (I)first) < 0;
    code += flipped & (first > 0.0f ? I{} + 1 : I{} - 1);
    store_codes(m_codes + i, code, part);
    store_codes(v_codes + i, dynamic_codes(load_n(v + i, part) / *v_absmax, s.unsigned_map), part);
  });
}

}  // namespace nibble::cpu::NIBBLE_ISA
