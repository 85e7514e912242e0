"""Makes the reference tensors beside this file: layers and inputs, and what PyTorch makes of them.

    pip install torch safetensors
    python chapters/05-grouped-query/tests/reference/make.py

Each file can be given to `cargo run -p grouped-query -- forward` as it stands; its metadata says with
which flags.
"""

import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(20230522)
here = pathlib.Path(__file__).parent


def make(name, n, d, heads, kv_heads, head_dim, *, m=None, d_context=None, d_out=None, bias=False,
         causal=False, mask=None, batch=None):
    lead = () if batch is None else (batch,)
    tensors = {"x": torch.randn(*lead, n, d)}
    context = tensors["x"]
    if m is not None:
        context = tensors["context"] = torch.randn(*lead, m, d_context or d)
    layer = {
        "q_proj": torch.nn.Linear(d, heads * head_dim, bias=bias),
        "k_proj": torch.nn.Linear(context.shape[-1], kv_heads * head_dim, bias=bias),
        "v_proj": torch.nn.Linear(context.shape[-1], kv_heads * head_dim, bias=bias),
        "o_proj": torch.nn.Linear(heads * head_dim, d_out or d, bias=bias),
    }
    for proj, linear in layer.items():
        torch.nn.init.normal_(linear.weight, std=1.5 / linear.in_features**0.5)
        tensors |= {f"{proj}.{part}": value.detach() for part, value in linear.named_parameters()}

    def split(name, source, count):
        return layer[name](source).unflatten(-1, (count, head_dim)).transpose(-3, -2)

    q = split("q_proj", tensors["x"], heads)
    k, v = split("k_proj", context, kv_heads), split("v_proj", context, kv_heads)
    if mask is not None:
        tensors["mask"] = mask
    found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=True)
    tensors["y"] = layer["o_proj"](found.transpose(-3, -2).flatten(-2))

    # The same once more in the open, for the weights.
    repeated = k.repeat_interleave(heads // kv_heads, dim=-3)
    scores = q @ repeated.transpose(-2, -1) / head_dim**0.5
    if causal:
        scores = scores.masked_fill(~torch.ones(n, n, dtype=torch.bool).tril(), float("-inf"))
    elif mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = tensors["attention_weights"] = scores.softmax(-1)
    values = v.repeat_interleave(heads // kv_heads, dim=-3)
    assert torch.allclose(weights @ values, found, atol=1e-5)

    flags = f"--heads {heads} --kv-heads {kv_heads}" + (" --causal" if causal else "")
    tensors = {key: value.detach().contiguous() for key, value in tensors.items()}
    save_file(tensors, here / f"{name}.safetensors", {"flags": flags})


with torch.no_grad():
    for kv_heads in (1, 2, 3, 4, 6, 12):
        make(f"twelve_on_{kv_heads}", 9, 24, 12, kv_heads, 3, bias=kv_heads % 2 == 0)
    for kv_heads in (1, 2, 4, 8):
        make(f"eight_on_{kv_heads}_causal", 13, 16, 8, kv_heads, 4, bias=kv_heads == 2, causal=True)
    make("one_head", 5, 7, 1, 1, 6, bias=True)
    make("one_token", 1, 10, 6, 3, 4, bias=True, causal=True)
    make("long", 48, 16, 6, 2, 8, bias=True, causal=True)
    make("wide_heads", 11, 12, 4, 2, 9, d_out=5)
    make("cross", 7, 12, 6, 2, 4, m=15, d_context=20, bias=True)
    make("cross_one_key", 6, 8, 4, 2, 4, m=1)
    make("batch", 10, 12, 6, 3, 4, bias=True, batch=3, causal=True)
    mask = torch.rand(8, 13) < 0.4
    mask[:, 3] = True  # PyTorch's softmax gives NaN for a row without keys; ours gives zeros
    make("masked", 8, 10, 10, 5, 4, m=13, bias=True, mask=mask)
