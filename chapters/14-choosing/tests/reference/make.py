"""Writes configurations and what Transformers makes of them, for tests/it/reference.rs.

    python3 make.py

Each model is built without memory for its weights (on PyTorch's `meta` device): the
parameters are those of its modules, and the cache is the one that it returns for a
sequence of TOKENS tokens. Made with PyTorch 2.15 and Transformers 5.23.
"""

import json
import random
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

HERE = Path(__file__).parent
TOKENS = 24


def ask(config):
    text = getattr(config, "text_config", config)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(text)
        tokens = torch.zeros(1, TOKENS, dtype=torch.long)
        cache = model(tokens, use_cache=True).past_key_values
    # Sliding layers keep one token less than they show to a query, and DeepSeek's layers
    # keep what they have expanded: both are counted from the shapes instead.
    full = [
        layer.keys.numel() + layer.values.numel()
        for layer in cache.layers
        if not getattr(layer, "is_sliding", False)
    ]
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "full_layers": len(full),
        "cached_in_full_layers": sum(full),
    }


def random_config(kind, rng):
    heads = rng.choice([2, 4, 6])
    kv_heads = rng.choice([g for g in range(1, heads + 1) if heads % g == 0])
    head_dim = rng.choice([4, 8, 16])
    layers = rng.randint(1, 7)
    # The product of experts wants rows of whole 16 bytes.
    moe = kind in ("mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v2", "deepseek_v3")
    common = {
        "hidden_size": heads * rng.choice([4, 8, 12]) * (4 if moe else 1),
        "intermediate_size": 8 * rng.randint(1, 7) if moe else rng.randint(5, 60),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": rng.randint(10, 90),
        "tie_word_embeddings": rng.random() < 0.5,
    }
    if kind.startswith("deepseek"):
        experts = rng.choice([4, 8])
        common |= {
            "num_key_value_heads": heads,
            "q_lora_rank": rng.choice([None, 6, 10]),
            "kv_lora_rank": 2 * rng.randint(2, 10),
            "qk_nope_head_dim": rng.choice([4, 6]),
            "qk_rope_head_dim": rng.choice([2, 4]),
            "v_head_dim": rng.choice([4, 6, 10]),
            "n_routed_experts": experts,
            "n_shared_experts": rng.randint(1, 2),
            "num_experts_per_tok": rng.randint(1, 3),
            "moe_intermediate_size": 8 * rng.randint(1, 3),
            "first_k_dense_replace": rng.randint(0, layers),
            "n_group": 1,
            "topk_group": 1,
            "attention_bias": rng.random() < 0.5,
        }
        if kind == "deepseek_v3" and common["q_lora_rank"] is None:
            common["q_lora_rank"] = 6
    else:
        common["head_dim"] = head_dim
    if kind in ("llama", "gemma", "gemma2", "gemma3_text", "qwen3", "qwen3_moe"):
        common["attention_bias"] = rng.random() < 0.5
    if kind == "llama":
        common["mlp_bias"] = rng.random() < 0.5
    if kind in ("mistral", "mixtral", "gemma2", "gemma3_text"):
        common["sliding_window"] = rng.choice([5, 9, 4096])
    if kind in ("qwen2", "qwen3"):
        common |= {"use_sliding_window": rng.random() < 0.5, "sliding_window": 7,
                   "max_window_layers": rng.randint(0, layers)}
    if kind == "mixtral":
        common |= {"num_local_experts": 4, "num_experts_per_tok": 2}
    if kind in ("qwen2_moe", "qwen3_moe"):
        common |= {
            "num_experts": 6,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 8 * rng.randint(1, 3),
            "decoder_sparse_step": rng.choice([1, 2]),
            "mlp_only_layers": [0] if rng.random() < 0.5 else [],
        }
    if kind == "qwen2_moe":
        del common["head_dim"]
        common["shared_expert_intermediate_size"] = rng.randint(3, 12)
    if kind == "qwen2":
        del common["head_dim"]
    return common


def main():
    rng = random.Random(10)
    kinds = ["llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe",
             "gemma", "gemma2", "gemma3_text", "deepseek_v2", "deepseek_v3"]
    found = []
    for kind in kinds:
        for _ in range(4):
            config = AutoConfig.for_model(kind, **random_config(kind, rng))
            written = json.loads(config.to_json_string(use_diff=True))
            found.append({"config": written, **ask(config)})
    for file in sorted((HERE / "../../src/configs").glob("*.json")):
        keys = json.loads(file.read_text())
        kind = keys.pop("model_type")
        found.append({"file": file.name, **ask(AutoConfig.for_model(kind, **keys))})
    lines = ",\n".join(json.dumps(one, sort_keys=True) for one in found)
    (HERE / "transformers.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
