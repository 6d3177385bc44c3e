#!/usr/bin/env python3
"""Loads an adapter that `nibble train` wrote in PEFT, on the same base, and compares logits with
Nibble's own. Both compute in float32 on the dense base, so they differ by rounding alone: the bound
is 1e-4 of the norm of a row's logits, that of the model goldens.

Usage: python tools/check_adapter_in_peft.py --nibble build/nibble --model DIR --adapter DIR \
           --dataset rows.jsonl
Exits with 1 when the bound is exceeded, or the adapter changes nothing.
"""

import argparse
import sys

import peft
import torch
import transformers
from nibble_logits import compare, nibble_logits, verdict
from transformers import AutoModelForCausalLM

BOUND = 1e-4


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for name in ("nibble", "model", "adapter", "dataset"):
        parser.add_argument("--" + name, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)

    rows, loss = nibble_logits(args.nibble, args.model, args.dataset, "--adapter", args.adapter,
                               "--load_in_4bit", "false")
    base = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32,
                                                attn_implementation="eager").eval()
    print(f"transformers {transformers.__version__}, peft {peft.__version__}; {len(rows)} rows, "
          f"Nibble's loss {loss:.6f}")
    with torch.no_grad():
        def logits_of(ids):
            return model(ids[None]).logits[0]
        model = base
        unadapted, _ = compare(rows, logits_of)
        model = peft.PeftModel.from_pretrained(base, args.adapter).eval()
        ok = verdict("Nibble against PEFT", compare(rows, logits_of), BOUND)
    print(f"the adapter changes the logits by {unadapted:.3g} of their norm")
    return 0 if ok and unadapted > 10 * BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
