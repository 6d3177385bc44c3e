#!/usr/bin/env python3
"""Speed of Nibble's tokenizer beside Hugging Face `tokenizers`, one core each, in one run.

    python3 tools/compare_tokenizer_speed.py <tokenizer_bench> <folder of texts> <tokenizer.json>..
                                             [--megabytes 100] [--rounds 3]

The text is all *.txt and *.jsonl (field "text") of the folder, in rows of about 4 kB that end at
line ends, repeated in a shuffled order until there are so many megabytes. Each tokenizer encodes
all rows in both programs by turns, so often as `rounds` says; the fastest of each counts. The
library is timed at its best: encode_batch_fast, which makes no offsets; Nibble makes them.
Both must give the same number of ids.
"""
import argparse
import json
import os
import pathlib
import platform
import random
import struct
import subprocess
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
import tokenizers  # noqa: E402  (reads the environment)

ROW = 4096


def rows_of(folder, size):
    text = []
    for path in sorted(pathlib.Path(folder).iterdir()):
        if path.suffix == ".txt":
            text += path.read_text(errors="replace").splitlines(keepends=True)
        elif path.suffix == ".jsonl":
            text += [json.loads(line)["text"] + "\n" for line in path.read_text().splitlines()]
    rows, row = [], ""
    for line in text:
        row += line
        if len(row) >= ROW:
            rows.append(row)
            row = ""
    rows.append(row)
    rng, out, total = random.Random(1), [], 0
    while total < size:
        rng.shuffle(rows)
        for row in rows:
            out.append(row)
            total += len(row.encode())
            if total >= size:
                break
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench")
    parser.add_argument("folder")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_intermixed_args()
    rows = rows_of(options.folder, options.megabytes * 10**6)
    size = sum(len(row.encode()) for row in rows)
    cpu = next((line.split(": ")[1].strip() for line in open("/proc/cpuinfo")
                if line.startswith("model name")), platform.machine())
    print(f"{size / 1e6:.0f} MB in {len(rows)} rows; tokenizers {tokenizers.__version__}; {cpu}\n")
    print("| tokenizer | ids | `tokenizers`, M ids/s | Nibble, M ids/s | Nibble, MB/s | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.NamedTemporaryFile() as out:
        for row in rows:
            data = row.encode()
            out.write(struct.pack("<I", len(data)) + data)
        out.flush()
        for path in options.files:
            tokenizer = tokenizers.Tokenizer.from_file(path)
            theirs, ours = [], []
            for _ in range(options.rounds):
                ids, seconds = 0, 0.0
                for at in range(0, len(rows), 1000):  # so that the results need no gigabytes
                    start = time.process_time()
                    encodings = tokenizer.encode_batch_fast(rows[at : at + 1000],
                                                            add_special_tokens=False)
                    seconds += time.process_time() - start
                    ids += sum(len(encoding) for encoding in encodings)
                theirs.append(seconds)
                run = subprocess.run([options.bench, "time", path, out.name], check=True,
                                     stdout=subprocess.PIPE, text=True)
                result = json.loads(run.stdout)
                assert result["ids"] == ids, (path, result["ids"], ids)
                ours.append(result["seconds"])
            name = pathlib.Path(path).parent.name
            print(f"| {name} | {ids} | {ids / min(theirs) / 1e6:.2f} | {ids / min(ours) / 1e6:.2f} "
                  f"| {size / min(ours) / 1e6:.1f} | {min(theirs) / min(ours):.1f} |", flush=True)


if __name__ == "__main__":
    main()
