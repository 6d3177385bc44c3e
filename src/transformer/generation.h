// Text generation: one document, token by token, with the keys and values of earlier tokens kept.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/rng.h"
#include "transformer/model.h"

namespace nibble {

struct GenerationOptions {
  int64_t max_new_tokens = 128;
  float temperature = 0;  // 0: always the likeliest token
  float top_p = 1;        // draw from the likeliest tokens whose probabilities sum to this
  uint64_t seed = 42;
};

// Throws usage, naming the option, for a value out of range.
void check_generation_options(const GenerationOptions& options);

// Picks tokens from logits; the sequence of picks depends on nothing but options and logits.
class Sampler {
 public:
  explicit Sampler(const GenerationOptions& options);

  // Greedy: the lowest id of the greatest logit. Else a draw from softmax(logits / temperature),
  // cut to the smallest set of likeliest tokens with probability top_p (Holtzman et al. 2020,
  // section 3.1). Throws diverged when a logit is NaN or none is finite.
  int32_t pick(std::span<const float> logits);

 private:
  float temperature_, top_p_;
  RandomSequence random_;
  std::vector<int32_t> order_;
  std::vector<double> weights_;
};

// One document that grows.
class Generation {
 public:
  // Takes caches for `final_length` tokens, the most that the document will have, from the arena of
  // the model's ops. longrope's list is that of final_length from the first token on.
  Generation(const Model& model, int64_t final_length);
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  // Appends ids to the document and returns the logits of the token after them: f32 [vocab], valid
  // until the next call, zeros on ops without data.
  std::span<const float> advance(std::span<const int32_t> ids);
  // Forgets all but the first `length` tokens.
  void rewind(int64_t length);
  int64_t length() const { return length_; }
  int64_t final_length() const { return final_length_; }

 private:
  const Model& model_;
  const int64_t final_length_;
  const Ops::Key repeated_;
  int64_t length_ = 0;
  std::vector<KeyValueCache> caches_;
  Tensor logits_;
  std::vector<float> host_logits_;
};

// Tokens that may follow a prompt of so many: options.max_new_tokens, but no more than fit the
// model's positions. Throws usage for a prompt that is empty or leaves no room.
int64_t new_token_limit(const ModelSpec& spec, int64_t prompt, const GenerationOptions& options);

enum class GenerationEnd { stop_token, limit, cancelled };

// Continues `document` with `ids`, at least one, and then with up to `limit` tokens of its own,
// until a stop id, which is not emitted. `emit` gets each new token as it comes and returns false
// to stop.
GenerationEnd continue_document(Generation& document, std::span<const int32_t> ids, int64_t limit,
                                std::span<const int32_t> stop_ids, Sampler& sampler,
                                const std::function<bool(int32_t)>& emit);

// The same for a document that `prompt` begins. On ops without data it takes what any run with this
// prompt takes, and emits nothing.
GenerationEnd generate(const Model& model, std::span<const int32_t> prompt,
                       std::span<const int32_t> stop_ids, const GenerationOptions& options,
                       const std::function<bool(int32_t)>& emit);

}  // namespace nibble
