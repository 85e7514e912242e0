//! Defined edges: nothing to attend, full caches, shapes that do not fit, counts at the
//! ends of their ranges.

use attention::{Linear, Mask};
use decoding::KvCache;
use multi_query::experiments::{self, TRANSLATION, paper};
use multi_query::{MultiQueryAttention, attend_shared, decode, mean_of_heads, prefill};
use nalgebra::{DMatrix, dmatrix};

fn ones(rows: usize, columns: usize) -> DMatrix<f32> {
    DMatrix::repeat(rows, columns, 1.0)
}

fn linear(d_in: usize, d_out: usize) -> Linear {
    Linear::new(ones(d_in, d_out), None).unwrap()
}

/// Three heads of 4 and values of 2, on tokens of 5, to tokens of 6.
fn layer() -> MultiQueryAttention {
    let (q, k, v, o) = (linear(5, 12), linear(5, 4), linear(5, 2), linear(6, 6));
    MultiQueryAttention::new(q, k, v, o, 3).unwrap()
}

#[track_caller]
fn says<T, E: std::fmt::Display>(result: Result<T, E>, expected: &str) {
    let error = result.err().expect("an error");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn no_tokens_give_an_empty_result() {
    let found = layer().forward(&ones(0, 5), &Mask::None).unwrap();
    assert_eq!(found.output.shape(), (0, 6));
    assert_eq!(found.weights, vec![ones(0, 0); 3]);
}

#[test]
fn nothing_to_look_at_gives_zeros() {
    let found = layer().forward_cross(&ones(2, 5), &ones(0, 5), &Mask::None).unwrap();
    assert_eq!(found.output, DMatrix::zeros(2, 6));
}

#[test]
fn an_empty_prompt_leaves_the_cache_empty() {
    let mut cache = KvCache::new(3, 4, 2);
    let found = prefill(&layer(), &ones(0, 5), &mut cache).unwrap();
    assert_eq!((found.output.shape(), cache.len()), ((0, 6), 0));
}

#[test]
fn a_first_token_can_be_decoded() {
    let mut cache = KvCache::new(1, 4, 2);
    let found = decode(&layer(), &ones(1, 5), &mut cache).unwrap();
    assert_eq!(found.weights, vec![ones(1, 1); 3]);
    assert_eq!(cache.len(), 1);
}

#[test]
fn a_full_cache_says_so_and_keeps_what_it_has() {
    let mut cache = KvCache::new(2, 4, 2);
    prefill(&layer(), &ones(2, 5), &mut cache).unwrap();
    let before = cache.clone();
    says(
        decode(&layer(), &ones(1, 5), &mut cache),
        "the cache holds 2 of 2 tokens: no room for 1 more",
    );
    assert_eq!(cache, before);
}

#[test]
fn a_cache_for_every_head_does_not_fit() {
    let mut cache = KvCache::new(2, 12, 6);
    says(
        prefill(&layer(), &ones(1, 5), &mut cache),
        "keys: expected (1, 12), found (1, 4): the cache is this wide",
    );
    assert!(cache.is_empty());
}

#[test]
fn decoding_two_tokens_at_once_is_refused() {
    let mut cache = KvCache::new(2, 4, 2);
    says(
        decode(&layer(), &ones(2, 5), &mut cache),
        "x: expected (1, 5), found (2, 5): decoding goes token by token",
    );
}

#[test]
fn layers_that_do_not_fit_are_refused() {
    let new = |q, k, v, o, heads| {
        let linear = |(d_in, d_out)| linear(d_in, d_out);
        MultiQueryAttention::new(linear(q), linear(k), linear(v), linear(o), heads)
    };
    says(
        new((5, 12), (5, 12), (5, 2), (6, 6), 3),
        "k_proj: expected (5, 4), found (5, 12): one key serves every query head",
    );
    says(
        new((5, 12), (5, 4), (7, 2), (6, 6), 3),
        "v_proj: expected (5, 2), found (7, 2): keys and values read the same tokens",
    );
    says(
        new((5, 12), (5, 4), (5, 2), (2, 6), 3),
        "o_proj: expected (6, 6), found (2, 6): it reads one value width per head",
    );
    for heads in [0, 5] {
        let error = new((5, 12), (5, 4), (5, 2), (6, 6), heads).unwrap_err();
        let said = error.to_string();
        assert!(said.starts_with("q_proj: "), "{said}");
    }
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let why = "the projection reads that many features";
    says(
        layer().forward(&ones(2, 4), &Mask::None),
        &format!("x: expected (2, 5), found (2, 4): {why}"),
    );
    says(
        layer().forward_cross(&ones(2, 5), &ones(3, 4), &Mask::None),
        &format!("context: expected (3, 5), found (3, 4): {why}"),
    );
    let (k, v) = (ones(4, 3), ones(4, 2));
    says(
        attend_shared(&ones(2, 8), k.as_view(), v.as_view(), 3, &Mask::None),
        "q: expected (2, 9), found (2, 8): one query per head, as wide as the key",
    );
    assert!(mean_of_heads(&ones(2, 8), 3).is_err());
    assert!(mean_of_heads(&ones(2, 8), 0).is_err());
}

#[test]
fn a_mean_is_taken_over_heads_and_not_within_them() {
    let all = dmatrix![1.0, 2.0, 3.0, 4.0];
    assert_eq!(mean_of_heads(&all, 2).unwrap(), dmatrix![2.0, 3.0]);
    assert_eq!(mean_of_heads(&all, 1).unwrap(), all);
}

#[test]
fn the_size_of_the_mean_tells_equal_heads_from_unrelated_ones() {
    let size = |all| experiments::size_of_the_mean(&all, 2).unwrap();
    assert_eq!(size(dmatrix![3.0, 4.0, 3.0, 4.0]), 1.0);
    let apart = size(dmatrix![3.0, 0.0, 0.0, 3.0]);
    assert!((apart - 0.5_f32.sqrt()).abs() < 1e-6, "{apart}");
    assert_eq!(size(dmatrix![3.0, 4.0, -3.0, -4.0]), 0.0);
}

#[test]
fn disagreement_goes_from_none_to_all() {
    assert_eq!(experiments::disagreement(&dmatrix![0.5, 0.5; 0.5, 0.5]), 0.0);
    assert_eq!(experiments::disagreement(&dmatrix![1.0, 0.0; 0.0, 1.0]), 1.0);
}

#[test]
fn the_formula_stays_near_the_full_count() {
    for tokens in [16, 128, 1024] {
        for batch in [1, 8, 128, 1024] {
            let s = paper(tokens, batch);
            let pairs = [
                (experiments::multi_head_ratio(s), experiments::multi_head_work(s)),
                (experiments::multi_query_ratio(s), experiments::multi_query_work(s)),
            ];
            for (formula, work) in pairs {
                let off = formula / work.ratio();
                assert!((0.4..5.0).contains(&off), "{s:?}: {off}");
            }
        }
    }
}

#[test]
fn a_count_by_hand() {
    // d = 2, two heads of 1, one sequence, one token: weights 16, x q k v o y 12, one key
    // and value of width 2; each weight is multiplied once, and 2 + 2 in the scores and
    // the average.
    let s = experiments::Setting { model_dim: 2, heads: 2, tokens: 1, batch: 1 };
    let many = experiments::multi_head_work(s);
    assert_eq!((many.numbers, many.multiply_adds), (16 + 12 + 4, 16 + 4));
    // One key and value of width 1: weights 4 + 2 + 2 + 4, x q o y 8, k v 2.
    let one = experiments::multi_query_work(s);
    assert_eq!((one.numbers, one.multiply_adds), (12 + 8 + 2 + 2, 12 + 4));
}

#[test]
fn a_hidden_width_that_is_not_whole_is_refused() {
    assert!(experiments::matching_d_ff(&TRANSLATION, 1).is_err());
    assert!(experiments::matching_d_ff(&TRANSLATION, u64::MAX).is_err());
    let same = experiments::multi_head_parameters(1024, 8, 128);
    assert_eq!(experiments::matching_d_ff(&TRANSLATION, same).unwrap(), 4096);
}
