//! Defined edges: nothing to attend, full caches, shapes that do not fit, counts at the
//! ends of their ranges.

use attention::{Linear, Mask};
use chapter_cli::testing::assert_close;
use latent::experiments::{LowRank, SCALED, Shape, scaled_layer};
use latent::{
    Expanded, Form, LatentAttention, Projections, Queries, QueryProjection, RmsNorm,
    Sizes, decode, prefill,
};
use nalgebra::{DMatrix, DVector, dmatrix};
use rotary::{Pairing, Rotary};

const FORMS: [Form; 2] = [Form::Naive, Form::Absorbed];

fn ones(rows: usize, columns: usize) -> DMatrix<f32> {
    DMatrix::repeat(rows, columns, 1.0)
}

fn linear(d_in: usize, d_out: usize) -> Linear {
    Linear::new(ones(d_in, d_out), None).unwrap()
}

/// Three heads of 4 + 2 and values of 5, latents of 7, tokens of 6 to tokens of 8.
const SIZES: Sizes = Sizes { heads: 3, nope_dim: 4, rope_dim: 2, v_dim: 5 };

fn projections() -> Projections {
    Projections {
        query: QueryProjection::Full(linear(6, 18)),
        kv_a_proj: linear(6, 9),
        kv_a_layernorm: RmsNorm::new(vec![1.0; 7]),
        kv_b_proj: linear(7, 27),
        o_proj: linear(15, 8),
    }
}

fn layer() -> LatentAttention {
    LatentAttention::new(projections(), SIZES, 10_000.0).unwrap()
}

#[track_caller]
fn says<T, E: std::fmt::Display>(result: Result<T, E>, expected: &str) {
    let error = result.err().expect("an error");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn no_tokens_give_an_empty_result() {
    for form in FORMS {
        let found = layer().forward(&ones(0, 6), &Mask::None, form).unwrap();
        assert_eq!(found.output.shape(), (0, 8));
        assert_eq!(found.weights, vec![ones(0, 0); 3]);
    }
}

#[test]
fn a_query_without_keys_gets_zeros_even_if_values_have_a_bias() {
    let mut all = projections();
    let bias = DVector::from_element(27, 1.0);
    all.kv_b_proj = Linear::new(ones(7, 27), Some(bias)).unwrap();
    let layer = LatentAttention::new(all, SIZES, 10_000.0).unwrap();
    let mask = Mask::Allowed(dmatrix![false, false; true, false]);
    for form in FORMS {
        let found = layer.forward(&ones(2, 6), &mask, form).unwrap();
        assert_eq!(found.output.row(0), DMatrix::zeros(1, 8).row(0), "{form:?}");
        assert!(found.output.row(1).amax() > 1.0);
    }
}

#[test]
fn tokens_of_zeros_are_no_nan() {
    for form in FORMS {
        let found = layer().forward(&DMatrix::zeros(3, 6), &Mask::None, form).unwrap();
        assert_eq!(found.output, DMatrix::zeros(3, 8));
    }
}

#[test]
fn an_empty_prompt_leaves_the_cache_empty() {
    let mut cache = layer().cache(3);
    let found = prefill(&layer(), &ones(0, 6), &mut cache, Form::Absorbed).unwrap();
    assert_eq!((found.output.shape(), cache.is_empty()), ((0, 8), true));
}

#[test]
fn a_first_token_can_be_decoded() {
    for form in FORMS {
        let mut cache = layer().cache(1);
        let found = decode(&layer(), &ones(1, 6), &mut cache, form).unwrap();
        assert_eq!(found.weights, vec![ones(1, 1); 3]);
        assert_eq!(cache.len(), 1);
    }
}

#[test]
fn a_full_cache_says_so_and_keeps_what_it_has() {
    let mut cache = layer().cache(2);
    prefill(&layer(), &ones(2, 6), &mut cache, Form::Naive).unwrap();
    let before = cache.clone();
    says(
        decode(&layer(), &ones(1, 6), &mut cache, Form::Naive),
        "the cache holds 2 of 2 tokens: no room for 1 more",
    );
    assert_eq!(cache, before);
}

#[test]
fn a_cache_of_another_layer_does_not_fit() {
    let mut cache = scaled_layer().unwrap().cache(2);
    says(
        prefill(&layer(), &ones(1, 6), &mut cache, Form::Naive),
        "keys: expected (1, 576), found (1, 9): the cache is this wide",
    );
    assert!(cache.is_empty());
}

#[test]
fn decoding_two_tokens_at_once_is_refused() {
    let mut cache = layer().cache(2);
    let why = "decoding goes token by token";
    says(
        decode(&layer(), &ones(2, 6), &mut cache, Form::Absorbed),
        &format!("x: expected (1, 6), found (2, 6): {why}"),
    );
    let q = layer().queries(&ones(2, 6), 0).unwrap();
    let kept = layer().compress(&ones(3, 6), 0).unwrap();
    let says_so = format!("q: expected (1, 12), found (2, 12): {why}");
    for form in FORMS {
        says(layer().attend_one(&q, kept.as_view(), form), &says_so);
    }
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let layer = layer();
    let why = "the projection reads that many features";
    let wrong = format!("x: expected (2, 6), found (2, 5): {why}");
    says(layer.forward(&ones(2, 5), &Mask::None, Form::Naive), &wrong);
    let mask = Mask::Allowed(DMatrix::repeat(2, 3, true));
    for form in FORMS {
        says(
            layer.forward(&ones(2, 6), &mask, form),
            "mask: expected (2, 2), found (2, 3): one entry per query and key",
        );
    }
    let q = layer.queries(&ones(1, 6), 0).unwrap();
    let kept =
        "kept: expected (2, 9), found (2, 8): one latent and one turned key per token";
    for form in FORMS {
        says(layer.attend(&q, ones(2, 8).as_view(), &Mask::None, form), kept);
        says(layer.attend_one(&q, ones(2, 8).as_view(), form), kept);
    }
    says(layer.expand(ones(2, 8).as_view()), kept);
    let [nope, rope] = [(1, 11), (1, 7)].map(|(rows, columns)| ones(rows, columns));
    let wrong = [
        (Queries { nope, ..q.clone() }, "q.nope: expected (1, 12), found (1, 11)"),
        (Queries { rope, ..q.clone() }, "q.rope: expected (1, 6), found (1, 7)"),
    ];
    for (q, told) in wrong {
        says(
            layer.attend_one(&q, ones(2, 9).as_view(), Form::Absorbed),
            &format!("{told}: one query per head"),
        );
    }
    let expanded = Expanded { k: ones(2, 12), v: ones(2, 15) };
    says(
        layer.attend_expanded(&q, &expanded, ones(3, 2).as_view()),
        "k: expected (3, 12), found (2, 12): a key for each head and turned key",
    );
    says(
        RmsNorm::new(vec![1.0; 3]).forward(&ones(1, 2)),
        "x: expected (1, 3), found (1, 2): the norm has one weight per feature",
    );
}

#[test]
fn layers_that_do_not_fit_are_refused() {
    let new = |change: fn(&mut Projections)| {
        let mut all = projections();
        change(&mut all);
        LatentAttention::new(all, SIZES, 10_000.0)
    };
    says(
        new(|all| all.query = QueryProjection::Full(linear(6, 12))),
        "q_proj: expected (6, 18), found (6, 12): heads · (nope_dim + rope_dim)",
    );
    let low_rank = |rank: usize, norm: usize, d_out: usize| QueryProjection::LowRank {
        q_a_proj: linear(6, rank),
        q_a_layernorm: RmsNorm::new(vec![1.0; norm]),
        q_b_proj: linear(rank, d_out),
    };
    let with = |query| {
        LatentAttention::new(Projections { query, ..projections() }, SIZES, 1e4)
    };
    assert!(with(low_rank(4, 4, 18)).is_ok());
    says(
        with(low_rank(4, 5, 18)),
        "q_a_layernorm: expected (4, 1), found (5, 1): \
         one weight for each feature of the latent",
    );
    says(
        with(low_rank(4, 4, 17)),
        "q_b_proj: expected (4, 18), found (4, 17): heads · (nope_dim + rope_dim)",
    );
    let why = "the latent that kv_b_proj reads, and one key that is turned";
    for (shape, change) in [
        ("(6, 10)", (|all| all.kv_a_proj = linear(6, 10)) as fn(&mut Projections)),
        ("(5, 9)", |all| all.kv_a_proj = linear(5, 9)),
    ] {
        says(
            new(change),
            &format!("kv_a_proj_with_mqa: expected (6, 9), found {shape}: {why}"),
        );
    }
    says(
        new(|all| all.kv_b_proj = linear(7, 26)),
        "kv_b_proj: expected (7, 27), found (7, 26): heads · (nope_dim + v_dim)",
    );
    says(
        new(|all| all.o_proj = linear(14, 8)),
        "o_proj: expected (15, 8), found (14, 8): it reads the values of all heads",
    );
}

#[test]
fn sizes_that_make_no_layer_are_refused() {
    let new = |sizes, theta| LatentAttention::new(projections(), sizes, theta);
    for sizes in [
        Sizes { heads: 0, ..SIZES },
        Sizes { nope_dim: 0, ..SIZES },
        Sizes { rope_dim: 0, ..SIZES },
        Sizes { v_dim: 0, ..SIZES },
    ] {
        let error = new(sizes, 10_000.0).unwrap_err().to_string();
        assert!(error.ends_with("each has to be at least 1"), "{error}");
    }
    let huge = Sizes { heads: usize::MAX, nope_dim: usize::MAX, ..SIZES };
    assert!(new(huge, 10_000.0).unwrap_err().to_string().starts_with("q_proj: "));
    for theta in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(new(SIZES, theta).is_err(), "{theta}");
    }
    let odd = Sizes { nope_dim: 3, rope_dim: 3, v_dim: 6, ..SIZES };
    let all = Projections {
        kv_a_proj: linear(6, 10),
        o_proj: linear(18, 8),
        ..projections()
    };
    let error = LatentAttention::new(all, odd, 10_000.0).unwrap_err().to_string();
    assert!(error.contains("width 3"), "{error}");
}

#[test]
fn a_layer_takes_another_rotation_or_says_why_not() {
    let made = |theta| {
        let query = QueryProjection::Full(linear(6, 3 * (4 + 4)));
        let all = Projections { query, kv_a_proj: linear(6, 7 + 4), ..projections() };
        LatentAttention::new(all, Sizes { rope_dim: 4, ..SIZES }, theta).unwrap()
    };
    let turns = |width| Rotary::new(width, 100.0, Pairing::Neighbors).unwrap();
    let kept = |layer: &LatentAttention| layer.compress(&ones(2, 6), 5).unwrap();
    let turned = made(10_000.0).with_rotary(turns(4)).unwrap();
    assert_eq!(kept(&turned), kept(&made(100.0)));
    assert_ne!(kept(&turned), kept(&made(10_000.0)));
    says(
        turned.with_rotary(turns(6)).map(|_| ()),
        "rotary: expected (1, 4), found (1, 6): it turns the rotary part of a head",
    );
}

#[test]
fn the_norm_by_hand() {
    // The mean square of (3, 4) is 12.5; of zeros, nothing, and eps stands in for it.
    let norm = RmsNorm::new(vec![2.0, 1.0]);
    let found = norm.forward(&dmatrix![3.0, 4.0; 0.0, 0.0]).unwrap();
    let root = 12.5_f32.sqrt();
    let expected = dmatrix![6.0 / root, 4.0 / root; 0.0, 0.0];
    assert_close("norm", &found, &expected, 1e-6);
    assert_eq!(norm.width(), 2);
}

#[test]
fn parameters_are_counted() {
    assert_eq!(layer().parameters(), 6 * 18 + 6 * 9 + 7 + 7 * 27 + 15 * 8);
    let query = QueryProjection::LowRank {
        q_a_proj: linear(6, 4),
        q_a_layernorm: RmsNorm::new(vec![1.0; 4]),
        q_b_proj: linear(4, 18),
    };
    let low_rank =
        LatentAttention::new(Projections { query, ..projections() }, SIZES, 1e4)
            .unwrap();
    let saved = layer().parameters() - low_rank.parameters();
    assert_eq!(saved, 6 * 18 - (6 * 4 + 4 + 4 * 18));
}

#[test]
fn heads_on_several_cores_find_what_one_core_finds() {
    // Long enough to be shared out.
    let layer = scaled_layer().unwrap();
    let x = DMatrix::from_fn(140, 64, |row, column| {
        ((row * 7 + column * 3) % 11) as f32 / 5.0 - 1.0
    });
    let (q, kept) = (
        layer.queries(&x.rows(139, 1).into_owned(), 139).unwrap(),
        layer.compress(&x, 0).unwrap(),
    );
    let plain = layer.attend(&q, kept.as_view(), &Mask::None, Form::Naive).unwrap();
    for form in FORMS {
        let found = layer.attend_one(&q, kept.as_view(), form).unwrap();
        assert_close("context", &found.context, &plain.context, 1e-4);
    }
}

#[test]
fn a_narrow_latent_never_crosses() {
    let of = |lora_rank| Shape { lora_rank, ..SCALED };
    assert_eq!(of(256).crossing(), 256.0);
    assert_eq!(of(128).crossing(), f64::INFINITY);
}

#[test]
fn both_forms_cost_the_same_where_they_cross() {
    for before in [100, 2048, 1 << 20] {
        let new = SCALED.crossing_after(before);
        let cost = |form| {
            let work = |new: usize| SCALED.work(form, new, before + new).multiply_adds;
            let (low, high) = (work(new as usize), work(new as usize + 1));
            low + (high - low) * new.fract()
        };
        let off = cost(Form::Naive) / cost(Form::Absorbed);
        assert!((off - 1.0).abs() < 1e-3, "{before}: {off}");
    }
}

/// The square from which the directions are found has 374 eigenvalues of 0.
#[test]
fn keys_and_values_of_low_rank_fit_into_a_latent_of_that_width() {
    const RANK: usize = 10;
    let mut layer = minilm::Layer::load(3).unwrap();
    let down = layer.k_proj.weight.columns(0, RANK).into_owned();
    for linear in [&mut layer.k_proj, &mut layer.v_proj] {
        linear.weight = &down * linear.weight.rows(0, RANK);
    }
    let expected = [&layer.k_proj, &layer.v_proj].map(|linear| {
        let linear = Linear::new(linear.weight.clone(), linear.bias.clone()).unwrap();
        linear.forward(&layer.x).unwrap()
    });
    let found = LowRank::new(layer).keys_and_values(RANK).unwrap();
    for (found, expected) in found.iter().zip(&expected) {
        assert_close("keys or values", found, expected, 1e-4);
    }
}
