// How linear_cross_entropy cuts the vocabulary and the trained rows: the same whatever is held of
// the logits, so that the products are the same.
#pragma once

#include <algorithm>
#include <cstdint>

namespace nibble {

// Tiles of the vocabulary, as equal as possible, of at most `most` entries, a multiple of 128.
class HeadTiles {
 public:
  HeadTiles(int64_t vocabulary, int64_t most) : vocabulary_(vocabulary) {
    const int64_t tiles = (vocabulary + most - 1) / most;
    const int64_t equal = (vocabulary + tiles - 1) / tiles;
    width_ = std::min(vocabulary, (equal + 127) / 128 * 128);
  }
  int64_t size() const { return (vocabulary_ + width_ - 1) / width_; }
  int64_t width() const { return width_; }  // of all but the last
  int64_t first(int64_t tile) const { return tile * width_; }
  int64_t count(int64_t tile) const { return std::min(width_, vocabulary_ - first(tile)); }

 private:
  int64_t vocabulary_, width_;
};

// visit(first, rows) for each `chunk` of `count` rows.
template <typename Visit>
void for_chunks(int64_t count, int64_t chunk, const Visit& visit) {
  for (int64_t first = 0; first < count; first += chunk)
    visit(first, std::min(chunk, count - first));
}

}  // namespace nibble
