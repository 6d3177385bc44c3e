#!/usr/bin/env python3
"""Trains one model twice, with nibble and with transformers + PEFT + bitsandbytes, on the same rows in the
same order from the same adapter, and prints the losses side by side.

    python tools/compare_training.py --nibble build/nibble --model DIR --dataset ROWS.jsonl --work DIR
        [--steps 50] [--dtype float32]

Rows are {"text": ...}. NF4 with double quantization, LoRA r=8 on all linears, batch 4, 256 tokens, AdamW,
constant learning rate 1e-3, clipping at 1. Needs the packages of requirements.txt."""
import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def train(nibble, model, dataset, dtype, steps, run, *more):
    """Trains with `nibble train` into the folder `run` and returns the loss of each step. Also for
    compare_devices.py."""
    command = [nibble, "train", "--model_name_or_path", model, "--dataset", dataset, "--train_sampling_strategy",
               "sequential", "--max_steps", steps, "--per_device_train_batch_size", 4, "--learning_rate", 1e-3,
               "--lr_scheduler_type", "constant", "--max_length", 256, "--truncation_mode", "keep_start",
               "--bnb_4bit_compute_dtype", dtype, "--logging_steps", 1, "--output_dir", run,
               "--overwrite_output_dir", "true", *more]
    subprocess.run([str(c) for c in command], check=True, stdout=subprocess.DEVNULL)
    return [line["loss"] for line in map(json.loads, open(run / "metrics.jsonl")) if "loss" in line]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nibble", default=ROOT / "build/nibble")
    parser.add_argument("--model", required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    losses = args.work / f"reference-{args.dtype}.jsonl"
    run = args.work / f"nibble-{args.dtype}"

    command = [sys.executable, ROOT / "tools/train_reference.py", "--model", args.model, "--dataset", args.dataset,
               "--adapter_start", args.work / "start", "--output", losses, "--steps", args.steps, "--batch", 4, "--lr",
               1e-3, "--max_length", 256, "--dtype", args.dtype, "--threads", 1, "--rank", 8, "--alpha", 16]
    subprocess.run([str(c) for c in command], check=True, stdout=subprocess.DEVNULL)
    reference = [json.loads(line)["loss"] for line in open(losses)]
    nibble = train(args.nibble, args.model, args.dataset, args.dtype, args.steps, run, "--adapter_name_or_path",
                   args.work / "start", "--threads", 1)
    gaps = [abs(a - b) for a, b in zip(reference, nibble)]
    print("| step | transformers + PEFT + bitsandbytes | nibble | gap |\n| --- | --- | --- | --- |")
    for step in sorted({1, 2, 5, *range(10, args.steps + 1, 10), gaps.index(max(gaps)) + 1}):
        print(f"| {step} | {reference[step - 1]:.7f} | {nibble[step - 1]:.7f} | {gaps[step - 1]:.1e} |")
    print(f"\nlargest gap over {len(gaps)} steps: {max(gaps):.2e} at step {gaps.index(max(gaps)) + 1}")


if __name__ == "__main__":
    main()
