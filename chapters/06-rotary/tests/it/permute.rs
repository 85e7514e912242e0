//! `permute` on what real checkpoints hold beside projections: right, or refused.

use chapter_cli::testing::{Dtype, File, Program};
use chapter_cli::{RawTensor, Tensors};
use nalgebra::DMatrix;
use rotary::{Pairing, Rotary};
use std::path::{Path, PathBuf};

const ROTARY: Program = Program::new(env!("CARGO_BIN_EXE_rotary"));
const PERMUTE: &str =
    "permute --input layer --output out --heads 6 --kv-heads 2 --to interleaved";
const PATH: &str = "model.layers.0.self_attn.";

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

/// A file that captures a report: see `cases/` beside the tests.
fn case(name: &str) -> Vec<u8> {
    std::fs::read(cases().join(name).with_extension("safetensors")).unwrap()
}

/// A layer of six heads of 8 on two, behind `prefix`.
fn layer(prefix: &str) -> File {
    File::new()
        .f32s("q_proj.weight", &[48, 5])
        .f32s("k_proj.weight", &[16, 5])
        .f32s("v_proj.weight", &[16, 5])
        .f32s("o_proj.weight", &[5, 48])
        .behind(prefix)
}

fn with(name: &str, dtype: Dtype, shape: &[usize]) -> File {
    layer(PATH).with(&format!("{PATH}{name}"), dtype, shape)
}

#[track_caller]
fn permuted(file: impl Into<Vec<u8>>, flags: &str) -> (Tensors, Tensors, String) {
    let bytes: Vec<u8> = file.into();
    let before = Tensors::parse("layer", bytes.clone()).unwrap();
    let ran = ROTARY.run(bytes, &format!("{PERMUTE} {flags}"));
    assert_eq!(ran.code, 0, "{ran:?}");
    (before, ran.tensors("out"), ran.stdout.clone() + &ran.stderr)
}

#[track_caller]
fn refuses(file: impl Into<Vec<u8>>, says: &str) {
    ROTARY.refuses(file, PERMUTE, says);
}

/// Where features 0 to 7 of a head come from if all rotate, and if the first 4 do.
const ALL: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];
const FIRST_FOUR: [usize; 8] = [0, 2, 1, 3, 4, 5, 6, 7];

/// `units` of a tensor, and those of each head in this order.
fn in_order(tensor: &RawTensor, units: usize, order: &[usize]) -> Vec<u8> {
    let unit = tensor.bytes.len() / units;
    let heads = tensor.bytes.chunks(unit * order.len());
    let head = |head: &[u8]| {
        order.iter().flat_map(|i| head[i * unit..][..unit].to_vec()).collect::<Vec<_>>()
    };
    heads.flat_map(head).collect()
}

#[track_caller]
fn is_in_order(before: &Tensors, after: &Tensors, name: &str, order: &[usize]) {
    let name = format!("{PATH}{name}");
    let (old, new) = (before.raw(&name).unwrap(), after.raw(&name).unwrap());
    assert_eq!((old.dtype, &old.shape), (new.dtype, &new.shape), "{name}");
    let is_norm = name.contains("norm");
    let units = if is_norm { old.shape.iter().product() } else { old.shape[0] };
    assert_eq!(new.bytes.to_vec(), in_order(&old, units, order), "{name}");
}

#[track_caller]
fn is_kept(before: &Tensors, after: &Tensors, name: &str) {
    assert_eq!(before.raw(name).unwrap(), after.raw(name).unwrap(), "{name}");
}

#[test]
fn only_what_rotates_is_reordered() {
    let (before, after, said) = permuted(case("p3-partial"), "--rotary-dim 4");
    assert!(
        said.contains("heads of 8 features, of which the first 4 rotate"),
        "{said}"
    );
    for name in ["q_proj.weight", "q_proj.bias", "k_proj.weight", "k_proj.bias"] {
        is_in_order(&before, &after, name, &FIRST_FOUR);
    }
    for name in ["v_proj.weight", "v_proj.bias", "o_proj.weight"] {
        is_kept(&before, &after, &format!("{PATH}{name}"));
    }
}

/// Queries and keys of some tokens, one head of each, of which `rotary_dim` features turn.
fn scores(file: &Tensors, rotary_dim: usize, pairing: Pairing) -> DMatrix<f32> {
    let x = DMatrix::from_fn(5, 12, |i, j| ((7 * i + 3 * j) as f32).sin());
    let one = |name: &str, head: usize| {
        let linear = file.with_prefix(PATH).linear(name).unwrap();
        let mut all = x.clone() * linear.weight;
        for (mut column, bias) in all.column_iter_mut().zip(&linear.bias.unwrap()) {
            column.add_scalar_mut(*bias);
        }
        let head = all.columns(8 * head, 8).into_owned();
        let mut turned = head.columns(0, rotary_dim).into_owned();
        let rotary = Rotary::new(rotary_dim, 1e4, pairing).unwrap();
        rotary.angles(0..5).rotate(&mut turned).unwrap();
        let mut head = head;
        head.columns_mut(0, rotary_dim).copy_from(&turned);
        head
    };
    one("q_proj", 3) * one("k_proj", 1).transpose()
}

#[test]
fn scores_of_a_partly_rotated_layer_are_unchanged() {
    let (before, after, _) = permuted(case("p3-partial"), "--rotary-dim 4");
    let wanted = scores(&before, 4, Pairing::Halves);
    let found = scores(&after, 4, Pairing::Neighbors);
    assert!((&found - &wanted).amax() <= 1e-4 * wanted.amax(), "{found}{wanted}");
    // With the whole head reordered they would not be.
    let (_, whole, _) = permuted(case("p3-partial"), "");
    let wrong = scores(&whole, 4, Pairing::Neighbors);
    assert!((&wrong - &wanted).amax() > 1e-2 * wanted.amax());
}

#[test]
fn a_rotated_width_that_is_none_is_refused() {
    for (width, says) in [
        ("3", "--rotary-dim 3"),
        ("0", "--rotary-dim 0"),
        (
            "10",
            "--rotary-dim 10: model.layers.0.self_attn.k_proj.weight belongs to heads",
        ),
    ] {
        let permute = format!("{PERMUTE} --rotary-dim {width}");
        ROTARY.refuses(layer(PATH), &permute, says);
    }
}

#[test]
fn config_json_says_how_much_rotates() {
    let config = cases().join("stablelm/config.json").display().to_string();
    let flags = format!("--config {config}");
    let permute = PERMUTE.replace("--heads 6 --kv-heads 2", &flags);
    let after = ROTARY.writes(case("p3-partial"), &permute);
    let before = Tensors::parse("layer", case("p3-partial")).unwrap();
    is_in_order(&before, &after, "q_proj.weight", &FIRST_FOUR);
    let already = permute.replace("interleaved", "half-split");
    let says = "a stablelm model pairs its features as --to says already";
    ROTARY.refuses(case("p3-partial"), &already, says);
    ROTARY.refuses_flags(&format!("{permute} --rotary-dim 4"), "--rotary-dim");
    ROTARY.refuses_flags(&PERMUTE.replace("--heads 6", ""), "missing --heads");
}

#[test]
fn a_config_json_beside_the_weights_is_minded() {
    for (folder, says) in [
        ("stablelm", "4 of 8 features of a head rotate, as the config.json beside"),
        ("unknown", "has rotary_pct: say with --rotary-dim"),
    ] {
        let weights = cases().join(folder).join("model.safetensors");
        let permute =
            PERMUTE.replace("--input layer", &format!("--input {}", weights.display()));
        ROTARY.refuses(layer(PATH), &permute, says);
        let four = ROTARY.run(layer(PATH), &format!("{permute} --rotary-dim 4"));
        assert_eq!(four.code, 0, "{four:?}");
    }
}

#[test]
fn frequencies_in_the_file_say_how_much_rotates() {
    for name in
        ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"]
    {
        let file = layer(PATH).f32s(name, &[2]);
        let says = format!("{name}: 2 frequencies, so that 4 of 8 features of a head");
        refuses(file.clone(), &says);
        let (before, after, _) = permuted(file, "--rotary-dim 4");
        is_kept(&before, &after, name);
        permuted(layer(PATH).f32s(name, &[4]), "");
    }
}

#[test]
fn gains_of_a_norm_go_with_their_features() {
    for (name, shape) in [
        ("q_norm.weight", &[8][..]),
        ("k_norm.weight", &[16]),
        ("q_norm.weight", &[6, 8]),
        ("k_layernorm.bias", &[8]),
        ("q_layernorm.norms.5.weight", &[8]),
        ("query_layernorm.weight", &[48]),
    ] {
        let file = with(name, Dtype::BF16, shape);
        for (flags, order) in [("", ALL), ("--rotary-dim 4", FIRST_FOUR)] {
            let (before, after, said) = permuted(file.clone(), flags);
            assert!(said.contains("3 tensors permuted, 2 kept"), "{said}");
            is_in_order(&before, &after, name, &order);
        }
    }
    for shape in [&[4][..], &[2, 4], &[1, 8], &[24]] {
        refuses(with("k_norm.weight", Dtype::F32, shape), "k_norm.weight: shape");
    }
}

#[test]
fn a_norm_whose_projections_are_elsewhere_needs_the_width() {
    let norm = File::new().f32s(&format!("{PATH}q_norm.weight"), &[8]);
    refuses(norm.clone(), "nothing in this file tells how wide a head is; --head-dim");
    let (before, after, _) = permuted(norm.clone(), "--head-dim 8");
    is_in_order(&before, &after, "q_norm.weight", &ALL);
    let beside = norm.and(layer("model.layers.1.self_attn."));
    let (before, after, _) = permuted(beside, "");
    is_in_order(&before, &after, "q_norm.weight", &ALL);
    let says = "--head-dim 4: model.layers.0.self_attn.q_proj.weight has 8";
    ROTARY.refuses(layer(PATH), &format!("{PERMUTE} --head-dim 4"), says);
}

/// Four heads of 8 + 4 features beside a latent of 6, of which the last 4 rotate.
fn latent(q: &str) -> File {
    File::new()
        .f32s(&format!("{q}.weight"), &[48, 5])
        .f32s("kv_a_proj_with_mqa.weight", &[10, 5])
        .f32s("kv_a_layernorm.weight", &[6])
        .f32s("kv_b_proj.weight", &[64, 6])
        .f32s("o_proj.weight", &[5, 32])
        .behind(PATH)
}

#[test]
fn of_a_latent_layer_only_the_rotated_rows_move() {
    let four =
        "permute --input layer --output out --heads 4 --kv-heads 4 --to half-split";
    for q in ["q_proj", "q_b_proj"] {
        let before = Tensors::parse("layer", latent(q).bytes()).unwrap();
        let after = ROTARY.writes(latent(q), four);
        let head = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 9, 11];
        is_in_order(&before, &after, &format!("{q}.weight"), &head);
        let kv = [0, 1, 2, 3, 4, 5, 6, 8, 7, 9];
        is_in_order(&before, &after, "kv_a_proj_with_mqa.weight", &kv);
        for name in ["kv_a_layernorm.weight", "kv_b_proj.weight", "o_proj.weight"] {
            is_kept(&before, &after, &format!("{PATH}{name}"));
        }
    }
    let says = "--rotary-dim 2: 4 rows of model.layers.0.self_attn.kv_a_proj_with_mqa";
    ROTARY.refuses(latent("q_proj"), &format!("{four} --rotary-dim 2"), says);
    let five = four.replace("--heads 4 --kv-heads 4", "--heads 5 --kv-heads 5");
    ROTARY.refuses(latent("q_proj"), &five, "q_proj: 48 rows, for --heads 5");
    let blocks =
        latent("q_proj").f32s(&format!("{PATH}q_proj.weight_scale_inv"), &[1, 1]);
    let blocks = blocks.f32s(&format!("{PATH}q_proj.weight_scale_inv"), &[2, 1]);
    ROTARY.refuses(blocks, four, "weight_scale_inv: a part of quantized weights");
    let sparse = latent("q_proj").f32s(&format!("{PATH}indexer.wk.weight"), &[4, 5]);
    ROTARY.refuses(sparse, four, "indexer.wk.weight: a part of sparse attention");
}

#[test]
fn packed_and_blockwise_weights_are_refused() {
    for (file, says) in [
        (with("q_proj.weight", Dtype::U8, &[48, 1]), "q_proj.weight: dtype U8, packed"),
        (with("k_proj.weight", Dtype::I8, &[16, 5]), "k_proj.weight: dtype I8, packed"),
        (with("q_proj.weight.absmax", Dtype::F32, &[2]), "q_proj.weight.absmax"),
        (with("q_proj.SCB", Dtype::F32, &[48]), "q_proj.SCB"),
        (with("k_proj.qweight", Dtype::I32, &[1, 16]), "k_proj.qweight"),
        (with("q_proj.weight_scale_inv", Dtype::F32, &[6, 1]), "weight_scale_inv"),
        (with("q_proj.weight_scale", Dtype::F32, &[48, 2]), "q_proj.weight_scale"),
        (with("q_proj.lora_B.weight", Dtype::F32, &[48, 2]), "merge_and_unload"),
    ] {
        refuses(file, says);
    }
    let packed =
        File::new().with(&format!("{PATH}q_proj.qweight"), Dtype::I32, &[1, 48]);
    refuses(packed, "q_proj.qweight: a part of quantized weights");
}

#[test]
fn scales_of_rows_move_with_them_and_one_for_all_stays() {
    for shape in [&[48][..], &[48, 1]] {
        let file = with("q_proj.weight", Dtype::F8_E4M3, &[48, 5]);
        let file = file.f32s(&format!("{PATH}q_proj.weight_scale"), shape);
        let (before, after, _) = permuted(file, "");
        is_in_order(&before, &after, "q_proj.weight", &ALL);
        is_in_order(&before, &after, "q_proj.weight_scale", &ALL);
    }
    for shape in [&[][..], &[1]] {
        let (before, after, _) =
            permuted(with("q_proj.weight_scale", Dtype::F32, shape), "");
        is_kept(&before, &after, &format!("{PATH}q_proj.weight_scale"));
    }
}

#[test]
fn fused_models_are_refused_and_towers_left_alone() {
    let eight = PERMUTE.replace("--heads 6", "--heads 8");
    let fused = "model.layers.0.self_attn.qkv_proj.weight: queries, keys and values in";
    ROTARY.refuses(case("c4-phi3v"), &eight, fused);
    let tower = "visual.blocks.0.attn.";
    let qkv = File::new().f32s("visual.blocks.0.attn.qkv.weight", &[48, 5]);
    let (before, after, said) = permuted(layer(PATH).and(layer(tower)).and(qkv), "");
    assert!(said.contains("2 tensors permuted, 7 kept"), "{said}");
    assert!(said.contains("--prefix visual. permutes it"), "{said}");
    is_kept(&before, &after, &format!("{tower}q_proj.weight"));
    let two = layer("model.encoder.layers.0.self_attn.").and(layer(PATH));
    refuses(
        two,
        "layers of several parts of a model: model.encoder.layers. and model.",
    );
}

#[test]
fn what_is_not_known_in_a_layer_is_refused_by_name_or_kept_if_asked() {
    let name = format!("{PATH}q_gain.weight");
    let file = layer(PATH).f32s(&name, &[8]);
    refuses(file.clone(), &format!("{name}: a tensor that is not known here"));
    let (before, after, _) = permuted(file, "--keep q_gain.weight");
    is_kept(&before, &after, &name);
    permuted(with("sinks", Dtype::F32, &[6]), "");
}

#[test]
fn a_prefix_ends_at_a_dot() {
    let path = |number: usize| format!("model.layers.{number}.self_attn.");
    let file = layer(&path(1)).and(layer(&path(10))).and(layer(&path(19)));
    let (before, after, said) = permuted(file, "--prefix model.layers.1");
    assert!(said.contains("2 tensors permuted, 10 kept"), "{said}");
    for number in [10, 19] {
        is_kept(&before, &after, &format!("{}q_proj.weight", path(number)));
    }
}
