"""Times `generate` beside Transformers in PyTorch, and beside candle where there is one, in f32 and on the same
cores, taking turns.

    pip install torch transformers gguf accelerate
    export TRANSFORMER_MODEL=FILE.gguf
    python chapters/12-transformer/benches/beside_pytorch.py             print the times
    python chapters/12-transformer/benches/beside_pytorch.py --record    and keep them

With --candle, `benches/candle` is compiled first: it is a package of its own, of which nothing else knows.
`decode` is milliseconds per token after a short prompt, `prompt` those of 512 tokens at once.
"""

import os
import pathlib
import re
import subprocess
import sys
import time

if "TRANSFORMER_MODEL" not in os.environ:
    sys.exit("TRANSFORMER_MODEL names no model: nothing is timed beside PyTorch")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.append(str(pathlib.Path(__file__).parents[3] / "book/chapter-cli/python"))
from beside import Beside

PROMPT, WRITTEN, LONG = "The capital of France is", 40, 512

beside = Beside(__file__, "transformer")
gguf = pathlib.Path(os.environ["TRANSFORMER_MODEL"]).resolve()
model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)


def ids(prompt):
    return tokenizer(prompt)["input_ids"]


def ours(prompt, tokens):
    command = [beside.program, "generate", "--model", gguf, "--prompt", prompt, "--tokens", str(tokens)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    reading = float(re.search(r"tokens of prompt in ([\d.]+) s", said)[1]) * 1e3
    writing = re.search(r"([\d.]+) per second", said)
    return reading, 1e3 / float(writing[1]) if writing else None


@torch.inference_mode()
def transformers(prompt, tokens):
    start = time.perf_counter()
    out = model(torch.tensor([ids(prompt)]), use_cache=True, logits_to_keep=1)
    following = out.logits[:, -1].argmax(-1, keepdim=True)
    reading = (time.perf_counter() - start) * 1e3
    start = time.perf_counter()
    for _ in range(tokens - 1):
        out = model(following, past_key_values=out.past_key_values, use_cache=True)
        following = out.logits[:, -1].argmax(-1, keepdim=True)
    writing = (time.perf_counter() - start) * 1e3
    return reading, writing / max(tokens - 1, 1)


class Candle:
    """A process of its own, which keeps the model."""

    def __init__(self, folder):
        package = pathlib.Path(__file__).parent / "candle"
        model.save_pretrained(folder)
        subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=package, check=True)
        command = [package / "target/release/beside-candle", folder]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, prompt, tokens):
        print(tokens, *ids(prompt), file=self.process.stdin, flush=True)
        return tuple(float(time) for time in self.process.stdout.readline().split())


others = {"transformers": transformers}
if "--candle" in sys.argv:
    others["candle"] = Candle(pathlib.Path(beside.folder.name) / "model")
words = (pathlib.Path(__file__).parents[3] / "chapters/data/alice.txt").read_text()
long = tokenizer.decode(ids(words)[:LONG])
for part, case, n, prompt, tokens in [(1, "decode", 1, PROMPT, WRITTEN), (0, "prompt", LONG, long, 1)]:
    sides = {case: ours} | {f"{case} {name}": side for name, side in others.items()}
    beside.take_turns(n, {name: lambda side=side: side(prompt, tokens)[part] for name, side in sides.items()})
beside.finish()
