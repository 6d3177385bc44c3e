#!/usr/bin/env python3
"""Goldens of the commands, in tests/goldens/commands, from transformers and PEFT in float32:

tokenizer.json, tokenizer_config.json  a byte-level BPE of 72 tokens, trained here; fits every model
                                       of tests/goldens/models
rows/                                  a small dataset of both kinds of rows
expected.json                          loss of each model over the rows, with and without adapter;
                                       greedy continuations; PEFT's trainable lines
merged.safetensors                     llama_rslora/adapter merged by PEFT's merge_and_unload

Usage: python tools/make_command_goldens.py      (versions: tools/requirements.txt)
"""

import contextlib
import io
import json
from pathlib import Path

import peft
import tokenizers
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parent.parent / "tests" / "goldens"
OUT = ROOT / "commands"
MODELS = ["llama3", "qwen3", "mistral", "phi4mini"]
PROMPTS = ["", "the cat", "a small town, "]
NEW_TOKENS = 24

ROWS = [
    {"text": "the cat sat on the mat."},
    {"prompt": "where is the cat?", "completion": " on the mat."},
    {"prompt": "who sat on the mat?", "completion": " the cat sat there, and then the dog."},
    {"text": "a dog and a cat are in a small town near the sea."},
    {"prompt": "what is near the sea?", "completion": " a small town."},
    {"text": "then it rained."},
    {"prompt": "did it rain? ", "completion": "it did, the cat ran home, and the dog ran after it."},
]


def make_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = [row.get("text", row.get("prompt", "") + row.get("completion", "")) for row in ROWS]
    texts.append("abcdefghijklmnopqrstuvwxyz .,?")
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=72, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save(str(OUT / "tokenizer.json"))
    (OUT / "tokenizer_config.json").write_text(json.dumps(
        {"add_bos_token": True, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
         "tokenizer_class": "PreTrainedTokenizerFast"}, indent=2) + "\n")
    return tokenizer


def labelled(tokenizer, row):
    """Ids with BOS and EOS, and labels: -100 for what belongs to the prompt."""
    prompt = row.get("prompt", "")
    encoding = tokenizer.encode(row["text"] if "text" in row else prompt + row["completion"])
    labels = [token if not prompt or (end > 0 and begin >= len(prompt)) else -100
              for token, (begin, end) in zip(encoding.ids, encoding.offsets)]
    return encoding.ids + [2], labels + [2]


def loss_of(model, documents):
    total, count = 0.0, 0
    with torch.no_grad():
        for ids, labels in documents:
            logits = model(torch.tensor([ids])).logits[0].double()
            targets = torch.tensor(labels[1:])
            total += torch.nn.functional.cross_entropy(
                logits[:-1], targets, ignore_index=-100, reduction="sum").item()
            count += int((targets >= 0).sum())
    return {"loss": total / count, "trained_tokens": count}


def greedy(model, prompt):
    """Ids until EOS, and the least gap between the first and the second logit."""
    ids, gap = list(prompt), float("inf")
    with torch.no_grad():
        while len(ids) < len(prompt) + NEW_TOKENS:
            # The whole text anew each time; longrope's list is fixed by the final length there.
            logits = model(torch.tensor([ids])).logits[0, -1]
            best = logits.topk(2)
            gap = min(gap, (best.values[0] - best.values[1]).item())
            if best.indices[0].item() == 2:
                break
            ids.append(best.indices[0].item())
    return ids[len(prompt):], gap


def load(name):
    return AutoModelForCausalLM.from_pretrained(
        ROOT / "models" / name, dtype=torch.float32, attn_implementation="eager").eval()


def trainable_line(name, **options):
    model = get_peft_model(load(name), LoraConfig(task_type="CAUSAL_LM", **options))
    with contextlib.redirect_stdout(io.StringIO()) as out:
        model.print_trainable_parameters()
    return {"model": name, "options": options, "line": out.getvalue().strip()}


def main():
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    (OUT / "rows").mkdir(exist_ok=True)
    for name, field in (("texts", "text"), ("pairs", "prompt")):  # one form of rows to a file
        rows = [json.dumps(row) + "\n" for row in ROWS if field in row]
        (OUT / "rows" / f"{name}.jsonl").write_text("".join(rows))
    documents = [labelled(tokenizer, row) for row in ROWS]
    expected = {"versions": {module.__name__: module.__version__
                             for module in (torch, transformers, peft, tokenizers)},
                "tokens": sum(len(ids) for ids, _ in documents),
                "eval": {}, "generate": [], "trainable": []}
    for name in MODELS:
        model = load(name)
        expected["eval"][name] = loss_of(model, documents)
        if name == "phi4mini":
            continue  # transformers changes longrope's list while the text grows
        for prompt in PROMPTS:
            ids, gap = greedy(model, tokenizer.encode(prompt).ids)
            expected["generate"].append({"model": name, "prompt": prompt, "ids": ids,
                                         "text": tokenizer.decode(ids), "least_gap": gap})

    adapter = ROOT / "models" / "llama_rslora" / "adapter"
    live = PeftModel.from_pretrained(load("llama_rslora"), adapter).eval()
    expected["eval"]["llama_rslora"] = loss_of(live, documents)
    base = load("llama_rslora").state_dict()
    merged = live.merge_and_unload()
    expected["eval"]["merged"] = loss_of(merged, documents)
    changed = {name: value.contiguous() for name, value in merged.state_dict().items()
               if not torch.equal(value, base[name])}
    save_file(changed, OUT / "merged.safetensors", metadata={"format": "pt"})

    expected["trainable"] = [
        trainable_line("llama3", r=16, target_modules="all-linear"),
        trainable_line("phi4mini", r=8, target_modules=["qkv_proj", "down_proj"]),
        trainable_line("qwen2", r=4, target_modules=["q_proj", "o_proj"],
                       rank_pattern={"o_proj": 300}),
    ]
    (OUT / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
