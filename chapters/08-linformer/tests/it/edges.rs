//! Defined edges: nothing to attend, sequences that are too long, shapes that do not fit,
//! counts at the ends of their ranges.

use attention::Linear;
use chapter_cli::testing::assert_close;
use grouped_query::Groups;
use linformer::experiments::{self, normal, random};
use linformer::measured::{Measurements, share, singular};
use linformer::{LinformerAttention, LinformerError, Projections, SequenceProjection};
use linformer::{Sharing, attend_condensed};
use multi_head::LayerError;
use nalgebra::{DMatrix, dmatrix};
use std::sync::Arc;

fn ones(rows: usize, columns: usize) -> DMatrix<f32> {
    DMatrix::repeat(rows, columns, 1.0)
}

fn linear(d_in: usize, d_out: usize) -> Linear {
    Linear::new(ones(d_in, d_out), None).unwrap()
}

fn along(r: usize, n_max: usize) -> Vec<Arc<SequenceProjection>> {
    vec![Arc::new(SequenceProjection::new(ones(r, n_max)).unwrap())]
}

fn layer(
    maps: [(usize, usize); 4],
    heads: usize,
    kv_heads: usize,
    matrices: usize,
) -> Result<LinformerAttention, LayerError> {
    let [q, k, v, o] = maps.map(|(d_in, d_out)| linear(d_in, d_out));
    let all = vec![along(3, 7).remove(0); matrices];
    let projections = Projections::new(all.clone(), all).unwrap();
    let groups = Groups::new(heads, kv_heads).unwrap();
    LinformerAttention::new(q, k, Some(v), o, projections, groups)
}

/// Two heads of 4 on tokens of 5, to tokens of 6; three rows of at most 7 tokens.
fn good() -> LinformerAttention {
    layer([(5, 8), (5, 8), (5, 8), (8, 6)], 2, 2, 1).unwrap()
}

#[track_caller]
fn says<T, E: std::fmt::Display>(result: Result<T, E>, expected: &str) {
    let error = result.err().expect("an error");
    assert_eq!(error.to_string(), expected);
}

/// Square, with singular values of 0: nalgebra's own decomposition errs for some of these.
#[test]
fn a_map_of_low_rank_is_found_in_its_first_directions() {
    for (size, rank) in (2..20).flat_map(|size| (1..size).map(move |rank| (size, rank)))
    {
        let seed = (size * size + rank) as u64;
        let map = normal(size, rank, seed) * normal(rank, size, seed + 1000);
        let (squares, directions) = singular(&map);
        let map = map.map(f64::from);
        let all: f64 = squares.iter().sum();
        assert!((all - map.norm_squared()).abs() <= 1e-9 * all, "{size}, {rank}");
        // What f32 rounded off is all that is left.
        assert!(squares[rank..].iter().sum::<f64>() <= 1e-12 * all, "{size}, {rank}");
        let first = directions.columns(0, rank);
        let apart = (&map * first * first.transpose() - &map).norm();
        assert!(apart <= 1e-6 * map.norm(), "{size}, {rank}: {apart}");
    }
}

#[test]
fn no_tokens_give_an_empty_result_with_k_columns() {
    let found = good().forward(&ones(0, 5)).unwrap();
    assert_eq!(found.output.shape(), (0, 6));
    assert_eq!(found.weights, vec![ones(0, 3); 2]);
}

#[test]
fn an_empty_context_gives_zeros_from_even_weights() {
    let found = good().forward_cross(&ones(2, 5), &ones(0, 5)).unwrap();
    assert_eq!(found.output, DMatrix::zeros(2, 6));
    assert_eq!(found.weights[0], DMatrix::repeat(2, 3, 1.0 / 3.0));
}

#[test]
fn as_many_tokens_as_the_layer_reads_are_read_and_one_more_is_not() {
    assert!(good().forward(&ones(7, 5)).is_ok());
    let why = "8 tokens, but the layer was made for at most 7";
    says(good().forward(&ones(8, 5)), why);
    says(good().forward_cross(&ones(1, 5), &ones(8, 5)), why);
    assert!(good().forward_cross(&ones(20, 5), &ones(7, 5)).is_ok());
}

#[test]
fn sums_instead_of_means_by_hand() {
    // The exercise: keys (4, 1, 2, 1) and (6, 1, 4, 1), values (10, 10) and (20, 10). The
    // scores of (1, 0, 1, 0) are 3 and 5, its weights 1 / (1 + e²) and e² / (1 + e²).
    let k = dmatrix![
        2.0_f32, 0.0, 2.0, 0.0;
        2.0, 1.0, 0.0, 1.0;
        4.0, 1.0, 2.0, 1.0;
        2.0, 0.0, 2.0, 0.0
    ];
    let v = dmatrix![10.0_f32, 0.0; 0.0, 10.0; 10.0, 10.0; 10.0, 0.0];
    let q = dmatrix![1.0_f32, 0.0, 1.0, 0.0];
    let sums = dmatrix![1.0, 1.0, 0.0, 0.0; 0.0, 0.0, 1.0, 1.0];
    let e = SequenceProjection::new(sums).unwrap();
    let found =
        attend_condensed(q.as_view(), k.as_view(), v.as_view(), &e, &e).unwrap();
    let expected = dmatrix![18.807_97_f32, 10.0];
    chapter_cli::testing::assert_close("sun", &found.output, &expected, 1e-6);
}

#[test]
fn large_scores_do_not_overflow() {
    let e = SequenceProjection::new(DMatrix::identity(2, 2)).unwrap();
    let q = dmatrix![1e4_f32; -1e4];
    let v = dmatrix![1.0_f32; 2.0];
    let found =
        attend_condensed(q.as_view(), q.as_view(), v.as_view(), &e, &e).unwrap();
    assert_eq!(found.output, dmatrix![1.0; 2.0]);
}

#[test]
fn a_projection_to_nothing_is_refused() {
    let says_why = "proj: expected (1, 7), found (0, 7): something has to be left of the \
                    sequence";
    says(SequenceProjection::new(ones(0, 7)), says_why);
    says(SequenceProjection::mean_pooling(0, 7), says_why);
    says(
        SequenceProjection::mean_pooling(8, 7),
        "proj: expected (7, 7), found (8, 7): every stretch needs a token",
    );
    assert!(SequenceProjection::mean_pooling(0, 0).is_err());
}

#[test]
fn a_projection_for_no_tokens_reads_none() {
    let e = SequenceProjection::new(ones(2, 0)).unwrap();
    assert_eq!(e.forward(ones(0, 3).as_view()).unwrap(), DMatrix::zeros(2, 3));
    assert!(e.forward(ones(1, 3).as_view()).is_err());
}

#[test]
fn projections_that_do_not_go_together_are_refused() {
    let (three, four) = (along(3, 7), along(4, 7));
    let why = "what is condensed stays in step";
    says(
        Projections::new(three.clone(), four),
        &format!("proj_v: expected (3, 7), found (4, 7): {why}"),
    );
    says(
        Projections::new(three.clone(), along(3, 6)),
        &format!("proj_v: expected (3, 7), found (3, 6): {why}"),
    );
    // One head's E beside another's.
    let two = || [along(3, 7), along(3, 6)].concat();
    says(
        Projections::new(two(), two()),
        &format!("proj_k: expected (3, 7), found (3, 6): {why}"),
    );
    assert!(Projections::new(Vec::new(), Vec::new()).is_err());
    assert!(Projections::new(Vec::new(), three.clone()).is_err());
    assert!(Projections::new(vec![three[0].clone(); 2], three).is_err());
    let next = || SequenceProjection::new(ones(2, 3)).unwrap();
    assert!(Projections::of_model(Sharing::None, 2, 0, next).is_err());
    assert_eq!(Projections::of_model(Sharing::Layerwise, 0, 2, next).unwrap(), []);
}

#[test]
fn layers_that_do_not_fit_are_refused() {
    let o = (8, 6);
    says(
        layer([(5, 8), (5, 4), (5, 8), o], 2, 2, 1),
        "to_k: expected (5, 8), found (5, 4): a key is as wide as the query of a head",
    );
    says(
        layer([(5, 8), (5, 8), (5, 4), o], 2, 2, 1),
        "to_v: expected (5, 8), found (5, 4): a value is as wide as a key",
    );
    says(
        layer([(5, 8), (5, 8), (5, 8), (4, 6)], 2, 2, 1),
        "to_out: expected (8, 6), found (4, 6): it reads what all heads found",
    );
    says(
        layer([(5, 8), (5, 8), (5, 8), o], 3, 3, 1),
        "to_q: width 8 cannot be split among 3 heads",
    );
    says(
        layer([(5, 0), (5, 0), (5, 0), (0, 6)], 2, 2, 1),
        "to_q: width 0 cannot be split among 2 heads",
    );
    says(
        layer([(5, 8), (5, 8), (5, 8), o], 2, 2, 3),
        "E: expected (2, 1), found (3, 1): one for each key/value head, or one for all",
    );
    assert!(layer([(5, 8), (5, 8), (5, 8), o], 2, 2, 2).is_ok());
    assert!(layer([(5, 8), (5, 4), (5, 4), o], 2, 1, 1).is_ok());
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let why = "the projection reads that many features";
    says(
        good().forward(&ones(2, 4)),
        &format!("x: expected (2, 5), found (2, 4): {why}"),
    );
    says(
        good().forward_cross(&ones(2, 5), &ones(3, 4)),
        &format!("context: expected (3, 5), found (3, 4): {why}"),
    );
    let (q, k, e) =
        (ones(2, 3), ones(2, 2), SequenceProjection::new(ones(1, 2)).unwrap());
    let found = attend_condensed(q.as_view(), k.as_view(), k.as_view(), &e, &e);
    assert!(matches!(found, Err(LinformerError::Layer(LayerError::Shape(_)))));
}

#[test]
fn running_sums_refuse_what_does_not_fit() {
    let e = SequenceProjection::new(ones(2, 3)).unwrap();
    let run = |q: usize, k: usize, v: usize| {
        let (q, k, v) = (ones(q, 2), ones(k, 2), ones(v, 2));
        experiments::by_prefix(q.as_view(), k.as_view(), v.as_view(), &e, &e)
    };
    assert!(run(3, 3, 3).is_ok());
    says(run(4, 4, 4), "4 tokens, but the layer was made for at most 3");
    says(run(3, 2, 3), "k: expected (3, 2), found (2, 2): one for each token");
    says(run(3, 3, 2), "v: expected (3, 2), found (2, 2): one for each token");
}

#[test]
fn shared_matrices_are_counted_once() {
    let (one, other) = (along(2, 5), along(2, 5));
    let shared = Projections::new(one.clone(), one.clone()).unwrap();
    let apart = Projections::new(one, other).unwrap();
    assert_eq!(Projections::parameters(std::slice::from_ref(&shared)), 10);
    assert_eq!(Projections::parameters(std::slice::from_ref(&apart)), 20);
    assert_eq!(Projections::parameters(&[shared.clone(), shared]), 10);
    // Equal numbers are not one matrix.
    assert_eq!(good().parameters(), 3 * 5 * 8 + 8 * 6 + 3 * 7);
}

#[test]
fn the_bound_by_hand() {
    // 5 ln 512 = 31.19; 0.25 - 0.125 = 0.125; 0.01 - 0.001 = 0.009.
    assert_eq!(experiments::theorem_r(512, 0.5).round(), 250.0);
    assert_eq!(experiments::theorem_r(512, 0.1).round(), 3466.0);
    let from = experiments::theorem_says_something_from(0.5).unwrap();
    assert!(experiments::theorem_r(from, 0.5) < from as f64);
    assert!(experiments::theorem_r(from - 1, 0.5) >= (from - 1) as f64);
    assert!(experiments::theorem_says_something_from(1e-3).is_err());
}

#[test]
fn counts_by_hand() {
    // Two tokens of one feature: scores 4, average 4. With one row: E k 2, F v 2, scores
    // 2, average 2. At n = 2 r both are equal.
    assert_eq!(experiments::attention_multiply_adds(2, 1), 8);
    assert_eq!(experiments::linformer_multiply_adds(2, 1, 1), 8);
}

#[test]
fn a_share_goes_from_nothing_to_all() {
    let squares = [9.0, 4.0, 1.0];
    assert_eq!(share(&squares, 0), 0.0);
    assert_eq!(share(&squares, 1), 0.5);
    assert_eq!(share(&squares, 3), 1.0);
    assert_eq!(share(&squares, 9), 1.0);
}

#[test]
fn what_was_not_measured_is_not_made_up() {
    let measured = Measurements::read().unwrap();
    assert!(measured.at(6, 0, 128).is_err());
    assert!(measured.at(0, 0, 3).is_err());
}

/// What theorem 1 of the paper says of a column `w` of values, and what its proof says of a
/// random R. If the weights cancel in `P w`, no share of its length is enough for the
/// second, however many rows R has; and rank 1 is enough for the first.
#[test]
fn theorem_1_is_easy_for_one_column_and_its_proof_fails_where_terms_cancel() {
    const N: usize = 256;
    // Every token looks at all alike, and half of the values are 1, half of them -1.
    let map = DMatrix::from_element(N, N, 1.0 / N as f32);
    let w = DMatrix::from_fn(N, 1, |i, _| if i % 2 == 0 { 1.0_f32 } else { -1.0 });
    assert_eq!((&map * &w).norm(), 0.0);
    for rows in [64, N] {
        let r = random(rows, N, 5).unwrap();
        let down = r.forward(w.as_view()).unwrap();
        let condensed = r.forward(map.transpose().as_view()).unwrap();
        assert!((condensed.transpose() * down).norm() > 0.1);
    }
    let map = DMatrix::from_fn(N, N, |i, j| ((i * j) % 7) as f32 / N as f32);
    let w = DMatrix::from_fn(N, 1, |i, _| (i % 5) as f32 - 1.5);
    let rank_1 = &map * &w * w.transpose() / w.norm_squared();
    assert_close("P w", &(rank_1 * &w), &(map * w), 1e-3);
}
