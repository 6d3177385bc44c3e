"""Makes tests/goldens/lora/targets.json: which modules PEFT adapts, with which rank and scaling.

The model is tests/goldens/models/llama3 (2 layers). Every case holds a LoraConfig and, for each
module that PEFT adapts with it, [rank, scaling].

Usage: python tools/make_lora_goldens.py
"""

import json
from pathlib import Path

import peft
import torch
from transformers import AutoConfig, AutoModelForCausalLM

GOLDENS = Path(__file__).resolve().parent.parent / "tests/goldens"
CASES = {
    "names": {"target_modules": ["q_proj", "v_proj"], "r": 4, "lora_alpha": 8},
    "longer_names": {"target_modules": ["self_attn.q_proj", "model.layers.1.mlp.up_proj"], "r": 4,
                     "lora_alpha": 16},
    "all_linear": {"target_modules": "all-linear", "r": 8, "lora_alpha": 16},
    "regex": {"target_modules": r".*\.1\..*(q|down)_proj", "r": 2, "lora_alpha": 3},
    "regex_is_full_match": {"target_modules": r"model\.layers\.0\.mlp\.[a-z]+_proj", "r": 2,
                            "lora_alpha": 2},
    "exclude_names": {"target_modules": "all-linear", "exclude_modules": ["o_proj", "layers.0.mlp.up_proj"],
                      "r": 4, "lora_alpha": 4},
    "exclude_regex": {"target_modules": ["q_proj", "k_proj", "up_proj"],
                      "exclude_modules": r".*layers\.0\.mlp.*", "r": 4, "lora_alpha": 4},
    "layers": {"target_modules": ["q_proj", "down_proj"], "layers_to_transform": [1], "r": 4,
               "lora_alpha": 8},
    "patterns": {"target_modules": "all-linear", "r": 4, "lora_alpha": 8,
                 "rank_pattern": {"down_proj": 16, "layers.1.self_attn.q_proj": 2},
                 "alpha_pattern": {"up_proj": 32, "down_proj": 24}},
    "pattern_is_regex": {"target_modules": ["q_proj", "k_proj", "v_proj"], "r": 4, "lora_alpha": 8,
                         "rank_pattern": {r".*\.0\..*(q|k)_proj": 6}},
    "pattern_with_start": {"target_modules": ["q_proj"], "r": 4, "lora_alpha": 8,
                           "rank_pattern": {r"^model.layers.1.self_attn.q_proj": 3}},
    "rslora": {"target_modules": ["q_proj", "o_proj"], "r": 7, "lora_alpha": 16,
               "use_rslora": True, "rank_pattern": {"o_proj": 3}},
}


def adapted(config):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(GOLDENS / "models/llama3"))
        model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **config))
    prefix = "base_model.model."
    return {name.removeprefix(prefix): [module.r["default"], module.scaling["default"]]
            for name, module in model.named_modules() if hasattr(module, "lora_A")}


def main():
    cases = {name: {"config": config, "modules": adapted(config)}
             for name, config in CASES.items()}
    (GOLDENS / "lora").mkdir(exist_ok=True)
    (GOLDENS / "lora/targets.json").write_text(
        json.dumps({"peft": peft.__version__, "cases": cases}, indent=1) + "\n")


main()
