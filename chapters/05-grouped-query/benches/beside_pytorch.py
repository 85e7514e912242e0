"""Times this chapter's `forward` beside PyTorch's `scaled_dot_product_attention` with `enable_gqa`, on the
same cores, taking turns.

    pip install torch safetensors
    python chapters/05-grouped-query/benches/beside_pytorch.py             print the times
    python chapters/05-grouped-query/benches/beside_pytorch.py --record    and keep them in benches/pytorch.csv

Width 512, 8 query heads of 64 on 2 key/value heads, causal, with biases. Both sides start from the same
tensors, and their outputs are compared. PyTorch is timed twice: head by head with the weights, which is what
`forward` computes and returns, and with its fused kernel, which never forms them.
"""

import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.append(str(pathlib.Path(__file__).parents[3] / "book/chapter-cli/python"))
from beside import Beside

WIDTH, HEADS, KV_HEADS, HEAD, CALLS = 512, 8, 2, 64, 10


class GroupedQuery(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj = torch.nn.Linear(WIDTH, HEADS * HEAD)
        self.k_proj = torch.nn.Linear(WIDTH, KV_HEADS * HEAD)
        self.v_proj = torch.nn.Linear(WIDTH, KV_HEADS * HEAD)
        self.o_proj = torch.nn.Linear(HEADS * HEAD, WIDTH)

    def project(self, x):
        split = lambda y: y.unflatten(-1, (-1, HEAD)).transpose(0, 1)
        return split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x))

    def with_weights(self, x):
        q, k, v = self.project(x)
        future = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
        weights, outputs = [], []
        for h in range(HEADS):
            g = h // (HEADS // KV_HEADS)
            scores = (q[h] @ k[g].T / HEAD**0.5).masked_fill(future, float("-inf"))
            weights.append(scores.softmax(-1))
            outputs.append(weights[-1] @ v[g])
        return self.o_proj(torch.cat(outputs, -1)), weights

    def fused(self, x):
        q, k, v = self.project(x)
        found = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, enable_gqa=True)
        return self.o_proj(found[0].transpose(0, 1).flatten(1))


beside = Beside(__file__, "grouped-query")
with torch.inference_mode():
    for n in (128, 512, 1024):
        module, x = GroupedQuery(), torch.randn(n, WIDTH)
        flags = ["--heads", str(HEADS), "--kv-heads", str(KV_HEADS), "--causal"]
        ours = beside.ours(dict(module.state_dict()) | {"x": x}, *flags, calls=CALLS)
        beside.take_turns(n, {
            "ours": ours,
            "pytorch_heads": beside.theirs(lambda: module.with_weights(x), CALLS),
            "pytorch_fused": beside.theirs(lambda: module.fused(x), CALLS),
        })
        for y in (module.with_weights(x)[0], module.fused(x)):
            torch.testing.assert_close(ours.tensors()["y"], y, rtol=2e-4, atol=2e-5)
beside.finish()
