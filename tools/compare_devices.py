#!/usr/bin/env python3
"""Trains one model with `nibble train` on the CPU and on the GPU, from the same start, and prints the losses side
by side.

    python tools/compare_devices.py --model DIR --dataset ROWS.jsonl --work DIR [--nibble build/nibble] [--steps 50]

Settings are those of compare_training.py."""
import argparse
from pathlib import Path

from compare_training import train

RUNS = {f"{device} {dtype}": (device, dtype) for dtype in ("float32", "bfloat16") for device in ("cpu", "cuda")}
PAIRS = [("cuda float32", "cpu float32"), ("cuda bfloat16", "cpu float32"), ("cuda bfloat16", "cpu bfloat16")]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nibble", default="build/nibble")
    parser.add_argument("--model", required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=50)
    args = parser.parse_args()

    losses = {name: train(args.nibble, args.model, args.dataset, dtype, args.steps, args.work / name.replace(" ", "-"),
                          "--device", device, "--lora_r", 8, "--lora_alpha", 16)
              for name, (device, dtype) in RUNS.items()}

    for a, b in PAIRS:
        gaps = [abs(x - y) for x, y in zip(losses[a], losses[b])]
        print(f"{a} against {b}: largest gap {max(gaps):.1e}, at step {gaps.index(max(gaps)) + 1}")
    print("\n| step | " + " | ".join(RUNS) + " |\n| --- |" + " --- |" * len(RUNS))
    for step in [1, 2, 5, *range(10, args.steps + 1, 10)]:
        print(f"| {step} | " + " | ".join(f"{losses[name][step - 1]:.7f}" for name in RUNS) + " |")


if __name__ == "__main__":
    main()
