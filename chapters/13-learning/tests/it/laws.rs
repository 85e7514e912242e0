//! What holds for every gradient: it is the slope of the loss.

use crate::slopes::{expect_slope, loss_of, moved};
use attention::{Linear, Mask, attend, softmax};
use chapter_cli::testing::assert_close;
use decoder_layer::{Centering, DecoderLayer, HeadNorm, Norms, Parts, Temperature};
use grouped_query::Groups;
use learning::{
    FeedForward, attend_backward, backward, cross_entropy, embed, embedding_backward,
    forward, heads_backward, linear_gradients, linear_input, norm_backward,
    softmax_backward, softmax_backward_by_rows,
};
use nalgebra::{DMatrix, DVector};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::property_test;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rotary::{Pairing, Rotary};

/// Sums of a few dozen products of numbers around 1, in another order.
const SAME: f32 = 5e-5;

fn random(rng: &mut ChaCha8Rng, rows: usize, columns: usize) -> DMatrix<f32> {
    DMatrix::from_fn(rows, columns, |_, _| StandardNormal.sample(rng))
}

fn vector(rng: &mut ChaCha8Rng, length: usize) -> DVector<f32> {
    DVector::from_fn(length, |_, _| StandardNormal.sample(rng))
}

fn masks() -> impl Strategy<Value = u8> {
    0..5_u8
}

/// A mask of each kind. The last hides pairs at random, whole rows among them.
fn mask(kind: u8, n: usize, m: usize, rng: &mut ChaCha8Rng) -> Mask {
    match kind {
        0 => Mask::None,
        1 => Mask::Causal { offset: 0 },
        2 => Mask::Causal { offset: m.saturating_sub(n) },
        3 => Mask::Window { offset: 1, window: 2 },
        _ => Mask::Allowed(random(rng, n, m).map(|x| x > 0.0)),
    }
}

#[property_test]
fn softmax_goes_back_by_its_slope(
    #[strategy = 1..6_usize] n: usize,
    #[strategy = 1..8_usize] m: usize,
    #[strategy = any::<u64>()] seed: u64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let [scores, d_weights] = [random(&mut rng, n, m), random(&mut rng, n, m)];
    let weights = softmax(scores.clone());
    let d_scores = softmax_backward(&weights, d_weights.clone());
    let by_rows = softmax_backward_by_rows(&weights, &d_weights);
    assert_close("in two orders", &d_scores, &by_rows, SAME);
    // The same to all scores of a row changes no weight.
    let nothing = DVector::zeros(n);
    assert_close("sums of rows", &d_scores.column_sum(), &nothing, SAME);
    expect_slope("scores", &mut rng, d_scores.as_slice(), |by| {
        loss_of(&softmax(moved(&scores, by)), &d_weights)
    });
}

/// With any mask, and as many queries, keys and features as you like.
#[property_test]
fn attention_goes_back_by_its_slope(
    #[strategy = (1..7_usize, 1..9_usize)] (n, m): (usize, usize),
    #[strategy = (1..9_usize, 1..9_usize)] (d_k, d_v): (usize, usize),
    #[strategy = masks()] kind: u8,
    #[strategy = any::<u64>()] seed: u64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mask = mask(kind, n, m, &mut rng);
    let [q, k] = [random(&mut rng, n, d_k), random(&mut rng, m, d_k)];
    let [v, dy] = [random(&mut rng, m, d_v), random(&mut rng, n, d_v)];
    let run = |q: &DMatrix<f32>, k: &DMatrix<f32>, v: &DMatrix<f32>| {
        attend(q.as_view(), k.as_view(), v.as_view(), &mask).unwrap()
    };
    let weights = run(&q, &k, &v).weights;
    let qkv = [q.as_view(), k.as_view(), v.as_view()];
    let d = attend_backward(qkv, &weights, dy.as_view()).unwrap();
    expect_slope("q", &mut rng, d.q.as_slice(), |by| {
        loss_of(&run(&moved(&q, by), &k, &v).output, &dy)
    });
    expect_slope("k", &mut rng, d.k.as_slice(), |by| {
        loss_of(&run(&q, &moved(&k, by), &v).output, &dy)
    });
    expect_slope("v", &mut rng, d.v.as_slice(), |by| {
        loss_of(&run(&q, &k, &moved(&v, by)).output, &dy)
    });
}

/// Masked pairs have no say: keys that nobody sees get no gradient.
#[property_test]
fn a_key_that_nobody_sees_is_asked_for_nothing(
    #[strategy = 1..6_usize] n: usize,
    #[strategy = any::<u64>()] seed: u64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let m = n + 2;
    let [q, k, v, dy] = [n, m, m, n].map(|rows| random(&mut rng, rows, 4));
    let causal = Mask::Causal { offset: 0 };
    let found = attend(q.as_view(), k.as_view(), v.as_view(), &causal).unwrap();
    let qkv = [q.as_view(), k.as_view(), v.as_view()];
    let d = attend_backward(qkv, &found.weights, dy.as_view()).unwrap();
    assert!(d.k.rows(n, 2).iter().chain(d.v.rows(n, 2).iter()).all(|d| *d == 0.0));
}

/// Sharing a key is copying it, and so its gradient is the sum of the copies' gradients.
#[property_test]
fn a_shared_key_gets_the_sum(
    #[strategy = (1..4_usize, 1..4_usize)] (size, kv_heads): (usize, usize),
    #[strategy = masks()] kind: u8,
    #[strategy = any::<u64>()] seed: u64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (heads, n, d) = (size * kv_heads, 5, 3);
    let mask = mask(kind, n, n, &mut rng);
    let [q, dy] = [heads, heads].map(|heads| random(&mut rng, n, heads * d));
    let [k, v] = [kv_heads, kv_heads].map(|heads| random(&mut rng, n, heads * d));
    let run = |groups: Groups, k: &DMatrix<f32>, v: &DMatrix<f32>| {
        let (parts, k, v) = (Parts::plain(groups, d), k.as_view(), v.as_view());
        let weights = parts.attend(&q, k, v, &mask).unwrap().weights;
        heads_backward(&parts, &q, k, v, &weights, &dy).unwrap()
    };
    let shared = run(Groups::new(heads, kv_heads).unwrap(), &k, &v);
    let copies = |of: &DMatrix<f32>| {
        let of_head = |h: usize| of.columns(h / size * d, d).into_owned();
        let all: Vec<_> = (0..heads).map(of_head).collect();
        DMatrix::from_fn(n, heads * d, |i, f| all[f / d][(i, f % d)])
    };
    let own = run(Groups::new(heads, heads).unwrap(), &copies(&k), &copies(&v));
    assert_close("q", &shared.q, &own.q, SAME);
    for (label, shared, own) in [("k", &shared.k, &own.k), ("v", &shared.v, &own.v)] {
        for g in 0..kv_heads {
            let of = |h| own.columns((g * size + h) * d, d).into_owned();
            let sum: DMatrix<f32> = (0..size).map(of).sum();
            assert_close(label, &shared.columns(g * d, d), &sum, SAME);
        }
    }
}

#[property_test]
fn linear_maps_go_back_by_their_slope(
    #[strategy = (0..7_usize, 1..9_usize, 1..9_usize)] (n, d_in, d_out): (
        usize,
        usize,
        usize,
    ),
    #[strategy = any::<bool>()] biased: bool,
    #[strategy = any::<u64>()] seed: u64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let linear = linear(&mut rng, d_in, d_out, biased);
    let [x, dy] = [random(&mut rng, n, d_in), random(&mut rng, n, d_out)];
    let loss =
        |linear: &Linear, x: &DMatrix<f32>| loss_of(&linear.forward(x).unwrap(), &dy);
    let d = linear_gradients(&linear, &x, &dy).unwrap();
    let d_x = linear_input(&linear, &dy).unwrap();
    assert_eq!(d.bias.is_some(), biased);
    expect_slope("x", &mut rng, d_x.as_slice(), |by| loss(&linear, &moved(&x, by)));
    expect_slope("weight", &mut rng, d.weight.as_slice(), |by| {
        let mut linear = linear.clone();
        add(linear.weight_mut(), by);
        loss(&linear, &x)
    });
    if let Some(bias) = d.bias {
        expect_slope("bias", &mut rng, bias.as_slice(), |by| {
            let mut linear = linear.clone();
            add(linear.bias_mut().unwrap(), by);
            loss(&linear, &x)
        });
    }
}

fn linear(rng: &mut ChaCha8Rng, d_in: usize, d_out: usize, biased: bool) -> Linear {
    let weight = random(rng, d_in, d_out) / (d_in as f32).sqrt();
    let bias = biased.then(|| vector(rng, d_out));
    Linear::new(weight, bias).unwrap()
}

fn add(numbers: &mut [f32], by: &[f32]) {
    assert_eq!(numbers.len(), by.len(), "one gradient for each number");
    numbers.iter_mut().zip(by).for_each(|(number, by)| *number += by);
}

fn norm(rng: &mut ChaCha8Rng, gains: usize, span: usize, kind: u8) -> HeadNorm {
    let centering = if kind == 0 { Centering::None } else { Centering::Mean };
    let norm = HeadNorm::new(vector(rng, gains), span, centering, 0.3);
    if kind < 2 { norm } else { norm.with_bias(vector(rng, gains)).unwrap() }
}

/// Of one head, of heads that share a gain, of heads with gains of their own, and of the
/// whole width.
#[property_test]
fn norms_go_back_by_their_slope(
    #[strategy = (0..5_usize, 1..4_usize, 1..6_usize)] (n, heads, d): (
        usize,
        usize,
        usize,
    ),
    #[strategy = prop_oneof![Just([1, 1]), Just([9, 1]), Just([9, 9])]] each: [usize;
        2],
    #[strategy = 0..3_u8] kind: u8,
    #[strategy = any::<u64>()] seed: u64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let [gains, span] = each.map(|heads_of| heads_of.min(heads) * d);
    let norm = norm(&mut rng, gains, span, kind);
    let [x, dy] = [0, 1].map(|_| random(&mut rng, n, heads * d));
    let loss = |norm: &HeadNorm, mut x: DMatrix<f32>| {
        norm.apply(&mut x).unwrap();
        loss_of(&x, &dy)
    };
    let gradients = norm_backward(&norm, &x, &dy).unwrap();
    expect_slope("x", &mut rng, gradients.x.as_slice(), |by| {
        loss(&norm, moved(&x, by))
    });
    expect_slope("gain", &mut rng, gradients.gain.as_slice(), |by| {
        let mut norm = norm.clone();
        add(norm.gain_mut(), by);
        loss(&norm, x.clone())
    });
    assert_eq!(gradients.bias.is_some(), norm.bias().is_some());
    if let Some(bias) = gradients.bias {
        expect_slope("bias", &mut rng, bias.as_slice(), |by| {
            let mut norm = norm.clone();
            add(norm.bias_mut().unwrap(), by);
            loss(&norm, x.clone())
        });
    }
}

/// Which parts a random layer has: each bit is one.
fn layer(rng: &mut ChaCha8Rng, groups: Groups, bits: u32) -> DecoderLayer {
    let has = |bit: u32| bits >> bit & 1 == 1;
    let (d, width) = (4, 6);
    let [wide, narrow] = [groups.heads() * d, groups.kv_heads() * d];
    let mut parts = Parts::plain(groups, d);
    parts.rotary = has(0).then(|| {
        let pairing = if has(1) { Pairing::Halves } else { Pairing::Neighbors };
        Rotary::new(d, 10.0, pairing).unwrap()
    });
    let kind = (bits >> 2 & 3) as u8;
    parts.norms = (kind > 0).then(|| Norms {
        q: norm(rng, d, d, kind - 1),
        k: norm(rng, narrow, if has(4) { d } else { narrow }, kind - 1),
    });
    parts.sinks = has(5).then(|| vector(rng, groups.heads()));
    parts.cap = has(6).then_some(2.0);
    parts.temperature = has(7).then_some(Temperature { beta: 0.5, every: 2.0 });
    parts.scale = if has(8) { 1.0 / (d as f32).sqrt() } else { 0.3 };
    let biased = has(9);
    let shapes = [(width, wide), (width, narrow), (width, narrow), (wide, 5)];
    let projections = shapes.map(|(d_in, d_out)| linear(rng, d_in, d_out, biased));
    let layer = DecoderLayer::new(projections, parts).unwrap();
    if !has(10) {
        return layer;
    }
    layer.gated(linear(rng, width, wide, biased)).unwrap()
}

/// Whatever stands around the softmax, and whatever it is: each tensor's gradient is the
/// slope of the loss.
#[property_test]
fn layers_go_back_by_their_slope(
    #[strategy = (1..3_usize, 1..3_usize)] (size, kv_heads): (usize, usize),
    #[strategy = (1..6_usize, masks())] (n, kind): (usize, u8),
    #[strategy = 0..2048_u32] bits: u32,
    #[strategy = any::<u64>()] seed: u64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let groups = Groups::new(size * kv_heads, kv_heads).unwrap();
    let layer = layer(&mut rng, groups, bits);
    let mask = mask(kind, n, n, &mut rng);
    let [x, dy] = [random(&mut rng, n, 6), random(&mut rng, n, 5)];
    let run = |layer: &DecoderLayer, x: &DMatrix<f32>| {
        loss_of(&layer.forward(x, &mask).unwrap().output, &dy)
    };
    let passed = forward(&layer, &x, &mask).unwrap();
    assert_eq!(passed.output, layer.forward(&x, &mask).unwrap().output);
    let d = backward(&layer, &x, &passed, &dy).unwrap();
    expect_slope("x", &mut rng, d.x.as_slice(), |by| run(&layer, &moved(&x, by)));
    let of_projections = [&d.q_proj, &d.k_proj, &d.v_proj, &d.o_proj];
    let mut hold =
        |label: &str, gradient: &[f32], change: &dyn Fn(&mut DecoderLayer, &[f32])| {
            expect_slope(label, &mut rng, gradient, |by| {
                let mut layer = layer.clone();
                change(&mut layer, by);
                run(&layer, &x)
            });
        };
    for (i, gradients) in of_projections.into_iter().enumerate() {
        hold("projection", gradients.weight.as_slice(), &|layer, by| {
            add(layer.projections_mut()[i].weight_mut(), by);
        });
        if let Some(bias) = &gradients.bias {
            hold("bias", bias.as_slice(), &|layer, by| {
                add(layer.projections_mut()[i].bias_mut().unwrap(), by);
            });
        }
    }
    if let Some(gradients) = &d.gate_proj {
        hold("gate_proj", gradients.weight.as_slice(), &|layer, by| {
            add(layer.gate_proj_mut().unwrap().weight_mut(), by);
        });
    }
    if let Some(sinks) = &d.sinks {
        hold("sinks", sinks.as_slice(), &|layer, by| {
            add(layer.parts_mut().sinks.as_mut().unwrap().as_mut_slice(), by);
        });
    }
    if let (Some(q_norm), Some(k_norm)) = (&d.q_norm, &d.k_norm) {
        hold("q_norm", q_norm.gain.as_slice(), &|layer, by| {
            add(layer.parts_mut().norms.as_mut().unwrap().q.gain_mut(), by);
        });
        hold("k_norm", k_norm.gain.as_slice(), &|layer, by| {
            add(layer.parts_mut().norms.as_mut().unwrap().k.gain_mut(), by);
        });
    }
    let parts = [d.gate_proj.is_some(), d.sinks.is_some(), d.q_norm.is_some()];
    let asked = [bits >> 10 & 1, bits >> 5 & 1, u32::from(bits >> 2 & 3 > 0)];
    assert_eq!(parts, asked.map(|bit| bit == 1));
}

#[property_test]
fn a_gated_network_goes_back_by_its_slope(
    #[strategy = (0..5_usize, 1..6_usize, 1..8_usize)] (n, width, hidden): (
        usize,
        usize,
        usize,
    ),
    #[strategy = any::<bool>()] biased: bool,
    #[strategy = any::<u64>()] seed: u64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let network = FeedForward {
        gate_proj: linear(&mut rng, width, hidden, biased),
        up_proj: linear(&mut rng, width, hidden, biased),
        down_proj: linear(&mut rng, hidden, width, biased),
    };
    let [x, dy] = [0, 1].map(|_| random(&mut rng, n, width));
    let loss = |network: &FeedForward, x: &DMatrix<f32>| {
        loss_of(&network.forward(x).unwrap().output, &dy)
    };
    let d = network.backward(&x, &network.forward(&x).unwrap(), &dy).unwrap();
    expect_slope("x", &mut rng, d.x.as_slice(), |by| loss(&network, &moved(&x, by)));
    expect_slope("gate", &mut rng, d.gate_proj.weight.as_slice(), |by| {
        let mut network = network.clone();
        add(network.gate_proj.weight_mut(), by);
        loss(&network, &x)
    });
    expect_slope("up", &mut rng, d.up_proj.weight.as_slice(), |by| {
        let mut network = network.clone();
        add(network.up_proj.weight_mut(), by);
        loss(&network, &x)
    });
    expect_slope("down", &mut rng, d.down_proj.weight.as_slice(), |by| {
        let mut network = network.clone();
        add(network.down_proj.weight_mut(), by);
        loss(&network, &x)
    });
}

#[property_test]
fn cross_entropy_goes_back_by_its_slope(
    #[strategy = (1..6_usize, 1..9_usize)] (n, vocabulary): (usize, usize),
    #[strategy = any::<u64>()] seed: u64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let logits = random(&mut rng, n, vocabulary);
    let choices = vector(&mut rng, n);
    let target =
        |x: &f32| (*x > -0.5).then_some((x.abs() * 97.0) as usize % vocabulary);
    let targets: Vec<_> = choices.iter().map(target).collect();
    let found = cross_entropy(&logits, &targets).unwrap();
    expect_slope("logits", &mut rng, found.d_logits.as_slice(), |by| {
        f64::from(cross_entropy(&moved(&logits, by), &targets).unwrap().loss)
    });
    // What one token gains, the others lose.
    let nothing = DVector::zeros(n);
    assert_close("sums of rows", &found.d_logits.column_sum(), &nothing, SAME);
}

#[property_test]
fn a_table_goes_back_by_its_slope(
    #[strategy = (1..6_usize, 1..4_usize)] (vocabulary, width): (usize, usize),
    #[strategy = 0..9_usize] n: usize,
    #[strategy = any::<u64>()] seed: u64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let [table, dx] = [random(&mut rng, vocabulary, width), random(&mut rng, n, width)];
    let choices = vector(&mut rng, n);
    let token = |x: &f32| (x.abs() * 97.0) as usize % vocabulary;
    let tokens: Vec<_> = choices.iter().map(token).collect();
    let d_table = embedding_backward(vocabulary, &tokens, &dx).unwrap();
    expect_slope("table", &mut rng, d_table.as_slice(), |by| {
        loss_of(&embed(&moved(&table, by), &tokens).unwrap(), &dx)
    });
}
