"""Makes the reference tensors beside this file: calls of PyTorch's `scaled_dot_product_attention`, and what it gives.

    pip install torch safetensors
    python chapters/09-flash/tests/reference/make.py

Each file can be given to `cargo run -p flash -- forward` as it stands; its metadata says with which flags.
"""

import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch.nn.attention.bias import causal_lower_right

torch.manual_seed(20220527)
here = pathlib.Path(__file__).parent


def make(name, h, g, n, m, d, *, d_v=None, flags="", mask=None, tensors=None):
    q, k, v = tensors or (torch.randn(h, n, d), torch.randn(g, m, d), torch.randn(g, m, d_v or d))
    call = dict(enable_gqa=h != g)
    if mask is not None:
        call["attn_mask"] = mask
    elif flags == "--causal" and n != m:
        # PyTorch's own name for a last query that stands at the last key.
        call["attn_mask"] = causal_lower_right(n, m)._materialize()
    elif flags:
        call["is_causal"] = True
    y = F.scaled_dot_product_attention(q[None], k[None], v[None], **call)[0]
    file = {"q": q, "k": k, "v": v, "y": y} | ({} if mask is None else {"mask": mask})
    save_file({key: value.contiguous() for key, value in file.items()}, here / f"{name}.safetensors", {"flags": flags})


with torch.no_grad():
    make("full", 2, 2, 70, 70, 16)
    make("causal", 2, 2, 130, 130, 8, flags="--causal")
    make("grouped", 6, 2, 33, 33, 12, flags="--causal")
    make("one_kv_head", 8, 1, 20, 20, 16)
    make("cross", 4, 2, 9, 41, 8)
    make("last_queries", 4, 2, 9, 41, 8, flags="--causal")
    make("top_left", 4, 2, 9, 41, 8, flags="--causal --top-left")
    make("more_queries", 2, 2, 30, 7, 8, flags="--causal --top-left")
    make("one_query", 8, 2, 1, 300, 16)
    make("one_query_causal", 4, 4, 1, 17, 8, flags="--causal")
    make("one_query_top_left", 4, 4, 1, 17, 8, flags="--causal --top-left")
    make("one_key", 2, 1, 5, 1, 4)
    make("wide", 2, 1, 10, 12, 256, flags="--causal")
    make("odd", 3, 3, 19, 23, 7, d_v=5)
    mask = torch.rand(40, 150) < 0.2
    mask[:, 70] = True  # PyTorch gives NaN for a row without keys; ours gives zeros
    mask[:16, :64] = False
    make("masked", 2, 2, 40, 150, 8, mask=mask)
    # Whole numbers: scores up to 10,000 that are exact in any order of summation.
    whole = lambda *shape: torch.randint(-50, 51, shape).float()
    make("huge_scores", 2, 2, 40, 40, 16, tensors=(whole(2, 40, 16), whole(2, 40, 16), torch.randn(2, 40, 16)))
