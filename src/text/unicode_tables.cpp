#include "text/unicode_tables.h"

#include <algorithm>
#include <iterator>
#include <span>

#include "text/unicode_data.h"

namespace nibble {
namespace {

using unicode_data::CodePoints;

constexpr char32_t kLast = 0x10FFFF;
constexpr uint32_t kCategoryCount = 29;
constexpr std::string_view kCategoryNames =
    "Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs "
    "Zl Zp Cc Cf Co ";

uint32_t named(std::string_view name) { return categories_named(name).value(); }

uint32_t word_categories() {
  return named("L") | named("M") | named("Nd") | named("Nl") | named("Pc");
}

CharacterSet with_difference(uint32_t categories, std::span<const CodePoints> difference) {
  CharacterSet in = CharacterSet::of_categories(categories);
  CharacterSet out;  // in XOR difference = (in | difference) & ~(in & difference)
  for (const auto& [first, last] : difference) out.add(first, last);
  CharacterSet both = in;
  both.intersect(out);
  both.invert();
  in.add(out);
  in.intersect(std::move(both));
  return in;
}

struct Run {
  char32_t first, last;
  uint32_t category;
};

std::vector<Run> category_runs() {
  std::vector<Run> all;
  char32_t next = 0;
  const std::string_view runs = unicode_data::kCategoryRuns;
  for (size_t i = 0; i < runs.size();) {
    const auto category = static_cast<uint32_t>(runs[i++] - 'a');
    char32_t length = 0;
    while (i < runs.size() && runs[i] <= '9')
      length = length * 10 + static_cast<char32_t>(runs[i++] - '0');
    if (length == 0) length = 1;
    all.push_back({next, next + length - 1, category});
    next += length;
  }
  return all;
}

bool is_in(std::span<const CodePoints> rows, char32_t c) {
  const auto row =
      std::lower_bound(rows.begin(), rows.end(), c,
                       [](const CodePoints& r, char32_t value) { return r.last < value; });
  return row != rows.end() && row->first <= c;
}

}  // namespace

std::optional<uint32_t> categories_named(std::string_view name) {
  uint32_t categories = 0;
  if (name.size() == 1 || name.size() == 2)
    for (uint32_t i = 0; i < kCategoryCount; ++i)
      if (kCategoryNames.substr(3 * i, 2).starts_with(name)) categories |= 1u << i;
  if (categories == 0) return std::nullopt;
  return categories;
}

CharacterSet CharacterSet::of_categories(uint32_t categories) {
  static const std::vector<Run> all = category_runs();
  CharacterSet set;
  for (const auto& [first, last, category] : all)
    if ((categories >> category & 1) != 0) set.add(first, last);
  return set;
}

CharacterSet CharacterSet::white_space() {
  CharacterSet set;
  for (const Range range : {Range{0x9, 0xD},
                            {0x20, 0x20},
                            {0x85, 0x85},
                            {0xA0, 0xA0},
                            {0x1680, 0x1680},
                            {0x2000, 0x200A},
                            {0x2028, 0x2029},
                            {0x202F, 0x202F},
                            {0x205F, 0x205F},
                            {0x3000, 0x3000}})
    set.ranges_.push_back(range);
  return set;
}

CharacterSet CharacterSet::word() {
  static const CharacterSet set = with_difference(word_categories(), unicode_data::kWordDifference);
  return set;
}

CharacterSet CharacterSet::lone_word() {
  CharacterSet set = word();
  for (const auto& [first, last] : unicode_data::kLoneWord) set.add(first, last);
  return set;
}

CharacterSet CharacterSet::rust_word() {
  static const CharacterSet set =
      with_difference(word_categories(), unicode_data::kRustWordDifference);
  return set;
}

CharacterSet CharacterSet::numeric() {
  static const CharacterSet set = with_difference(named("N"), unicode_data::kNumericDifference);
  return set;
}

CharacterSet CharacterSet::punctuation() {
  static const CharacterSet set = with_difference(named("P"), unicode_data::kPunctuationDifference);
  return set;
}

CharacterSet CharacterSet::marks() {
  static const CharacterSet set = with_difference(named("M"), unicode_data::kMarkDifference);
  return set;
}

CharacterSet CharacterSet::controls() {
  static const CharacterSet set =
      with_difference(named("Cc") | named("Cf") | named("Co"), unicode_data::kControlDifference);
  return set;
}

CharacterSet CharacterSet::accents() {
  static const CharacterSet set = with_difference(named("Mn"), unicode_data::kAccentDifference);
  return set;
}

std::optional<CharacterSet> CharacterSet::script(std::string_view name) {
  for (const auto& script : unicode_data::kScripts) {
    if (script.name != name) continue;
    CharacterSet set;
    for (const auto& [first, last] : script.ranges) set.ranges_.push_back({first, last});
    return set;
  }
  return std::nullopt;
}

// A class of a regular expression may add hundreds of times to a large set: this takes a move of
// the ranges behind, not a sort of all.
void CharacterSet::add(char32_t first, char32_t last) {
  const auto begin =
      std::lower_bound(ranges_.begin(), ranges_.end(), first,
                       [](const Range& range, char32_t value) { return range.last + 1 < value; });
  auto end = begin;  // those that overlap or touch become one with it
  for (; end != ranges_.end() && end->first <= last + 1; ++end) {
    first = std::min(first, end->first);
    last = std::max(last, end->last);
  }
  if (begin == end) {
    ranges_.insert(begin, {first, last});
  } else {
    *begin = {first, last};
    ranges_.erase(begin + 1, end);
  }
}

void CharacterSet::add(const CharacterSet& other) {
  std::vector<Range> both;
  both.reserve(ranges_.size() + other.ranges_.size());
  std::merge(ranges_.begin(), ranges_.end(), other.ranges_.begin(), other.ranges_.end(),
             std::back_inserter(both),
             [](const Range& a, const Range& b) { return a.first < b.first; });
  ranges_.clear();
  for (const Range& range : both) {
    if (!ranges_.empty() && range.first <= ranges_.back().last + 1) {
      ranges_.back().last = std::max(ranges_.back().last, range.last);
    } else {
      ranges_.push_back(range);
    }
  }
}

void CharacterSet::invert() {
  std::vector<Range> inverted;
  char32_t next = 0;
  for (const Range& range : ranges_) {
    if (next < range.first) inverted.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLast) inverted.push_back({next, kLast});
  ranges_ = std::move(inverted);
}

void CharacterSet::intersect(CharacterSet other) {
  invert();
  other.invert();
  add(other);
  invert();
}

CharacterClass::CharacterClass(const CharacterSet& set) {
  blocks_.push_back({});
  constexpr std::array<uint64_t, 4> kFull = {~0ull, ~0ull, ~0ull, ~0ull};
  uint16_t full = 0;
  for (const auto& [first, last] : set.ranges()) {
    for (char32_t page = first >> 8; page <= last >> 8; ++page) {
      const char32_t from = std::max<char32_t>(first, page << 8);
      const char32_t to = std::min<char32_t>(last, (page << 8) + 255);
      if (to - from == 255) {
        if (full == 0) {
          full = static_cast<uint16_t>(blocks_.size());
          blocks_.push_back(kFull);
        }
        pages_[page] = full;
        continue;
      }
      if (pages_[page] == 0) {
        pages_[page] = static_cast<uint16_t>(blocks_.size());
        blocks_.push_back({});
      }
      for (char32_t c = from; c <= to; ++c)
        blocks_[pages_[page]][c >> 6 & 3] |= uint64_t{1} << (c & 63);
    }
  }
}

char32_t to_lower(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  const auto rows = unicode_data::kLower;
  const auto row =
      std::lower_bound(rows.begin(), rows.end(), c,
                       [](const unicode_data::Lower& r, char32_t value) { return r.last < value; });
  if (row == rows.end() || c < row->first || (c - row->first) % row->step != 0) return c;
  return static_cast<char32_t>(static_cast<int32_t>(c) + row->delta);
}

bool is_inert_in_normalization(char32_t c) { return is_in(unicode_data::kInert, c); }
bool is_whole_in_normalization(char32_t c) { return is_in(unicode_data::kWhole, c); }

}  // namespace nibble
