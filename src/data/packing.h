// Packing: whole documents put together until a batch is full. Attention, positions and rope go by
// document, so this decides nothing but which documents share a micro-batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace nibble {

// Every document is in one pack, and no pack holds more than `capacity` tokens. Packs come in the
// order of their first documents, and the documents of a pack in their own order.
struct Packs {
  int64_t capacity = 0;
  int64_t tokens = 0;               // of all documents
  std::vector<int64_t> documents;   // their numbers, pack after pack
  std::vector<int64_t> offsets{0};  // pack p is documents[offsets[p]] up to documents[offsets[p+1]]

  int64_t count() const { return static_cast<int64_t>(offsets.size()) - 1; }
  std::span<const int64_t> operator[](int64_t pack) const {
    const auto begin = offsets.begin() + pack;
    return std::span(documents).subspan(static_cast<size_t>(begin[0]),
                                        static_cast<size_t>(begin[1] - begin[0]));
  }
  // The part of all packs' room that tokens take, in (0, 1].
  double fill() const {
    return static_cast<double>(tokens) /
           (static_cast<double>(count()) * static_cast<double>(capacity));
  }
};

// Best-fit decreasing, TRL's "bfd": from the longest document to the shortest (of equals, the
// earlier first), each goes to the pack with the least room that holds it (of equals, to the one
// filled last), or starts a pack. Gives at most 11/9 of the fewest packs possible, and four more
// (Johnson et al. 1974). O(n log n). Throws internal for a length outside of [1, capacity].
Packs pack_best_fit(std::span<const int64_t> lengths, int64_t capacity);

}  // namespace nibble
