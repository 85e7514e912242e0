//! Defined edges: no tokens, windows of one, keys that are all hidden, scores that are
//! large, numbers that are none, and shapes that do not fit.

use attention::{Linear, Mask};
use decoder_layer::{
    Centering, DecoderLayer, HeadNorm, Norms, Parts, open_gate, soft_cap,
    softmax_with_sink, step, through_cache,
};
use grouped_query::Groups;
use nalgebra::{DMatrix, DVector, dmatrix};
use rotary::{Pairing, Rotary};

/// Four heads of 2 on two, five features in, seven out.
const SIZES: [(usize, usize); 4] = [(5, 8), (5, 4), (5, 4), (8, 7)];

fn projections() -> [Linear; 4] {
    SIZES.map(|(d_in, d_out)| {
        let weight = DMatrix::from_fn(d_in, d_out, |i, j| {
            ((3 * i + 5 * j) % 7) as f32 / 7.0 - 0.4
        });
        Linear::new(weight, None).unwrap()
    })
}

fn plain() -> Parts {
    Parts::plain(Groups::new(4, 2).unwrap(), 2)
}

fn norm(gains: usize) -> HeadNorm {
    HeadNorm::new(DVector::repeat(gains, 1.5), 2, Centering::None, 1e-6)
}

/// All parts that a configuration can ask for.
fn all() -> Parts {
    Parts {
        window: Some(3),
        clip: Some(2.0),
        norms: Some(Norms { q: norm(2), k: norm(2) }),
        rotary: Some(Rotary::new(2, 100.0, Pairing::Halves).unwrap()),
        cap: Some(3.0),
        sinks: Some(DVector::from_vec(vec![-1.0, 0.0, 1.0, 2.0])),
        ..plain()
    }
}

fn layer(parts: Parts) -> DecoderLayer {
    DecoderLayer::new(projections(), parts).unwrap()
}

fn tokens(rows: usize) -> DMatrix<f32> {
    DMatrix::from_fn(rows, 5, |i, j| ((2 * i + 3 * j) % 5) as f32 - 2.0)
}

#[track_caller]
fn says<T>(result: Result<T, impl std::fmt::Display>, expected: &str) {
    let error = result.err().expect("an error");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn no_tokens_give_an_empty_result_and_change_nothing() {
    for parts in [plain(), all()] {
        let layer = layer(parts);
        let found = layer.forward(&tokens(0), &layer.parts().mask(0)).unwrap();
        assert_eq!(found.output.shape(), (0, 7));
        let through = through_cache(&layer, &tokens(0), 4).unwrap();
        assert_eq!(through.weights, vec![DMatrix::zeros(0, 0); 4]);
        let mut cache = layer.cache(4);
        step(&layer, &tokens(2), 4, &mut cache).unwrap();
        let nothing = step(&layer, &tokens(0), 4, &mut cache).unwrap();
        assert_eq!((nothing.output.shape(), cache.len()), ((0, 7), 2));
    }
}

/// By hand: a token that sees itself alone finds its own value, whatever its score.
#[test]
fn through_a_window_of_one_a_token_finds_itself() {
    let layer = layer(Parts { window: Some(1), cap: Some(3.0), ..plain() });
    let x = tokens(4);
    let found = layer.forward(&x, &layer.parts().mask(0)).unwrap();
    for weights in &found.weights {
        assert_eq!(weights, &DMatrix::identity(4, 4));
    }
    let place = layer.parts().place(0..4, 4);
    let v = layer.project(&x, &place).unwrap().v;
    let values = v.select_columns(&[0, 1, 0, 1, 2, 3, 2, 3]);
    let wanted = projections()[3].forward(&values).unwrap();
    assert!((found.output - wanted).amax() < 1e-6);
}

#[test]
fn a_query_that_sees_nothing_finds_nothing() {
    for parts in [plain(), all()] {
        let layer = layer(parts);
        let mask = Mask::Allowed(DMatrix::from_fn(3, 3, |query, _| query != 1));
        let found = layer.forward(&tokens(3), &mask).unwrap();
        assert_eq!(found.output.row(1).into_owned(), DMatrix::zeros(1, 7).row(0));
        assert!(found.weights.iter().all(|weights| weights.row(1).sum() == 0.0));
        assert!(found.output.iter().all(|y| y.is_finite()));
    }
}

#[test]
fn a_hidden_token_does_not_leak_nan_or_not() {
    for parts in [plain(), all()] {
        let layer = layer(parts);
        let mut x = tokens(4);
        let right = layer.forward(&x, &layer.parts().mask(0)).unwrap().output;
        for odd in [f32::NAN, f32::INFINITY, 1e30] {
            x.row_mut(3).fill(odd);
            let found = layer.forward(&x, &layer.parts().mask(0)).unwrap().output;
            assert_eq!(found.rows(0, 3), right.rows(0, 3), "{odd}");
        }
    }
}

#[test]
fn scores_that_are_large_do_not_overflow() {
    let scores = dmatrix![1e4, -1e4, f32::NEG_INFINITY];
    assert_eq!(softmax_with_sink(scores.clone(), -1e4), dmatrix![1.0, 0.0, 0.0]);
    assert_eq!(softmax_with_sink(scores.clone(), 2e4), DMatrix::zeros(1, 3));
    let nothing = dmatrix![f32::NEG_INFINITY, f32::NEG_INFINITY];
    let none = softmax_with_sink(nothing, f32::NEG_INFINITY);
    assert_eq!(none, DMatrix::zeros(1, 2));
    let mut capped = scores;
    soft_cap(&mut capped, 50.0);
    assert_eq!(capped, dmatrix![50.0, -50.0, -50.0]);
    let mut found = dmatrix![1.0, 1.0, 1.0];
    open_gate(&mut found, &dmatrix![1e4, -1e4, 0.0]).unwrap();
    assert_eq!(found, dmatrix![1.0, 0.0, 0.5]);
}

#[test]
fn a_row_of_zeros_stays_one_when_it_is_normed() {
    let mut x = DMatrix::zeros(2, 4);
    norm(2).apply(&mut x).unwrap();
    assert_eq!(x, DMatrix::zeros(2, 4));
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let of = |which: usize, shape: (usize, usize)| {
        let mut all = projections();
        all[which] = Linear::new(DMatrix::zeros(shape.0, shape.1), None).unwrap();
        DecoderLayer::new(all, plain())
    };
    let says_so = "q_proj: expected (5, 8), found (5, 6): one query for each head";
    says(of(0, (5, 6)), says_so);
    let says_so = "k_proj: expected (5, 4), found (5, 8): one key for each group";
    says(of(1, (5, 8)), says_so);
    says(of(2, (5, 5)), "v_proj: width 5 cannot be split among 2 heads");
    let says_so =
        "o_proj: expected (8, 7), found (6, 7): it reads one value for each query head";
    says(of(3, (6, 7)), says_so);
    let gate = Linear::new(DMatrix::zeros(5, 7), None).unwrap();
    let says_so = "gate_proj: expected (5, 8), found (5, 7): one gate for each feature \
                   that the heads find";
    says(layer(plain()).gated(gate), says_so);
}

#[test]
fn parts_and_tokens_that_do_not_fit_are_named() {
    let forward = |parts: Parts, x: &DMatrix<f32>| layer(parts).forward(x, &Mask::None);
    let sinks = Some(DVector::zeros(3));
    let says_so = "sinks: expected (4, 1), found (3, 1): one for each head";
    says(forward(Parts { sinks, ..plain() }, &tokens(2)), says_so);
    let norms = Some(Norms { q: norm(3), k: norm(2) });
    let says_so = "x: expected (2, 9), found (2, 8): a norm of queries or keys has whole \
                   heads, and a gain per feature";
    says(forward(Parts { norms, ..plain() }, &tokens(2)), says_so);
    let wide = DMatrix::zeros(2, 6);
    let says_so =
        "x: expected (2, 5), found (2, 6): the projection reads that many features";
    says(forward(all(), &wide), says_so);
    let mask = Mask::Allowed(DMatrix::repeat(2, 3, true));
    let says_so = "mask: expected (2, 2), found (2, 3): one entry per query and key";
    says(layer(all()).forward(&tokens(2), &mask), says_so);
}

#[test]
fn what_a_cache_has_no_room_for_is_not_kept() {
    let layer = layer(all());
    let mut cache = layer.cache(3);
    step(&layer, &tokens(2), 4, &mut cache).unwrap();
    let says_so = "the cache holds 2 of 3 tokens: no room for 2 more";
    says(step(&layer, &tokens(2), 4, &mut cache), says_so);
    assert_eq!(cache.len(), 2);
    let mut other = DecoderLayer::new(projections(), plain()).unwrap().cache(3);
    let says_so =
        "x: expected (1, 5), found (1, 4): the projection reads that many features";
    says(step(&layer, &DMatrix::zeros(1, 4), 4, &mut other), says_so);
    assert_eq!(other.len(), 0);
}
