#!/usr/bin/env python3
"""Makes tests/goldens/text/: tokenizers of every supported kind, trained here on text of our own,
and what Hugging Face `tokenizers` does with them and with real ones.

    python3 tools/make_tokenizer_goldens.py [folder of real models]

Writes
  fragments.json         what test strings are made of
  <kind>.tokenizer.json  small tokenizers
  <kind>.golden.json     readable cases (text, ids, byte offsets, decoded) and hashes (below)
  real_hashes.json       hashes for the real tokenizers (not committed themselves); null for a
                         file that `tokenizers` refuses to load

Hashes: string number i is made from fragments.json by `make_string` below, which
tests/text/golden_strings.h repeats in C++, so neither strings nor ids need to be committed.
For each 100 strings the first 16 hex digits of three SHA-256 are kept: of the ids (with special
tokens added; little-endian int32, -1 after each string), of the offsets (bytes; int32 pairs, -1
after each string) and of the decoded texts (once with, once without special tokens; UTF-8, NUL
after each). Made with tokenizers 0.23.3.
"""
import hashlib
import json
import pathlib
import random
import struct
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "goldens" / "text"
CHUNK = 100
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
    starts = [0]
    for c in text:
        starts.append(starts[-1] + len(c.encode()))
    return [(starts[a], starts[b]) for a, b in encoding.offsets]


def added_contents(file):
    return [token["content"] for token in file["added_tokens"]]


def hashes(file, count):
    tokenizer = Tokenizer.from_str(json.dumps(file))
    added = added_contents(file)
    rows = []
    for chunk in range(0, count, CHUNK):
        ids, offsets, texts = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
        for i in range(chunk, chunk + CHUNK):
            text = make_string(FRAGMENTS, added, i)
            encoding = tokenizer.encode(text)
            ids.update(struct.pack(f"<{len(encoding.ids) + 1}i", *encoding.ids, -1))
            flat = [x for pair in byte_offsets(text, encoding) for x in pair]
            offsets.update(struct.pack(f"<{len(flat) + 1}i", *flat, -1))
            for skip in (False, True):
                decoded = tokenizer.decode(encoding.ids, skip_special_tokens=skip)
                texts.update(decoded.encode() + b"\0")
        rows.append([h.hexdigest()[:16] for h in (ids, offsets, texts)])
    return rows


def all_characters(file):
    """Of each 4,352 characters (in blocks of 256, with neighbours) the hash of the ids and offsets."""
    tokenizer = Tokenizer.from_str(json.dumps(file))
    rows = []
    for chunk in range(0, 0x110000, 0x1100):
        digest = hashlib.sha256()
        for first in range(chunk, chunk + 0x1100, 0x100):
            text = "".join(
                f"x{chr(c)} {chr(c)}1" for c in range(first, first + 0x100) if not 0xD800 <= c < 0xE000
            )
            encoding = tokenizer.encode(text, add_special_tokens=False)
            flat = encoding.ids + [x for pair in byte_offsets(text, encoding) for x in pair]
            digest.update(struct.pack(f"<{len(flat)}i", *flat))
        rows.append(digest.hexdigest()[:16])
    return rows


def special(content, **options):
    return AddedToken(content, special=True, normalized=False, **options)


def train(model, corpus, added, vocab_size, normalizer=None, pre_tokenizer=None, byte_level=True):
    tokenizer = Tokenizer(model)
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet()) if byte_level else []
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=added,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    if not byte_level:  # no more characters than the small vocabulary has room for
        corpus = ["".join(c for c in line if c < "\u0250") for line in corpus]
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def with_bytes(tokenizer, added):
    """Inserts <0x00>..<0xFF> after the added tokens, where SentencePiece has them."""
    file = json.loads(tokenizer.to_str())
    n = len(added)
    shifted = {t: i if i < n else i + 256 for t, i in file["model"]["vocab"].items()}
    shifted.update({f"<0x{b:02X}>": n + b for b in range(256)})
    file["model"]["vocab"] = dict(sorted(shifted.items(), key=lambda item: item[1]))
    file["model"]["byte_fallback"] = True
    return file


def kinds():
    rng = random.Random(1)
    corpus = [
        " ".join(rng.choice(WORDS) for _ in range(rng.randrange(3, 12)))
        + rng.choice([".", "!", "\n", "  ", ", ", " 1234"])
        + rng.choice(FRAGMENTS)
        for _ in range(2000)
    ]
    split = lambda pattern, behavior, invert=False: pre_tokenizers.Split(Regex(pattern), behavior, invert)
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)

    added = [special("<|endoftext|>")]
    t = train(models.BPE(), corpus, added, 500, pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True))
    t.post_processor = processors.ByteLevel(trim_offsets=True)
    t.decoder = decoders.ByteLevel()
    yield "gpt2", json.loads(t.to_str())

    added = [special(f"<|{name}|>") for name in ("begin_of_text", "end_of_text", "start_header_id", "eot_id")]
    t = train(models.BPE(ignore_merges=True), corpus, added, 520,
              pre_tokenizer=pre_tokenizers.Sequence([split(LLAMA3_PATTERN, "isolated"), bytes_only]))
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing("<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)]),
    ])
    t.decoder = decoders.ByteLevel()
    file = json.loads(t.to_str())
    merges = file["model"]["merges"]
    file["model"]["merges"] = [" ".join(m) for m in merges if m[1] != "he"]  # ignore_merges shows
    yield "llama3", file

    added = [special("<|endoftext|>"), special("<|im_start|>"), special("<|im_end|>"),
             AddedToken("<tool_call>", normalized=False), AddedToken("caf\u00e9", normalized=True),
             AddedToken("quick", single_word=True, normalized=False)]
    t = train(models.BPE(), corpus, added[:3], 510, normalizer=normalizers.NFC(),
              pre_tokenizer=pre_tokenizers.Sequence([split(LLAMA3_PATTERN.replace("{1,3}", ""), "isolated"), bytes_only]))
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.decoder = decoders.ByteLevel()
    t.add_tokens(added[3:])
    yield "qwen", json.loads(t.to_str())

    added = [special("<|endoftext|>"), special("<|assistant|>", rstrip=True), special("<|end|>", rstrip=True),
             AddedToken("<|tool|>", rstrip=True, normalized=False),
             AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False)]
    t = train(models.BPE(), corpus, added[:3], 505,
              pre_tokenizer=pre_tokenizers.Sequence([split(O200K_PATTERN, "removed", True), bytes_only]))
    t.decoder = decoders.ByteLevel()
    t.add_tokens(added[3:])
    yield "phi4", json.loads(t.to_str())

    added = [special("<unk>"), special("<s>"), special("</s>")]
    t = train(models.BPE(unk_token="<unk>", fuse_unk=True), corpus, added, 420, byte_level=False,
              normalizer=normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]),
              pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="never"))
    t.pre_tokenizer = None
    t.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(),
                                   decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.add_tokens([AddedToken("<|end of turn|>", normalized=True)])
    file = with_bytes(t, added)
    file["added_tokens"][3]["id"] += 256
    yield "llama2", file

    # A merge over a space mark: words are no longer independent.
    file = json.loads(json.dumps(file))
    vocab = file["model"]["vocab"]
    del file["added_tokens"][3]
    for left, right in (("e", "\u2581"), ("e\u2581", "t"), ("\u2581", "\u2581"), ("\u2581\u2581", "\u2581\u2581")):
        if left + right not in vocab:
            vocab[left + right] = len(vocab)
        file["model"]["merges"].insert(0, [left, right])
    yield "llama2_phrases", file

    for scheme in ("always", "first", "never"):
        added = [special("<unk>"), special("<s>")]
        t = train(models.BPE(unk_token="<unk>", fuse_unk=scheme == "first"), corpus, added, 300, byte_level=False,
                  pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme=scheme, split=scheme != "first"))
        t.decoder = decoders.Metaspace(prepend_scheme=scheme)
        yield f"metaspace_{scheme}", json.loads(t.to_str())

    # The other ways to split, no decoder.
    t = train(models.BPE(unk_token="<unk>"), corpus, [special("<unk>")], 300, byte_level=False,
              normalizer=normalizers.Replace(Regex(r"[\r\n]+"), "\n"),
              pre_tokenizer=pre_tokenizers.Sequence([
                  pre_tokenizers.Digits(individual_digits=False), split(r"\s+", "merged_with_next"),
                  split(r"[\p{P}]", "contiguous"), pre_tokenizers.Split("e", "merged_with_previous"),
                  pre_tokenizers.Split("qu", "isolated"), split(r"x*", "removed")]))
    yield "splits", json.loads(t.to_str())


def readable_cases(file):
    tokenizer = Tokenizer.from_str(json.dumps(file))
    texts = ["", " ", "Hello world", "  Hello   world  \n\n", "don't DON'T we'll it\u2019s", "x = 12345678;",
             "cafe\u0301 caf\u00e9 \U0001f468\u200d\U0001f469\u200d\U0001f467", "\u4f60\u597d\uff0c\u4e16\u754c", "\u0958\u1100\u1161\u11a8\u212b",
             "\u2581the\u2581 e the", "\x00\x7f\u0085\u180e\u00a0|", "a" * 100, "\t\tif (x) {\r\n  y();\r\n}"]
    for token in added_contents(file):
        texts += [token, f"a {token} \u3000 b", f"the{token}the", f"{token}{token}  {token}"]
    cases = []
    for text in texts:
        encoding = tokenizer.encode(text)
        cases.append({
            "text": text,
            "ids": encoding.ids,
            "plain_ids": tokenizer.encode(text, add_special_tokens=False).ids,
            "offsets": byte_offsets(text, encoding),
            "decoded": tokenizer.decode(encoding.ids, skip_special_tokens=False),
            "decoded_plain": tokenizer.decode(encoding.ids, skip_special_tokens=True),
        })
    return cases


def dump(name, value):
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / name).write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")


def main():
    dump("fragments.json", FRAGMENTS)
    for kind, file in kinds():
        dump(f"{kind}.tokenizer.json", file)
        golden = {"cases": readable_cases(file), "hashes": hashes(file, 2000)}
        if kind in ("phi4", "qwen"):  # between them every category that patterns ask for, and NFC
            golden["all_characters"] = all_characters(file)
        dump(f"{kind}.golden.json", golden)
        print(kind)
    if len(sys.argv) > 1:
        real = {}
        for path in sorted(pathlib.Path(sys.argv[1]).glob("*/tokenizer*.json")):
            file = json.loads(path.read_text())
            if "model" in file:
                name = f"{path.parent.name}/{path.name}"
                try:
                    Tokenizer.from_file(str(path))
                except Exception as refusal:  # the library raises no narrower type
                    real[name] = None
                    print(name, "is refused:", refusal)
                    continue
                real[name] = hashes(file, 12000)
                print(name)
        dump("real_hashes.json", real)


if __name__ == "__main__":
    main()
