"""Writes layers of whole models, with their config.json, for the tests of `forward --config` in the chapters.

    pip install torch transformers safetensors
    python book/chapter-cli/tests/configs/make.py

Each model is built by Transformers from its configuration, with random weights, and run on a few random
tokens. What enters the attention of a layer is `x`, what leaves it `y`, so that masks, windows, positions and
norms are those of the model. The metadata of a file holds its config.json and the number of the layer. Made
with PyTorch 2.15 and Transformers 5.24.
"""

import copy
import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

CHAPTERS = Path(__file__).parents[4] / "chapters"
transformers.logging.set_verbosity_error()

BASE = {
    "vocab_size": 64, "hidden_size": 24, "intermediate_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": None,
}
LATENT = {
    **BASE, "num_key_value_heads": 4, "kv_lora_rank": 10, "q_lora_rank": 8, "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 4, "v_head_dim": 5, "first_k_dense_replace": 2, "n_routed_experts": 4,
    "n_group": 1, "topk_group": 1, "num_experts_per_tok": 1, "moe_intermediate_size": 8,
}
EXPERTS = ("first_k_dense_replace", "n_routed_experts", "n_group", "topk_group", "num_experts_per_tok",
           "moe_intermediate_size")
DENSE = {key: value for key, value in LATENT.items() if key not in EXPERTS}
LLAMA_3_1 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LAYERED = {**BASE, "layer_norm_eps": 1e-3}
GPT2 = {"vocab_size": 64, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 64}
BERT = {"vocab_size": 64, "hidden_size": 24, "intermediate_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 64}

# Chapter, name, model_type, keys, layer.
RIGHT = [
    ("01-attention", "bert", "bert", {**BERT, "num_attention_heads": 1}, 0),
    ("02-multi-head", "bert", "bert", BERT, 1),
    ("02-multi-head", "gpt2", "gpt2", GPT2, 1),
    ("03-decoding", "gpt2", "gpt2", GPT2, 0),
    ("04-multi-query", "smollm3", "smollm3", {**BASE, "num_key_value_heads": 1, "no_rope_layers": [0, 0]}, 0),
    ("05-grouped-query", "smollm3", "smollm3", {**BASE, "no_rope_layers": [1, 0]}, 1),
    ("06-rotary", "llama", "llama", {**BASE, "rope_theta": 500.0, "head_dim": 8, "attention_bias": True}, 1),
    ("06-rotary", "llama31", "llama", {**BASE, "rope_scaling": LLAMA_3_1}, 0),
    ("06-rotary", "dynamic", "llama", {**BASE, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, 0),
    ("06-rotary", "mistral", "mistral", {**BASE, "sliding_window": 12}, 0),
    ("06-rotary", "qwen2", "qwen2", {**BASE, "sliding_window": 4, "use_sliding_window": True,
                                     "max_window_layers": 1}, 0),
    ("06-rotary", "smollm3", "smollm3", {**BASE, "no_rope_layers": [1, 0]}, 0),
    ("06-rotary", "phi3", "phi3", {**BASE, "sliding_window": None}, 0),
    ("06-rotary", "gemma", "gemma", {**BASE, "num_key_value_heads": 1, "head_dim": 8}, 0),
    ("06-rotary", "granite", "granite", {**BASE, "head_dim": 16, "attention_multiplier": 0.25}, 1),
    ("06-rotary", "glm4", "glm4", {**BASE, "head_dim": 8, "partial_rotary_factor": 1.0}, 1),
    ("06-rotary", "glm4-partial", "glm4", {**BASE, "head_dim": 8}, 1),
    ("06-rotary", "glm", "glm", {**BASE, "head_dim": 8}, 0),
    ("06-rotary", "stablelm", "stablelm", {**LAYERED, "hidden_size": 32, "rope_scaling": {
        "rope_type": "linear", "factor": 3.0}}, 0),
    ("06-rotary", "cohere", "cohere", {**LAYERED, "attention_bias": True}, 1),
    ("06-rotary", "starcoder2", "starcoder2", {**BASE, "sliding_window": None}, 1),
    ("06-rotary", "linear", "llama", {**BASE, "rope_scaling": {"type": "linear", "factor": 4.0}}, 0),
    ("06-rotary", "dynamic-long", "llama", {**BASE, "max_position_embeddings": 8, "rope_scaling": {
        "type": "dynamic", "factor": 2.0}}, 0),
    ("06-rotary", "yarn", "qwen2", {**BASE, "rope_scaling": YARN}, 1),
    ("06-rotary", "yarn-mscale", "llama", {**BASE, "rope_scaling": {
        **YARN, "mscale": 1.0, "mscale_all_dim": 0.5, "truncate": False, "beta_fast": 4.0}}, 0),
    ("06-rotary", "longrope", "phi3", {
        **BASE, "sliding_window": None, "original_max_position_embeddings": 16, "rope_scaling": {
            "type": "longrope", "short_factor": [1.0, 1.5, 2.0], "long_factor": [2.0, 4.0, 9.0]}}, 0),
    ("06-rotary", "longrope-long", "phi3", {
        **BASE, "sliding_window": None, "original_max_position_embeddings": 8, "rope_scaling": {
            "type": "longrope", "short_factor": [1.0, 1.5, 2.0], "long_factor": [2.0, 4.0, 9.0]}}, 0),
    ("06-rotary", "proportional", "llama", {**BASE, "head_dim": 8, "rope_scaling": {
        "rope_type": "proportional", "partial_rotary_factor": 0.5}}, 1),
    ("07-latent", "deepseek_v2", "deepseek_v2", {**LATENT, "q_lora_rank": None}, 0),
    ("07-latent", "deepseek_v2-yarn", "deepseek_v2", {**LATENT, "rope_scaling": {
        **YARN, "mscale": 0.707, "mscale_all_dim": 0.707}}, 1),
    ("07-latent", "deepseek_v3-yarn", "deepseek_v3", {**LATENT, "rope_scaling": {
        **YARN, "factor": 40.0, "mscale": 1.0, "mscale_all_dim": 0.8}}, 0),
    ("07-latent", "deepseek_v3-llama3", "deepseek_v3", {**LATENT, "rope_scaling": LLAMA_3_1}, 0),
    ("07-latent", "kimi_k2", "kimi_k2", {**LATENT, "rope_theta": 50000.0, "rope_scaling": {
        **YARN, "mscale": 1.0, "mscale_all_dim": 1.0}}, 1),
    ("07-latent", "mistral4", "mistral4", {**LATENT, "rope_parameters": {
        **YARN, "original_max_position_embeddings": 5, "rope_theta": 500.0, "mscale": 1.0,
        "mscale_all_dim": 0.7, "llama_4_scaling_beta": 0.4}}, 1),
    ("07-latent", "mistral4-halves", "mistral4", {**LATENT, "rope_interleave": False}, 0),
    ("07-latent", "minicpm3-longrope", "minicpm3", {**DENSE, "rope_scaling": {
        "rope_type": "longrope", "short_factor": [1.0, 2.0], "long_factor": [3.0, 4.0],
        "original_max_position_embeddings": 8}}, 0),
    ("07-latent", "deepseek_v3", "deepseek_v3", {**LATENT, "attention_bias": True}, 1),
    ("07-latent", "minicpm3", "minicpm3", DENSE, 0),
    ("09-flash", "llama", "llama", {**BASE, "rope_scaling": LLAMA_3_1}, 0),
    ("09-flash", "qwen3", "qwen3", {**BASE, "head_dim": 8}, 1),
]


def randomize(model):
    """Weights that make attention look at a few tokens, and norms and sinks that matter."""
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            if parameter.dim() > 1:
                fan_in = parameter.shape[0] if "c_attn" in name else parameter.shape[-1]
                parameter.normal_(std=1.5 / fan_in**0.5)
            elif "norm" in name.lower() or "ln_" in name:
                parameter.copy_(1 + 0.3 * torch.randn_like(parameter))
            else:
                parameter.normal_(std=0.7)


def attention_of(layer):
    found = next(getattr(layer, name) for name in ("self_attn", "attn", "attention") if hasattr(layer, name))
    return found


def run(kind, keys, layer, n=12):
    """The configuration, the attention module of a layer, and what was seen in it: `x`, what enters it, and
    `y`, what leaves it, both (n, hidden_size), and `between`, what enters the output projection."""
    # Kimi's own class is a copy of DeepSeek's.
    kind = {"kimi_k2": "deepseek_v3"}.get(kind, kind)
    config = AutoConfig.for_model(kind, **copy.deepcopy(keys), attn_implementation="eager")
    model = AutoModel.from_config(config).eval().float()
    randomize(model)
    layers = next((getattr(model, name) for name in ("layers", "h") if hasattr(model, name)), None)
    layers = model.encoder.layer if layers is None else layers
    attention = attention_of(layers[layer])
    seen = {}

    def entering(module, args, kwargs):
        seen["x"] = (args[0] if args else kwargs["hidden_states"]).detach().clone()[0]
        seen["turns"] = kwargs.get("position_embeddings")

    def leaving(module, args, output):
        seen["y"] = (output[0] if isinstance(output, tuple) else output).detach().clone()[0]

    def between(module, args):
        seen["between"] = args[0].detach().clone()[0]

    attention.register_forward_pre_hook(entering, with_kwargs=True)
    # BERT's module goes on to a norm.
    last = attention.output.dense if kind == "bert" else attention
    last.register_forward_hook(leaving)
    output = next(getattr(attention, name) for name in ("o_proj", "c_proj", "output") if hasattr(attention, name))
    (output.dense if kind == "bert" else output).register_forward_pre_hook(between)
    with torch.no_grad():
        model(torch.randint(0, keys["vocab_size"], (1, n)))
    return config, attention, seen


def tensors_of(kind, attention, config):
    """The layer's tensors, those with other names or in one piece as the chapters read them."""
    found = dict(attention.state_dict())
    if kind == "bert":
        names = {"self.query": "q_proj", "self.key": "k_proj", "self.value": "v_proj", "output.dense": "o_proj"}
        found = {f"{new}.{part}": found[f"{old}.{part}"]
                 for old, new in names.items() for part in ("weight", "bias")}
    if kind == "gpt2":
        qkv = zip("qkv", found["c_attn.weight"].T.chunk(3), found["c_attn.bias"].chunk(3))
        found = {"o_proj.weight": found["c_proj.weight"].T, "o_proj.bias": found["c_proj.bias"]} | {
            f"{one}_proj.{part}": tensor
            for one, weight, bias in qkv for part, tensor in (("weight", weight), ("bias", bias))}
    if kind == "phi3":
        head_dim = config.hidden_size // config.num_attention_heads
        widths = [heads * head_dim for heads in (
            config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads)]
        found |= {f"{one}_proj.weight": weight
                  for one, weight in zip("qkv", found.pop("qkv_proj.weight").split(widths))}
    return {name: tensor.detach().contiguous().clone() for name, tensor in found.items()}


def projected(attention, seen):
    """Queries, keys and values as they meet, [heads, n, head_dim], and what the heads find."""
    def heads(matrix):
        return matrix.view(matrix.shape[0], -1, attention.head_dim).transpose(0, 1)[None]

    def as_is(heads):
        return heads

    q_norm, k_norm = (getattr(attention, name, as_is) for name in ("q_norm", "k_norm"))
    with torch.no_grad():
        q, k = q_norm(heads(attention.q_proj(seen["x"]))), k_norm(heads(attention.k_proj(seen["x"])))
        q, k = apply_rotary_pos_emb(q, k, *seen["turns"])
        found = {"q": q, "k": k, "v": heads(attention.v_proj(seen["x"])), "y": heads(seen["between"])}
    return {name: tensor[0].contiguous().clone() for name, tensor in found.items()}


def write(path, kind, keys, layer, n=12):
    config, attention, seen = run(kind, keys, layer, n)
    tensors = tensors_of(kind, attention, config) | {"x": seen["x"], "y": seen["y"]}
    if path.parts[-4] == "01-attention":
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("o_proj")}
        tensors["y"] = seen["between"]
    if path.parts[-4] == "09-flash":
        tensors = projected(attention, seen)
    notes = {"config": json.dumps({"model_type": kind, **keys}), "layer": str(layer)}
    save_file(tensors, path, notes)


def main():
    for chapter, name, kind, keys, layer in RIGHT:
        torch.manual_seed(20261127)
        folder = CHAPTERS / chapter / "tests" / "configs"
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / f"{name}.safetensors", kind, keys, layer)


if __name__ == "__main__":
    main()
