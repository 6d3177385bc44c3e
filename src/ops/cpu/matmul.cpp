#include "ops/cpu/matmul.h"

#include <omp.h>

#include <array>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "core/error.h"

namespace nibble::cpu {
namespace {

// Everything a primitive depends on.
struct Key {
  std::array<int64_t, 6> sizes;  // m, n, k, strides of a, b, c
  std::array<DType, 2> types;    // of a and b, of c
  bool a_transposed, b_transposed, accumulate, bias;
  size_t workspace;
  bool operator==(const Key&) const = default;
};

struct KeyHash {
  size_t operator()(const Key& key) const {
    uint64_t h = key.workspace;
    const auto mix = [&h](uint64_t x) {
      h = (h ^ x) * 0x9E3779B97F4A7C15u;
      h ^= h >> 29;
    };
    for (const int64_t size : key.sizes) mix(static_cast<uint64_t>(size));
    mix(static_cast<uint64_t>(key.types[0]) << 8 | static_cast<uint64_t>(key.types[1]));
    mix(uint64_t{key.a_transposed} << 3 | uint64_t{key.b_transposed} << 2 |
        uint64_t{key.accumulate} << 1 | uint64_t{key.bias});
    return h;
  }
};

dnnl::memory::data_type dnnl_type(DType type) {
  return type == DType::bf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

dnnl::memory::desc describe(int64_t rows, int64_t cols, int64_t stride, bool transposed,
                            DType type) {
  return {{rows, cols},
          dnnl_type(type),
          transposed ? dnnl::memory::dims{1, stride} : dnnl::memory::dims{stride, 1}};
}

struct Product {
  dnnl::matmul::primitive_desc description;
  dnnl::matmul primitive;
};

}  // namespace

struct Matmul::Cache {
  // Shapes differ from batch to batch only in their number of tokens.
  static constexpr size_t capacity = 2048;

  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  // Empty: no implementation fits the workspace, and the product must be split.
  std::unordered_map<Key, std::optional<Product>, KeyHash> products;

  const std::optional<Product>& find(const Key& key);
  std::optional<Product> make(const Key& key);
};

const std::optional<Product>& Matmul::Cache::find(const Key& key) {
  const auto found = products.find(key);
  if (found != products.end()) return found->second;
  if (products.size() >= capacity) products.clear();
  return products.emplace(key, make(key)).first->second;
}

std::optional<Product> Matmul::Cache::make(const Key& key) {
  const auto [m, n, k, a_stride, b_stride, c_stride] = key.sizes;
  const auto a = describe(m, k, a_stride, key.a_transposed, key.types[0]);
  const auto b = describe(k, n, b_stride, key.b_transposed, key.types[0]);
  const auto c = describe(m, n, c_stride, false, key.types[1]);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (key.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
  const auto operation = key.bias
                             ? dnnl::matmul::desc(a, b, describe(1, n, n, false, key.types[1]), c)
                             : dnnl::matmul::desc(a, b, c);
  dnnl::matmul::primitive_desc candidate(operation, attributes, engine, true);
  if (!candidate)
    fail(ErrorKind::usage,
         "compute dtype {}: oneDNN cannot multiply it on this processor; use float32",
         name_of(key.types[0]));
  do {
    // The reference implementation fits anywhere and is useless for all but the smallest products.
    const bool reference = std::string_view(candidate.impl_info_str()).starts_with("ref");
    if (candidate.scratchpad_desc().get_size() <= key.workspace && (!reference || m == 1))
      return Product{candidate, dnnl::matmul(candidate)};
  } while (candidate.next_impl());
  return std::nullopt;
}

Matmul::Matmul(int threads) : threads_(threads), cache_(std::make_unique<Cache>()) {}
Matmul::~Matmul() = default;

void Matmul::run(Tensor c, bool accumulate, MatmulOperand a, MatmulOperand b, Tensor bias,
                 Tensor workspace) {
  const int64_t m = c.rows, n = c.cols, k = a.cols();
  if (m == 0 || n == 0) return;
  // oneDNN reads the number of threads from OpenMP, which keeps one per calling thread.
  if (omp_get_max_threads() != threads_) omp_set_num_threads(threads_);
  const Key key = {{m, n, k, a.tensor.stride, b.tensor.stride, c.stride},
                   {a.tensor.dtype, c.dtype},
                   a.transposed,
                   b.transposed,
                   accumulate,
                   static_cast<bool>(bias),
                   static_cast<size_t>(workspace.bytes())};
  const std::optional<Product>& product = cache_->find(key);
  if (!product) {
    const int64_t half = m > 128 ? m / 2 / 64 * 64 : m / 2;
    const auto part = [&](int64_t begin, int64_t count) {
      MatmulOperand rows = a;
      rows.tensor =
          a.transposed ? a.tensor.columns(begin, count) : a.tensor.row_range(begin, count);
      run(c.row_range(begin, count), accumulate, rows, b, bias, workspace);
    };
    part(0, half);
    part(half, m - half);
    return;
  }
  const auto& description = product->description;
  auto& engine = cache_->engine;
  std::unordered_map<int, dnnl::memory> arguments = {
      {DNNL_ARG_SRC, {description.src_desc(), engine, a.tensor.data}},
      {DNNL_ARG_WEIGHTS, {description.weights_desc(), engine, b.tensor.data}},
      {DNNL_ARG_DST, {description.dst_desc(), engine, c.data}},
      {DNNL_ARG_SCRATCHPAD, {description.scratchpad_desc(), engine, workspace.data}}};
  if (bias) arguments[DNNL_ARG_BIAS] = {description.bias_desc(), engine, bias.data};
  product->primitive.execute(cache_->stream, arguments);
  cache_->stream.wait();
}

}  // namespace nibble::cpu
