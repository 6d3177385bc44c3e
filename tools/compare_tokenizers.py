#!/usr/bin/env python3
"""Compares Nibble's tokenizer with Hugging Face `tokenizers`: ids, byte offsets, decoded texts.

    python3 tools/compare_tokenizers.py <tokenizer_bench> [--count 50000] [--random 0 400]
                                        [<tokenizer.json>..]

For each file, and for each random small tokenizer of the given range of seeds (tokenizer_cases.py),
`count` generated strings are encoded by both; every eighth is bytes that are not UTF-8, replaced as
Python's bytes.decode(errors="replace") does. Prints one line for each, and the first difference.
Exits 1 if there is a difference.

Counted apart are texts that Nibble refuses: a character that has no token, in a model without
unk_token (the library drops it), and what the library itself panics at.
"""
import argparse
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer

from tokenizer_cases import FRAGMENTS, byte_offsets, garbled, make_string, random_tokenizer


def make_rows(added, count, first=0):
    """Bytes for Nibble and the text that they are for Python."""
    for i in range(first, first + count):
        text = make_string(FRAGMENTS, added, i)
        data = text.encode()
        if i % 8 == 7:
            data = garbled(text, i)
            text = data.decode(errors="replace")
        yield data, text


def of_nibble(bench, file, rows, folder):
    (folder / "tokenizer.json").write_text(json.dumps(file))
    with open(folder / "rows", "wb") as out:
        for data, _ in rows:
            out.write(struct.pack("<I", len(data)) + data)
    run = subprocess.run([bench, "encode", folder / "tokenizer.json", folder / "rows", folder / "out"],
                         stderr=subprocess.PIPE, text=True)
    if run.returncode != 0:
        return run.stderr.strip().splitlines()[-1]
    data = (folder / "out").read_bytes()
    refusals = iter(run.stderr.splitlines())
    at = 0

    def take(n):
        nonlocal at
        at += 4 * n
        return struct.unpack_from(f"<{n}I", data, at - 4 * n)

    results = []
    for _ in rows:
        if take(1)[0] == 1:
            results.append(next(refusals))
            continue
        n = take(1)[0]
        ids, flat, texts = list(take(n)), take(2 * n), []
        for _ in range(2):
            length = take(1)[0]
            texts.append(data[at : at + length].decode())
            at += length
        results.append((ids, list(zip(flat[::2], flat[1::2])), texts[0], texts[1]))
    return results


def of_library(tokenizer, text):
    try:
        encoding = tokenizer.encode(text)
        decoded = [tokenizer.decode(encoding.ids, skip_special_tokens=skip) for skip in (False, True)]
    except BaseException as panic:  # pyo3's PanicException is no Exception
        if isinstance(panic, (KeyboardInterrupt, MemoryError)):
            raise
        return None
    return encoding.ids, byte_offsets(text, encoding), decoded[0], decoded[1]


def compare(name, bench, file, count, folder, quiet):
    try:
        tokenizer = Tokenizer.from_str(json.dumps(file))
    except Exception as refusal:  # the library raises no narrower type
        tokenizer = None
        reason = refusal
    added = [token["content"] for token in file["added_tokens"]] or [""]
    rows = list(make_rows(added, count))
    results = of_nibble(bench, file, rows, folder)
    if tokenizer is None or isinstance(results, str):
        both = tokenizer is None and isinstance(results, str)
        by_name = isinstance(results, str) and "supported" in results
        print(f"{name}: {'refused by both' if both else 'refused by name' if by_name else 'REFUSED'}: "
              f"{results if isinstance(results, str) else reason}")
        return both or by_name
    dropped = panics = 0
    equal = [0, 0, 0]
    shown = False
    for (_, text), got in zip(rows, results):
        expected = of_library(tokenizer, text)
        if isinstance(got, str):
            dropped += "has no token" in got
            panics += expected is None or "cannot rewrite" in got
            if "has no token" in got or expected is None or "cannot rewrite" in got:
                continue
        if expected is None:
            panics += 1
            continue
        same = ([got[0] == expected[0], got[1] == expected[1], got[2:] == expected[2:]]
                if not isinstance(got, str) else [False] * 3)
        for k in range(3):
            equal[k] += same[k]
        if not all(same) and not shown:
            shown = True
            print(f"{name}: first difference, text {text!r}\n  nibble  {got}\n  library {expected}")
    compared = count - dropped - panics
    ok = equal == [compared] * 3
    if not (quiet and ok):
        print(f"{name}: of {compared} equal: ids {equal[0]}, offsets {equal[1]}, decoded {equal[2]}; "
              f"without a token {dropped}, panics {panics}", flush=True)
    return ok


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench")
    parser.add_argument("files", nargs="*")
    parser.add_argument("--count", type=int, default=50000)
    parser.add_argument("--random", nargs=2, type=int, default=(0, 0), metavar=("FIRST", "END"))
    options = parser.parse_intermixed_args()
    bad = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for path in options.files:
            file = json.loads(pathlib.Path(path).read_text())
            name = "/".join(pathlib.Path(path).parts[-2:])
            if not compare(name, options.bench, file, options.count, folder, False):
                bad.append(name)
        for seed in range(*options.random):
            try:
                file = random_tokenizer(seed)
            except BaseException as panic:  # the library cannot train with every combination
                if isinstance(panic, (KeyboardInterrupt, MemoryError)):
                    raise
                continue
            if not compare(f"random {seed}", options.bench, file, options.count, folder, True):
                bad.append(f"random {seed}")
    print(f"{len(bad)} differ: {', '.join(bad)}" if bad else "all equal")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
