#!/usr/bin/env python3
"""Writes the tables of docs/memory.md from `nibble plan`.

    python3 tools/make_memory_tables.py build/nibble

Nothing is measured here: plans need no GPU. What was measured stands in bench/results/h200.md and, for the
first table, in MEASURED below. Needs nothing but Python."""
import json
import subprocess
import sys
from pathlib import Path

DOC = Path(__file__).resolve().parent.parent / "docs/memory.md"
GIB = 2**30
# Phi-4-mini, 4 x 2048, r = 16 on one H200: bytes that its driver said were in use after the steps.
MEASURED = {"2GiB": 1.95, "6GiB": 5.96, "24GiB": 23.91}
CARDS = [("4GiB", "3060"), ("6GiB", "3060"), ("8GiB", "3060"), ("12GiB", "3060"), ("16GiB", "4060ti"),
         ("24GiB", "4090")]
MODELS = ["qwen2.5-0.5b", "llama3.2-1b", "llama3.2-3b", "phi4mini", "llama8b", "qwen3-14b", "qwen3-32b", "llama70b"]


def plan(nibble, *arguments):
    done = subprocess.run([nibble, "plan", "--json", *map(str, arguments)], capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else None


def size(count):
    return f"{count / GIB:.2f} GiB" if count >= GIB else f"{count / 2**20:.0f} MiB" if count >= 2**20 else "-"


def seed_job(nibble):
    rows = [("base weights", ["base weights", "embeddings and head"]), ("adapter", ["adapter"]),
            ("optimizer", ["optimizer"]), ("gradients", ["gradients"]),
            ("activations", ["checkpoints", "working set"]), ("batch", ["batch"])]
    plans = {budget: plan(nibble, "--arch", "phi4mini", "--max_length", 2048, "--per_device_train_batch_size", 4,
                          "--device_profile", "h200", "--memory_budget", budget, "--host_memory_budget", "100GiB")
             for budget in MEASURED}
    yield "| | elsewhere | " + " | ".join(f"in {b.replace('GiB', ' GiB')}: device | host" for b in plans) + " |"
    yield "| --- |" + " --- |" * (1 + 2 * len(plans))
    for name, parts in rows:
        cells = [size(sum(p[where][part] for part in parts))
                 for p in plans.values() for where in ("by_category", "far_by_category")]
        yield f"| {name} | | " + " | ".join(cells) + " |"
    cells = [cell for p in plans.values() for cell in (size(p["context_bytes"]), "-")]
    yield "| CUDA's context, libraries, tables | | " + " | ".join(cells) + " |"
    cells = [cell for p in plans.values()
             for cell in (size(p["peak_bytes"] + p["context_bytes"]), size(p["far_peak_bytes"]))]
    yield "| planned | 6 to 7 GB, by guides | " + " | ".join(cells) + " |"
    yield "| measured | 26.7 GiB | " + " | ".join(f"{MEASURED[b]:.2f} GiB | as planned" for b in plans) + " |"


def cards(nibble):
    yield "| model | " + " | ".join(f"{budget.replace('GiB', ' GiB')} ({card})" for budget, card in CARDS) + " |"
    yield "| --- |" + " --- |" * len(CARDS)
    for model in MODELS:
        cells = []
        for budget, card in CARDS:
            p = plan(nibble, "--arch", model, "--max_length", 2048, "--per_device_train_batch_size", 1,
                     "--device_profile", card, "--memory_budget", budget, "--host_memory_budget", "64GiB")
            cells.append(f"{p['tokens_per_second']:,.0f} ({p['longest_sequence']:,})" if p else "does not fit")
        print(model, cells, file=sys.stderr)
        yield f"| {model} | " + " | ".join(cells) + " |"


def main():
    text = DOC.read_text()
    for name, lines in (("seed job", seed_job(sys.argv[1])), ("cards", cards(sys.argv[1]))):
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        head, rest = text.split(begin)
        text = head + begin + "\n".join(lines) + "\n" + end + rest.split(end)[1]
    DOC.write_text(text)


main()
