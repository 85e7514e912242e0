"""Small files for the tests of checkpoint, written by the packages that define them.

    pip install gguf==0.17.1 numpy safetensors tokenizers transformers
    python files.py

* blocks.gguf has a tensor of each format, and blocks.safetensors what `gguf` makes of it
* tiny/ is a Llama of one layer as Hugging Face stores it, and tiny.gguf the same as
  llama.cpp stores it: q and k permuted, other names, metadata in place of config.json
* tiny/tokenizer.json is a vocabulary of bytes that was merged on a few sentences, and
  ids.json what Transformers makes of hostile texts with it
"""

import json
import unicodedata
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFWriter, TokenType, quants
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).parent
random = np.random.default_rng(16)


def small(*shape):
    """Numbers that F16 and BF16 hold exactly, so that every format has the same."""
    return (random.integers(-64, 65, shape) / 64).astype(np.float32)


# --- one tensor of each format ------------------------------------------------------

WIDTH = 512
written = GGUFWriter(HERE / "blocks.gguf", "none")
expected = {}
for kind in ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]:
    kind = Kind[kind]
    numbers = random.standard_normal((2, WIDTH)).astype(np.float32)
    stored = quants.quantize(numbers, kind)
    written.add_tensor(kind.name, stored, raw_dtype=kind)
    expected[kind.name] = quants.dequantize(stored, kind).reshape(2, WIDTH)
# The package can read these and not write them: any bytes are blocks, if only the scales
# are numbers.
for kind, scales in [("Q4_K", [0, 2]), ("Q5_K", [0, 2]), ("Q6_K", [208])]:
    kind = Kind[kind]
    size = {"Q4_K": 144, "Q5_K": 176, "Q6_K": 210}[kind.name]
    blocks = random.integers(0, 256, (2, WIDTH // 256, size), dtype=np.uint8)
    for at in scales:
        scale = random.standard_normal((2, WIDTH // 256, 1)).astype(np.float16)
        blocks[:, :, at : at + 2] = scale.view(np.uint8)
    stored = blocks.reshape(2, -1)
    written.add_tensor(kind.name, stored, raw_dtype=kind)
    expected[kind.name] = quants.dequantize(stored, kind).reshape(2, WIDTH)
written.write_header_to_file()
written.write_kv_data_to_file()
written.write_tensors_to_file()
written.close()
save_file(expected, HERE / "blocks.safetensors")

# --- a vocabulary -------------------------------------------------------------------

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SENTENCES = [
    "The animal did not cross the street because it was too tired.",
    "The trophy did not fit into the suitcase because it was too big.",
    "It's 1234567 o'clock, and we're late; they'll wait, won't they?",
    "naïve café, Größe, 東京, Привет мир, 👩‍👩‍👧 and 🇫🇷",
]
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]
)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.train_from_iterator(
    SENTENCES * 4,
    trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    ),
)
(HERE / "tiny").mkdir(exist_ok=True)
tokenizer.save(str(HERE / "tiny/tokenizer.json"), pretty=False)
described = json.loads((HERE / "tiny/tokenizer.json").read_text())
vocab = described["model"]["vocab"]
tokens = sorted(vocab, key=vocab.get)
merges = [" ".join(merge) for merge in described["model"]["merges"]]
CHAT = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by "
    "Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
(HERE / "tiny/tokenizer_config.json").write_text(
    json.dumps({"bos_token": SPECIAL[1], "eos_token": SPECIAL[2], "chat_template": CHAT})
)

TEXTS = {
    "nothing": "",
    "a sentence": SENTENCES[0],
    "emoji": "👩‍👩‍👧‍👦 👍🏽 🇫🇷🇩🇪 ❤️‍🔥",
    "combining marks": unicodedata.normalize("NFD", "naïve café Größe") + "é́́",
    "zalgo": "Z̷̢̛a̶͝l̸̛g̵o̷",
    "null bytes": "a\0b\0\0 \0",
    "control": "a\tb\r\n\n\n  c\x1b[31m\x7f\u200b\u2028\ufeff",
    "spaces": "   leading,   several   and trailing   ",
    "digits": "  1234567 3.14159 1e-5 ٣٤٥ ①②",
    "special tokens": "<|im_start|>user\nHi<|im_end|><|endoftext|>x<|im_end",
    "apostrophes": "It's WE'RE they'LL o'clock '' 's",
    "scripts": "Привет 東京都 שלום مرحبا नमस्ते 한국어",
    "private use": "\ue000\U000f0000\U0010ffff",
    "not a character": "\ufffd\ufffe\uffff",
    "mathematics": "𝒜𝔅ℂ √2≠½ x²",
    "one long word": "animal" * 2000,
    "one letter": "a" * 5000,
    "no space": "".join(SENTENCES[3].split()) * 100,
}
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=SPECIAL[2])
ids = {name: fast(text, add_special_tokens=False)["input_ids"] for name, text in TEXTS.items()}
million = ("animal" + "".join(SENTENCES[2].split())) * 20_000
million = million[:1_000_000]
of_million = fast(million, add_special_tokens=False)["input_ids"]
messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
chats = {
    str(prompt): fast.apply_chat_template(
        messages[: 1 if prompt else 2],
        chat_template=CHAT,
        tokenize=False,
        add_generation_prompt=prompt,
    )
    for prompt in [True, False]
}
(HERE / "ids.json").write_text(
    json.dumps(
        {
            "texts": [{"name": k, "text": v, "ids": ids[k]} for k, v in TEXTS.items()],
            "million": {"tokens": len(of_million), "sum": sum(of_million), "last": of_million[-3:]},
            "chats": chats,
        }
    )
)

# --- a llama of one layer -----------------------------------------------------------

D, HEADS, KV, HEAD, INNER = 8, 2, 1, 4, 12
layer = "model.layers.0."
weights = {
    "model.embed_tokens.weight": small(len(tokens), D),
    "model.norm.weight": small(D),
    layer + "input_layernorm.weight": small(D),
    layer + "post_attention_layernorm.weight": small(D),
    layer + "self_attn.q_proj.weight": small(HEADS * HEAD, D),
    layer + "self_attn.k_proj.weight": small(KV * HEAD, D),
    layer + "self_attn.v_proj.weight": small(KV * HEAD, D),
    layer + "self_attn.o_proj.weight": small(D, HEADS * HEAD),
    layer + "self_attn.q_proj.bias": small(HEADS * HEAD),
    layer + "self_attn.k_proj.bias": small(KV * HEAD),
    layer + "self_attn.v_proj.bias": small(KV * HEAD),
    layer + "self_attn.o_proj.bias": small(D),
    layer + "mlp.gate_proj.weight": small(INNER, D),
    layer + "mlp.up_proj.weight": small(INNER, D),
    layer + "mlp.down_proj.weight": small(D, INNER),
}
save_file(weights, HERE / "tiny/model.safetensors", metadata={"format": "pt"})
(HERE / "tiny/config.json").write_text(
    json.dumps(
        {
            "model_type": "llama",
            "hidden_size": D,
            "intermediate_size": INNER,
            "num_hidden_layers": 1,
            "num_attention_heads": HEADS,
            "num_key_value_heads": KV,
            "head_dim": HEAD,
            "vocab_size": len(tokens),
            "max_position_embeddings": 64,
            "rms_norm_eps": 1e-5,
            "rope_theta": 100000.0,
            "attention_bias": True,
            "mlp_bias": False,
            "tie_word_embeddings": True,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
    )
)


def permute(weights, heads):
    """`LlamaModel.permute` of llama.cpp's convert_hf_to_gguf.py."""
    return (
        weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
        .swapaxes(1, 2)
        .reshape(weights.shape)
    )


NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    layer + "input_layernorm": "blk.0.attn_norm",
    layer + "post_attention_layernorm": "blk.0.ffn_norm",
    layer + "self_attn.q_proj": "blk.0.attn_q",
    layer + "self_attn.k_proj": "blk.0.attn_k",
    layer + "self_attn.v_proj": "blk.0.attn_v",
    layer + "self_attn.o_proj": "blk.0.attn_output",
    layer + "mlp.gate_proj": "blk.0.ffn_gate",
    layer + "mlp.up_proj": "blk.0.ffn_up",
    layer + "mlp.down_proj": "blk.0.ffn_down",
}
written = GGUFWriter(HERE / "tiny.gguf", "llama")
written.add_context_length(64)
written.add_embedding_length(D)
written.add_block_count(1)
written.add_feed_forward_length(INNER)
written.add_head_count(HEADS)
written.add_head_count_kv(KV)
written.add_layer_norm_rms_eps(1e-5)
written.add_rope_dimension_count(HEAD)
written.add_rope_freq_base(100000.0)
written.add_vocab_size(len(tokens))
written.add_tokenizer_model("gpt2")
written.add_tokenizer_pre("smollm")
written.add_token_list(tokens)
written.add_token_types(
    [TokenType.CONTROL if token in SPECIAL else TokenType.NORMAL for token in tokens]
)
written.add_token_merges(merges)
written.add_bos_token_id(1)
written.add_eos_token_id(2)
written.add_add_bos_token(False)
written.add_chat_template(CHAT)
for name, numbers in weights.items():
    module, part = name.rsplit(".", 1)
    heads = {"q_proj": HEADS, "k_proj": KV}.get(module.rsplit(".", 1)[-1])
    stored = permute(numbers, heads) if heads else numbers
    written.add_tensor(f"{NAMES[module]}.{part}", np.ascontiguousarray(stored))
written.write_header_to_file()
written.write_kv_data_to_file()
written.write_tensors_to_file()
written.close()
