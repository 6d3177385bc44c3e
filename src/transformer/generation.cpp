#include "transformer/generation.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>

#include "core/error.h"

namespace nibble {

void check_generation_options(const GenerationOptions& o) {
  if (o.max_new_tokens < 1)
    fail(ErrorKind::usage, "max_new_tokens: got {}, expected 1 or more", o.max_new_tokens);
  if (!(o.temperature >= 0) || !std::isfinite(o.temperature))
    fail(ErrorKind::usage, "temperature: got {}, expected 0 (greedy) or a number above it",
         o.temperature);
  if (!(o.top_p > 0 && o.top_p <= 1))
    fail(ErrorKind::usage, "top_p: got {}, expected a number in (0, 1]", o.top_p);
}

Sampler::Sampler(const GenerationOptions& options)
    : temperature_(options.temperature),
      top_p_(options.top_p),
      random_(random_key(options.seed, RandomUse::sampling), 0) {}

int32_t Sampler::pick(std::span<const float> logits) {
  const bool nan = std::ranges::any_of(logits, [](float x) { return std::isnan(x); });
  const auto best = std::ranges::max_element(logits);
  if (nan || !std::isfinite(*best))
    fail(ErrorKind::diverged,
         "generation: the model's logits are not finite; are weights and adapter sound?");
  if (temperature_ == 0) return static_cast<int32_t>(best - logits.begin());

  const double scale = 1 / static_cast<double>(temperature_);
  weights_.resize(logits.size());
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    weights_[i] = std::exp((static_cast<double>(logits[i]) - static_cast<double>(*best)) * scale);
    sum += weights_[i];
  }
  order_.resize(logits.size());
  std::iota(order_.begin(), order_.end(), 0);
  if (top_p_ < 1) {
    const auto weight = [&](int32_t id) { return weights_[static_cast<size_t>(id)]; };
    std::ranges::stable_sort(order_, std::greater{}, weight);
    double kept = 0;
    size_t count = 0;
    while (count < order_.size() && kept < static_cast<double>(top_p_) * sum)
      kept += weight(order_[count++]);
    order_.resize(count);
    sum = kept;
  }
  double left = 0x1p-32 * random_.next() * sum;
  for (const int32_t id : order_)
    if ((left -= weights_[static_cast<size_t>(id)]) < 0) return id;
  return order_.back();  // rounding left a remainder
}

namespace {

// Another may come after it in the same memory, of another model. Training's keys begin with a
// count.
Ops::Key key_of_a_generation() {
  static std::atomic<int64_t> generations{0};
  return {-1, generations++};
}

}  // namespace

Generation::Generation(const Model& model, int64_t final_length)
    : model_(model), final_length_(final_length), repeated_(key_of_a_generation()) {
  const ModelSpec& spec = model.spec();
  Arena& arena = model.ops().arena();
  for (int64_t layer = 0; layer < spec.layers; ++layer) {
    const auto cache = [&](const char* name) {
      return arena.tensor(final_length, spec.kv_size(), model.compute(), MemoryUse::working_set,
                          name);
    };
    const Tensor k = cache("key cache");
    caches_.push_back({k, cache("value cache")});
  }
  logits_ = arena.tensor(1, spec.vocab_size, DType::f32, MemoryUse::working_set, "logits");
  host_logits_.resize(static_cast<size_t>(spec.vocab_size));
}

std::span<const float> Generation::advance(std::span<const int32_t> ids) {
  if (ids.empty() || length_ + static_cast<int64_t>(ids.size()) > final_length_)
    fail(ErrorKind::internal, "generation: {} tokens after {} of {}", ids.size(), length_,
         final_length_);
  Ops& ops = model_.ops();
  const Arena::Scope scope(ops.arena());
  const DocumentView document{ids, {}};
  const Batch::Continuation at{static_cast<int32_t>(length_), final_length_};
  const Batch batch({&document, 1}, model_.spec(), model_.weights().inverse_frequencies, ops,
                    {&at, 1});
  const auto forward = [&] { model_.forward_logits(batch, logits_, caches_); };
  // One more token is the same work every time: what differs, the batch has on the device. The
  // first of all may be computed in another way, as a prompt.
  if (length_ > 0 && ids.size() == 1)
    ops.repeat(repeated_, forward);
  else
    forward();
  ops.download(std::as_writable_bytes(std::span(host_logits_)), logits_);
  length_ += static_cast<int64_t>(ids.size());
  return host_logits_;
}

void Generation::rewind(int64_t length) {
  if (length < 0 || length > length_)
    fail(ErrorKind::internal, "generation: rewind to {} of {} tokens", length, length_);
  length_ = length;
}

int64_t new_token_limit(const ModelSpec& spec, int64_t prompt, const GenerationOptions& options) {
  if (prompt == 0)
    fail(ErrorKind::usage,
         "prompt: it has no tokens, and the tokenizer adds none; give a text to continue");
  if (prompt >= spec.max_positions)
    fail(ErrorKind::usage,
         "prompt: its {} tokens leave no room in the {} positions of this model; shorten it",
         prompt, spec.max_positions);
  return std::min(options.max_new_tokens, spec.max_positions - prompt);
}

GenerationEnd continue_document(Generation& document, std::span<const int32_t> ids, int64_t limit,
                                std::span<const int32_t> stop_ids, Sampler& sampler,
                                const std::function<bool(int32_t)>& emit) {
  std::span<const float> logits = document.advance(ids);
  for (int64_t count = 0;;) {
    const int32_t token = sampler.pick(logits);
    if (std::ranges::find(stop_ids, token) != stop_ids.end()) return GenerationEnd::stop_token;
    if (!emit(token)) return GenerationEnd::cancelled;
    if (++count == limit) return GenerationEnd::limit;
    logits = document.advance({&token, 1});
  }
}

GenerationEnd generate(const Model& model, std::span<const int32_t> prompt,
                       std::span<const int32_t> stop_ids, const GenerationOptions& options,
                       const std::function<bool(int32_t)>& emit) {
  const auto length = static_cast<int64_t>(prompt.size());
  const int64_t limit = new_token_limit(model.spec(), length, options);
  const Arena::Scope scope(model.ops().arena());
  Generation document(model, length + limit);
  if (!model.ops().has_data()) {
    document.advance(prompt);
    document.advance(std::vector<int32_t>(1));
    return GenerationEnd::limit;
  }
  Sampler sampler(options);
  return continue_document(document, prompt, limit, stop_ids, sampler, emit);
}

}  // namespace nibble
