// Finds the memory policy of a run: of all that fit, the fastest by the plan's clock.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "transformer/policy.h"

namespace nibble {

struct PolicyCost {
  size_t near = 0, far = 0;  // peaks in bytes
  double seconds = 0;        // of one optimizer step
};

struct FoundPolicy {
  MemoryPolicy policy;
  PolicyCost cost;
};

class PolicySearch {
 public:
  using Measure = std::function<PolicyCost(const MemoryPolicy&)>;  // runs the step dry

  // fixed_keep: the level that each block keeps, where that is the user's choice; else empty.
  PolicySearch(int64_t layers, bool tied_head, std::vector<Keep> fixed_keep, Measure measure);

  // The fastest that was found within the limits, in bytes; nothing when even the smallest does not
  // fit. Never slower than what was found before for smaller limits.
  std::optional<FoundPolicy> fastest(size_t near, size_t far);
  // The same from a short look: near enough to compare runs by.
  std::optional<FoundPolicy> about_fastest(size_t near, size_t far);
  // Of the policies within the far limit, the one with the least near memory; if there is none, the
  // one with the least far memory.
  FoundPolicy smallest(size_t far);

  // Whether a run within the limits exists, asked quickly; and what one takes that keeps everything
  // near.
  bool runs(size_t near, size_t far);
  FoundPolicy richest();

  size_t measured() const { return costs_.size(); }  // policies

 private:
  // A policy as a few numbers, each a scale on which a step saves near memory or spends it.
  struct Knobs {
    int head = 0;           // 0: near, whole rows of logits; 1: near, in tiles; 2: far
    int embedding_far = 0;  // of its own; a tied one goes with the head
    int moments_far = 0;
    int far_weights = 0;  // blocks, spread evenly
    int far_inputs = 0;   // blocks, spread evenly
    int passing = 2;
    int kept_far = 0;  // blocks whose attention's output goes far, spread evenly
    int keep = 0;      // levels that blocks keep, added up; spread evenly
    auto operator<=>(const Knobs&) const = default;
  };
  struct Limits {
    size_t near, far;
  };

  MemoryPolicy policy(const Knobs& knobs) const;
  const PolicyCost& cost(const Knobs& knobs);
  bool fits(const Knobs& knobs, Limits limits);
  bool faster(const Knobs& a, const Knobs& b);
  std::optional<Knobs> filled(Knobs knobs, Limits limits);
  std::vector<Knobs> neighbours(const Knobs& knobs) const;
  std::vector<Knobs> starts() const;
  std::optional<Knobs> best_start(Limits limits);

  const int layers_;
  const bool tied_head_;
  const std::vector<Keep> fixed_keep_;
  const Measure measure_;
  std::map<Knobs, PolicyCost> costs_;
  std::vector<Knobs> found_;
};

}  // namespace nibble
