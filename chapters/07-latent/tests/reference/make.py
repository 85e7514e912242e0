"""Makes the reference tensors beside this file: layers and inputs, and what Transformers' `DeepseekV3Attention`
makes of them.

    pip install torch transformers safetensors
    python chapters/07-latent/tests/reference/make.py

Each file can be given to `cargo run -p latent -- forward` as it stands; its metadata says with which flags.
"""

import pathlib

import torch
from safetensors.torch import save_file
from transformers.models.deepseek_v3.configuration_deepseek_v3 import DeepseekV3Config
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Attention, DeepseekV3RotaryEmbedding

torch.manual_seed(20240507)
here = pathlib.Path(__file__).parent


def make(name, n, d, heads, nope, rope, v, rank, *, q_rank=None, bias=False, theta=10000.0, causal=False, mask=None,
         batch=None):
    config = DeepseekV3Config(
        hidden_size=d, num_attention_heads=heads, num_key_value_heads=heads, q_lora_rank=q_rank, kv_lora_rank=rank,
        qk_nope_head_dim=nope, qk_rope_head_dim=rope, v_head_dim=v, attention_bias=bias, rope_interleave=True,
        rope_parameters={"rope_type": "default", "rope_theta": theta}, attn_implementation="eager",
    )
    layer = DeepseekV3Attention(config, layer_idx=0)
    for key, value in layer.named_parameters():
        if "layernorm" in key:
            torch.nn.init.uniform_(value, 0.5, 1.5)
        else:
            torch.nn.init.normal_(value, std=1.2 / value.shape[-1] ** 0.5)

    x = torch.randn(batch or 1, n, d)
    positions = torch.arange(n)[None].expand(len(x), n)
    may = torch.ones(n, n, dtype=torch.bool).tril() if causal else mask
    added = None if may is None else torch.zeros(n, n).masked_fill(~may, float("-inf"))[None, None]
    y, weights = layer(x, DeepseekV3RotaryEmbedding(config)(x, positions), added)

    tensors = dict(layer.named_parameters())
    one = slice(None) if batch else 0
    tensors |= {"x": x[one], "y": y[one], "attention_weights": weights[one]}
    if mask is not None:
        tensors["mask"] = mask
    flags = f"--heads {heads} --nope-dim {nope} --rope-dim {rope} --v-dim {v} --rope-theta {theta:g}"
    flags += " --causal" if causal else ""
    tensors = {key: value.detach().contiguous() for key, value in tensors.items()}
    save_file(tensors, here / f"{name}.safetensors", {"flags": flags})


with torch.no_grad():
    make("full_queries", 9, 24, 4, 6, 4, 5, 12, causal=True)
    make("low_rank_queries", 11, 20, 3, 8, 6, 7, 10, q_rank=14, causal=True)
    make("biased", 8, 18, 5, 4, 2, 6, 9, q_rank=7, bias=True, causal=True)
    make("biased_full", 8, 18, 5, 4, 2, 6, 9, bias=True)
    make("no_mask", 7, 16, 2, 8, 4, 8, 6, q_rank=8)
    make("one_head", 6, 12, 1, 5, 2, 3, 8, causal=True)
    make("one_token", 1, 12, 3, 4, 2, 4, 5, q_rank=6, causal=True)
    make("rank_one", 6, 10, 3, 4, 2, 4, 1, q_rank=1, causal=True)
    make("wide_rank", 6, 10, 2, 2, 2, 2, 17, causal=True)
    make("long", 60, 16, 4, 4, 8, 4, 8, q_rank=12, causal=True)
    make("theta", 30, 16, 2, 4, 8, 4, 8, theta=500000.0, causal=True)
    make("batch", 10, 12, 3, 4, 4, 4, 6, q_rank=8, causal=True, batch=3)
    mask = torch.rand(8, 8) < 0.4
    mask[:, 3] = True  # a row without keys gives NaN there, and zeros here
    make("masked", 8, 14, 4, 4, 2, 6, 7, q_rank=5, mask=mask)
