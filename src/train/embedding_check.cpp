#include "train/embedding_check.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace nibble {
namespace {

constexpr const char* embedding_name = "model.embed_tokens.weight";
constexpr int64_t sampled_rows = 512;
constexpr double shortest_trained = 0.25;

template <typename T>
double norm_of(std::span<const std::byte> bytes) {
  double sum = 0;
  for (size_t at = 0; at < bytes.size(); at += sizeof(T)) {
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof(T));
    const auto x = static_cast<double>(to_float(value));
    sum += x * x;
  }
  return std::sqrt(sum);
}

}  // namespace

std::vector<UntrainedToken> untrained_tokens(const ModelSource& source,
                                             std::span<const int32_t> ids, int64_t vocab_size) {
  std::vector<UntrainedToken> untrained;
  if (!source.dir || !source.dir->has(embedding_name)) return untrained;
  const TensorInfo info = source.dir->info(embedding_name);
  if (info.shape.size() != 2 || info.shape[0] == 0) return untrained;
  const auto rows = std::min<int64_t>(static_cast<int64_t>(info.shape[0]), vocab_size);
  std::vector<std::byte> row(info.bytes / info.shape[0]);
  const auto norm = [&](int64_t id) {
    source.dir->read(embedding_name, static_cast<uint64_t>(id) * row.size(), row);
    return info.dtype == DType::f32   ? norm_of<float>(row)
           : info.dtype == DType::f16 ? norm_of<f16>(row)
                                      : norm_of<bf16>(row);
  };
  std::vector<double> norms;
  const int64_t step = std::max<int64_t>(1, rows / sampled_rows);
  for (int64_t id = 0; id < rows; id += step) norms.push_back(norm(id));
  const auto middle = norms.begin() + std::ssize(norms) / 2;
  std::ranges::nth_element(norms, middle);
  for (const int32_t id : ids) {
    if (id < 0 || id >= rows || *middle == 0) continue;
    const double part = norm(id) / *middle;
    const bool known = std::ranges::any_of(untrained, [&](const auto& u) { return u.id == id; });
    if (part < shortest_trained && !known) untrained.push_back({id, part});
  }
  return untrained;
}

}  // namespace nibble
