#include "data/batch_schedule.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "core/ceil_div.h"
#include "core/error.h"
#include "core/rng.h"

namespace nibble {
namespace {

std::vector<int64_t> pack_lengths(const Packs& packs, std::span<const int64_t> lengths) {
  std::vector<int64_t> result(static_cast<size_t>(packs.count()), 0);
  for (int64_t pack = 0; pack < packs.count(); ++pack)
    for (const int64_t document : packs[pack])
      result[static_cast<size_t>(pack)] += lengths[static_cast<size_t>(document)];
  return result;
}

}  // namespace

BatchSchedule::BatchSchedule(std::span<const int64_t> lengths, const ScheduleOptions& options)
    : options_(options), units_(static_cast<int64_t>(lengths.size())) {
  if (options.pack_capacity > 0) {
    packs_ = pack_best_fit(lengths, options.pack_capacity);
    units_ = packs_->count();
  }
  if (options.sampling == Sampling::group_by_length)
    unit_lengths_ = packs_ ? pack_lengths(*packs_, lengths)
                           : std::vector<int64_t>(lengths.begin(), lengths.end());

  steps_per_epoch_ = ceil_div(ceil_div(units_, options.batch_size), options.accumulation_steps);
  total_steps_ =
      options.max_steps > 0
          ? options.max_steps
          : static_cast<int64_t>(std::ceil(options.epochs * static_cast<double>(steps_per_epoch_)));
  if (total_steps_ < 1)
    fail(ErrorKind::usage, "num_train_epochs {} gives no step to train", options.epochs);
}

double BatchSchedule::epoch_after(int64_t steps) const {
  return static_cast<double>(steps) / static_cast<double>(steps_per_epoch_);
}

// Fisher-Yates from the epoch's own stream.
const std::vector<int64_t>& BatchSchedule::order_of(int64_t epoch) const {
  if (epoch == cached_epoch_) return cached_order_;
  cached_order_.resize(static_cast<size_t>(units_));
  std::iota(cached_order_.begin(), cached_order_.end(), int64_t{0});
  if (options_.sampling != Sampling::sequential) {
    RandomSequence random(random_key(options_.seed, RandomUse::shuffle),
                          static_cast<uint64_t>(epoch));
    for (size_t i = cached_order_.size(); i > 1; --i)
      std::swap(cached_order_[i - 1], cached_order_[random.below(static_cast<uint32_t>(i))]);
  }
  if (options_.sampling == Sampling::group_by_length)
    cached_order_ = group_by_length(std::move(cached_order_), unit_lengths_,
                                    options_.batch_size * options_.accumulation_steps);
  cached_epoch_ = epoch;
  return cached_order_;
}

std::vector<std::vector<int64_t>> BatchSchedule::micro_batches(int64_t step) const {
  const std::vector<int64_t>& order = order_of(step / steps_per_epoch_);
  const int64_t units_per_step = options_.batch_size * options_.accumulation_steps;
  const int64_t first = step % steps_per_epoch_ * units_per_step;
  const int64_t last = std::min(units_, first + units_per_step);
  std::vector<std::vector<int64_t>> batches;
  for (int64_t begin = first; begin < last; begin += options_.batch_size) {
    const std::span<const int64_t> units =
        std::span(order).subspan(static_cast<size_t>(begin),
                                 static_cast<size_t>(std::min(last - begin, options_.batch_size)));
    std::vector<int64_t>& batch = batches.emplace_back();
    for (const int64_t unit : units) {
      if (packs_)
        batch.insert(batch.end(), (*packs_)[unit].begin(), (*packs_)[unit].end());
      else
        batch.push_back(unit);
    }
  }
  return batches;
}

std::vector<int64_t> group_by_length(std::vector<int64_t> order, std::span<const int64_t> lengths,
                                     int64_t group) {
  const auto length_of = [&](int64_t unit) { return lengths[static_cast<size_t>(unit)]; };
  const auto units = static_cast<int64_t>(order.size());
  const int64_t stretch = std::clamp<int64_t>(units / group / 4, 1, 50) * group;
  auto longest = order.begin();
  for (int64_t begin = 0; begin < units; begin += stretch) {
    const auto first = order.begin() + begin,
               last = order.begin() + std::min(units, begin + stretch);
    std::ranges::stable_sort(first, last, std::greater(), length_of);
    if (length_of(*first) > length_of(*longest)) longest = first;
  }
  if (!order.empty()) std::swap(order.front(), *longest);
  return order;
}

}  // namespace nibble
