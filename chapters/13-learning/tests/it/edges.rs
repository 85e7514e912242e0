//! Empty, hidden, large and odd.

use attention::{Mask, attend};
use decoder_layer::{DecoderLayer, Parts};
use flash::attend_saving;
use grouped_query::Groups;
use learning::{
    Attending, attend_backward, backward, cross_entropy, embed, embedding_backward,
    flash_backward, forward, heads_backward, linear_gradients, linear_input,
};
use nalgebra::{DMatrix, dmatrix};

fn identity(width: usize) -> attention::Linear {
    attention::Linear::new(DMatrix::identity(width, width), None).unwrap()
}

#[test]
fn a_hidden_key_or_value_that_is_nan_does_not_leak() {
    let q = dmatrix![1.0, 2.0; 0.5, -1.0];
    let k = dmatrix![1.0, 0.0; 0.0, 1.0; f32::NAN, f32::NAN];
    let v = dmatrix![1.0; 2.0; f32::NAN];
    let dy = dmatrix![1.0; -1.0];
    let causal = Mask::Causal { offset: 0 };
    let run = |m: usize| {
        let qkv = [q.as_view(), k.rows(0, m), v.rows(0, m)];
        let weights = attend(qkv[0], qkv[1], qkv[2], &causal).unwrap().weights;
        attend_backward(qkv, &weights, dy.as_view()).unwrap()
    };
    let [seen, all] = [2, 3].map(run);
    assert_eq!(all.q, seen.q);
    assert_eq!(all.k.rows(0, 2), seen.k);
    assert_eq!(all.v.rows(0, 2), seen.v);
    assert!(all.k.row(2).iter().chain(all.v.row(2).iter()).all(|d| *d == 0.0));
}

/// Tiles see the mask in part: their hidden keys and values are multiplied by zeros.
#[test]
fn a_hidden_key_or_value_that_is_nan_does_not_leak_from_a_tile() {
    let q = dmatrix![1.0, 2.0; 0.5, -1.0; 2.0, 0.0];
    let dy = dmatrix![1.0; -1.0; 0.5];
    let gradients = |odd: f32, mask: &Mask| {
        let k = dmatrix![1.0, 0.0; 0.0, 1.0; odd, odd];
        let v = dmatrix![1.0; 2.0; odd];
        let groups = Groups::new(1, 1).unwrap();
        let none = [f32::NEG_INFINITY];
        let (keys, values) = (k.as_view(), v.as_view());
        let saved = attend_saving(&q, keys, values, groups, mask, &none).unwrap();
        let given = Attending { q: &q, k: &k, v: &v, groups, mask, sinks: &none };
        flash_backward(given, &saved, &dy).unwrap()
    };
    let hidden =
        Mask::Allowed(DMatrix::from_fn(3, 3, |query, key| key < 2.min(query + 1)));
    for odd in [f32::NAN, f32::INFINITY] {
        assert_eq!(gradients(odd, &hidden), gradients(0.0, &hidden), "{odd}");
    }
    // The last query sees it, and has to say so.
    let seen = gradients(f32::NAN, &Mask::Causal { offset: 0 });
    assert!(seen.q.rows(0, 2).iter().all(|d| d.is_finite()), "{}", seen.q);
    assert!(seen.q.row(2).iter().all(|d| d.is_nan()), "{}", seen.q);
}

#[test]
fn a_query_that_sees_nothing_asks_for_nothing() {
    let [q, k, v, dy] = [1.0, 2.0, 3.0, 4.0].map(|x| DMatrix::repeat(2, 3, x));
    let nothing = Mask::Allowed(DMatrix::repeat(2, 2, false));
    let found = attend(q.as_view(), k.as_view(), v.as_view(), &nothing).unwrap();
    let qkv = [q.as_view(), k.as_view(), v.as_view()];
    let d = attend_backward(qkv, &found.weights, dy.as_view()).unwrap();
    assert!(d.q.iter().chain(&d.k).chain(&d.v).all(|d| *d == 0.0));
}

#[test]
fn scores_of_any_size_give_finite_gradients() {
    let q = dmatrix![1e4, 0.0; -1e4, 0.0];
    let (k, v) = (dmatrix![1.0, 0.0; -1.0, 0.0], dmatrix![1.0; 2.0]);
    let found = attend(q.as_view(), k.as_view(), v.as_view(), &Mask::None).unwrap();
    let qkv = [q.as_view(), k.as_view(), v.as_view()];
    let dy = dmatrix![1.0; 1.0];
    let d = attend_backward(qkv, &found.weights, dy.as_view()).unwrap();
    // Each query has made up its mind, so nothing that it could learn is left.
    assert!(d.q.iter().chain(&d.k).all(|d| *d == 0.0));
    assert_eq!(d.v, dmatrix![1.0; 1.0]);
}

#[test]
fn a_layer_without_tokens_has_gradients_of_zero() {
    let parts = Parts::plain(Groups::new(2, 2).unwrap(), 2);
    let layer = DecoderLayer::new([4; 4].map(identity), parts).unwrap();
    let x = DMatrix::zeros(0, 4);
    let passed = forward(&layer, &x, &layer.parts().mask(0)).unwrap();
    let d = backward(&layer, &x, &passed, &x).unwrap();
    assert_eq!(d.x.shape(), (0, 4));
    assert_eq!(d.k_proj.weight, DMatrix::zeros(4, 4));
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let x = DMatrix::zeros(3, 4);
    let map = identity(4);
    let narrow = DMatrix::zeros(3, 3);
    let refused = [
        linear_input(&map, &narrow).unwrap_err().to_string(),
        linear_gradients(&map, &narrow, &x).unwrap_err().to_string(),
        linear_gradients(&map, &x, &narrow).unwrap_err().to_string(),
        attend_backward([x.as_view(); 3], &narrow, narrow.as_view())
            .unwrap_err()
            .to_string(),
        embed(&x, &[0, 3]).unwrap_err().to_string(),
        embedding_backward(3, &[3, 0, 0], &x).unwrap_err().to_string(),
        cross_entropy(&x, &[None, Some(4), None]).unwrap_err().to_string(),
        cross_entropy(&x, &[None]).unwrap_err().to_string(),
    ];
    let parts = Parts::plain(Groups::new(2, 1).unwrap(), 2);
    let (k, maps) = (x.columns(0, 2), vec![narrow.clone(); 2]);
    let refused_heads = [
        heads_backward(&parts, &x, x.as_view(), k, &maps, &x).unwrap_err().to_string(),
        heads_backward(&parts, &x, k, k, &maps[..1], &x).unwrap_err().to_string(),
        heads_backward(&parts, &x, k, k, &maps, &narrow).unwrap_err().to_string(),
    ];
    let starts = refused
        .iter()
        .chain(&refused_heads)
        .map(|line| line.split(':').next().unwrap().to_owned());
    assert_eq!(
        starts.collect::<Vec<_>>(),
        [
            "dy", "x", "dy", "d_output", "table", "table", "row 1", "logits", "k",
            "weights", "d_found"
        ]
    );
}

#[test]
fn a_surprise_beyond_f32_is_still_a_number() {
    let found = cross_entropy(&dmatrix![0.0, 200.0], &[Some(0)]).unwrap();
    assert_eq!(found.loss, 200.0);
    assert_eq!(found.d_logits, dmatrix![-1.0, 1.0]);
    let unjudged = cross_entropy(&dmatrix![0.0, 200.0], &[None]).unwrap();
    assert_eq!(unjudged.loss, 0.0);
    assert_eq!(unjudged.d_logits, dmatrix![0.0, 0.0]);
}
