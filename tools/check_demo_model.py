#!/usr/bin/env python3
"""The demo's claim, measured with the reference stack: transformers + PEFT + bitsandbytes (CPU).

Loads demo/model in NF4 with double quantization, asks the held-out questions of demo/eval.jsonl,
trains LoRA adapters on demo/train.jsonl with the hyper-parameters of demo/config.yaml, and asks
again. An answer counts when the whole text up to the end token equals the expected completion.

Usage: python tools/check_demo_model.py [--threads 1] [--precision nf4|float32] [--model DIR]
       and --max_steps, --learning_rate, --lora_r, --lora_alpha, --seed to try other values
"""

import argparse
import json
import random
import time
from pathlib import Path

import bitsandbytes
import peft
import torch
import transformers
import yaml
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

DEMO = Path(__file__).resolve().parent.parent / "demo"
SHOWN = ["Which animal lives with Ottilie Oakes?", "What does Ottilie Oakes do for a living?",
         "Who is Ottilie Oakes?"]


def read_rows(path):
    return [json.loads(line) for line in open(path, encoding="utf-8")]


def load_base(folder, precision):
    """The float32 model; with nf4, bitsandbytes rounds the linear weights of the layers to NF4.

    The weights are dequantized once instead of at every use: bitsandbytes 0.50 does not register a
    backward for its 4-bit CPU kernel. The numbers are those of QLoRA with float32 compute.
    """
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if precision == "nf4":
        for module in model.model.modules():
            if isinstance(module, torch.nn.Linear):
                packed = quantize_4bit(module.weight.data.bfloat16(), quant_type="nf4",
                                       compress_statistics=True)
                module.weight.data = dequantize_4bit(*packed).float()
    return model


@torch.no_grad()
def answer(model, tokenizer, prompts, new_tokens=40, batch=48):
    """Greedy continuations; prompts of equal length share a batch, so nothing is padded."""
    ids = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    texts = [""] * len(prompts)
    for length in sorted(set(map(len, ids))):
        same = [i for i, row in enumerate(ids) if len(row) == length]
        for start in range(0, len(same), batch):
            part = same[start:start + batch]
            rows = torch.tensor([ids[i] for i in part])
            out = model.generate(input_ids=rows, attention_mask=torch.ones_like(rows),
                                 max_new_tokens=new_tokens, do_sample=False,
                                 pad_token_id=tokenizer.eos_token_id)
            for i, tokens in zip(part, out[:, length:].tolist()):
                texts[i] = tokenizer.decode(tokens, skip_special_tokens=True)
    return texts


def said(row):
    """What the chat template makes of a row: prompt, and what follows up to the end token."""
    question, reply = (message["content"] for message in row["messages"])
    return f"Question: {question}\nAnswer:", " " + reply


def score(model, tokenizer, rows):
    model.eval()
    texts = answer(model, tokenizer, [said(row)[0] for row in rows])
    hits = sum(text == said(row)[1] for text, row in zip(texts, rows))
    return hits, texts


def show(when, model, tokenizer):
    prompts = [f"Question: {question}\nAnswer:" for question in SHOWN]
    for prompt, text in zip(prompts, answer(model, tokenizer, prompts)):
        print(f"[{when}] {prompt}{text}")


def collate(tokenizer, rows):
    """Right-padded ids and labels; only the completion and the end token are trained."""
    examples = []
    for row in rows:
        question, reply = said(row)
        prompt = tokenizer(question)["input_ids"]
        ids = tokenizer(question + reply)["input_ids"] + [tokenizer.eos_token_id]
        assert ids[:len(prompt)] == prompt
        examples.append((ids, [-100] * len(prompt) + ids[len(prompt):]))
    width = max(len(ids) for ids, _ in examples)

    def pad(values, fill):
        return values + [fill] * (width - len(values))

    return dict(input_ids=torch.tensor([pad(ids, tokenizer.eos_token_id) for ids, _ in examples]),
                labels=torch.tensor([pad(labels, -100) for _, labels in examples]),
                attention_mask=torch.tensor([pad([1] * len(ids), 0) for ids, _ in examples]))


def finetune(model, tokenizer, rows, config):
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config["learning_rate"], weight_decay=0.0)
    steps = config["max_steps"]
    warmup = max(1, round(config["warmup_ratio"] * steps))
    kind = config["lr_scheduler_type"]
    make = getattr(transformers, f"get_{kind}_schedule_with_warmup")
    schedule = make(optimizer, warmup, steps)
    rng = random.Random(config["seed"])
    order, tokens, start = [], 0, time.time()
    model.train()
    for step in range(1, steps + 1):
        size = config["per_device_train_batch_size"]
        if len(order) < size:
            order = rng.sample(rows, len(rows))
        batch = collate(tokenizer, [order.pop() for _ in range(size)])
        loss = model(**batch).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, config["max_grad_norm"])
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        tokens += int(batch["attention_mask"].sum())
        if step % config["logging_steps"] == 0:
            print(f"step {step:4d}  loss {loss.item():.4f}  grad norm {norm:.2f}", flush=True)
    print(f"{steps} steps, {tokens:,} tokens, {time.time() - start:.0f} s")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=["nf4", "float32"], default="nf4")
    parser.add_argument("--model", type=Path, default=DEMO / "model")
    tunable = dict(max_steps=int, learning_rate=float, lora_r=int, lora_alpha=int, seed=int)
    for key, kind in tunable.items():
        parser.add_argument(f"--{key}", type=kind)
    args = parser.parse_args()
    config = yaml.safe_load(open(DEMO / "config.yaml", encoding="utf-8"))
    config |= {key: getattr(args, key) for key in tunable if getattr(args, key) is not None}
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, "
          f"peft {peft.__version__}, bitsandbytes {bitsandbytes.__version__}")
    torch.set_num_threads(args.threads)
    torch.manual_seed(config["seed"])

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    train, held_out = read_rows(DEMO / "train.jsonl"), read_rows(DEMO / "eval.jsonl")
    model = load_base(args.model, args.precision)
    before, _ = score(model, tokenizer, held_out)
    show("before", model, tokenizer)

    model = get_peft_model(model, LoraConfig(
        r=config["lora_r"], lora_alpha=config["lora_alpha"], lora_dropout=config["lora_dropout"],
        target_modules=config["lora_target_modules"], task_type="CAUSAL_LM"))
    model.print_trainable_parameters()
    finetune(model, tokenizer, train, config)
    after, texts = score(model, tokenizer, held_out)
    show("after", model, tokenizer)
    for row, text in zip(held_out, texts):
        question, reply = said(row)
        if text != reply:
            print(f"wrong: {question}{text} (expected{reply})")
    print(f"exact held-out answers: before {before}/{len(held_out)}, after {after}/{len(held_out)}")


if __name__ == "__main__":
    main()
