// Loss and gradient of one row of logits.
#include "ops/cpu/kernels/declarations.h"
#include "ops/cpu/kernels/vec.h"

namespace nibble::cpu::NIBBLE_ISA {

// Returns log(sum exp(logits)) - logits[label]; the row becomes gradient * (softmax - one_hot) in
// T, written over itself: element i of T never reaches beyond float i, which has been read by then.
template <typename T>
float Rows<T>::cross_entropy(float* logits, int64_t n, int64_t label, float gradient) {
  F maxima = splat(-__builtin_inff());
  for_lanes(n, [&](int64_t i, int64_t part) {
    if (part == lanes) {
      maxima = max(maxima, load(logits + i));
    } else {
      for (int64_t j = 0; j < part; ++j)
        maxima[j] = maxima[j] > logits[i + j] ? maxima[j] : logits[i + j];
    }
  });
  const float largest = maximum(maxima);
  const float target = logits[label];
  F sums{};
  for_lanes(n, [&](int64_t i, int64_t part) {
    const F e = exp(load_n(logits + i, part) - largest);
    store_n(logits + i, e, part);
    sums += part == lanes ? e : load_part(logits + i, part);
  });
  const float total = sum(sums);
  const float scale = gradient / total;
  T* d = reinterpret_cast<T*>(logits);
  const float at_label = logits[label] * scale - gradient;
  for_lanes(
      n, [&](int64_t i, int64_t part) { store_n(d + i, load_n(logits + i, part) * scale, part); });
  F one{};
  one[0] = at_label;
  store_part(d + label, one, 1);
  return __builtin_logf(total) - (target - largest);
}

template struct Rows<float>;
template struct Rows<Bf16>;

}  // namespace nibble::cpu::NIBBLE_ISA
