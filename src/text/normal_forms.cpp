// utf8proc knows the decompositions, the classes and the compositions; the loops are UAX #15's,
// because utf8proc's own do not say which characters went into which.
#include "text/normal_forms.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <optional>

#include "core/error.h"
#include "text/unicode_tables.h"
#include "text/utf8.h"

namespace nibble {
namespace {

struct Unit {
  char32_t c;
  int combining_class;
  // Characters of the input that end in this one: 1, 0 for one that a decomposition added, more
  // for a composition.
  int consumed;
};

int combining_class(char32_t c) {
  if (is_inert_in_normalization(c)) return 0;
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class;
}

// Characters of class 0 that compose with the one before (NFC_Quick_Check=Maybe; no character of
// later Unicode versions is in: see is_inert_in_normalization).
bool composes_with_previous(char32_t c) {
  if ((c >= 0x1161 && c <= 0x1175) || (c >= 0x11A8 && c <= 0x11C2)) return true;
  constexpr std::array<char32_t, 23> kSeconds = {
      0x09BE,  0x09D7,  0x0B3E,  0x0B56,  0x0B57,  0x0BBE,  0x0BD7, 0x0CC2,
      0x0CD5,  0x0CD6,  0x0D3E,  0x0D57,  0x0DCF,  0x0DDF,  0x102E, 0x1B35,
      0x11127, 0x1133E, 0x11357, 0x114B0, 0x114BA, 0x114BD, 0x115AF};
  return std::find(kSeconds.begin(), kSeconds.end(), c) != kSeconds.end();
}

// True for a character that the form leaves alone whatever comes before it.
bool is_plain(char32_t c, NormalForm form) {
  if (c < (form.compose && !form.compatibility ? 0x300u : 0x80u)) return true;
  if (!form.compose && c >= 0xAC00 && c <= 0xD7A3) return false;  // Hangul syllables
  const utf8proc_property_t* property = utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
  return property->combining_class == 0 && property->decomp_seqindex == UINT16_MAX &&
         !(form.compose && composes_with_previous(c));
}

std::optional<char32_t> compose(char32_t first, char32_t second) {
  if (is_inert_in_normalization(first) || is_inert_in_normalization(second)) return std::nullopt;
  std::array<utf8proc_int32_t, 2> pair = {static_cast<utf8proc_int32_t>(first),
                                          static_cast<utf8proc_int32_t>(second)};
  const auto length = utf8proc_normalize_utf32(
      pair.data(), 2, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  if (length != 1) return std::nullopt;
  return static_cast<char32_t>(pair[0]);
}

// Decomposition and canonical ordering of the characters in [begin, end).
std::vector<Unit> decompose(std::string_view text, size_t begin, size_t end, NormalForm form) {
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                                                      (form.compatibility ? UTF8PROC_COMPAT : 0));
  std::vector<Unit> units;
  for (size_t i = begin; i < end; i += utf8_length(text[i])) {
    const char32_t c = decode_utf8(text, i);
    if (is_whole_in_normalization(c)) {
      units.push_back({c, combining_class(c), 1});
      continue;
    }
    std::array<utf8proc_int32_t, 32> parts;  // the longest decomposition is 18
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts.data(),
                                               std::ssize(parts), options, nullptr);
    if (count < 1 || count > std::ssize(parts))
      fail(ErrorKind::internal, "normalization: U+{:04X} decomposes into {}",
           static_cast<uint32_t>(c), count);
    for (utf8proc_ssize_t k = 0; k < count; ++k) {
      const auto part = static_cast<char32_t>(parts[static_cast<size_t>(k)]);
      units.push_back({part, combining_class(part), k == 0 ? 1 : 0});
    }
  }
  for (auto first = units.begin(); first != units.end();) {
    const auto starter = [](const Unit& unit) { return unit.combining_class == 0; };
    first = std::find_if_not(first, units.end(), starter);
    const auto last = std::find_if(first, units.end(), starter);
    std::stable_sort(first, last, [](const Unit& a, const Unit& b) {
      return a.combining_class < b.combining_class;
    });
    first = last;
  }
  return units;
}

// Canonical composition, in place.
void recompose(std::vector<Unit>& units) {
  std::optional<size_t> starter;
  size_t size = 0;
  for (size_t i = 0; i < units.size(); ++i) {
    const Unit unit = units[i];
    if (starter) {
      const bool adjacent = *starter + 1 == size;
      const bool blocked = !adjacent && units[size - 1].combining_class >= unit.combining_class;
      if (!blocked) {
        if (const auto composed = compose(units[*starter].c, unit.c)) {
          units[*starter].c = *composed;
          units[*starter].consumed += unit.consumed;
          continue;
        }
      }
    }
    if (unit.combining_class == 0) starter = size;
    units[size++] = unit;
  }
  units.resize(size);
}

void normalize_region(const NormalizedText& text, size_t begin, size_t end, NormalForm form,
                      NormalizedTextBuilder& builder) {
  const std::string_view view = text.view();
  std::vector<Unit> units = decompose(view, begin, end, form);
  if (form.compose) recompose(units);
  size_t at = begin;  // the first character of the input that has not been accounted for
  for (const Unit& unit : units) {
    builder.add(unit.c, unit.consumed > 0 ? text.original(at, at + utf8_length(view[at]))
                                          : text.before(at));
    for (int k = 0; k < unit.consumed; ++k) at += utf8_length(view[at]);
  }
}

}  // namespace

NormalizedText normalize(NormalizedText text, NormalForm form) {
  const std::string_view view = text.view();
  std::optional<NormalizedTextBuilder> builder;
  size_t copied = 0;    // everything before is in the builder
  size_t previous = 0;  // start of the character before i
  for (size_t i = 0; i < view.size();) {
    if (is_plain(decode_utf8(view, i), form)) {
      previous = i;
      i += utf8_length(view[i]);
      continue;
    }
    // What is not plain acts together with all like it after it, and may compose with the character
    // before.
    size_t end = i;
    while (end < view.size() && !is_plain(decode_utf8(view, end), form))
      end += utf8_length(view[end]);
    if (!builder) builder.emplace(text, view.size() + view.size() / 8);
    const size_t begin = form.compose ? previous : i;
    builder->copy(copied, begin);
    normalize_region(text, begin, end, form, *builder);
    copied = previous = i = end;
  }
  if (!builder) return text;
  builder->copy(copied, view.size());
  return std::move(*builder).build();
}

}  // namespace nibble
