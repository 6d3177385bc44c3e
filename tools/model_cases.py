"""The cases of make_model_goldens.py: one tiny config.json a family, in the classic hub layout."""

import torch

VOCAB = 72


def base_config(architecture, model_type, **fields):
    """A classic config.json: the keys every family has, in the order hub files list them."""
    config = {
        "architectures": [architecture], "attention_dropout": 0.0, "bos_token_id": 1,
        "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 32, "initializer_range": 0.02,
        "intermediate_size": 44, "max_position_embeddings": 128, "model_type": model_type,
        "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 4,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
        "torch_dtype": "float32", "transformers_version": "4.45.0", "use_cache": True,
        "vocab_size": VOCAB,
    }
    config.update(fields)
    return config


def llama(**fields):
    return base_config("LlamaForCausalLM", "llama", attention_bias=False, mlp_bias=False,
                       pretraining_tp=1, **fields)


def qwen2(**fields):
    return base_config("Qwen2ForCausalLM", "qwen2", max_window_layers=2, rms_norm_eps=1e-6,
                       rope_theta=1000000.0, use_sliding_window=False, **fields)


def phi3(**fields):
    return base_config("Phi3ForCausalLM", "phi3", attention_bias=False, embd_pdrop=0.0,
                       resid_pdrop=0.0, pad_token_id=0, **fields)


def llama3_scaling(factor, original_max):
    return {"factor": factor, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": original_max, "rope_type": "llama3"}


def longrope(half_dim):
    """Short and long factors in the manner of Phi: near one, and growing with the dimension."""
    return {"long_factor": [round(1.0 + 1.7 * i + 0.13 * i * i, 4) for i in range(half_dim)],
            "short_factor": [round(1.0 + 0.07 * i, 4) for i in range(half_dim)],
            "type": "longrope"}


PHI4_MINI = phi3(hidden_size=48, intermediate_size=52, num_attention_heads=3, num_key_value_heads=1,
                 max_position_embeddings=512, original_max_position_embeddings=16,
                 partial_rotary_factor=0.75, rope_scaling=longrope(6), sliding_window=1024,
                 tie_word_embeddings=True)
LLAMA3 = llama(num_key_value_heads=2, rope_theta=500000.0, rope_scaling=None)

# Hidden sizes such that one tensor has more than 256 blocks: two blocks of nested statistics.
BNB_LLAMA = llama(hidden_size=64, intermediate_size=260, num_key_value_heads=2, rope_scaling=None,
                  torch_dtype="bfloat16")

# name -> config.json and, where wanted:
#   dtype           of the stored weights
#   shard_size      shards with an index
#   new_layout      config.json as save_pretrained of transformers 5 writes it
#   bnb             weights quantized by bitsandbytes (NF4, double quantization) and saved so
#   lora            further options of peft.LoraConfig
#   adapter_folder  the starting adapter also as a folder written by PEFT
#   variant         the case whose seed is used (same weights where the shapes are the same); final
#                   adapter values are left out to keep it small
CASES = {
    "llama2": dict(config=llama(intermediate_size=36, num_hidden_layers=3, rope_scaling=None)),
    "llama3": dict(config=LLAMA3),
    "qwen3": dict(config=base_config(
        "Qwen3ForCausalLM", "qwen3", attention_bias=False, head_dim=16, max_window_layers=2,
        num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-6, rope_scaling=None,
        rope_theta=1000000.0, sliding_window=None, tie_word_embeddings=True,
        use_sliding_window=False)),
    "phi4mini": dict(config=PHI4_MINI),
    "llama31": dict(config=llama(num_key_value_heads=2, rope_theta=500000.0,
                                 rope_scaling=llama3_scaling(8.0, 32))),
    "llama32": dict(config=llama(head_dim=16, num_attention_heads=4, num_key_value_heads=2,
                                 rope_theta=500000.0, rope_scaling=llama3_scaling(32.0, 16),
                                 tie_word_embeddings=True)),
    "mistral": dict(config=base_config("MistralForCausalLM", "mistral", num_key_value_heads=1,
                                       sliding_window=8)),
    "qwen2": dict(config=qwen2(num_key_value_heads=2, sliding_window=16, tie_word_embeddings=True)),
    "qwen25": dict(config=qwen2(num_attention_heads=2, num_key_value_heads=1, sliding_window=8)),
    "phi3": dict(config=phi3(original_max_position_embeddings=128, rope_scaling=None,
                             sliding_window=11)),
    "phi35": dict(config=phi3(max_position_embeddings=256, original_max_position_embeddings=16,
                              rope_scaling=longrope(4), sliding_window=1024)),
    "phi4_14b": dict(config=phi3(num_key_value_heads=2, original_max_position_embeddings=128,
                                 rope_scaling=None, rope_theta=250000.0, sliding_window=None)),
    "llama3_bf16": dict(config={**LLAMA3, "torch_dtype": "bfloat16"}, dtype=torch.bfloat16,
                        variant="llama3"),
    "qwen2_f16": dict(config=qwen2(num_key_value_heads=2, sliding_window=16, torch_dtype="float16"),
                      dtype=torch.float16, variant="qwen2"),
    "llama3_sharded": dict(config=LLAMA3, shard_size=40_000, variant="llama3"),
    "phi4mini_new_config": dict(config=PHI4_MINI, new_layout=True, variant="phi4mini"),
    "llama_rslora": dict(config=LLAMA3, adapter_folder=True, lora=dict(
        target_modules=["q_proj", "v_proj", "o_proj", "down_proj"], use_rslora=True,
        rank_pattern={"q_proj": 8, "layers.1.mlp.down_proj": 2},
        alpha_pattern={"layers.0.self_attn.q_proj": 12, "o_proj": 5})),
    "bnb_llama": dict(config=BNB_LLAMA, dtype=torch.bfloat16, bnb=True,
                      variant="bnb_llama",
                      lora=dict(target_modules=["q_proj", "v_proj", "down_proj"])),
}
