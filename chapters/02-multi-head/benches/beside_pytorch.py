"""Times this chapter's `forward` beside PyTorch on the same cores, taking turns.

    pip install torch safetensors
    python chapters/02-multi-head/benches/beside_pytorch.py

Width 512, 8 heads of 64, with biases. Two opponents start from the same tensors as we do: eight
separate head modules whose outputs are concatenated and projected, which give their weights back as
ours do; and one wide projection with PyTorch's fused scaled_dot_product_attention, which never forms
the weights. The outputs are compared before the times are printed.
"""

import pathlib
import re
import statistics
import subprocess
import tempfile
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

WIDTH, HEADS, ROUNDS, REPEAT = 512, 8, 7, 20
HEAD = WIDTH // HEADS
root = pathlib.Path(__file__).parents[3]
torch.manual_seed(0)
torch.set_num_threads(2)


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


def median_ms(run):
    times = []
    for _ in range(REPEAT):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "multi-head"], cwd=root, check=True)
with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
    print(f"{'tokens':>6} {'ours, ms':>9} {'8 modules':>10} {'ratio':>6} {'fused':>8} {'ratio':>6}   medians of {ROUNDS} turns")
    for n in (64, 128, 256, 512, 1024, 2048):
        module, x = HeadByHead(), torch.randn(n, WIDTH)
        tensors = {name: tensor.detach().contiguous() for name, tensor in module.tensors().items()}
        layer, out = f"{folder}/layer.safetensors", f"{folder}/out.safetensors"
        save_file(tensors | {"x": x}, layer)
        command = [root / "target/release/multi-head", "forward", "--input", layer, "--output", out,
                   "--heads", str(HEADS), "--repeat", str(REPEAT)]
        ours, modules, one = [], [], []
        for _ in range(ROUNDS):
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            ours.append(float(re.search(r"median ([\d.]+) ms", printed)[1]))
            modules.append(median_ms(lambda: module(x)))
            one.append(median_ms(lambda: fused(tensors, x)))
        found = load_file(out)
        y, weights = module(x)
        torch.testing.assert_close(found["y"], y, rtol=2e-4, atol=2e-5)
        torch.testing.assert_close(found["attention_weights"], torch.stack(weights), rtol=2e-4, atol=2e-5)
        torch.testing.assert_close(fused(tensors, x), y, rtol=2e-4, atol=2e-5)
        a, b, c = (statistics.median(times) for times in (ours, modules, one))
        print(f"{n:>6} {a:>9.3f} {b:>10.3f} {a / b:>6.2f} {c:>8.3f} {a / c:>6.2f}")
