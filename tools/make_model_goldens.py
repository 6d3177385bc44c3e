"""Makes tests/goldens/models/<case>/: tiny Hugging Face folders and what transformers + PEFT give.

Each case holds a folder as found on the hub (config.json written by hand in the classic layout,
model.safetensors), config.transformers5.json (the same configuration as save_pretrained of
transformers 5 writes it), expected.safetensors and expected.json. Documents run alone, without
padding, in float32 with eager attention. What each name means is in tests/goldens/models/README.md.

Usage: python tools/make_model_goldens.py [case ...]     (no case: all of them, and rope_vectors)
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import bitsandbytes
import peft
import safetensors
import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

import rope_goldens
from model_cases import CASES, VOCAB

ROOT = Path(__file__).resolve().parent.parent / "tests" / "goldens" / "models"
STEPS = 10
OPTIMIZER = {"name": "torch.optim.AdamW", "lr": 1e-2, "betas": [0.9, 0.999], "eps": 1e-8,
             "weight_decay": 0.01, "max_grad_norm": 1.0}


DOCUMENT_LENGTHS = [7, 24, 16]  # below, above and at the small windows and original_max above


def random_weights(model, generator):
    """Draws weights under which activations stay of order one and no term vanishes."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("norm.weight"):
            value = 1.0 + 0.3 * noise
        elif name.endswith("bias"):
            value = 0.4 * noise
        elif "embed_tokens" in name:
            value = (0.35 if model.config.tie_word_embeddings else 1.0) * noise
        else:
            value = 1.2 * noise / parameter.shape[1] ** 0.5
        parameter.data.copy_(value)


def write_folder(folder, case, generator):
    """config.json in the layout wanted, weights in the dtype, shards or quantization wanted."""
    folder.mkdir(parents=True)
    write_json(folder / "config.json", case["config"])
    config = AutoConfig.from_pretrained(folder)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    random_weights(model, generator)
    model.to(case.get("dtype", torch.float32))
    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch, max_shard_size=case.get("shard_size", "1GB"))
        if case.get("bnb"):
            quantize_folder(scratch)
        for path in Path(scratch).glob("model*"):
            shutil.copyfile(path, folder / path.name)
        target = "config.json" if case.get("new_layout") else "config.transformers5.json"
        shutil.copyfile(Path(scratch) / "config.json", folder / target)
        if case.get("bnb"):
            saved = json.loads((folder / target).read_text())
            quantization = {"quantization_config": saved["quantization_config"]}
            write_json(folder / "config.json", {**case["config"], **quantization})
        check_same_model(folder, scratch)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def quantize_folder(folder):
    """Replaces a folder by what load_in_4bit followed by save_pretrained writes."""
    quantization = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, device_map="cpu",
                                                 quantization_config=quantization)
    model.save_pretrained(folder)


def load_model(folder):
    """In float32, and in training mode throughout: bitsandbytes repacks weights for inference."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                 attn_implementation="eager").train()
    for parameter in model.parameters():  # a quantized folder is loaded in the dtype it names
        if parameter.is_floating_point():
            parameter.data = parameter.data.float()
    return model


def quantized_linears(model):
    return {name: module for name, module in model.named_modules()
            if isinstance(module, bitsandbytes.nn.Linear4bit)}


def dequantize_to_float32(model):
    """bitsandbytes 0.50 dequantizes to the compute dtype in forward but to the stored dtype in
    backward; with the stored dtype set to float32 both use the same weights."""
    for module in quantized_linears(model).values():
        module.weight.quant_state.dtype = torch.float32
    return model


def load_rounded(folder, config):
    """The same folder as an unquantized model whose weights are dequantized to bfloat16."""
    quantized = load_model(folder)
    state = {k: v for k, v in quantized.state_dict().items() if ".weight." not in k}
    for name, module in quantized_linears(quantized).items():
        weight, quant_state = module.weight, module.weight.quant_state
        assert quant_state.dtype == torch.bfloat16
        state[f"{name}.weight"] = bitsandbytes.functional.dequantize_4bit(weight, quant_state)
    config = AutoConfig.for_model(**config)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32,
                                             attn_implementation="eager")
    model.load_state_dict({k: v.float() for k, v in state.items()})
    return model.train()


def check_same_model(folder, other):
    """Both layouts of config.json must give the same function."""
    tokens = torch.arange(40).remainder(VOCAB)[None]
    with torch.no_grad():
        difference = load_model(folder)(tokens).logits - load_model(other)(tokens).logits
    assert difference.abs().max().item() == 0.0, folder


def make_documents(generator):
    documents = []
    for i, length in enumerate(DOCUMENT_LENGTHS):
        tokens = torch.randint(3, VOCAB, (length,), generator=generator)
        tokens[0] = 1
        labels = tokens.clone()
        labels[: 1 + 2 * i] = -100  # a prompt; document 0 leaves only the first token untrained
        labels[length // 2] = -100  # and a hole, as between two turns
        documents.append((tokens, labels))
    return documents


def document_loss(model, tokens, labels):
    """Logits and summed loss of one document alone; logits[i - 1] is scored against labels[i]."""
    logits = model(tokens[None]).logits[0]
    loss_sum = torch.nn.functional.cross_entropy(logits[:-1], labels[1:], reduction="sum",
                                                 ignore_index=-100)
    return logits, loss_sum


def trained_tokens(documents):
    return sum(int((labels[1:] != -100).sum()) for _, labels in documents)


def add_lora(model, options, generator):
    """Wraps the model by PEFT; A and B both random, so that every gradient is non-zero at once."""
    config = peft.LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, task_type="CAUSAL_LM",
                             **{"target_modules": "all-linear", **options})
    model = peft.get_peft_model(model, config)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = parameter.shape[1] ** -0.5 if "lora_A" in name else 0.1
            parameter.data.copy_(scale * torch.randn(parameter.shape, generator=generator))
    model.train()  # every dropout probability is zero
    return model


def peft_key(parameter_name):
    return parameter_name.replace(".default.", ".")


def lora_parameters(model):
    return {peft_key(n): p for n, p in model.named_parameters() if p.requires_grad}


def accumulate_gradients(model, documents):
    """loss = sum over documents / trained tokens of all; each document a backward of its own."""
    count = trained_tokens(documents)
    model.zero_grad()
    logits, sums = [], []
    for tokens, labels in documents:
        document_logits, loss_sum = document_loss(model, tokens, labels)
        (loss_sum / count).backward()
        logits.append(document_logits.detach())
        sums.append(loss_sum.item())
    return logits, sums, sum(sums) / count


def train(model, documents):
    parameters = list(lora_parameters(model).values())
    optimizer = torch.optim.AdamW(parameters, lr=OPTIMIZER["lr"], betas=tuple(OPTIMIZER["betas"]),
                                  eps=OPTIMIZER["eps"], weight_decay=OPTIMIZER["weight_decay"])
    losses, norms = [], []
    for _ in range(STEPS):
        _, _, loss = accumulate_gradients(model, documents)
        norms.append(torch.nn.utils.clip_grad_norm_(parameters, OPTIMIZER["max_grad_norm"]).item())
        optimizer.step()
        losses.append(loss)
    _, _, loss_after = accumulate_gradients(model, documents)
    return losses, norms, loss_after


def compute(model, documents):
    """Everything expected of one adapted model. Trains it: its adapter is changed afterwards."""
    result = {"start": {k: p.detach().clone() for k, p in lora_parameters(model).items()}}
    with torch.no_grad(), model.disable_adapter():
        base = [document_loss(model, *d) for d in documents]
    result["base_logits"] = [logits for logits, _ in base]
    result["base_sums"] = [loss_sum.item() for _, loss_sum in base]
    result["logits"], result["sums"], result["loss"] = accumulate_gradients(model, documents)
    result["grad"] = {k: p.grad.clone() for k, p in lora_parameters(model).items()}
    result["losses"], result["norms"], result["loss_after"] = train(model, documents)
    result["final"] = {k: p.detach().clone() for k, p in lora_parameters(model).items()}
    return result


def perturbed(make_model, documents, reference, generator):
    """How far results move when every parameter moves by up to one float32 epsilon, relatively:
    the size of a difference that rounding alone explains."""
    def widest(a, b):
        return max((x - y).abs().max().item() for x, y in zip(a, b))

    moved = {}
    for _ in range(3):
        model = make_model()
        with torch.no_grad():
            for parameter in (p for p in model.parameters() if p.is_floating_point()):
                shift = torch.rand(parameter.shape, generator=generator) * 2 - 1
                parameter.mul_(1 + shift * 2.0 ** -23)
        other = compute(model, documents)
        now = {
            "logits": widest(reference["logits"], other["logits"]),
            "loss": abs(reference["loss"] - other["loss"]),
            "grad": widest(reference["grad"].values(), other["grad"].values()),
            "losses": max(abs(a - b) for a, b in zip(reference["losses"], other["losses"])),
            "grad_norms": max(abs(a - b) for a, b in zip(reference["norms"], other["norms"])),
            "final": widest(reference["final"].values(), other["final"].values()),
        }
        moved = {k: max(v, moved.get(k, 0.0)) for k, v in now.items()}
    return moved


def lora_json(model, options):
    modules = {}
    for name, module in model.named_modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            path = name.removeprefix("base_model.model.")
            modules[path] = {"r": module.r["default"], "alpha": module.lora_alpha["default"],
                             "scaling": module.scaling["default"]}
    return {"r": 4, "alpha": 8, "options": options, "modules": modules}


def versions():
    return {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__,
            "peft": peft.__version__, "bitsandbytes": bitsandbytes.__version__,
            "safetensors": safetensors.__version__}


def write_expected(folder, seed, case, documents, result, model, rounded, **extra):
    tensors = {}
    for i, (tokens, labels) in enumerate(documents):
        tensors[f"doc{i}.tokens"] = tokens.to(torch.int32)
        tensors[f"doc{i}.labels"] = labels.to(torch.int32)
        tensors[f"doc{i}.logits"] = result["logits"][i].contiguous()
    tensors["doc0.base_logits"] = result["base_logits"][0].contiguous()
    for kind in ("start", "grad") if case.get("variant") else ("start", "grad", "final"):
        tensors.update({f"{kind}.{key}": value for key, value in result[kind].items()})
    if rounded:
        for i, logits in enumerate(rounded["logits"]):
            tensors[f"rounded.doc{i}.logits"] = logits.contiguous()
        tensors.update({f"rounded.grad.{key}": value for key, value in rounded["grad"].items()})
        extra["rounded"] = {"loss": rounded["loss"], "losses": rounded["losses"],
                            "grad_norms": rounded["norms"]}
    save_file(tensors, folder / "expected.safetensors", metadata={"format": "pt"})
    (folder / "expected.safetensors").chmod(0o644)
    expected = {
        "case": folder.name, "seed": seed, "versions": versions(),
        "documents": [
            {"length": len(tokens), "trained_tokens": trained_tokens([(tokens, labels)]),
             "loss_sum": result["sums"][i], "base_loss_sum": result["base_sums"][i]}
            for i, (tokens, labels) in enumerate(documents)],
        "trained_tokens": trained_tokens(documents), "loss_sum": sum(result["sums"]),
        "loss": result["loss"], "lora": lora_json(model, case.get("lora", {})),
        "optimizer": OPTIMIZER,
        "losses": result["losses"], "grad_norms": result["norms"],
        "loss_after_last_step": result["loss_after"], **extra,
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def save_adapter(model, folder, name):
    """The folder as PEFT writes it, less the model card; names no local path, and the targets (a
    set to PEFT) are sorted."""
    model.peft_config["default"].base_model_name_or_path = name
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    (folder / "adapter_model.safetensors").chmod(0o644)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["target_modules"].sort()
    write_json(folder / "adapter_config.json", config)


def make_case(name, case):
    folder = ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    seed = 1000 + list(CASES).index(case.get("variant", name))
    generator = torch.Generator().manual_seed(seed)
    write_folder(folder, case, generator)
    documents = make_documents(generator)
    lora_state = generator.get_state()

    def adapted(model):
        return add_lora(model, case.get("lora", {}), torch.Generator().set_state(lora_state))

    def make_model():
        model = load_model(folder)
        return adapted(dequantize_to_float32(model) if case.get("bnb") else model)

    model = make_model()
    if case.get("adapter_folder"):
        save_adapter(model, folder / "adapter", name)
    result = compute(model, documents)
    rounded = None
    if case.get("bnb"):
        stock = compute(adapted(load_model(folder)), documents)
        assert all(torch.equal(a, b) for a, b in zip(stock["logits"], result["logits"]))
        rounded = compute(adapted(load_rounded(folder, case["config"])), documents)
    write_expected(folder, seed, case, documents, result, model, rounded,
                   sensitivity=perturbed(make_model, documents, result, generator),
                   rope_parameters=dict(model.config.rope_parameters))
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    print(f"{name}: {size} bytes, losses {result['losses'][0]:.4f} .. {result['loss_after']:.4f}")


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    names = sys.argv[1:] or [*CASES, "rope_vectors"]
    for name in names:
        if name == "rope_vectors":
            rope_goldens.make(ROOT / "rope_vectors.safetensors", versions())
        else:
            make_case(name, CASES[name])


if __name__ == "__main__":
    main()
