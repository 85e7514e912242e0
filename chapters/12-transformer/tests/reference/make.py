"""Makes the models beside this file, and what Transformers makes of them.

    pip install torch transformers safetensors
    python chapters/12-transformer/tests/reference/make.py

Each folder is a model as Hugging Face keeps it, random and tiny: config.json and model.safetensors.
`expected.safetensors` holds `tokens` and, for a decoder, `logits` [n, vocab] and `greedy`, the tokens
that follow; for an encoder `hidden` [n, d] and `pooled` [d], the mean of its rows at length 1, as
sentence-transformers pools them.
"""

import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

here = pathlib.Path(__file__).parent
torch.manual_seed(20231006)

SIZES = {
    "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 61, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
}


def stir(model):
    """Weights as large as those of a trained model, and gains that are not one."""
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            if parameter.ndim == 1 and name.endswith("weight"):
                parameter.copy_(1 + 0.3 * torch.randn_like(parameter))
            elif parameter.ndim == 1:
                parameter.normal_(std=0.3)
            else:
                parameter.normal_(std=1.5 / parameter.shape[-1] ** 0.5)


def keep(name, model, expected):
    folder = here / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    config = json.loads((folder / "config.json").read_text())
    config.pop("transformers_version", None)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file({k: v.contiguous() for k, v in expected.items()}, folder / "expected.safetensors")
    print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters")


def decoder(name, family, kind, n, **changes):
    model = family(kind(**{**SIZES, **changes}, attn_implementation="eager")).eval()
    stir(model)
    tokens = torch.randint(0, SIZES["vocab_size"], (1, n))
    with torch.no_grad():
        logits = model(tokens).logits[0]
        text = tokens
        for _ in range(8):
            following = model(text).logits[0, -1].argmax()
            text = torch.cat([text, following.reshape(1, 1)], 1)
    keep(name, model, {"tokens": tokens[0].int(), "logits": logits, "greedy": text[0, n:].int()})


def encoder(name, n):
    config = BertConfig(
        hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, vocab_size=61,
        max_position_embeddings=40, attn_implementation="eager",
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    stir(model)
    tokens = torch.randint(0, 61, (1, n))
    with torch.no_grad():
        hidden = model(tokens).last_hidden_state[0]
    pooled = torch.nn.functional.normalize(hidden.mean(0), dim=0)
    keep(name, model, {"tokens": tokens[0].int(), "hidden": hidden, "pooled": pooled})


LLAMA_3 = {
    "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 16,
}
decoder("tied", LlamaForCausalLM, LlamaConfig, 21, tie_word_embeddings=True)
decoder("untied", LlamaForCausalLM, LlamaConfig, 13, tie_word_embeddings=False)
decoder("biased", LlamaForCausalLM, LlamaConfig, 13, attention_bias=True, mlp_bias=True)
decoder("scaled", LlamaForCausalLM, LlamaConfig, 60, rope_parameters=LLAMA_3)
decoder("one-token", LlamaForCausalLM, LlamaConfig, 1, tie_word_embeddings=True)
decoder("wide-heads", LlamaForCausalLM, LlamaConfig, 9, head_dim=12, num_key_value_heads=1)
decoder("mistral", MistralForCausalLM, MistralConfig, 13, sliding_window=None)
decoder("qwen2", Qwen2ForCausalLM, Qwen2Config, 13)
encoder("bert", 17)
