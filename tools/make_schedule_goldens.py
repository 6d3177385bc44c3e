"""Makes tests/goldens/train/schedules.json: learning rates as transformers.optimization gives them.

Every case lists the rate of each update, for scheduler type, warm-up and total steps.

Usage: python tools/make_schedule_goldens.py
"""

import json
from pathlib import Path

import torch
import transformers

PEAK = 2e-4


def rates(kind, warmup, total):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = transformers.get_scheduler(kind, optimizer, warmup, total)
    values = []
    for _ in range(total + 1):  # one beyond the end: the rate that is left
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


cases = [{"type": kind, "warmup_steps": warmup, "total_steps": total,
          "rates": rates(kind, warmup, total)}
         for kind in ("linear", "cosine", "constant", "constant_with_warmup")
         for warmup, total in ((0, 10), (3, 10), (1, 1), (10, 10), (12, 10), (7, 37))]
path = Path(__file__).resolve().parent.parent / "tests/goldens/train/schedules.json"
path.parent.mkdir(exist_ok=True)
path.write_text(json.dumps({"transformers": transformers.__version__, "learning_rate": PEAK,
                            "cases": cases}, indent=1) + "\n")
