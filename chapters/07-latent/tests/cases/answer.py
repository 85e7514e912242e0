"""Puts into `l-minicpm3.safetensors` what Transformers' `MiniCPM3Attention` makes of it, causal, as `y` and
`attention_weights`, and the flags for this chapter's `forward`. MiniCPM3 turns the halves of a head.

    pip install torch transformers safetensors
    python chapters/07-latent/tests/cases/answer.py
"""

import pathlib

import torch
from safetensors.torch import load_file, save_file
from transformers import MiniCPM3Config
from transformers.models.minicpm3.modeling_minicpm3 import MiniCPM3Attention, MiniCPM3RotaryEmbedding

path = pathlib.Path(__file__).parent / "l-minicpm3.safetensors"
tensors = load_file(path)
HEADS, NOPE, ROPE = 4, 16, 8
rank = tensors["kv_a_layernorm.weight"].shape[0]
v_dim = tensors["kv_b_proj.weight"].shape[0] // HEADS - NOPE
x = tensors["x"]
config = MiniCPM3Config(
    hidden_size=x.shape[-1], num_attention_heads=HEADS, num_key_value_heads=HEADS,
    q_lora_rank=tensors["q_a_layernorm.weight"].shape[0], kv_lora_rank=rank, qk_nope_head_dim=NOPE,
    qk_rope_head_dim=ROPE, v_head_dim=v_dim, attention_bias=False,
    rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, attn_implementation="eager",
)
layer = MiniCPM3Attention(config, layer_idx=0)
given = {name: tensor for name, tensor in tensors.items() if name.endswith(".weight")}
layer.load_state_dict(given)

n = x.shape[1]
positions = torch.arange(n)[None]
hidden = torch.zeros(n, n).masked_fill(torch.ones(n, n).tril() == 0, float("-inf"))[None, None]
with torch.no_grad():
    turns = MiniCPM3RotaryEmbedding(config)(x, positions)
    y, weights = layer(x, position_embeddings=turns, attention_mask=hidden)[:2]
flags = f"--heads {HEADS} --nope-dim {NOPE} --rope-dim {ROPE} --v-dim {v_dim} --half-split --causal"
answer = {"y": y.contiguous(), "attention_weights": weights.contiguous()}
save_file(tensors | answer, path, {"flags": flags})
