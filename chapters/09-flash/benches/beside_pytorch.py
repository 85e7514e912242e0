"""Times this chapter's `forward` beside PyTorch's `scaled_dot_product_attention`, on the same cores, taking turns.

    pip install torch safetensors
    python chapters/09-flash/benches/beside_pytorch.py             print the times
    python chapters/09-flash/benches/beside_pytorch.py --record    and keep them in benches/pytorch.csv

Prefill: 8 heads of 64. Decode: one token of 32 query heads of 128 over 8,192 cached tokens. Both sides start from the
same tensors, and their outputs are compared before anything is believed. Each side is told the shortest of its times.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

root = pathlib.Path(__file__).parents[3]
torch.manual_seed(0)
torch.set_num_threads(2)

CASES = [(kind, n, (8, n, 64), (8, n, 64)) for n in (512, 1024, 2048, 4096) for kind in ("full", "causal")]
CASES += [("decode", g, (32, 1, 128), (g, 8192, 128)) for g in (32, 8, 1)]
ROUNDS = 5


def shortest_ms(run, repeat):
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return min(times)


subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "flash"], cwd=root, check=True)
recording = "case,n,min_ms\n"
with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
    print(f"{'':>8} {'n':>6} {'ours, ms':>9} {'PyTorch':>9} {'ratio':>6}   shortest of {ROUNDS} turns")
    for kind, n, of_q, of_k in CASES:
        q, k, v = torch.randn(of_q), torch.randn(of_k), torch.randn(of_k)
        tensors, out = f"{folder}/in.safetensors", f"{folder}/out.safetensors"
        save_file({"q": q, "k": k, "v": v}, tensors)
        repeat = 5 if n >= 2048 else 20
        command = [root / "target/release/flash", "forward", "--input", tensors, "--output", out, "--repeat", str(repeat)]
        command += ["--causal"] * (kind == "causal")
        theirs = lambda: F.scaled_dot_product_attention(
            q[None], k[None], v[None], is_causal=kind == "causal", enable_gqa=len(q) != len(k))
        ours, pytorch = [], []
        for _ in range(ROUNDS):
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            ours.append(float(re.search(r"min ([\d.]+) ms", printed)[1]))
            pytorch.append(shortest_ms(theirs, repeat))
        torch.testing.assert_close(load_file(out)["y"], theirs()[0], rtol=2e-4, atol=2e-5)
        a, b = min(ours), min(pytorch)
        print(f"{kind:>8} {n:>6} {a:>9.3f} {b:>9.3f} {a / b:>6.2f}", flush=True)
        recording += f"ours_{kind},{n},{a:.4f}\npytorch_{kind},{n},{b:.4f}\n"
if "--record" in sys.argv:
    path = pathlib.Path(__file__).parent / "pytorch.csv"
    path.write_text(recording)
    print(f"recorded in {path}; now draw the plots")
