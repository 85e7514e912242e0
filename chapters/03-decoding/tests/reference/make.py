"""Makes the reference tensors beside this file: layers and inputs, and what PyTorch's causal attention makes of them.

    pip install torch safetensors
    python chapters/03-decoding/tests/reference/make.py

Each file can be given to `cargo run -p decoding -- forward` as it stands, with --heads from
its name and any --prefill.
"""

import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(20191106)
here = pathlib.Path(__file__).parent


def make(name, n, d, heads, head_dim, v_dim, d_out, *, bias=False, batch=None):
    """One causal multi-head layer on one sequence, or on a batch of them."""
    x = torch.randn(batch or 1, n, d)
    tensors, linears = {}, {}
    widths = {
        "q_proj": (d, heads * head_dim),
        "k_proj": (d, heads * head_dim),
        "v_proj": (d, heads * v_dim),
        "o_proj": (heads * v_dim, d_out),
    }
    for proj, (d_in, width) in widths.items():
        linear = linears[proj] = torch.nn.Linear(d_in, width, bias=bias)
        torch.nn.init.normal_(linear.weight, std=1.5 / d_in**0.5)
        tensors |= {f"{proj}.{part}": value.detach() for part, value in linear.named_parameters()}
    with torch.no_grad():
        q, k, v = (
            linears[p](x).unflatten(-1, (heads, -1)).transpose(1, 2) for p in ("q_proj", "k_proj", "v_proj")
        )
        context = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        future = ~torch.ones(n, n, dtype=torch.bool).tril()
        weights = (q @ k.transpose(-1, -2) / head_dim**0.5).masked_fill(future, float("-inf")).softmax(-1)
        assert torch.allclose(weights @ v, context, atol=1e-5)
        y = linears["o_proj"](context.transpose(1, 2).flatten(-2))
    shown = {"x": x, "y": y, "attention_weights": weights}
    tensors |= shown if batch else {name: tensor[0] for name, tensor in shown.items()}
    save_file({k: v.contiguous() for k, v in tensors.items()}, here / f"{name}.safetensors")


make("one_token_2_heads", 1, 6, 2, 4, 4, 6, bias=True)
make("two_tokens_1_head", 2, 5, 1, 3, 3, 5)
make("five_tokens_3_heads", 5, 9, 3, 3, 5, 7)
make("twelve_tokens_4_heads", 12, 16, 4, 4, 4, 16, bias=True)
make("batch_2_heads", 7, 8, 2, 4, 4, 8, bias=True, batch=3)
make("long_2_heads", 48, 20, 2, 10, 10, 20, bias=True)
