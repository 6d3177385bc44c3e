"""Rotary tables of real model configurations as transformers' own classes compute them, in float32.

Writes rope_vectors.safetensors: `positions` [5] and for each set `<set>.inv_freq` [rotary_dim / 2],
`<set>.cos` and `<set>.sin` [5, rotary_dim / 2] (attention factor included; transformers repeats
these columns once more for the second half of the rotary channels), and rope_vectors.json with the
classic config.json fields of each set. Called by make_model_goldens.py.
"""

import inspect
import json

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, Phi3Config, Qwen2Config
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.phi3.modeling_phi3 import Phi3RotaryEmbedding
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

POSITIONS = [0, 1, 4095, 4096, 131071]

# From config.json of microsoft/Phi-4-mini-instruct (MIT); its short list is 48 times 1.0.
PHI4_MINI_LONG = [
    1, 1.118320672, 1.250641126, 1.398617824, 1.564103225, 1.74916897, 1.956131817, 2.187582649,
    2.446418898, 2.735880826, 3.059592084, 3.421605075, 3.826451687, 4.279200023, 4.785517845,
    5.351743533, 5.984965424, 6.693110555, 7.485043894, 8.370679318, 9.36110372, 10.4687158,
    11.70738129, 13.09260651, 14.64173252, 16.37415215, 18.31155283, 20.47818807, 22.90118105,
    25.61086418, 28.64115884, 32.03, 32.1, 32.13, 32.23, 32.6, 32.61, 32.64, 32.66, 32.7, 32.71,
    32.93, 32.97, 33.28, 33.49, 33.5, 44.16, 47.77]

PHI4_MINI = {
    "model_type": "phi3", "hidden_size": 3072, "num_attention_heads": 24, "num_key_value_heads": 8,
    "max_position_embeddings": 131072, "original_max_position_embeddings": 4096,
    "partial_rotary_factor": 0.75, "rope_theta": 10000.0,
    "rope_scaling": {"long_factor": PHI4_MINI_LONG, "short_factor": [1.0] * 48,
                     "type": "longrope"}}


def llama(scaling, **fields):
    config = {"model_type": "llama", "hidden_size": 4096, "num_attention_heads": 32,
              "num_key_value_heads": 8, "max_position_embeddings": 131072, "rope_theta": 500000.0,
              "rope_scaling": scaling}
    config.update(fields)
    return config


def llama3(factor):
    return {"factor": factor, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3"}


QWEN25_YARN = {
    "model_type": "qwen2", "hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4,
    "max_position_embeddings": 131072, "rope_theta": 1000000.0,
    "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"}}

# name -> (rotary class, config class, fields of config.json, which factor list of longrope)
SETS = {
    "phi4_mini_short": (Phi3RotaryEmbedding, Phi3Config, PHI4_MINI, "short"),
    "phi4_mini_long": (Phi3RotaryEmbedding, Phi3Config, PHI4_MINI, "long"),
    "llama3_default": (LlamaRotaryEmbedding, LlamaConfig, llama(None), None),
    "llama31": (LlamaRotaryEmbedding, LlamaConfig, llama(llama3(8.0)), None),
    "llama32": (LlamaRotaryEmbedding, LlamaConfig,
                llama(llama3(32.0), hidden_size=2048, head_dim=64), None),
    "qwen25_yarn": (Qwen2RotaryEmbedding, Qwen2Config, QWEN25_YARN, None),
}


def rotary_table(rotary, which):
    """inv_freq, cos and sin [5, rotary_dim / 2] with the factor list wanted at every position."""
    positions = torch.tensor([POSITIONS])
    sample = torch.zeros(1, dtype=torch.float32)
    forward = inspect.unwrap(type(rotary).forward)  # transformers' arithmetic, less its list choice
    if which == "long":
        rotary(sample, torch.tensor([[rotary.config.max_position_embeddings - 1]]))
    chosen = rotary.inv_freq.clone()
    cos, sin = forward(rotary, sample, positions)
    # Where transformers itself would choose this list, its full forward must agree.
    own = positions[:, :3] if which == "short" else positions
    own_cos, own_sin = rotary(sample, own)
    count = own.shape[1]
    assert torch.equal(own_cos, cos[:, :count]) and torch.equal(own_sin, sin[:, :count])
    half = chosen.numel()
    assert torch.equal(cos[..., :half], cos[..., half:])
    return chosen, cos[0, :, :half].contiguous(), sin[0, :, :half].contiguous()


def make(path, versions):
    tensors = {"positions": torch.tensor(POSITIONS, dtype=torch.int32)}
    index = {"versions": versions, "positions": POSITIONS, "sets": {}}
    for name, (rotary_class, config_class, fields, which) in SETS.items():
        arguments = {k: v for k, v in json.loads(json.dumps(fields)).items() if k != "model_type"}
        rotary = rotary_class(config_class(**arguments))
        inv_freq, cos, sin = rotary_table(rotary, which)
        tensors.update({f"{name}.inv_freq": inv_freq, f"{name}.cos": cos, f"{name}.sin": sin})
        index["sets"][name] = {"config": fields, "longrope_list": which,
                               "rotary_dim": 2 * inv_freq.numel(),
                               "attention_factor": rotary.attention_scaling}
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)
    path.with_suffix(".json").write_text(json.dumps(index, indent=1) + "\n")
    print(f"rope_vectors: {path.stat().st_size} bytes")
