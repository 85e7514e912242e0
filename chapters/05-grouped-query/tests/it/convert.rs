//! `convert` on what real checkpoints hold beside projections: right, or refused.

use chapter_cli::testing::{Dtype, File, Program};
use chapter_cli::{RawTensor, Tensors};
use std::path::Path;

const GROUPED_QUERY: Program = Program::new(env!("CARGO_BIN_EXE_grouped-query"));
const CONVERT: &str = "convert --input layer --output out --heads 4 --kv-heads 2";

/// A file that captures a report: see `cases/` beside the tests.
fn case(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    std::fs::read(folder.join(name).with_extension("safetensors")).unwrap()
}

/// A layer of four heads of 4 on 6 features, behind `prefix`.
fn layer(prefix: &str) -> File {
    File::new()
        .f32s("q_proj.weight", &[16, 6])
        .f32s("k_proj.weight", &[16, 6])
        .f32s("v_proj.weight", &[16, 6])
        .f32s("o_proj.weight", &[6, 16])
        .behind(prefix)
}

fn one() -> File {
    layer("model.layers.0.self_attn.")
}

/// Both files, and what was said on the way.
#[track_caller]
fn converted(file: impl Into<Vec<u8>>, flags: &str) -> (Tensors, Tensors, String) {
    let bytes: Vec<u8> = file.into();
    let before = Tensors::parse("layer", bytes.clone()).unwrap();
    let ran = GROUPED_QUERY.run(bytes, &format!("{CONVERT} {flags}"));
    assert_eq!(ran.code, 0, "{ran:?}");
    (before, ran.tensors("out"), ran.stdout.clone() + &ran.stderr)
}

#[track_caller]
fn refuses(file: impl Into<Vec<u8>>, says: &str) {
    GROUPED_QUERY.refuses(file, CONVERT, says);
}

/// The means of neighboring rows of `block` numbers.
fn pooled(numbers: &[f32], block: usize) -> Vec<f32> {
    let mean = |two: &[f32]| {
        let (a, b) = two.split_at(block);
        a.iter().zip(b).map(|(a, b)| f32::midpoint(*a, *b)).collect::<Vec<_>>()
    };
    numbers.chunks(2 * block).flat_map(mean).collect()
}

fn numbers(file: &Tensors, name: &str) -> Vec<f32> {
    match file.shape(name).unwrap().len() {
        1 => file.vector(name).unwrap().as_slice().to_vec(),
        _ => file.matrix(name).unwrap().transpose().as_slice().to_vec(),
    }
}

#[test]
fn a_norm_over_all_heads_shrinks_with_the_keys() {
    for (name, shape) in [("olmo-olmo2", vec![16]), ("olmo-cohere", vec![2, 8])] {
        let (before, after, said) = converted(case(name), "");
        assert!(said.contains("6 tensors pooled"), "{said}");
        assert!(said.contains("the norm of a mean is not the mean of norms"), "{said}");
        for layer in 0..2 {
            let k_norm = format!("model.layers.{layer}.self_attn.k_norm.weight");
            assert_eq!(after.shape(&k_norm).unwrap(), shape, "{name}");
            let wanted = pooled(&numbers(&before, &k_norm), 8);
            assert_eq!(numbers(&after, &k_norm), wanted, "{name}");
            let q_norm = k_norm.replace("k_norm", "q_norm");
            assert_eq!(before.raw(&q_norm).unwrap(), after.raw(&q_norm).unwrap());
        }
    }
}

#[test]
fn a_norm_of_one_head_stays_and_is_told() {
    let file = one().f32s("model.layers.0.self_attn.k_norm.weight", &[4]);
    let (before, after, said) = converted(file, "");
    let k_norm = "model.layers.0.self_attn.k_norm.weight";
    assert_eq!(before.raw(k_norm).unwrap(), after.raw(k_norm).unwrap());
    assert!(
        said.contains("warning: k_norm stays as it is, and now works on"),
        "{said}"
    );
}

#[test]
fn of_a_norm_for_each_head_those_of_the_groups_remain() {
    let mut file = one();
    for head in 0..4_u8 {
        let norm = format!("model.layers.0.self_attn.k_layernorm.norms.{head}.weight");
        file = file.f32s(&norm, &[4]).with_first(&norm, f32::from(head));
    }
    let (before, after, said) = converted(file.clone(), "");
    assert!(said.contains("4 tensors pooled, 2 kept, 2 left out"), "{said}");
    let norm =
        |head| format!("model.layers.0.self_attn.k_layernorm.norms.{head}.weight");
    assert_eq!(numbers(&after, &norm(1))[0], 2.5);
    assert_eq!(numbers(&after, &norm(0))[1..], numbers(&before, &norm(0))[1..]);
    assert!(!after.contains(&norm(2)) && !after.contains(&norm(3)));

    refuses(file.without(&norm(2)), "norms.2.weight");
    let fifth = one().f32s(&norm(4), &[4]);
    refuses(fifth, "norms.0.weight");
}

#[test]
fn a_norm_of_another_width_is_refused() {
    for shape in [&[8][..], &[4, 2], &[1, 4], &[32]] {
        let file = one().f32s("model.layers.0.self_attn.k_norm.weight", shape);
        let says = format!("k_norm.weight: shape {shape:?}, wanted [16]");
        refuses(file, &says);
    }
}

#[test]
fn random_heads_do_not_get_random_gains() {
    let file = one().f32s("model.layers.0.self_attn.k_norm.weight", &[16]);
    let (before, after, _) = converted(file, "--method random --seed 3");
    let k_norm = "model.layers.0.self_attn.k_norm.weight";
    assert_eq!(numbers(&after, k_norm), pooled(&numbers(&before, k_norm), 4));
}

#[test]
fn keys_are_pooled_where_values_are_in_another_file() {
    let (before, after, said) = converted(case("c2-shard1"), "");
    assert!(said.contains("3 tensors pooled, 3 kept"), "{said}");
    let k_proj = "model.layers.1.self_attn.k_proj.weight";
    assert_eq!(numbers(&after, k_proj), pooled(&numbers(&before, k_proj), 16));

    // Values alone, and their bias alone: other layers and --head-dim tell their width.
    let path = "model.layers.1.self_attn.";
    let v = File::new().linear("v_proj", [16, 6]).behind(path);
    let bias = v.clone().without(&format!("{path}v_proj.weight"));
    for (file, pooled) in [(v.clone(), 2), (bias, 1)] {
        let (_, after, _) = converted(one().and(file.clone()), "");
        assert_eq!(after.shape(&format!("{path}v_proj.bias")).unwrap(), [8]);
        let says = "no q_proj.weight in this file tells how wide a head is; --head-dim";
        refuses(file.clone(), says);
        let (_, _, said) = converted(file.clone(), "--head-dim 4");
        let s = if pooled == 1 { "" } else { "s" };
        assert!(said.contains(&format!("{pooled} tensor{s} pooled, 0 kept")), "{said}");
        GROUPED_QUERY.refuses(file, &format!("{CONVERT} --head-dim 2"), "v_proj.");
    }
}

#[test]
fn a_vision_tower_is_left_alone_and_a_fused_model_refused() {
    let fused = "model.layers.0.self_attn.qkv_proj.weight: queries, keys and values in";
    let eight = CONVERT.replace("--heads 4", "--heads 8");
    GROUPED_QUERY.refuses(case("c4-phi3v"), &eight, fused);
    let tower = "model.vision_embed_tokens";
    let asked = format!("{eight} --prefix {tower}");
    let ran = GROUPED_QUERY.run(case("c4-phi3v"), &asked);
    assert!(ran.stdout.contains("2 tensors pooled, 3 kept"), "{ran:?}");

    let names = ["vision_tower.vision_model.", "model.visual.", "audio_tower.", "vpm."];
    for tower in names {
        let inside = format!("{tower}encoder.layers.0.self_attn.");
        let (before, after, said) = converted(one().and(layer(&inside)), "");
        assert!(said.contains("2 tensors pooled, 6 kept"), "{said}");
        let first = tower.find("vision_tower.").map_or(tower, |_| "vision_tower.");
        assert!(said.contains(&format!("--prefix {first} converts it")), "{said}");
        let k_proj = format!("{inside}k_proj.weight");
        assert_eq!(before.raw(&k_proj).unwrap(), after.raw(&k_proj).unwrap());
        refuses(layer(&inside), "which is another part of the model; --prefix");
    }
}

#[test]
fn fused_projections_are_refused_wherever_they_stand() {
    for fused in [
        "model.layers.0.self_attn.qkv_proj.weight",
        "gpt_neox.layers.0.attention.query_key_value.weight",
        "transformer.h.0.attn.c_attn.weight",
        "encoder.layers.0.self_attn.in_proj_weight",
        "model.layers.0.attention.wqkv.weight",
        "transformer.blocks.0.attn.Wqkv.weight",
        "model.layers.1.self_attn.W_pack.weight",
        "blocks.0.attn.in_proj.weight",
    ] {
        refuses(File::new().f32s(fused, &[48, 6]), fused);
        refuses(one().f32s(fused, &[48, 6]), fused);
    }
    // A state-space layer beside the attention has an in_proj of its own.
    let mamba = File::new()
        .f32s("in_proj.weight", &[48, 6])
        .f32s("A_log", &[4])
        .behind("model.layers.0.mamba.");
    converted(one().and(mamba), "");
}

#[test]
fn quantized_layers_are_refused() {
    let path = "model.layers.0.self_attn.";
    let with = |name: &str, dtype, shape: &[usize]| {
        one().with(&format!("{path}{name}"), dtype, shape)
    };
    for (file, says) in [
        (with("k_proj.weight_scale", Dtype::F32, &[16, 1]), "k_proj.weight_scale"),
        (with("v_proj.weight_scale_inv", Dtype::F32, &[1, 1]), "weight_scale_inv"),
        (with("k_proj.weight", Dtype::F8_E4M3, &[16, 6]), "dtype F8_E4M3"),
        (with("k_proj.weight", Dtype::U8, &[48, 1]), "k_proj.weight"),
        (with("k_proj.weight.absmax", Dtype::F32, &[2]), "k_proj.weight.absmax"),
        (with("k_proj.qweight", Dtype::I32, &[1, 16]), "k_proj.qweight"),
        (with("v_proj.SCB", Dtype::F32, &[16]), "v_proj.SCB"),
        (with("k_scale", Dtype::F32, &[4]), "k_scale"),
        (with("k_proj.lora_A.weight", Dtype::F32, &[2, 6]), "merge_and_unload"),
    ] {
        refuses(file, says);
    }
    let packed = ["qweight", "qzeros", "scales", "g_idx"];
    for name in packed {
        let alone = File::new().f32s(&format!("{path}k_proj.{name}"), &[2, 16]);
        refuses(alone, &format!("k_proj.{name}: a part of quantized weights"));
    }
}

#[test]
fn what_is_not_known_in_a_layer_is_refused_by_name_or_kept_if_asked() {
    let name = "model.layers.0.self_attn.per_head_scale";
    let file = one().f32s(name, &[4]);
    refuses(file.clone(), &format!("{name}: a tensor that is not known here"));
    for keep in ["per_head_scale", name] {
        let (before, after, _) = converted(file.clone(), &format!("--keep {keep}"));
        assert_eq!(before.raw(name).unwrap(), after.raw(name).unwrap());
    }
}

#[test]
fn what_has_nothing_to_do_with_keys_stays() {
    let path = "model.layers.0.self_attn.";
    let file = one()
        .f32s(&format!("{path}sinks"), &[4])
        .f32s(&format!("{path}q_norm.weight"), &[4])
        .f32s(&format!("{path}rotary_emb.inv_freq"), &[2])
        .with(&format!("{path}q_proj.weight_scale"), Dtype::F32, &[16, 1])
        .with(&format!("{path}bias"), Dtype::BOOL, &[1, 1, 3, 3])
        .f32s("model.rotary_emb.inv_freq", &[2])
        .f32s("model.layers.0.mlp.gate_proj.weight", &[3, 3])
        .f32s("model.layers.0.k_norm_of_another.weight", &[3]);
    let (before, after, said) = converted(file, "");
    assert!(said.contains("2 tensors pooled, 10 kept"), "{said}");
    assert!(!said.contains("warning"), "{said}");
    for name in before.names() {
        let same = before.raw(&name).unwrap() == after.raw(&name).unwrap();
        assert_eq!(
            same,
            !name.contains("k_proj") && !name.contains("v_proj"),
            "{name}"
        );
    }
    let odd = one().f32s(&format!("{path}sinks"), &[5]);
    refuses(odd, &format!("{path}sinks: learned sinks"));
}

#[test]
fn a_prefix_ends_at_a_dot() {
    let mut file = File::new();
    for number in [1, 10, 19] {
        file = file.and(layer(&format!("model.layers.{number}.self_attn.")));
    }
    for prefix in ["model.layers.1", "model.layers.1.", "model.layers.1.self_attn"] {
        let flags = format!("--prefix {prefix}");
        let (before, after, said) = converted(file.clone(), &flags);
        assert!(said.contains("2 tensors pooled, 10 kept"), "{said}");
        for number in [10, 19] {
            let k_proj = format!("model.layers.{number}.self_attn.k_proj.weight");
            assert_eq!(before.raw(&k_proj).unwrap(), after.raw(&k_proj).unwrap());
        }
    }
}

#[test]
fn encoder_and_decoder_are_asked_apart() {
    let both = layer("model.encoder.layers.0.self_attn.")
        .and(layer("model.decoder.layers.0.self_attn."))
        .and(layer("model.decoder.layers.0.encoder_attn."));
    let says = "layers of several parts of a model: model.decoder.layers. and \
                model.encoder.layers.; pick one with --prefix";
    refuses(both.clone(), says);
    let (_, _, said) = converted(both, "--prefix model.decoder");
    assert!(said.contains("4 tensors pooled, 8 kept"), "{said}");
}

#[test]
fn layers_of_several_widths_are_refused() {
    let wide = File::new()
        .f32s("q_proj.weight", &[32, 6])
        .f32s("k_proj.weight", &[32, 6])
        .behind("model.layers.1.self_attn.");
    refuses(one().and(wide), "q_proj.weight: heads of 8, but those of other layers");
    let grouped = one().f32s("model.layers.0.self_attn.k_proj.weight", &[8, 6]);
    refuses(grouped, "because a multi-head layer has as wide keys as queries");
    let values = one().f32s("model.layers.0.self_attn.v_proj.weight", &[8, 6]);
    refuses(values, "because the output projection of a multi-head layer reads all");
}

#[test]
fn an_out_proj_is_asked_about() {
    let file = layer("").renamed("o_proj.weight", "out_proj.weight");
    let (_, _, said) = converted(file, "");
    assert!(said.contains("have no num_key_value_heads in Transformers"), "{said}");
}

#[test]
fn half_precision_is_kept() {
    let numbers: Vec<f32> = (0..16_u8).map(f32::from).collect();
    let k_norm = RawTensor::of(Dtype::BF16, vec![16], &numbers).unwrap();
    let name = "model.layers.0.self_attn.k_norm.weight";
    let (_, after, _) = converted(one().with_raw(name, k_norm), "");
    assert_eq!(after.raw(name).unwrap().dtype, Dtype::BF16);
    assert_eq!(numbers_of(&after, name), [2., 3., 4., 5., 10., 11., 12., 13.]);
}

fn numbers_of(file: &Tensors, name: &str) -> Vec<f32> {
    file.vector(name).unwrap().as_slice().to_vec()
}
