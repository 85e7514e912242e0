"""Times this chapter's `forward` beside PyTorch on the same cores, taking turns.

    pip install torch safetensors
    python chapters/02-multi-head/benches/beside_pytorch.py             print the times
    python chapters/02-multi-head/benches/beside_pytorch.py --record    and keep them in benches/pytorch.csv

Width 512, 8 heads of 64, with biases. Two opponents start from the same tensors as we do: eight
separate head modules whose outputs are concatenated and projected, which give their weights back as
ours do; and one wide projection with PyTorch's fused scaled_dot_product_attention, which never forms
the weights. The outputs are compared.
"""

import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.append(str(pathlib.Path(__file__).parents[3] / "book/chapter-cli/python"))
from beside import Beside

WIDTH, HEADS, CALLS = 512, 8, 10
HEAD = WIDTH // HEADS


class Head(torch.nn.Module):
    def __init__(self):
        super().__init__()
        for name in ("q_proj", "k_proj", "v_proj"):
            setattr(self, name, torch.nn.Linear(WIDTH, HEAD))

    def forward(self, x):
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        weights = (q @ k.T / HEAD**0.5).softmax(-1)
        return weights @ v, weights


class HeadByHead(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = torch.nn.ModuleList(Head() for _ in range(HEADS))
        self.o_proj = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        outputs, weights = zip(*(head(x) for head in self.heads))
        return self.o_proj(torch.cat(outputs, -1)), weights

    def tensors(self):
        """The heads side by side, under the names of a checkpoint."""
        wide = {
            f"{proj}.{part}": torch.cat([getattr(getattr(h, proj), part) for h in self.heads])
            for proj in ("q_proj", "k_proj", "v_proj")
            for part in ("weight", "bias")
        }
        return wide | {f"o_proj.{part}": value for part, value in self.o_proj.named_parameters()}


def fused(tensors, x):
    """One wide projection, heads split by a view, no weights formed."""
    wide = lambda name: F.linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])
    q, k, v = (wide(p).unflatten(-1, (HEADS, HEAD)).transpose(0, 1)[None] for p in ("q_proj", "k_proj", "v_proj"))
    found = F.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).flatten(1)
    return F.linear(found, tensors["o_proj.weight"], tensors["o_proj.bias"])


beside = Beside(__file__, "multi-head")
with torch.inference_mode():
    for n in (64, 128, 256, 512, 1024, 2048):
        module, x = HeadByHead(), torch.randn(n, WIDTH)
        tensors = {name: tensor.detach().contiguous() for name, tensor in module.tensors().items()}
        ours = beside.ours(tensors | {"x": x}, "--heads", str(HEADS), calls=CALLS)
        beside.take_turns(n, {
            "ours": ours,
            "pytorch_modules": beside.theirs(lambda: module(x), CALLS),
            "pytorch_fused": beside.theirs(lambda: fused(tensors, x), CALLS),
        })
        found = ours.tensors()
        y, weights = module(x)
        torch.testing.assert_close(found["y"], y, rtol=2e-4, atol=2e-5)
        torch.testing.assert_close(found["attention_weights"], torch.stack(weights), rtol=2e-4, atol=2e-5)
        torch.testing.assert_close(fused(tensors, x), y, rtol=2e-4, atol=2e-5)
beside.finish()
