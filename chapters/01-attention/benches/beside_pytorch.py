"""Times this chapter's `forward` beside the same module in PyTorch, on the same cores, taking turns.

    pip install torch safetensors
    python chapters/01-attention/benches/beside_pytorch.py

Width 512, one head of 64, with biases. Both sides start from the same tensors, and their outputs are
compared before anything is timed.
"""

import pathlib
import re
import statistics
import subprocess
import tempfile
import time

import torch
from safetensors.torch import load_file, save_file

WIDTH, HEAD, ROUNDS, REPEAT = 512, 64, 5, 20
root = pathlib.Path(__file__).parents[3]
torch.manual_seed(0)
torch.set_num_threads(2)


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        for name in ("q_proj", "k_proj", "v_proj"):
            setattr(self, name, torch.nn.Linear(WIDTH, HEAD))

    def forward(self, x):
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        weights = (q @ k.T / HEAD**0.5).softmax(-1)
        return weights @ v, weights


subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "attention"], cwd=root, check=True)
with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
    print(f"{'tokens':>6} {'ours, ms':>10} {'PyTorch, ms':>12} {'ratio':>7}   medians of {ROUNDS} turns")
    for n in (128, 256, 512, 1024, 2048):
        module, x = Attention(), torch.randn(n, WIDTH)
        layer, out = f"{folder}/layer.safetensors", f"{folder}/out.safetensors"
        save_file(dict(module.state_dict()) | {"x": x}, layer)
        command = [root / "target/release/attention", "forward", "--input", layer, "--output", out,
                   "--repeat", str(REPEAT)]
        ours, theirs = [], []
        for _ in range(ROUNDS):
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            ours.append(float(re.search(r"median ([\d.]+) ms", printed)[1]))
            times = []
            for _ in range(REPEAT):
                start = time.perf_counter()
                y, weights = module(x)
                times.append((time.perf_counter() - start) * 1e3)
            theirs.append(statistics.median(times))
        torch.testing.assert_close(load_file(out)["y"], y, rtol=2e-4, atol=2e-5)
        a, b = statistics.median(ours), statistics.median(theirs)
        print(f"{n:>6} {a:>10.3f} {b:>12.3f} {a / b:>7.2f}")
