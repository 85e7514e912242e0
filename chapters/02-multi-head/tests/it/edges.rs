//! Defined edges: no tokens, no heads, heads that do not divide, shapes that do not fit;
//! and the mistakes that the chapter shows, where they hide.

use attention::{Linear, Mask};
use multi_head::experiments::{self, relative_error};
use multi_head::{MultiHeadAttention, attend_heads, head_dim};
use nalgebra::DMatrix;
use std::fmt::Display;

fn ones(rows: usize, columns: usize) -> DMatrix<f32> {
    DMatrix::repeat(rows, columns, 1.0)
}

fn linear(d_in: usize, d_out: usize) -> Linear {
    Linear::new(ones(d_in, d_out), None).unwrap()
}

#[track_caller]
fn says<T, E: Display>(result: Result<T, E>, expected: &str) {
    let error = result.err().expect("an error");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn no_tokens_give_an_empty_result() {
    let layer = MultiHeadAttention::new(
        linear(4, 6),
        linear(4, 6),
        linear(4, 6),
        linear(6, 5),
        3,
    );
    let attended = layer.unwrap().forward(&ones(0, 4), &Mask::None).unwrap();
    assert_eq!(attended.output.shape(), (0, 5));
    assert_eq!(
        attended.weights.iter().map(DMatrix::shape).collect::<Vec<_>>(),
        [(0, 0); 3]
    );
}

#[test]
fn no_context_gives_zeros() {
    let layer = MultiHeadAttention::new(
        linear(4, 6),
        linear(2, 6),
        linear(2, 6),
        linear(6, 5),
        2,
    );
    let attended = layer.unwrap().forward_cross(&ones(3, 4), &ones(0, 2), &Mask::None);
    let attended = attended.unwrap();
    assert_eq!(attended.output, DMatrix::zeros(3, 5));
    assert_eq!(attended.weights[1].shape(), (3, 0));
}

#[test]
fn a_token_leaves_the_keys_and_values_of_all_heads_behind() {
    let (q, k, v, o) = (linear(4, 6), linear(5, 6), linear(5, 8), linear(8, 4));
    let layer = MultiHeadAttention::new(q, k, v, o, 2).unwrap();
    assert_eq!(layer.kv_widths(), (6, 8));
    let left = layer.project(&ones(1, 4), &ones(1, 5)).unwrap();
    assert_eq!((left.k.shape(), left.v.shape()), ((1, 6), (1, 8)));
}

#[test]
fn heads_must_divide_the_width() {
    let layer = |heads| {
        MultiHeadAttention::new(
            linear(4, 6),
            linear(4, 6),
            linear(4, 8),
            linear(8, 4),
            heads,
        )
    };
    assert_eq!(layer(2).unwrap().heads(), 2);
    says(layer(0), "q_proj: width 6 cannot be split among 0 heads");
    says(layer(4), "q_proj: width 6 cannot be split among 4 heads");
    says(layer(3), "v_proj: width 8 cannot be split among 3 heads");
    says(layer(7), "q_proj: width 6 cannot be split among 7 heads");
    assert_eq!(head_dim("q", 6, 6), Ok(1));
    says(
        head_dim("q", 6, usize::MAX),
        &format!("q: width 6 cannot be split among {} heads", usize::MAX),
    );
}

#[test]
fn attend_heads_refuses_what_does_not_fit() {
    let attend = |q: (usize, usize), k: (usize, usize), v: (usize, usize), heads| {
        let m = |(rows, columns)| ones(rows, columns);
        attend_heads(&m(q), &m(k), &m(v), heads, &Mask::None)
    };
    assert_eq!(attend((2, 6), (3, 6), (3, 4), 2).unwrap().found, ones(2, 4));
    says(attend((2, 6), (3, 6), (3, 4), 0), "q: width 6 cannot be split among 0 heads");
    says(attend((2, 6), (3, 6), (3, 4), 4), "q: width 6 cannot be split among 4 heads");
    says(attend((2, 6), (3, 6), (3, 4), 3), "v: width 4 cannot be split among 3 heads");
    says(
        attend((2, 6), (3, 7), (3, 4), 2),
        "k: expected (3, 6), found (3, 7): a dot product needs equal widths",
    );
    says(
        attend((2, 6), (3, 6), (2, 4), 2),
        "v: expected (3, 2), found (2, 2): every key has one value",
    );
    let mask = Mask::padding(2, &[true, false]);
    says(
        attend_heads(&ones(2, 6), &ones(3, 6), &ones(3, 4), 2, &mask),
        "mask: expected (2, 3), found (2, 2): one entry per query and key",
    );
}

#[test]
fn a_width_of_zero_is_refused_or_empty_but_does_not_panic() {
    let empty = attend_heads(&ones(2, 0), &ones(3, 0), &ones(3, 0), 2, &Mask::None);
    assert_eq!(empty.unwrap().found.shape(), (2, 0));
    assert!(
        attend_heads(&ones(2, 0), &ones(3, 0), &ones(3, 0), 0, &Mask::None).is_err()
    );
}

#[test]
fn layers_that_do_not_fit_are_refused() {
    let new =
        |q: (usize, usize), k: (usize, usize), v: (usize, usize), o: (usize, usize)| {
            let [q, k, v, o] = [q, k, v, o].map(|(d_in, d_out)| linear(d_in, d_out));
            MultiHeadAttention::new(q, k, v, o, 1)
        };
    says(
        new((4, 6), (5, 7), (5, 6), (6, 4)),
        "k_proj: expected (5, 6), found (5, 7): queries and keys meet in a dot product",
    );
    says(
        new((4, 6), (5, 6), (4, 6), (6, 4)),
        "v_proj: expected (5, 6), found (4, 6): keys and values read the same tokens",
    );
    says(
        new((4, 6), (5, 6), (5, 8), (6, 4)),
        "o_proj: expected (8, 4), found (6, 4): it reads the values of all heads",
    );
    let layer = new((4, 6), (5, 6), (5, 8), (8, 4)).unwrap();
    says(
        layer.forward(&ones(2, 4), &Mask::None),
        "context: expected (2, 5), found (2, 4): the projection reads that many features",
    );
    says(
        layer.forward_cross(&ones(2, 3), &ones(2, 5), &Mask::None),
        "x: expected (2, 4), found (2, 3): the projection reads that many features",
    );
}

#[test]
fn one_token_hides_heads_cut_from_rows() {
    let real = experiments::real(3).unwrap();
    let error = |n| {
        let x = real.layer.x.rows(0, n).into_owned();
        let right = real.attention.forward(&x, &Mask::None).unwrap().output;
        relative_error(&experiments::output_cut_from_rows(&real, n).unwrap(), &right)
    };
    assert!(error(1) < 1e-5);
    assert!(error(2) > 0.5);
}

#[test]
fn one_head_hides_a_scale_by_the_width() {
    let real = experiments::real(3).unwrap();
    let error = |heads| {
        let layer = experiments::shared(&real.layer, heads).unwrap();
        let right = layer.forward(&real.layer.x, &Mask::None).unwrap().output;
        relative_error(
            &experiments::output_scaled_by_width(&real, heads).unwrap(),
            &right,
        )
    };
    assert!(error(1) < 1e-5);
    assert!(error(12) > 0.5);
}

#[test]
fn one_head_cannot_do_what_two_can() {
    let task = experiments::two_places().unwrap();
    assert!((&task.two_heads - &task.wanted).amax() < 1e-3);
    assert!((&task.one_head - &task.wanted).amax() > 1.0);
    for step in 0..=10 {
        let [first, second] = experiments::one_average(f64::from(step) / 10.0);
        assert!((first + second - 1.0).abs() < 0.02, "{first} + {second}");
    }
}

#[test]
fn every_head_of_layer_3_scores_in_32_directions() {
    assert_eq!(experiments::ranks(12).unwrap(), [32; 12]);
}
