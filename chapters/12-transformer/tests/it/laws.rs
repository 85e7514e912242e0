//! What holds for all models and numbers.

use crate::models::{decoder, expected, tokens};
use attention::Mask;
use decoding::KvCache;
use grouped_query::GroupedQueryAttention;
use nalgebra::{DMatrix, DVector};
use proptest::prelude::*;
use proptest::property_test;
use rotary::{RotaryAttention, prefill};
use std::convert::Infallible;
use std::ops::ControlFlow;
use transformer::changes::{Merging, aligned, merged, of_rank, through_latents};
use transformer::gated::{gelu, gelu_tanh, silu};
use transformer::kept::{BLOCK, Precision};
use transformer::loss::{Sight, surprises, surprises_of};
use transformer::norms::{LayerNorm, RmsNorm};
use transformer::projection::Projection;
use transformer::sampling::Sampler;
use transformer::watching::{Off, watched};

fn numbers(rows: usize, columns: usize, seed: u64) -> DMatrix<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    DMatrix::from_fn(rows, columns, |_, _| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040);
        ((state >> 40) as f32 / (1_u64 << 23) as f32) - 1.0
    })
}

/// The same weights, kept in another form.
fn kept(weight: &DMatrix<f32>, precision: Precision) -> Projection {
    Projection::read(weight.shape(), precision, |feature, out| {
        out.copy_from_slice(weight.column(feature).as_slice());
        Ok::<_, Infallible>(())
    })
    .unwrap()
}

#[property_test]
fn one_token_and_many_get_the_same(
    #[strategy = 1..200_usize] d_in: usize,
    #[strategy = 1..90_usize] d_out: usize,
    seed: u64,
) {
    let weight = numbers(d_in, d_out, seed);
    let x = numbers(3, d_in, seed ^ 1);
    for precision in [Precision::F32, Precision::Bf16, Precision::Q8] {
        let projection = kept(&weight, precision);
        // The product with the weights as they were rounded is exact but for its sums.
        let plain = projection.to_linear().unwrap().forward(&x).unwrap();
        let many = projection.forward(&x).unwrap();
        prop_assert!((&many - &plain).amax() < 1e-4, "{precision:?}");
        for (i, row) in x.row_iter().enumerate() {
            let one =
                projection.forward(&row.into_owned().resize(1, d_in, 0.0)).unwrap();
            prop_assert!((one.row(0) - plain.row(i)).amax() < 1e-4, "{precision:?}");
        }
    }
}

#[property_test]
fn projections_at_once_are_projections_one_by_one(
    #[strategy = 1..150_usize] d_in: usize,
    #[strategy = [1..90_usize, 1..90, 1..90]] d_outs: [usize; 3],
    #[strategy = 1..3_usize] n: usize,
    seed: u64,
) {
    let x = numbers(n, d_in, seed ^ 1);
    for precision in [Precision::F32, Precision::Bf16, Precision::Q8] {
        let all = d_outs.map(|d_out| {
            let bias = numbers(1, d_out, seed ^ 2).as_slice().to_vec();
            kept(&numbers(d_in, d_out, seed), precision).with_bias(bias).unwrap()
        });
        let [a, b, c] = &all;
        let at_once = Projection::together([a, b, c], &x).unwrap();
        for (projection, at_once) in all.iter().zip(at_once) {
            prop_assert_eq!(projection.forward(&x).unwrap(), at_once);
        }
    }
}

#[property_test]
fn rounding_is_as_fine_as_its_bits(
    #[strategy = 1..150_usize] d_in: usize,
    #[strategy = 1..9_usize] d_out: usize,
    seed: u64,
) {
    let weight = numbers(d_in, d_out, seed);
    let back =
        |precision| kept(&weight, precision).to_linear().unwrap().weight().clone();
    prop_assert_eq!(&back(Precision::F32), &weight);
    let bf16 = back(Precision::Bf16);
    prop_assert!(
        bf16.zip_map(&weight, |a, b| (a - b).abs() <= b.abs() / 256.0)
            .iter()
            .all(|&x| x)
    );
    let q8 = back(Precision::Q8);
    for (rounded, column) in q8.column_iter().zip(weight.column_iter()) {
        let (rounded, column) = (rounded.into_owned(), column.into_owned());
        let blocks =
            column.as_slice().chunks(BLOCK).zip(rounded.as_slice().chunks(BLOCK));
        for (block, rounded) in blocks {
            let step = block.iter().fold(0.0, |m: f32, x| m.max(x.abs())) / 127.0;
            for (x, r) in block.iter().zip(rounded) {
                prop_assert!((x - r).abs() <= 0.5001 * step);
            }
        }
    }
}

#[property_test]
fn rms_norm_gives_every_row_the_same_size(
    #[strategy = 1..6_usize] n: usize,
    #[strategy = 1..40_usize] d: usize,
    seed: u64,
) {
    let x = numbers(n, d, seed);
    let normed = RmsNorm::new(vec![1.0; d], 0.0).forward(&x).unwrap();
    for (row, normed) in x.row_iter().zip(normed.row_iter()) {
        if row.norm() > 1e-3 {
            prop_assert!((normed.norm() - (d as f32).sqrt()).abs() < 1e-3);
        }
    }
    let larger = RmsNorm::new(vec![1.0; d], 0.0).forward(&(&x * 8.0)).unwrap();
    prop_assert!((larger - normed).amax() < 1e-4);
}

#[property_test]
fn layer_norm_is_rms_norm_of_what_is_left_without_the_mean(
    #[strategy = 1..6_usize] n: usize,
    #[strategy = 2..40_usize] d: usize,
    seed: u64,
) {
    let x = numbers(n, d, seed);
    let gain = numbers(1, d, seed ^ 7).as_slice().to_vec();
    let layer = LayerNorm::new(gain.clone(), vec![0.0; d], 1e-5).unwrap();
    let mean = x.column_mean();
    let mut centered = x.clone();
    centered.column_iter_mut().for_each(|mut column| column -= &mean);
    let rms = RmsNorm::new(gain, 1e-5).forward(&centered).unwrap();
    prop_assert!((layer.forward(&x).unwrap() - rms).amax() < 1e-5);
}

#[test]
fn activations_are_what_they_are_called() {
    for x in [-90.0_f32, -8.0, -1.0, -0.1, 0.0, 0.1, 1.0, 8.0, 90.0] {
        let mut one = [x];
        silu(&mut one);
        let exact = f64::from(x) / (1.0 + (-f64::from(x)).exp());
        assert!((f64::from(one[0]) - exact).abs() < 1e-6 * exact.abs().max(1.0), "{x}");
        assert!((gelu(x) - gelu_tanh(x)).abs() < 5e-4, "{x}");
    }
    // Half of a normal distribution lies below 0, 84.13 % below 1.
    assert!((gelu(1.0) - 0.841_344_7).abs() < 1e-6);
}

#[test]
fn the_layer_is_that_of_the_chapter_on_rotation() {
    let model = decoder("tied");
    let layer = model.blocks[0].attention.heads().unwrap();
    let rotary = layer.parts.rotary.clone().unwrap();
    let x = numbers(7, 24, 3);
    let parts = [&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.o_proj];
    let [q, k, v, o] = parts.map(|part| part.to_linear().unwrap());
    let plain = GroupedQueryAttention::new(q, k, v, o, 4, 2).unwrap();
    let plain = RotaryAttention::new(plain, rotary).unwrap();
    let mut theirs = KvCache::new(7, 12, 12);
    let wanted = prefill(&plain, &x, &mut theirs).unwrap().output;

    let mut cache = KvCache::new(7, 12, 12);
    let place = layer.parts.place(0..7, 7);
    let found =
        layer.forward(&x, &place, &Mask::Causal { offset: 0 }, &mut cache).unwrap();
    assert!((found - wanted).amax() < 1e-5);
    assert!((cache.keys() - theirs.keys()).amax() < 1e-5);
}

#[test]
fn a_later_token_changes_nothing_before_it() {
    let model = decoder("scaled");
    let mut tokens: Vec<u32> = (0..20).collect();
    let run = |tokens: &[u32]| model.forward(tokens, &mut model.caches(20)).unwrap();
    let before = run(&tokens);
    tokens[15] = 50;
    let after = run(&tokens);
    assert_eq!(before.rows(0, 15), after.rows(0, 15));
    assert!((before.row(15) - after.row(15)).amax() > 1e-3);
}

#[test]
fn a_window_as_long_as_the_text_is_none() {
    let model = decoder("tied");
    let tokens: Vec<u32> = (3..24).collect();
    let loss = |sight| {
        surprises(&model, &tokens, sight, |_| ControlFlow::Continue(())).unwrap()
    };
    let all = loss(Sight::All);
    let wide = loss(Sight::Window { window: 21, first: 0 });
    let first = loss(Sight::Window { window: 1, first: 21 });
    for ((all, wide), first) in all.iter().zip(&wide).zip(&first) {
        assert!((all - wide).abs() < 1e-5 && (all - first).abs() < 1e-5);
    }
    let narrow = loss(Sight::Window { window: 3, first: 0 });
    assert!(
        all.iter()
            .zip(&narrow)
            .skip(3)
            .any(|(all, narrow)| (all - narrow).abs() > 0.01)
    );
    assert_eq!(all[..2], narrow[..2]);
}

#[test]
fn a_loss_is_minus_the_logarithm_of_a_share() {
    let logits = numbers(4, 9, 5) * 30.0;
    let next = [0, 8, 3, 3];
    let found = surprises_of(&logits, &next);
    for (row, (&token, nats)) in next.iter().zip(found).enumerate() {
        let exps = logits.row(row).map(|x| f64::from(x).exp());
        let share = exps[token as usize] / exps.sum();
        assert!((nats + share.ln()).abs() < 1e-4 * nats.abs().max(1.0));
    }
    assert_eq!(surprises_of(&logits, &[1]).len(), 1);
}

#[test]
fn aligning_changes_nothing_and_merging_does() {
    let model = decoder("biased");
    let expected = expected("biased");
    let tokens = tokens(&expected, "tokens");
    let run = |model: &transformer::Decoder| {
        model.forward(&tokens, &mut model.caches(tokens.len())).unwrap()
    };
    let whole = run(&model);
    let mut turned = model.clone();
    for block in &mut turned.blocks {
        let layer = block.attention.heads_mut().unwrap();
        *layer = aligned(layer).unwrap();
    }
    assert_ne!(turned, model);
    assert!((run(&turned) - &whole).amax() < 1e-4);
    for merging in [Merging::Mean, Merging::First, Merging::Aligned] {
        let merged = merged(&model, merging).unwrap();
        let layer = merged.blocks[0].attention.heads().unwrap();
        assert_eq!(layer.k_proj.shape(), (24, 6));
        assert!((run(&merged) - &whole).amax() > 0.01, "{merging:?}");
    }
    // Keys and values of 12 each, in a model 24 wide: all of them fit into 24 numbers.
    assert!((run(&through_latents(&model, 24).unwrap()) - &whole).amax() < 1e-4);
    assert!((run(&through_latents(&model, 6).unwrap()) - &whole).amax() > 0.01);
}

#[test]
fn no_matrix_of_lower_rank_is_closer() {
    let matrix = numbers(6, 4, 11);
    let apart = |rank| (of_rank(&matrix, rank) - &matrix).norm();
    let values = matrix.clone().svd(false, false).singular_values;
    for rank in 0..=4 {
        let left = values.rows(rank, 4 - rank).norm();
        assert!((apart(rank) - left).abs() < 1e-5, "{rank}");
    }
}

/// Square, with singular values of 0: where nalgebra's own decomposition errs.
#[test]
fn a_matrix_of_low_rank_is_its_own_closest() {
    for (size, rank) in (2..20).flat_map(|size| (1..size).map(move |rank| (size, rank)))
    {
        let seed = (size * size + rank) as u64;
        let matrix = numbers(size, rank, seed) * numbers(rank, size, seed + 1000);
        let apart = (of_rank(&matrix, rank) - &matrix).norm();
        assert!(apart <= 1e-6 * matrix.norm(), "{size}, {rank}: {apart}");
    }
}

#[test]
fn a_head_that_is_off_adds_nothing() {
    let model = decoder("tied");
    let tokens = [1, 2, 3];
    let run = |off: Vec<(usize, usize)>| {
        watched(&model, &tokens, &Mask::Causal { offset: 0 }, &mut Off(off)).unwrap()
    };
    let all = (0..2).flat_map(|layer| (0..4).map(move |head| (layer, head))).collect();
    let mut deaf = model.clone();
    for block in &mut deaf.blocks {
        block.attention.heads_mut().unwrap().o_proj =
            Projection::of(DMatrix::zeros(24, 24));
    }
    let wanted = deaf.forward(&tokens, &mut deaf.caches(3)).unwrap();
    assert!((run(all) - wanted).amax() < 1e-5);
    assert!((run(vec![(1, 2)]) - run(vec![])).amax() > 1e-3);
    // A head that there is not.
    assert_eq!(run(vec![(1, 99), (99, 0)]), run(vec![]));
}

#[test]
fn what_is_drawn_has_the_shares_that_were_asked_for() {
    let logits = [2.0_f32, 1.0, 0.0, -1.0].map(|x| x * 0.7);
    let exps = DVector::from_iterator(4, logits.iter().map(|x| (x / 0.7).exp()));
    let shares = &exps / exps.sum();
    let draw = |top_p| {
        let mut sampler = Sampler::new(0.7, top_p, 3).unwrap();
        let mut counts = [0_u32; 4];
        for _ in 0..4000 {
            counts[sampler.pick(&logits) as usize] += 1;
        }
        counts.map(|count| count as f32 / 4000.0)
    };
    // Three standard deviations of 4,000 draws.
    for (drawn, share) in draw(1.0).iter().zip(&shares) {
        assert!((drawn - share).abs() < 0.024, "{drawn} for {share}");
    }
    // 0.64 and 0.24 reach 0.8 together; the others are never drawn.
    let nucleus = draw(0.8);
    assert_eq!(nucleus[2..], [0.0, 0.0]);
    assert!((nucleus[0] - shares[0] / (shares[0] + shares[1])).abs() < 0.024);
    assert_eq!(Sampler::greedy().pick(&[1.0, 3.0, 3.0]), 1);
}
