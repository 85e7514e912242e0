"""Times this chapter's `forward` beside PyTorch's `scaled_dot_product_attention` with `enable_gqa`, on the
same cores, taking turns.

    pip install torch safetensors
    python chapters/05-grouped-query/benches/beside_pytorch.py

Width 512, 8 query heads of 64 on 2 key/value heads, causal, with biases. Both sides start from the same
tensors, and their outputs are compared before anything is believed. PyTorch is timed twice: head by head with the
weights, which is what `forward` computes and returns, and with its fused kernel, which never forms them.
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

WIDTH, HEADS, KV_HEADS, HEAD, ROUNDS, REPEAT = 512, 8, 2, 64, 5, 20
root = pathlib.Path(__file__).parents[3]
torch.manual_seed(0)
torch.set_num_threads(2)


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


def median_ms(run):
    times = []
    for _ in range(REPEAT):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "grouped-query"], cwd=root, check=True)
with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
    print(f"{'tokens':>6} {'ours, ms':>9} {'PyTorch':>9} {'ratio':>6} {'fused':>8} {'ratio':>6}   medians of {ROUNDS} turns")
    for n in (128, 512, 1024):
        module, x = GroupedQuery(), torch.randn(n, WIDTH)
        layer, out = f"{folder}/layer.safetensors", f"{folder}/out.safetensors"
        save_file(dict(module.state_dict()) | {"x": x}, layer)
        command = [root / "target/release/grouped-query", "forward", "--input", layer, "--output", out, "--repeat",
                   str(REPEAT), "--heads", str(HEADS), "--kv-heads", str(KV_HEADS), "--causal"]
        ours, open_, fused = [], [], []
        for _ in range(ROUNDS):
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            ours.append(float(re.search(r"median ([\d.]+) ms", printed)[1]))
            open_.append(median_ms(lambda: module.with_weights(x)))
            fused.append(median_ms(lambda: module.fused(x)))
        for y in (module.with_weights(x)[0], module.fused(x)):
            torch.testing.assert_close(load_file(out)["y"], y, rtol=2e-4, atol=2e-5)
        a, b, c = map(statistics.median, (ours, open_, fused))
        print(f"{n:>6} {a:>9.3f} {b:>9.3f} {a / b:>6.2f} {c:>8.3f} {a / c:>6.2f}")
