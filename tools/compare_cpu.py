#!/usr/bin/env python3
"""Speed and memory of QLoRA on this machine's CPU: nibble against transformers + PEFT + bitsandbytes.

    python tools/compare_cpu.py --nibble build/nibble --work /some/folder [--rounds 2] [--steps 4]

Makes a Llama-shaped model of 134 M parameters (12 layers, hidden 768, MLP 2048, vocabulary 32000,
bfloat16, random weights) and rows of text longer than 512 tokens, and trains both stacks on it in turn,
in float32 and in bfloat16: batch 4 x 512 tokens, NF4 with double quantization, LoRA r=16 on all linears,
gradient checkpointing, AdamW, all processors. Both train the same rows from the same adapter. Each run is
a process of its own; its peak memory is the operating system's account of it. Prints each run and the
ratios of medians, Nibble's auto dtype against the reference's faster one. Needs the packages of
requirements.txt; run it on an otherwise idle machine."""
import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHAPE = dict(layers=12, hidden=768, intermediate=2048, heads=12, kv_heads=12, vocab=32000)
BATCH, LENGTH = 4, 512


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
            "--batch", BATCH, "--max_length", LENGTH, "--lr", 1e-4, "--rank", 16, "--alpha", 32,
            "--gradient_checkpointing", "--threads", args.threads, *extra]


def run_reference(args, dtype):
    command = reference(args, ["--dataset", args.work / "rows.jsonl", "--steps", args.steps,
                               "--dtype", dtype])
    output, rss = run(command)
    result = json.loads(output.strip().splitlines()[-1])
    return result["tokens_per_second"], rss, result["last_loss"]


def run_nibble(args, dtype):
    out = args.work / "nibble-run"
    _, rss = run([args.nibble, "train", "--model_name_or_path", args.work / "model", "--dataset",
                  args.work / "rows.jsonl", "--adapter_name_or_path", args.work / "start",
                  "--output_dir", out, "--overwrite_output_dir", "true",
                  "--per_device_train_batch_size", BATCH, "--max_length", LENGTH, "--max_steps",
                  args.steps, "--learning_rate", 1e-4, "--lr_scheduler_type", "constant",
                  "--train_sampling_strategy", "sequential", "--logging_steps", 1, "--threads",
                  args.threads, "--bnb_4bit_compute_dtype", dtype])
    lines = [json.loads(line) for line in open(out / "metrics.jsonl")]
    seconds = sum(line["step_seconds"] for line in lines)
    return lines[-1]["tokens"] / seconds, rss, lines[-1]["loss"]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nibble", type=Path, default=ROOT / "build/nibble")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if not (args.work / "model").exists():
        shape = [item for key, value in SHAPE.items() for item in (f"--{key}", value)]
        run(reference(args, ["--synthetic", "--steps", 0, "--tokenizer", ROOT / "demo/model", *shape]))
    rows = [json.loads(line) for line in open(ROOT / "demo/train.jsonl")]
    text = " ".join(row["prompt"] + row["completion"] for row in rows)
    with open(args.work / "rows.jsonl", "w") as file:
        for i in range(BATCH * args.steps):
            file.write(json.dumps({"text": text[100 * i:100 * i + 8000]}) + "\n")

    results = {}
    for _ in range(args.rounds):
        for name, runner, dtype in (("reference float32", run_reference, "float32"),
                                    ("nibble float32", run_nibble, "float32"),
                                    ("reference bfloat16", run_reference, "bfloat16"),
                                    ("nibble bfloat16", run_nibble, "bfloat16"),
                                    ("nibble auto", run_nibble, "auto")):
            speed, rss, loss = runner(args, dtype)
            results.setdefault(name, []).append((speed, rss))
            print(f"{name:<20}{speed:>10.1f} tokens/s{rss:>10.0f} MiB   last loss {loss:.6f}", flush=True)
    speed = {name: statistics.median(s for s, _ in runs) for name, runs in results.items()}
    memory = {name: statistics.median(m for _, m in runs) for name, runs in results.items()}
    best = max(("reference float32", "reference bfloat16"), key=speed.get)
    print(f"nibble auto against {best}: {speed['nibble auto'] / speed[best]:.2f} x its tokens/s, "
          f"{memory['nibble auto'] / memory[best]:.2f} x its memory")


if __name__ == "__main__":
    main()
