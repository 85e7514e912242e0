//! What holds for heads that are turned toward one another.

use chapter_cli::testing::assert_close;
use multi_query::alignment::{Freedom, turn_heads, turns};
use nalgebra::DMatrix;
use proptest::prelude::*;
use proptest::property_test;

/// Sums of up to 8 products of numbers up to 2, after a decomposition in f64 that is kept
/// in f32.
const TOLERANCE: f32 = 1e-4;

fn matrix(rows: usize, columns: usize) -> impl Strategy<Value = DMatrix<f32>> {
    prop::collection::vec(-2.0_f32..2.0, rows * columns)
        .prop_map(move |data| DMatrix::from_vec(rows, columns, data))
}

/// Some heads of an even width, and how they may turn.
#[derive(Debug, Clone)]
struct Case {
    all: DMatrix<f32>,
    heads: usize,
    freedom: Freedom,
}

fn case() -> impl Strategy<Value = Case> {
    let sizes = (1..5_usize, 1..4_usize, 1..8_usize, 0..4_usize);
    sizes.prop_flat_map(|(heads, half, d_in, rotated)| {
        let rotary_dim = 2 * rotated.min(half);
        let freedom = prop::sample::select(vec![
            Freedom::Any,
            Freedom::HalfSplit { rotary_dim },
            Freedom::Interleaved { rotary_dim },
            Freedom::Fixed,
        ]);
        (matrix(d_in, heads * 2 * half), freedom).prop_map(move |(all, freedom)| Case {
            all,
            heads,
            freedom,
        })
    })
}

/// Any orthogonal matrix: what remains of a random one without its upper triangle.
fn orthogonal(width: usize) -> impl Strategy<Value = DMatrix<f32>> {
    matrix(width, width)
        .prop_map(|random| random.map(f64::from).qr().q().map(|x| x as f32))
}

/// The sum of squares of what is between each head and the mean of all.
fn apart(all: &DMatrix<f32>, heads: usize) -> f32 {
    let width = all.ncols() / heads;
    let mean = multi_query::mean_of_heads(all, heads).unwrap();
    (0..heads).map(|h| (all.columns(h * width, width) - &mean).norm_squared()).sum()
}

#[property_test]
fn turns_are_orthogonal(#[strategy = case()] case: Case) {
    for turn in turns(&case.all, case.heads, case.freedom).unwrap() {
        let identity = DMatrix::identity(turn.nrows(), turn.nrows());
        assert_close("RᵀR", &turn.tr_mul(&turn), &identity, TOLERANCE);
    }
}

#[property_test]
fn turned_heads_are_no_farther_from_their_mean(#[strategy = case()] case: Case) {
    let turns = turns(&case.all, case.heads, case.freedom).unwrap();
    let turned = turn_heads(&case.all, &turns).unwrap();
    let (before, after) = (apart(&case.all, case.heads), apart(&turned, case.heads));
    prop_assert!(after <= before + TOLERANCE * before.max(1.0), "{before} to {after}");
}

#[property_test]
fn one_head_in_two_bases_becomes_one_head(
    #[strategy = (1..6_usize).prop_flat_map(|w| (matrix(6, w), orthogonal(w)))]
    (head, turn): (DMatrix<f32>, DMatrix<f32>),
) {
    let width = head.ncols();
    let mut all = DMatrix::zeros(head.nrows(), 2 * width);
    all.columns_mut(0, width).copy_from(&head);
    all.columns_mut(width, width).copy_from(&(&head * turn));
    let turned = turn_heads(&all, &turns(&all, 2, Freedom::Any).unwrap()).unwrap();
    let of = |h| turned.columns(h * width, width).into_owned();
    assert_close("heads", &of(1), &of(0), 10.0 * TOLERANCE);
}

/// Pair p of `width` features rotated by an angle of its own, features in no pair as they
/// are.
fn rotation(pairs: &[[usize; 2]], width: usize, angles: &[f32]) -> DMatrix<f32> {
    let mut rotation = DMatrix::identity(width, width);
    for (&[a, b], angle) in pairs.iter().zip(angles) {
        let (sin, cos) = angle.sin_cos();
        for (row, column, entry) in
            [(a, a, cos), (b, b, cos), (a, b, sin), (b, a, -sin)]
        {
            rotation[(row, column)] = entry;
        }
    }
    rotation
}

#[property_test]
fn turns_within_pairs_commute_with_the_rotation_of_positions(
    #[strategy = matrix(5, 12)] all: DMatrix<f32>,
    #[strategy = prop::collection::vec(-4.0_f32..4.0, 2)] angles: Vec<f32>,
) {
    // Two heads of 6, of which the first 4 features rotate.
    let half_split = (Freedom::HalfSplit { rotary_dim: 4 }, [[0, 2], [1, 3]]);
    let interleaved = (Freedom::Interleaved { rotary_dim: 4 }, [[0, 1], [2, 3]]);
    for (freedom, pairs) in [half_split, interleaved] {
        let rotation = rotation(&pairs, 6, &angles);
        for turn in turns(&all, 2, freedom).unwrap() {
            assert_close(
                "order",
                &(&turn * &rotation),
                &(&rotation * &turn),
                TOLERANCE,
            );
        }
    }
}

#[test]
fn fixed_heads_and_single_heads_stay() {
    let all = DMatrix::from_fn(3, 4, |i, j| (i * 4 + j) as f32);
    for (heads, freedom) in [(2, Freedom::Fixed), (1, Freedom::Fixed)] {
        let turns = turns(&all, heads, freedom).unwrap();
        assert_eq!(turn_heads(&all, &turns).unwrap(), all);
    }
    assert_eq!(turns(&all, 3, Freedom::Any).unwrap_err().to_string(), {
        "projection: width 4 cannot be split among 3 heads"
    });
}

#[test]
fn heads_with_nan_stay_as_they_are() {
    let mut all = DMatrix::from_fn(3, 4, |i, j| (i * 4 + j) as f32);
    all[(1, 1)] = f32::NAN;
    for turn in turns(&all, 2, Freedom::Any).unwrap() {
        assert_eq!(turn, DMatrix::identity(2, 2));
    }
    let zeros = DMatrix::zeros(3, 4);
    for turn in turns(&zeros, 2, Freedom::Any).unwrap() {
        assert!(turn.iter().all(|x| x.is_finite()));
    }
}

#[test]
fn a_turn_of_another_width_is_refused() {
    let all = DMatrix::zeros(3, 4);
    let turns = [DMatrix::identity(2, 2), DMatrix::identity(3, 3)];
    let error = turn_heads(&all, &turns).unwrap_err().to_string();
    assert!(error.starts_with("turn: "), "{error}");
}
