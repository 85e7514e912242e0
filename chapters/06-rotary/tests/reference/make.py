"""Makes the reference tensors beside this file: layers and inputs, and what Transformers makes of them.

    pip install torch transformers safetensors
    python chapters/06-rotary/tests/reference/make.py

Half-split layers are LlamaAttention, interleaved ones CohereAttention, both in their eager form. Each
file can be given to `cargo run -p rotary -- forward` as it stands; its metadata says with which flags.
`far.safetensors` holds queries and keys of LlamaAttention that stand far down a text, already turned.
"""

import pathlib

import torch
from safetensors.torch import save_file
from transformers import CohereConfig, LlamaConfig
from transformers.models.cohere.modeling_cohere import CohereAttention, CohereRotaryEmbedding
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaRotaryEmbedding,
    apply_rotary_pos_emb,
)

torch.manual_seed(20210420)
here = pathlib.Path(__file__).parent


def layer_of(d, heads, kv_heads, head_dim, *, theta=10_000.0, scaling=None, bias=False, interleaved=False):
    rope = {"rope_type": "default", "rope_theta": theta}
    if scaling is not None:
        factor, low, high, context = scaling
        rope = {
            "rope_type": "llama3", "rope_theta": theta, "factor": factor, "low_freq_factor": low,
            "high_freq_factor": high, "original_max_position_embeddings": context,
        }
    family = CohereConfig if interleaved else LlamaConfig
    config = family(
        hidden_size=d, num_attention_heads=heads, num_key_value_heads=kv_heads, attention_bias=bias,
        rope_parameters=rope, max_position_embeddings=1 << 17,
    )
    config.head_dim = head_dim
    config._attn_implementation = "eager"
    attention = (CohereAttention if interleaved else LlamaAttention)(config, 0).eval()
    rotary = (CohereRotaryEmbedding if interleaved else LlamaRotaryEmbedding)(config)
    for linear in (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj):
        torch.nn.init.normal_(linear.weight, std=1.5 / linear.in_features**0.5)
        if linear.bias is not None:
            torch.nn.init.normal_(linear.bias)
    return attention, rotary


def weights_of(attention):
    return {f"{proj}.{part}": value.detach().contiguous()
            for proj in ("q_proj", "k_proj", "v_proj", "o_proj")
            for part, value in getattr(attention, proj).named_parameters()}


def make(name, n, d, heads, kv_heads, head_dim, *, causal=False, mask=None, batch=None, weights=True, **kind):
    attention, rotary = layer_of(d, heads, kv_heads, head_dim, **kind)
    x = torch.randn(batch or 1, n, d)
    seen = torch.ones(n, n, dtype=torch.bool)
    if causal:
        seen = seen.tril()
    elif mask is not None:
        seen = mask
    added = torch.zeros(n, n).masked_fill(~seen, float("-inf"))[None, None]
    positions = rotary(x, torch.arange(n)[None])
    y, found = attention(x, position_embeddings=positions, attention_mask=added)

    tensors = weights_of(attention) | {"x": x, "y": y}
    if weights:
        tensors["attention_weights"] = found
    if batch is None:
        tensors |= {key: tensors[key][0] for key in ("x", "y", "attention_weights") if key in tensors}
    if mask is not None:
        tensors["mask"] = mask
    flags = f"--heads {heads} --kv-heads {kv_heads} --rope-theta {kind.get('theta', 10_000.0)}"
    if "scaling" in kind:
        flags += " --rope-scaling " + ",".join(map(str, kind["scaling"]))
    flags += " --interleaved" * kind.get("interleaved", False) + " --causal" * causal
    tensors = {key: value.detach().contiguous() for key, value in tensors.items()}
    save_file(tensors, here / f"{name}.safetensors", {"flags": flags})


def far(start, n, d, heads, kv_heads, head_dim):
    attention, rotary = layer_of(d, heads, kv_heads, head_dim)
    x = torch.randn(1, n, d)
    q, k = (proj(x).unflatten(-1, (-1, head_dim)).transpose(1, 2)
            for proj in (attention.q_proj, attention.k_proj))
    cos, sin = rotary(x, torch.arange(start, start + n)[None])
    q, k = (turned[0].transpose(0, 1).flatten(1) for turned in apply_rotary_pos_emb(q, k, cos, sin))
    tensors = weights_of(attention) | {"x": x[0], "q": q.contiguous(), "k": k.contiguous()}
    save_file(tensors, here / "far.safetensors",
              {"flags": f"--heads {heads} --kv-heads {kv_heads}", "start": str(start)})


with torch.no_grad():
    for kv_heads in (1, 2, 4, 8):
        make(f"eight_on_{kv_heads}_causal", 13, 16, 8, kv_heads, 4, causal=True, bias=kv_heads == 2)
    make("all_see_all", 9, 24, 6, 3, 8)
    make("one_pair", 7, 12, 3, 3, 2, causal=True)
    make("one_token", 1, 12, 2, 1, 6, causal=True, bias=True)
    make("wide_heads", 11, 12, 4, 2, 10, causal=True)
    make("theta_llama_3", 40, 16, 4, 2, 32, causal=True, theta=500_000.0)
    make("theta_small", 20, 16, 4, 2, 8, causal=True, theta=2.5)
    make("scaled", 70, 12, 4, 2, 16, causal=True, scaling=(8.0, 1.0, 4.0, 64))
    make("llama_3_1", 40, 8, 2, 1, 128, causal=True, theta=500_000.0, scaling=(8.0, 1.0, 4.0, 8192))
    make("llama_3_2", 40, 8, 2, 1, 64, causal=True, theta=500_000.0, scaling=(32.0, 1.0, 4.0, 8192))
    make("long", 2048, 6, 2, 1, 8, causal=True, weights=False)
    make("long_scaled", 2048, 6, 2, 1, 8, causal=True, weights=False, theta=500_000.0,
         scaling=(8.0, 1.0, 4.0, 512))
    make("interleaved", 13, 16, 8, 2, 4, causal=True, interleaved=True)
    make("interleaved_wide", 30, 12, 4, 4, 16, bias=True, theta=500_000.0, interleaved=True)
    make("batch", 10, 12, 6, 3, 4, bias=True, batch=3, causal=True)
    mask = torch.rand(10, 10) < 0.4
    mask[:, 3] = True  # eager attention gives NaN for a row without keys; ours gives zeros
    make("masked", 10, 10, 10, 5, 4, bias=True, mask=mask)
    far(1000, 6, 12, 4, 2, 8)
