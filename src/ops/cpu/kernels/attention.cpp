// Tiles of causal softmax attention and its backward (Dao 2023, "FlashAttention-2").
//
// In the two passes over query tiles the queries lie along the lanes: scores are kept transposed,
// S' = K Q', so that maxima and sums run down columns and need no shuffles. In the pass over key
// tiles the keys lie along the lanes. Sums are float32; with AVX512_BF16 and the compute dtype
// bfloat16 the factors of every product, P and dS among them, are bfloat16.
#include "ops/cpu/kernels/attention_pack.h"
#include "ops/cpu/kernels/declarations.h"

namespace nibble::cpu::NIBBLE_ISA {
namespace {

constexpr int64_t tile_size = attention_tile;
constexpr float minus_infinity = -__builtin_inff();

struct Scratch {
  explicit Scratch(float* p) : next(p) {}
  template <typename Word>
  Word* take(int64_t n) {
    Word* p = reinterpret_cast<Word*>(next);
    next += n;
    return p;
  }
  float* next;
};

// x[r][c] = scale * y[c][r], times scales[r] if given.
template <typename T>
void store_transposed(T* x, int64_t stride, const float* y, int64_t rows, int64_t cols,
                      const float* scales, float scale) {
  for (int64_t c = 0; c < cols; c += lanes)
    for (int64_t r = 0; r < rows; r += lanes) {
      F block[lanes];
      for (int64_t i = 0; i < lanes; ++i)
        block[i] = c + i < cols ? load(y + (c + i) * tile_size + r) : F{};
      transpose(block);
      for (int64_t i = 0; i < least(lanes, rows - r); ++i)
        store_n(x + (r + i) * stride + c, block[i] * (scales ? scales[r + i] : scale),
                least(lanes, cols - c));
    }
}

template <typename T>
void store_rows(T* x, int64_t stride, const float* y, int64_t padded, int64_t rows, int64_t cols,
                float scale) {
  for (int64_t r = 0; r < rows; ++r)
    for_lanes(cols, [&](int64_t c, int64_t part) {
      store_n(x + r * stride + c, load(y + r * padded + c) * scale, part);
    });
}

inline F lane_numbers() {
  F v;
  for (int i = 0; i < lanes; ++i) v[i] = float(i);
  return v;
}

// A key is visible at distances query - key in [0, window).
struct Mask {
  int64_t window;  // "none" is a window longer than any document
  explicit Mask(const AttentionTile& t) : window(t.window > 0 ? t.window : int64_t{1} << 30) {}
  bool all_visible(int64_t first_query, int64_t queries, int64_t first_key, int64_t keys) const {
    return first_key + keys - 1 <= first_query && first_query + queries - 1 - first_key < window;
  }
  // Minus infinity where the lane's distance hides the key.
  F apply(F x, F distance) const {
    const I visible = (distance >= 0.0f) & (distance < float(window));
    return visible ? x : splat(minus_infinity);
  }
};

template <typename T>
TileView<T> view(const void* data, int64_t stride, int64_t first, int64_t rows, int64_t cols) {
  return {static_cast<const T*>(data) + first * stride, stride, rows, cols};
}

// The key tiles that a query tile sees.
struct KeyRange {
  int64_t begin, end;
  KeyRange(const AttentionTile& t, const Mask& mask)
      : begin(most(0, t.first_position - mask.window + 1) / tile_size * tile_size),
        end(least(t.keys, t.first_position + t.queries)) {}
};

}  // namespace

template <typename T>
void Attention<T>::forward(const AttentionTile& t) {
  using Pack = Packing<T>;
  using Word = typename Pack::Word;
  constexpr int64_t pair = Pack::pair;
  const int64_t d = t.head_dim, padded = round_up(d, lanes), words = round_up(d, pair) / pair;
  const int64_t width = round_up(t.queries, lanes);
  const Mask mask(t);
  Scratch scratch(t.scratch);
  Word* q = scratch.take<Word>(padded * tile_size);       // transposed
  Word* k = scratch.take<Word>(padded * tile_size);       // words along channels
  Word* v = scratch.take<Word>(padded * tile_size);       // words along keys
  float* out = scratch.take<float>(padded * tile_size);   // [d, queries]
  float* s = scratch.take<float>(tile_size * tile_size);  // [keys, queries]
  Word* p = pair == 2 ? scratch.take<Word>(tile_size * tile_size) : reinterpret_cast<Word*>(s);
  float* largest = scratch.take<float>(tile_size);
  float* total = scratch.take<float>(tile_size);

  Pack::pack_transposed(q, view<T>(t.q, t.q_stride, 0, t.queries, d));
  for (int64_t i = 0; i < d * tile_size; ++i) out[i] = 0;
  for (int64_t i = 0; i < tile_size; ++i) largest[i] = minus_infinity, total[i] = 0;

  const KeyRange range(t, mask);
  for (int64_t key = range.begin; key < range.end; key += tile_size) {
    const int64_t keys = least(tile_size, range.end - key);
    Pack::pack_channels(k, padded, view<T>(t.k, t.k_stride, key, keys, d));
    Pack::pack_tokens(v, padded, view<T>(t.v, t.v_stride, key, keys, d));
    tile_product<false>(
        TileProduct<Word>{s, tile_size, k, padded, 1, q, tile_size, keys, width, words});

    const bool whole = mask.all_visible(t.first_position, t.queries, key, keys);
    for (int64_t j = 0; j < width; j += lanes) {
      const F position = lane_numbers() + float(t.first_position + j - key);
      if (!whole)
        for (int64_t i = 0; i < keys; ++i)
          store(s + i * tile_size + j,
                mask.apply(load(s + i * tile_size + j), position - float(i)));
      F maxima[4];  // several, as each waits for its predecessor
      for (F& m : maxima) m = splat(minus_infinity);
      int64_t row = 0;
      for (; row + 4 <= keys; row += 4)
        for (int64_t i = 0; i < 4; ++i)
          maxima[i] = max(maxima[i], load(s + (row + i) * tile_size + j));
      for (; row < keys; ++row) maxima[0] = max(maxima[0], load(s + row * tile_size + j));
      const F before = load(largest + j);
      const F m = max(before, max(max(maxima[0], maxima[1]), max(maxima[2], maxima[3])) * t.scale);
      store(largest + j, m);
      const F shift = m == minus_infinity ? F{} : m;  // no key seen yet: everything stays zero
      const F decay = exp(before - shift);
      const auto probability = [&](int64_t i) {
        return exp(multiply_add(load(s + i * tile_size + j), splat(t.scale), -shift));
      };
      F sums = load(total + j) * decay;
      for (int64_t i = 0; i < keys; i += pair) {
        const F first = probability(i);
        const F second = pair == 2 && i + 1 < keys ? probability(i + 1) : F{};
        sums += first + second;
        Pack::store_words(p + i / pair * tile_size + j, first, second);
      }
      store(total + j, sums);
      for (int64_t c = 0; c < d; ++c)
        store(out + c * tile_size + j, load(out + c * tile_size + j) * decay);
    }
    tile_product<true>(TileProduct<Word>{out, tile_size, v, 1, padded, p, tile_size, d, width,
                                         round_up(keys, pair) / pair});
  }

  for (int64_t i = 0; i < t.queries; ++i) {
    t.lse[i * t.stat_stride] = largest[i] + __builtin_logf(total[i]);
    total[i] = 1.0f / total[i];
  }
  store_transposed(static_cast<T*>(t.out), t.out_stride, out, t.queries, d, total, 1.0f);
}

// dS = P * (dP - delta), dQ = scale * dS K.
template <typename T>
void Attention<T>::backward_queries(const AttentionTile& t) {
  using Pack = Packing<T>;
  using Word = typename Pack::Word;
  constexpr int64_t pair = Pack::pair;
  const int64_t d = t.head_dim, padded = round_up(d, lanes), words = round_up(d, pair) / pair;
  const int64_t width = round_up(t.queries, lanes);
  const Mask mask(t);
  Scratch scratch(t.scratch);
  Word* q = scratch.take<Word>(padded * tile_size);                         // transposed
  Word* dout = scratch.take<Word>(padded * tile_size);                      // transposed
  Word* k = scratch.take<Word>(padded * tile_size);                         // words along channels
  Word* v = scratch.take<Word>(padded * tile_size);                         // words along channels
  Word* k_tokens = pair == 2 ? scratch.take<Word>(padded * tile_size) : k;  // words along keys
  float* dq = scratch.take<float>(padded * tile_size);                      // [d, queries]
  float* s = scratch.take<float>(tile_size * tile_size);                    // [keys, queries]
  float* dp = scratch.take<float>(tile_size * tile_size);                   // [keys, queries]
  Word* ds = pair == 2 ? scratch.take<Word>(tile_size * tile_size) : reinterpret_cast<Word*>(s);
  float* lse = scratch.take<float>(tile_size);
  float* delta = scratch.take<float>(tile_size);

  Pack::pack_transposed(q, view<T>(t.q, t.q_stride, 0, t.queries, d));
  Pack::pack_transposed(dout, view<T>(t.dout, t.dout_stride, 0, t.queries, d));
  for (int64_t i = 0; i < d * tile_size; ++i) dq[i] = 0;
  for (int64_t i = 0; i < tile_size; ++i) {
    lse[i] = i < t.queries ? t.lse[i * t.stat_stride] : 0;
    delta[i] = i < t.queries ? t.delta[i * t.stat_stride] : 0;
  }

  const KeyRange range(t, mask);
  for (int64_t key = range.begin; key < range.end; key += tile_size) {
    const int64_t keys = least(tile_size, range.end - key);
    const auto k_view = view<T>(t.k, t.k_stride, key, keys, d);
    Pack::pack_channels(k, padded, k_view);
    Pack::pack_channels(v, padded, view<T>(t.v, t.v_stride, key, keys, d));
    if (pair == 2) Pack::pack_tokens(k_tokens, padded, k_view);
    tile_product<false>(
        TileProduct<Word>{s, tile_size, k, padded, 1, q, tile_size, keys, width, words});
    tile_product<false>(
        TileProduct<Word>{dp, tile_size, v, padded, 1, dout, tile_size, keys, width, words});

    const bool whole = mask.all_visible(t.first_position, t.queries, key, keys);
    for (int64_t j = 0; j < width; j += lanes) {
      const F position = lane_numbers() + float(t.first_position + j - key);
      const F l = load(lse + j), dl = load(delta + j);
      const auto gradient = [&](int64_t i) {
        F x = load(s + i * tile_size + j) * t.scale - l;
        if (!whole) x = mask.apply(x, position - float(i));
        return exp(x) * (load(dp + i * tile_size + j) - dl);
      };
      for (int64_t i = 0; i < keys; i += pair)
        Pack::store_words(ds + i / pair * tile_size + j, gradient(i),
                          pair == 2 && i + 1 < keys ? gradient(i + 1) : F{});
    }
    tile_product<true>(TileProduct<Word>{dq, tile_size, k_tokens, 1, padded, ds, tile_size, d,
                                         width, round_up(keys, pair) / pair});
  }
  store_transposed(static_cast<T*>(t.dq), t.dq_stride, dq, t.queries, d, nullptr, t.scale);
}

// dV = P' dO, dK = scale * dS' Q, over the query heads that share these keys.
template <typename T>
void Attention<T>::backward_keys(const AttentionTile& t) {
  using Pack = Packing<T>;
  using Word = typename Pack::Word;
  constexpr int64_t pair = Pack::pair;
  const int64_t d = t.head_dim, padded = round_up(d, lanes), words = round_up(d, pair) / pair;
  const int64_t keys = t.key_count;
  const int64_t width = round_up(keys, lanes);
  const Mask mask(t);
  Scratch scratch(t.scratch);
  Word* k = scratch.take<Word>(padded * tile_size);     // transposed
  Word* v = scratch.take<Word>(padded * tile_size);     // transposed
  float* dk = scratch.take<float>(padded * tile_size);  // [keys, d]
  float* dv = scratch.take<float>(padded * tile_size);  // [keys, d]
  Word* q = scratch.take<Word>(padded * tile_size);     // words along channels
  Word* dout = scratch.take<Word>(padded * tile_size);  // words along channels
  Word* q_tokens = pair == 2 ? scratch.take<Word>(padded * tile_size) : q;
  Word* dout_tokens = pair == 2 ? scratch.take<Word>(padded * tile_size) : dout;
  float* s = scratch.take<float>(tile_size * tile_size);   // [queries, keys]
  float* dp = scratch.take<float>(tile_size * tile_size);  // [queries, keys]
  Word* p = pair == 2 ? scratch.take<Word>(tile_size * tile_size) : reinterpret_cast<Word*>(s);
  Word* ds = pair == 2 ? scratch.take<Word>(tile_size * tile_size) : reinterpret_cast<Word*>(dp);

  Pack::pack_transposed(k, view<T>(t.k, t.k_stride, t.key_begin, keys, d));
  Pack::pack_transposed(v, view<T>(t.v, t.v_stride, t.key_begin, keys, d));
  for (int64_t i = 0; i < tile_size * padded; ++i) dk[i] = dv[i] = 0;

  // Query i stands at first_position + i; the tile is seen from key_begin on, for a window.
  const int64_t first_query = most(0, t.key_begin - t.first_position);
  const int64_t last_query =
      least(t.queries, t.key_begin + keys - 1 + mask.window - t.first_position);
  for (int64_t head = 0; head < t.group; ++head)
    for (int64_t query = first_query; query < last_query; query += tile_size) {
      const int64_t queries = least(tile_size, last_query - query);
      const int64_t first = t.first_position + query;
      auto q_view = view<T>(t.q, t.q_stride, query, queries, d);
      auto dout_view = view<T>(t.dout, t.dout_stride, query, queries, d);
      q_view.data += head * d;
      dout_view.data += head * d;
      Pack::pack_channels(q, padded, q_view);
      Pack::pack_channels(dout, padded, dout_view);
      if (pair == 2) {
        Pack::pack_tokens(q_tokens, padded, q_view);
        Pack::pack_tokens(dout_tokens, padded, dout_view);
      }
      tile_product<false>(
          TileProduct<Word>{s, tile_size, q, padded, 1, k, tile_size, queries, width, words});
      tile_product<false>(
          TileProduct<Word>{dp, tile_size, dout, padded, 1, v, tile_size, queries, width, words});

      const bool whole = mask.all_visible(first, queries, t.key_begin, keys);
      const auto probability = [&](int64_t i, int64_t j) {
        F x = load(s + i * tile_size + j) * t.scale - t.lse[(query + i) * t.stat_stride + head];
        if (!whole) x = mask.apply(x, float(first + i - t.key_begin - j) - lane_numbers());
        return exp(x);
      };
      const auto difference = [&](int64_t i, int64_t j) {
        return load(dp + i * tile_size + j) - t.delta[(query + i) * t.stat_stride + head];
      };
      for (int64_t i = 0; i < queries; i += pair)
        for (int64_t j = 0; j < width; j += lanes) {
          const F p0 = probability(i, j), ds0 = p0 * difference(i, j);
          F p1{}, ds1{};
          if (pair == 2 && i + 1 < queries) {
            p1 = probability(i + 1, j);
            ds1 = p1 * difference(i + 1, j);
          }
          Pack::store_words(p + i / pair * tile_size + j, p0, p1);
          Pack::store_words(ds + i / pair * tile_size + j, ds0, ds1);
        }
      const int64_t query_words = round_up(queries, pair) / pair;
      tile_product<true>(TileProduct<Word>{dv, padded, p, 1, tile_size, dout_tokens, padded, keys,
                                           padded, query_words});
      tile_product<true>(TileProduct<Word>{dk, padded, ds, 1, tile_size, q_tokens, padded, keys,
                                           padded, query_words});
    }
  store_rows(static_cast<T*>(t.dk) + t.key_begin * t.dk_stride, t.dk_stride, dk, padded, keys, d,
             t.scale);
  store_rows(static_cast<T*>(t.dv) + t.key_begin * t.dv_stride, t.dv_stride, dv, padded, keys, d,
             1.0f);
}

template struct Attention<float>;
template struct Attention<Bf16>;

}  // namespace nibble::cpu::NIBBLE_ISA
