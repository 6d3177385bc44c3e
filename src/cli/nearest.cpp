#include "cli/nearest.h"

#include <algorithm>
#include <numeric>

namespace nibble::cli {
namespace {

// Levenshtein distance.
size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0]++;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string suggestion(const std::string& given, const std::vector<std::string>& known) {
  if (given.size() > 64) return "";
  std::string best;
  size_t best_distance = std::max<size_t>(3, given.size() / 3) + 1;
  for (const std::string& name : known) {
    size_t distance = edit_distance(given, name);
    // "lr" and "rank" are near nothing, but part of what was meant.
    if (given.size() >= 3 && name.find(given) != std::string::npos)
      distance = std::min(distance, size_t{3});
    if (distance < best_distance) {
      best_distance = distance;
      best = name;
    }
  }
  return best.empty() ? "" : "; did you mean " + best + "?";
}

}  // namespace nibble::cli
