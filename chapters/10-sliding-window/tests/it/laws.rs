//! What holds for every input: the laws that the chapter states.

use attention::{Linear, Mask};
use chapter_cli::testing::assert_close;
use decoding::KvCache;
use grouped_query::GroupedQueryAttention;
use nalgebra::DMatrix;
use proptest::prelude::*;
use proptest::property_test;
use rotary::{Pairing, Rotary, RotaryAttention};
use sliding_window::experiments::{SLIPS, chunked, thin_edge};
use sliding_window::{
    Pattern, RingCache, WindowAttention, cached, decode, prefill, receptive_field,
    through_cache,
};

/// Relative: sums of up to 40 products in f32, in another order.
const TOLERANCE: f32 = 1e-5;

#[derive(Debug, Clone)]
struct Case {
    x: DMatrix<f32>,
    layer: WindowAttention,
    /// Lengths of chunks that are all of `x` together.
    chunks: Vec<usize>,
}

fn matrix(rows: usize, columns: usize) -> impl Strategy<Value = DMatrix<f32>> {
    prop::collection::vec(-1.0_f32..1.0, rows * columns)
        .prop_map(move |data| DMatrix::from_vec(rows, columns, data))
}

fn layer_of(window: usize) -> impl Strategy<Value = WindowAttention> {
    (1..3_usize, 1..4_usize, 1..4_usize).prop_flat_map(
        move |(kv_heads, size, pairs)| {
            let (heads, width) = (kv_heads * size, 2 * pairs);
            let all = (
                matrix(5, heads * width),
                matrix(5, kv_heads * width),
                matrix(5, kv_heads * 3),
                matrix(heads * 3, 4),
            );
            all.prop_map(move |(q, k, v, o)| {
                let [q, k, v, o] = [q, k, v, o].map(|w| Linear::new(w, None).unwrap());
                let layer =
                    GroupedQueryAttention::new(q, k, v, o, heads, kv_heads).unwrap();
                let rotary = Rotary::new(width, 50.0, Pairing::Halves).unwrap();
                let layer = RotaryAttention::new(layer, rotary).unwrap();
                WindowAttention::new(layer, window).unwrap()
            })
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    (1..9_usize, prop::collection::vec(0..7_usize, 0..8)).prop_flat_map(
        |(window, chunks)| {
            let tokens = chunks.iter().sum();
            (matrix(tokens, 5), layer_of(window), Just(chunks))
                .prop_map(|(x, layer, chunks)| Case { x, layer, chunks })
        },
    )
}

/// The output of chunks that go through one ring.
fn in_chunks(case: &Case, mut check: impl FnMut(&RingCache)) -> DMatrix<f32> {
    let mut cache = case.layer.cache();
    let mut output = DMatrix::zeros(case.x.nrows(), 4);
    let mut at = 0;
    for &chunk in &case.chunks {
        let some = case.x.rows(at, chunk).into_owned();
        let found = match chunk {
            1 => decode(&case.layer, &some, &mut cache).unwrap(),
            _ => prefill(&case.layer, &some, &mut cache).unwrap(),
        };
        output.rows_mut(at, chunk).copy_from(&found.output);
        at += chunk;
        check(&cache);
    }
    output
}

#[property_test]
fn any_split_into_chunks_equals_the_windowed_pass(#[strategy = case()] case: Case) {
    let whole = case.layer.forward(&case.x).unwrap().output;
    assert_close("output", &in_chunks(&case, |_| ()), &whole, TOLERANCE);
}

#[property_test]
fn the_cache_gives_the_output_and_the_weights_of_the_pass(
    #[strategy = case()] case: Case,
    #[strategy = 0..20_usize] prompt: usize,
) {
    let whole = case.layer.forward(&case.x).unwrap();
    let found = through_cache(&case.layer, &case.x, prompt).unwrap();
    assert_close("output", &found.output, &whole.output, TOLERANCE);
    for (found, whole) in found.weights.iter().zip(&whole.weights) {
        assert_close("weights", found, whole, TOLERANCE);
    }
}

#[property_test]
fn a_window_of_all_tokens_is_no_window(
    #[strategy = (0..12_usize).prop_flat_map(|n| (matrix(n, 5), layer_of(n.max(1))))]
    case: (DMatrix<f32>, WindowAttention),
) {
    let (x, layer) = case;
    let causal = layer.layer().forward(&x, &Mask::Causal { offset: 0 }).unwrap();
    let window = layer.forward(&x).unwrap();
    assert_close("output", &window.output, &causal.output, TOLERANCE);
}

#[property_test]
fn memory_is_the_same_after_any_text(#[strategy = case()] case: Case) {
    let bytes = case.layer.cache().bytes();
    in_chunks(&case, |cache| assert_eq!(cache.bytes(), bytes));
}

#[property_test]
fn a_ring_holds_the_latest_tokens_each_in_its_slot(
    #[strategy = 1..9_usize] window: usize,
    #[strategy = prop::collection::vec(0..30_usize, 0..9)] chunks: Vec<usize>,
) {
    let mut ring = RingCache::new(window, 1, 1);
    let mut seen = 0;
    for chunk in chunks {
        let tokens = DMatrix::from_fn(chunk, 1, |row, _| (seen + row) as f32);
        ring.keep(&tokens, &tokens).unwrap();
        seen += chunk;
        let held = ring.positions();
        let mut latest = held.clone();
        latest.sort_unstable();
        prop_assert_eq!(latest, (seen - window.min(seen)..seen).collect::<Vec<_>>());
        for (slot, position) in held.into_iter().enumerate() {
            prop_assert_eq!(ring.slot(position), slot);
            prop_assert_eq!(ring.keys()[(slot, 0)], position as f32);
        }
    }
}

/// Layers of windows on tokens: whom a token has heard from, by boolean products.
#[property_test]
fn the_receptive_field_is_what_layers_pass_on(
    #[strategy = prop::collection::vec(1..5_usize, 0..4)] windows: Vec<usize>,
) {
    let tokens = 24;
    let mut heard = DMatrix::from_fn(tokens, tokens, |i, j| i == j);
    for &window in &windows {
        let mask = Mask::Window { offset: 0, window };
        heard = DMatrix::from_fn(tokens, tokens, |i, j| {
            (0..tokens).any(|through| mask.sees(i, through) && heard[(through, j)])
        });
    }
    let far: Vec<Option<usize>> = windows.iter().copied().map(Some).collect();
    let last = heard.row(tokens - 1).iter().filter(|&&heard| heard).count();
    prop_assert_eq!(receptive_field(&far), Some(last));
}

/// And a real stack: what is beyond the field changes nothing, and what is at its edge does.
#[test]
fn a_stack_of_layers_hears_its_receptive_field_and_no_more() {
    let (x, layer) = sliding_window::experiments::random(16, 4).unwrap();
    let through = |x: &DMatrix<f32>| {
        let layers =
            (0..3).fold(x.clone(), |x, _| &x + layer.forward(&x).unwrap().output);
        layers.row(15).into_owned()
    };
    let field = receptive_field(&[Some(4); 3]).unwrap();
    let right = through(&x);
    for back in 0..16 {
        let mut moved = x.clone();
        moved.row_mut(15 - back).add_scalar_mut(1.0);
        assert_eq!(through(&moved) != right, back < field, "{back} back");
    }
}

#[property_test]
fn equal_shares_are_shares(
    #[strategy = 1..6_usize] window: usize,
    #[strategy = 0..6_usize] layers: usize,
) {
    let shares = thin_edge(window, layers);
    let field = receptive_field(&vec![Some(window); layers]).unwrap();
    prop_assert_eq!(shares.len(), field);
    prop_assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
}

#[property_test]
fn a_pattern_leaves_every_so_many_layers_without_a_window(
    #[strategy = (0..9_usize, 0..40_usize, 1..9_usize, 0..20_usize)] at: (
        usize,
        usize,
        usize,
        usize,
    ),
) {
    let (every, layers, window, tokens) = at;
    let windows = Pattern { window, every }.windows(layers);
    let full = layers.checked_div(every).unwrap_or(0);
    prop_assert_eq!(windows.iter().filter(|window| window.is_none()).count(), full);
    let kept = full * tokens + (layers - full) * tokens.min(window);
    prop_assert_eq!(cached(&windows, tokens), kept);
}

/// The layer of chapter 6 and its cache, as long as the window is not full.
#[property_test]
fn a_ring_that_is_not_full_is_the_cache_of_chapter_6(
    #[strategy = (1..8_usize).prop_flat_map(|n| (matrix(n, 5), layer_of(8)))] case: (
        DMatrix<f32>,
        WindowAttention,
    ),
) {
    let (x, layer) = case;
    let (keys, values) = layer.layer().layer().kv_widths();
    let (mut ring, mut cache) = (layer.cache(), KvCache::new(8, keys, values));
    for token in x.row_iter() {
        let token = token.into_owned();
        let token = DMatrix::from_row_slice(1, 5, token.as_slice());
        let found = decode(&layer, &token, &mut ring).unwrap();
        let known = rotary::decode(layer.layer(), &token, &mut cache).unwrap();
        prop_assert_eq!(found, known);
    }
}

/// Each slip gives other numbers as soon as a text is longer than the window, and none before.
#[test]
fn a_short_text_hides_every_slip() {
    let (x, layer) = sliding_window::experiments::random(12, 4).unwrap();
    for (name, slip) in SLIPS {
        let short = x.rows(0, 4).into_owned();
        let right = layer.forward(&short).unwrap().output;
        for chunks in [&[4][..], &[2, 1, 1]] {
            let found = chunked(&layer, &short, chunks, Some(slip)).unwrap();
            assert_close(name, &found, &right, TOLERANCE);
        }
        let right = layer.forward(&x).unwrap().output;
        let chunks = [4, 4, 1, 1, 1, 1];
        let found = chunked(&layer, &x, &chunks, Some(slip)).unwrap();
        assert!((&found - &right).amax() > 0.05, "{name}");
        let found = chunked(&layer, &x, &chunks, None).unwrap();
        assert_close(name, &found, &right, TOLERANCE);
    }
}

/// A hundred thousand tokens through a ring of 8: the last as in a pass over the last 40 of
/// the text, which stand at the same places.
#[test]
fn a_hundred_thousand_tokens_take_the_memory_of_a_window() {
    let (x, layer) = sliding_window::experiments::random(500, 8).unwrap();
    let mut cache = layer.cache();
    let bytes = cache.bytes();
    for _ in 0..199 {
        prefill(&layer, &x, &mut cache).unwrap();
    }
    let mut last = None;
    for token in 0..500 {
        let one = x.rows(token, 1).into_owned();
        last = Some(decode(&layer, &one, &mut cache).unwrap());
        assert_eq!(cache.bytes(), bytes);
    }
    assert_eq!((cache.seen(), cache.len()), (100_000, 8));
    // Only distances count, so the end of the text may stand anywhere.
    let near = layer.forward(&x.rows(460, 40).into_owned()).unwrap();
    let near = near.output.rows(39, 1).into_owned();
    assert_close("output", &last.unwrap().output, &near, 1e-4);
}
