"""Makes tests/goldens/ops/adamw.json: several steps of torch.optim.AdamW on one float32 tensor.

    python tools/make_optimizer_goldens.py

Every number is a float32, written as the shortest decimal that gives it back.
"""

import json
from pathlib import Path

import torch

OUT = Path(__file__).resolve().parent.parent / "tests" / "goldens" / "ops" / "adamw.json"
SIZE, STEPS = 37, 6
# Hyperparameters that are exact in binary, and the usual ones.
CASES = {
    "binary": {"lr": 2.0**-7, "betas": (0.875, 0.96875), "eps": 2.0**-20, "weight_decay": 0.125},
    "usual": {"lr": 2e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01},
}


def floats(tensor):
    return [float(x) for x in tensor.tolist()]


def record(options):
    generator = torch.Generator().manual_seed(11)
    p = torch.randn(SIZE, generator=generator).requires_grad_()
    optimizer = torch.optim.AdamW([p], foreach=False, fused=False, **options)
    case = {**options, "p": floats(p.detach()), "steps": []}
    for _ in range(STEPS):
        p.grad = torch.randn(SIZE, generator=generator) * 10 ** (torch.rand(
            SIZE, generator=generator) * 6 - 4)
        p.grad[5] = 0.0
        optimizer.step()
        state = optimizer.state[p]
        case["steps"].append({"g": floats(p.grad), "p": floats(p.detach()),
                              "m": floats(state["exp_avg"]), "v": floats(state["exp_avg_sq"])})
    return case


def main():
    torch.set_num_threads(1)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    golden = {"torch": torch.__version__, **{name: record(o) for name, o in CASES.items()}}
    OUT.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
