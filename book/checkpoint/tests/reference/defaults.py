"""Writes src/defaults.json: what Transformers' configuration classes fill in.

    python3 defaults.py

Made with Transformers 5.24. A key that a config.json leaves out has the value of its
class; the values that a class works out afterwards (`__post_init__`) are Rust.
"""

import dataclasses
import json
from pathlib import Path

import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

HERE = Path(__file__).parent

KINDS = [
    "llama", "mistral", "ministral", "mixtral", "qwen2", "qwen2_moe", "qwen2_vl_text",
    "qwen2_5_vl_text", "qwen3", "qwen3_moe", "gemma", "gemma2", "gemma3_text", "phi3",
    "gpt_oss", "olmo2", "glm4", "stablelm", "smollm3", "granite", "deepseek_v2",
    "deepseek_v3", "minicpm3", "bert", "gpt2", "cohere", "cohere2", "glm", "glm4_moe", "olmo",
    "olmo3", "starcoder2", "exaone4", "phi", "gpt_neox", "falcon", "ministral3", "mistral4",
    "kimi_k2",
]

# Kimi's own class is a copy of this one.
CLASSES = {"kimi_k2": "deepseek_v3"}

FLAT = ["qwen2_vl", "qwen2_5_vl"]

# Fields that no size and no number of a layer depends on.
UNREAD = {
    "architectures", "attention_dropout", "attention_probs_dropout_prob", "attn_pdrop",
    "bos_token_id", "chunk_size_feed_forward", "classifier_dropout", "dtype",
    "embd_pdrop", "eos_token_id", "hidden_dropout", "hidden_dropout_prob", "id2label",
    "initializer_range", "is_encoder_decoder", "label2id", "output_hidden_states",
    "output_router_logits", "pad_token_id", "pretraining_tp", "problem_type",
    "reorder_and_upcast_attn", "resid_pdrop", "return_dict", "router_aux_loss_coef",
    "router_jitter_noise", "transformers_version", "use_cache",
}


def plain(value):
    """A number, text or list as it is; a class as nothing."""
    return value if isinstance(value, (int, float, str, list, type(None))) else None


def kind(name):
    config = CONFIG_MAPPING[CLASSES.get(name, name)]
    fields = {
        field.name: plain(field.default)
        for field in dataclasses.fields(config)
        if field.name not in UNREAD and not field.name.startswith("summary_")
    }
    theta = config.default_theta
    if isinstance(theta, dict):
        theta = {"full_attention": theta["global"], "sliding_attention": theta["local"]}
    return {"fields": fields, "also_named": config.attribute_map, "rope_theta": theta}


def wrappers():
    """Models of text and more, whose text is a model of a kind above."""
    found = {}
    for name in CONFIG_MAPPING.keys():
        config = CONFIG_MAPPING[name]
        part = (config.sub_configs_defaults or {}).get("text_config")
        if part is None or part.model_type not in KINDS:
            continue
        ties = [f.default for f in dataclasses.fields(config) if f.name == "tie_word_embeddings"]
        found[name] = {
            "text": part.model_type,
            # Whether the class is given, whatever `model_type` the text has.
            "always": part.config_class.__name__ != "AutoConfig",
            "tie_word_embeddings": bool(ties and ties[0]),
            # Old files of these have the keys of the text beside the others.
            "flat": name in FLAT,
            # What the text is if the file says nothing about it.
            "without": {key: value for key, value in part.init_kwargs.items() if key not in UNREAD},
        }
    return found


def main():
    kinds = {name: kind(name) for name in KINDS}
    text = {
        "transformers": transformers.__version__,
        "kinds": kinds,
        "wrappers": wrappers(),
    }
    written = json.dumps(text, indent=1)
    (HERE / "../../src/defaults.json").write_text(written + "\n")


if __name__ == "__main__":
    main()
