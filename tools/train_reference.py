"""Trains by QLoRA with transformers + PEFT + bitsandbytes on the CPU, to compare Nibble with.

Rows of a JSONL file in their order, `{"text": ...}` (tokenized with the folder's tokenizer and the
special tokens it adds, EOS appended where missing) or `{"input_ids": [...]}`; cut at the end to
--max_length; every token but the first is trained. A step is --grad_accum batches of --batch rows,
its loss the sum of token losses over the step divided by the trained tokens in it. AdamW with betas
0.9 and 0.999, eps 1e-8, no weight decay, constant learning rate, gradients clipped at norm 1.

Base weights are quantized to NF4 with double quantization. bitsandbytes' native CPU search of the
8-bit codes of the scales is a coarse lookup table; its exact PyTorch search is used instead.

--output gets a line a step: loss, norm of the gradient before clipping, tokens, seconds. The last
line printed has tokens/s (first step left out) and the peak resident set.

With --steps 0 only what is missing is made (adapter, synthetic model): do so first, then measure
memory in a run of its own.

--synthetic makes --model first: a random Llama of the sizes given, in bfloat16, as a Hugging Face
folder with the tokenizer of --tokenizer; without --dataset its rows are random tokens, written to
rows.jsonl in that folder.
"""

import argparse
import json
import os
import resource
import shutil
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import peft
import torch
import transformers
from bitsandbytes import functional
from make_quant_goldens import default_kernels
from transformers import AutoModelForCausalLM, AutoTokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
IGNORED = -100


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--adapter_start", type=Path, required=True,
                        help="PEFT folder; made with --rank, --alpha and --seed where absent")
    parser.add_argument("--adapter_end", type=Path, help="where to save the trained adapter")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--grad_accum", type=int, default=1)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--max_length", type=int, default=256)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--quantization", choices=["nf4", "fp4", "none"], default="nf4")
    parser.add_argument("--gradient_checkpointing", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--alpha", type=int, default=16)
    synthetic = parser.add_argument_group("synthetic model")
    synthetic.add_argument("--synthetic", action="store_true")
    synthetic.add_argument("--tokenizer", type=Path, help="folder to copy tokenizer files from")
    for name, size in (("layers", 12), ("hidden", 768), ("intermediate", 2048), ("heads", 12),
                       ("kv_heads", 4), ("vocab", 32000)):
        synthetic.add_argument(f"--{name}", type=int, default=size)
    arguments = parser.parse_args()
    if not arguments.dataset and not arguments.synthetic:
        parser.error("--dataset is needed unless --synthetic")
    return arguments


def make_synthetic(arguments):
    """A random Llama as a folder in the layout of the hub; returns the path of its random rows."""
    folder = arguments.model
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "bos_token_id": 1,
        "eos_token_id": 2, "hidden_act": "silu", "hidden_size": arguments.hidden,
        "initializer_range": 0.02, "intermediate_size": arguments.intermediate,
        "max_position_embeddings": max(2048, arguments.max_length), "mlp_bias": False,
        "model_type": "llama", "num_attention_heads": arguments.heads,
        "num_hidden_layers": arguments.layers, "num_key_value_heads": arguments.kv_heads,
        "rms_norm_eps": 1e-5, "rope_scaling": None, "rope_theta": 10000.0,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "vocab_size": arguments.vocab}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    torch.manual_seed(arguments.seed)
    model = AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(folder),
                                             dtype=torch.bfloat16)
    print(f"{sum(p.numel() for p in model.parameters())} parameters in {folder}")
    model.save_pretrained(folder, max_shard_size="100GB")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for path in arguments.tokenizer.glob("*token*.json") if arguments.tokenizer else ():
        shutil.copyfile(path, folder / path.name)
    rows = torch.randint(3, arguments.vocab, (64, arguments.max_length))
    lines = [json.dumps({"input_ids": row.tolist()}) for row in rows]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "rows.jsonl"


def read_rows(dataset, model_folder, max_length):
    """Token ids of each row, in order."""
    records = [json.loads(line) for line in dataset.read_text().splitlines() if line.strip()]
    if "input_ids" in records[0]:
        return [torch.tensor(record["input_ids"][:max_length]) for record in records]
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    rows = []
    for record in records:
        ids = tokenizer(record["text"])["input_ids"]
        if ids[-1] != tokenizer.eos_token_id:
            ids = ids + [tokenizer.eos_token_id]
        rows.append(torch.tensor(ids[:max_length]))
    return rows


def exact_nested_search():
    """Lets quantize_4bit find 8-bit codes of the scales by exact search, as on CUDA."""
    quantize = default_kernels()["quantize_blockwise"]

    def quantize_blockwise(values, blocksize):
        dynamic_map = functional.create_dynamic_map()
        codes, absmax = quantize(values, dynamic_map, blocksize)
        state = functional.QuantState(absmax=absmax, code=dynamic_map, blocksize=blocksize,
                                      dtype=values.dtype)
        return codes, state

    functional.quantize_blockwise = quantize_blockwise


def load_model(arguments):
    dtype = DTYPES[arguments.dtype]
    options = {}
    if arguments.quantization != "none":
        exact_nested_search()
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type=arguments.quantization,
            bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype)
        options["device_map"] = "cpu"
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=dtype, **options)
    assert model.get_input_embeddings().weight.dtype == dtype
    model.config.use_cache = False
    if arguments.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if not arguments.adapter_start.exists():
        make_adapter(arguments)
    model = peft.PeftModel.from_pretrained(model, arguments.adapter_start, is_trainable=True)
    assert model.peft_config["default"].lora_dropout == 0.0, "dropout draws would differ"
    return model.train()


def make_adapter(arguments):
    """PEFT's own start (B is zero) on every linear but the head, saved for both programs."""
    config = transformers.AutoConfig.from_pretrained(arguments.model)
    torch.manual_seed(arguments.seed)
    model = peft.get_peft_model(
        AutoModelForCausalLM.from_config(config, dtype=torch.float32),
        peft.LoraConfig(r=arguments.rank, lora_alpha=arguments.alpha, lora_dropout=0.0,
                        target_modules="all-linear", task_type="CAUSAL_LM"))
    model.save_pretrained(arguments.adapter_start, save_embedding_layers=False)


def collate(rows):
    """Right-padded ids, mask and labels; padding and first tokens are not trained."""
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    labels = ids.masked_fill(mask == 0, IGNORED)
    labels[:, 0] = IGNORED
    return ids, mask, labels


def train_step(model, batches, parameters, optimizer):
    trained = sum(int((labels != IGNORED).sum()) for _, _, labels in batches)
    loss = 0.0
    for ids, mask, labels in batches:
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
        loss_sum = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum")
        (loss_sum / trained).backward()
        loss += loss_sum.item()
    norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0).item()
    optimizer.step()
    optimizer.zero_grad()
    tokens = sum(int(mask.sum()) for _, mask, _ in batches)
    return {"loss": loss / trained, "grad_norm": norm, "trained_tokens": trained, "tokens": tokens}


def train(model, rows, arguments):
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=arguments.lr, betas=(0.9, 0.999), eps=1e-8,
                                  weight_decay=0.0)
    log, taken = [], 0
    with arguments.output.open("w") as output:
        for step in range(1, arguments.steps + 1):
            batches = []
            for _ in range(arguments.grad_accum):
                batches.append(collate([rows[(taken + i) % len(rows)]
                                        for i in range(arguments.batch)]))
                taken += arguments.batch
            started = time.perf_counter()
            line = {"step": step, **train_step(model, batches, parameters, optimizer)}
            line["seconds"] = round(time.perf_counter() - started, 4)
            output.write(json.dumps(line) + "\n")
            output.flush()
            log.append(line)
    return log


def main():
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    dataset = arguments.dataset
    if arguments.synthetic:
        random_rows = make_synthetic(arguments)
        dataset = dataset or random_rows
    rows = read_rows(dataset, arguments.model, arguments.max_length)
    model = load_model(arguments)
    if arguments.steps == 0:
        return
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    log = train(model, rows, arguments)
    if arguments.adapter_end:
        model.save_pretrained(arguments.adapter_end, save_embedding_layers=False)
    timed = log[1:] or log
    print(json.dumps({
        "steps": len(log), "first_loss": log[0]["loss"], "last_loss": log[-1]["loss"],
        "tokens_per_second": round(sum(l["tokens"] for l in timed) /
                                   sum(l["seconds"] for l in timed), 1),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "peak_rss_mib_before_training": round(loaded / 1024, 1), "threads": arguments.threads,
        "dtype": arguments.dtype, "torch": torch.__version__,
        "transformers": transformers.__version__, "peft": peft.__version__}))


if __name__ == "__main__":
    main()
