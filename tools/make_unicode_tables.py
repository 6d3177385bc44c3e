#!/usr/bin/env python3
r"""Makes src/text/unicode_tables.cpp: how `tokenizers` sees the characters that its Unicode tables
and those of PCRE2 / utf8proc on Debian 12 disagree on.

    python3 tools/make_unicode_tables.py | clang-format --assume-filename=src/text/unicode_tables.cpp \
        > src/text/unicode_tables.cpp

Asks the library itself: general categories through its regular expressions, canonical combining
classes and compositions through its NFC. Needs Python 3.11 (its unicodedata is that of
Unicode 14) and the `tokenizers` package (made with 0.23.3).
"""
import unicodedata

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

assert unicodedata.unidata_version == "14.0.0", "needs the tables that PCRE2 10.42 has"
CATEGORIES = (
    "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split()
)
ALL = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
nfc = normalizers.NFC().normalize_str


def categories():
    seen = {}
    for category in CATEGORIES:
        split = pre_tokenizers.Split(Regex(r"\p{%s}+" % category), "removed", invert=True)
        for piece, _ in split.pre_tokenize_str("".join(ALL)):
            seen.update(dict.fromkeys(piece, category))
    return seen


def ranges(rows):
    merged = []
    for c, value in rows:
        if merged and merged[-1][1] == c - 1 and merged[-1][2] == value:
            merged[-1][1] = c
        else:
            merged.append([c, c, value])
    return merged


category_of = categories()
newer = [c for c in ALL if category_of.get(c, "Cn") != unicodedata.category(c)]
assert all(c in category_of for c in newer)
is_newer = set(newer)


def representative(c):
    for known in ALL:
        if (
            unicodedata.category(known) == category_of.get(known) == category_of[c]
            and len(known.encode()) == len(c.encode())
        ):
            return known
    raise SystemExit(f"no known character like U+{ord(c):04X}")


chosen = {}
rows = []
for c in newer:
    key = (category_of[c], len(c.encode()))
    if key not in chosen:
        chosen[key] = representative(c)
    rows.append((ord(c), ord(chosen[key])))

inert = set()
for c in ALL:
    is_mark = unicodedata.combining(c) > 0 or (c in is_newer and category_of[c][0] == "M")
    # U+0345 has class 240, the largest; U+0334 has class 1, the smallest above 0.
    if is_mark and nfc("\u0345" + c) == "\u0345" + c and nfc(c + "\u0334") == c + "\u0334":
        inert.add(c)
for c in ALL:
    if c in is_newer or 0xAC00 <= ord(c) <= 0xD7A3:
        continue
    parts = unicodedata.normalize("NFD", c)
    if len(parts) > 1 and unicodedata.normalize("NFC", parts) == c and nfc(parts) != c:
        inert.add(parts[-1])

print("// Made by tools/make_unicode_tables.py with tokenizers %s; do not edit." % tokenizers.__version__)
print('#include "text/unicode_tables.h"\n\n#include <algorithm>\n#include <array>\n#include <bitset>')
print("#include <cstdint>\n#include <iterator>\n\n#include \"text/utf8.h\"\n")
print("namespace nibble {\nnamespace {\n")
print("struct Newer {\n  char32_t first, last;\n  char32_t like;  // same category and UTF-8 length\n};\n")
print("constexpr Newer kNewer[] = {")
for first, last, like in ranges(rows):
    print("    {0x%04X, 0x%04X, 0x%04X}," % (first, last, like))
print("};\n\nstruct Range {\n  char32_t first, last;\n};\n\nconstexpr Range kInert[] = {")
for first, last, _ in ranges([(ord(c), 0) for c in sorted(inert)]):
    print("    {0x%04X, 0x%04X}," % (first, last))
print("};")
print(
    """
// The row that holds c, or null.
template <typename Row, size_t n>
const Row* find(const Row (&rows)[n], char32_t c) {
  const Row* row = std::lower_bound(std::begin(rows), std::end(rows), c,
                                    [](const Row& r, char32_t value) { return r.last < value; });
  return row != std::end(rows) && row->first <= c ? row : nullptr;
}

// Blocks of 256 code points that hold a newer character: most text is in none.
const std::bitset<0x1100>& newer_blocks() {
  static const std::bitset<0x1100> blocks = [] {
    std::bitset<0x1100> bits;
    for (const Newer& row : kNewer)
      for (char32_t block = row.first >> 8; block <= row.last >> 8; ++block) bits.set(block);
    return bits;
  }();
  return blocks;
}

const Newer* find_newer(char32_t c) {
  return newer_blocks().test(c >> 8) ? find(kNewer, c) : nullptr;
}

}  // namespace

bool has_newer_characters(std::string_view text) {
  for (size_t i = 0; i < text.size(); i += utf8_length(text[i]))
    if (utf8_length(text[i]) >= 3 && find_newer(decode_utf8(text, i))) return true;
  return false;
}

std::string with_known_characters(std::string_view text) {
  std::string known;
  known.reserve(text.size());
  for (size_t i = 0; i < text.size(); i += utf8_length(text[i])) {
    const char32_t c = decode_utf8(text, i);
    const Newer* newer = find_newer(c);
    append_utf8(known, newer ? newer->like : c);
  }
  return known;
}

bool is_inert_in_normalization(char32_t c) { return find(kInert, c) != nullptr; }

}  // namespace nibble"""
)
