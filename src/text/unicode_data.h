// The tables behind unicode_tables.h, made by tools/make_unicode_tables.py.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace nibble::unicode_data {

struct CodePoints {
  char32_t first, last;
};
struct Script {
  std::string_view name;  // lower case
  std::span<const CodePoints> ranges;
};
// first, first + step, .., last: the lower case is `delta` away.
struct Lower {
  char32_t first, last, step;
  int32_t delta;
};

// Runs of characters of one general category from U+0000 on: 'a' + the number of the category
// (kCategoryNames in unicode_tables.cpp), then the length of the run if it is not 1.
extern const std::string_view kCategoryRuns;

// All sorted. A "difference" holds the characters that are in a set but not in a union of
// categories, or the reverse.
extern const std::span<const CodePoints> kWordDifference, kLoneWord, kRustWordDifference,
    kNumericDifference, kPunctuationDifference, kMarkDifference, kControlDifference,
    kAccentDifference, kInert, kWhole;
extern const std::span<const Script> kScripts;
extern const std::span<const Lower> kLower;

}  // namespace nibble::unicode_data
