#!/usr/bin/env python3
"""Makes tests/goldens/text/: tokenizers of every supported kind, trained here on text of our own,
and what Hugging Face `tokenizers` does with them and with real ones.

    python3 tools/make_tokenizer_goldens.py [folder of real models]

Writes
  fragments.json         what test strings are made of
  <kind>.tokenizer.json  small tokenizers
  <kind>.golden.json     readable cases (text, ids, byte offsets, decoded) and hashes (below)
  random.json            small tokenizers of random parts (tokenizer_cases.py), each with hashes
  regex.json             patterns, and the lengths of the pieces they cut the first strings into
  invalid_utf8.json      bytes, in hexadecimal, and the text that Python decodes them to
  real_hashes.json       hashes for the real tokenizers (not committed themselves); null for a
                         file that `tokenizers` refuses to load

Hashes: string number i is made from fragments.json by make_string (tokenizer_cases.py), which
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

from tokenizer_cases import FRAGMENTS, LLAMA3_PATTERN, O200K_PATTERN, PATTERNS, WORDS
from tokenizer_cases import byte_offsets, garbled, make_string, random_tokenizer

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "goldens" / "text"
CHUNK = 100
RANDOM_COUNT = 36


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


def random_files():
    """Small tokenizers that the library can train and use, with a token for every character."""
    found = []
    for seed in range(1000, 2000):
        if len(found) == RANDOM_COUNT:
            return found
        try:
            file = random_tokenizer(seed, vocab_size=260)
            if file["model"]["unk_token"]:
                found.append({"seed": seed, "file": file, "hashes": hashes(file, 2 * CHUNK)})
        except BaseException as panic:  # pyo3's PanicException is no Exception
            if isinstance(panic, (KeyboardInterrupt, MemoryError)):
                raise
    raise SystemExit("too few random tokenizers")


def regex_pieces():
    """Of each pattern the bytes of each piece that Split(pattern, "isolated") cuts strings into."""
    rows = []
    for pattern in PATTERNS:
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        strings = [make_string(FRAGMENTS, [" "], i) for i in range(24)]
        rows.append([pattern, [[len(piece.encode()) for piece, _ in split.pre_tokenize_str(text)]
                               for text in strings]])
    return rows


def invalid_utf8():
    rows = []
    for i in range(400):
        data = garbled(make_string(FRAGMENTS, [""], i), i)
        rows.append([data.hex(), data.decode(errors="replace")])
    return rows


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
    dump("random.json", random_files())
    dump("regex.json", regex_pieces())
    dump("invalid_utf8.json", invalid_utf8())
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
