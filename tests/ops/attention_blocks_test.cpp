// Attention of documents too long for one call of cuDNN's backward: how they are cut into blocks,
// which needs no GPU; and what the blocks add up to, which does.
#include <array>
#include <set>

#include "core/arena.h"
#include "core/buffer.h"
#include "ops/attention_problem.h"
#include "ops/cuda/attention_scratch.h"
#include "ops/cuda/scratch.h"
#ifdef NIBBLE_CUDA
#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/matrix.h"
#endif

namespace nibble::test {
namespace {

constexpr int64_t MiB = 1 << 20;
const AttentionShape llama = {32, 8, 128, 0.0884f, 0};  // Llama-3.1-8B

TEST(AttentionBlocks, HoldEveryVisiblePairOnce) {
  for (const auto& cut : {std::pair{128, 128}, {640, 128}, {640, 256}, {768, 640}}) {
    const int64_t length = cut.first, rows = cut.second;
    SCOPED_TRACE(fmt::format("{} in blocks of {}", length, rows));
    std::vector<int> seen(static_cast<size_t>(length * length));
    cuda::for_each_block(length, rows, [&](const cuda::CudnnBlock& block) {
      for (int64_t query = block.query; query < block.query + block.queries; ++query)
        for (int64_t key = block.key; key < block.key + block.keys; ++key)
          if (!block.diagonal() || key <= query) ++seen[static_cast<size_t>(query * length + key)];
    });
    for (int64_t query = 0; query < length; ++query)
      for (int64_t key = 0; key < length; ++key)
        ASSERT_EQ(seen[static_cast<size_t>(query * length + key)], key <= query ? 1 : 0)
            << query << " " << key;
  }
}

// The order that lets one sum of dq suffice, and tells where sums begin and end.
TEST(AttentionBlocks, ComeByQueriesThenKeys) {
  for (const int64_t length : {17'408, 131'072, 300'032, 1 << 20}) {
    const int64_t rows = cuda::cudnn_backward_part(1, length, llama).rows;
    ASSERT_LT(rows, length);
    int64_t query = 0, key = 0;
    double pairs = 0;
    std::set<int64_t> begun;
    cuda::for_each_block(length, rows, [&](const cuda::CudnnBlock& block) {
      ASSERT_EQ(block.query, query);
      ASSERT_EQ(block.key, key);
      ASSERT_EQ(block.queries, std::min(rows, length - query));
      ASSERT_EQ(block.keys, std::min(rows, length - key));
      ASSERT_EQ(block.queries % 128, 0);
      ASSERT_EQ(begun.insert(block.key).second, block.diagonal());
      const auto n = static_cast<double>(block.queries), m = static_cast<double>(block.keys);
      pairs += block.diagonal() ? n * (n + 1) / 2 : n * m;
      key += block.keys;
      if (!block.diagonal()) return;
      query += block.queries;
      key = 0;
    });
    EXPECT_EQ(query, length);
    EXPECT_EQ(pairs, static_cast<double>(length) * static_cast<double>(length + 1) / 2);
  }
}

TEST(AttentionBlocks, StayWithinTheLimits) {
  const cuda::CudnnLimits limits;
  const AttentionShape shapes[] = {
      llama,
      {24, 8, 128, 1, 0},     // Phi-4-mini
      {28, 4, 128, 1, 0},     // Qwen2.5-7B
      {64, 8, 128, 1, 0},     // Llama-3.1-70B
      {32, 32, 96, 1, 0},     // Phi-3-mini
      {71, 1, 64, 1, 0},      // Falcon-7B
      {2, 1, 64, 1, 1 << 21}  // a window that never cuts
  };
  for (const AttentionShape& shape : shapes) {
    const int64_t group = shape.heads / shape.kv_heads;
    for (const int64_t length : {11'648, 16'384, 16'512, 23'296, 131'072, 300'032, 1 << 20}) {
      SCOPED_TRACE(fmt::format("{} tokens, {}/{} heads", length, shape.heads, shape.kv_heads));
      EXPECT_TRUE(
          cuda::cudnn_supports_backward(DType::bf16, 3 * length, 3 * length, 3, length, shape));
      const cuda::CudnnPart part = cuda::cudnn_backward_part(3, length, shape);
      const int64_t bytes = cuda::cudnn_backward_bytes(3, length, shape);
      EXPECT_GE(part.kv_heads, 1);
      EXPECT_LE(part.kv_heads, shape.kv_heads);
      if (group * length * length * 2 <= limits.whole) {
        EXPECT_EQ(part.rows, length);
        continue;
      }
      EXPECT_EQ(part.documents, 1);
      EXPECT_EQ(part.rows % 128, 0);
      EXPECT_LE(part.rows, limits.rows);
      const int64_t scores = part.kv_heads * group * part.rows * part.rows * 2;
      EXPECT_LE(scores, limits.blocks);
      // As equal as possible: with a tile less in each there would be one more.
      const int64_t count = (length + part.rows - 1) / part.rows;
      EXPECT_LT((part.rows - 128) * count, length);
      // Scores; statistics; sums of dk and dv; and little for the rest.
      const int64_t others =
          4 * 3 * length * shape.heads + 8 * length * part.kv_heads * shape.head_dim;
      EXPECT_GT(bytes, scores + others);
      EXPECT_LT(bytes, limits.blocks + others + 192 * MiB);
    }
  }
  EXPECT_LT(cuda::cudnn_backward_bytes(1, 131'072, llama), 430 * MiB);
  EXPECT_LT(cuda::cudnn_backward_bytes(1, 300'032, llama), 615 * MiB);
}

TEST(AttentionBlocks, AreNotForWindowsOrRaggedBatches) {
  const auto supports = [](int64_t documents, int64_t tokens, int64_t longest, int64_t window) {
    AttentionShape shape = llama;
    shape.window = window;
    return cuda::cudnn_supports_backward(DType::bf16, tokens, tokens, documents, longest, shape);
  };
  EXPECT_TRUE(supports(1, 131'072, 131'072, 0));
  EXPECT_TRUE(supports(1, 131'072, 131'072, 131'072));
  EXPECT_FALSE(supports(1, 131'072, 131'072, 131'071));
  EXPECT_TRUE(supports(1, 8192, 8192, 4096));  // not cut
  EXPECT_FALSE(supports(1, 131'073, 131'073, 0));
  EXPECT_FALSE(supports(2, 131'072, 131'072 - 128, 0));
  EXPECT_FALSE(supports(1, (1 << 20) + 128, (1 << 20) + 128, 0));
}

TEST(AttentionBlocks, ArePlannedOnAnyMachine) {
  const Buffer addresses = Buffer::addresses_only(size_t{1} << 40);
  Arena arena(addresses.data(), addresses.size());
  const int64_t tokens = 131'072;
  const std::vector<int32_t> offsets = {0, tokens};
  const auto matrix = [&](int64_t heads) {
    return arena.tensor(tokens, heads * 128, DType::bf16, MemoryUse::working_set, "operand");
  };
  const Tensor q = matrix(32), k = matrix(8);
  const auto scratch = cuda::AttentionScratch::take_backward(
      arena, std::array{q, k, k, q, q, q, k, k}, {offsets, offsets}, llama);
  EXPECT_TRUE(scratch.in_blocks);
  EXPECT_FALSE(scratch.delta);
  EXPECT_EQ(scratch.cudnn.bytes(), cuda::cudnn_backward_bytes(1, tokens, llama));
}

// ---- on a GPU

class AttentionInBlocks : public testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    if (backend_names().back() != "cuda") GTEST_SKIP() << "no GPU that this program can use";
    if (!shared_backend("cuda").computes(c))
      GTEST_SKIP() << "this GPU does not compute in " << name_of(c);
  }

  const DType c = GetParam();
};

#ifdef NIBBLE_CUDA
Values side_by_side(const Values& a, const Values& b, const Values& c) {
  Values all(a.rows(), a.cols() + b.cols() + c.cols());
  int64_t first = 0;
  for (const Values* part : {&a, &b, &c}) {
    for (int64_t i = 0; i < part->rows(); ++i)
      for (int64_t j = 0; j < part->cols(); ++j) all(i, first + j) = (*part)(i, j);
    first += part->cols();
  }
  return all;
}

Values columns(const Values& all, int64_t first, int64_t count) {
  Values part(all.rows(), count);
  for (int64_t i = 0; i < part.rows(); ++i)
    for (int64_t j = 0; j < count; ++j) part(i, j) = all(i, first + j);
  return part;
}

// Short documents, which other limits cut.
TEST_P(AttentionInBlocks, AddUpToTheReference) {
  struct Cut {
    AttentionCase p;
    int64_t rows, kv_heads;  // of a block
  };
  const Cut cuts[] = {
      {{4, 2, 64, 0, {384}, {}}, 128, 1},      {{2, 1, 128, 0, {384}, {}}, 256, 1},
      {{4, 2, 64, 0, {256, 256}, {}}, 128, 2},  // all heads in a call
      {{3, 3, 40, 0, {640}, {}}, 256, 2},       // two heads, then one; the last block is shorter
      {{8, 1, 16, 0, {256}, {}}, 128, 1},      {{2, 1, 32, 500, {384}, {}}, 128, 1},
  };
  Ops& ops = shared_backend("cuda").ops();
  const cudaStream_t stream = dynamic_cast<CudaOps&>(ops).stream();
  cuda::CudnnAttention attention(stream);
  uint64_t random = 530;
  for (const Cut& cut : cuts) {
    const AttentionCase& p = cut.p;
    const AttentionProblem a(p, c, ++random);
    SCOPED_TRACE(a.trace);
    const auto forward = reference::attention_forward(a.q, a.k, a.v, a.documents, a.shape);
    const Values out = rounded(forward.out, c);
    const Values lse = rounded(forward.lse, DType::f32);
    const int64_t count = a.documents.count(), length = p.queries[0];
    const int64_t d = p.head_dim, nq = p.heads * d, nk = p.kv_heads * d;
    cuda::CudnnLimits limits;
    limits.whole = 0;
    limits.blocks = cut.kv_heads * p.heads / p.kv_heads * cut.rows * cut.rows * 2;
    limits.rows = cut.rows;
    const cuda::CudnnPart part = cuda::cudnn_backward_part(count, length, a.shape, limits);
    ASSERT_EQ(part.rows, cut.rows);
    ASSERT_EQ(part.kv_heads, cut.kv_heads);

    const auto results = run_twice(ops, [&]() -> std::vector<Values> {
      const Operand qkv(ops, side_by_side(a.q, a.k, a.v), c);
      const Operand gradients(ops, a.q.rows(), nq + 2 * nk, c);
      const Operand dout(ops, a.dout, c), o(ops, out, c), l(ops, lse, DType::f32);
      const Tensor workspace =
          ops.arena().tensor(1, cuda::cudnn_backward_bytes(count, length, a.shape, limits),
                             DType::u8, MemoryUse::working_set, "workspace");
      const Tensor x = qkv, dx = gradients;
      cuda::AttentionProblem problem{};
      problem.q = cuda::matrix(x.columns(0, nq));
      problem.k = cuda::matrix(x.columns(nq, nk));
      problem.v = cuda::matrix(x.columns(nq + nk, nk));
      problem.documents = count;
      problem.longest_queries = problem.longest_keys = length;
      problem.heads = p.heads;
      problem.kv_heads = p.kv_heads;
      problem.head_dim = d;
      problem.window = p.window;
      problem.scale = a.shape.scale;
      attention.backward(cuda::matrix(dx.columns(0, nq)), cuda::matrix(dx.columns(nq, nk)),
                         cuda::matrix(dx.columns(nq + nk, nk)), cuda::matrix(dout), cuda::matrix(o),
                         l.tensor().as<float>(), problem, workspace.data, workspace.bytes(),
                         limits);
      const Values all = gradients.read();
      return {columns(all, 0, nq), columns(all, nq, nk), columns(all, nq + nk, nk)};
    });
    // p or ds; the share of a query head; the share of all; the sum.
    expect_gradients(results, a, out, lse, c, 4);
  }
}
#endif

// Through Ops, at lengths that are cut. The scalar reference would take minutes; Nibble's own
// kernels, which it has tested, compute what cuDNN cannot read: rows that are not 16-byte chunks.
TEST_P(AttentionInBlocks, LongDocumentsAreWhatTheKernelsCompute) {
  Ops& ops = shared_backend("cuda").ops();
  uint64_t stream = 540;
  for (const AttentionCase& p : {AttentionCase{2, 1, 64, 0, {16'512}, {}},
                                 AttentionCase{4, 2, 64, 0, {16'896, 16'896}, {}}}) {
    const AttentionProblem a(p, c, ++stream);
    SCOPED_TRACE(a.trace);
    const int64_t count = a.documents.count(), length = p.queries[0];
    ASSERT_LT(cuda::cudnn_backward_part(count, length, a.shape).rows, length);
    const auto forward = run_twice(ops, [&]() -> std::vector<Values> {
      const Operand out(ops, a.q.rows(), a.q.cols(), c), lse(ops, a.q.rows(), p.heads, DType::f32);
      ops.attention_forward(out, lse, Operand(ops, a.q, c), Operand(ops, a.k, c),
                            Operand(ops, a.v, c), on_device(ops, a.documents), a.shape);
      return {out.read(), lse.read()};
    });
    const auto backward = [&](Layout layout) {
      return run_twice(ops, [&]() -> std::vector<Values> {
        const Operand dq(ops, a.q.rows(), a.q.cols(), c, layout);
        const Operand dk(ops, a.k.rows(), a.k.cols(), c, layout);
        const Operand dv(ops, a.v.rows(), a.v.cols(), c, layout);
        ops.attention_backward(dq, dk, dv, Operand(ops, a.dout, c, layout),
                               Operand(ops, forward[0], c, layout),
                               Operand(ops, forward[1], DType::f32), Operand(ops, a.q, c, layout),
                               Operand(ops, a.k, c, layout), Operand(ops, a.v, c, layout),
                               on_device(ops, a.documents), a.shape);
        return {dq.read(), dk.read(), dv.read()};
      });
    };
    const auto blocks = backward(Layout::dense), kernels = backward(Layout::strided);
    // The roundings, four here and two there, are as good as independent, each of less than a unit
    // and of terms of either sign: together they rarely reach two units of a tile's norm.
    constexpr int64_t tile = 128;
    for (size_t r = 0; r < 3; ++r) {
      for (int64_t row = 0; row < blocks[r].rows(); row += tile) {
        double difference = 0, norm = 0;
        for (int64_t i = row; i < row + tile; ++i) {
          for (int64_t j = 0; j < blocks[r].cols(); ++j) {
            difference += std::pow(blocks[r](i, j) - kernels[r](i, j), 2);
            norm += std::pow(kernels[r](i, j), 2);
          }
        }
        const auto elements = static_cast<double>(tile * blocks[r].cols());
        ASSERT_LE(std::sqrt(difference), 4 * unit_roundoff(c) * std::sqrt(norm) +
                                             4 * subnormal_roundoff(c) * std::sqrt(elements))
            << std::array{"dq", "dk", "dv"}[r] << ", rows from " << row;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, AttentionInBlocks, testing::Values(DType::bf16, DType::f16),
                         [](const auto& p) { return std::string(name_of(p.param)); });

}  // namespace
}  // namespace nibble::test
