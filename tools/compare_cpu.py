#!/usr/bin/env python3
"""Speed and memory of QLoRA on this machine's CPU: nibble against transformers + PEFT + bitsandbytes.

    python tools/compare_cpu.py --nibble build/nibble --work /some/folder [--rounds 2] [--steps 4]

Makes a Llama-shaped model of 134 M parameters (12 layers, hidden 768, MLP 2048, vocabulary 32000,
bfloat16, random weights) and rows of text longer than 512 tokens, and trains both stacks on it in turn:
batch 4 x 512 tokens, NF4 with double quantization, LoRA r=16 on all linears, AdamW, all processors; with
every block recomputed (gradient checkpointing) and with none. Both train the same rows from the same
adapter. Each run is a process of its own; its peak memory is the operating system's account of it. The
first step of each is not timed. Where nibble does not compute in bfloat16 (no AVX-512), say --dtypes
float32. Needs the packages of requirements.txt; run it on an idle machine."""
import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHAPE = dict(layers=12, hidden=768, intermediate=2048, heads=12, kv_heads=12, vocab=32000)
LENGTH = 512


def run(command):
    """Runs to the end; returns (stdout, peak RSS in MiB)."""
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"failed ({status}): {' '.join(map(str, command))}\n{output}")
    return output, usage.ru_maxrss / 1024


def reference(args, extra):
    return [sys.executable, ROOT / "tools/train_reference.py", "--model", args.work / "model",
            "--adapter_start", args.work / "start", "--output", args.work / "reference.jsonl",
            "--batch", args.batch, "--max_length", LENGTH, "--lr", 1e-4, "--rank", 16, "--alpha", 32,
            "--threads", args.threads, *extra]


def run_reference(args, dtype, recompute):
    command = reference(args, ["--dataset", args.work / "rows.jsonl", "--steps", args.steps + 1,
                               "--dtype", dtype] + ["--gradient_checkpointing"] * recompute)
    _, rss = run(command)
    lines = [json.loads(line) for line in open(args.work / "reference.jsonl")]
    return lines, "seconds", rss


def run_nibble(args, dtype, recompute):
    out = args.work / "nibble-run"
    _, rss = run([args.nibble, "train", "--model_name_or_path", args.work / "model", "--dataset",
                  args.work / "rows.jsonl", "--adapter_name_or_path", args.work / "start",
                  "--output_dir", out, "--overwrite_output_dir", "true",
                  "--per_device_train_batch_size", args.batch, "--max_length", LENGTH, "--max_steps",
                  args.steps + 1, "--learning_rate", 1e-4, "--lr_scheduler_type", "constant",
                  "--train_sampling_strategy", "sequential", "--logging_steps", 1, "--threads",
                  args.threads, "--bnb_4bit_compute_dtype", dtype, "--gradient_checkpointing",
                  "every" if recompute else "none", "--ignore_guards", "answer-cut"])
    return [json.loads(line) for line in open(out / "metrics.jsonl")], "step_seconds", rss


def tokens_of(lines, stack):
    """Of each step, without padding; nibble's log counts from the run's beginning."""
    counts = [line["tokens"] for line in lines]
    return counts if stack == "reference" else [b - a for a, b in zip([0, *counts], counts)]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nibble", type=Path, default=ROOT / "build/nibble")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--alpaca", type=Path, help="JSON file of rows of different lengths")
    parser.add_argument("--tokenizer", type=Path, default=ROOT / "demo/model")
    args = parser.parse_args()
    args.batch = 8 if args.alpaca else 4
    args.work.mkdir(parents=True, exist_ok=True)
    if not (args.work / "model").exists():
        shape = [item for key, value in SHAPE.items() for item in (f"--{key}", value)]
        run(reference(args, ["--synthetic", "--steps", 0, "--tokenizer", args.tokenizer, *shape]))
    count = args.batch * (args.steps + 1)
    if args.alpaca:
        from tokenizers import Tokenizer
        tokenizer = Tokenizer.from_file(str(args.tokenizer / "tokenizer.json"))
        records = []
        for row in json.loads(args.alpaca.read_text())[:count]:
            text = "\n".join(filter(None, (row["instruction"], row["input"], row["output"])))
            ids = tokenizer.encode(text).ids + [tokenizer.token_to_id("</s>")]
            records.append({"input_ids": ids, "labels": ids})
    else:
        rows = [json.loads(line) for line in open(ROOT / "demo/train.jsonl")]
        text = " ".join(message["content"] for row in rows for message in row["messages"])
        records = [{"text": text[100 * i:100 * i + 8000]} for i in range(count)]
    with open(args.work / "rows.jsonl", "w") as file:
        for record in records:
            file.write(json.dumps(record) + "\n")

    variants = [(stack, dtype, recompute) for dtype in args.dtypes.split(",")
                for recompute in (True, False) for stack in ("reference", "nibble")]
    results = {}
    for _ in range(args.rounds):
        for stack, dtype, recompute in variants:
            lines, key, rss = (run_reference if stack == "reference" else run_nibble)(
                args, dtype, recompute)
            speed = sum(tokens_of(lines, stack)[1:]) / sum(line[key] for line in lines[1:])
            results.setdefault((stack, dtype, recompute), []).append((speed, rss))
            print(f"{stack:<10}{dtype:<10}{'recompute' if recompute else 'keep':<10}{speed:>9.1f} "
                  f"tokens/s{rss:>8.0f} MiB   last loss {lines[-1]['loss']:.5f}", flush=True)
    median = {key: tuple(statistics.median(column) for column in zip(*runs))
              for key, runs in results.items()}
    for _, dtype, recompute in variants[::2]:
        ours, theirs = median["nibble", dtype, recompute], median["reference", dtype, recompute]
        print(f"{dtype}, {'recompute' if recompute else 'keep'}: {ours[0] / theirs[0]:.2f} x its "
              f"tokens/s, {ours[1] / theirs[1]:.2f} x its memory")
    def against(title, theirs):
        fits = [k for k in median if k[0] == "nibble" and median[k][1] <= median[theirs][1] / 2]
        mine = max(fits, key=lambda k: median[k][0])
        print(f"{title} ({theirs[1]}, {'recompute' if theirs[2] else 'keep'}) against the fastest nibble in "
              f"at most half of its memory ({mine[1]}, {'recompute' if mine[2] else 'keep'}): "
              f"{median[mine][0] / median[theirs][0]:.2f} x tokens/s, "
              f"{median[mine][1] / median[theirs][1]:.2f} x memory")
    references = sorted((k for k in median if k[0] == "reference"), key=lambda k: median[k][0])
    against("fastest reference", references[-1])
    against("fastest reference that recomputes", [k for k in references if k[2]][-1])


if __name__ == "__main__":
    main()
