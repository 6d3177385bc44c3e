#include "text/pattern.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "text/json_fields.h"

namespace nibble {
namespace {

constexpr size_t kMaxLiteral = 1024;  // bounds the search to linear time

struct Segment {
  Match range;
  bool is_match;
};

// The whole text as matches and what lies between them.
std::vector<Segment> segments(std::string_view text, const Pattern& pattern, bool invert) {
  std::vector<Match> matches;
  pattern.find_all(text, matches);
  std::vector<Segment> out;
  out.reserve(matches.size() + 1);
  size_t at = 0;
  for (const Match& match : matches) {
    if (at != match.begin) out.push_back({{at, match.begin}, invert});
    out.push_back({match, !invert});
    at = match.end;
  }
  if (at != text.size()) out.push_back({{at, text.size()}, invert});
  return out;
}

}  // namespace

Pattern Pattern::from_json(const nlohmann::json& json, const std::string& who) {
  JsonFields fields(json, who);
  if (fields.find("Regex")) {
    Regex regex(fields.text("Regex"), who);
    fields.done();
    return Pattern(std::move(regex));
  }
  const std::string& literal = fields.text("String");
  fields.done();
  if (literal.empty() || literal.size() > kMaxLiteral)
    fail(ErrorKind::bad_input, "{}: got a string of {} bytes, expected 1..{}", who, literal.size(),
         kMaxLiteral);
  return Pattern(literal);
}

void Pattern::find_all(std::string_view text, std::vector<Match>& matches) const {
  if (const Regex* regex = std::get_if<Regex>(&pattern_)) {
    regex->find_all(text, matches);
    return;
  }
  const auto& literal = std::get<std::string>(pattern_);
  for (size_t at = text.find(literal); at != std::string_view::npos;
       at = text.find(literal, at + literal.size()))
    matches.push_back({at, at + literal.size()});
}

void fail_growth(const std::string& who, size_t bytes) {
  fail(ErrorKind::bad_input,
       "{}: the replacements would make a text of {} bytes more than 64 times "
       "longer",
       who, bytes);
}

SplitBehavior split_behavior(std::string_view name, const std::string& who) {
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  fail(ErrorKind::bad_input,
       "{}: field 'behavior': got '{}', expected Removed, Isolated, MergedWithPrevious, "
       "MergedWithNext or Contiguous",
       who, name);
}

void split(std::string_view text, const Pattern& pattern, SplitBehavior behavior, bool invert,
           std::vector<Match>& pieces) {
  std::vector<Segment> all = segments(text, pattern, invert);
  // Merging with the next is merging with the previous, read backwards.
  const bool backwards = behavior == SplitBehavior::merged_with_next;
  if (backwards) std::reverse(all.begin(), all.end());
  const auto first = static_cast<std::ptrdiff_t>(pieces.size());
  bool previous = false;
  bool any = false;
  for (const Segment& segment : all) {
    bool merge = false;
    switch (behavior) {
      case SplitBehavior::removed:
        if (segment.is_match) continue;
        break;
      case SplitBehavior::isolated:
        break;
      case SplitBehavior::merged_with_previous:
      case SplitBehavior::merged_with_next:
        merge = segment.is_match && !previous;
        break;
      case SplitBehavior::contiguous:
        merge = segment.is_match == previous;
        break;
    }
    previous = segment.is_match;
    if (merge && any) {
      pieces.back().begin = std::min(pieces.back().begin, segment.range.begin);
      pieces.back().end = std::max(pieces.back().end, segment.range.end);
    } else {
      pieces.push_back(segment.range);
      any = true;
    }
  }
  if (backwards) std::reverse(pieces.begin() + first, pieces.end());
  pieces.erase(std::remove_if(pieces.begin() + first, pieces.end(),
                              [](const Match& piece) { return piece.begin == piece.end; }),
               pieces.end());
}

}  // namespace nibble
