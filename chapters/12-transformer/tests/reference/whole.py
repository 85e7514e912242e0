"""What Transformers makes of the whole of SmolLM2, for tests that are run where there is one: tests/it/whole.rs.

    pip install torch transformers gguf accelerate
    python chapters/12-transformer/tests/reference/whole.py FILE.gguf

Writes whole.json: ten prompts with the hundred tokens that follow, greedily; and of texts of several lengths some
of the logits, those of the middle and of the last token.
"""

import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = pathlib.Path(__file__).parent
LENGTHS = [1, 2, 17, 300, 1000]
# Every so many of the 49,152 logits.
STEP = 769
PROMPTS = [
    "The capital of France is",
    "The animal did not cross the street because it was too tired.",
    "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):",
    "Water boils at 100 degrees because",
    "1, 1, 2, 3, 5, 8,",
    "Dear Sir or Madam,",
    "Der Himmel ist blau, weil",
    "The three laws of motion are",
    "🙂 means",
]


@torch.inference_mode()
def main(gguf):
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    written = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        out = model(ids, use_cache=True)
        greedy = []
        for _ in range(100):
            following = out.logits[:, -1].argmax(-1, keepdim=True)
            greedy.append(following.item())
            out = model(following, past_key_values=out.past_key_values, use_cache=True)
        written.append({"prompt": prompt, "greedy": greedy})
    text = (HERE.parents[2] / "data/alice.txt").read_text()
    ids = tokenizer(text)["input_ids"]
    logits = []
    for length in LENGTHS:
        found = model(torch.tensor([ids[:length]])).logits[0]
        rows = {str(row): [round(x, 5) for x in found[row, ::STEP].tolist()] for row in {length // 2, length - 1}}
        logits.append({"tokens": length, "largest": found.abs().max().item(), "rows": rows})
    all = {"step": STEP, "written": written, "logits": logits}
    (HERE / "whole.json").write_text(json.dumps(all, ensure_ascii=False) + "\n")


main(pathlib.Path(sys.argv[1]).resolve())
