// Gradient norm and the optimizer's updates.
#include <cmath>

#include "ops/cuda/check.h"
#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/scratch.h"
#include "quant/dynamic_map.h"

namespace nibble {

void CudaOps::do_sum_of_squares(Tensor y, Tensor x) {
  const Arena::Scope scope(arena());
  const Tensor partial = cuda::double_partials(arena(), cuda::sum_of_squares_partials(x.size()));
  cuda::sum_of_squares(y.as<float>(), static_cast<double*>(partial.data), x.as<float>(), x.size(),
                       cuda::sum_piece, stream_);
  cuda::check_launch("sum_of_squares");
}

void CudaOps::do_adamw(Tensor p, Tensor g, Tensor m, Tensor v, const AdamWOptions& options) {
  // Scalars in double, as Python has them, then rounded once.
  const double lr = options.learning_rate, beta1 = options.beta1, beta2 = options.beta2;
  const auto step = static_cast<double>(options.step);
  const cuda::AdamWStep constants = {
      .decay = static_cast<float>(1 - lr * options.weight_decay),
      .beta2 = static_cast<float>(options.beta2),
      .one_minus_beta1 = static_cast<float>(1 - beta1),
      .one_minus_beta2 = static_cast<float>(1 - beta2),
      .step_size = static_cast<float>(lr / (1 - std::pow(beta1, step))),
      .sqrt_correction2 = static_cast<float>(std::sqrt(1 - std::pow(beta2, step))),
      .epsilon = static_cast<float>(options.epsilon),
      .gradient_scale = options.gradient_scale};
  cuda::adamw(p.as<float>(), g.as<float>(), m.as<float>(), v.as<float>(), p.size(), constants,
              stream_);
  cuda::check_launch("adamw");
}

void CudaOps::do_adamw_8bit(Tensor p, Tensor g, const Adam8bitState& state,
                            const AdamWOptions& options) {
  const Arena::Scope scope(arena());
  const Tensor maps = cuda::moment_maps(arena());
  do_upload(maps.row_range(0, 1), std::as_bytes(std::span(dynamic_map_signed())));
  do_upload(maps.row_range(1, 1), std::as_bytes(std::span(dynamic_map_unsigned())));
  // bitsandbytes' kernel takes its betas as floats.
  const auto beta1 = static_cast<float>(options.beta1), beta2 = static_cast<float>(options.beta2);
  const double lr = options.learning_rate;
  const auto step = static_cast<double>(options.step);
  const double correction1 = 1 - std::pow(static_cast<double>(beta1), step);
  const double correction2 = std::sqrt(1 - std::pow(static_cast<double>(beta2), step));
  const cuda::Adam8bitStep constants = {
      .decay = static_cast<float>(1 - lr * options.weight_decay),
      .beta1 = beta1,
      .beta2 = beta2,
      .step_size = static_cast<float>(-lr * correction2 / correction1),
      .corrected_epsilon = static_cast<float>(correction2 * options.epsilon),
      .gradient_scale = options.gradient_scale,
      .signed_map = maps.as<float>(),
      .unsigned_map = maps.row_range(1, 1).as<float>()};
  cuda::adamw_8bit(p.as<float>(), g.as<float>(), state.m_codes.as<uint8_t>(),
                   state.v_codes.as<uint8_t>(), state.m_absmax.as<float>(),
                   state.v_absmax.as<float>(), p.size(), constants, stream_);
  cuda::check_launch("adamw_8bit");
}

}  // namespace nibble
