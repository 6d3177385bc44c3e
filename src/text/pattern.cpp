#include "text/pattern.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "text/json_fields.h"
#include "text/utf8.h"

namespace nibble {
namespace {

constexpr size_t kMaxLiteral = 1024;  // bounds the search to linear time

struct Segment {
  Match range;
  bool is_match;
};

// A whole text as matches and what lies between them.
std::vector<Segment> segments(size_t size, const std::vector<Match>& matches, bool invert) {
  std::vector<Segment> out;
  out.reserve(2 * matches.size() + 1);
  size_t at = 0;
  for (const Match& match : matches) {
    if (at != match.begin) out.push_back({{at, match.begin}, invert});
    out.push_back({match, !invert});
    at = match.end;
  }
  if (at != size) out.push_back({{at, size}, invert});
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
  if (const auto* regex = std::get_if<Regex>(&pattern_)) {
    regex->find_all(text, matches);
  } else if (const auto* literal = std::get_if<std::string>(&pattern_)) {
    for (size_t at = text.find(*literal); at != std::string_view::npos;
         at = text.find(*literal, at + literal->size()))
      matches.push_back({at, at + literal->size()});
  } else if (const auto* each = std::get_if<CharacterClass>(&pattern_)) {
    for (size_t at = 0; at < text.size();) {
      const size_t end = at + utf8_length(text[at]);
      if (each->contains(decode_utf8(text, at))) matches.push_back({at, end});
      at = end;
    }
  } else {
    const auto& [a, b] = std::get<Runs>(pattern_);
    const CharacterClass* run = nullptr;  // the set of the run that is under way
    for (size_t at = 0; at < text.size();) {
      const size_t end = at + utf8_length(text[at]);
      const char32_t c = decode_utf8(text, at);
      const CharacterClass* in = a.contains(c) ? &a : b.contains(c) ? &b : nullptr;
      if (in && in == run) {
        matches.back().end = end;
      } else if (in) {
        matches.push_back({at, end});
      }
      run = in;
      at = end;
    }
  }
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
       "{}: field 'behavior': got '{}', expected Removed, Isolated, "
       "MergedWithPrevious, "
       "MergedWithNext or Contiguous",
       who, name);
}

void split(std::string_view text, const Pattern& pattern, SplitBehavior behavior, bool invert,
           std::vector<Match>& pieces) {
  std::vector<Match> matches;
  pattern.find_all(text, matches);
  const auto add = [&](size_t begin, size_t end) {
    if (begin < end) pieces.push_back({begin, end});
  };
  const bool isolated = behavior == SplitBehavior::isolated;
  if (isolated || behavior == SplitBehavior::removed) {
    size_t at = 0;
    for (const Match& match : matches) {
      if (isolated || !invert) add(at, match.begin);
      if (isolated || invert) add(match.begin, match.end);
      at = match.end;
    }
    if (isolated || !invert) add(at, text.size());
    return;
  }
  std::vector<Segment> all = segments(text.size(), matches, invert);
  // Merging with the next is merging with the previous, read backwards.
  const bool backwards = behavior == SplitBehavior::merged_with_next;
  if (backwards) std::reverse(all.begin(), all.end());
  std::vector<Match> merged;
  bool previous = false;
  for (const auto& [range, is_match] : all) {
    const bool merge =
        behavior == SplitBehavior::contiguous ? is_match == previous : is_match && !previous;
    previous = is_match;
    if (merge && !merged.empty()) {
      merged.back().begin = std::min(merged.back().begin, range.begin);
      merged.back().end = std::max(merged.back().end, range.end);
    } else {
      merged.push_back(range);
    }
  }
  if (backwards) std::reverse(merged.begin(), merged.end());
  for (const Match& piece : merged) add(piece.begin, piece.end);
}

}  // namespace nibble
