"""Times this chapter's `forward` beside PyTorch's `scaled_dot_product_attention`, on the same cores, taking turns.

    pip install torch safetensors
    python chapters/09-flash/benches/beside_pytorch.py             print the times
    python chapters/09-flash/benches/beside_pytorch.py --record    and keep them in benches/pytorch.csv

Prefill: 8 heads of 64. Decode: one token of 32 query heads of 128 over 8,192 cached tokens. Both sides start from the
same tensors, and their outputs are compared. Where query heads share keys, PyTorch's kernel is timed in two more ways:
on keys and values that were repeated for each query head before the clock started, and with the queries of a group as
rows of one head, which is the same numbers and lets the kernel use a key for all of them.
"""

import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.append(str(pathlib.Path(__file__).parents[3] / "book/chapter-cli/python"))
from beside import Beside

CASES = [(kind, n, (8, n, 64), (8, n, 64)) for n in (512, 1024, 2048, 4096) for kind in ("full", "causal")]
CASES += [("decode", g, (32, 1, 128), (g, 8192, 128)) for g in (32, 8, 1)]
attention = F.scaled_dot_product_attention

beside = Beside(__file__, "flash")
with torch.inference_mode():
    for kind, n, of_q, of_k in CASES:
        q, k, v = torch.randn(of_q), torch.randn(of_k), torch.randn(of_k)
        calls = 3 if n >= 2048 else 10
        ours = beside.ours({"q": q, "k": k, "v": v}, *["--causal"] * (kind == "causal"), calls=calls)
        group = len(q) // len(k)
        theirs = {"": lambda: attention(q[None], k[None], v[None], is_causal=kind == "causal", enable_gqa=group > 1)}
        if group > 1:
            many_k, many_v = (x.repeat_interleave(group, 0) for x in (k, v))
            rows = q.view(len(k), group, 128)
            theirs["_repeated"] = lambda: attention(q[None], many_k[None], many_v[None])
            theirs["_grouped"] = lambda: attention(rows[None], k[None], v[None])
        sides = {f"pytorch_{kind}{way}": beside.theirs(run, calls) for way, run in theirs.items()}
        beside.take_turns(n, {f"ours_{kind}": ours} | sides)
        for run in theirs.values():
            torch.testing.assert_close(ours.tensors()["y"], run()[0].view(of_q), rtol=2e-4, atol=2e-5)
beside.finish()
