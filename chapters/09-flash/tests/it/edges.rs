//! Defined edges: nothing to attend, infinities, shapes that do not fit.

use attention::Mask;
use chapter_cli::testing::assert_close;
use flash::experiments::normal;
use flash::kernel::{Exp, Tuning, Vectors};
use flash::{
    Align, CHUNK, Partial, Tile, attend, attend_causal, attend_tiled, attend_tuned,
    attend_with_sinks, chunk, decode,
};
use grouped_query::{Groups, attend_groups};
use nalgebra::{DMatrix, dmatrix};

const TILE: Tile = Tile { queries: 2, keys: 2 };

fn ones(rows: usize, columns: usize) -> DMatrix<f32> {
    DMatrix::repeat(rows, columns, 1.0)
}

fn groups() -> Groups {
    Groups::new(4, 2).unwrap()
}

/// By every way that the chapter has, for one head.
fn every_way(
    q: &DMatrix<f32>,
    k: &DMatrix<f32>,
    v: &DMatrix<f32>,
    mask: &Mask,
) -> Vec<(String, DMatrix<f32>)> {
    let one = Groups::new(1, 1).unwrap();
    let (k, v) = (k.as_view(), v.as_view());
    let mut found = vec![
        ("attend".into(), attend(q, k, v, one, mask).unwrap()),
        ("tiled".into(), attend_tiled(q.as_view(), k, v, mask, TILE).unwrap()),
    ];
    for vectors in [Vectors::Widest, Vectors::UpToEight, Vectors::One] {
        for exp in [Exp::Series, Exp::Library] {
            let tuning = Tuning { tile: TILE, vectors, exp };
            let output = attend_tuned(q, k, v, one, mask, tuning).unwrap();
            found.push((format!("{vectors:?}, {exp:?}"), output));
        }
    }
    found
}

#[track_caller]
fn says<T>(result: Result<T, impl std::fmt::Display>, expected: &str) {
    let error = result.err().expect("an error");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn vectors_hold_as_many_numbers_as_their_names_allow() {
    let [one, up_to_eight, widest] =
        [Vectors::One, Vectors::UpToEight, Vectors::Widest].map(Vectors::lanes);
    assert_eq!(one, 1);
    assert!((1..=8).contains(&up_to_eight), "{up_to_eight}");
    // Only x86-64 has vectors of more than eight.
    let wider = if cfg!(target_arch = "x86_64") { up_to_eight..=16 } else { 1..=8 };
    assert!(wider.contains(&widest), "{widest}");
}

#[test]
fn no_queries_give_an_empty_result() {
    for (name, found) in every_way(&ones(0, 3), &ones(5, 3), &ones(5, 2), &Mask::None) {
        assert_eq!(found.shape(), (0, 2), "{name}");
    }
}

#[test]
fn no_keys_give_zeros() {
    for n in [1, 3] {
        for mask in [Mask::None, Mask::Causal { offset: 0 }] {
            for (name, found) in every_way(&ones(n, 3), &ones(0, 3), &ones(0, 2), &mask)
            {
                assert_eq!(found, DMatrix::zeros(n, 2), "{name}");
            }
        }
    }
}

#[test]
fn one_query_sees_what_its_offset_says() {
    let (k, v) = (ones(4, 3), dmatrix![1.0; 3.0; 5.0; 7.0]);
    for (offset, expected) in
        [(0, 1.0), (1, 2.0), (3, 4.0), (9, 4.0), (usize::MAX, 4.0)]
    {
        let mask = Mask::Causal { offset };
        for (name, found) in every_way(&ones(1, 3), &k, &v, &mask) {
            assert_close(&name, &found, &dmatrix![expected], 1e-6);
        }
    }
}

#[test]
fn a_query_with_every_key_hidden_gets_zeros() {
    let mut allowed = DMatrix::repeat(5, 7, true);
    allowed.row_mut(1).fill(false);
    // Blind in the first tiles alone, and in the last alone.
    allowed.view_mut((2, 0), (1, 4)).fill(false);
    allowed.view_mut((3, 4), (1, 3)).fill(false);
    let v = DMatrix::from_fn(7, 2, |key, f| (key + f) as f32);
    for (name, found) in
        every_way(&ones(5, 3), &ones(7, 3), &v, &Mask::Allowed(allowed))
    {
        let expected = dmatrix![3.0, 4.0; 0.0, 0.0; 5.0, 6.0; 1.5, 2.5; 3.0, 4.0];
        assert_close(&name, &found, &expected, 1e-6);
    }
}

#[test]
fn what_is_hidden_does_not_leak() {
    let causal = Mask::Causal { offset: 0 };
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let k = dmatrix![1.0; 1.0; odd; 1.0; 1.0];
        let v = dmatrix![1.0, 1.0; 3.0, 3.0; odd, odd; 7.0, 7.0; 9.0, odd];
        for (name, found) in every_way(&ones(3, 1), &ones(5, 1), &v, &causal) {
            assert_eq!(found.rows(0, 2), dmatrix![1.0, 1.0; 2.0, 2.0], "{name}");
            assert!(found.row(2).iter().all(|o| !o.is_finite()), "{name}: {found}");
        }
        let padding = Mask::padding(3, &[true, true, false, true, true]);
        for (name, found) in every_way(&ones(3, 1), &k, &v, &padding) {
            assert_eq!(found.column(0), dmatrix![5.0; 5.0; 5.0], "{name}");
            assert!(found.column(1).iter().all(|o| !o.is_finite()), "{name}: {found}");
        }
    }
}

/// Keys that give scores which are not finite, in each place.
fn extreme_keys() -> [DMatrix<f32>; 7] {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    [
        dmatrix![1.0; inf; 2.0; 0.5; 1.0],
        dmatrix![1.0; 1.0; 2.0; inf; inf],
        dmatrix![-inf; 1.0; 2.0; 0.5; -inf],
        dmatrix![-inf; -inf; -inf; -inf; -inf],
        dmatrix![1.0; 1.0; nan; 0.5; 1.0],
        dmatrix![nan; 1.0; 1.0; 1.0; inf],
        dmatrix![3e38; -3e38; 3e38; 1.0; 1.0],
    ]
}

/// NaN in the same places, and the other numbers alike. Relative: chapter 5 adds up to
/// 4,101 exponentials one after the other, and is itself off by as much as half of this.
#[track_caller]
fn assert_same(name: &str, found: &DMatrix<f32>, expected: &DMatrix<f32>) {
    assert_eq!(found.shape(), expected.shape(), "{name}");
    for (f, e) in found.iter().zip(expected.iter()) {
        let same = f.is_nan() && e.is_nan() || (f - e).abs() <= 1e-4 * e;
        assert!(same, "{name}, found {found}, expected {expected}");
    }
}

/// What is not finite comes out as in chapter 1: for each row, in each place.
#[test]
fn infinities_and_nan_give_what_softmax_says() {
    let q = dmatrix![1.0; 2.0; 1e-3; -1.0; 0.0];
    let v = dmatrix![1.0; 2.0; 4.0; 8.0; 16.0];
    for k in &extreme_keys() {
        for mask in [Mask::None, Mask::Causal { offset: 0 }] {
            let one = Groups::new(1, 1).unwrap();
            let (kv, vv) = (k.as_view(), v.as_view());
            let expected = attend_groups(&q, kv, vv, one, &mask).unwrap().found;
            for (name, found) in every_way(&q, k, &v, &mask) {
                assert_same(&format!("{name}, keys {k}"), &found, &expected);
            }
        }
    }
}

/// In decoding too: for one head and for several that share, in the only chunk and in a
/// last one that is merged with others.
#[test]
fn infinities_and_nan_are_decoded_as_softmax_says() {
    for k in &extreme_keys() {
        for before in [0, 2 * CHUNK] {
            let keys = before + k.nrows();
            let k = k.clone().insert_rows(0, before, 0.5);
            let v = DMatrix::from_fn(keys, 3, |key, f| (1 + key % 8 + f) as f32);
            for heads in 1..=5 {
                let q = dmatrix![1.0, 2.0, 1e-3, -1.0, 0.0].columns(0, heads).into();
                let groups = Groups::new(heads, 1).unwrap();
                let (kv, vv) = (k.as_view(), v.as_view());
                let expected =
                    attend_groups(&q, kv, vv, groups, &Mask::None).unwrap().found;
                let found = decode(&q, kv, vv, groups).unwrap();
                let name = format!("{heads} heads, {before} keys before");
                assert_same(&name, &found, &expected);
            }
        }
    }
}

/// A vector that is loaded in part has nothing in it of the keys behind, nor of the head
/// beside.
#[test]
fn a_token_is_decoded_from_what_it_sees_alone() {
    let (m, d_k, d_v) = (70, 3, 5);
    let groups = Groups::new(6, 2).unwrap();
    let q = normal(1, 6 * d_k, 1);
    let (k, v) = (normal(m, 2 * d_k, 2), normal(m, 2 * d_v, 3));
    for seen in 1..m {
        let [cut_k, cut_v] = [&k, &v].map(|all| all.rows(0, seen).into_owned());
        let [hidden_k, hidden_v] =
            [&cut_k, &cut_v].map(|cut| cut.clone().resize_vertically(m, f32::NAN));
        let mask = Mask::Causal { offset: seen - 1 };
        let (kv, vv) = (hidden_k.as_view(), hidden_v.as_view());
        let found = attend(&q, kv, vv, groups, &mask).unwrap();
        let (kv, vv) = (cut_k.as_view(), cut_v.as_view());
        let expected = attend_groups(&q, kv, vv, groups, &Mask::None).unwrap().found;
        assert!(found.iter().all(|number| number.is_finite()), "{seen} keys");
        assert_close(&format!("{seen} keys"), &found, &expected, 1e-5);
    }
}

#[test]
fn keys_are_split_no_further_than_cores_need() {
    let two = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    two.install(|| {
        for (keys, kv_heads, expected) in [
            (8192, 32, 8192),
            (8192, 8, 8192),
            (8192, 2, CHUNK),
            (8192, 1, CHUNK),
            (65_536, 1, 8192),
            (65_536, 3, 21_846),
            (5, 1, CHUNK),
            (0, 0, CHUNK),
        ] {
            assert_eq!(
                chunk(keys, kv_heads),
                expected,
                "{keys} keys, {kv_heads} heads"
            );
        }
    });
}

#[test]
fn a_hidden_nan_stays_hidden() {
    let mut k = ones(6, 2);
    k.row_mut(5).fill(f32::NAN);
    for (name, found) in
        every_way(&ones(6, 2), &k, &ones(6, 1), &Mask::Causal { offset: 0 })
    {
        assert_eq!(found.rows(0, 5), ones(5, 1).rows(0, 5), "{name}");
        assert!(found[(5, 0)].is_nan(), "{name}");
    }
}

#[test]
fn huge_scores_do_not_overflow() {
    let q = dmatrix![1e4; -1e4; 3e38];
    let k = dmatrix![1.0; -1.0; 0.5];
    for (name, found) in every_way(&q, &k, &k, &Mask::None) {
        assert_eq!(found, dmatrix![1.0; -1.0; 1.0], "{name}");
    }
}

#[test]
fn keys_that_outnumber_the_queries_by_far_are_all_seen() {
    let m = 10_000;
    let v = DMatrix::from_fn(m, 1, |key, _| if key == m - 1 { 1e4 } else { 0.0 });
    for n in [1, 2] {
        let one = Groups::new(1, 1).unwrap();
        let (k, q) = (ones(m, 2), ones(n, 2));
        let found = attend(&q, k.as_view(), v.as_view(), one, &Mask::None).unwrap();
        assert_close("the last key", &found, &ones(n, 1), 1e-4);
    }
}

#[test]
fn queries_before_the_first_key_get_zeros() {
    let (q, k) = (ones(5, 4), ones(2, 2));
    let v = dmatrix![1.0, 10.0; 3.0, 30.0];
    let groups = Groups::new(2, 1).unwrap();
    let found = |align| attend_causal(&q, k.as_view(), v.as_view(), groups, align);
    let first = found(Align::First).unwrap();
    assert_eq!(first.column(0), dmatrix![1.0; 2.0; 2.0; 2.0; 2.0].column(0));
    let last = found(Align::Last).unwrap();
    assert_eq!(last.column(0), dmatrix![0.0; 0.0; 0.0; 1.0; 2.0].column(0));
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let none = &Mask::None;
    let attend =
        |q: (usize, usize), k: (usize, usize), v: (usize, usize), mask: &Mask| {
            let (k, v) = (ones(k.0, k.1), ones(v.0, v.1));
            attend(&ones(q.0, q.1), k.as_view(), v.as_view(), groups(), mask)
        };
    for n in [1, 3] {
        says(
            attend((n, 7), (5, 4), (5, 4), none),
            "q: width 7 cannot be split among 4 heads",
        );
        says(
            attend((n, 0), (5, 0), (5, 4), none),
            "q: width 0 cannot be split among 4 heads",
        );
        says(
            attend((n, 8), (5, 4), (5, 3), none),
            "v: width 3 cannot be split among 2 heads",
        );
        let why = "one key per value, as wide as a query head";
        says(
            attend((n, 8), (5, 8), (5, 4), none),
            &format!("k: expected (5, 4), found (5, 8): {why}"),
        );
        says(
            attend((n, 8), (4, 4), (5, 4), &Mask::Causal { offset: 9 }),
            &format!("k: expected (5, 4), found (4, 4): {why}"),
        );
        let mask = Mask::Allowed(DMatrix::repeat(n, 4, true));
        says(
            attend((n, 8), (5, 4), (5, 4), &mask),
            &format!(
                "mask: expected ({n}, 5), found ({n}, 4): one entry per query and key"
            ),
        );
    }
    says(
        decode(&ones(2, 8), ones(5, 4).as_view(), ones(5, 4).as_view(), groups()),
        "q: expected (1, 8), found (2, 8): decoding goes token by token",
    );
    let tiled = |q: &DMatrix<f32>, k: &DMatrix<f32>, v: &DMatrix<f32>, mask| {
        attend_tiled(q.as_view(), k.as_view(), v.as_view(), mask, TILE)
    };
    says(
        tiled(&ones(3, 4), &ones(5, 3), &ones(5, 2), none),
        "k: expected (5, 4), found (5, 3): a dot product needs equal widths",
    );
    says(
        tiled(&ones(3, 4), &ones(5, 4), &ones(6, 2), none),
        "v: expected (5, 2), found (6, 2): every key has one value",
    );
    says(
        Partial::of(ones(2, 3), ones(4, 1).as_view()),
        "values: expected (3, 1), found (4, 1): every key has one value",
    );
    says(
        Partial::nothing(2, 3).merge(&Partial::nothing(2, 4)),
        "weighted: expected (2, 3), found (2, 4): results of the same queries are merged",
    );
}

/// An operating system would not give that much memory, and need not.
#[test]
fn tiles_may_be_larger_than_all_there_is() {
    let huge = Tile { queries: usize::MAX, keys: usize::MAX };
    let (q, k) = (ones(3, 2), ones(4, 2));
    let found =
        attend_tiled(q.as_view(), k.as_view(), k.as_view(), &Mask::None, huge).unwrap();
    assert_close("tiled", &found, &ones(3, 2), 1e-6);
    let tuning = Tuning { tile: huge, ..Tuning::default() };
    let one = Groups::new(1, 1).unwrap();
    let found =
        attend_tuned(&q, k.as_view(), k.as_view(), one, &Mask::None, tuning).unwrap();
    assert_close("tuned", &found, &ones(3, 2), 1e-6);
}

/// By hand: query 3 stands at key 4 with an offset of 1, and a window of 2 leaves keys 3
/// and 4. A window of none leaves nothing.
#[test]
fn a_window_is_counted_with_oneself() {
    let v = dmatrix![1.0; 2.0; 4.0; 8.0; 16.0];
    let (q, k) = (DMatrix::zeros(4, 1), DMatrix::zeros(5, 1));
    for (window, wanted) in [(1, 16.0), (2, 12.0), (3, 28.0 / 3.0), (9, 6.2), (0, 0.0)]
    {
        let mask = Mask::Window { offset: 1, window };
        for (way, found) in every_way(&q, &k, &v, &mask) {
            assert!((found[(3, 0)] - wanted).abs() < 1e-5, "{way}, {window}: {found}");
        }
    }
}

#[test]
fn one_query_sees_its_window_and_no_nan_outside() {
    let (q, k) = (ones(1, 8), ones(9, 4));
    let mut v = ones(9, 4);
    v.row_mut(2).fill(f32::NAN);
    v.row_mut(7).fill(f32::NAN);
    let mask = Mask::Window { offset: 6, window: 4 };
    let found = attend(&q, k.as_view(), v.as_view(), groups(), &mask).unwrap();
    assert_close("output", &found, &ones(1, 8), 1e-6);
    let sinks = [f32::NEG_INFINITY; 4];
    let found =
        attend_with_sinks(&q, k.as_view(), v.as_view(), groups(), &mask, &sinks);
    assert_close("output", &found.unwrap(), &ones(1, 8), 1e-6);
    let far = Mask::Window { offset: usize::MAX, window: 4 };
    let found = attend(&q, k.as_view(), v.as_view(), groups(), &far).unwrap();
    assert_eq!(found, DMatrix::zeros(1, 8));
}

/// By hand: two keys with the score 0 and the value 3 weigh e⁰ each; a sink of ln 2 weighs
/// as much as both, and takes half.
#[test]
fn a_sink_takes_its_share() {
    let v = ones(2, 4) * 3.0;
    for queries in [1, 3] {
        let (q, k) = (DMatrix::zeros(queries, 8), DMatrix::zeros(2, 4));
        let ln_2 = std::f32::consts::LN_2;
        let sinks = [ln_2, f32::NEG_INFINITY, f32::INFINITY, f32::NAN];
        let found = attend_with_sinks(
            &q,
            k.as_view(),
            v.as_view(),
            groups(),
            &Mask::None,
            &sinks,
        );
        for row in found.unwrap().row_iter() {
            assert!((row[0] - 1.5).abs() < 1e-6 && (row[2] - 3.0).abs() < 1e-6);
            assert!(row[4] == 0.0 && row[6].is_nan(), "{row}");
        }
    }
}

#[test]
fn every_head_has_its_sink() {
    let (q, k, v) = (ones(2, 8), ones(3, 4), ones(3, 4));
    let sinks = [0.0; 3];
    says(
        attend_with_sinks(&q, k.as_view(), v.as_view(), groups(), &Mask::None, &sinks),
        "sinks: expected (4, 1), found (3, 1): every query head has one sink",
    );
}
