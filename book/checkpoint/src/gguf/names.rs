//! What Hugging Face's files call the tensors that a GGUF names in its own way.
//!
//! Source: `gguf/tensor_mapping.py` of llama.cpp.

/// The architectures whose tensors and configuration are understood.
pub(crate) const ARCHITECTURES: [&str; 3] = ["llama", "qwen2", "qwen3"];

/// The name of a tensor in Hugging Face's files: `blk.0.attn_q.weight` is
/// `model.layers.0.self_attn.q_proj.weight`. One that is not known keeps its own.
pub(crate) fn huggingface(name: &str) -> String {
    let (module, part) = name.rsplit_once('.').unwrap_or((name, ""));
    let outer = match module {
        "token_embd" => Some("model.embed_tokens"),
        "output_norm" => Some("model.norm"),
        "output" => Some("lm_head"),
        _ => None,
    };
    if let Some(outer) = outer {
        return format!("{outer}.{part}");
    }
    let inner = layer(module).and_then(|(layer, module)| Some((layer, inner(module)?)));
    match inner {
        Some((layer, module)) => format!("model.layers.{layer}.{module}.{part}"),
        None => name.to_owned(),
    }
}

/// The layer of `blk.3.attn_q`, and what it is there.
pub(crate) fn layer(module: &str) -> Option<(usize, &str)> {
    let (layer, module) = module.strip_prefix("blk.")?.split_once('.')?;
    Some((layer.parse().ok()?, module))
}

fn inner(module: &str) -> Option<&'static str> {
    Some(match module {
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "attn_q_norm" => "self_attn.q_norm",
        "attn_k_norm" => "self_attn.k_norm",
        "ffn_norm" => "post_attention_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    })
}

/// Whether the rows of a tensor were reordered for the other pairing: queries and keys
/// of a llama.
pub(crate) fn is_paired(architecture: &str, name: &str) -> bool {
    let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
    let module = layer(module).map(|(_, module)| module);
    architecture == "llama" && matches!(module, Some("attn_q" | "attn_k"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_hugging_face() {
        for (gguf, name) in [
            ("blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight"),
            (
                "blk.29.ffn_norm.weight",
                "model.layers.29.post_attention_layernorm.weight",
            ),
            ("blk.3.attn_k.bias", "model.layers.3.self_attn.k_proj.bias"),
            ("token_embd.weight", "model.embed_tokens.weight"),
            ("output.weight", "lm_head.weight"),
            ("output_norm.weight", "model.norm.weight"),
            ("blk.0.ffn_gate_exps.weight", "blk.0.ffn_gate_exps.weight"),
            ("rope_freqs.weight", "rope_freqs.weight"),
            ("blk.x.attn_q.weight", "blk.x.attn_q.weight"),
        ] {
            assert_eq!(huggingface(gguf), name);
        }
    }

    #[test]
    fn only_queries_and_keys_of_a_llama_are_reordered() {
        assert!(is_paired("llama", "blk.7.attn_q.weight"));
        assert!(is_paired("llama", "blk.7.attn_k.bias"));
        assert!(!is_paired("llama", "blk.7.attn_v.weight"));
        assert!(!is_paired("qwen2", "blk.7.attn_q.weight"));
    }
}
