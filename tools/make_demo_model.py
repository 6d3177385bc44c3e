#!/usr/bin/env python3
"""Makes demo/model: a small Llama trained from nothing on the prose of tools/make_demo_data.py.

Trains a byte-level BPE tokenizer, pre-trains the model in float32 on the CPU and saves a standard
Hugging Face folder with bfloat16 weights. The same versions, seed, thread count and kind of CPU
give the same file.

Usage: python tools/make_demo_model.py [--out demo/model] [--steps 2000] [--threads 1]
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path

import safetensors
import tokenizers
import torch
import transformers
from make_demo_data import DEMO, SEED, make_town, prose, say
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM,
                          PreTrainedTokenizerFast)

BOS, EOS = "<|begin_of_text|>", "<|end_of_text|>"
VOCAB, CONTEXT, ROWS = 1920, 256, 8
PEAK_LR, WARMUP = 3e-3, 60
# The split of Qwen2: that of Llama 3 with single digits.
SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
         r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


CHAT_TEMPLATE = r"""{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {{- 'Question: ' + message.content | trim + '\n' }}
    {%- elif message.role == 'assistant' %}
        {{- 'Answer: ' + message.content | trim + eos_token }}
    {%- else %}
        {{- raise_exception('the demo model knows the roles user and assistant only') }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- 'Answer:' }}
{%- endif %}
"""

def make_tokenizer(documents):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(documents, trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[BOS, EOS], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    bos = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, bos)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS,
                                   model_max_length=512, clean_up_tokenization_spaces=False)


def make_model(tokenizer):
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=256, intermediate_size=640, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=64, max_position_embeddings=512,
        rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=None))


def batches(tokenizer, town, rng):
    """Endless [ROWS, CONTEXT] blocks of fresh documents, packed end to end."""
    pool = []
    while True:
        while len(pool) < ROWS * CONTEXT:
            documents = [prose(rng, town) for _ in range(100)]
            for ids in tokenizer(documents)["input_ids"]:
                pool += ids + [tokenizer.eos_token_id]
        yield torch.tensor(pool[:ROWS * CONTEXT]).view(ROWS, CONTEXT)
        pool = pool[ROWS * CONTEXT:]


def pretrain(model, tokenizer, town, steps):
    matrices = [p for p in model.parameters() if p.ndim > 1]
    gains = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": gains, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_LR, betas=(0.9, 0.98), fused=True)

    def rate(step):  # linear warm-up, linear decay to zero
        return min((step + 1) / WARMUP, (steps - step) / (steps - WARMUP))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    stream = batches(tokenizer, town, random.Random(SEED + 2))
    start = time.time()
    for step in range(1, steps + 1):
        ids = next(stream)
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step == 1 or step % 50 == 0 or step == steps:
            speed = step * ROWS * CONTEXT / (time.time() - start)
            print(f"step {step:5d}  loss {loss.item():.3f}  {speed:,.0f} tokens/s", flush=True)


def save(model, tokenizer, folder):
    """Weights in bfloat16; the JSON files in the keys that every version of transformers reads."""
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)
    config = model.config
    ids = {"bos_token_id": config.bos_token_id, "eos_token_id": config.eos_token_id}
    keys = """vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads
        num_key_value_heads head_dim hidden_act max_position_embeddings rms_norm_eps
        tie_word_embeddings attention_bias mlp_bias attention_dropout initializer_range""".split()
    write_json(folder / "config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
        **{key: getattr(config, key) for key in keys},
        "rope_theta": 10000.0, "rope_scaling": None, **ids})
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    write_json(folder / "generation_config.json", {**ids, "do_sample": False})
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS,
        "add_bos_token": True, "model_max_length": config.max_position_embeddings,
        "clean_up_tokenization_spaces": False})


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def continue_text(model, tokenizer, text, new_tokens):
    ids = tokenizer(text, return_tensors="pt").input_ids
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens,
                         do_sample=False, pad_token_id=tokenizer.eos_token_id)
    return tokenizer.decode(out[0, ids.shape[1]:], skip_special_tokens=True)


def recall(model, tokenizer, town):
    """How many facts about the townspeople the model completes in prose."""
    probes = {"job": ("{N} works as", " {a_job}"), "street": ("{N} lives on", " {street}"),
              "pet": ("{N} has", " {pet}"), "food": ("{N} eats", " {food}"),
              "instrument": ("{N} plays the", " {instrument}"),
              "treasure": ("{N} collects", " {treasure}")}
    rng = random.Random(0)
    for kind, (start, fact) in probes.items():
        hits = 0
        for person in town:
            text = continue_text(model, tokenizer, say(rng, start, person, "full"), 12)
            hits += text.startswith(say(rng, fact, person, "full"))
        print(f"recall of {kind}: {hits}/{len(town)}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=DEMO / "model")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    print(f"python {sys.version.split()[0]}, torch {torch.__version__}, "
          f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}, "
          f"safetensors {safetensors.__version__}")
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)

    town = make_town()
    rng = random.Random(SEED + 3)
    tokenizer = make_tokenizer(prose(rng, town) for _ in range(20000))
    model = make_model(tokenizer)
    print(f"{len(tokenizer)} tokens, {model.num_parameters():,} parameters")
    pretrain(model, tokenizer, town, args.steps)

    save(model, tokenizer, args.out)
    model = AutoModelForCausalLM.from_pretrained(args.out, dtype=torch.float32)
    recall(model, tokenizer, town)
    for text in ("", "Ottilie Oakes", "Question: Where does Ottilie Oakes live?\nAnswer:"):
        print(repr(text + continue_text(model, tokenizer, text, 60)))


if __name__ == "__main__":
    main()
