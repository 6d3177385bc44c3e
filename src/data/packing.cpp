#include "data/packing.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>

#include "core/error.h"

namespace nibble {
namespace {

// The pack of each document, numbered as they are started; and how many there are.
struct Assignment {
  std::vector<int64_t> pack_of;
  int64_t packs = 0;
};

Assignment assign_best_fit(std::span<const int64_t> lengths, int64_t capacity) {
  const auto length_of = [&](int64_t document) { return lengths[static_cast<size_t>(document)]; };
  std::vector<int64_t> longest_first(lengths.size());
  std::iota(longest_first.begin(), longest_first.end(), int64_t{0});
  std::ranges::stable_sort(longest_first, std::greater(), length_of);

  Assignment result;
  result.pack_of.resize(lengths.size());
  std::map<int64_t, std::vector<int64_t>> with_room;  // tokens left -> packs, as they came to it
  for (const int64_t document : longest_first) {
    const int64_t length = length_of(document);
    int64_t pack = result.packs, room = capacity;
    if (const auto tightest = with_room.lower_bound(length); tightest != with_room.end()) {
      room = tightest->first;
      pack = tightest->second.back();
      tightest->second.pop_back();
      if (tightest->second.empty()) with_room.erase(tightest);
    } else {
      ++result.packs;
    }
    result.pack_of[static_cast<size_t>(document)] = pack;
    if (room > length) with_room[room - length].push_back(pack);
  }
  return result;
}

}  // namespace

Packs pack_best_fit(std::span<const int64_t> lengths, int64_t capacity) {
  Packs result;
  result.capacity = capacity;
  for (const int64_t length : lengths) {
    if (length < 1 || length > capacity)
      fail(ErrorKind::internal, "packing: got a document of {} tokens, expected 1 to {}", length,
           capacity);
    result.tokens += length;
  }
  auto [pack_of, packs] = assign_best_fit(lengths, capacity);

  // Counting sort by pack, which first get their final numbers.
  std::vector<int64_t> number(static_cast<size_t>(packs), -1);
  result.offsets.assign(static_cast<size_t>(packs) + 1, 0);
  int64_t numbered = 0;
  for (int64_t& pack : pack_of) {
    int64_t& final_number = number[static_cast<size_t>(pack)];
    if (final_number < 0) final_number = numbered++;
    pack = final_number;
    ++result.offsets[static_cast<size_t>(pack) + 1];
  }
  std::partial_sum(result.offsets.begin(), result.offsets.end(), result.offsets.begin());
  result.documents.resize(lengths.size());
  std::vector<int64_t> next = result.offsets;
  for (size_t document = 0; document < lengths.size(); ++document) {
    int64_t& place = next[static_cast<size_t>(pack_of[document])];
    result.documents[static_cast<size_t>(place++)] = static_cast<int64_t>(document);
  }
  return result;
}

}  // namespace nibble
