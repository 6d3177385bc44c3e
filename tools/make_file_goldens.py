#!/usr/bin/env python3
"""Files as the reference libraries write them, for tests/files to read (and, for the first, to
write again byte for byte).

  python.safetensors   the safetensors library: seven dtypes, a scalar, an empty tensor, metadata
  peft_adapter/        PEFT: a LoRA adapter of a tiny Llama with a rank_pattern, saved in fp32
  peft_adapter_bf16/   the same with rsLoRA, saved in bf16

Element i of every tensor is ((i * 7) % 23 - 11) / 8, exact in each float type; (i * 7) % 23 for
integers; i % 3 == 0 for bool.

Usage: python tools/make_file_goldens.py
"""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

OUT = Path(__file__).resolve().parent.parent / "tests" / "goldens" / "files"


def filled(shape, dtype):
    i = torch.arange(torch.Size(shape).numel())
    if dtype == torch.bool:
        values = i % 3 == 0
    elif dtype.is_floating_point:
        values = ((i * 7) % 23 - 11) / 8
    else:
        values = (i * 7) % 23
    return values.to(dtype).reshape(shape)


def write_plain():
    tensors = {
        "model.f32": filled([3, 4], torch.float32),
        "model.f16": filled([5], torch.float16),
        "model.bf16": filled([2, 3, 2], torch.bfloat16),
        "model.u8": filled([7], torch.uint8),
        "model.i32": filled([2, 2], torch.int32),
        "model.i64": filled([3], torch.int64),
        "model.bool": filled([3], torch.bool),
        "scalar": filled([], torch.float32),
        "empty": filled([0, 4], torch.float32),
        "näme \"with\" \\ and /": filled([1], torch.float32),
    }
    # One entry: the library writes several in the order of a hash map.
    save_file(tensors, OUT / "python.safetensors", {"format": "a\n\t\"\\ü\u0001"})


def write_adapter(name, dtype, **options):
    config = LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2)
    model = get_peft_model(LlamaForCausalLM(config), LoraConfig(
        r=4, lora_alpha=6, lora_dropout=0.05, target_modules=["q_proj", "v_proj", "down_proj"],
        task_type="CAUSAL_LM", **options))
    for parameter_name, parameter in model.named_parameters():
        if "lora_" in parameter_name:
            parameter.data = filled(parameter.shape, dtype)
    model.save_pretrained(OUT / name)
    (OUT / name / "README.md").unlink()


def main():
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    write_plain()
    write_adapter("peft_adapter", torch.float32, rank_pattern={"layers.1.mlp.down_proj": 2},
                  alpha_pattern={"layers.1.mlp.down_proj": 1.5})
    write_adapter("peft_adapter_bf16", torch.bfloat16, use_rslora=True)


if __name__ == "__main__":
    main()
