"""Writes one small random layer of every kind, and what Transformers computes with it.

    pip install torch==2.15 transformers==5.24 safetensors
    python3 make.py

Each model is built from its configuration with random weights, and runs on random rows: what
enters the attention of one of its layers is `x`, what leaves it is `y`. Weights are rounded to
BF16 first, and stored so. The metadata hold the configuration and the number of the layer.
"""

import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel

HERE = Path(__file__).parent
TOKENS = 12
transformers.logging.set_verbosity_error()
torch.set_num_threads(1)

SMALL = {
    "vocab_size": 11, "hidden_size": 20, "intermediate_size": 8, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "rms_norm_eps": 1e-3,
    "max_position_embeddings": 64, "rope_theta": 50.0, "attention_bias": True, "pad_token_id": 0,
}
EXPERTS = {"num_experts": 2, "num_local_experts": 2, "num_experts_per_tok": 1,
           "moe_intermediate_size": 4, "shared_expert_intermediate_size": 4}
SHARED = {**SMALL, "hidden_size": 24}
BIASED = {**SMALL, "attention_bias": True}
WINDOW = {"sliding_window": 5}
SLIDES = {**WINDOW, "layer_types": ["sliding_attention", "full_attention"]}

# kind, what is special, which layer
CASES = {
    "llama": ("llama", SMALL, 1),
    "llama-plain": ("llama", {**SMALL, "attention_bias": False, "num_key_value_heads": 4}, 0),
    "llama-one-key": ("llama", {**SMALL, "num_key_value_heads": 1}, 0),
    "mistral": ("mistral", {**SMALL, **WINDOW}, 0),
    "mistral-no-window": ("mistral", {**SMALL, "sliding_window": None}, 0),
    "ministral": ("ministral", {**SMALL, **SLIDES}, 0),
    "ministral-full": ("ministral", {**SMALL, **SLIDES}, 1),
    "mixtral": ("mixtral", {**SMALL, **WINDOW, **EXPERTS}, 1),
    "qwen2": ("qwen2", SHARED, 1),
    "qwen2-window": ("qwen2", {**SHARED, **WINDOW, "use_sliding_window": True,
                               "max_window_layers": 1}, 1),
    "qwen2-moe": ("qwen2_moe", {**SHARED, **EXPERTS, "qkv_bias": True}, 0),
    "qwen3": ("qwen3", SMALL, 1),
    "qwen3-window": ("qwen3", {**SMALL, **WINDOW, "use_sliding_window": True,
                               "max_window_layers": 0}, 0),
    "qwen3-moe": ("qwen3_moe", {**SMALL, **EXPERTS}, 1),
    "gemma": ("gemma", SMALL, 0),
    "gemma2": ("gemma2", {**SMALL, **WINDOW, "query_pre_attn_scalar": 17,
                          "attn_logit_softcapping": 1.5}, 0),
    "gemma2-full": ("gemma2", {**SMALL, **WINDOW, "query_pre_attn_scalar": 3,
                               "attn_logit_softcapping": 4.0}, 1),
    "gemma3": ("gemma3_text", {**SMALL, **WINDOW, "query_pre_attn_scalar": 9,
                               "layer_types": SLIDES["layer_types"]}, 0),
    "gemma3-full": ("gemma3_text", {**SMALL, **WINDOW, "query_pre_attn_scalar": 9,
                                    "layer_types": SLIDES["layer_types"]}, 1),
    "phi3": ("phi3", {**SHARED, **WINDOW}, 0),
    "phi3-partial": ("phi3", {**SHARED, "hidden_size": 32, "head_dim": 8, "partial_rotary_factor": 0.5}, 1),
    "gpt-oss": ("gpt_oss", {**SMALL, **WINDOW, **EXPERTS}, 0),
    "gpt-oss-full": ("gpt_oss", {**SMALL, **WINDOW, **EXPERTS}, 1),
    "olmo2": ("olmo2", SHARED, 1),
    "glm4": ("glm4", {**SMALL, "head_dim": 8, "partial_rotary_factor": 0.5}, 0),
    "stablelm": ("stablelm", {**SHARED, "hidden_size": 32, "head_dim": 8, "layer_norm_eps": 1e-3,
                              "use_qkv_bias": True, "qk_layernorm": True,
                              "partial_rotary_factor": 0.25}, 1),
    "stablelm-plain": ("stablelm", {**SHARED, "hidden_size": 32, "head_dim": 8, "partial_rotary_factor": 0.5}, 0),
    "smollm3": ("smollm3", {**SHARED, "no_rope_layers": [1, 0]}, 0),
    "smollm3-no-rope": ("smollm3", {**SHARED, **WINDOW, "no_rope_layers": [1, 0],
                                    "use_sliding_window": True}, 1),
    "granite": ("granite", {**SHARED, "attention_multiplier": 0.7}, 0),
    "bert": ("bert", {"vocab_size": 11, "hidden_size": 24, "num_hidden_layers": 2,
                      "num_attention_heads": 4, "intermediate_size": 8}, 1),
    "bert-decoder": ("bert", {"vocab_size": 11, "hidden_size": 24, "num_hidden_layers": 2,
                              "num_attention_heads": 3, "intermediate_size": 8,
                              "is_decoder": True}, 0),
    "gpt2": ("gpt2", {"vocab_size": 11, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 32,
                      "scale_attn_by_inverse_layer_idx": True}, 1),
    "gpt2-unscaled": ("gpt2", {"vocab_size": 11, "n_embd": 24, "n_layer": 2, "n_head": 3,
                               "n_positions": 32, "scale_attn_weights": False}, 0),
}

# Every kind of ROPE_INIT_FUNCTIONS, and texts longer than those of training.
ROPES = {
    "linear": {"rope_type": "linear", "factor": 3.0},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8},
    "yarn-mscale": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8,
                    "mscale": 1.0, "mscale_all_dim": 0.5, "beta_fast": 4.0, "beta_slow": 0.5,
                    "truncate": False},
    "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 32},
    "longrope-short": {"rope_type": "longrope", "short_factor": [1.0, 1.5, 2.0],
                       "long_factor": [2.0, 4.0, 9.0], "factor": 2.0,
                       "original_max_position_embeddings": 16},
    "longrope-long": {"rope_type": "longrope", "short_factor": [1.0, 1.5, 2.0],
                      "long_factor": [2.0, 4.0, 9.0], "factor": 4.0,
                      "original_max_position_embeddings": 8},
}
for name, rope in ROPES.items():
    trained = 8 if name == "dynamic" else 64
    CASES[name] = ("llama", {**SMALL, "attention_bias": False, "rope_scaling": rope,
                             "max_position_embeddings": trained}, 1)

LAYERED = {**{key: value for key, value in SMALL.items() if key != "rms_norm_eps"}, "layer_norm_eps": 1e-3}
FALCON = {"vocab_size": 11, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
          "ffn_hidden_size": 8, "max_position_embeddings": 64, "rope_theta": 50.0, "bias": True}
GROWING = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 5,
           "llama_4_scaling_beta": 0.4, "mscale": 1.0, "mscale_all_dim": 0.5}
NEOX = {key: value for key, value in LAYERED.items()
        if key not in ("head_dim", "rope_theta", "num_key_value_heads")}
CASES |= {
    "ministral3": ("ministral3", {**SMALL, **WINDOW, "rope_parameters": GROWING}, 1),
    "phi": ("phi", {**LAYERED, "hidden_size": 32, "head_dim": 8, "qk_layernorm": True}, 1),
    "phi-plain": ("phi", {**LAYERED, "hidden_size": 32, "head_dim": 8}, 0),
    "gpt-neox": ("gpt_neox", {**NEOX, "hidden_size": 32, "rotary_pct": 0.5}, 1),
    "gpt-neox-plain": ("gpt_neox", {**NEOX, "hidden_size": 24, "attention_bias": False,
                                    "rotary_pct": 1.0, "rotary_emb_base": 50.0}, 0),
    "falcon": ("falcon", FALCON, 1),
    "falcon-new": ("falcon", {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}, 0),
    "falcon-heads": ("falcon", {**FALCON, "multi_query": False, "bias": False,
                                "parallel_attn": False}, 1),
    "starcoder2": ("starcoder2", {**SHARED, **WINDOW}, 0),
    "olmo": ("olmo", {**SHARED, "clip_qkv": 0.8}, 1),
    "olmo-plain": ("olmo", SHARED, 0),
    "olmo3": ("olmo3", {**SHARED, **SLIDES}, 0),
    "olmo3-full": ("olmo3", {**SHARED, **SLIDES, "rope_scaling": ROPES["yarn"]}, 1),
    "cohere": ("cohere", {**LAYERED, "use_qk_norm": True}, 1),
    "cohere-plain": ("cohere", LAYERED, 0),
    "cohere2": ("cohere2", {**LAYERED, "hidden_size": 24, **SLIDES}, 0),
    "cohere2-full": ("cohere2", {**LAYERED, "hidden_size": 24, **SLIDES}, 1),
    "glm": ("glm", {**SMALL, "head_dim": 8}, 1),
    "glm4-moe": ("glm4_moe", {**SMALL, "head_dim": 8, "use_qk_norm": True, "n_routed_experts": 2,
                              "num_experts_per_tok": 1, "moe_intermediate_size": 4}, 0),
    "exaone4": ("exaone4", {**SMALL, **SLIDES}, 0),
    "exaone4-full": ("exaone4", {**SMALL, **SLIDES}, 1),
    "exaone4-no-window": ("exaone4", {**SMALL, "sliding_window": None,
                                      "layer_types": ["full_attention"] * 2}, 1),
    "proportional": ("llama", {**SMALL, "head_dim": 8, "attention_bias": False, "rope_scaling": {
        "rope_type": "proportional", "partial_rotary_factor": 0.5}}, 0),
}


def first(module, *names):
    return next((getattr(module, name) for name in names if hasattr(module, name)), None)


def randomize(model):
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.35)
            elif name.endswith("weight"):
                weight.normal_(1, 0.3)
            else:
                weight.normal_(0, 0.3)
            weight.copy_(weight.bfloat16().float())


def build(kind, changes, layer):
    """A random model, what is special about it, and the attention of one of its layers."""
    plain = AutoConfig.for_model(kind)
    odd = [key for key in ("attention_bias", "rms_norm_eps", *EXPERTS) if not hasattr(plain, key)]
    odd += ["head_dim"] if kind == "stablelm" else []
    changes = {key: value for key, value in changes.items() if key not in odd}
    given = {"model_type": kind, **changes}
    config = AutoConfig.for_model(kind, **json.loads(json.dumps(changes)))
    model = AutoModel.from_config(config, attn_implementation="eager").eval()
    randomize(model)
    layers = first(model, "layers", "h")
    layers = model.encoder.layer if layers is None else layers
    attention = first(layers[layer], "self_attn", "attn", "attention", "self_attention")
    return given, model, attention


def run(kind, changes, layer):
    given, model, attention = build(kind, changes, layer)
    seen = {}
    core, last = attention, attention
    if kind == "bert":
        core, last = attention.self, attention.output.dense

    def enters(_, args, kwargs):
        seen["x"] = (args[0] if args else kwargs["hidden_states"])[0]

    def leaves(_, args, output):
        seen["y"] = (output[0] if isinstance(output, tuple) else output)
        seen["y"] = seen["y"][0] if seen["y"].dim() == 3 else seen["y"]

    core.register_forward_pre_hook(enters, with_kwargs=True)
    last.register_forward_hook(leaves)
    width = model.config.hidden_size
    with torch.no_grad():
        model(inputs_embeds=torch.randn(1, TOKENS, width), use_cache=False)
    path = next(name for name, module in model.named_modules() if module is attention)
    tensors = {f"{path}.{name}": tensor.bfloat16().contiguous()
               for name, tensor in attention.named_parameters()}
    return given, tensors, {name: tensor.contiguous().clone() for name, tensor in seen.items()}


def main():
    for old in HERE.glob("*.safetensors"):
        old.unlink()
    for number, (name, (kind, changes, layer)) in enumerate(CASES.items()):
        torch.manual_seed(number)
        given, tensors, seen = run(kind, changes, layer)
        notes = {"config": json.dumps(given), "layer": str(layer)}
        save_file({**tensors, **seen}, HERE / f"{name}.safetensors", metadata=notes)
        print(f"{name:20} y to {seen['y'].abs().max():.2f}")


if __name__ == "__main__":
    main()
