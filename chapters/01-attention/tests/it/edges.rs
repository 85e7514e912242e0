//! Defined edges: nothing to attend, nothing to attend to, numbers at the end of f32,
//! shapes that do not fit.

use attention::experiments::worst_exp_error;
use attention::{Attended, Attention, Linear, Mask, ShapeError};
use attention::{exp_nonpositive, softmax, softmax_by_rows};
use nalgebra::{DMatrix, DVector, dmatrix, dvector};

/// On whole matrices, so that the tests below are free of views.
fn attend(
    q: &DMatrix<f32>,
    k: &DMatrix<f32>,
    v: &DMatrix<f32>,
    mask: &Mask,
) -> Result<Attended, ShapeError> {
    attention::attend(q.as_view(), k.as_view(), v.as_view(), mask)
}

fn ones(rows: usize, columns: usize) -> DMatrix<f32> {
    DMatrix::repeat(rows, columns, 1.0)
}

#[test]
fn no_queries_give_an_empty_result() {
    let Attended { output, weights } =
        attend(&ones(0, 4), &ones(3, 4), &ones(3, 2), &Mask::None).unwrap();
    assert_eq!((output.shape(), weights.shape()), ((0, 2), (0, 3)));
}

#[test]
fn no_keys_give_zeros() {
    let Attended { output, weights } =
        attend(&ones(3, 4), &ones(0, 4), &ones(0, 2), &Mask::None).unwrap();
    assert_eq!(weights.shape(), (3, 0));
    assert_eq!(output, DMatrix::zeros(3, 2));
}

#[test]
fn features_of_width_zero_score_zero() {
    let attended = attend(&ones(2, 0), &ones(4, 0), &ones(4, 1), &Mask::None).unwrap();
    assert_eq!(attended.weights, DMatrix::repeat(2, 4, 0.25));
}

#[test]
fn one_token_attends_to_itself() {
    let causal = Mask::Causal { offset: 0 };
    let attended =
        attend(&ones(1, 4), &ones(1, 4), &dmatrix![2.0, 3.0], &causal).unwrap();
    assert_eq!(attended.weights, ones(1, 1));
    assert_eq!(attended.output, dmatrix![2.0, 3.0]);
}

#[test]
fn a_query_with_every_key_hidden_gets_a_zero_row() {
    let allowed = dmatrix![false, false; true, false];
    let mask = Mask::Allowed(allowed);
    let attended = attend(&ones(2, 4), &ones(2, 4), &ones(2, 3), &mask).unwrap();
    assert_eq!(attended.weights, dmatrix![0.0, 0.0; 1.0, 0.0]);
    assert_eq!(attended.output, dmatrix![0.0, 0.0, 0.0; 1.0, 1.0, 1.0]);
}

#[test]
fn a_causal_mask_tells_first_from_last() {
    let (x, causal) = (dmatrix![1.0, 0.0; 0.0, 1.0], Mask::Causal { offset: 0 });
    let answers = |x: &DMatrix<f32>| attend(x, x, x, &causal).unwrap().output;
    let swapped = answers(&x.select_rows(&[1, 0])).select_rows(&[1, 0]);
    assert_ne!(answers(&x), swapped);
}

#[test]
fn huge_scores_neither_overflow_nor_vanish() {
    for softmax in [softmax, softmax_by_rows] {
        assert_eq!(softmax(dmatrix![1e4, -1e4, 0.0]), dmatrix![1.0, 0.0, 0.0]);
        assert_eq!(softmax(dmatrix![-1e4, -1e4]), dmatrix![0.5, 0.5]);
        let largest = softmax(dmatrix![f32::MAX, f32::MIN, f32::MAX]);
        assert_eq!(largest, dmatrix![0.5, 0.0, 0.5]);
    }
}

#[test]
fn infinite_scores_share_the_weight() {
    const INF: f32 = f32::INFINITY;
    for softmax in [softmax, softmax_by_rows] {
        assert_eq!(softmax(dmatrix![INF, 3.0, INF]), dmatrix![0.5, 0.0, 0.5]);
        assert_eq!(softmax(dmatrix![-INF, 3.0, -INF]), dmatrix![0.0, 1.0, 0.0]);
        assert_eq!(softmax(dmatrix![-INF, -INF]), dmatrix![0.0, 0.0]);
    }
}

#[test]
fn nan_stays_in_its_row_and_is_not_swallowed() {
    for softmax in [softmax, softmax_by_rows] {
        let weights = softmax(dmatrix![1.0, f32::NAN, 2.0; 1.0, 1.0, 1.0]);
        assert!(weights.row(0).iter().all(|w| w.is_nan()));
        assert!(weights.row(1).iter().all(|w| (w - 1.0 / 3.0).abs() < 1e-6));
    }
}

/// 0 · NaN is NaN, and so is 0 · ∞.
#[test]
fn what_is_hidden_does_not_leak() {
    let causal = Mask::Causal { offset: 0 };
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let (k, v) = (dmatrix![1.0; odd; 1.0], dmatrix![2.0, 3.0; odd, 5.0; 4.0, odd]);
        let Attended { output, .. } = attend(&ones(3, 1), &k, &v, &causal).unwrap();
        assert_eq!(output.row(0), dmatrix![2.0, 3.0].row(0));
        assert!(!output[(1, 0)].is_finite() && !output[(2, 1)].is_finite());

        let padding = Mask::padding(3, &[true, false, true]);
        let Attended { output, weights } =
            attend(&ones(3, 1), &k, &v, &padding).unwrap();
        assert_eq!(weights.row(0), dmatrix![0.5, 0.0, 0.5].row(0));
        assert_eq!(output.column(0), dmatrix![3.0; 3.0; 3.0].column(0));
        assert!(output.column(1).iter().all(|o| !o.is_finite()));

        let nothing = Mask::padding(3, &[false; 3]);
        let Attended { output, .. } = attend(&ones(3, 1), &k, &v, &nothing).unwrap();
        assert_eq!(output, DMatrix::zeros(3, 2));
    }
}

/// What a query sees shows, however little weight it has: here e^-100, which is 0.
#[test]
fn a_nan_that_is_seen_shows_at_weight_zero() {
    let (k, v) = (dmatrix![1.0; -99.0], dmatrix![2.0; f32::NAN]);
    let attended = attend(&ones(1, 1), &k, &v, &Mask::None).unwrap();
    assert_eq!(attended.weights, dmatrix![1.0, 0.0]);
    assert!(attended.output[0].is_nan());
}

#[test]
fn exp_is_good_to_seven_digits_and_defined_everywhere() {
    assert!(worst_exp_error() < f64::from(f32::EPSILON), "{:e}", worst_exp_error());
    assert_eq!(exp_nonpositive(0.0), 1.0);
    assert_eq!(exp_nonpositive(5.0), 1.0);
    assert_eq!(exp_nonpositive(f32::INFINITY), 1.0);
    assert!(exp_nonpositive(-87.0) > 0.0, "the last that f32 can hold");
    assert_eq!(exp_nonpositive(-87.5), 0.0);
    assert_eq!(exp_nonpositive(f32::MIN), 0.0);
    assert_eq!(exp_nonpositive(f32::NEG_INFINITY), 0.0);
    assert!(exp_nonpositive(f32::NAN).is_nan());
}

#[track_caller]
fn says<T>(result: Result<T, ShapeError>, expected: &str) {
    let error = result.err().expect("a shape error");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let none = Mask::None;
    says(
        attend(&ones(2, 4), &ones(3, 5), &ones(3, 1), &none),
        "k: expected (3, 4), found (3, 5): a dot product needs equal widths",
    );
    says(
        attend(&ones(2, 4), &ones(3, 4), &ones(2, 1), &none),
        "v: expected (3, 1), found (2, 1): every key has one value",
    );
    says(
        attend(&ones(2, 4), &ones(3, 4), &ones(3, 1), &Mask::padding(2, &[true])),
        "mask: expected (2, 3), found (2, 1): one entry per query and key",
    );
    says(
        Linear::new(ones(4, 2), Some(dvector![1.0])),
        "bias: expected (2, 1), found (1, 1): one entry for each feature that leaves",
    );
}

#[test]
fn layers_that_do_not_fit_are_refused() {
    let linear = |d_in, d_out| Linear::new(ones(d_in, d_out), None).unwrap();
    says(
        Attention::new(linear(6, 4), linear(5, 3), linear(5, 2)),
        "k_proj: expected (5, 4), found (5, 3): queries and keys meet in a dot product",
    );
    says(
        Attention::new(linear(6, 4), linear(5, 4), linear(7, 2)),
        "v_proj: expected (5, 2), found (7, 2): keys and values read the same tokens",
    );
    let layer = Attention::new(linear(6, 4), linear(5, 4), linear(5, 2)).unwrap();
    says(
        layer.forward_cross(&ones(2, 6), &ones(3, 6), &Mask::None),
        "context: expected (3, 5), found (3, 6): the projection reads that many features",
    );
    says(
        layer.forward(&ones(2, 5), &Mask::None),
        "x: expected (2, 6), found (2, 5): the projection reads that many features",
    );
}

#[test]
fn a_linear_map_gives_back_what_it_was_made_of() {
    let (weight, bias) =
        (dmatrix![1.0, 2.0, 3.0; 4.0, 5.0, 6.0], dvector![7.0, 8.0, 9.0]);
    let linear = Linear::new(weight.clone(), Some(bias.clone())).unwrap();
    assert_eq!((linear.weight(), linear.bias()), (&weight, Some(&bias)));
    assert_eq!((linear.shape(), linear.parameters()), ((2, 3), 6 + 3));
    let linear = Linear::new(weight, None).unwrap();
    assert_eq!((linear.bias(), linear.parameters()), (None, 6));
}

#[test]
fn a_bias_is_added_to_every_token() {
    let bias: DVector<f32> = dvector![10.0, 20.0];
    let linear = Linear::new(dmatrix![1.0, 2.0], Some(bias)).unwrap();
    let y = linear.forward(&dmatrix![1.0; 3.0]).unwrap();
    assert_eq!(y, dmatrix![11.0, 22.0; 13.0, 26.0]);
}
