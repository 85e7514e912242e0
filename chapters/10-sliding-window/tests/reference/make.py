"""Makes the reference tensors beside this file: layers and inputs, and what Transformers makes of them.

    pip install torch transformers safetensors
    python chapters/10-sliding-window/tests/reference/make.py

Each file is the attention of a layer of MistralModel, which makes the mask of the window itself: what enters the
attention is `x`, what leaves it `y`. `stepwise` went through its cache in chunks, so that the cache forgot. Each file
can be given to `cargo run -p sliding-window -- forward` as it stands; its metadata says with which flags. Made with
PyTorch 2.15 and Transformers 5.24.
"""

import pathlib

import torch
from safetensors.torch import save_file
from transformers import DynamicCache, MistralConfig, MistralModel

torch.manual_seed(20231010)
here = pathlib.Path(__file__).parent


def make(name, n, d, heads, kv_heads, head_dim, window, *, theta=10_000.0, chunks=None):
    config = MistralConfig(
        vocab_size=50, hidden_size=d, intermediate_size=8, num_hidden_layers=1, num_attention_heads=heads,
        num_key_value_heads=kv_heads, head_dim=head_dim, sliding_window=window, max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": theta}, attn_implementation="eager",
    )
    model = MistralModel(config).eval()
    attention = model.layers[0].self_attn
    for weight in [model.embed_tokens.weight, *attention.parameters()]:
        torch.nn.init.normal_(weight, std=1.5 / weight.shape[-1] ** 0.5 if weight.shape[0] != 50 else 1.0)
    seen = {"x": [], "y": [], "w": []}
    attention.register_forward_pre_hook(lambda m, a, k: seen["x"].append(k["hidden_states"][0]), with_kwargs=True)

    def leaving(module, args, output):
        seen["y"].append(output[0][0])
        seen["w"].append(output[1][0])

    attention.register_forward_hook(leaving)
    tokens = torch.randint(0, 50, (1, n))
    cache = DynamicCache(config=config)
    for part in tokens.split(chunks or [n], dim=1):
        model(part, cache=cache, use_cache=True)

    tensors = {f"{proj}.weight": getattr(attention, proj).weight for proj in ("q_proj", "k_proj", "v_proj", "o_proj")}
    tensors |= {"x": torch.cat(seen["x"]), "y": torch.cat(seen["y"])}
    if chunks is None and n < 100:
        tensors["attention_weights"] = seen["w"][0]
    flags = f"--heads {heads} --kv-heads {kv_heads} --window {window} --rope-theta {theta}"
    tensors = {key: value.detach().contiguous() for key, value in tensors.items()}
    save_file(tensors, here / f"{name}.safetensors", {"flags": flags})


with torch.no_grad():
    make("four", 13, 16, 8, 2, 4, 4)
    make("one", 6, 12, 3, 3, 2, 1)
    make("two", 9, 12, 4, 1, 6, 2, theta=500_000.0)
    make("wider_than_the_text", 7, 12, 4, 2, 10, 64)
    make("as_wide_as_the_text", 9, 12, 4, 2, 10, 9)
    make("long", 300, 8, 4, 2, 8, 37)
    make("stepwise", 20, 12, 4, 2, 6, 5, chunks=[1] * 20)
    make("in_chunks", 30, 12, 4, 2, 6, 5, chunks=[7, 1, 1, 9, 3, 1, 8])
