"""Writes reference.json: the pieces of some texts, as the tokenizers package cuts them with
tokenizer.json, and the logits that Transformers' Llama gives after them with the weights of
model.safetensors, in float64.

    pip install torch==2.15 transformers==5.24 safetensors
    python reference.py
"""

import json
import pathlib

import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

HERE = pathlib.Path(__file__).parent
TEXTS = [
    "Once upon a time there was a king who had three daughters.",
    "'Alas!' said the wolf; \"what shall I do?\"\n\nTHE WHITE CAT\nA king",
    "  two spaces,  and 1897 (or 17)!!\n \n",
    "antidisestablishmentarianism",
    "x",
]
torch.set_default_dtype(torch.float64)


def model():
    with safe_open(HERE / "model.safetensors", "pt") as file:
        shape = json.loads(file.metadata()["shape"])
        names = [name for name in file.keys() if not name.endswith(".scale")]
        weights = {}
        for name in names:
            weight = file.get_tensor(name).double()
            if weight.ndim == 2:
                weight = weight * file.get_tensor(f"{name}.scale").double()[:, None]
            weights[name] = weight
    config = LlamaConfig(
        vocab_size=shape["vocabulary"],
        hidden_size=shape["width"],
        intermediate_size=shape["hidden"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        rms_norm_eps=1e-6,
        rope_theta=shape["theta"],
        tie_word_embeddings=True,
    )
    llama = LlamaForCausalLM(config)
    missing, unexpected = llama.load_state_dict(weights, strict=False)
    assert missing == ["lm_head.weight"] and not unexpected, (missing, unexpected)
    return llama.eval()


def main():
    tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
    llama = model()
    found = []
    for text in TEXTS:
        pieces = tokenizer.encode(text).ids
        with torch.no_grad():
            logits = llama(torch.tensor([pieces])).logits[0, -1]
        logits = [round(logit, 5) for logit in logits.tolist()]
        found.append({"text": text, "pieces": pieces, "logits": logits})
    (HERE / "reference.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
