#include "memory/search.h"

#include <algorithm>
#include <tuple>

namespace nibble {
namespace {

// Whether the i-th of n is one of `count` that are spread evenly.
bool spread(int64_t i, int64_t n, int64_t count) { return (i + 1) * count / n > i * count / n; }

}  // namespace

PolicySearch::PolicySearch(int64_t layers, bool tied_head, std::vector<Keep> fixed_keep,
                           Measure measure)
    : layers_(static_cast<int>(layers)),
      tied_head_(tied_head),
      fixed_keep_(std::move(fixed_keep)),
      measure_(std::move(measure)) {}

MemoryPolicy PolicySearch::policy(const Knobs& k) const {
  const auto far_if = [](bool far) { return far ? Place::far : Place::near; };
  MemoryPolicy policy;
  policy.head = far_if(k.head == 2);
  policy.embedding = far_if(tied_head_ ? k.head == 2 : k.embedding_far > 0);
  policy.logits = k.head > 0 ? LogitsIn::tiles : LogitsIn::rows;
  policy.moments = far_if(k.moments_far > 0);
  policy.passing = k.passing;
  for (int64_t i = 0; i < layers_; ++i) {
    BlockPolicy block;
    block.weights = far_if(spread(i, layers_, k.far_weights));
    block.input = far_if(spread(i, layers_, k.far_inputs));
    block.keep =
        static_cast<Keep>(k.keep / layers_ + (spread(i, layers_, k.keep % layers_) ? 1 : 0));
    if (!fixed_keep_.empty()) block.keep = fixed_keep_[static_cast<size_t>(i)];
    if (spread(i, layers_, k.kept_far) && block.keep == Keep::input) {
      block.keep = Keep::attention;
      block.kept = Place::far;
    }
    policy.blocks.push_back(block);
  }
  return policy;
}

const PolicyCost& PolicySearch::cost(const Knobs& knobs) {
  const auto found = costs_.find(knobs);
  if (found != costs_.end()) return found->second;
  return costs_.emplace(knobs, measure_(policy(knobs))).first->second;
}

bool PolicySearch::fits(const Knobs& knobs, Limits limits) {
  const PolicyCost& c = cost(knobs);
  return c.near <= limits.near && c.far <= limits.far;
}

// Equal but for less traffic is better, too: what saves nothing to speak of is not worth it.
bool PolicySearch::faster(const Knobs& a, const Knobs& b) {
  const PolicyCost &x = cost(a), &y = cost(b);
  if (x.seconds < 0.9995 * y.seconds) return true;
  return x.seconds <= y.seconds && x.far < y.far;
}

// With the most kept that fits, the other knobs as they are; nothing when not even nothing fits.
std::optional<PolicySearch::Knobs> PolicySearch::filled(Knobs knobs, Limits limits) {
  const auto keeping = [&](int keep) {
    Knobs other = knobs;
    other.keep = keep;
    return other;
  };
  const int most = fixed_keep_.empty() ? (keep_levels - 1) * layers_ : 0;
  if (!fits(keeping(0), limits)) return std::nullopt;
  if (most > 0 && fits(keeping(most), limits)) return keeping(most);
  // Level by level, then within the level, where memory grows by nearly equal steps.
  int low = 0;
  while (low + layers_ < most && fits(keeping(low + layers_), limits)) low += layers_;
  int high = std::min(low + layers_, most);  // does not fit
  for (int tries = 0; high - low > 1; ++tries) {
    const auto from = static_cast<double>(cost(keeping(low)).near);
    const auto to = static_cast<double>(cost(keeping(high)).near);
    const double share = (static_cast<double>(limits.near) - from) / std::max(1.0, to - from);
    const int guess =
        tries % 3 == 2 ? (low + high) / 2 : low + static_cast<int>(share * (high - low));
    const int middle = std::clamp(guess, low + 1, high - 1);
    (fits(keeping(middle), limits) ? low : high) = middle;
  }
  return keeping(low);
}

// Every value of one knob that is worth trying.
std::vector<PolicySearch::Knobs> PolicySearch::neighbours(const Knobs& knobs) const {
  std::vector<Knobs> all;
  const auto vary = [&](int Knobs::*knob, std::initializer_list<int> values) {
    for (const int value : values) {
      Knobs other = knobs;
      other.*knob = value;
      if (other != knobs) all.push_back(other);
    }
  };
  const int n = layers_;
  vary(&Knobs::head, {0, 1, 2});
  if (!tied_head_) vary(&Knobs::embedding_far, {0, 1});
  vary(&Knobs::moments_far, {0, 1});
  vary(&Knobs::far_weights, {0, n / 4, n / 2, 3 * n / 4, n});
  vary(&Knobs::far_inputs, {0, n / 4, n / 2, 3 * n / 4, n});
  vary(&Knobs::passing, {1, 2});
  if (fixed_keep_.empty()) vary(&Knobs::kept_far, {0, n / 4, n / 2, 3 * n / 4, n});
  return all;
}

// From everything near to everything far.
std::vector<PolicySearch::Knobs> PolicySearch::starts() const {
  Knobs streamed;
  streamed.far_weights = streamed.far_inputs = layers_;
  streamed.embedding_far = 1;
  Knobs lean = streamed;
  lean.head = 2;
  lean.moments_far = 1;
  Knobs leanest = lean;
  leanest.passing = 1;
  std::vector<Knobs> all = {Knobs{}, streamed, lean, leanest};
  if (fixed_keep_.empty())  // long documents: attention is worth the way out and back
    for (const int quarter : {1, 2, 3, 4}) {
      all.push_back(leanest);
      all.back().kept_far = quarter * layers_ / 4;
    }
  return all;
}

std::optional<PolicySearch::Knobs> PolicySearch::best_start(Limits limits) {
  std::optional<Knobs> best;
  for (const Knobs& start : starts()) {
    const auto candidate = filled(start, limits);
    if (candidate && (!best || faster(*candidate, *best))) best = candidate;
  }
  return best;
}

std::optional<FoundPolicy> PolicySearch::about_fastest(size_t near, size_t far) {
  const auto best = best_start({near, far});
  if (!best) return std::nullopt;
  return FoundPolicy{policy(*best), cost(*best)};
}

std::optional<FoundPolicy> PolicySearch::fastest(size_t near, size_t far) {
  const Limits limits{near, far};
  auto best = best_start(limits);
  for (const Knobs& earlier : found_)
    if (fits(earlier, limits) && (!best || faster(earlier, *best))) best = earlier;
  if (!best) return std::nullopt;
  // Change one knob at a time as long as that is faster.
  for (bool better = true; better;) {
    better = false;
    for (const Knobs& other : neighbours(*best)) {
      const auto candidate = filled(other, limits);
      if (!candidate || !faster(*candidate, *best)) continue;
      best = candidate;
      better = true;
    }
  }
  found_.push_back(*best);
  return FoundPolicy{policy(*best), cost(*best)};
}

bool PolicySearch::runs(size_t near, size_t far) {
  for (const Knobs& start : starts())
    if (fits(start, {near, far})) return true;
  return false;
}

FoundPolicy PolicySearch::richest() {
  Knobs knobs;
  knobs.keep = fixed_keep_.empty() ? (keep_levels - 1) * layers_ : 0;
  return {policy(knobs), cost(knobs)};
}

FoundPolicy PolicySearch::smallest(size_t far) {
  const auto smaller = [&](const Knobs& a, const Knobs& b) {
    const PolicyCost &x = cost(a), &y = cost(b);
    const size_t x_over = x.far > far ? x.far : 0, y_over = y.far > far ? y.far : 0;
    return std::tie(x_over, x.near) < std::tie(y_over, y.near);
  };
  Knobs best;
  for (const Knobs& start : starts())
    if (smaller(start, best)) best = start;
  for (bool improved = true; improved;) {
    improved = false;
    for (const Knobs& other : neighbours(best))
      if (smaller(other, best)) {
        best = other;
        improved = true;
      }
  }
  return {policy(best), cost(best)};
}

}  // namespace nibble
