// Gradient norm and the optimizer's updates.
#include <algorithm>
#include <cmath>

#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/scratch.h"
#include "quant/dynamic_map.h"

namespace nibble {

void CpuOps::do_sum_of_squares(Tensor y, Tensor x) {
  const Arena::Scope scope(arena());
  const Tensor partial = cpu::partial_sums(arena(), x.size());
  auto* sums = reinterpret_cast<double*>(partial.as<float>());
  const float* values = x.as<float>();
  const int64_t pieces = (x.size() + cpu::sum_piece - 1) / cpu::sum_piece;
  cpu::parallel_ranges(threads_, pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      sums[i] = kernels_.sum_of_squares(values + i * cpu::sum_piece,
                                        std::min(cpu::sum_piece, x.size() - i * cpu::sum_piece));
  });
  double sum = 0;
  for (int64_t i = 0; i < pieces; ++i) sum += sums[i];
  *y.as<float>() = static_cast<float>(sum);
}

void CpuOps::do_adamw(Tensor p, Tensor g, Tensor m, Tensor v, const AdamWOptions& options) {
  // Scalars in double, as Python has them, then rounded once.
  const double lr = options.learning_rate, beta1 = options.beta1, beta2 = options.beta2;
  const auto step = static_cast<double>(options.step);
  const cpu::AdamWStep constants = {
      .decay = static_cast<float>(1 - lr * options.weight_decay),
      .beta2 = static_cast<float>(options.beta2),
      .one_minus_beta1 = static_cast<float>(1 - beta1),
      .one_minus_beta2 = static_cast<float>(1 - beta2),
      .step_size = static_cast<float>(lr / (1 - std::pow(beta1, step))),
      .sqrt_correction2 = static_cast<float>(std::sqrt(1 - std::pow(beta2, step))),
      .epsilon = static_cast<float>(options.epsilon),
      .gradient_scale = options.gradient_scale};
  float *parameter = p.as<float>(), *first = m.as<float>(), *second = v.as<float>();
  const float* gradient = g.as<float>();
  cpu::parallel_ranges(threads_, p.size(), 4096, [&](int64_t begin, int64_t end) {
    kernels_.adamw(parameter + begin, gradient + begin, first + begin, second + begin, end - begin,
                   constants);
  });
}

void CpuOps::do_adamw_8bit(Tensor p, Tensor g, const Adam8bitState& state,
                           const AdamWOptions& options) {
  // bitsandbytes' kernel takes its betas as floats.
  const auto beta1 = static_cast<float>(options.beta1), beta2 = static_cast<float>(options.beta2);
  const double lr = options.learning_rate;
  const auto step = static_cast<double>(options.step);
  const double correction1 = 1 - std::pow(static_cast<double>(beta1), step);
  const double correction2 = std::sqrt(1 - std::pow(static_cast<double>(beta2), step));
  const cpu::Adam8bitStep constants = {
      .decay = static_cast<float>(1 - lr * options.weight_decay),
      .beta1 = beta1,
      .beta2 = beta2,
      .step_size = static_cast<float>(-lr * correction2 / correction1),
      .corrected_epsilon = static_cast<float>(correction2 * options.epsilon),
      .gradient_scale = options.gradient_scale,
      .signed_map = dynamic_map_signed().data(),
      .unsigned_map = dynamic_map_unsigned().data()};
  float* parameter = p.as<float>();
  const float* gradient = g.as<float>();
  auto *m_codes = state.m_codes.as<uint8_t>(), *v_codes = state.v_codes.as<uint8_t>();
  auto *m_absmax = state.m_absmax.as<float>(), *v_absmax = state.v_absmax.as<float>();
  constexpr int64_t block = 256;
  const int64_t n = p.size();
  cpu::parallel_ranges(threads_, state.m_absmax.size(), 16, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t i = b * block;
      kernels_.adamw_8bit(parameter + i, gradient + i, m_codes + i, v_codes + i, m_absmax + b,
                          v_absmax + b, std::min(block, n - i), constants);
    }
  });
}

}  // namespace nibble
