"""Writes kinds.json: configurations of every kind, and what Transformers makes of them.

    python3 make.py

Of each kind there is one configuration with every key that matters, one for each of them
left out, one for each set to null, and some with special values. Each model is built
without memory for its weights (on PyTorch's `meta` device): parameters are those of its
modules, and what its attention does is read off its layers. Where Transformers refuses a
configuration, `refused` says so. Made with PyTorch 2.15 and Transformers 5.24.
"""

import copy
import json
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM
from transformers.models.mistral4.modeling_mistral4 import Mistral4ForCausalLM

HERE = Path(__file__).parent
TOKENS = 5
transformers.logging.set_verbosity_error()

GROUPED = {
    "vocab_size": 97, "hidden_size": 192, "intermediate_size": 80, "num_hidden_layers": 5,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "tie_word_embeddings": True, "rms_norm_eps": 1e-4, "rope_theta": 300.0,
}
UNTIED = {key: value for key, value in GROUPED.items() if key != "tie_word_embeddings"}
WINDOWS = {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 3}
LATENT = {
    **GROUPED, "num_key_value_heads": 4, "kv_lora_rank": 12, "q_lora_rank": 10,
    "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 6, "attention_bias": True,
}
QWEN_MOE = {
    "num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
    "decoder_sparse_step": 2, "mlp_only_layers": [1],
}
DEEPSEEK = {
    **LATENT, "n_routed_experts": 8, "n_shared_experts": 3, "num_experts_per_tok": 2,
    "moe_intermediate_size": 24, "first_k_dense_replace": 2, "n_group": 1, "topk_group": 1,
}

LAYERED = {**{k: v for k, v in GROUPED.items() if k != "rms_norm_eps"}, "layer_norm_eps": 1e-4}

# The text of a model of text and images: the matrix that tokens leave by is the whole's.
HEADLESS = ["qwen2_vl_text", "qwen2_5_vl_text"]

FULL = {
    "llama": {**GROUPED, "head_dim": 10, "attention_bias": True, "mlp_bias": True},
    "mistral": {**GROUPED, "head_dim": 10, "sliding_window": 9},
    "ministral": {**GROUPED, "head_dim": 10, "sliding_window": 9,
                  "layer_types": ["sliding_attention"] * 2 + ["full_attention"] * 3},
    "mixtral": {**GROUPED, "head_dim": 10, "sliding_window": 9, "num_local_experts": 4,
                "num_experts_per_tok": 3},
    "qwen2": {**GROUPED, **WINDOWS},
    "qwen2_vl_text": {**UNTIED, **WINDOWS},
    "qwen2_5_vl_text": {**UNTIED, **WINDOWS},
    "qwen2_moe": {**GROUPED, **WINDOWS, **QWEN_MOE, "qkv_bias": False,
                  "shared_expert_intermediate_size": 40},
    "qwen3": {**GROUPED, **WINDOWS, "head_dim": 10, "attention_bias": True},
    "qwen3_moe": {**GROUPED, **QWEN_MOE, "head_dim": 10, "attention_bias": True,
                  "use_sliding_window": True, "sliding_window": 7},
    "gemma": {**GROUPED, "head_dim": 10, "attention_bias": True, "tie_word_embeddings": False},
    "gemma2": {**GROUPED, "head_dim": 10, "attention_bias": True, "sliding_window": 9,
               "query_pre_attn_scalar": 20, "attn_logit_softcapping": 30.0,
               "tie_word_embeddings": False},
    "gemma3_text": {**GROUPED, "head_dim": 10, "attention_bias": True, "sliding_window": 9,
                    "query_pre_attn_scalar": 20, "sliding_window_pattern": 3,
                    "rope_local_base_freq": 70.0, "tie_word_embeddings": False},
    "phi3": {**GROUPED, "sliding_window": 9, "partial_rotary_factor": 0.5,
             "original_max_position_embeddings": 32},
    "gpt_oss": {**GROUPED, "head_dim": 10, "attention_bias": False, "sliding_window": 9,
                "num_local_experts": 4, "num_experts_per_tok": 3},
    "olmo2": {**GROUPED, "attention_bias": True},
    "glm4": {**GROUPED, "head_dim": 12, "attention_bias": False, "partial_rotary_factor": 0.25},
    "stablelm": {**{k: v for k, v in GROUPED.items() if k != "rms_norm_eps"},
                 "layer_norm_eps": 1e-4, "use_qkv_bias": True, "qk_layernorm": True,
                 "use_parallel_residual": True, "partial_rotary_factor": 0.5},
    "smollm3": {**GROUPED, "attention_bias": True, "mlp_bias": True, "use_sliding_window": True,
                "sliding_window": 7, "no_rope_layer_interval": 2, "tie_word_embeddings": False},
    "granite": {**GROUPED, "attention_bias": True, "mlp_bias": True, "attention_multiplier": 0.3},
    "deepseek_v2": {**DEEPSEEK, "mlp_bias": True},
    "deepseek_v3": {**DEEPSEEK, "rope_interleave": False},
    "minicpm3": {**LATENT, "hidden_size": 160, "mlp_bias": True, "tie_word_embeddings": False},
    "bert": {"vocab_size": 97, "hidden_size": 192, "intermediate_size": 80,
             "num_hidden_layers": 3, "num_attention_heads": 6, "max_position_embeddings": 64,
             "layer_norm_eps": 1e-4, "is_decoder": True},
    "gpt2": {"vocab_size": 97, "n_embd": 192, "n_layer": 3, "n_head": 6, "n_positions": 64,
             "n_inner": 70, "scale_attn_weights": False, "tie_word_embeddings": False,
             "scale_attn_by_inverse_layer_idx": True, "layer_norm_epsilon": 1e-4},
    "cohere": {**LAYERED, "head_dim": 10, "attention_bias": True, "use_qk_norm": True,
               "logit_scale": 0.3, "tie_word_embeddings": False},
    "cohere2": {**LAYERED, "attention_bias": True, "logit_scale": 0.3, "sliding_window": 9,
                "sliding_window_pattern": 3, "tie_word_embeddings": False},
    "glm": {**GROUPED, "head_dim": 12, "attention_bias": False, "partial_rotary_factor": 0.25},
    "glm4_moe": {**GROUPED, "head_dim": 12, "attention_bias": True, "partial_rotary_factor": 0.25,
                 "use_qk_norm": True, "n_routed_experts": 8, "n_shared_experts": 3,
                 "num_experts_per_tok": 2, "moe_intermediate_size": 24,
                 "first_k_dense_replace": 2, "n_group": 1, "topk_group": 1},
    "olmo": {**{k: v for k, v in GROUPED.items() if k != "rms_norm_eps"}, "head_dim": 10,
             "attention_bias": True, "clip_qkv": 3.5},
    "olmo3": {**GROUPED, "attention_bias": True, "sliding_window": 9},
    "starcoder2": {**{k: v for k, v in GROUPED.items() if k != "rms_norm_eps"}, "use_bias": False,
                   "norm_epsilon": 1e-4, "sliding_window": 9, "tie_word_embeddings": False},
    "exaone4": {**GROUPED, "head_dim": 10, "sliding_window": 9, "sliding_window_pattern": 3},
    "phi": {**LAYERED, "qk_layernorm": True, "partial_rotary_factor": 0.25},
    "gpt_neox": {**{k: v for k, v in LAYERED.items()
                    if k not in ("num_key_value_heads", "rope_theta")},
                 "attention_bias": False, "use_parallel_residual": False, "rotary_pct": 0.5,
                 "rotary_emb_base": 300.0},
    "falcon": {"vocab_size": 97, "hidden_size": 192, "num_hidden_layers": 3,
               "num_attention_heads": 6, "num_kv_heads": 3, "layer_norm_epsilon": 1e-4,
               "new_decoder_architecture": True, "bias": True, "ffn_hidden_size": 80,
               "num_ln_in_parallel_attn": 1, "max_position_embeddings": 64, "rope_theta": 300.0,
               "parallel_attn": True, "multi_query": False, "tie_word_embeddings": False,
               "alibi": False},
    "ministral3": {**GROUPED, "head_dim": 10, "sliding_window": 9},
    "mistral4": {**DEEPSEEK, "rope_interleave": False, "intermediate_size": 70},
    "kimi_k2": {**DEEPSEEK},
}

# Kimi's own class is a copy of this one.
CLASSES = {"kimi_k2": "deepseek_v3"}

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
SHORT = [1.0 + pair for pair in range(12)]
LONG = [2.0 + 3 * pair for pair in range(12)]
TYPES = ["full_attention", "sliding_attention", "full_attention", "sliding_attention",
         "full_attention"]

# What is changed in the configuration above, for some kinds.
SPECIAL = {
    "llama": [
        {"rope_scaling": LLAMA3}, {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, {"rope_scaling": YARN},
        {"rope_scaling": {**YARN, "attention_factor": 1.5, "beta_fast": 16, "beta_slow": 2}},
        {"rope_scaling": {**YARN, "mscale": 1.0, "mscale_all_dim": 0.5, "truncate": False}},
        {"rope_parameters": {"rope_theta": 55.0, "rope_type": "default"}},
        {"rope_parameters": {**LLAMA3, "rope_theta": 55.0}, "rope_scaling": None},
        {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
        {"rope_scaling": {**YARN, "factor": None}},
        {"rope_scaling": LLAMA3, "original_max_position_embeddings": 16},
        {"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0] * 5,
                          "long_factor": [2.0, 3.0, 4.0, 5.0, 6.0],
                          "original_max_position_embeddings": 32}},
        {"num_key_value_heads": 4}, {"num_key_value_heads": 1}, {"attention_bias": False},
    ],
    "mistral": [{"layer_types": TYPES}, {"head_dim": None, "num_attention_heads": 6}],
    "mixtral": [{"num_experts": 5}, {"num_experts": 5, "num_local_experts": 3}],
    "qwen2": [{"use_sliding_window": False}, {"layer_types": TYPES}, {"max_window_layers": 0},
              {"max_window_layers": 9}, {"head_dim": 12}],
    "qwen2_vl_text": [
        {"rope_scaling": {"type": "mrope", "mrope_section": [8, 8, 8]}}, {"layer_types": TYPES},
    ],
    "qwen2_moe": [{"use_sliding_window": False}, {"layer_types": TYPES}, {"qkv_bias": True},
                  {"max_window_layers": 0}, {"max_window_layers": 9},
                  {"mlp_only_layers": [0, 1, 2, 3, 4]}],
    "qwen3": [{"use_sliding_window": False}, {"layer_types": TYPES}],
    "qwen3_moe": [{"use_sliding_window": False}, {"num_local_experts": 4}],
    "gemma2": [{"layer_types": TYPES}],
    "gemma3_text": [
        {"layer_types": TYPES}, {"rope_scaling": {"rope_type": "linear", "factor": 8.0}},
        {"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2.0,
                                                "rope_theta": 99.0},
                             "sliding_attention": {"rope_type": "default"}}},
    ],
    "phi3": [
        {"rope_scaling": {"type": "longrope", "short_factor": SHORT, "long_factor": LONG}},
        {"rope_scaling": {"type": "su", "short_factor": SHORT, "long_factor": LONG,
                          "original_max_position_embeddings": 32},
         "max_position_embeddings": 128},
        {"rope_scaling": {"type": "longrope", "short_factor": SHORT, "long_factor": LONG,
                          "original_max_position_embeddings": 8}},
    ],
    "gpt_oss": [{"rope_scaling": {**YARN, "truncate": False}}, {"layer_types": TYPES},
                {"rope_parameters": {"rope_type": "default", "rope_theta": 44.0}}],
    "smollm3": [{"use_sliding_window": False}, {"no_rope_layers": [1, 0, 0, 1, 1]},
                {"layer_types": TYPES}],
    "deepseek_v2": [{"rope_scaling": {**YARN, "type": "yarn", "mscale": 0.707,
                                      "mscale_all_dim": 0.707}}],
    "deepseek_v3": [{"rope_scaling": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0}},
                    {"rope_interleave": True}, {"num_local_experts": 4}],
    "minicpm3": [{"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0, 2.0],
                                   "long_factor": [3.0, 4.0],
                                   "original_max_position_embeddings": 32}}],
    "bert": [{"is_decoder": False}],
    "gpt2": [{"scale_attn_weights": True}, {"scale_attn_by_inverse_layer_idx": False}],
    "cohere": [{"use_qk_norm": False}, {"rope_scaling": YARN}],
    "cohere2": [{"layer_types": TYPES}, {"head_dim": 10}, {"sliding_window_pattern": 1}],
    "glm": [{"attention_bias": True}, {"rope_scaling": {**YARN, "attention_factor": 1.5}}],
    "glm4_moe": [{"use_qk_norm": False}, {"attention_bias": False}],
    "olmo": [{"clip_qkv": 0.0}],
    "olmo3": [{"layer_types": TYPES}, {"rope_scaling": YARN}, {"num_key_value_heads": 4},
              {"rope_parameters": {"full_attention": {**YARN, "rope_theta": 70.0},
                                   "sliding_attention": {"rope_theta": 60.0}}}],
    "starcoder2": [{"use_bias": True}],
    "exaone4": [{"layer_types": TYPES}, {"sliding_window": None, "layer_types": ["full_attention"] * 5},
                {"rope_scaling": LLAMA3}, {"sliding_window_pattern": "LLG", "layer_types": TYPES}],
    "phi": [{"qk_layernorm": False}, {"num_key_value_heads": 4},
            {"rope_scaling": {"type": "linear", "factor": 2.0}}],
    "gpt_neox": [{"attention_bias": True}, {"use_parallel_residual": True},
                 {"rope_parameters": {"rope_theta": 70.0, "partial_rotary_factor": 0.125}},
                 {"rope_scaling": {"type": "linear", "factor": 2.0}}],
    "falcon": [{"new_decoder_architecture": False}, {"num_ln_in_parallel_attn": 2},
               {"new_decoder_architecture": False, "multi_query": True, "bias": False},
               {"new_decoder_architecture": False, "num_kv_heads": None},
               {"new_decoder_architecture": False, "multi_query": True, "parallel_attn": False},
               {"new_decoder_architecture": False, "multi_query": True,
                "num_ln_in_parallel_attn": None},
               {"alibi": True}, {"parallel_attn": False}],
    "ministral3": [{"rope_scaling": {**YARN, "llama_4_scaling_beta": 0.3}},
                   {"rope_parameters": {**YARN, "llama_4_scaling_beta": 0.3, "mscale": 1.0,
                                        "mscale_all_dim": 0.5, "rope_theta": 70.0,
                                        "max_position_embeddings": 64}},
                   {"rope_scaling": {**YARN}}],
    "mistral4": [{"rope_parameters": {**YARN, "llama_4_scaling_beta": 0.3, "mscale": 1.0,
                                      "mscale_all_dim": 0.7, "rope_theta": 70.0}},
                 {"rope_interleave": True}, {"num_local_experts": 4},
                 {"rope_parameters": {"rope_type": "default", "llama_4_scaling_beta": 0.3,
                                      "original_max_position_embeddings": 16}}],
    "kimi_k2": [{"rope_scaling": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0}}],
}


def attention_of(layer):
    for name in ("self_attn", "attn"):
        if hasattr(layer, name):
            return getattr(layer, name)
    return layer.attention


def bias(module):
    return getattr(module, "bias", None) is not None


def turned(rotary, layer_type=None):
    """The frequencies of a rotation, and what its cosines are multiplied by."""
    prefix = f"{layer_type}_" if layer_type else ""
    frequencies = getattr(rotary, f"{prefix}inv_freq").tolist()
    return {"frequencies": [float(f"{one:.8g}") for one in frequencies],
            "amplitude": getattr(rotary, f"{prefix}attention_scaling")}


def first(module, *names):
    return next((getattr(module, name) for name in names if hasattr(module, name)), None)


def facts(config, kind):
    """What each layer's attention does, read off the modules of a model of that kind."""
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    # The frequencies have to be numbers.
    rotary = first(model, "rotary_emb")
    rotary = rotary and type(rotary)(config)
    layers = first(model, "layers", "h")
    layers = model.encoder.layer if layers is None else layers
    found = []
    for index, layer in enumerate(layers):
        outer = first(layer, "self_attn", "attn", "attention", "self_attention")
        one = first(outer, "self") or outer
        types = getattr(config, "layer_types", None)
        window = getattr(one, "sliding_window", None)
        if kind == "exaone4" and not one.is_sliding:
            window = None
        if kind in ("mistral", "mixtral", "phi3", "ministral", "starcoder2", "ministral3"):
            # Theirs is in the mask that the model makes.
            slides = types is None or types[index] == "sliding_attention"
            window = config.sliding_window if slides else None
        inputs = first(one, "qkv_proj", "c_attn", "kv_a_proj_with_mqa", "k_proj", "key",
                       "query_key_value")
        output = outer.output.dense if kind == "bert" else first(one, "o_proj", "c_proj", "dense")
        norm = first(one, "q_norm", "q_layernorm")
        if kind == "stablelm" and norm is not None:
            norm = {"width": norm.dim, "eps": norm.norms[0].eps, "each": True}
        elif kind == "phi" and norm is not None:
            norm = {"width": norm.weight.shape[0], "eps": norm.eps, "each": False, "bias": True}
        elif kind == "cohere" and norm is not None:
            norm = {"width": norm.weight.shape[1], "eps": norm.variance_epsilon, "each": True}
        elif norm is not None:
            eps = first(norm, "variance_epsilon", "eps")
            norm = {"width": norm.weight.shape[0], "eps": eps, "each": False}
        latent = first(one, "kv_a_layernorm")
        rope = None
        rotates = first(one, "use_rope") in (None, 1)
        if kind == "cohere2":
            rotates = one.sliding_window is not None
        if kind == "exaone4":
            rotates = one.sliding_window is None or one.is_sliding
        if rotary is not None and rotates:
            rope = turned(rotary, types[index] if kind in ("gemma3_text", "olmo3") else None)
        parameters = getattr(config, "rope_parameters", None) or {}
        temperature = None
        if kind in ("ministral3", "mistral4"):
            temperature = [parameters["llama_4_scaling_beta"],
                           parameters["original_max_position_embeddings"]]
        if kind == "falcon" and config.alibi:
            raise NotImplementedError("alibi")
        found.append({
            "scale": one.inv_norm_factor if kind == "falcon" else one.scaling, "window": window or None, "causal": one.is_causal,
            "input_bias": inputs.bias is not None, "output_bias": output.bias is not None,
            "sinks": hasattr(one, "sinks"), "norm": norm, "rope": rope,
            "soft_cap": one.attn_logit_softcapping if kind == "gemma2" else None,
            "latent_eps": latent and latent.variance_epsilon,
            "clip": config.clip_qkv if kind == "olmo" else None, "temperature": temperature,
        })
    return found


def cached(config):
    """The numbers that each layer keeps of a few tokens, too few to fill a window."""
    with torch.device("meta"):
        model = AutoModel.from_config(config)
        ids = torch.zeros(1, TOKENS, dtype=torch.long)
        cache = model(ids, use_cache=True).past_key_values
    return [layer.keys.numel() + layer.values.numel() for layer in cache.layers]


def ask(kind, keys):
    # The class writes into what it is given. A token of padding has to be in the table.
    keys = {"pad_token_id": None, **copy.deepcopy(keys)}
    try:
        as_auto = "ministral" if kind == "mistral" and "layer_types" in keys else kind
        as_auto = CLASSES.get(as_auto, as_auto)
        config = AutoConfig.for_model(as_auto, **keys)
        with torch.device("meta"):
            auto = AutoModel if kind in HEADLESS else AutoModelForCausalLM
            # It is the text of another model, and no automatic class knows it.
            own = kind == "mistral4"
            model = Mistral4ForCausalLM(config) if own else auto.from_config(config)
        head = config.vocab_size * config.hidden_size if kind in HEADLESS else 0
        layers = facts(config, as_auto)
    except Exception as error:
        return {"refused": type(error).__name__}
    # Layers that do the same are said once.
    distinct = [layer for at, layer in enumerate(layers) if layer not in layers[:at]]
    answer = {
        "parameters": sum(p.numel() for p in model.parameters()) + head,
        "layers": [distinct.index(layer) for layer in layers],
        "distinct": distinct,
    }
    small = config.num_hidden_layers < 8 and config.hidden_size < 1000
    if small and kind != "bert":
        try:
            answer["cached"] = cached(config)
        except Exception as error:
            answer["runs_not"] = type(error).__name__
    return answer


def main():
    found = []
    for kind, full in FULL.items():
        cases = [full, {}]
        cases += [{k: v for k, v in full.items() if k != key} for key in full]
        cases += [{**full, key: None} for key in full]
        cases += [{**full, **special} for special in SPECIAL.get(kind, [])]
        for keys in cases:
            found.append({"config": {"model_type": kind, **keys}, **ask(kind, keys)})
    lines = ",\n".join(json.dumps(one) for one in found)
    version = json.dumps(transformers.__version__)
    text = f'{{"transformers": {version}, "models": [\n{lines}\n]}}\n'
    (HERE / "kinds.json").write_text(text)


if __name__ == "__main__":
    main()
