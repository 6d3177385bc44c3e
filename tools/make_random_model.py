#!/usr/bin/env python3
"""Writes a model folder with random bfloat16 weights in the shape of a Phi-3 or Phi-4-mini config.json, and that
folder's tokenizer: what the time from start to first step is measured with.

    python tools/make_random_model.py CONFIG_DIR OUTPUT_DIR"""
import json
import shutil
import sys
from pathlib import Path

import numpy as np


def shapes(config):
    width, inner = config["hidden_size"], config["intermediate_size"]
    head = width // config["num_attention_heads"]
    qkv = width + 2 * head * config["num_key_value_heads"]
    yield "model.embed_tokens.weight", (config["vocab_size"], width)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        yield layer + "input_layernorm.weight", (width,)
        yield layer + "self_attn.qkv_proj.weight", (qkv, width)
        yield layer + "self_attn.o_proj.weight", (width, width)
        yield layer + "post_attention_layernorm.weight", (width,)
        yield layer + "mlp.gate_up_proj.weight", (2 * inner, width)
        yield layer + "mlp.down_proj.weight", (width, inner)
    yield "model.norm.weight", (width,)
    if not config.get("tie_word_embeddings", False):
        yield "lm_head.weight", (config["vocab_size"], width)


def main(source, output):
    config = json.loads((source / "config.json").read_text())
    if config["model_type"] != "phi3":
        sys.exit(f"{source}: model_type is {config['model_type']}, expected phi3")
    output.mkdir(parents=True)
    for file in ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
                 "special_tokens_map.json", "added_tokens.json"]:
        if (source / file).exists():
            shutil.copy(source / file, output / file)

    header, end = {}, 0
    for name, shape in shapes(config):
        begin, end = end, end + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    random = np.random.default_rng(1)
    # bfloat16 is the upper half of float32. One drawing repeats: numbers matter less than their number here.
    drawn = (random.normal(0, 0.02, 1 << 24).astype("<f4").view("<u4") >> 16).astype("<u2")
    with open(output / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for shape in (tensor["shape"] for tensor in header.values()):
            left = int(np.prod(shape))
            if len(shape) == 1:
                file.write(np.full(left, 0x3F80, "<u2").tobytes())
                continue
            while left > 0:
                left -= file.write(drawn[:left].data) // 2


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
