"""What the tokenizer tools share: test strings, and small tokenizers of random parts.

String number i is made from FRAGMENTS by make_string, which tests/text/golden_strings.h repeats in
C++, so that neither strings nor ids need to be committed. random_tokenizer(seed) trains a small BPE
between a random normalizer, pre-tokenizer, post-processor and decoder, with random added tokens.
"""
import json
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

MASK = (1 << 64) - 1

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Of real files (Qwen, GPT-4 as written today, DeepSeek, BLOOM, Falcon, StarCoder, Kimi) and what
# else the syntax holds.
PATTERNS = [
    LLAMA3_PATTERN, LLAMA3_PATTERN.replace("{1,3}", ""), O200K_PATTERN,
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$"
    r"|\s*[\r\n]|\s+(?!\S)|\s",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}{1,3}",
    r"\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u01ba\u1c89\u10d0-\u10fa\u13a0-\u13f5\ua640-\ua66d]+",
    r" ?[^(\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+", r"[0-9][0-9][0-9]",
    r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|\s+(?!\S)|\s+",
    r"\w+|[^\w\s]+", r"\b", r"\B\w", r"(?<=\p{L})(?=\p{Lu})", r"(?<!\d)(?=(?:\d{3})+(?!\d))", r"^\s+|\s+$",
    r"(?>a+)b|a", r"(?:ab?)*?c", r"(a|ab)(c|bcd)*", r"x*", r"\h{2,4}|\H", r"(?i)the|of|and", r".+?e",
    r"\A.|.\z|.\Z", r"[^\S\n]+", r"[a-z&&[^aeiou]]+", r"\p{^L}+", r"\P{L}{2,}", r"(?:\p{L}\p{M}*)+",
    r"(?<=a|bc|\s)\S", r"(?:(?:a|e)?){3}", r"[\p{Hiragana}\p{Katakana}]+|\p{Cyrillic}+|\p{Hangul}+",
]

WORDS = """the a of and to in is that it was for on are with as his they at be this from have or by
one had not but what all were when we there can an your which their said if do will each about how
up out them then she many some so these would other into has more her two like him see time could no
make than first been its who now people my made over did down only way find use may water long little
very after words called just where most know Hello World HTTPServer getValue snake_case_name
camelCaseName quick brown fox jumps lazy dog don't we'll they've I'm you're he'd it's DON'T WE'LL
It'S model training gradient adapter memory budget tensor 4-bit quantized loss""".split()

FRAGMENTS = WORDS + [
    " ", " ", " ", " ", " ", " ", "  ", "   ", "    ", "        ", "\n", "\n\n", "\r\n", "\t", "\t\t",
    " \n", "\n ", " \t \n ", "\u00a0", "\u3000", "\u2003", "\u2028", "\u0085", "\u180e", "\ufeff",
    "\u200b", "\u200d", "\u00ad", "\x00", "\x01", "\x0b", "\x0c", "\x1b[31m", "\x7f", "\ufffd",
    ".", ",", "!", "?", "...", "?!", ";", ":", "'", '"', "(", ")", "[]", "{}", "<", ">", "</", "/>",
    "--", "---", "=====", "####", "&&", "||", "->", "=>", "::", "/*", "*/", "//", "\\n", "\\", "$", "%",
    "@user", "#tag", "https://example.org/a?b=c&d=%20e", "a.b.c@d.example", "C:\\dir\\file.txt",
    "0", "1", "7", "12", "123", "1234", "12345678901234567890", "3.14159", "1,000,000", "0xFF", "1e-5",
    "2025-07-10", "\u0661\u0662\u0663", "\u0967\u0968", "\u00b2\u00bd", "\u2167", "\u2460", "\u4e09\u5341",
    "'s", "'S", "'\u017f", "'t", "'LL", "'re", "'VE", "\u2019s", "'d'd", " 's", "''",
    "na\u00efve", "cafe\u0301", "caf\u00e9", "\u00c5ngstr\u00f6m", "A\u030angstro\u0308m", "\u212b", "\u2126",
    "\u1e9b\u0323", "q\u0323\u0307", "q\u0307\u0323", "a\u0334\u0345\u0301", "\u0344", "\u0f73", "\u0301x",
    "\u0958", "\u0915\u093c", "\u09c7\u09be", "\u1100\u1161\u11a8", "\uac00\u11a8", "\ud55c\uad6d\uc5b4",
    "\u110b\u1175\u11bc", "\ufb01n", "\ufb03", "\u00df", "\u1e9e", "\u0130", "\u0131", "\u01c5", "\u02b0",
    "\u1ea4n \u0111\u1ed9", "Vi\u1ec7t Nam ti\u1ebfng", "\u4f60\u597d\uff0c\u4e16\u754c\u3002",
    "\u4e2d\u6587\u5206\u8bcd\u6d4b\u8bd5", "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8", "\u304c\u304e\u304b\u3099",
    "\uff76\uff9e\uff21", "\U00020000\U0002a6d6", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440", "\u0451\u0439\u0435\u0308",
    "\u03b1\u03b2\u03b3 \u1f00\u03c1\u03c7\u03ae \u03cc", "\u05e9\u05dc\u05d5\u05dd", "\u05d1\u05bc\u05b0",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "\u0627\u0653\u064b\u0651", "\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e",
    "\u0b95\u0bca\u0b9f\u0bcd", "\u0d15\u0d4a", "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22\u0e19\u0e35\u0e49", "\u1019\u103c\u1014\u103a\u1019\u102c", "\u1025\u102e",
    "\u10e5\u10d0\u10e0\u10d7\u10e3\u10da\u10d8", "\u0540\u0561\u0575\u0565\u0580\u0565\u0576", "\u12a0\u121b\u122d\u129b", "\u13e3\u13b3\u13a9",
    "\U0001f600", "\U0001f44d\U0001f3fd", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7",
    "\u2764\ufe0f", "1\ufe0f\u20e3", "\U0001f3f4\U000e0067\U000e0062\U000e007f", "\U0001fae8", "\U0001fae9", "\u2615", "\U0001d538\U0001d7d9",
    # newer than Unicode 14, and than Unicode 9
    "\U00031350\U000323af", "\U0002ebf0", "\U00010d4a\U00010d6a", "\ua7cb\ua7da", "\u1c89\u1c8a", "\U00011f04\U00011f50",
    "\U0001cc00\U0001ccf9", "\U000105d2\u0307", "\U00016d67\U00016d67", "\u0345\u0898", "a\u07fd\u0301", "\U00011935\U00011930", "\u0ece",
    "def f(x):\n    return x + 1\n", "for (int i = 0; i < n; ++i) {\n\t", "}\n\n\n", "#include <vector>\n",
    "<div class=\"a\">", "SELECT * FROM t WHERE a = 'b';", "\"key\": [1, 2.5, null],", "$\\frac{a}{b}$", "| a | b |\n|---|---|\n",
    "<s>", "</s>", "<unk>", "<0x0A>", "<|endoftext|>", "<|end|>", "<|im_start|>", "<|eot_id|>", "<|", "|>", "<|user|",
    "\u2581", "\u2581\u2581", "\u2581the", "\u0120", "\u0120the", "\u010a", "\ue000", "\U0010ffff", "\ufdd0",
]


class Random:
    """splitmix64"""

    def __init__(self, seed):
        self.state = seed & MASK

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return ((z ^ (z >> 31)) & MASK) % n


def scalar(c):
    """The c-th Unicode scalar value: all code points but the surrogates."""
    return chr(c if c < 0xD800 else c + 0x800)


def make_string(fragments, added, i):
    rng = Random(i)
    out = []
    for _ in range(rng.below(16)):
        kind = rng.below(16)
        if kind < 10:
            out.append(fragments[rng.below(len(fragments))])
        elif kind == 10:  # a long run
            out.append(fragments[rng.below(len(fragments))] * rng.below(40))
        elif kind == 11:  # any characters
            out.extend(scalar(rng.below(0x10F800)) for _ in range(rng.below(4)))
        elif kind == 12:  # characters of one neighbourhood, where the scripts in use are
            base = rng.below(0x3400)
            out.extend(scalar(base + rng.below(24)) for _ in range(rng.below(12)))
        elif kind == 13:  # ASCII
            out.extend(chr(32 + rng.below(95)) for _ in range(rng.below(24)))
        elif kind == 14:  # a letter and marks
            out.append(chr(97 + rng.below(26)))
            out.extend(chr(0x300 + rng.below(0x70)) for _ in range(rng.below(4)))
        else:
            out.append(added[rng.below(len(added))])
    return "".join(out)


def byte_offsets(text, encoding):
    """The library counts in characters; an empty span at the very end of a text in bytes."""
    if text.isascii():
        return encoding.offsets
    starts = [0]
    for c in text:
        starts.append(starts[-1] + len(c.encode()))
    return [(starts[a], starts[b]) if b <= len(text) else (a, b) for a, b in encoding.offsets]


def garbled(text, i):
    """The UTF-8 of the text with some bytes changed, taken out or doubled."""
    rng = Random(~i)
    data = bytearray(text.encode())
    for _ in range(1 + rng.below(4)):
        if data:
            at = rng.below(len(data))
            data[at : at + rng.below(3)] = bytes(rng.below(256) for _ in range(rng.below(3)))
    return bytes(data)


def random_pattern(rng):
    if rng.random() < 0.3:
        return rng.choice([" ", "e", "qu", "\u2581", "\n", "<", "  ", "\u0301", "\u4e2d\u6587"])
    return Regex(rng.choice(PATTERNS))


def random_normalizer(rng):
    def flag():
        return rng.random() < 0.5

    return rng.choice([
        normalizers.NFC, normalizers.NFD, normalizers.NFKC, normalizers.NFKD, normalizers.Lowercase,
        normalizers.StripAccents, lambda: normalizers.Strip(flag(), flag()), normalizers.Nmt,
        lambda: normalizers.Prepend(rng.choice(["\u2581", "x", "", "\u00e9 "])),
        lambda: normalizers.Replace(random_pattern(rng), rng.choice(["", " ", "\u2581", "ab", "\u00e9"])),
        lambda: normalizers.Replace(" ", "\u2581"),
        lambda: normalizers.BertNormalizer(flag(), flag(), rng.choice([None, True, False]), flag()),
        normalizers.ByteLevel,
    ])()


def random_pre_tokenizer(rng):
    def flag():
        return rng.random() < 0.5

    behaviors = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
    return rng.choice([
        lambda: pre_tokenizers.ByteLevel(add_prefix_space=flag(), use_regex=flag()),
        lambda: pre_tokenizers.Split(random_pattern(rng), rng.choice(behaviors), flag()),
        lambda: pre_tokenizers.Split(random_pattern(rng), rng.choice(behaviors), flag()),
        lambda: pre_tokenizers.Digits(flag()),
        lambda: pre_tokenizers.Metaspace(prepend_scheme=rng.choice(["always", "first", "never"]), split=flag()),
        pre_tokenizers.Whitespace, pre_tokenizers.WhitespaceSplit, pre_tokenizers.BertPreTokenizer,
        lambda: pre_tokenizers.Punctuation(rng.choice(behaviors)),
        lambda: pre_tokenizers.CharDelimiterSplit(rng.choice([" ", "e", "\u2581", "."])),
        lambda: pre_tokenizers.FixedLength(rng.randrange(1, 9)),
    ])()


def random_decoder(rng):
    return rng.choice([
        decoders.ByteLevel, decoders.ByteFallback, decoders.Fuse,
        lambda: decoders.Strip(rng.choice([" ", "e", "\u2581"]), rng.randrange(3), 0),
        lambda: decoders.Replace(random_pattern(rng), rng.choice(["", " ", "ab"])),
        lambda: decoders.Metaspace(prepend_scheme=rng.choice(["always", "first", "never"])),
        lambda: decoders.BPEDecoder("</w>"),
        lambda: decoders.WordPiece("##", rng.random() < 0.5),
        lambda: decoders.CTC("<pad>", "|", rng.random() < 0.5),
    ])()


def some(rng, make, sequence, most=3):
    """None, one, or a Sequence of up to `most` parts."""
    count = rng.choice([0, 1, 1, 2, 2, most])
    if count == 0:
        return None
    return make(rng) if count == 1 else sequence([make(rng) for _ in range(count)])


def random_tokenizer(seed, vocab_size=700):
    """As tokenizer.json, parsed. The same for the same seed and version of the library."""
    rng = random.Random(seed)

    def flag():
        return rng.random() < 0.5

    unk = rng.random() < 0.8
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>" if unk else None, fuse_unk=flag(), ignore_merges=flag()))
    affixes = {}
    if rng.random() < 0.2:
        affixes = rng.choice([{"continuing_subword_prefix": "##"}, {"end_of_word_suffix": "</w>"},
                              {"continuing_subword_prefix": "##", "end_of_word_suffix": "</w>"}])
    if (part := some(rng, random_normalizer, normalizers.Sequence)) is not None:
        tokenizer.normalizer = part
    if (part := some(rng, random_pre_tokenizer, pre_tokenizers.Sequence)) is not None:
        tokenizer.pre_tokenizer = part
    corpus = [
        " ".join(rng.choice(WORDS) for _ in range(rng.randrange(3, 12))) + rng.choice(FRAGMENTS)
        for _ in range(300)
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=rng.randrange(200, vocab_size), special_tokens=["<unk>", "<s>", "</s>", "<pad>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()) if not unk or flag() else [],
        limit_alphabet=vocab_size // 2, show_progress=False, **affixes)
    tokenizer.train_from_iterator(corpus, trainer)
    ids = [("<s>", 1), ("</s>", 2)]
    processor = rng.choice([
        lambda: None,
        lambda: processors.ByteLevel(trim_offsets=flag()),
        lambda: processors.TemplateProcessing("<s> $A", special_tokens=ids),
        lambda: processors.TemplateProcessing("<s> <s> $A </s>", special_tokens=ids),
        lambda: processors.BertProcessing(("</s>", 2), ("<s>", 1)),
        lambda: processors.RobertaProcessing(("</s>", 2), ("<s>", 1), flag(), flag()),
        lambda: processors.Sequence([processors.ByteLevel(trim_offsets=True),
                                     processors.TemplateProcessing("<s> $A", special_tokens=ids)]),
        lambda: processors.Sequence([processors.TemplateProcessing("<s> $A", special_tokens=ids),
                                     processors.ByteLevel(trim_offsets=True)]),
    ])()
    if processor is not None:
        tokenizer.post_processor = processor
    decoder = some(rng, random_decoder, decoders.Sequence)
    if decoder is not None:
        tokenizer.decoder = decoder
    contents = ["<|end|>", "<mask>", "quick", "caf\u00e9", "HELLO", " x ", "\u2581the", "e\u0301", "12", "<|", "\U0001f600"]
    for content in rng.sample(contents, rng.randrange(len(contents))):
        special = flag()  # one that is also normalized may decode differently, on purpose
        tokenizer.add_tokens([AddedToken(content, single_word=flag(), lstrip=flag(), rstrip=flag(),
                                         normalized=flag() and not special, special=special)])
    file = json.loads(tokenizer.to_str())
    if unk and not affixes and "ByteLevel" not in json.dumps(file["pre_tokenizer"]) and flag():
        file = with_bytes(file)
    return file


def with_bytes(file):
    """Inserts <0x00>..<0xFF> after the special tokens of the trainer, where SentencePiece has them."""
    specials = sum(1 for token in file["added_tokens"] if token["id"] < 4 and token["special"])
    n = specials if specials < 4 else 4

    def shift(i):
        return i if i < n else i + 256

    vocab = {t: shift(i) for t, i in file["model"]["vocab"].items()}
    vocab.update({f"<0x{b:02X}>": n + b for b in range(256)})
    file["model"]["vocab"] = dict(sorted(vocab.items(), key=lambda item: item[1]))
    file["model"]["byte_fallback"] = True
    for token in file["added_tokens"]:
        token["id"] = shift(token["id"])
    return file
