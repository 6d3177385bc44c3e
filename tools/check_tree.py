#!/usr/bin/env python3
"""Checks rules of the tree that a compiler does not: who may include whom, file lengths, and that no
path of a developer's machine got in. Run by .ci/run; prints what is wrong and exits with 1."""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Each folder below src/ may include these (and itself).
MAY_INCLUDE = {
    "core": set(),
    "files": {"core"},
    "text": {"core"},
    "data": {"core", "files", "text"},
    "quant": {"core"},
    "ops": {"core", "quant"},
    "lora": {"core", "files", "quant", "ops"},
    "transformer": {"core", "files", "quant", "ops", "lora"},
    "memory": {"core", "ops", "transformer"},
    "export": {"core", "files", "quant", "ops", "lora", "transformer", "memory"},
    "train": {"core", "files", "text", "data", "quant", "ops", "lora", "transformer", "memory"},
}
MAX_LINES = 600


def problems():
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix not in {".h", ".cpp", ".cu", ".cuh"}:
            continue
        name = path.relative_to(ROOT)
        folder = name.parts[1]
        text = path.read_text()
        lines = text.count("\n")
        if lines > MAX_LINES:
            yield f"{name}: {lines} lines, at most {MAX_LINES}; split it"
        if path.suffix in {".h", ".cuh"} and "#pragma once" not in text:
            yield f"{name}: no #pragma once"
        if folder == "cli":
            continue
        for included in re.findall(r'#include "([a-z_]+)/', text):
            if included != folder and included not in MAY_INCLUDE[folder]:
                yield f"{name}: {folder}/ may not include {included}/"
        if "cuda" in text and re.search(r"#include <cuda|#include <cublas|#include <cudnn", text):
            if name.parts[1:3] != ("ops", "cuda"):
                yield f"{name}: only src/ops/cuda includes CUDA headers"
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    for name in files.split():
        path = ROOT / name
        if path.stat().st_size > 1 << 20 or name == "tools/check_tree.py":
            continue
        text = path.read_bytes().decode("utf-8", errors="ignore")
        if re.search(r"(^|[\s\"'=])/(work|root|home)/", text):
            yield f"{name}: holds a path of somebody's machine"


found = list(problems())
print("\n".join(found) if found else "tree: include rule, file lengths and paths are in order")
sys.exit(1 if found else 0)
