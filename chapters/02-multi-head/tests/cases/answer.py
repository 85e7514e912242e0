"""Puts into the files beside this one what `torch.nn.MultiheadAttention` makes of them, as `y` and
`attention_weights`, and the flags for this chapter's `forward`. The inputs are as they came, with names and masks of
PyTorch.

    pip install torch safetensors
    python chapters/02-multi-head/tests/cases/answer.py
"""

import pathlib

import torch
from safetensors.torch import load_file, save_file

here = pathlib.Path(__file__).parent
HEADS = 3

# A boolean attn_mask has no answer: it means opposite things to PyTorch's two functions.
for name in ("f1b-inprojbias-left", "f2-key_padding_mask"):
    path = here / f"{name}.safetensors"
    tensors = load_file(path)
    width = tensors["q_proj.weight"].shape[1]
    layer = torch.nn.MultiheadAttention(width, HEADS, batch_first=True)
    projections = ["q_proj", "k_proj", "v_proj"]
    bias = tensors.get("in_proj_bias")
    if bias is None:
        bias = torch.cat([tensors[f"{name}.bias"] for name in projections])
    state = {
        "in_proj_weight": torch.cat([tensors[f"{name}.weight"] for name in projections]),
        "in_proj_bias": bias,
        "out_proj.weight": tensors["o_proj.weight"],
        "out_proj.bias": tensors.get("o_proj.bias", torch.zeros(width)),
    }
    layer.load_state_dict(state)
    x = tensors["x"]
    with torch.no_grad():
        y, weights = layer(
            x, x, x, key_padding_mask=tensors.get("key_padding_mask"), average_attn_weights=False
        )
    save_file(tensors | {"y": y.contiguous(), "attention_weights": weights.contiguous()}, path, {"flags": f"--heads {HEADS}"})
