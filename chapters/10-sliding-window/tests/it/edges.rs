//! Defined edges: no tokens, a window of one, chunks longer than the ring, shapes that do
//! not fit.

use attention::Linear;
use grouped_query::GroupedQueryAttention;
use nalgebra::{DMatrix, dmatrix};
use rotary::{Pairing, Rotary, RotaryAttention};
use sliding_window::experiments::pairs;
use sliding_window::{
    Pattern, RingCache, WindowAttention, cached, decode, prefill, receptive_field,
    through_cache,
};

fn linear(d_in: usize, d_out: usize) -> Linear {
    Linear::new(DMatrix::repeat(d_in, d_out, 1.0), None).unwrap()
}

/// Six heads of 2 on three key/value heads, values of 4, five features in, seven out.
fn rotary() -> RotaryAttention {
    let (q, k, v, o) = (linear(5, 12), linear(5, 6), linear(5, 12), linear(24, 7));
    let layer = GroupedQueryAttention::new(q, k, v, o, 6, 3).unwrap();
    let rotary = Rotary::new(2, 10_000.0, Pairing::Halves).unwrap();
    RotaryAttention::new(layer, rotary).unwrap()
}

fn layer(window: usize) -> WindowAttention {
    WindowAttention::new(rotary(), window).unwrap()
}

fn ones(rows: usize, columns: usize) -> DMatrix<f32> {
    DMatrix::repeat(rows, columns, 1.0)
}

#[track_caller]
fn says<T>(result: Result<T, impl std::fmt::Display>, expected: &str) {
    let error = result.err().expect("an error");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_window_of_nothing_is_refused() {
    let says_so = "a window of 0 tokens: a token sees itself, so it is 1 at least";
    says(WindowAttention::new(rotary(), 0), says_so);
}

#[test]
fn no_tokens_give_an_empty_result_and_change_nothing() {
    let layer = layer(3);
    assert_eq!(layer.forward(&ones(0, 5)).unwrap().output.shape(), (0, 7));
    let through = through_cache(&layer, &ones(0, 5), 4).unwrap();
    assert_eq!(through.weights, vec![DMatrix::zeros(0, 0); 6]);
    let mut cache = layer.cache();
    assert!(cache.is_empty() && cache.positions().is_empty());
    prefill(&layer, &ones(2, 5), &mut cache).unwrap();
    let before = cache.clone();
    let nothing = prefill(&layer, &ones(0, 5), &mut cache).unwrap();
    assert_eq!((nothing.output.shape(), &cache), ((0, 7), &before));
}

/// By hand: each token finds its own value, however the scores fall.
#[test]
fn through_a_window_of_one_a_token_finds_itself() {
    let (x, layer) = (DMatrix::from_fn(4, 5, |i, j| (i * j) as f32), layer(1));
    let own = layer.layer().layer().project(&x, &x).unwrap().v;
    let found = through_cache(&layer, &x, 2).unwrap();
    for head in &found.weights {
        assert_eq!(*head, DMatrix::identity(4, 4));
    }
    // Two heads share a value, and o_proj adds all that is found.
    let sums = own.column_sum() * 2.0;
    for column in found.output.column_iter() {
        assert!((column - &sums).amax() < 1e-3);
    }
}

/// By hand: slots 0 to 2 hold the last three of 0 to 6, which are 4, 5 and 6.
#[test]
fn a_chunk_longer_than_the_ring_leaves_its_end() {
    let tokens = dmatrix![0.0; 1.0; 2.0; 3.0; 4.0; 5.0; 6.0];
    let mut ring = RingCache::new(3, 1, 1);
    ring.keep(&tokens, &tokens).unwrap();
    assert_eq!(ring.keys(), dmatrix![6.0; 4.0; 5.0]);
    assert_eq!(ring.positions(), [6, 4, 5]);
    assert_eq!(ring.latest(2).0, dmatrix![5.0; 6.0]);
    assert_eq!(ring.latest(9).1, dmatrix![4.0; 5.0; 6.0]);
    assert_eq!((ring.seen(), ring.len(), ring.bytes()), (7, 3, 24));
}

/// What a token left behind is written over, NaN or not.
#[test]
fn what_has_left_the_window_does_not_leak() {
    let layer = layer(2);
    let mut cache = layer.cache();
    prefill(&layer, &(ones(2, 5) * f32::NAN), &mut cache).unwrap();
    prefill(&layer, &ones(2, 5), &mut cache).unwrap();
    let found = decode(&layer, &ones(1, 5), &mut cache).unwrap();
    assert!(found.output.iter().all(|x| x.is_finite()));
    // A chunk sees a window before it: the second of these has lost sight of the NaN.
    let mut cache = layer.cache();
    prefill(&layer, &(ones(1, 5) * f32::NAN), &mut cache).unwrap();
    let found = prefill(&layer, &ones(3, 5), &mut cache).unwrap().output;
    assert!(found.row(0).iter().all(|x| x.is_nan()));
    assert!(found.rows(1, 2).iter().all(|x| x.is_finite()));
}

#[test]
fn tokens_and_rings_that_do_not_fit_are_named_and_nothing_is_kept() {
    let layer = layer(3);
    let mut cache = layer.cache();
    prefill(&layer, &ones(1, 5), &mut cache).unwrap();
    says(
        decode(&layer, &ones(2, 5), &mut cache),
        "x: expected (1, 5), found (2, 5): decoding goes token by token",
    );
    says(
        prefill(&layer, &ones(2, 4), &mut cache),
        "x: expected (2, 5), found (2, 4): the projection reads that many features",
    );
    assert_eq!(cache.seen(), 1);
    let mut other = RingCache::new(4, 6, 12);
    says(
        decode(&layer, &ones(1, 5), &mut other),
        "a ring for 4 tokens and a window of 3: they have to be the same",
    );
    let mut narrow = RingCache::new(3, 6, 6);
    says(
        prefill(&layer, &ones(1, 5), &mut narrow),
        "values: expected (1, 6), found (1, 12): one value per key, as wide as the ring",
    );
    let mut narrow = RingCache::new(3, 4, 12);
    says(
        decode(&layer, &ones(1, 5), &mut narrow),
        "keys: expected (1, 4), found (1, 6): the ring is this wide",
    );
    assert!(other.is_empty() && narrow.is_empty());
}

#[test]
fn counts_at_their_ends() {
    assert_eq!(receptive_field(&[]), Some(1));
    assert_eq!(receptive_field(&[Some(1); 9]), Some(1));
    assert_eq!(receptive_field(&[Some(3), None]), None);
    assert_eq!(Pattern { window: 5, every: 1 }.windows(2), [None, None]);
    assert_eq!(cached(&[], 10), 0);
    // 1 + 2 + 3 + 3 + 3
    assert_eq!((pairs(5, 3), pairs(0, 3), pairs(2, 9)), (12, 0, 3));
}
