#!/usr/bin/env python3
"""Loads a folder that `nibble quantize` wrote in transformers + bitsandbytes and compares logits
with Nibble's own on it, in float32. Three things:

1. transformers loads it: every linear layer of the blocks is a bnb.nn.Linear4bit, no key is missing
   or left over.
2. The same weights: with each Linear4bit replaced by what bitsandbytes dequantizes it to, in the
   dtype that was quantized, logits differ by float32 rounding: at most 1e-4 of their norm.
3. As it runs: bitsandbytes does not round dequantized weights to that dtype when it computes in
   float32, Nibble does, as training in it would. For a bfloat16 source that moves a weight by up to
   2^-8 of itself, and bitsandbytes' fused CPU kernel may round scales to bfloat16, another 2^-8. With
   four products in a row in each block: at most 4 * blocks * 2^-7.

The model's in_features must be multiples of 64: where a block of 64 crosses rows, the CPU kernel of
bitsandbytes 0.50.2 decodes the wrong values (found with in_features 32, against the format by hand).

Usage: python tools/check_quantized_folder.py --nibble build/nibble --folder DIR --dataset rows.jsonl
Exits with 1 when something does not hold.
"""

import argparse
import sys

import bitsandbytes
import torch
import transformers
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from nibble_logits import compare, nibble_logits, verdict
from transformers import AutoModelForCausalLM


def linears_of(model):
    return {name: module for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and ".layers." in name}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for name in ("nibble", "folder", "dataset"):
        parser.add_argument("--" + name, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)

    rows, loss = nibble_logits(args.nibble, args.folder, args.dataset)
    model, info = AutoModelForCausalLM.from_pretrained(
        args.folder, dtype=torch.float32, attn_implementation="eager", device_map="cpu",
        output_loading_info=True)
    model.eval()
    linears = linears_of(model)
    quantized = [name for name, module in linears.items() if isinstance(module, Linear4bit)]
    wrong = {key: value for key, value in info.items() if value}
    print(f"transformers {transformers.__version__}, bitsandbytes {bitsandbytes.__version__}; "
          f"{len(quantized)} of {len(linears)} linear layers in 4 bits; {len(rows)} rows, Nibble's "
          f"loss {loss:.6f}")
    ok = len(quantized) == len(linears) and not wrong
    if not ok:
        print("not loaded as it should be:", wrong or sorted(set(linears) - set(quantized)))

    if any(module.in_features % 64 for module in linears.values()):
        sys.exit("in_features must be multiples of 64, see above")

    with torch.no_grad():
        def logits_of(ids):
            return model(ids[None]).logits[0].float()
        for parameter in model.parameters():  # transformers left them in the stored dtype
            if parameter.is_floating_point():
                parameter.data = parameter.data.float()
        for module in linears.values():
            module.compute_dtype = torch.float32
            module.compute_type_is_set = True
        dense = {name: dequantize_4bit(module.weight.data, module.weight.quant_state).float()
                 for name, module in linears.items()}
        for name, module in linears.items():
            plain = torch.nn.Linear(module.in_features, module.out_features,
                                    bias=module.bias is not None)
            plain.weight = torch.nn.Parameter(dense[name], requires_grad=False)
            if module.bias is not None:
                plain.bias = torch.nn.Parameter(module.bias.float(), requires_grad=False)
            model.set_submodule(name, plain)
        ok &= verdict("the same weights", compare(rows, logits_of), 1e-4)
        for name, module in linears.items():
            model.set_submodule(name, module)
        blocks = model.config.num_hidden_layers
        ok &= verdict("as it runs", compare(rows, logits_of), 4 * blocks * 2 ** -7)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
