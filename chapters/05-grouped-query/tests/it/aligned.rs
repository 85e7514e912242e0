//! `convert --method aligned`: the same layer in other bases, pooled; or refused.

use chapter_cli::testing::{Dtype, File, Program, assert_close};
use chapter_cli::{RawTensor, Tensors};
use grouped_query::Groups;
use grouped_query::alignment::{Turns, turned};
use nalgebra::DMatrix;

const GROUPED_QUERY: Program = Program::new(env!("CARGO_BIN_EXE_grouped-query"));
const CONVERT: &str =
    "convert --input layer --output out --heads 4 --kv-heads 2 --method aligned";
const FORWARD: &str = "forward --input layer --output out --heads 4";
const PATH: &str = "model.layers.0.self_attn.";

/// The same layer, through f32 products in another basis.
const TOLERANCE: f32 = 1e-4;

/// Four heads of 4 on 6 features, with biases.
fn layer(prefix: &str) -> File {
    File::new()
        .linear("q_proj", [16, 6])
        .linear("k_proj", [16, 6])
        .linear("v_proj", [16, 6])
        .linear("o_proj", [6, 16])
        .behind(prefix)
}

fn with(name: &str, shape: &[usize]) -> File {
    layer(PATH).f32s(&format!("{PATH}{name}"), shape)
}

#[track_caller]
fn refuses(file: File, flags: &str, says: &str) {
    GROUPED_QUERY.refuses(file, &format!("{CONVERT} {flags}"), says);
}

#[track_caller]
fn converted(file: File, flags: &str) -> (Tensors, Tensors, String) {
    let before = Tensors::parse("layer", file.bytes()).unwrap();
    let ran = GROUPED_QUERY.run(file, &format!("{CONVERT} {flags}"));
    assert_eq!(ran.code, 0, "{ran:?}");
    (before, ran.tensors("out"), ran.stdout.clone() + &ran.stderr)
}

/// A rotation of the plane of two features, for a head of 4.
fn turn(a: usize, b: usize, angle: f32) -> DMatrix<f32> {
    let mut turn = DMatrix::identity(4, 4);
    let (sin, cos) = angle.sin_cos();
    for (row, column, entry) in [(a, a, cos), (b, b, cos), (a, b, sin), (b, a, -sin)] {
        turn[(row, column)] = entry;
    }
    turn
}

/// A layer whose heads are the same two by two, hidden by `turns`; and three tokens.
fn hidden(turns: &Turns) -> File {
    let file = Tensors::parse("layer", layer("").bytes()).unwrap();
    let groups = Groups::new(4, 2).unwrap();
    let all = ["q_proj", "k_proj", "v_proj", "o_proj"]
        .map(|name| attention::files::linear(&file, name).unwrap());
    let twice = |linear: &attention::Linear| {
        let columns: Vec<usize> =
            (0..16).map(|c| groups.kv_head(c / 4) * 4 + c % 4).collect();
        let bias = linear.bias().map(|bias| bias.select_rows(&columns));
        attention::Linear::new(linear.weight().select_columns(&columns), bias).unwrap()
    };
    let [q, k, v, o] = &all;
    let equal = [q.clone(), twice(k), twice(v), o.clone()];
    let mut file = File::new().f32s("x", &[3, 6]);
    let names = ["q_proj", "k_proj", "v_proj", "o_proj"];
    for (name, linear) in names.iter().zip(turned(equal, turns).unwrap()) {
        let (d_in, d_out) = linear.shape();
        let (weight, bias) = (linear.weight().as_slice(), linear.bias().unwrap());
        let weight = RawTensor::of(Dtype::F32, vec![d_out, d_in], weight).unwrap();
        let bias = RawTensor::of(Dtype::F32, vec![d_out], bias.as_slice()).unwrap();
        file = file.with_raw(&format!("{name}.weight"), weight);
        file = file.with_raw(&format!("{name}.bias"), bias);
    }
    file
}

/// The output of a layer that was converted, and of the layer that it was.
#[track_caller]
fn keeps_its_output(file: File, rotary: &str) {
    let expected =
        GROUPED_QUERY.writes(file.clone(), &format!("{FORWARD} --kv-heads 4"));
    let ran = GROUPED_QUERY.run(file, &format!("{CONVERT} --rotary {rotary}"));
    assert!(ran.stdout.contains("4 tensors pooled, 4 turned, 1 kept"), "{ran:?}");
    let converted = ran.holds("out").unwrap();
    let found = GROUPED_QUERY.writes(converted, &format!("{FORWARD} --kv-heads 2"));
    let [found, expected] = [found, expected].map(|file| file.matrix("y").unwrap());
    assert_close("y", &found, &expected, TOLERANCE);
}

#[test]
fn heads_that_are_one_in_two_bases_lose_nothing() {
    let of =
        |angles: [f32; 4], [a, b]: [usize; 2]| angles.map(|x| turn(a, b, x)).to_vec();
    let values = of([0.3, -1.2, 2.0, 0.9], [0, 3]);
    let keys = of([1.0, 0.2, -2.2, 3.0], [0, 1]);
    keeps_its_output(hidden(&Turns { keys, values: values.clone() }), "no");
    let keys = of([1.0, 0.2, -2.2, 3.0], [1, 3]);
    keeps_its_output(hidden(&Turns { keys, values: values.clone() }), "half-split");
    let keys = of([1.0, 0.2, -2.2, 3.0], [2, 3]);
    keeps_its_output(hidden(&Turns { keys, values: values.clone() }), "interleaved");
    let keys = of([1.0, 0.2, -2.2, 3.0], [2, 3]);
    let partial = "half-split --rotary-dim 2";
    keeps_its_output(hidden(&Turns { keys, values }), partial);
}

#[test]
fn rotary_keys_turn_within_their_pairs_alone() {
    for (flags, pairs) in [
        ("--rotary half-split", [[0, 2], [1, 3]]),
        ("--rotary interleaved", [[0, 1], [2, 3]]),
    ] {
        let (before, after, _) = converted(layer(PATH), flags);
        let [before, after] = [before, after]
            .map(|file| file.matrix(&format!("{PATH}q_proj.weight")).unwrap());
        assert_ne!(before, after);
        for head in 0..4 {
            for [a, b] in pairs.map(|pair| pair.map(|feature| 4 * head + feature)) {
                let size = |m: &DMatrix<f32>, token| {
                    // [out, in] in the file, read as (in, out).
                    let (a, b) = if m.nrows() == 16 {
                        (m[(a, token)], m[(b, token)])
                    } else {
                        (m[(token, a)], m[(token, b)])
                    };
                    a.hypot(b)
                };
                for token in 0..6 {
                    let change = size(&before, token) - size(&after, token);
                    assert!(change.abs() < TOLERANCE, "{flags}, head {head}: {change}");
                }
            }
        }
    }
}

#[test]
fn how_keys_rotate_has_to_be_said() {
    GROUPED_QUERY.refuses_flags(CONVERT, "--rotary");
    let odd = "3 of 4 features of a head cannot rotate in pairs";
    refuses(layer(PATH), "--rotary half-split --rotary-dim 3", odd);
    let many = "6 of 4 features of a head cannot rotate in pairs";
    refuses(layer(PATH), "--rotary interleaved --rotary-dim 6", many);
    let table = layer(PATH).f32s("model.rotary_emb.inv_freq", &[2]);
    let says = "model.rotary_emb.inv_freq: queries and keys rotate in this model";
    refuses(table.clone(), "--rotary no", says);
    converted(table, "--rotary half-split");
}

#[test]
fn a_config_json_beside_the_weights_is_minded() {
    let config = |more: &str| {
        format!(
            r#"{{"model_type": "llama", "hidden_size": 6, "num_attention_heads": 4,
            "num_key_value_heads": 4, "head_dim": 4, "num_hidden_layers": 1,
            "vocab_size": 10, "intermediate_size": 8{more}}}"#
        )
    };
    let run = |config: &str, flags: &str| {
        let layer = layer(PATH).bytes();
        let files = [("layer", &layer[..]), ("config.json", config.as_bytes())];
        GROUPED_QUERY.run_beside(&files, &format!("{CONVERT} {flags}"))
    };
    let says = "4 features of a head rotate in layer 0, as the config.json beside the \
                input says: --rotary half-split --rotary-dim 4";
    for flags in ["no", "interleaved", "half-split --rotary-dim 2"] {
        let ran = run(&config(""), &format!("--rotary {flags}"));
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.stderr.contains(says), "{ran:?}");
    }
    assert_eq!(run(&config(""), "--rotary half-split").code, 0);
    let ran = run(&config(r#", "clip_qkv" : 8.0"#), "--rotary half-split");
    assert!(ran.code == 1 && ran.stderr.contains("has clip_qkv"), "{ran:?}");
    let ran = run(&config(r#", "clip_qkv": null"#), "--rotary half-split");
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn what_fixes_the_features_of_heads_is_refused_or_minded() {
    for (name, shape, says) in [
        ("v_norm.weight", &[4][..], "a norm on what the heads find"),
        ("attn_sub_norm.weight", &[16], "a norm on what the heads find"),
        ("q_proj.weight_scale", &[16, 1], "--method aligned turns q_proj"),
        ("gate.weight", &[4], "gate.weight: "),
    ] {
        refuses(with(name, shape), "--rotary no", says);
    }
    let kept = "--keep with --method aligned";
    refuses(with("gate.weight", &[4]), "--rotary no --keep gate.weight", kept);

    for norm in ["q_norm.weight", "k_norm.weight"] {
        let (before, after, said) = converted(with(norm, &[4]), "--rotary no");
        assert!(said.contains("only the values were turned"), "{said}");
        let [before, after] = [before, after].map(|file| {
            file.raw(&format!("{PATH}q_proj.weight")).unwrap().bytes.to_vec()
        });
        assert_eq!(before, after);
    }
}

#[test]
fn all_four_projections_have_to_be_there() {
    for name in ["q_proj", "v_proj", "o_proj"] {
        let file = layer(PATH).without(&format!("{PATH}{name}.weight"));
        let file = file.without(&format!("{PATH}{name}.bias"));
        let says = format!("{PATH}{name}.weight is not in this file");
        refuses(file, "--rotary no --head-dim 4", &says);
    }
    let renamed = layer("").renamed("o_proj.weight", "out_proj.weight");
    let renamed = renamed.renamed("o_proj.bias", "out_proj.bias");
    let (_, after, said) = converted(renamed, "--rotary no");
    assert!(said.contains("4 tensors pooled, 4 turned, 0 kept"), "{said}");
    assert_eq!(after.shape("out_proj.weight").unwrap(), [6, 16]);
}
