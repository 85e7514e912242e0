"""Writes rotations.json: rotations of random configurations, as Transformers computes them.

    pip install torch transformers
    python chapters/06-rotary/tests/reference/rotations.py

Every kind of ROPE_INIT_FUNCTIONS, in models that rotate whole heads, a part of them, or the rotary
part of a latent, in halves and between neighbors. `frequencies` are those of texts of several
lengths, within what the model was trained on and beyond; `q` is what becomes of one head of ones
at position 5 of the longest. Made with PyTorch 2.15 and Transformers 5.24.
"""

import json
import pathlib
import random

import torch
from transformers import AutoConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3RotaryEmbedding
from transformers.models.glm4 import modeling_glm4
from transformers.models.llama import modeling_llama
from transformers.models.phi3 import modeling_phi3

here = pathlib.Path(__file__).parent
draw = random.Random(20230831)

# The kinds of models, their tables of angles, and how they turn.
MODELS = {
    "llama": (modeling_llama.LlamaRotaryEmbedding, modeling_llama.apply_rotary_pos_emb),
    "phi3": (modeling_phi3.Phi3RotaryEmbedding, modeling_phi3.apply_rotary_pos_emb),
    "glm4": (modeling_glm4.Glm4RotaryEmbedding, modeling_glm4.apply_rotary_pos_emb),
    "deepseek_v3": (DeepseekV3RotaryEmbedding, None),
}


def number(low, high):
    return round(draw.uniform(low, high), 3)


def scaling(kind, pairs):
    trained = draw.choice([16, 64, 500, 4096])
    found = {"rope_type": kind, "factor": number(1, 40)}
    if kind == "llama3":
        low = number(0.5, 3)
        found |= {"low_freq_factor": low, "high_freq_factor": low + number(0.5, 4),
                  "original_max_position_embeddings": trained}
    elif kind == "yarn":
        found |= {"original_max_position_embeddings": trained}
        for key, value in [("beta_fast", number(8, 40)), ("beta_slow", number(0.5, 4)),
                           ("truncate", False), ("attention_factor", number(0.5, 2)),
                           ("mscale", number(0.3, 1.2)), ("mscale_all_dim", number(0.3, 1.2))]:
            if draw.random() < 0.4:
                found[key] = value
    elif kind == "longrope":
        found |= {"original_max_position_embeddings": trained,
                  "short_factor": sorted(number(1, 3) for _ in range(pairs)),
                  "long_factor": sorted(number(2, 60) for _ in range(pairs))}
        if draw.random() < 0.5:
            del found["factor"]
        if draw.random() < 0.3:
            found["attention_factor"] = number(0.8, 1.5)
    elif kind == "proportional":
        found["partial_rotary_factor"] = draw.choice([0.25, 0.5, 0.6, 1.0])
    return found


def case(model, kind):
    width = draw.choice([8, 16, 24, 48])
    share = draw.choice([0.5, 0.75, 1.0]) if model in ("phi3", "glm4") else 1.0
    if kind == "proportional":
        share = 1.0
    rotated = int(width * share)
    keys = {"hidden_size": 4 * width, "num_attention_heads": 4, "num_key_value_heads": 4,
            "num_hidden_layers": 1, "max_position_embeddings": draw.choice([16, 64, 500, 4096]),
            "rope_theta": draw.choice([50.0, 10000.0, 500000.0, 1e6]), "pad_token_id": None}
    if model == "deepseek_v3":
        keys["qk_rope_head_dim"] = width
    elif model != "phi3":
        keys["head_dim"] = width
    if model in ("phi3", "glm4"):
        keys["partial_rotary_factor"] = share
    if model == "phi3" and kind == "longrope":
        keys["original_max_position_embeddings"] = draw.choice([16, 64])
    if kind != "default":
        keys["rope_scaling"] = scaling(kind, rotated // 2)
    written = json.loads(json.dumps(keys))
    config = AutoConfig.for_model(model, **json.loads(json.dumps(keys)))
    table, turn = MODELS[model]
    lengths = sorted({6, 17, 65, 501, 5000})
    frequencies, x = {}, torch.ones(1, 1, 1, width)
    for length in lengths:
        rotary = table(config)
        cos, sin = rotary(x, torch.tensor([[5, length - 1]]))
        frequencies[length] = [float(f"{one:.8g}") for one in rotary.inv_freq.tolist()]
    found = {"config": {"model_type": model, **written}, "head_dim": width, "frequencies": frequencies,
             "amplitude": rotary.attention_scaling}
    if turn is not None:
        q, _ = turn(x, x, cos[:, :1], sin[:, :1])
        found["q"] = [float(f"{one:.7g}") for one in q.flatten().tolist()]
    return found


def main():
    kinds = ["default", "linear", "dynamic", "llama3", "yarn", "longrope", "proportional"]
    # Phi-3 knows LongRoPE alone.
    refused = {("phi3", kind) for kind in kinds if kind not in ("default", "longrope")}
    cases = [case(model, kind) for model in MODELS for kind in kinds
             if (model, kind) not in refused for _ in range(3)]
    lines = ",\n".join(json.dumps(one) for one in cases)
    (here / "rotations.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
