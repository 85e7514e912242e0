"""Makes the reference tensors beside this file: multi-query layers and inputs, and what PyTorch
makes of them.

    pip install torch safetensors
    python chapters/04-multi-query/tests/reference/make.py

The one key/value head is given to scaled_dot_product_attention twice: expanded to every query
head, and as it is with enable_gqa=True. Both must agree. Each file can be given to
`cargo run -p multi-query -- forward` as it stands; the number of heads is in its metadata.
"""

import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(20191106)
here = pathlib.Path(__file__).parent


def make(
    name, n, d, heads, head_dim, *, v_dim=None, d_out=None, m=None, d_context=None, bias=False, causal=False, mask=None
):
    """One layer on one sequence; with m, on a second sequence of m tokens."""
    v_dim, d_out, d_context = v_dim or head_dim, d_out or d, d_context or d
    tensors = {"x": torch.randn(n, d)}
    context = tensors["x"]
    if m is not None:
        context = tensors["context"] = torch.randn(m, d_context)

    def linear(proj, source, width):
        layer = torch.nn.Linear(source.shape[1], width, bias=bias)
        torch.nn.init.normal_(layer.weight, std=1.5 / source.shape[1] ** 0.5)
        tensors.update({f"{proj}.{part}": value.detach() for part, value in layer.named_parameters()})
        return layer(source).detach()

    q = linear("q_proj", tensors["x"], heads * head_dim).view(n, heads, head_dim).transpose(0, 1)[None]
    k = linear("k_proj", context, head_dim)[None, None]
    v = linear("v_proj", context, v_dim)[None, None]
    if causal:
        mask = torch.ones(n, n, dtype=torch.bool).tril()
    elif mask is not None:
        tensors["mask"] = mask

    expanded = F.scaled_dot_product_attention(
        q, k.expand(1, heads, -1, -1), v.expand(1, heads, -1, -1), attn_mask=mask
    )
    grouped = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    assert torch.allclose(expanded, grouped, atol=1e-6)

    scores = q @ k.transpose(2, 3) / head_dim**0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    tensors["attention_weights"] = scores.softmax(-1)[0]
    assert torch.allclose(tensors["attention_weights"] @ v[0], expanded[0], atol=1e-5)
    tensors["y"] = linear("o_proj", grouped[0].transpose(0, 1).reshape(n, heads * v_dim), d_out)
    path = here / f"{name}.safetensors"
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, {"heads": str(heads)})


make("self", 7, 16, 4, 8)
make("biased", 17, 24, 6, 5, bias=True)
make("one_token", 1, 12, 12, 3, bias=True)
make("one_head", 9, 10, 1, 10)
make("twelve_heads", 48, 48, 12, 4, bias=True, causal=True)
make("narrow_values", 13, 20, 5, 8, v_dim=3, d_out=7, bias=True)
make("causal", 12, 16, 2, 8, causal=True)
make("cross", 5, 12, 3, 6, m=11, d_context=20, bias=True)
make("cross_one_key", 6, 8, 4, 4, m=1)
make("long_context", 3, 16, 8, 4, m=48, d_context=6)
masked = torch.rand(8, 13) < 0.4
masked[:, 3] = True  # PyTorch gives NaN for weights of a row without keys; ours gives zeros
make("masked", 8, 10, 2, 6, m=13, mask=masked, bias=True)
