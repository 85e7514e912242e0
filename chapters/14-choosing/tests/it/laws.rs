//! What holds for every model, machine and setting.

use attention::Linear;
use checkpoint::Bytes;
use choosing::capstone::{HEADS, Variant};
use choosing::devices::ShareError;
use choosing::experiments::question;
use choosing::machines::MACHINES;
use choosing::{FeedForward, Machine, Mechanism, Model, Setting, Step, touched};
use grouped_query::experiments::grouped;
use grouped_query::{GroupedQueryAttention, Pooling};
use latent::{LatentAttention, Projections, QueryProjection, RmsNorm, Sizes};
use linformer::Projections as Along;
use minilm::Layer;
use minilm::models::Window;
use nalgebra::DMatrix;
use proptest::prelude::*;
use proptest::property_test;

fn mechanisms() -> impl Strategy<Value = Mechanism> {
    let widths = (1..5_u64, 1..5_u64, 1..9_u64, 1..9_u64);
    let shared = widths.clone().prop_map(|(kv_heads, size, qk_dim, v_dim)| {
        Mechanism::Shared { heads: kv_heads * size, kv_heads, qk_dim, v_dim }
    });
    let ranks = (1..20_u64, proptest::option::of(1..20_u64));
    let latent = (widths, ranks).prop_map(|((heads, nope_dim, half, v_dim), ranks)| {
        let (lora_rank, q_lora_rank) = ranks;
        let rope_dim = 2 * half;
        Mechanism::Latent { heads, nope_dim, rope_dim, v_dim, lora_rank, q_lora_rank }
    });
    prop_oneof![shared, latent]
}

fn models() -> impl Strategy<Value = Model> {
    let sizes = (1..9_u64, 1..40_u64, 1..100_u64, any::<bool>());
    let experts = (0..9_u64, 1..9_u64, 1..20_u64);
    (mechanisms(), sizes, experts, 0..20_u64).prop_map(
        |(
            mechanism,
            (layers, model_dim, vocab, tied),
            (experts, chosen, dim),
            window,
        )| {
            let dense = FeedForward::dense(layers, dim);
            let feed_forward = FeedForward {
                dense_layers: 0,
                expert_layers: layers,
                expert_dim: dim,
                experts,
                chosen: chosen.min(experts),
                ..dense
            };
            let feed_forward = if experts == 0 { dense } else { feed_forward };
            let window =
                (window > 0).then_some(Window { tokens: window, layers: layers / 2 });
            let (name, small) = (String::new(), 0);
            Model {
                name,
                model_dim,
                layers,
                window,
                mechanism,
                feed_forward,
                vocab,
                tied,
                small,
            }
        },
    )
}

fn setting(context: u64, batch: u64) -> Setting {
    Setting { context, batch, weight_bytes: Bytes::all(2.0), cache_bytes: 2.0 }
}

#[property_test]
fn fewer_kv_heads_never_keep_more(
    #[strategy = 1..9_u64] kv_heads: u64,
    #[strategy = 1..9_u64] size: u64,
    #[strategy = 1..65_u64] width: u64,
) {
    let heads = kv_heads * size;
    let with =
        |kv_heads| Mechanism::Shared { heads, kv_heads, qk_dim: width, v_dim: width };
    let [one, some, all] = [1, kv_heads, heads].map(with);
    prop_assert!(one.kept() <= some.kept() && some.kept() <= all.kept());
    prop_assert_eq!(some.kept() * size, all.kept());
    prop_assert_eq!([one.pair(), some.pair()], [all.pair(); 2]);
}

#[property_test]
fn a_larger_batch_makes_more_tokens_and_slower_ones(
    #[strategy = models()] model: Model,
    #[strategy = 0..100_u64] context: u64,
    #[strategy = 1..100_u64] batch: u64,
    #[strategy = 1..100_u64] more: u64,
    #[strategy = 0..MACHINES.len()] machine: usize,
) {
    let speed = |batch| MACHINES[machine].ceiling(&model, &setting(context, batch));
    let (few, many) = (speed(batch), speed(batch + more));
    let rounding = 1.0 + 1e-12;
    prop_assert!(few <= many * rounding, "in all: {few} and {many}");
    let each = (few / batch as f64, many / (batch + more) as f64);
    prop_assert!(each.1 <= each.0 * rounding, "for each: {each:?}");
}

#[property_test]
fn a_window_never_keeps_more_than_it_has(
    #[strategy = models()] model: Model,
    #[strategy = 0..100_u64] context: u64,
) {
    let without = Model { window: None, ..model.clone() };
    prop_assert!(model.cached_tokens(context) <= without.cached_tokens(context));
    prop_assert!(model.prefill(context) <= without.prefill(context) * (1.0 + 1e-12));
    if model.window.is_none_or(|window| context <= window.tokens) {
        prop_assert_eq!(model.cached_tokens(context), model.layers * context);
        prop_assert_eq!(model.prefill(context), without.prefill(context));
    }
}

#[property_test]
fn a_prompt_of_shared_heads_is_its_steps(
    #[strategy = models()] model: Model,
    #[strategy = 1..40_u64] context: u64,
) {
    prop_assume!(matches!(model.mechanism, Mechanism::Shared { .. }));
    // A step sees the tokens before it and itself.
    let steps = (1..=context).map(|seen| model.step(&setting(seen, 1)).multiply_adds);
    // Each makes a next token; of the prompt, the last token alone does.
    let leave = (model.vocab * model.model_dim) as f64;
    let steps = steps.sum::<f64>() - (context - 1) as f64 * leave;
    prop_assert!((steps - model.prefill(context)).abs() <= 1e-9 * steps);
}

/// Keys and values are expanded from latents, so the tokens of a prompt look at one
/// another as those of multi-head attention do.
#[property_test]
fn a_prompt_of_latents_looks_through_expanded_heads(
    #[strategy = models()] model: Model,
    #[strategy = 1..40_u64] context: u64,
) {
    let Mechanism::Latent { heads, nope_dim, rope_dim, v_dim, .. } = model.mechanism
    else {
        return Ok(());
    };
    let qk_dim = nope_dim + rope_dim;
    let mechanism = Mechanism::Shared { heads, kv_heads: heads, qk_dim, v_dim };
    let multi_head = Model { mechanism, ..model.clone() };
    let without_projections = |model: &Model| {
        let projections = model.layers * model.mechanism.weights(model.model_dim);
        model.prefill(context) - (context * projections) as f64
    };
    prop_assert_eq!(without_projections(&model), without_projections(&multi_head));
}

#[property_test]
fn experts_lie_between_those_of_one_token_and_all(
    #[strategy = 1..300_u64] experts: u64,
    #[strategy = 1..300_u64] chosen: u64,
    #[strategy = 1..1000_u64] tokens: u64,
) {
    let chosen = chosen.min(experts);
    let found = touched(experts, chosen, tokens);
    prop_assert!(found >= chosen as f64 - 1e-9 && found <= experts as f64);
    prop_assert!((touched(experts, chosen, 1) - chosen as f64).abs() < 1e-9);
}

#[property_test]
fn what_fits_fits(
    #[strategy = models()] model: Model,
    #[strategy = 1..100_u64] context: u64,
    #[strategy = 0..MACHINES.len()] machine: usize,
) {
    let machine = MACHINES[machine];
    let Some(most) = machine.sequences(&model, &setting(context, 1)) else {
        return Ok(());
    };
    let bytes =
        |batch: u64| 2.0 * (model.parameters() + batch as f64 * model.cache(context));
    prop_assert!(most == 0 || bytes(most) <= machine.memory);
    prop_assert!(bytes(most + 1) > machine.memory);
}

#[property_test]
fn sequences_that_keep_nothing_fit_without_end(
    #[strategy = models()] model: Model,
    #[strategy = 0..MACHINES.len()] machine: usize,
) {
    prop_assert_eq!(MACHINES[machine].sequences(&model, &setting(0, 1)), None);
}

/// Whatever a number of devices can divide, each of them has a part of; and the parts
/// together are at least the whole, since some of it is copied.
#[property_test]
fn shares_are_parts_and_make_up_the_whole(
    #[strategy = models()] model: Model,
    #[strategy = 1..9_u64] devices: u64,
    #[strategy = 1..40_u64] context: u64,
) {
    let Ok(share) = model.share(devices) else { return Ok(()) };
    if devices == 1 {
        prop_assert_eq!(&share, &model);
    }
    let kept = [share.cache(context), model.cache(context)];
    let weights = [share.parameters(), model.parameters()];
    let work = [&share, &model].map(|m| m.step(&setting(context, 2)).multiply_adds);
    for [part, whole] in [kept, weights, work] {
        prop_assert!(part <= whole);
        prop_assert!(part * devices as f64 >= whole);
    }
}

/// Heads that nobody shares are divided without a copy, and a latent is copied whole.
#[property_test]
fn heads_are_divided_and_latents_are_copied(
    #[strategy = mechanisms()] mechanism: Mechanism,
    #[strategy = 1..9_u64] devices: u64,
) {
    let Ok(share) = mechanism.share(devices) else { return Ok(()) };
    prop_assert_eq!(share.pair() * devices, mechanism.pair());
    match mechanism {
        Mechanism::Shared { kv_heads, .. } => {
            let copies = devices.div_ceil(kv_heads).max(1);
            prop_assert_eq!(share.kept() * devices, mechanism.kept() * copies);
        }
        Mechanism::Latent { .. } => prop_assert_eq!(share.kept(), mechanism.kept()),
    }
}

/// By hand: a layer of 32 heads of 128 on eight devices; and as chapter 5 counts it.
#[test]
fn what_eight_devices_keep_by_hand() {
    let model = question(1).unwrap().model;
    let kept = choosing::calculator::variants(&model)
        .into_iter()
        .map(|(name, model)| (name, model.mechanism.share(8).unwrap().kept()));
    let by_hand = [
        ("multi-head", 4 * 2 * 128),
        ("8 kv heads", 2 * 128),
        ("latent 512", 512 + 64),
        ("multi-query", 2 * 128),
    ];
    assert_eq!(kept.collect::<Vec<_>>(), by_hand.map(|(n, k)| (n.to_owned(), k)));
    for (kv_heads, devices) in [(32, 8), (8, 8), (8, 2), (1, 8), (4, 8)] {
        let (heads, qk_dim, v_dim) = (32, 128, 128);
        let shared = Mechanism::Shared { heads, kv_heads, qk_dim, v_dim };
        let kept = shared.share(devices).unwrap().kept();
        let [kv_heads, devices] = [kv_heads, devices].map(|n| n as usize);
        let counted = grouped_query::experiments::per_device(kv_heads, 128, devices);
        assert_eq!(counted as u64, kept, "{kv_heads} on {devices}");
    }
}

#[test]
fn what_devices_cannot_divide_is_refused() {
    let shared =
        |heads, kv_heads| Mechanism::Shared { heads, kv_heads, qk_dim: 2, v_dim: 2 };
    let uneven = ShareError::Uneven { what: "query heads", count: 32, devices: 3 };
    assert_eq!(shared(32, 8).share(3), Err(uneven));
    let kv_heads = ShareError::KvHeads { kv_heads: 6, devices: 4 };
    assert_eq!(shared(12, 6).share(4), Err(kv_heads));
    assert_eq!(
        shared(12, 4).share(6),
        Err(ShareError::KvHeads { kv_heads: 4, devices: 6 })
    );
    let none = ShareError::Uneven { what: "query heads", count: 4, devices: 0 };
    assert_eq!(shared(4, 2).share(0), Err(none));
    let mut model = question(1).unwrap().model;
    model.feed_forward = FeedForward::dense(model.layers, 12);
    let what = "features of a feed-forward network";
    let uneven = ShareError::Uneven { what, count: 12, devices: 8 };
    assert_eq!(model.share(8), Err(uneven));
}

/// The counts, against layers that the book has built.
#[test]
fn counts_are_those_of_the_layers() {
    let (heads, width, model_dim) = (6_usize, 4_usize, 10_usize);
    let linear = |d_in: usize, d_out: usize| {
        Linear::new(DMatrix::repeat(d_in, d_out, 1.0), None).unwrap()
    };
    for kv_heads in [1, 2, 3, 6] {
        let layer = GroupedQueryAttention::new(
            linear(model_dim, heads * width),
            linear(model_dim, kv_heads * width),
            linear(model_dim, kv_heads * width),
            linear(heads * width, model_dim),
            heads,
            kv_heads,
        )
        .unwrap();
        let mechanism = Mechanism::Shared {
            heads: heads as u64,
            kv_heads: kv_heads as u64,
            qk_dim: width as u64,
            v_dim: width as u64,
        };
        assert_eq!(mechanism.weights(model_dim as u64), layer.parameters() as u64);
        let (keys, values) = layer.kv_widths();
        assert_eq!(mechanism.kept(), (keys + values) as u64);
    }
    let sizes = Sizes { heads, nope_dim: 4, rope_dim: 2, v_dim: 5 };
    let projections = Projections {
        query: QueryProjection::Full(linear(model_dim, heads * 6)),
        kv_a_proj: linear(model_dim, 7 + 2),
        kv_a_layernorm: RmsNorm::new(vec![1.0; 7]),
        kv_b_proj: linear(7, heads * (4 + 5)),
        o_proj: linear(heads * 5, model_dim),
    };
    let layer = LatentAttention::new(projections, sizes, 10_000.0).unwrap();
    let mechanism = Mechanism::Latent {
        heads: heads as u64,
        nope_dim: 4,
        rope_dim: 2,
        v_dim: 5,
        lora_rank: 7,
        q_lora_rank: None,
    };
    let norm = 7;
    assert_eq!(mechanism.weights(model_dim as u64) + norm, layer.parameters() as u64);
    assert_eq!(mechanism.kept(), layer.cache(1).width() as u64);
}

/// The capstone's counts, against layers that the book has built.
#[test]
fn the_small_model_is_counted_as_its_layers() {
    let layer = Layer::load(0).unwrap();
    for (variant, kv_heads) in [
        (Variant::MultiHead, HEADS),
        (Variant::GroupedQuery { kv_heads: 3 }, 3),
        (Variant::MultiQuery, 1),
    ] {
        let built = grouped(&layer, kv_heads, Pooling::Mean).unwrap();
        assert_eq!(variant.parameters(), built.parameters());
        let (keys, values) = built.kv_widths();
        assert_eq!(variant.kept(), Some(keys + values));
    }
    let along = |k| {
        let means = linformer::SequenceProjection::mean_pooling(k, 512).unwrap();
        let means = std::sync::Arc::new(means);
        Along::parameters(&[Along::new(vec![means.clone()], vec![means]).unwrap()])
    };
    let more =
        |k| Variant::Linformer { k }.parameters() - Variant::MultiHead.parameters();
    // Two matrices; `parameters` counts one that is shared once.
    assert_eq!(more(64), 2 * along(64));
}

/// The same mechanism, whole or in tiles or token by token, says the same.
#[test]
fn the_same_attention_says_the_same() {
    for variant in [Variant::Decoding, Variant::Flash] {
        assert!(variant.error(5).unwrap() < 1e-5, "{variant:?}");
    }
    let all = Variant::GroupedQuery { kv_heads: HEADS };
    assert!(all.error(5).unwrap() < 1e-5);
    assert!(Variant::Latent { rank: 384 }.error(5).unwrap() < 1e-3);
    assert!(Variant::Linformer { k: 512 }.error(5).unwrap() < 1e-5);
}

/// By hand: Llama-3-8B reads 2 bytes of each weight but the table, and 2^30 of cache.
#[test]
fn one_step_by_hand() {
    let question = question(1).unwrap();
    let step = question.model.step(&question.setting);
    let weights = 8_030_261_248.0 - 128_256.0 * 4096.0;
    assert_eq!(step.bytes, 2.0 * weights + 2.0_f64.powi(30));
    let pairs = 32.0 * 8192.0 * 2.0 * 32.0 * 128.0;
    assert_eq!(step.multiply_adds, weights + pairs);
    let seconds = step.bytes / 3.35e12;
    assert_eq!(question.machine.seconds(step), seconds);
}

/// By hand: what each of six heads multiplies for one pair of tokens.
#[test]
fn one_pair_by_hand() {
    let shared = Mechanism::Shared { heads: 6, kv_heads: 2, qk_dim: 3, v_dim: 5 };
    let (score, share) = (3, 5);
    assert_eq!(shared.pair(), 6 * (score + share));
    let latent = Mechanism::Latent {
        heads: 6,
        nope_dim: 4,
        rope_dim: 2,
        v_dim: 5,
        lora_rank: 7,
        q_lora_rank: None,
    };
    let (score, share) = (7 + 2, 7);
    assert_eq!(latent.pair(), 6 * (score + share));
}

/// By hand: 4 bytes at 2 per second take 2 seconds. Beside them, 6 multiply-adds are 12
/// operations, which take 4 seconds at 3 per second and 1 second at 12.
#[test]
fn the_slower_of_reading_and_computing_decides() {
    let step = Step { bytes: 4.0, multiply_adds: 6.0 };
    let machine = |flops| Machine { name: "toy", memory: 0.0, bandwidth: 2.0, flops };
    assert_eq!(machine(3.0).seconds(step), 4.0);
    assert_eq!(machine(12.0).seconds(step), 2.0);
}
