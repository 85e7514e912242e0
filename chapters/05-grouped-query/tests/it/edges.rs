//! Defined edges: nothing to attend, groups that are none, caches that do not fit.

use attention::{Linear, Mask};
use decoding::KvCache;
use grouped_query::{
    GroupError, GroupedQueryAttention, Groups, Pool, Pooling, attend_groups, decode,
    prefill,
};
use nalgebra::{DMatrix, DVector, dmatrix};

fn linear(d_in: usize, d_out: usize) -> Linear {
    Linear::new(DMatrix::repeat(d_in, d_out, 1.0), None).unwrap()
}

/// Six heads of 2 on three key/value heads, values of 4, five features in, seven out.
fn layer() -> GroupedQueryAttention {
    let projections = (linear(5, 12), linear(5, 6), linear(5, 12), linear(24, 7));
    let (q, k, v, o) = projections;
    GroupedQueryAttention::new(q, k, v, o, 6, 3).unwrap()
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
fn no_tokens_give_an_empty_result() {
    let attended = layer().forward(&ones(0, 5), &Mask::None).unwrap();
    assert_eq!(attended.output.shape(), (0, 7));
    assert_eq!(attended.weights, vec![DMatrix::zeros(0, 0); 6]);
}

#[test]
fn no_keys_give_zeros() {
    let attended =
        layer().forward_cross(&ones(2, 5), &ones(0, 5), &Mask::None).unwrap();
    assert_eq!(attended.output, DMatrix::zeros(2, 7));
}

#[test]
fn a_query_with_every_key_hidden_gets_zeros_from_every_head() {
    let mask = Mask::Allowed(dmatrix![false, false; true, true]);
    let attended = layer().forward(&ones(2, 5), &mask).unwrap();
    assert_eq!(attended.output.row(0), DMatrix::zeros(1, 7).row(0));
    assert!(
        attended.weights.iter().all(|w| w.row(0).sum() == 0.0 && w.row(1).sum() == 1.0)
    );
}

#[test]
fn huge_scores_do_not_overflow() {
    let q = dmatrix![1e4, -1e4; 3e38, -3e38];
    let k = dmatrix![1.0; -1.0];
    let groups = Groups::new(2, 1).unwrap();
    let heads =
        attend_groups(&q, k.as_view(), k.as_view(), groups, &Mask::None).unwrap();
    assert_eq!(heads.found, dmatrix![1.0, -1.0; 1.0, -1.0]);
}

#[test]
fn parameters_are_counted() {
    let (q, k, v, o) = (5 * 12, 5 * 6, 5 * 12, 24 * 7);
    assert_eq!(layer().parameters(), q + k + v + o);
}

#[test]
fn an_empty_chunk_changes_nothing() {
    let (layer, mut cache) = (layer(), KvCache::new(3, 6, 12));
    prefill(&layer, &ones(2, 5), &mut cache).unwrap();
    let attended = prefill(&layer, &ones(0, 5), &mut cache).unwrap();
    assert_eq!((attended.output.shape(), cache.len()), ((0, 7), 2));
}

#[test]
fn groups_that_are_none_are_refused() {
    for (heads, kv_heads) in
        [(0, 0), (0, 1), (4, 0), (4, 3), (4, 8), (7, 2), (usize::MAX, 2)]
    {
        says(
            Groups::new(heads, kv_heads),
            &format!("{heads} query heads cannot form {kv_heads} equal groups"),
        );
    }
}

#[test]
fn projections_that_do_not_fit_are_named() {
    let new = |q, k, v, o| GroupedQueryAttention::new(q, k, v, o, 6, 3);
    says(
        new(linear(5, 13), linear(5, 6), linear(5, 12), linear(24, 7)),
        "q_proj: width 13 cannot be split among 6 heads",
    );
    says(
        new(linear(5, 0), linear(5, 0), linear(5, 12), linear(24, 7)),
        "q_proj: width 0 cannot be split among 6 heads",
    );
    says(
        new(linear(5, 12), linear(5, 12), linear(5, 12), linear(24, 7)),
        "k_proj: expected (5, 6), found (5, 12): a key/value head is as wide as a query head",
    );
    says(
        new(linear(5, 12), linear(5, 6), linear(4, 12), linear(24, 7)),
        "v_proj: expected (5, 12), found (4, 12): keys and values read the same tokens",
    );
    says(
        new(linear(5, 12), linear(5, 6), linear(5, 11), linear(24, 7)),
        "v_proj: width 11 cannot be split among 3 heads",
    );
    says(
        new(linear(5, 12), linear(5, 6), linear(5, 12), linear(12, 7)),
        "o_proj: expected (24, 7), found (12, 7): it reads one value width for each query head",
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
    // As wide as the keys of all query heads: the cache that grouping was to save.
    let mut wide = KvCache::new(2, 12, 24);
    let refused = decode(&layer, &ones(1, 5), &mut wide);
    assert!(matches!(refused, Err(GroupError::Cache(_))));
    assert!(wide.is_empty());
}

#[test]
fn the_mean_of_equal_heads_is_that_head_to_the_last_bit() {
    let head = [0.1, -1e-7, 3e38, 0.333_333_34];
    let weight = DMatrix::from_vec(4, 3, head.repeat(3));
    let bias = DVector::repeat(3, 0.1);
    let linear = Linear::new(weight, Some(bias)).unwrap();
    let groups = Groups::new(3, 1).unwrap();
    let pooled = Pool::new(groups, Pooling::Mean).linear("k_proj", &linear).unwrap();
    assert_eq!(pooled.weight().as_slice(), head);
    assert_eq!(pooled.bias().unwrap().as_slice(), [0.1]);
}

#[test]
fn random_heads_follow_the_seed_and_are_as_large_as_those_they_replace() {
    let linear = Linear::new(DMatrix::repeat(64, 64, 0.5), None).unwrap();
    let pool = |seed| Pool::new(Groups::new(8, 4).unwrap(), Pooling::Random { seed });
    let weights = |pool: &mut Pool| pool.linear("k_proj", &linear).unwrap();
    let (mut one, mut same, mut other) = (pool(1), pool(1), pool(2));
    let first = weights(&mut one);
    assert_eq!(first, weights(&mut same));
    assert_ne!(first, weights(&mut other));
    assert_ne!(first, weights(&mut one), "the next projection gets other numbers");
    let size = (first.weight().norm_squared() / first.weight().len() as f32).sqrt();
    assert!((size - 0.5).abs() < 0.02, "{size}");
}

#[test]
fn a_projection_without_numbers_is_pooled_to_none() {
    let linear = Linear::new(DMatrix::zeros(0, 8), None).unwrap();
    for pooling in [Pooling::Mean, Pooling::First, Pooling::Random { seed: 0 }] {
        let mut pool = Pool::new(Groups::new(4, 2).unwrap(), pooling);
        assert_eq!(pool.linear("k_proj", &linear).unwrap().shape(), (0, 4));
    }
    let mut pool = Pool::new(Groups::new(3, 1).unwrap(), Pooling::Mean);
    says(
        pool.linear("v_proj", &linear),
        "v_proj: width 8 cannot be split among 3 heads",
    );
}
