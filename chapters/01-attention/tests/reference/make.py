"""Makes the reference tensors beside this file: layers and inputs, and what PyTorch makes of them.

    pip install torch safetensors
    python chapters/01-attention/tests/reference/make.py

Each file can be given to `cargo run -p attention -- forward` as it stands.
"""

import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(20170612)
here = pathlib.Path(__file__).parent


def make(name, n, d, d_k, d_v, *, m=None, d_context=None, bias=False, causal=False, mask=None):
    """One layer on one sequence; with m, on a second sequence of m tokens."""
    d_context = d_context or d
    tensors = {"x": torch.randn(n, d)}
    context = tensors["x"]
    if m is not None:
        context = tensors["context"] = torch.randn(m, d_context)
    projected = {}
    for proj, source, width in (
        ("q_proj", tensors["x"], d_k),
        ("k_proj", context, d_k),
        ("v_proj", context, d_v),
    ):
        linear = torch.nn.Linear(source.shape[1], width, bias=bias)
        torch.nn.init.normal_(linear.weight, std=1.5 / source.shape[1] ** 0.5)
        tensors |= {f"{proj}.{part}": value.detach() for part, value in linear.named_parameters()}
        projected[proj] = linear(source).detach()
    q, k, v = projected.values()
    scores = q @ k.T / d_k**0.5
    if causal:
        mask = torch.ones(n, n, dtype=torch.bool).tril()
    elif mask is not None:
        tensors["mask"] = mask
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    tensors["attention_weights"] = scores.softmax(-1)[None]
    tensors["y"] = F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=mask)[0]
    assert torch.allclose(tensors["attention_weights"][0] @ v, tensors["y"], atol=1e-5)
    save_file({k: v.contiguous() for k, v in tensors.items()}, here / f"{name}.safetensors")


make("self", 7, 12, 8, 10)
make("biased", 17, 24, 16, 16, bias=True)
make("one_token", 1, 5, 3, 2, bias=True)
make("wide_head", 9, 6, 33, 65)
make("causal", 12, 16, 8, 8, bias=True, causal=True)
make("cross", 5, 12, 8, 6, m=11, d_context=20, bias=True)
make("cross_one_key", 6, 8, 4, 4, m=1)
masked = torch.rand(8, 13) < 0.4
masked[:, 3] = True  # PyTorch gives NaN for a row without keys; ours gives zeros
make("masked", 8, 10, 6, 6, m=13, mask=masked)
