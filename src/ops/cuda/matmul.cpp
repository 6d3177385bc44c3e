#include "ops/cuda/matmul.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "core/error.h"
#include "ops/cuda/check.h"

namespace nibble::cuda {
namespace {

// Everything an algorithm depends on.
struct Key {
  std::array<int64_t, 7> sizes;        // m, n, k, strides of a, b, c, d
  std::array<uint32_t, 4> alignments;  // bytes, of a, b, c, d
  std::array<DType, 2> types;          // of a and b, of d
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
    for (const uint32_t alignment : key.alignments) mix(alignment);
    mix(static_cast<uint64_t>(key.types[0]) << 8 | static_cast<uint64_t>(key.types[1]));
    mix(uint64_t{key.a_transposed} << 3 | uint64_t{key.b_transposed} << 2 |
        uint64_t{key.accumulate} << 1 | uint64_t{key.bias});
    return h;
  }
};

cudaDataType_t cuda_type(DType type) {
  switch (type) {
    case DType::bf16:
      return CUDA_R_16BF;
    case DType::f16:
      return CUDA_R_16F;
    default:
      return CUDA_R_32F;
  }
}

// The largest power of two up to 256 that divides the address.
uint32_t alignment_of(Tensor x) {
  const auto address = reinterpret_cast<uintptr_t>(x.data);
  return address == 0 ? 256 : static_cast<uint32_t>(std::min<uintptr_t>(address & -address, 256));
}

// cuBLAS's matrices are column-major: a row-major matrix is its own transpose there, and
// d = a b is computed as d^T = b^T a^T.
class Layout {
 public:
  Layout(DType type, int64_t rows, int64_t cols, int64_t stride) {
    check(cublasLtMatrixLayoutCreate(&layout_, cuda_type(type), static_cast<uint64_t>(cols),
                                     static_cast<uint64_t>(rows), stride),
          "cublasLtMatrixLayoutCreate");
  }
  Layout(Layout&& other) noexcept : layout_(std::exchange(other.layout_, nullptr)) {}
  ~Layout() {
    if (layout_) cublasLtMatrixLayoutDestroy(layout_);
  }
  operator cublasLtMatrixLayout_t() const { return layout_; }

 private:
  cublasLtMatrixLayout_t layout_ = nullptr;
};

class Operation {
 public:
  explicit Operation(const Key& key) {
    check(cublasLtMatmulDescCreate(&description_, CUBLAS_COMPUTE_32F, CUDA_R_32F),
          "cublasLtMatmulDescCreate");
    const auto transpose = [](bool transposed) { return transposed ? CUBLAS_OP_T : CUBLAS_OP_N; };
    set(CUBLASLT_MATMUL_DESC_TRANSA, transpose(key.b_transposed));
    set(CUBLASLT_MATMUL_DESC_TRANSB, transpose(key.a_transposed));
    if (!key.bias) return;
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<int32_t>(cuda_type(key.types[1])));
  }
  Operation(Operation&& other) noexcept
      : description_(std::exchange(other.description_, nullptr)) {}
  ~Operation() {
    if (description_) cublasLtMatmulDescDestroy(description_);
  }
  template <typename T>
  void set(cublasLtMatmulDescAttributes_t attribute, T value) const {
    check(cublasLtMatmulDescSetAttribute(description_, attribute, &value, sizeof value),
          "cublasLtMatmulDescSetAttribute");
  }
  operator cublasLtMatmulDesc_t() const { return description_; }

 private:
  cublasLtMatmulDesc_t description_ = nullptr;
};

struct Product {
  explicit Product(const Key& key)
      : operation(key),
        a(key.types[0], key.a_transposed ? key.sizes[2] : key.sizes[0],
          key.a_transposed ? key.sizes[0] : key.sizes[2], key.sizes[3]),
        b(key.types[0], key.b_transposed ? key.sizes[1] : key.sizes[2],
          key.b_transposed ? key.sizes[2] : key.sizes[1], key.sizes[4]),
        c(key.types[1], key.sizes[0], key.sizes[1], key.sizes[5]),
        d(key.types[1], key.sizes[0], key.sizes[1], key.sizes[6]) {}
  Operation operation;
  Layout a, b, c, d;
  cublasLtMatmulAlgo_t algorithm{};
};

}  // namespace

struct Matmul::Cache {
  // Shapes differ from batch to batch only in their number of tokens.
  static constexpr size_t capacity = 4096;

  explicit Cache(cudaStream_t s) : stream(s) {
    check(cublasLtCreate(&handle), "cublasLtCreate");
    check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
  }
  ~Cache() {
    if (preference) cublasLtMatmulPreferenceDestroy(preference);
    if (handle) cublasLtDestroy(handle);
  }

  const Product& find(const Key& key);

  cudaStream_t stream;
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;
  std::unordered_map<Key, Product, KeyHash> products;
};

const Product& Matmul::Cache::find(const Key& key) {
  const auto found = products.find(key);
  if (found != products.end()) return found->second;
  if (products.size() >= capacity) products.clear();
  Product product(key);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    check(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value),
          "cublasLtMatmulPreferenceSetAttribute");
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{key.workspace});
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.alignments[1]);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.alignments[0]);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.alignments[2]);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.alignments[3]);
  cublasLtMatmulHeuristicResult_t result{};
  int count = 0;
  check(cublasLtMatmulAlgoGetHeuristic(handle, product.operation, product.b, product.a, product.c,
                                       product.d, preference, 1, &result, &count),
        "cublasLtMatmulAlgoGetHeuristic");
  if (count == 0)
    fail(ErrorKind::internal,
         "cuBLASLt knows no algorithm for a product of [{}, {}] by [{}, {}] in {} within {} bytes",
         key.sizes[0], key.sizes[2], key.sizes[2], key.sizes[1], name_of(key.types[0]),
         key.workspace);
  product.algorithm = result.algo;
  return products.emplace(key, std::move(product)).first->second;
}

Matmul::Matmul(cudaStream_t stream) : cache_(std::make_unique<Cache>(stream)) {}
Matmul::~Matmul() = default;

void Matmul::run(Tensor d, Tensor c, MatmulOperand a, MatmulOperand b, Tensor bias,
                 Tensor workspace) {
  if (d.rows == 0 || d.cols == 0) return;
  const bool accumulate = static_cast<bool>(c);
  if (!c) c = d;
  // cuBLASLt asks for strides of at least the columns, also of a single row.
  const auto stride = [](Tensor x) { return std::max(x.stride, x.cols); };
  const Key key = {
      {d.rows, d.cols, a.cols(), stride(a.tensor), stride(b.tensor), stride(c), stride(d)},
      {alignment_of(a.tensor), alignment_of(b.tensor), alignment_of(c), alignment_of(d)},
      {a.tensor.dtype, d.dtype},
      a.transposed,
      b.transposed,
      accumulate,
      static_cast<bool>(bias),
      static_cast<size_t>(workspace.bytes())};
  const Product& product = cache_->find(key);
  if (bias) product.operation.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias.data);
  const float alpha = 1, beta = accumulate ? 1 : 0;
  check(cublasLtMatmul(cache_->handle, product.operation, &alpha, b.tensor.data, product.b,
                       a.tensor.data, product.a, &beta, c.data, product.c, d.data, product.d,
                       &product.algorithm, workspace.data, key.workspace, cache_->stream),
        "cublasLtMatmul");
}

}  // namespace nibble::cuda
