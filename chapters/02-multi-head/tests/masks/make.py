"""Makes the files beside this one: layers with masks under the names of PyTorch and Transformers, as these two have
them, and what they make of them.

    pip install torch transformers safetensors
    python chapters/02-multi-head/tests/masks/make.py

Each file can be given to `cargo run -p multi-head -- forward` as it stands, with the flags of its metadata; those for
`rotary` and `flash` go to the folders of these chapters.
"""

import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import BartConfig, LlamaConfig
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask
from transformers.models.bart.modeling_bart import BartAttention
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding

torch.manual_seed(20260711)
chapters = pathlib.Path(__file__).parents[3]
FOLDERS = {"multi-head": "02-multi-head", "rotary": "06-rotary", "flash": "09-flash"}
HEADS, WIDTH, BATCH, N, M = 3, 12, 2, 5, 7
INFINITY = float("-inf")

# true = a token, in the sense of Transformers' attention_mask; the second sequence is shorter.
TOKENS = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
CONTEXT_TOKENS = torch.tensor([[1, 1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0, 0]])


def save(name, program, flags, layer, **tensors):
    tensors |= {key: value for key, value in layer.items()}
    tensors = {key: value.detach().clone().contiguous() for key, value in tensors.items()}
    folder = chapters / FOLDERS[program] / "tests/masks"
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / f"{name}.safetensors", {"flags": flags})


def multihead(name, flags="", context=None, fed=None, **masks):
    """`torch.nn.MultiheadAttention` with its own names; `fed` are masks that only PyTorch is given."""
    wide = {} if context is None else {"kdim": context.shape[-1], "vdim": context.shape[-1]}
    layer = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, **wide)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    x = torch.randn(BATCH, N, WIDTH)
    seen = x if context is None else context
    y, weights = layer(x, seen, seen, average_attn_weights=False, **(masks | (fed or {})))
    more = {} if context is None else {"context": context}
    save(name, "multi-head", f"--heads {HEADS} {flags}", layer.state_dict(), x=x, y=y, attention_weights=weights,
         **more, **masks)


def bart(name, attention_mask, given, *, context=None, implementation="eager"):
    """`BartAttention`, whose names are those of Hugging Face, but for `out_proj`. Transformers makes its own mask of
    `attention_mask`; the file holds what `given` picks of the two."""
    config = BartConfig(d_model=WIDTH, encoder_attention_heads=HEADS, attn_implementation=implementation)
    layer = BartAttention(WIDTH, HEADS, config=config, layer_idx=0)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    x = torch.randn(BATCH, N, WIDTH)
    prepared = create_bidirectional_mask(config, x, attention_mask, encoder_hidden_states=context)
    y, weights = layer(x, key_value_states=context, attention_mask=prepared)[:2]
    more = {} if context is None else {"context": context}
    more |= {} if weights is None else {"attention_weights": weights}
    save(name, "multi-head", f"--heads {HEADS}", layer.state_dict(), x=x, y=y, **more, **given(attention_mask, prepared))


def llama(name, attention_mask, given, *, implementation="eager"):
    """`LlamaAttention`: what Transformers makes of a causal model's `attention_mask`. A query that may look at nothing
    finds zeros here; Transformers lets it find the mean of all values, which nobody reads."""
    config = LlamaConfig(hidden_size=16, num_attention_heads=4, num_key_value_heads=2, attention_bias=False,
                         attn_implementation=implementation)
    layer = LlamaAttention(config, layer_idx=0)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    x = torch.randn(BATCH, N, 16)
    positions = torch.arange(N)[None]
    prepared = create_causal_mask(config, x, attention_mask, cache=None, position_ids=positions)
    turns = LlamaRotaryEmbedding(config)(x, positions)
    y, weights = layer(x, position_embeddings=turns, attention_mask=prepared)
    may = torch.ones(N, N).tril()[None] * attention_mask[:, None, :]
    blind = may.sum(-1) == 0
    y = y.masked_fill(blind[:, :, None], 0)
    weights = weights.masked_fill(blind[:, None, :, None], 0)
    masks = given(attention_mask, prepared)
    causal = "" if any(mask.dim() == 4 for mask in masks.values()) else "--causal"
    save(name, "rotary", f"--heads 4 --kv-heads 2 {causal}", layer.state_dict(), x=x, y=y, attention_weights=weights,
         **masks)


def flash(name, attn_mask):
    q, k, v = torch.randn(4, N, 6), torch.randn(2, M, 6), torch.randn(2, M, 6)
    y = F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=attn_mask, enable_gqa=True)[0]
    save(name, "flash", "", {}, q=q, k=k, v=v, attn_mask=attn_mask, y=y)


def added(may):
    return torch.zeros(may.shape).masked_fill(~may.bool(), INFINITY)


with torch.no_grad():
    may = torch.rand(N, N) < 0.6
    may[:, 0] = True  # PyTorch gives NaN to a query that may look at nothing
    multihead("mha_plain")
    multihead("mha_key_padding_mask", key_padding_mask=TOKENS == 0)
    multihead("mha_key_padding_mask_added", key_padding_mask=added(TOKENS))
    multihead("mha_attn_mask_added", attn_mask=added(may))
    multihead("mha_both_added", attn_mask=added(may), key_padding_mask=added(TOKENS))
    multihead("mha_causal_padded", "--causal", key_padding_mask=TOKENS == 0,
              fed={"attn_mask": torch.ones(N, N).tril() == 0})
    multihead("mha_cross_padded", context=torch.randn(BATCH, M, 10), key_padding_mask=CONTEXT_TOKENS == 0)

    as_given = lambda given, _: {"attention_mask": given}
    as_prepared = lambda _, prepared: {"attention_mask": prepared}
    for dtype in (torch.int64, torch.int32, torch.bool, torch.float32):
        bart(f"bart_{str(dtype).split('.')[-1]}", TOKENS.to(dtype), as_given)
    bart("bart_prepared", TOKENS, as_prepared)
    bart("bart_prepared_for_sdpa", TOKENS, as_prepared, implementation="sdpa")
    bart("bart_cross", CONTEXT_TOKENS, lambda given, _: {"encoder_attention_mask": given},
         context=torch.randn(BATCH, M, WIDTH))

    llama("llama_padded_right", TOKENS, as_given)
    llama("llama_padded_left", TOKENS.flip(1), as_given)
    llama("llama_prepared", TOKENS, as_prepared)

    seen = torch.rand(N, M) < 0.6
    seen[:, 0] = True
    flash("sdpa_attn_mask", seen)
    flash("sdpa_attn_mask_added", added(seen))
