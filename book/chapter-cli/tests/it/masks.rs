//! Masks under the names of others, where they are one of two things, or none.

use crate::common::{Folder, Ran, Tensor, bools, f32s, file, layer_and, raw, zeros};
use safetensors::Dtype;

const HIDDEN: f32 = f32::NEG_INFINITY;

/// What is said to a mask beside x of this shape and a context of 2 tokens, or none.
fn ran(x: &[usize], mask: Tensor, context: bool) -> (Folder, Ran) {
    let more = if context { zeros("context", &[2, 3]) } else { zeros("y", &[1]) };
    let folder = Folder::new().with("in", layer_and([zeros("x", x), mask, more]));
    let ran = folder.forward("");
    (folder, ran)
}

#[track_caller]
fn refused(x: &[usize], mask: Tensor, says: &str) {
    let (_, ran) = ran(x, mask, false);
    assert!(ran.code == 1 && ran.stderr.contains(says), "{says}: {ran:?}");
}

/// Which weights are left, as a mask of 1 and 0.
#[track_caller]
fn left(x: &[usize], mask: Tensor) -> Vec<u8> {
    let (folder, ran) = ran(x, mask, false);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let (_, weights) = folder.out("attention_weights");
    weights.iter().map(|&weight| u8::from(weight > 0.0)).collect()
}

fn i64s(name: &str, shape: &[usize], numbers: &[i64]) -> Tensor {
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    raw(name, Dtype::I64, shape, bytes)
}

#[test]
fn a_mask_that_could_be_of_tokens_or_of_sequences_is_refused() {
    let mask = || bools("mask", &[2, 2], &[1, 0, 1, 1]);
    let says = "mask: [2, 2] may be one row per token or one row per sequence: repeat it \
                as [2, 2, 2], or save padding as key_padding_mask";
    refused(&[2, 2, 3], mask(), says);
    // Of one sequence, or of three, there is no doubt.
    assert_eq!(left(&[2, 3], mask()), [1, 0, 1, 1]);
    assert_eq!(left(&[3, 2, 3], mask()), [1, 0, 1, 1].repeat(3));
}

#[test]
fn a_row_for_each_sequence_serves_all_its_queries() {
    let mask = bools("mask", &[2, 1, 3], &[1, 1, 0, 0, 1, 1]);
    let wanted = [[1, 1, 0].repeat(3), [0, 1, 1].repeat(3)].concat();
    assert_eq!(left(&[2, 3, 3], mask), wanted);
}

#[test]
fn keys_are_hidden_by_true_in_pytorch_and_by_zero_in_transformers() {
    let x = [2, 2, 3];
    let wanted = [1, 1, 1, 1, 1, 0, 1, 0];
    assert_eq!(left(&x, bools("key_padding_mask", &[2, 2], &[0, 0, 0, 1])), wanted);
    let added = f32s("key_padding_mask", &[2, 2], &[0.0, 0.0, 0.0, HIDDEN]);
    assert_eq!(left(&x, added), wanted);
    assert_eq!(left(&x, i64s("attention_mask", &[2, 2], &[1, 1, 1, 0])), wanted);
    let floats = f32s("attention_mask", &[2, 2], &[1.0, 1.0, 1.0, 0.0]);
    assert_eq!(left(&x, floats), wanted);
    let pairs = i64s("attention_mask", &[2, 2, 2], &[1, 1, 1, 1, 1, 0, 1, 0]);
    assert_eq!(left(&x, pairs), wanted);
    let finite = f32s("attention_mask", &[1, 1, 2, 2], &[0.0, f32::MIN, 0.0, 0.0]);
    assert_eq!(left(&x, finite), [1, 0, 1, 1, 1, 0, 1, 1]);
    assert_eq!(left(&[2, 3], i64s("attention_mask", &[2], &[0, 1])), [0, 1, 0, 1]);
}

#[test]
fn numbers_that_are_no_mask_are_refused() {
    let x = [2, 2, 3];
    for (mask, says) in [
        (
            f32s("attn_mask", &[2, 2], &[0.0, -0.5, 0.0, 0.0]),
            "attn_mask: it holds -0.5: wanted 0 or -inf (or -10000 and less); other \
             numbers are a bias on the scores, which no chapter has",
        ),
        (
            f32s("attention_mask", &[2, 2], &[0.0, HIDDEN, 0.0, 0.0]),
            "attention_mask: it holds -inf: wanted 1 for what may be looked at and 0",
        ),
        (
            f32s("attention_mask", &[1, 1, 2, 2], &[1.0, 0.0, 1.0, 1.0]),
            "attention_mask: it holds 1: wanted 0 or -inf",
        ),
        (
            i64s("attention_mask", &[2, 1, 2, 2], &[1; 8]),
            "attention_mask: wanted [b, m] with 1 for a token and 0 for padding",
        ),
        (
            f32s("attention_mask", &[1, 1, 2, 2], &[-1e9, -1e9, 0.0, 0.0]),
            "attention_mask: row 0 has a large negative number for every key",
        ),
        (
            f32s("attn_mask", &[2, 4, 2, 2], &[0.0; 32]),
            "attn_mask: shape [2, 4, 2, 2], wanted [2, 1, 2, 2], because one mask",
        ),
        (
            f32s("attn_mask", &[2, 2, 2], &[0.0; 8]),
            "attn_mask: shape [2, 2, 2], wanted [2, 1, 2, 2]",
        ),
        (
            i64s("key_padding_mask", &[2, 2], &[0, 1, 2, 0]),
            "key_padding_mask: it holds 2: wanted 1 for what is hidden",
        ),
        (
            bools("encoder_attention_mask", &[2, 2], &[1; 4]),
            "encoder_attention_mask: it is about a context, and the file has none",
        ),
        (
            bools("attn_mask", &[2, 2], &[1; 4]),
            "attn_mask: true attends in scaled_dot_product_attention, and hides in \
             nn.MultiheadAttention: save it as mask, BOOL, with true = may attend",
        ),
    ] {
        refused(&x, mask, says);
    }
    let (_, ran) = ran(&[2, 3], bools("attention_mask", &[2], &[1, 0]), true);
    let says = "attention_mask: in Transformers it is about x; save what it says of the \
                context as encoder_attention_mask";
    assert!(ran.code == 1 && ran.stderr.contains(says), "{ran:?}");
}

#[test]
fn of_each_kind_of_mask_there_is_one() {
    let pairs = || bools("mask", &[2, 2], &[1, 1, 0, 1]);
    let keys = || bools("key_padding_mask", &[2], &[0, 1]);
    assert_eq!(left_of([pairs(), keys()]), Ok(vec![1, 0, 0, 0]));
    let also = f32s("attn_mask", &[2, 2], &[0.0; 4]);
    let twice = Err("error: mask and attn_mask say the same thing: keep".to_owned());
    assert_eq!(left_of([pairs(), also]), twice);
    let also = bools("attention_mask", &[2], &[1, 0]);
    let says = "error: attention_mask and key_padding_mask say the same thing: keep";
    assert_eq!(left_of([keys(), also]), Err(says.to_owned()));
}

/// The weights that two masks leave, or the start of what is said to them.
fn left_of(masks: [Tensor; 2]) -> Result<Vec<u8>, String> {
    let [first, second] = masks;
    let tensors = layer_and([zeros("x", &[2, 3]), first, second]);
    let folder = Folder::new().with("in", tensors);
    let ran = folder.forward("");
    if ran.code == 0 {
        let (_, weights) = folder.out("attention_weights");
        return Ok(weights.iter().map(|&weight| u8::from(weight > 0.0)).collect());
    }
    Err(ran.stderr.split(" the one").next().unwrap_or_default().to_owned())
}

#[test]
fn a_mask_counts_wherever_it_stands() {
    let behind = |name: &str| {
        let weight = zeros("l.scale.weight", &[2, 3]);
        let mask = bools(name, &[2], &[0, 1]);
        let folder =
            Folder::new().with("in", file(&[weight, zeros("x", &[2, 3]), mask]));
        assert_eq!(folder.forward("--prefix l").code, 0);
        folder.out("attention_weights").1
    };
    for name in ["key_padding_mask", "l.key_padding_mask"] {
        assert_eq!(behind(name), [0.5, 0.0, 0.5, 0.0]);
    }
}
