"""Nibble's logits over the rows of a dataset, for the check_* scripts: `nibble eval --logits_out`."""

import json
import subprocess
import tempfile
from pathlib import Path

from safetensors.torch import load_file


def nibble_logits(program, model, dataset, *options):
    """A list of (ids, logits [T, vocab] in float32), computed in float32, and the mean loss."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "logits.safetensors"
        out = subprocess.run(
            [program, "eval", "--model_name_or_path", model, "--dataset", dataset, "--logits_out",
             str(path), "--bnb_4bit_compute_dtype", "float32", "--json", *options],
            check=True, capture_output=True, text=True).stdout
        tensors = load_file(path)
    rows = len(tensors) // 2
    return ([(tensors[f"row{i}.ids"].long(), tensors[f"row{i}.logits"]) for i in range(rows)],
            json.loads(out)["loss"])


def compare(rows, logits_of):
    """Largest relative error (2-norm of a row's logits) and largest absolute one."""
    relative, absolute = 0.0, 0.0
    for ids, ours in rows:
        theirs = logits_of(ids)
        relative = max(relative, ((ours - theirs).norm() / theirs.norm()).item())
        absolute = max(absolute, (ours - theirs).abs().max().item())
    return relative, absolute


def verdict(what, measured, bound):
    relative, absolute = measured
    print(f"{what}: relative {relative:.3g} (bound {bound:.3g}), absolute {absolute:.3g}")
    return relative <= bound
