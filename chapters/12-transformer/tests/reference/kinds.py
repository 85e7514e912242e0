"""Makes the models in `kinds` beside this file: one of each kind that `book/checkpoint` knows.

    pip install torch transformers safetensors
    python chapters/12-transformer/tests/reference/kinds.py [KIND…]

Each is random and tiny, with windows shorter than its text, its weights in bf16; `expected.safetensors`
holds `tokens` and the `logits` that Transformers computes from them in f32.
"""

import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.mistral4.modeling_mistral4 import Mistral4ForCausalLM

here = pathlib.Path(__file__).parent / "kinds"

SIZES = {
    "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 29, "max_position_embeddings": 64,
    "pad_token_id": None, "bos_token_id": None, "eos_token_id": None,
}
LATENT = {
    **SIZES, "num_key_value_heads": 4, "kv_lora_rank": 6, "q_lora_rank": 7, "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 6, "v_head_dim": 3,
}
GROUPED_EXPERTS = {
    "n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 3, "first_k_dense_replace": 1,
    "moe_intermediate_size": 8, "n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5,
}
QWEN_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
YARN = {
    "rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16,
    "mscale": 1.0, "mscale_all_dim": 1.0,
}

KINDS = {
    "llama": {**SIZES, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "mistral": {**SIZES, "sliding_window": 4},
    "mixtral": {**SIZES, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    "qwen2": {**SIZES, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    "qwen2_moe": {**SIZES, **QWEN_EXPERTS, "shared_expert_intermediate_size": 10, "mlp_only_layers": [0]},
    "qwen3": {**SIZES, "head_dim": 6},
    "qwen3_moe": {**SIZES, **QWEN_EXPERTS, "head_dim": 6, "norm_topk_prob": True, "decoder_sparse_step": 1},
    "gemma": {**SIZES, "head_dim": 6},
    "gemma2": {
        **SIZES, "head_dim": 6, "sliding_window": 3, "query_pre_attn_scalar": 10,
        "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0,
    },
    "gemma3_text": {**SIZES, "head_dim": 6, "sliding_window": 3},
    "phi": {**SIZES, "qk_layernorm": True},
    "phi3": {**SIZES, "sliding_window": 4},
    "gpt2": {
        "n_embd": 16, "n_layer": 2, "n_head": 4, "vocab_size": 29, "n_positions": 64,
        "scale_attn_by_inverse_layer_idx": True, "bos_token_id": None, "eos_token_id": None,
    },
    "gpt_neox": {
        **{key: value for key, value in SIZES.items() if key != "num_key_value_heads"},
        "use_parallel_residual": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
    },
    "falcon": {
        **{key: value for key, value in SIZES.items() if key not in ("intermediate_size", "num_key_value_heads")},
        "new_decoder_architecture": True, "num_kv_heads": 2,
    },
    "stablelm": {**SIZES, "use_parallel_residual": True, "qk_layernorm": True, "partial_rotary_factor": 0.5},
    "starcoder2": {**SIZES, "sliding_window": 4},
    "olmo": {**SIZES, "clip_qkv": 0.5},
    "olmo2": SIZES,
    "olmo3": {**SIZES, "sliding_window": 4},
    "granite": {
        **SIZES, "embedding_multiplier": 3.0, "logits_scaling": 2.0, "residual_multiplier": 0.5,
        "attention_multiplier": 0.3,
    },
    "cohere": {**SIZES, "use_qk_norm": True, "logit_scale": 0.25},
    "cohere2": {**SIZES, "sliding_window": 4, "logit_scale": 0.25},
    "glm": {**SIZES, "head_dim": 8},
    "glm4": {**SIZES, "head_dim": 8},
    "glm4_moe": {**SIZES, **GROUPED_EXPERTS, "head_dim": 8, "use_qk_norm": True},
    "smollm3": {**SIZES, "no_rope_layer_interval": 2},
    "gpt_oss": {
        **SIZES, "num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 6, "sliding_window": 4,
    },
    "exaone4": {**SIZES, "sliding_window": 4, "sliding_window_pattern": 2},
    "deepseek_v2": {**LATENT, **GROUPED_EXPERTS, "topk_method": "group_limited_greedy"},
    "deepseek_v3": {**LATENT, **GROUPED_EXPERTS, "rope_parameters": YARN},
    "minicpm3": {**LATENT, "dim_model_base": 8},
    "ministral3": SIZES,
    "mistral4": {**LATENT, **GROUPED_EXPERTS},
}


def stir(model):
    """Weights as large as those of a trained model, gains that are not one, rounded to bf16."""
    gemma = "gemma" in model.config.model_type
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        with torch.no_grad():
            if "correction" in name:
                tensor.normal_(std=0.2)
            elif not isinstance(tensor, torch.nn.Parameter):
                continue
            elif tensor.ndim == 1 and "norm" in name and name.endswith("weight"):
                tensor.copy_((0 if gemma else 1) + 0.3 * torch.randn_like(tensor))
            elif tensor.ndim == 1:
                tensor.normal_(std=0.3)
            else:
                tensor.normal_(std=1.5 / tensor.shape[-1] ** 0.5)
            tensor.copy_(tensor.bfloat16().float())


def make(kind, keys):
    torch.manual_seed(sum(map(ord, kind)))
    config = AutoConfig.for_model(kind, **keys)
    config._attn_implementation = "eager"
    # Of this kind alone, the class for text stands in no list.
    is_listed = kind != "mistral4"
    model = AutoModelForCausalLM.from_config(config) if is_listed else Mistral4ForCausalLM(config)
    model = model.float().eval()
    stir(model)
    tokens = torch.randint(0, 29, (1, 17))
    with torch.no_grad():
        logits = model(tokens).logits[0]
    folder = here / kind
    shutil.rmtree(folder, ignore_errors=True)
    model.bfloat16().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    config = json.loads((folder / "config.json").read_text())
    config.pop("transformers_version", None)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    expected = {"tokens": tokens[0].int(), "logits": logits.contiguous()}
    save_file(expected, folder / "expected.safetensors")
    print(f"{kind}: {sum(p.numel() for p in model.parameters())} parameters")


for kind in sys.argv[1:] or KINDS:
    make(kind, KINDS[kind])
