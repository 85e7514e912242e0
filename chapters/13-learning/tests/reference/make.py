"""Writes small random layers of every mechanism, and the gradients that PyTorch's autograd gives.

    pip install torch==2.15 transformers==5.24 safetensors
    python3 make.py                    the files beside this script
    python3 make.py --campaign N DIR   N others, larger and at random, into a folder

Everything is computed in float64. A file can be given to `cargo run -p learning -- gradients` as it
stands, with the flags in its metadata; what autograd gives stands in it, too, behind `autograd.`.
"""

import importlib.util
import json
import random
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent
torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)


class Layer:
    """Named tensors that are to be learned, under the names of a file."""

    def __init__(self, biased):
        self.tensors, self.biased = {}, biased

    def tensor(self, name, *shape, about=0.0, std=1.0):
        value = (about + std * torch.randn(*shape)).float().double()
        self.tensors[name] = value.requires_grad_()
        return self.tensors[name]

    def linear(self, name, d_in, d_out):
        weight = self.tensor(f"{name}.weight", d_out, d_in, std=1.3 / max(d_in, 1) ** 0.5)
        bias = self.tensor(f"{name}.bias", d_out, std=0.5) if self.biased else None
        return lambda x: torch.nn.functional.linear(x, weight, bias)


def given(*shape):
    return torch.randn(*shape).float().double().requires_grad_()


def attend(q, k, v, sees, scale=None):
    """Heads in front: (…, heads, n, d). A query that sees nothing gets zeros."""
    size = q.shape[-3] // k.shape[-3]
    k, v = (one.repeat_interleave(size, dim=-3) for one in (k, v))
    scores = q @ k.transpose(-2, -1) * (scale or q.shape[-1] ** -0.5)
    scores = scores.masked_fill(~sees, float("-inf"))
    blind = ~sees.any(-1, keepdim=True)
    weights = scores.masked_fill(blind, 0.0).softmax(-1).masked_fill(blind, 0.0)
    return weights @ v


def split(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


def join(x):
    return x.transpose(-3, -2).flatten(-2)


def rotate(x, theta, interleaved, features=None):
    """(…, n, d): the first features of a head turn."""
    d = features or x.shape[-1]
    turned, rest = x[..., :d], x[..., d:]
    frequency = theta ** (-torch.arange(0, d, 2) / d)
    angle = torch.arange(x.shape[-2])[:, None] * frequency
    cos, sin = angle.cos(), angle.sin()
    if interleaved:
        a, b = turned[..., 0::2], turned[..., 1::2]
        turned = torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
    else:
        a, b = turned.chunk(2, -1)
        turned = torch.cat((a * cos - b * sin, a * sin + b * cos), -1)
    return torch.cat((turned, rest), -1)


def causal(n, m):
    return torch.ones(n, m, dtype=torch.bool).tril()


def some_mask(rng, lead, n, m):
    """A mask in the file, the flag for one, or neither: (flags, tensors, what is seen)."""
    kind = rng.choice(["none", "causal", "mask"])
    if kind == "causal":
        return " --causal", {}, causal(n, m)
    if kind == "none":
        return "", {}, torch.ones(n, m, dtype=torch.bool)
    mask = torch.rand(*lead, n, m) < 0.6
    return "", {"mask": mask}, mask.unsqueeze(-3) if lead else mask


def shared_heads(rng, mechanism, big):
    most = 6 if big else 3
    heads, kv_heads = {
        "attention": (1, 1), "multi-head": (h := rng.randint(1, most), h),
        "multi-query": (rng.randint(1, most), 1),
    }.get(mechanism) or ((g := rng.randint(1, most)) * rng.randint(1, 3), g)
    turns = mechanism in ("rotary", "sliding-window")
    d = 2 * rng.randint(1, 8 if big else 3) if turns else rng.randint(1, 16 if big else 5)
    v_dim = rng.randint(1, 12 if big else 4)
    n, width = rng.randint(1, 70 if big else 7), rng.randint(1, 30 if big else 7)
    lead = rng.choice([(), (), (rng.randint(1, 3),)])
    layer = Layer(rng.random() < 0.5)
    x = given(*lead, n, width)
    tensors, context = {"x": x}, x
    if not turns and rng.random() < 0.35:
        context = tensors["context"] = given(*lead, rng.randint(1, 20), rng.randint(1, 9))
    m = context.shape[-2]
    q = split(layer.linear("q_proj", width, heads * d)(x), heads)
    k = split(layer.linear("k_proj", context.shape[-1], kv_heads * d)(context), kv_heads)
    v = split(layer.linear("v_proj", context.shape[-1], kv_heads * v_dim)(context), kv_heads)
    flags, mask, sees = some_mask(rng, lead, n, m)
    if mechanism == "sliding-window":
        window = rng.randint(1, n + 2)
        distance = torch.arange(n)[:, None] - torch.arange(n)
        if "--causal" in flags:
            mask, sees = {}, torch.ones(n, n, dtype=torch.bool)
        flags, sees = f" --window {window}", sees & (distance >= 0) & (distance < window)
    if mechanism in ("multi-head", "multi-query"):
        flags += f" --heads {heads}"
    elif mechanism != "attention":
        flags += f" --heads {heads} --kv-heads {kv_heads}"
    if turns:
        theta, interleaved = rng.choice([50.0, 10000.0]), rng.random() < 0.5
        features = rng.choice([d, 2 * rng.randint(1, d // 2)])
        flags += f" --rope-theta {theta}" + " --interleaved" * interleaved
        flags += f" --rotary-dim {features}" if features != d else ""
        q, k = (rotate(one, theta, interleaved, features) for one in (q, k))
    y = join(attend(q, k, v, sees))
    if mechanism != "attention":
        y = layer.linear("o_proj", heads * v_dim, rng.randint(1, 9))(y)
    if mechanism == "multi-head" and rng.random() < 0.5 and context is x and v_dim == d:
        stack(layer)
    return layer, tensors | mask, y, flags


def stack(layer):
    """As torch.nn.MultiheadAttention has it."""
    parts = ["weight", "bias"] if layer.biased else ["weight"]
    for part in parts:
        names = [f"{one}_proj.{part}" for one in "qkv"]
        layer.stacked = getattr(layer, "stacked", {}) | {f"in_proj_{part}": names}
        layer.stacked[f"out_proj.{part}"] = [f"o_proj.{part}"]


def rms(x, weight):
    return x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt() * weight


def latent(rng, _, big):
    heads, nope, v_dim = (rng.randint(1, 8 if big else 3) for _ in range(3))
    rope, rank = 2 * rng.randint(1, 6 if big else 2), rng.randint(1, 16 if big else 4)
    n, width = rng.randint(1, 60 if big else 6), rng.randint(1, 24 if big else 6)
    lead = rng.choice([(), (), (2,)])
    layer, x = Layer(rng.random() < 0.5), given(*lead, n, width)
    wide = heads * (nope + rope)
    if rng.random() < 0.5:
        query = layer.linear("q_proj", width, wide)(x)
    else:
        a = layer.linear("q_a_proj", width, 5)(x)
        a = rms(a, layer.tensor("q_a_layernorm.weight", 5, about=1.0, std=0.3))
        query = layer.linear("q_b_proj", 5, wide)(a)
    both = layer.linear("kv_a_proj_with_mqa", width, rank + rope)(x)
    c = rms(both[..., :rank], layer.tensor("kv_a_layernorm.weight", rank, about=1.0, std=0.3))
    up = split(layer.linear("kv_b_proj", rank, heads * (nope + v_dim))(c), heads)
    theta, half = rng.choice([50.0, 10000.0]), rng.random() < 0.5
    r = rotate(both[..., rank:], theta, not half).unsqueeze(-3).expand(*up.shape[:-1], rope)
    q = split(query, heads)
    q = torch.cat((q[..., :nope], rotate(q[..., nope:], theta, not half)), -1)
    k = torch.cat((up[..., :nope], r), -1)
    mscale = rng.choice([1.0, 1.87])
    flags, mask, sees = some_mask(rng, lead, n, n)
    found = attend(q, k, up[..., nope:], sees, mscale * (nope + rope) ** -0.5)
    y = layer.linear("o_proj", heads * v_dim, rng.randint(1, 7))(join(found))
    flags += f" --heads {heads} --nope-dim {nope} --rope-dim {rope} --v-dim {v_dim}"
    flags += f" --rope-theta {theta}" + " --half-split" * half + " --absorb" * (rng.random() < 0.5)
    flags += f" --mscale {mscale}" if mscale != 1.0 else ""
    return layer, {"x": x} | mask, y, flags


def linformer(rng, _, big):
    heads, d = rng.randint(1, 5 if big else 3), rng.randint(1, 10 if big else 4)
    n, width = rng.randint(1, 60 if big else 7), rng.randint(1, 20 if big else 6)
    lead = rng.choice([(), (), (2,)])
    layer, x = Layer(rng.random() < 0.5), given(*lead, n, width)
    tensors, context = {"x": x}, x
    if rng.random() < 0.3:
        context = tensors["context"] = given(*lead, rng.randint(1, 20), rng.randint(1, 9))
    m, r = context.shape[-2], rng.randint(1, 6)
    n_max = m + rng.randint(0, 4)
    kv_heads = rng.choice([1, heads])
    flags = f" --heads {heads}"
    q = layer.linear("to_q", width, heads * d)(x)
    k = v = layer.linear("to_k", context.shape[-1], kv_heads * d)(context)
    e = f = layer.tensor("proj_k", n_max, r)
    kind = rng.choice(["own", "projection", "keys"])
    if kind != "keys":
        v = layer.linear("to_v", context.shape[-1], kv_heads * d)(context)
    if kind == "own":
        f = layer.tensor("proj_v", n_max, r)
    if kind == "projection":
        flags += " --share-projection"
    k, v = e[:m].T @ k, f[:m].T @ v
    sees = torch.ones(n, r, dtype=torch.bool)
    found = attend(split(q, heads), split(k, kv_heads), split(v, kv_heads), sees)
    y = layer.linear("to_out", heads * d, rng.randint(1, 9))(join(found))
    return layer, tensors, y, flags


def flash(rng, _, big):
    kv_heads = rng.randint(1, 3)
    heads = kv_heads * rng.randint(1, 3)
    n, m = (rng.choice([rng.randint(1, 9), rng.randint(100, 300) if big else 5]) for _ in range(2))
    d, v_dim = rng.randint(1, 20 if big else 4), rng.randint(1, 20 if big else 4)
    layer = Layer(False)
    q, k = layer.tensor("q", heads, n, d), layer.tensor("k", kv_heads, m, d)
    v = layer.tensor("v", kv_heads, m, v_dim)
    flags, mask, sees = some_mask(rng, (), n, m)
    if "--causal" in flags:
        top_left = rng.random() < 0.5
        flags += " --top-left" * top_left
        sees = torch.ones(n, m, dtype=torch.bool).tril(0 if top_left else m - n)
    return layer, mask, attend(q, k, v, sees), flags


DRAW = {name: shared_heads for name in ("attention", "multi-head", "multi-query", "grouped-query",
                                        "rotary", "sliding-window")}
DRAW |= {"latent": latent, "linformer": linformer, "flash": flash}


def make(mechanism, seed, path, big=False):
    torch.manual_seed(seed)
    layer, inputs, y, flags = DRAW[mechanism](random.Random(seed), mechanism, big)
    dy = torch.randn(*y.shape).float().double()
    y.backward(dy)
    learned, gradients = dict(layer.tensors), {}
    for name, value in layer.tensors.items():
        zeros = torch.zeros_like(value)
        gradients[f"d.{name}"] = zeros if value.grad is None else value.grad
    for whole, parts in getattr(layer, "stacked", {}).items():
        learned[whole] = torch.cat([learned.pop(part) for part in parts])
        gradients[f"d.{whole}"] = torch.cat([gradients.pop(f"d.{part}") for part in parts])
    if "x" in inputs:
        gradients["dx"] = inputs["x"].grad
    if "context" in inputs:
        gradients["d.context"] = inputs["context"].grad
    save(path, f"--mechanism {mechanism}{flags}", learned | inputs | {"dy": dy}, gradients)


def save(path, flags, given, gradients, notes=None):
    tensors = given | {f"autograd.{name}": value for name, value in gradients.items()}
    plain = lambda t: (t if t.dtype == torch.bool else t.float()).detach().contiguous().clone()
    save_file({name: plain(t) for name, t in tensors.items()}, path, {"flags": flags} | (notes or {}))


def layers_of_models():
    """The script of chapter 11, which builds layers of Transformers."""
    path = HERE / "../../../11-decoder-layer/tests/reference/make.py"
    spec = importlib.util.spec_from_file_location("chapter_11", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_decoder(name, seed, path):
    """A layer of Transformers, of the kinds that chapter 11 is held to."""
    chapter_11 = layers_of_models()

    torch.manual_seed(seed)
    torch.set_default_dtype(torch.float32)
    kind, changes, layer = chapter_11.CASES[name]
    notes, model, attention = chapter_11.build(kind, changes, layer)
    torch.set_default_dtype(torch.float64)
    model = model.double()
    # The fast way through experts knows no float64.
    model.config._experts_implementation = "eager"
    core, last = attention, attention
    if kind == "bert":
        core, last = attention.self, attention.output.dense
    seen = {}

    def enters(_, args, kwargs):
        x = args[0] if args else kwargs["hidden_states"]
        seen["x"] = x.detach().float().double().requires_grad_()
        if args:
            return (seen["x"], *args[1:]), kwargs
        return args, kwargs | {"hidden_states": seen["x"]}

    def leaves(_, args, output):
        seen["y"] = output[0] if isinstance(output, tuple) else output

    core.register_forward_pre_hook(enters, with_kwargs=True)
    last.register_forward_hook(leaves)
    embeds = torch.randn(1, chapter_11.TOKENS, model.config.hidden_size)
    model(inputs_embeds=embeds, use_cache=False)
    y = seen["y"]
    dy = torch.randn(*y.shape).float().double()
    y.backward(dy)
    where = next(path for path, module in model.named_modules() if module is attention)
    own = {f"{where}.{part}": tensor for part, tensor in attention.named_parameters()}
    own = {part: tensor for part, tensor in own.items() if "LayerNorm" not in part}
    gradients = {f"d.{part}": tensor.grad for part, tensor in own.items()}
    gradients["dx"] = seen["x"].grad[0]
    given = own | {"x": seen["x"][0], "dy": dy[0] if dy.dim() == 3 else dy}
    notes = {"config": json.dumps(notes)}
    flags = f"--mechanism decoder-layer --config config.json --prefix {where} --layer {layer}"
    save(path, flags, given, gradients, notes)


DECODERS = ["gpt-oss", "gemma2", "qwen3", "olmo2", "olmo", "phi3-partial", "falcon-new", "gpt2",
            "stablelm", "cohere", "gpt-neox", "phi", "ministral3", "bert", "yarn"]


def main():
    if sys.argv[1:2] == ["--campaign"]:
        chapter_11 = layers_of_models()

        count, folder = int(sys.argv[2]), Path(sys.argv[3])
        folder.mkdir(exist_ok=True)
        for seed in range(count):
            mechanism = sorted(DRAW)[seed % len(DRAW)]
            make(mechanism, 1000 + seed, folder / f"{seed:04}-{mechanism}.safetensors", big=True)
        for number, name in enumerate(chapter_11.CASES):
            make_decoder(name, number, folder / f"decoder-{name}.safetensors")
        return
    for old in HERE.glob("*.safetensors"):
        old.unlink()
    for mechanism in DRAW:
        for seed in range(4 if DRAW[mechanism] is not shared_heads else 3):
            make(mechanism, seed, HERE / f"{mechanism}-{seed}.safetensors")
    for number, name in enumerate(DECODERS):
        make_decoder(name, number, HERE / f"decoder-{name}.safetensors")


if __name__ == "__main__":
    main()
