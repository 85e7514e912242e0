"""Layers as PyTorch computes them, with slips that people make in PyTorch.

Writes layer.safetensors, and beside it one file for each slip, with the output y alone or
with what else is named. Made with torch 2.15: python make.py
"""

import math
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent
HEADS, KV_HEADS, WIDTH, TOKENS = 4, 2, 8, 7
DIM = HEADS * WIDTH
linear = torch.nn.functional.linear


def rotated(x, neighbors=False, base=10000.0):
    inv_freq = 1 / base ** (torch.arange(0, WIDTH, 2).float() / WIDTH)
    angles = torch.outer(torch.arange(TOKENS).float(), inv_freq)
    if neighbors:
        angles = angles.repeat_interleave(2, -1)
        half = torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
    else:
        angles = torch.cat((angles, angles), -1)
        half = torch.cat((-x[..., WIDTH // 2 :], x[..., : WIDTH // 2]), -1)
    return x * angles.cos() + half * angles.sin()


def layer(x, w, b, slips=(), dtype=torch.float32):
    x, w, b = x.to(dtype), {k: t.to(dtype) for k, t in w.items()}, {k: t.to(dtype) for k, t in b.items()}
    q, k, v = (linear(x, w[name], b[name]) for name in "qkv")
    cut = lambda t: t.view(TOKENS, -1, WIDTH).transpose(0, 1)
    q, k, v = map(cut, (q, k, v))
    turn = lambda t: rotated(t.float(), "other-pairing" in slips).to(dtype)
    q = turn(q)
    if "keys-left" not in slips:
        k = turn(k)
    size = HEADS // KV_HEADS
    if "kv-heads-in-turns" in slips:
        k, v = k.repeat(size, 1, 1), v.repeat(size, 1, 1)
    else:
        k, v = k.repeat_interleave(size, 0), v.repeat_interleave(size, 0)
    scores = q @ k.transpose(1, 2)
    if "unscaled" not in slips:
        scores = scores / math.sqrt(WIDTH)
    seen = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()
    if "mask-after-softmax" in slips:
        weights = scores.softmax(-1) * seen
    else:
        hidden = 0.0 if "hidden-with-zero" in slips else float("-inf")
        scores = scores.masked_fill(~seen, hidden)
        weights = scores.softmax(-2 if "down-the-columns" in slips else -1)
    found = weights @ v
    if "merged-without-transpose" not in slips:
        found = found.transpose(0, 1)
    found = found.reshape(TOKENS, DIM)
    if "squashed" in slips:
        found = found.tanh()
    y = linear(found, w["o"], b["o"])
    return {"q": q, "scores": scores, "attention_weights": weights, "y": y}


def main():
    torch.manual_seed(0)
    rows = {"q": DIM, "k": KV_HEADS * WIDTH, "v": KV_HEADS * WIDTH, "o": DIM}
    w = {name: torch.randn(out, DIM) / DIM**0.5 for name, out in rows.items()}
    b = {name: torch.randn(out) * 0.3 for name, out in rows.items()}
    x = torch.randn(TOKENS, DIM) * 1.5
    tensors = {f"{name}_proj.weight": t for name, t in w.items()}
    tensors |= {f"{name}_proj.bias": t for name, t in b.items()}
    save_file(tensors | {"x": x}, HERE / "layer.safetensors")
    alone = [
        "other-pairing", "keys-left", "kv-heads-in-turns", "unscaled",
        "mask-after-softmax", "hidden-with-zero", "down-the-columns",
        "merged-without-transpose", "squashed",
    ]
    pairs = ["unscaled+kv-heads-in-turns", "keys-left+hidden-with-zero"]
    for slips in alone + pairs:
        y = layer(x, w, b, slips.split("+"))["y"]
        save_file({"y": y.contiguous()}, HERE / f"{slips}.safetensors")
    right = {name: t.contiguous() for name, t in layer(x, w, b).items()}
    save_file(right, HERE / "right.safetensors")
    for name, dtype in [("bf16", torch.bfloat16), ("f16", torch.float16)]:
        y = layer(x, w, b, (), dtype)["y"]
        save_file({"y": y.contiguous()}, HERE / f"{name}.safetensors")
        y = layer(x, w, b, ("unscaled",), dtype)["y"]
        save_file({"y": y.contiguous()}, HERE / f"unscaled.{name}.safetensors")


main()
