//! Defined edges: nothing to turn, rotations that are none, caches that do not fit.

use attention::{Linear, Mask};
use decoding::KvCache;
use grouped_query::{GroupError, GroupedQueryAttention};
use nalgebra::{DMatrix, dmatrix};
use rotary::{
    Llama3Scaling, Pairing, Rotary, RotaryAttention, RotaryError, decode, permutation,
    permuted, prefill,
};

fn linear(d_in: usize, d_out: usize) -> Linear {
    Linear::new(DMatrix::repeat(d_in, d_out, 1.0), None).unwrap()
}

/// Six heads of 2 on three key/value heads, values of 4, five features in, seven out.
fn grouped() -> GroupedQueryAttention {
    let projections = (linear(5, 12), linear(5, 6), linear(5, 12), linear(24, 7));
    let (q, k, v, o) = projections;
    GroupedQueryAttention::new(q, k, v, o, 6, 3).unwrap()
}

fn turns(head_dim: usize) -> Rotary {
    Rotary::new(head_dim, 10_000.0, Pairing::Halves).unwrap()
}

fn layer() -> RotaryAttention {
    RotaryAttention::new(grouped(), turns(2)).unwrap()
}

fn ones(rows: usize, columns: usize) -> DMatrix<f32> {
    DMatrix::repeat(rows, columns, 1.0)
}

#[track_caller]
fn says<T>(result: Result<T, impl std::fmt::Display>, expected: &str) {
    let error = result.err().expect("an error");
    assert_eq!(error.to_string(), expected);
}

/// By hand: the pair (3, 1) at position 1, whose angle is one radian. cos 1 = 0.540302,
/// sin 1 = 0.841471, so 3 · 0.540302 − 0.841471 = 0.779436 and 3 · 0.841471 + 0.540302.
#[test]
fn a_pair_turns_as_by_hand() {
    let mut x = dmatrix![3.0, 1.0; 3.0, 1.0];
    turns(2).angles(0..2).rotate(&mut x).unwrap();
    assert_eq!(x.row(0), dmatrix![3.0, 1.0].row(0));
    assert!(
        (x[(1, 0)] - 0.779_436).abs() < 1e-5 && (x[(1, 1)] - 3.064_715).abs() < 1e-5
    );
}

/// By hand: `10000^(-2i/4)` is 1 and 0.01. Feature 0 turns with feature 2 or with feature 1.
#[test]
fn the_two_pairings_turn_their_own_features() {
    for (pairing, partner, slow) in
        [(Pairing::Halves, 2, 1), (Pairing::Neighbors, 1, 2)]
    {
        let rotary = Rotary::new(4, 10_000.0, pairing).unwrap();
        assert_eq!(rotary.frequencies(), [1.0, 0.01]);
        let turned = |feature: usize| {
            let mut x = DMatrix::zeros(1, 4);
            x[feature] = 1.0;
            rotary.angles(1..2).rotate(&mut x).unwrap();
            x
        };
        assert_eq!(turned(0)[0], 1.0_f64.cos() as f32);
        assert_eq!(turned(0)[partner], 1.0_f64.sin() as f32);
        assert_eq!(turned(slow)[slow], f64::from(0.01_f32).cos() as f32);
        assert_eq!(turned(slow)[3], f64::from(0.01_f32).sin() as f32);
    }
}

#[test]
fn heads_all_turn_alike_and_values_stay() {
    let mut x = dmatrix![3.0, 1.0, 3.0, 1.0];
    turns(2).angles(7..8).rotate(&mut x).unwrap();
    assert_eq!(x.columns(0, 2), x.columns(2, 2));
    let projected = layer().project(&ones(3, 5), 4).unwrap();
    assert_eq!(projected.v, grouped().project(&ones(3, 5), &ones(3, 5)).unwrap().v);
    assert_ne!(projected.k, grouped().project(&ones(3, 5), &ones(3, 5)).unwrap().k);
}

#[test]
fn no_tokens_give_an_empty_result() {
    let attended = layer().forward(&ones(0, 5), &Mask::None).unwrap();
    assert_eq!(attended.output.shape(), (0, 7));
    assert_eq!(attended.weights, vec![DMatrix::zeros(0, 0); 6]);
    let mut nothing = DMatrix::zeros(0, 6);
    turns(2).angles(9..9).rotate(&mut nothing).unwrap();
    let mut no_heads = DMatrix::zeros(2, 0);
    turns(2).angles(0..2).rotate(&mut no_heads).unwrap();
}

#[test]
fn an_empty_chunk_changes_nothing() {
    let (layer, mut cache) = (layer(), KvCache::new(3, 6, 12));
    prefill(&layer, &ones(2, 5), &mut cache).unwrap();
    let attended = prefill(&layer, &ones(0, 5), &mut cache).unwrap();
    assert_eq!((attended.output.shape(), cache.len()), ((0, 7), 2));
}

#[test]
fn a_query_with_every_key_hidden_gets_zeros_from_every_head() {
    let mask = Mask::Allowed(dmatrix![false, false; true, true]);
    let attended = layer().forward(&ones(2, 5), &mask).unwrap();
    assert_eq!(attended.output.row(0), DMatrix::zeros(1, 7).row(0));
    for weights in attended.weights {
        assert_eq!(weights.row(0).sum(), 0.0);
        assert!((weights.row(1).sum() - 1.0).abs() < 1e-6);
    }
}

#[test]
fn far_positions_and_huge_numbers_stay_finite() {
    let last = u32::MAX as usize;
    let mut x = ones(1, 64);
    turns(64).angles(last..last + 1).rotate(&mut x).unwrap();
    assert!(x.iter().all(|x| x.is_finite() && x.abs() <= 2.0_f32.sqrt()));
    for theta in [1e-30, 0.5, 1.0, 1e300, f64::MAX] {
        let rotary = Rotary::new(8, theta, Pairing::Halves).unwrap();
        let mut x = ones(3, 8);
        rotary.angles(0..3).rotate(&mut x).unwrap();
        assert!(x.iter().all(|x| x.is_finite()), "theta {theta}");
    }
}

#[test]
fn rotations_that_are_none_are_refused() {
    for theta in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, -f64::INFINITY, 1e-300] {
        let refused = Rotary::new(8, theta, Pairing::Halves);
        let wanted = "wanted a positive number that gives finite frequencies";
        says(refused, &format!("rope theta is {theta}, {wanted}"));
    }
    for head_dim in [0, 1, 7, usize::MAX] {
        let says = |result: Result<(), RotaryError>| {
            let pairs =
                format!("a head of width {head_dim} cannot be split into pairs");
            says(result, &pairs);
        };
        says(Rotary::new(head_dim, 1e4, Pairing::Halves).map(drop));
        says(permutation(head_dim, Pairing::Halves, Pairing::Neighbors).map(drop));
    }
}

#[test]
fn scalings_that_are_none_are_refused() {
    let fine = Llama3Scaling::LLAMA_3_1;
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        for scaling in [
            Llama3Scaling { factor: bad, ..fine },
            Llama3Scaling { low_freq_factor: bad, ..fine },
            Llama3Scaling { high_freq_factor: bad, ..fine },
            Llama3Scaling { original_context: bad, ..fine },
        ] {
            assert!(matches!(turns(8).scaled(scaling), Err(RotaryError::Scaling(_))));
        }
    }
    let level = Llama3Scaling { low_freq_factor: 4.0, ..fine };
    says(
        turns(8).scaled(level),
        "rope scaling: factor 8, low 4, high 4, context 8192; wanted positive numbers, \
         low below high",
    );
    let faster_than_can_be = Llama3Scaling { factor: 1e-300, ..fine };
    assert!(turns(128).scaled(faster_than_can_be).is_err());
}

#[test]
fn a_factor_of_1_changes_nothing() {
    let scaling = Llama3Scaling { factor: 1.0, ..Llama3Scaling::LLAMA_3_1 };
    let scaled = turns(128).scaled(scaling).unwrap();
    for (found, expected) in scaled.frequencies().iter().zip(turns(128).frequencies()) {
        assert!((found / expected - 1.0).abs() < 1e-6);
    }
}

#[test]
fn heads_and_tables_that_do_not_fit_are_named() {
    says(
        RotaryAttention::new(grouped(), turns(4)),
        "k_proj: expected (1, 12), found (1, 6): every feature of a key belongs to a pair",
    );
    let angles = turns(4).angles(0..2);
    says(
        angles.rotate(&mut ones(3, 8)),
        "x: expected (2, 8), found (3, 8): one row per position, and whole heads",
    );
    says(
        angles.rotate(&mut ones(2, 6)),
        "x: expected (2, 4), found (2, 6): one row per position, and whole heads",
    );
    says(
        permuted(&linear(5, 12), 5, Pairing::Halves, Pairing::Neighbors),
        "projection: width 12 cannot be split among 5 heads",
    );
    says(
        permuted(&linear(5, 12), 4, Pairing::Halves, Pairing::Neighbors),
        "a head of width 3 cannot be split into pairs",
    );
    says(
        permuted(&linear(5, 12), 0, Pairing::Halves, Pairing::Neighbors),
        "projection: width 12 cannot be split among 0 heads",
    );
}

#[test]
fn tokens_and_caches_that_do_not_fit_are_named_and_nothing_is_kept() {
    let layer = layer();
    let mut cache = KvCache::new(2, 6, 12);
    prefill(&layer, &ones(1, 5), &mut cache).unwrap();
    says(
        prefill(&layer, &ones(2, 5), &mut cache),
        "the cache holds 1 of 2 tokens: no room for 2 more",
    );
    says(
        decode(&layer, &ones(2, 5), &mut cache),
        "x: expected (1, 5), found (2, 5): decoding goes token by token",
    );
    says(
        decode(&layer, &ones(1, 4), &mut cache),
        "x: expected (1, 5), found (1, 4): the projection reads that many features",
    );
    assert_eq!(cache.len(), 1);
    let mut wide = KvCache::new(2, 12, 24);
    let refused = decode(&layer, &ones(1, 5), &mut wide);
    assert!(matches!(refused, Err(RotaryError::Group(GroupError::Cache(_)))));
    assert!(wide.is_empty());
}
