"""Times `generate` beside Transformers in PyTorch, both in f32 and on the same cores, taking turns.

    pip install torch transformers gguf accelerate
    python chapters/11-transformer/benches/beside_transformers.py FILE.gguf             print the times
    python chapters/11-transformer/benches/beside_transformers.py FILE.gguf --record    and keep them

`decode` is milliseconds per token after a short prompt, `prompt` those of 512 tokens at once.
"""

import pathlib
import re
import subprocess
import sys
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.append(str(pathlib.Path(__file__).parents[3] / "book/chapter-cli/python"))
from beside import Beside

PROMPT, WRITTEN, LONG = "The capital of France is", 40, 512

beside = Beside(__file__, "transformer")
gguf = pathlib.Path(sys.argv[1]).resolve()
model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)


def ours(prompt, tokens):
    command = [beside.program, "generate", "--model", gguf, "--prompt", prompt, "--tokens", str(tokens)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    reading = float(re.search(r"tokens of prompt in ([\d.]+) s", said)[1]) * 1e3
    writing = re.search(r"([\d.]+) per second", said)
    return reading, 1e3 / float(writing[1]) if writing else None


@torch.inference_mode()
def theirs(prompt, tokens):
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    start = time.perf_counter()
    out = model(ids, use_cache=True, logits_to_keep=1)
    reading = (time.perf_counter() - start) * 1e3
    following = out.logits[:, -1].argmax(-1, keepdim=True)
    start = time.perf_counter()
    for _ in range(tokens - 1):
        out = model(following, past_key_values=out.past_key_values, use_cache=True)
        following = out.logits[:, -1].argmax(-1, keepdim=True)
    writing = (time.perf_counter() - start) * 1e3
    return reading, writing / max(tokens - 1, 1)


words = (pathlib.Path(__file__).parents[3] / "chapters/data/alice.txt").read_text()
long = tokenizer.decode(tokenizer(words)["input_ids"][:LONG])
beside.take_turns(1, {"decode": lambda: ours(PROMPT, WRITTEN)[1],
                      "decode, transformers": lambda: theirs(PROMPT, WRITTEN)[1]})
beside.take_turns(LONG, {"prompt": lambda: ours(long, 1)[0],
                         "prompt, transformers": lambda: theirs(long, 1)[0]})
beside.finish()
