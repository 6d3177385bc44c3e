#!/usr/bin/env python3
"""Runs `nibble bench` once for each line of a file, `name | options`, and prints which card and driver did it, and a
Markdown table of the rates and of what was planned and measured.

    python tools/bench_table.py bench/h200.jobs [--nibble build/nibble] [--only TEXT]"""
import argparse
import json
import shlex
import shutil
import subprocess
from pathlib import Path

GIB = 2**30
COLUMNS = ["job", "tokens/s", "ms a step", "predicted", "of the ceiling, %", "planned GiB", "measured GiB",
           "`nibble bench`"]


def row(name, options, bench):
    predicted = bench["predicted_step_seconds"] / bench["step_seconds"] - 1
    return [name, f"{bench['tokens_per_second']:,.0f}", f"{1e3 * bench['step_seconds']:,.1f}",
            f"{100 * predicted:+.0f} %",
            f"{100 * bench['done_of_ceiling']:.0f} / {100 * bench['useful_of_ceiling']:.0f}",
            f"{bench['device_planned_bytes'] / GIB:.2f}", f"{bench['device_bytes'] / GIB:.2f}", f"`{options}`"]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", type=Path)
    parser.add_argument("--nibble", default="build/nibble")
    parser.add_argument("--only", default="", help="the jobs whose line contains this")
    args = parser.parse_args()

    def show(cells):
        print("| " + " | ".join(cells) + " |", flush=True)

    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        print(subprocess.run(query, capture_output=True, text=True, check=True).stdout)
    show(COLUMNS)
    show(["---"] * len(COLUMNS))
    for line in args.jobs.read_text().splitlines():
        if not line or line.startswith("#") or args.only not in line:
            continue
        name, options = (part.strip() for part in line.split("|"))
        done = subprocess.run([args.nibble, "bench", "--json", *shlex.split(options)], capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            print(f"{name}: exit code {done.returncode}: {done.stderr.strip()}", flush=True)
            continue
        bench = json.loads(done.stdout)
        if bench["measured_bytes"] != bench["planned_bytes"]:
            print(f"{name}: the plan's {bench['planned_bytes']} bytes are not the {bench['measured_bytes']} taken")
        show(row(name, options, bench))


if __name__ == "__main__":
    main()
