#!/usr/bin/env python3
r"""Makes src/text/unicode_data.cpp: the Unicode that Hugging Face `tokenizers` sees, asked of the
library itself character by character, so that ids do not depend on the machine's libraries.

    python3 tools/make_unicode_tables.py > src/text/unicode_data.cpp

The library holds tables of several Unicode versions: 16 in its regular expressions (Oniguruma),
others in Rust's standard library and its crates. Categories are kept as runs; every other set as
its differences from a set of categories. Needs the `tokenizers` package (made with 0.23.3) and
Python 3.11 (its unicodedata, of Unicode 14, says where to look for normalization).
"""
import textwrap
import unicodedata

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = (
    "Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split()
)
ALL = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
TEXT = "".join(ALL)
SCRIPTS = "Arabic Cyrillic Devanagari Greek Han Hangul Hebrew Hiragana Katakana Latin Thai".split()


def matched(split):
    """The characters that a pre-tokenizer which cuts out one class of characters keeps."""
    return set("".join(piece for piece, _ in split.pre_tokenize_str(TEXT)))


def by_regex(pattern):
    return matched(pre_tokenizers.Split(Regex(pattern), "removed", invert=True))


category_of = dict.fromkeys(ALL, "Cn")
for category in CATEGORIES[1:]:
    category_of.update(dict.fromkeys(by_regex(r"\p{%s}+" % category), category))


def of_categories(names):
    names = names.split()
    return {c for c in ALL if any(category_of[c].startswith(n) for n in names)}


def ranges(characters):
    out = []
    for c in sorted(map(ord, characters)):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


# Which of the added characters a Split that isolates them cuts out.
def is_cut(pre_tokenizer):
    cut = set()
    for c in ALL:
        pieces = pre_tokenizer.pre_tokenize_str("a" + c + "a")
        if len(pieces) == 3 or len(pieces) == 2:
            cut.add(c)
    return cut


word = by_regex(r"[\w]+")
lone_word = by_regex(r"\w+")  # outside of a class Oniguruma adds some of Latin-1
rust_word = set()
spaces = {c for c in ALL if c.isspace()}
for c in ALL:
    pieces = pre_tokenizers.Whitespace().pre_tokenize_str("a" + c)
    if len(pieces) == 1 and pieces[0][0] == "a" + c:
        rust_word.add(c)
numeric = is_cut(pre_tokenizers.Digits(individual_digits=True))
punctuation = is_cut(pre_tokenizers.Punctuation("isolated"))
strip = normalizers.StripAccents()
mark = set(TEXT) - set(strip.normalize_str(TEXT))
clean = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False,
                                   lowercase=False)
control = {c for c in ALL if clean.normalize_str("a" + c + "b") == "ab"}
accents = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False,
                                     strip_accents=True, lowercase=False)
nonspacing = {c for c in ALL if category_of[c][0] == "M" and accents.normalize_str("a" + c) == "a"
              or category_of[c] != "Mn" and accents.normalize_str("\u0430" + c + "b") == "\u0430b"}

lowercase = normalizers.Lowercase()
lower = [(ord(c), lowercase.normalize_str(c)) for c in ALL]
special = [(c, text) for c, text in lower if len(text) != 1]
assert special == [(0x130, "i\u0307")], special
# Runs of characters at a step of 1 or 2 whose lowercase is as far away.
mapped = [(c, ord(text) - c) for c, text in lower if len(text) == 1 and ord(text) != c]
steps = []
for c, delta in mapped:
    if steps:
        first, last, step, d = steps[-1]
        if d == delta and (c - last == step or (first == last and c - last in (1, 2))):
            steps[-1] = (first, c, c - last, d)
            continue
    steps.append((c, c, 1, delta))

# Normalization: what the C library's newer tables know and the library's do not.
nfc, nfd, nfkd = (f().normalize_str for f in (normalizers.NFC, normalizers.NFD, normalizers.NFKD))
inert = set()
for c in ALL:
    is_mark = unicodedata.combining(c) > 0 or category_of[c][0] == "M"
    # U+0345 has class 240, the largest; U+0334 has class 1, the smallest above 0.
    if is_mark and nfc("\u0345" + c) == "\u0345" + c and nfc(c + "\u0334") == c + "\u0334":
        if unicodedata.combining(c) > 0 or unicodedata.category(c) == "Cn":
            inert.add(c)
for c in ALL:
    if unicodedata.category(c) == "Cn" or 0xAC00 <= ord(c) <= 0xD7A3:
        continue
    parts = unicodedata.normalize("NFD", c)
    if len(parts) > 1 and unicodedata.normalize("NFC", parts) == c and nfc(parts) != c:
        inert.add(parts[-1])
# Characters that decompose nowhere in the library, but may in newer tables: those that are not of
# Unicode 9 as far as its decompositions go, and all that Python does not know.
whole = {c for c in ALL
         if nfkd(c) == c and (unicodedata.normalize("NFKD", c) != c
                              or (unicodedata.category(c) == "Cn" and category_of[c] != "Cn"))}

def print_ranges(name, comment, characters):
    print(f"// {comment}")
    rows = ["{0x%X, 0x%X}," % (a, b) for a, b in ranges(characters)]
    print(f"constexpr CodePoints {name}Rows[] = {{")
    print(textwrap.fill(" ".join(rows), 98, initial_indent="    ", subsequent_indent="    "))
    print(f"}};\nconst std::span<const CodePoints> {name} = {name}Rows;\n")


print(f"""// Made by tools/make_unicode_tables.py with tokenizers {tokenizers.__version__}; do not edit.
#include "text/unicode_data.h"

namespace nibble::unicode_data {{

const std::string_view kCategoryRuns =""")
runs = []
for c in range(0x110000):
    category = CATEGORIES.index(category_of.get(chr(c), "Cn")) if not 0xD800 <= c < 0xE000 else 0
    if runs and runs[-1][0] == category:
        runs[-1][1] += 1
    else:
        runs.append([category, 1])
encoded = "".join(chr(97 + category) + (str(n) if n > 1 else "") for category, n in runs)
lines = [encoded[i : i + 92] for i in range(0, len(encoded), 92)]
print("\n".join(f'    "{line}"' for line in lines) + ";\n")
print_ranges("kWordDifference", r"Oniguruma's [\w] against L, M, Nd, Nl and Pc.",
             word ^ of_categories("L M Nd Nl Pc"))
print_ranges("kLoneWord", r"What Oniguruma's \w holds besides where it is not in a class.",
             lone_word - word)
assert word < lone_word
print_ranges("kRustWordDifference", r"\w of Rust's regex crate against the same.",
             rust_word ^ of_categories("L M Nd Nl Pc"))
print_ranges("kNumericDifference", "Rust's char::is_numeric against N.", numeric ^ of_categories("N"))
print_ranges("kPunctuationDifference", "What Punctuation cuts at, against P.",
             punctuation ^ of_categories("P"))
print_ranges("kMarkDifference", "What StripAccents takes out, against M.", mark ^ of_categories("M"))
print_ranges("kControlDifference", "What BertNormalizer's clean_text takes out, against Cc, Cf and Co.",
             control ^ of_categories("Cc Cf Co"))
print_ranges("kAccentDifference", "What BertNormalizer's strip_accents takes out, against Mn.",
             nonspacing ^ of_categories("Mn"))
print_ranges("kInert", "Reordered and composed nowhere.", inert)
print_ranges("kWhole", "Decomposed nowhere.", whole)
for script in SCRIPTS:
    print_ranges("k" + script, r"Oniguruma's \p{%s}." % script, by_regex(r"\p{%s}+" % script))
print("constexpr Script kScriptRows[] = {")
for script in SCRIPTS:
    print('    {"%s", k%sRows},' % (script.lower(), script))
print("};\nconst std::span<const Script> kScripts = kScriptRows;\n")
print("// Rust's char::to_lowercase, but for U+0130.\nconstexpr Lower kLowerRows[] = {")
rows = ["{0x%X, 0x%X, %d, %d}," % row for row in steps]
print(textwrap.fill(" ".join(rows), 98, initial_indent="    ", subsequent_indent="    "))
print("};\nconst std::span<const Lower> kLower = kLowerRows;\n\n}  // namespace nibble::unicode_data")
