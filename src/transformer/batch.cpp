#include "transformer/batch.h"

#include <algorithm>

namespace nibble {

int64_t trained_tokens(const DocumentView& document) {
  if (document.labels.empty()) return 0;
  return std::count_if(document.labels.begin() + 1, document.labels.end(),
                       [](int32_t label) { return label >= 0; });
}

Batch::Batch(std::span<const DocumentView> documents, const ModelSpec& spec,
             Tensor inverse_frequencies, Ops& ops, std::span<const Continuation> continuations) {
  std::vector<int32_t> host_ids, host_targets, host_positions, variants;
  query_offsets_ = {0};
  key_offsets_ = {0};
  for (size_t d = 0; d < documents.size(); ++d) {
    const DocumentView& document = documents[d];
    const auto length = static_cast<int32_t>(document.ids.size());
    const Continuation at = continuations.empty() ? Continuation{0, length} : continuations[d];
    const int variant = spec.rope.variant_for(at.final_length);
    for (int32_t i = 0; i < length; ++i) {
      host_ids.push_back(document.ids[static_cast<size_t>(i)]);
      host_targets.push_back(i + 1 < length && !document.labels.empty()
                                 ? document.labels[static_cast<size_t>(i) + 1]
                                 : -100);
      host_positions.push_back(at.cached + i);
      variants.push_back(variant);
    }
    query_offsets_.push_back(query_offsets_.back() + length);
    key_offsets_.push_back(key_offsets_.back() + at.cached + length);
  }
  trained = std::ranges::count_if(host_targets, [](int32_t target) { return target >= 0; });

  const auto tokens = static_cast<int64_t>(host_ids.size());
  const int64_t half = spec.rope.rotary_dim() / 2;
  Arena& arena = ops.arena();
  ids = arena.tensor(1, tokens, DType::i32, MemoryUse::batch, "token ids");
  targets = arena.tensor(1, tokens, DType::i32, MemoryUse::batch, "targets");
  cos = arena.tensor(tokens, half, DType::f32, MemoryUse::batch, "rope cos");
  sin = arena.tensor(tokens, half, DType::f32, MemoryUse::batch, "rope sin");
  offsets_ =
      arena.tensor(2, std::ssize(query_offsets_), DType::i32, MemoryUse::batch, "document offsets");
  const auto take_positions = [&] {
    return arena.tensor(1, tokens, DType::i32, MemoryUse::batch, "positions");
  };
  if (!continuations.empty()) positions = take_positions();
  const Arena::Scope scope(arena);
  const Tensor device_positions = positions ? positions : take_positions();
  const Tensor device_variants =
      arena.tensor(1, tokens, DType::i32, MemoryUse::batch, "rope variants");
  ops.upload(ids, std::as_bytes(std::span(host_ids)));
  ops.upload(targets, std::as_bytes(std::span(host_targets)));
  ops.upload(offsets_.row_range(0, 1), std::as_bytes(std::span(query_offsets_)));
  ops.upload(offsets_.row_range(1, 1), std::as_bytes(std::span(key_offsets_)));
  ops.upload(device_positions, std::as_bytes(std::span(host_positions)));
  ops.upload(device_variants, std::as_bytes(std::span(variants)));
  ops.rope_tables(cos, sin, device_positions, device_variants, inverse_frequencies,
                  spec.rope.factor);
}

Ops::Key Batch::shape() const {
  Ops::Key key = {trained};
  key.insert(key.end(), query_offsets_.begin(), query_offsets_.end());
  return key;
}

}  // namespace nibble
