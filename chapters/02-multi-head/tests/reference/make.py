"""Makes the reference tensors beside this file: layers and inputs, and what PyTorch makes of them.

    pip install torch safetensors
    python chapters/02-multi-head/tests/reference/make.py

Where a head's width is model_dim / heads, torch.nn.MultiheadAttention answers; otherwise
scaled_dot_product_attention between four nn.Linear. Each file can be given to
`cargo run -p multi-head -- forward --heads H` as it stands, with the H of its metadata.
"""

import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(20170612)
here = pathlib.Path(__file__).parent


def make(name, n, d, heads, *, m=None, context_dim=None, bias=False, causal=False, mask=None, widths=None):
    """A layer on one sequence; with m, on a second sequence of m tokens. widths: (head_dim, v_dim, d_out)."""
    context_dim = context_dim or d
    head_dim, v_dim, d_out = widths or (d // heads, d // heads, d)
    tensors = {"x": torch.randn(n, d)}
    context = tensors["x"]
    if m is not None:
        context = tensors["context"] = torch.randn(m, context_dim)
    shapes = {
        "q_proj": (heads * head_dim, d),
        "k_proj": (heads * head_dim, context_dim),
        "v_proj": (heads * v_dim, context_dim),
        "o_proj": (d_out, heads * v_dim),
    }
    for proj, (width, reads) in shapes.items():
        tensors[f"{proj}.weight"] = torch.randn(width, reads) * 1.5 / reads**0.5
        if bias:
            tensors[f"{proj}.bias"] = torch.randn(width) / 2
    if causal:
        mask = torch.ones(n, len(context), dtype=torch.bool).tril()
    elif mask is not None:
        tensors["mask"] = mask

    linear = lambda proj, y: F.linear(y, tensors[f"{proj}.weight"], tensors.get(f"{proj}.bias"))
    split = lambda y: y.unflatten(-1, (heads, -1)).transpose(0, 1)
    q, k, v = (split(linear(p, y)) for p, y in (("q_proj", tensors["x"]), ("k_proj", context), ("v_proj", context)))
    scores = q @ k.transpose(1, 2) / head_dim**0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = scores.softmax(-1)
    found = F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=mask)[0]
    y = linear("o_proj", found.transpose(0, 1).flatten(1))

    if widths is None:
        module = torch.nn.MultiheadAttention(d, heads, bias=bias, kdim=context_dim, vdim=context_dim, batch_first=True)
        own = {"out_proj.weight": tensors["o_proj.weight"]}
        if context_dim == d:
            own["in_proj_weight"] = torch.cat([tensors[f"{p}_proj.weight"] for p in "qkv"])
        else:
            own |= {f"{p}_proj_weight": tensors[f"{p}_proj.weight"] for p in "qkv"}
        if bias:
            own["in_proj_bias"] = torch.cat([tensors[f"{p}_proj.bias"] for p in "qkv"])
            own["out_proj.bias"] = tensors["o_proj.bias"]
        module.load_state_dict(own)
        # Here true hides.
        hidden = None if mask is None else ~mask
        told = module(tensors["x"][None], context[None], context[None], attn_mask=hidden, average_attn_weights=False)
        torch.testing.assert_close(told[0][0], y, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(told[1][0], weights, rtol=1e-4, atol=1e-5)
        y, weights = told[0][0], told[1][0]

    tensors |= {"y": y, "attention_weights": weights}
    plain = {key: value.detach().contiguous() for key, value in tensors.items()}
    save_file(plain, here / f"{name}.safetensors", metadata={"heads": str(heads)})


def visible(n, m):
    """A random mask whose rows all see a key: PyTorch gives NaN for one that does not, ours the bias."""
    mask = torch.rand(n, m) < 0.4
    mask[:, 3] = True
    return mask


make("self", 7, 12, 3)
make("biased", 17, 24, 4, bias=True)
make("one_token", 1, 8, 2, bias=True)
make("one_head", 9, 6, 1)
make("twelve", 48, 48, 12, bias=True)
make("width_one", 5, 6, 6)
make("other_widths", 11, 10, 2, widths=(7, 3, 5), bias=True)
make("causal", 12, 16, 4, bias=True, causal=True)
make("causal_long", 40, 24, 8, causal=True)
make("cross", 5, 12, 2, m=11, context_dim=20, bias=True)
make("cross_one_key", 6, 8, 4, m=1)
make("masked", 8, 10, 5, m=13, mask=visible(8, 13))
make("masked_self", 9, 12, 2, mask=visible(9, 9), bias=True)
