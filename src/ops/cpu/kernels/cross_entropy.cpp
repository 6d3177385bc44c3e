// Softmax and loss of a row of logits that is seen in tiles, and the gradient of a tile.
#include "ops/cpu/kernels/declarations.h"
#include "ops/cpu/kernels/vec.h"

namespace nibble::cpu::NIBBLE_ISA {

void softmax_tile(Softmax* softmax, bool first, const float* logits, int64_t n, int64_t target) {
  F maxima = splat(-__builtin_inff());
  for_lanes(n, [&](int64_t i, int64_t part) {
    if (part == lanes) {
      maxima = max(maxima, load(logits + i));
    } else {
      for (int64_t j = 0; j < part; ++j)
        maxima[j] = maxima[j] > logits[i + j] ? maxima[j] : logits[i + j];
    }
  });
  const float before = first ? -__builtin_inff() : softmax->max;
  const float tile = maximum(maxima);
  const float largest = before > tile ? before : tile;
  F sums{};
  for_lanes(n, [&](int64_t i, int64_t part) {
    F e = exp(load_n(logits + i, part) - largest);
    for (int64_t j = part; j < lanes; ++j) e[j] = 0;
    sums += e;
  });
  const float earlier = first ? 0 : softmax->sum * exp(splat(before - largest))[0];
  softmax->max = largest;
  softmax->sum = earlier + sum(sums);
  if (0 <= target && target < n) softmax->target = logits[target];
}

// The tile becomes gradient * (softmax - one_hot) in T, written over itself: element i of T never
// reaches beyond float i, which has been read by then.
template <typename T>
void Rows<T>::softmax_gradient(float* logits, int64_t n, const Softmax& softmax, int64_t target,
                               float gradient) {
  const float scale = gradient / softmax.sum;
  T* d = reinterpret_cast<T*>(logits);
  const bool here = 0 <= target && target < n;
  const float at_target = here ? exp(splat(logits[target] - softmax.max))[0] * scale - gradient : 0;
  for_lanes(n, [&](int64_t i, int64_t part) {
    store_n(d + i, exp(load_n(logits + i, part) - softmax.max) * scale, part);
  });
  if (!here) return;
  F one{};
  one[0] = at_target;
  store_part(d + target, one, 1);
}

template struct Rows<float>;
template struct Rows<Bf16>;

}  // namespace nibble::cpu::NIBBLE_ISA
