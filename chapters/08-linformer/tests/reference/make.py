"""Makes the reference tensors beside this file: Linformer layers and inputs, and what the PyPI
package linformer makes of them.

    pip install torch linformer==0.2.3 safetensors
    python chapters/08-linformer/tests/reference/make.py

The package keeps its weights to itself, so the attention weights are computed beside it, and must
lead to its output. `paper_*` files are what the package cannot do: other projections for each head,
and E = F with keys and values apart. They are computed from the formula alone. The first kind can be
given to `cargo run -p linformer -- forward` as it stands; the number of heads is in its metadata.

spectrum.safetensors holds the singular values of three maps of MiniLM on the long text, in double
precision.
"""

import math
import pathlib

import torch
from linformer import LinformerSelfAttention
from safetensors.torch import load_file, save_file

torch.manual_seed(20200608)
here = pathlib.Path(__file__).parent
data = here.parents[2] / "data"


def weights(layer, x, context):
    """The package's attention weights [b, heads, n, k], and its output from them."""
    h, d_h = layer.heads, layer.dim_head
    keys = layer.to_k(context)
    values = keys if layer.share_kv else layer.to_v(context)
    m = context.shape[1]
    e = layer.proj_k[:m]
    f = e if layer.share_kv else layer.proj_v[:m]

    def heads(t):
        return t.unflatten(-1, (-1, d_h)).transpose(1, 2)

    keys, values = (heads(p.T @ t) for p, t in ((e, keys), (f, values)))
    q = heads(layer.to_q(x))
    attention = (q @ keys.transpose(2, 3) / math.sqrt(d_h)).softmax(-1)
    return attention, layer.to_out((attention @ values).transpose(1, 2).flatten(2))


def make(name, n, n_max, d, heads, k, *, m=None, batch=None, **options):
    layer = LinformerSelfAttention(d, n_max, k=k, heads=heads, **options).eval()
    for part, value in layer.named_parameters():
        # Larger than at the start of training, so that the weights are far from even.
        torch.nn.init.normal_(value, std=1.5 / value.shape[-1] ** 0.5 if part.startswith("to_") else 0.7)
    x = torch.randn(batch or 1, n, d)
    context = None if m is None else torch.randn(batch or 1, m, d)
    with torch.no_grad():
        y = layer(x, context=context)
        attention, by_hand = weights(layer, x, x if context is None else context)
    assert torch.allclose(y, by_hand, atol=1e-5), (y - by_hand).abs().max()
    assert attention.max() > 1.5 / k or k == 1
    tensors = {part: value.detach() for part, value in layer.named_parameters()}
    tensors |= {"x": x, "y": y, "attention_weights": attention}
    if context is not None:
        tensors["context"] = context
    if batch is None:
        for part in ("x", "context", "y", "attention_weights"):
            if part in tensors:
                tensors[part] = tensors[part][0]
    save(name, tensors, heads)


def save(name, tensors, heads):
    tensors = {k: v.contiguous() for k, v in tensors.items()}
    save_file(tensors, here / f"{name}.safetensors", {"heads": str(heads)})


make("full", 12, 12, 16, 4, 5)
make("shorter", 7, 20, 16, 4, 6)
make("one_token", 1, 9, 12, 3, 4)
make("one_row", 11, 11, 12, 2, 1)
make("one_head", 9, 12, 10, 1, 4)
make("more_rows_than_tokens", 5, 8, 8, 2, 8)
make("twelve_heads", 40, 64, 48, 12, 16)
make("shared_keys_and_values", 10, 16, 16, 4, 6, share_kv=True)
make("one_kv_head", 13, 16, 24, 6, 5, one_kv_head=True)
make("one_shared_kv_head", 13, 16, 24, 6, 5, one_kv_head=True, share_kv=True)
make("wide_heads", 9, 14, 8, 2, 4, dim_head=7)
make("narrow_heads", 9, 14, 24, 4, 5, dim_head=2)
make("wide_shared_head", 9, 14, 12, 3, 5, dim_head=8, one_kv_head=True, share_kv=True)
make("cross", 6, 15, 12, 3, 5, m=11)
make("batch", 8, 10, 12, 2, 4, batch=3)
make("long", 96, 128, 32, 4, 32)


def by_formula(name, n, n_max, d, heads, k, each_head, same):
    """Softmax(Q_h (E_h K_h)^T / sqrt(d_h)) F_h V_h, as the paper's section 4 has it."""
    d_h = d // heads
    maps = {part: torch.randn(d, d) * 1.5 / d**0.5 for part in ("to_q", "to_k", "to_v", "to_out")}
    bias = torch.randn(d)
    count = heads if each_head else 1
    e = torch.randn(count, n_max, k) * 0.7
    f = e if same else torch.randn(count, n_max, k) * 0.7
    x = torch.randn(n, d)
    q, keys, values = ((x @ maps[part].T).view(n, heads, d_h) for part in ("to_q", "to_k", "to_v"))
    found, attention = [], []
    for h in range(heads):
        g = h if each_head else 0
        condensed_keys = e[g, :n].T @ keys[:, h]
        condensed_values = f[g, :n].T @ values[:, h]
        attention.append((q[:, h] @ condensed_keys.T / d_h**0.5).softmax(-1))
        found.append(attention[-1] @ condensed_values)
    tensors = {f"{part}.weight": value for part, value in maps.items()} | {"to_out.bias": bias}
    tensors |= {"x": x, "y": torch.cat(found, -1) @ maps["to_out"].T + bias}
    tensors |= {"attention_weights": torch.stack(attention)}
    names = [f".{h}" for h in range(heads)] if each_head else [""]
    for g, suffix in enumerate(names):
        tensors[f"proj_k{suffix}"] = e[g]
        if not same:
            tensors[f"proj_v{suffix}"] = f[g]
    save(name, tensors, heads)


by_formula("paper_none", 10, 12, 16, 4, 5, each_head=True, same=False)
by_formula("paper_headwise", 10, 12, 16, 4, 5, each_head=False, same=False)
by_formula("paper_key_value", 10, 12, 16, 4, 5, each_head=False, same=True)

spectra = {}
for layer, head in ((0, 2), (3, 1), (5, 7)):
    tensors = {k: v.double() for k, v in load_file(data / f"layer-{layer}.safetensors").items()}
    x = load_file(data / f"long-{layer}.safetensors")["x"].double()
    columns = slice(32 * head, 32 * head + 32)
    q, k = (
        x @ tensors[f"{part}.weight"][columns].T + tensors[f"{part}.bias"][columns]
        for part in ("q_proj", "k_proj")
    )
    p = (q @ k.T / 32**0.5).softmax(-1)
    spectra[f"{layer}.{head}"] = torch.linalg.svdvals(p).float()
save_file(spectra, here / "spectrum.safetensors")
