"""Makes tests/goldens/train/padding.* and length_groups.json: what transformers does with a batch of
rows of unequal lengths.

padding.safetensors, padding.json: the documents of model goldens, padded on the right to one batch
with an attention mask; the loss, and the gradient of every adapter tensor (PEFT's key names behind
the case's). Float32, eager attention. Models whose rope depends on the length of the batch
(longrope) are left out: there padding changes the result.

length_groups.json: random orders of rows, and what group_by_length makes of each.

Usage: python tools/make_padding_goldens.py     (after make_model_goldens.py)
"""

import json
import os
import re
from pathlib import Path
from unittest import mock

os.environ["HF_HUB_OFFLINE"] = "1"

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, trainer_pt_utils

GOLDENS = Path(__file__).resolve().parent.parent / "tests" / "goldens"
CASES = ["llama3", "qwen3", "mistral", "phi3"]  # plain; norms of q and k; sliding windows; fused
PAD = 0


def adapted_model(folder, tensors):
    """The model with the adapter values that its golden starts from."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                 attn_implementation="eager")
    model = peft.get_peft_model(model, peft.LoraConfig(
        r=4, lora_alpha=8, lora_dropout=0.0, task_type="CAUSAL_LM", target_modules="all-linear"))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data.copy_(tensors["start." + name.replace(".default.", ".")])
    return model.train()  # every dropout probability is zero


def padded_batch(tensors):
    tokens, labels = ([tensors[f"doc{i}.{kind}"].long() for i in range(3)]
                      for kind in ("tokens", "labels"))
    pad = torch.nn.utils.rnn.pad_sequence
    mask = pad([torch.ones_like(t) for t in tokens], batch_first=True)
    return {"input_ids": pad(tokens, batch_first=True, padding_value=PAD), "attention_mask": mask,
            "labels": pad(labels, batch_first=True, padding_value=-100)}


def make_padding():
    gradients, cases = {}, {}
    for case in CASES:
        folder = GOLDENS / "models" / case
        tensors = load_file(folder / "expected.safetensors")
        model = adapted_model(folder, tensors)
        batch = padded_batch(tensors)
        loss = model(**batch).loss
        loss.backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                gradients[f"{case}.{name.replace('.default.', '.')}"] = parameter.grad
        cases[case] = {"loss": loss.item(), "rows": list(batch["input_ids"].shape),
                       "padding": int((batch["attention_mask"] == 0).sum())}
    save_file(gradients, GOLDENS / "train" / "padding.safetensors", metadata={"format": "pt"})
    (GOLDENS / "train" / "padding.safetensors").chmod(0o644)
    write_json("padding.json", {"torch": torch.__version__.split("+")[0],
                                "transformers": transformers.__version__,
                                "peft": peft.__version__, "cases": cases})


def length_groups(rows, group, longest, generator):
    lengths = torch.randint(1, longest + 1, (rows,), generator=generator).tolist()
    order = torch.randperm(rows, generator=generator)
    with mock.patch.object(torch, "randperm", lambda *_, **__: order):
        grouped = trainer_pt_utils.get_length_grouped_indices(lengths, group)
    return {"group": group, "lengths": lengths, "order": order.tolist(),
            "grouped": [int(i) for i in grouped]}


def make_length_groups():
    generator = torch.Generator().manual_seed(1)
    sizes = [(1, 1, 9), (5, 8, 9), (40, 4, 6), (64, 4, 300), (130, 2, 5), (450, 2, 900)]
    write_json("length_groups.json", {
        "transformers": transformers.__version__,
        "cases": [length_groups(*size, generator) for size in sizes]})


def write_json(name, value):
    """Indented, but lists of numbers in one line."""
    text = re.sub(r"\[\s+([\d,\s]+?)\s+\]", lambda match: f"[{' '.join(match[1].split())}]",
                  json.dumps(value, indent=1))
    (GOLDENS / "train" / name).write_text(text + "\n")


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    make_padding()
    make_length_groups()


if __name__ == "__main__":
    main()
