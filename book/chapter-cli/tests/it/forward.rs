//! `forward` on files that are as they should be.

use crate::common::{Folder, bools, f32s, file, layer, layer_and, raw, zeros};
use half::{bf16, f16};
use safetensors::Dtype;
use std::fs;

/// Two tokens; with the layer of `common`, y is [14.5, 139.5] and [6.5, 59.5].
fn two_tokens() -> crate::common::Tensor {
    f32s("x", &[2, 3], &[1.0, 2.0, 3.0, 1.0, 1.0, 1.0])
}

#[test]
fn a_linear_map_is_computed_as_pytorch_does() {
    let folder = Folder::new().with("in", layer_and([two_tokens()]));
    let ran = folder.forward("");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        ran.stdout,
        "wrote y [2, 2] and attention_weights [1, 2, 2] to DIR/out\n"
    );
    // 1·1 + 2·2 + 3·3 + 0.5, 1·10 + 2·20 + 3·30 - 0.5; then the sums of W's rows
    assert_eq!(folder.out("y"), (vec![2, 2], vec![14.5, 139.5, 6.5, 59.5]));
    assert_eq!(folder.out("attention_weights"), (vec![1, 2, 2], vec![0.5; 4]));
}

#[test]
fn a_batch_is_a_loop_over_sequences() {
    let x = f32s("x", &[2, 1, 3], &[1.0, 2.0, 3.0, 1.0, 1.0, 1.0]);
    let folder = Folder::new().with("in", layer_and([x]));
    assert_eq!(folder.forward("--heads 3").code, 0);
    assert_eq!(folder.out("y"), (vec![2, 1, 2], vec![14.5, 139.5, 6.5, 59.5]));
    assert_eq!(folder.out("attention_weights"), (vec![2, 3, 1, 1], vec![1.0; 6]));
}

#[test]
fn half_precision_is_widened() {
    let numbers = [1.5, 2.0, 3.0, -0.25, 1e-7, 6e4];
    let f16s = numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
    let bf16s = numbers.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect();
    let identity = f32s("scale.weight", &[1, 1], &[1.0]);
    let f16s = [raw("x", Dtype::F16, &[6, 1], f16s)];
    let bf16s = [raw("x", Dtype::BF16, &[6, 1], bf16s)];
    let folder = Folder::new().with("in", file(&[identity]));
    let folder = folder.with("f16", file(&f16s)).with("bf16", file(&bf16s));

    assert_eq!(folder.forward("--x DIR/f16").code, 0);
    assert_eq!(folder.out("y").1, numbers.map(|x| f16::from_f32(x).to_f32()));
    assert_eq!(folder.forward("--x DIR/bf16").code, 0);
    assert_eq!(folder.out("y").1, numbers.map(|x| bf16::from_f32(x).to_f32()));
}

#[test]
fn a_prefix_picks_a_layer_out_of_a_checkpoint() {
    let other = f32s("l.0.scale.weight", &[1, 1], &[5.0]);
    let picked = f32s("l.1.scale.weight", &[1, 1], &[7.0]);
    let x = f32s("x", &[1, 1], &[3.0]);
    let folder = Folder::new().with("in", file(&[other, picked, x]));
    assert_eq!(folder.forward("--prefix l.1.").code, 0);
    assert_eq!(folder.out("y").1, [21.0]);
}

#[test]
fn x_may_stand_behind_the_prefix_or_without_and_not_both() {
    let weight = || f32s("l.scale.weight", &[1, 1], &[7.0]);
    let behind = || f32s("l.x", &[1, 1], &[3.0]);
    let folder = Folder::new().with("in", file(&[weight(), behind()]));
    assert_eq!(folder.forward("--prefix l.").code, 0);
    assert_eq!(folder.out("y").1, [21.0]);

    let bare = f32s("x", &[1, 1], &[4.0]);
    let folder = folder.with("in", file(&[weight(), behind(), bare]));
    let ran = folder.forward("--prefix l.");
    let says = "error: x and l.x say the same thing: keep the one that counts";
    assert!(ran.code == 1 && ran.stderr.starts_with(says), "{ran:?}");
    assert_eq!(folder.forward("--prefix l. --ignore l.x").code, 0);
    assert_eq!(folder.out("y").1, [28.0]);
}

#[test]
fn another_file_for_x_goes_before_the_input() {
    let input = layer_and([zeros("x", &[5, 3]), zeros("context", &[7, 3])]);
    let other = file(&[two_tokens(), zeros("context", &[4, 3])]);
    let folder = Folder::new().with("in", input).with("other", other);
    assert_eq!(folder.forward("--x DIR/other").code, 0);
    assert_eq!(folder.out("y").1, [14.5, 139.5, 6.5, 59.5]);
    assert_eq!(folder.out("attention_weights").0, [1, 2, 4]);

    let folder = folder.with("other", file(&[two_tokens()]));
    assert_eq!(folder.forward("--x DIR/other").code, 0);
    assert_eq!(folder.out("attention_weights").0, [1, 2, 7]);
}

#[test]
fn context_and_mask_are_shared_by_a_batch_or_have_one_for_each_sequence() {
    let x = || zeros("x", &[2, 1, 3]);
    let context = || zeros("context", &[2, 3]);
    let shared = bools("mask", &[1, 2], &[1, 0]);
    let folder = Folder::new().with("in", layer_and([x(), context(), shared]));
    assert_eq!(folder.forward("").code, 0);
    let weights = folder.out("attention_weights");
    assert_eq!(weights, (vec![2, 1, 1, 2], vec![0.5, 0.0, 0.5, 0.0]));

    let each = bools("mask", &[2, 1, 2], &[1, 0, 0, 1]);
    let folder = folder.with("in", layer_and([x(), context(), each]));
    assert_eq!(folder.forward("").code, 0);
    let weights = folder.out("attention_weights");
    assert_eq!(weights, (vec![2, 1, 1, 2], vec![0.5, 0.0, 0.0, 0.5]));
}

#[test]
fn matrices_are_read_and_written_row_after_row() {
    let x = f32s("x", &[2, 1], &[0.0, 0.0]);
    let context = zeros("context", &[3, 1]);
    let mask = bools("mask", &[2, 3], &[1, 1, 0, 0, 0, 1]);
    let weight = f32s("scale.weight", &[1, 1], &[1.0]);
    let folder = Folder::new().with("in", file(&[weight, x, context, mask]));
    assert_eq!(folder.forward("").code, 0);
    let third = 1.0 / 3.0;
    let wanted = (vec![1, 2, 3], vec![third, third, 0.0, 0.0, 0.0, third]);
    assert_eq!(folder.out("attention_weights"), wanted);
}

#[test]
fn an_empty_sequence_gives_an_empty_result() {
    let folder = Folder::new().with("in", layer_and([zeros("x", &[0, 3])]));
    assert_eq!(folder.forward("").code, 0);
    assert_eq!(folder.out("y"), (vec![0, 2], vec![]));
    assert_eq!(folder.out("attention_weights"), (vec![1, 0, 0], vec![]));
}

#[test]
fn an_empty_batch_keeps_all_shapes() {
    let x = || zeros("x", &[0, 4, 3]);
    let folder = Folder::new().with("in", layer_and([x()]));
    assert_eq!(folder.forward("--heads 2 --repeat 3").code, 0);
    assert_eq!(folder.out("y"), (vec![0, 4, 2], vec![]));
    assert_eq!(folder.out("attention_weights"), (vec![0, 2, 4, 4], vec![]));

    let mask = bools("mask", &[0, 4, 9], &[]);
    let folder = folder.with("in", layer_and([x(), zeros("context", &[9, 3]), mask]));
    assert_eq!(folder.forward("").code, 0);
    assert_eq!(folder.out("attention_weights"), (vec![0, 1, 4, 9], vec![]));
}

#[test]
fn a_repeated_run_tells_its_times() {
    let folder = Folder::new().with("in", layer_and([two_tokens()]));
    let ran = folder.forward("--repeat 20");
    assert_eq!(ran.code, 0);
    let line = ran.stdout.lines().next().unwrap();
    let pattern = [("forward: min ", " ms, "), ("median ", " ms, "), ("max ", " ms ")];
    let mut rest = line;
    let mut last = 0.0;
    for (before, after) in pattern {
        let (time, more) =
            rest.strip_prefix(before).unwrap().split_once(after).unwrap();
        let time: f64 = time.parse().unwrap();
        assert!(time >= last, "{line}");
        (last, rest) = (time, more);
    }
    assert_eq!(rest, "(20 runs)");
}

#[test]
fn what_is_not_a_number_is_computed_with_and_told_once() {
    let weight = f32s("scale.weight", &[1, 2], &[1.0, f32::NAN]);
    let bias = f32s("scale.bias", &[1], &[f32::INFINITY]);
    let x = f32s("x", &[1, 2], &[f32::NAN, f32::NEG_INFINITY]);
    let unused = f32s("unused", &[1], &[f32::NAN]);
    let folder = Folder::new().with("in", file(&[weight, bias, x, unused]));
    let ran = folder.forward("--ignore unused");
    assert_eq!(ran.code, 0);
    assert!(folder.out("y").1[0].is_nan());
    insta::assert_snapshot!(ran.stderr);
}

#[test]
fn the_output_may_be_the_input() {
    let folder = Folder::new().with("in", layer_and([two_tokens()]));
    assert_eq!(folder.run("forward --input DIR/in --output DIR/in").code, 0);
    fs::rename(folder.path("in"), folder.path("out")).unwrap();
    assert_eq!(folder.out("y").1, [14.5, 139.5, 6.5, 59.5]);
}

#[test]
fn an_output_that_is_there_is_replaced_and_nothing_is_left_beside_it() {
    let folder = Folder::new().with("in", layer_and([two_tokens()])).with("out", "old");
    assert_eq!(folder.forward("").code, 0);
    assert_eq!(folder.out("y").0, [2, 2]);
    assert_eq!(folder.content().len(), 2);
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(folder: &Folder, name: &str) -> u32 {
        fs::metadata(folder.path(name)).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_output_has_the_permissions_of_any_new_file() {
        let folder = Folder::new().with("in", layer_and([two_tokens()]));
        assert_eq!(folder.forward("").code, 0);
        assert_eq!(mode(&folder, "out"), mode(&folder, "in"));
    }

    #[test]
    fn an_output_that_is_there_keeps_its_permissions() {
        let folder =
            Folder::new().with("in", layer_and([two_tokens()])).with("out", "");
        let private = fs::Permissions::from_mode(0o640);
        fs::set_permissions(folder.path("out"), private).unwrap();
        assert_eq!(folder.forward("").code, 0);
        assert_eq!(folder.out("y").0, [2, 2]);
        assert_eq!(mode(&folder, "out"), 0o640);
    }

    #[test]
    fn behind_a_link_the_file_is_replaced_and_the_link_stays() {
        for target in ["there", "not there"] {
            let folder = Folder::new().with("in", layer_and([two_tokens()]));
            let folder = folder.with("there", "old");
            symlink(target, folder.path("link")).unwrap();
            symlink(folder.path("link"), folder.path("out")).unwrap();
            assert_eq!(folder.forward("").code, 0);
            assert_eq!(folder.out("y").0, [2, 2]);
            assert!(fs::symlink_metadata(folder.path("out")).unwrap().is_symlink());
            assert!(fs::symlink_metadata(folder.path("link")).unwrap().is_symlink());
            assert!(fs::symlink_metadata(folder.path(target)).unwrap().is_file());
        }
    }
}

#[test]
fn the_bias_is_optional() {
    let [weight, _] = layer();
    let folder = Folder::new().with("in", file(&[weight, two_tokens()]));
    assert_eq!(folder.forward("").code, 0);
    assert_eq!(folder.out("y").1, [14.0, 140.0, 6.0, 60.0]);
}
