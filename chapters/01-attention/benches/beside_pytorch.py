"""Times this chapter's `forward` beside the same module in PyTorch, on the same cores, taking turns.

    pip install torch safetensors
    python chapters/01-attention/benches/beside_pytorch.py             print the times
    python chapters/01-attention/benches/beside_pytorch.py --record    and keep them in benches/pytorch.csv

Width 512, one head of 64, with biases. Both sides start from the same tensors, and their outputs are
compared.
"""

import pathlib
import sys

import torch

sys.path.append(str(pathlib.Path(__file__).parents[3] / "book/chapter-cli/python"))
from beside import Beside

WIDTH, HEAD, CALLS = 512, 64, 20


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        for name in ("q_proj", "k_proj", "v_proj"):
            setattr(self, name, torch.nn.Linear(WIDTH, HEAD))

    def forward(self, x):
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        weights = (q @ k.T / HEAD**0.5).softmax(-1)
        return weights @ v, weights


beside = Beside(__file__, "attention")
with torch.inference_mode():
    for n in (128, 256, 512, 1024, 2048):
        module, x = Attention(), torch.randn(n, WIDTH)
        ours = beside.ours(dict(module.state_dict()) | {"x": x}, calls=CALLS)
        beside.take_turns(n, {"ours": ours, "pytorch": beside.theirs(lambda: module(x), CALLS)})
        torch.testing.assert_close(ours.tensors()["y"], module(x)[0], rtol=2e-4, atol=2e-5)
beside.finish()
