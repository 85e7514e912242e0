//! What the chapter measures, apart from training: a pass there and back that a pencil can
//! follow, a real head that has lost its keys, and what each usual mistake is off by.

use crate::{
    AttendGradients, Forward, attend_backward, forward, heads_backward, linear_input,
    rotation_backward, softmax_backward,
};
use anyhow::{Context, Result};
use attention::{Attended, Linear, Mask, attend, scores};
use decoder_layer::{DecoderLayer, Parts};
use grouped_query::{Groups, Pool, Pooling};
use minilm::smollm2::{Sentence, Slice};
use nalgebra::{DMatrix, dmatrix};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rotary::{Pairing, Rotary};

/// Two tokens, and what their outputs should have been.
#[derive(Debug, Clone, PartialEq)]
pub struct Toy {
    /// (2, 4)
    pub q: DMatrix<f32>,
    /// (2, 4)
    pub k: DMatrix<f32>,
    /// (2, 1)
    pub v: DMatrix<f32>,
    /// (2, 1)
    pub wanted: DMatrix<f32>,
}

/// The worked example: the second query's scores are 1.1 and 0, and e to the 1.1 is 3.
#[must_use]
pub fn toy() -> Toy {
    Toy {
        q: dmatrix![0.0, 2.0, 0.0, 0.0; 2.2, 0.0, 0.0, 0.0],
        k: dmatrix![1.0, 0.0, 1.0, 0.0; 0.0, 1.0, 0.0, 1.0],
        v: dmatrix![10.0; 2.0],
        wanted: dmatrix![9.0; 10.0],
    }
}

/// What a pass there and back through causal attention gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Steps {
    /// (2, 2)
    pub weights: DMatrix<f32>,
    /// (2, 1)
    pub output: DMatrix<f32>,
    /// Half of the squared difference between output and what was wanted.
    pub loss: f32,
    /// (2, 1): the difference itself.
    pub d_output: DMatrix<f32>,
    /// (2, 2)
    pub d_weights: DMatrix<f32>,
    /// (2, 2)
    pub d_scores: DMatrix<f32>,
    /// Of queries, keys and values.
    pub gradients: AttendGradients,
}

impl Toy {
    /// There and back.
    ///
    /// # Errors
    /// None that can happen: the shapes are fixed.
    pub fn steps(&self) -> Result<Steps> {
        let Toy { q, k, v, wanted } = self;
        let qkv = [q.as_view(), k.as_view(), v.as_view()];
        let causal = Mask::Causal { offset: 0 };
        let Attended { output, weights } = attend(qkv[0], qkv[1], qkv[2], &causal)?;
        let d_output = &output - wanted;
        let d_weights = &d_output * v.transpose();
        let d_scores = softmax_backward(&weights, d_weights.clone());
        let gradients = attend_backward(qkv, &weights, d_output.as_view())?;
        let loss = d_output.norm_squared() / 2.0;
        Ok(Steps { weights, output, loss, d_output, d_weights, d_scores, gradients })
    }

    /// The same with each number moved by `rate` against its gradient.
    ///
    /// # Errors
    /// None that can happen: the shapes are fixed.
    pub fn stepped(&self, rate: f32) -> Result<Toy> {
        let AttendGradients { q, k, v } = self.steps()?.gradients;
        Ok(Toy {
            q: &self.q - q * rate,
            k: &self.k - k * rate,
            v: &self.v - v * rate,
            wanted: self.wanted.clone(),
        })
    }
}

/// How far a number is moved to measure a slope.
pub const NUDGE: f32 = 0.01;

/// A number of the worked example, and the gradient that the way back gives it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slope {
    /// `q moon 0` is the first feature of the second query.
    pub name: &'static str,
    /// The loss with the number [`NUDGE`] smaller and larger.
    pub losses: [f32; 2],
    /// Their difference by twice the nudge.
    pub measured: f32,
    /// What the way back says.
    pub gradient: f32,
}

/// Picks a number of the worked example.
type Change = fn(&mut Toy) -> &mut f32;

/// The gradients of a few numbers of the worked example, each also measured by moving it.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn slopes() -> Result<Vec<Slope>> {
    let d = toy().steps()?.gradients;
    let moved = |by: f32, change: Change| -> Result<f32> {
        let mut toy = toy();
        *change(&mut toy) += by;
        Ok(toy.steps()?.loss)
    };
    let numbers: [(&str, Change, f32); 5] = [
        ("q moon 0", |toy| &mut toy.q[(1, 0)], d.q[(1, 0)]),
        ("k sun 0", |toy| &mut toy.k[(0, 0)], d.k[(0, 0)]),
        ("k moon 0", |toy| &mut toy.k[(1, 0)], d.k[(1, 0)]),
        ("v sun", |toy| &mut toy.v[0], d.v[0]),
        ("v moon", |toy| &mut toy.v[1], d.v[1]),
    ];
    let slope = |(name, change, gradient)| -> Result<Slope> {
        let losses = [moved(-NUDGE, change)?, moved(NUDGE, change)?];
        let measured = (losses[1] - losses[0]) / (2.0 * NUDGE);
        Ok(Slope { name, losses, measured, gradient })
    };
    numbers.into_iter().map(slope).collect()
}

/// The head of `SmolLM2`'s layer 13 in which `it` looks at `animal`.
pub const HEAD: usize = 8;

/// Width of its heads.
const HEAD_DIM: usize = 64;

/// A real head whose keys and values have been pooled with those of all others, and what
/// gradients ask of it, so that the layer gives what it gave before.
pub struct Real {
    /// The tokens of the sentence.
    pub tokens: Vec<String>,
    /// (tokens, tokens): the weights of the head as it was trained.
    pub trained: DMatrix<f32>,
    /// The same after pooling.
    pub pooled: DMatrix<f32>,
    /// The gradients of its scores after pooling.
    pub d_scores: DMatrix<f32>,
    /// The loss, and what it is a share of: half the mean square of the trained output.
    pub losses: [f32; 2],
}

impl Real {
    /// Layer 13 of `SmolLM2` on *The animal did not cross the street because it was too
    /// tired.*, its three key/value heads pooled to one by their mean. The loss is half the
    /// squared distance of the layer's output from the output before, per token.
    ///
    /// # Errors
    /// When the slice cannot be read.
    pub fn load() -> Result<Real> {
        let slice = Slice::load()?;
        let (tokens, x) = slice.sentence(Sentence::Tired)?;
        let x = slice.normed(&x);
        let causal = Mask::Causal { offset: 0 };
        let layer = layer(&slice)?;
        let trained = forward(&layer, &x, &causal)?;
        let pooled = pooled(&layer)?;
        let passed = forward(&pooled, &x, &causal)?;

        let n = x.nrows() as f32;
        let dy = (&passed.output - &trained.output) / n;
        let [.., v_proj, o_proj] = pooled.projections();
        let d_found = linear_input(o_proj, &dy)?;
        let d_found = d_found.columns(HEAD * HEAD_DIM, HEAD_DIM);
        // All heads look at the only value.
        let d_weights = d_found * v_proj.forward(&x)?.transpose();
        let of_head = |passed: &Forward| passed.weights[HEAD].clone();
        Ok(Real {
            tokens,
            trained: of_head(&trained),
            d_scores: softmax_backward(&passed.weights[HEAD], d_weights),
            pooled: of_head(&passed),
            losses: [dy.norm_squared() * n, trained.output.norm_squared() / n]
                .map(|squares| squares / 2.0),
        })
    }

    /// Where a word stands.
    ///
    /// # Errors
    /// When it does not.
    pub fn place_of(&self, word: &str) -> Result<usize> {
        let place = self.tokens.iter().position(|token| token == word);
        place.with_context(|| format!("no token {word}"))
    }
}

fn layer(slice: &Slice) -> Result<DecoderLayer> {
    let map = |name| -> Result<Linear> { Ok(Linear::new(slice.weight(name)?, None)?) };
    let projections = [map("q_proj")?, map("k_proj")?, map("v_proj")?, map("o_proj")?];
    let rotary = Rotary::new(HEAD_DIM, slice.theta, Pairing::Halves)?;
    let groups = Groups::new(slice.heads, slice.kv_heads)?;
    let parts = Parts { rotary: Some(rotary), ..Parts::plain(groups, HEAD_DIM) };
    Ok(DecoderLayer::new(projections, parts)?)
}

/// The same layer with one key/value head, the mean of all.
fn pooled(layer: &DecoderLayer) -> Result<DecoderLayer> {
    let [q_proj, k_proj, v_proj, o_proj] = layer.projections();
    let mut parts = layer.parts().clone();
    let mut pool = Pool::new(Groups::new(parts.groups.kv_heads(), 1)?, Pooling::Mean);
    parts.groups = Groups::new(parts.groups.heads(), 1)?;
    let k_proj = pool.linear("k_proj", k_proj)?;
    let v_proj = pool.linear("v_proj", v_proj)?;
    let projections = [q_proj.clone(), k_proj, v_proj, o_proj.clone()];
    Ok(DecoderLayer::new(projections, parts)?)
}

/// A mistake in a way back, and the input on which nobody notices it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mistake {
    /// What was done.
    pub name: &'static str,
    /// The largest difference, as a share of the largest entry of the right gradient.
    pub off: f32,
    /// What kind of input hides it.
    pub hidden_by: &'static str,
    /// The same on such an input.
    pub hidden: f32,
}

/// Every mistake that the chapter tells of, made on random numbers and on numbers that
/// hide it.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn mistakes() -> Result<Vec<Mistake>> {
    let mistake =
        |name, off, hidden_by, hidden| Mistake { name, off, hidden_by, hidden };
    Ok(vec![
        mistake("no row sum", no_row_sum(false)?, "average 0", no_row_sum(true)?),
        mistake("only the diagonal", diagonal(4)?, "one key", diagonal(1)?),
        mistake("scale on one side", one_side(4)?, "one feature", one_side(1)?),
        mistake("first head only", first_head(2)?, "own keys", first_head(4)?),
        mistake("turned forward", turned(1..5)?, "position 0", turned(0..1)?),
        mistake(
            "mask forgotten",
            unmasked(&Mask::Causal { offset: 0 })?,
            "no mask",
            unmasked(&Mask::None)?,
        ),
    ])
}

/// Four queries and keys, and the gradient of what they find.
struct Drawn {
    q: DMatrix<f32>,
    k: DMatrix<f32>,
    v: DMatrix<f32>,
    d_output: DMatrix<f32>,
}

impl Drawn {
    fn new(keys: usize, width: usize) -> Drawn {
        let mut rng = ChaCha8Rng::seed_from_u64(13);
        let mut normal = |rows, columns| {
            DMatrix::from_fn(rows, columns, |_, _| StandardNormal.sample(&mut rng))
        };
        let [q, k] = [4, keys].map(|rows| normal(rows, width));
        Drawn { q, k, v: normal(keys, 2), d_output: normal(4, 2) }
    }

    fn qkv(&self) -> [nalgebra::DMatrixView<'_, f32>; 3] {
        [self.q.as_view(), self.k.as_view(), self.v.as_view()]
    }

    fn weights(&self, mask: &Mask) -> Result<DMatrix<f32>> {
        let [q, k, v] = self.qkv();
        Ok(attend(q, k, v, mask)?.weights)
    }

    fn d_weights(&self) -> DMatrix<f32> {
        &self.d_output * self.v.transpose()
    }
}

/// `A ∘ dA`, without the average taken away.
fn no_row_sum(averages_are_zero: bool) -> Result<f32> {
    let drawn = Drawn::new(4, 4);
    let (weights, mut d_weights) = (drawn.weights(&Mask::None)?, drawn.d_weights());
    if averages_are_zero {
        for (a, mut d) in weights.row_iter().zip(d_weights.row_iter_mut()) {
            let average = a.dot(&d);
            d.add_scalar_mut(-average);
        }
    }
    let found = weights.component_mul(&d_weights);
    Ok(off(&found, &softmax_backward(&weights, d_weights)))
}

/// `A ∘ (1 − A) ∘ dA`, as if the weights of a row had nothing to do with one another.
fn diagonal(keys: usize) -> Result<f32> {
    let drawn = Drawn::new(keys, 4);
    let (weights, d_weights) = (drawn.weights(&Mask::None)?, drawn.d_weights());
    let found = weights.map(|a| a * (1.0 - a)).component_mul(&d_weights);
    Ok(off(&found, &softmax_backward(&weights, d_weights)))
}

/// The gradient of keys without the division by √d.
fn one_side(width: usize) -> Result<f32> {
    let drawn = Drawn::new(4, width);
    let weights = drawn.weights(&Mask::None)?;
    let right = attend_backward(drawn.qkv(), &weights, drawn.d_output.as_view())?;
    let d_scores = softmax_backward(&weights, drawn.d_weights());
    Ok(off(&(d_scores.transpose() * &drawn.q), &right.k))
}

/// The gradient of keys that four heads share, taken from the first head of each group.
fn first_head(kv_heads: usize) -> Result<f32> {
    let groups = Groups::new(4, kv_heads)?;
    let parts = Parts::plain(groups, 2);
    let drawn = [Drawn::new(4, 8), Drawn::new(4, 2 * kv_heads)];
    let (q, k) = (&drawn[0].q, &drawn[1].k);
    let v = k.clone();
    let (k, v, causal) = (k.as_view(), v.as_view(), Mask::Causal { offset: 0 });
    let weights = parts.attend(q, k, v, &causal)?.weights;
    let mut d_found = drawn[0].k.clone();
    let right = heads_backward(&parts, q, k, v, &weights, &d_found)?;
    for head in 0..4 {
        if head % groups.size() != 0 {
            d_found.columns_mut(head * 2, 2).fill(0.0);
        }
    }
    let first = heads_backward(&parts, q, k, v, &weights, &d_found)?;
    Ok(off(&first.k, &right.k))
}

/// A gradient that was turned as queries are, and not back.
fn turned(positions: std::ops::Range<usize>) -> Result<f32> {
    let angles = Rotary::new(4, 100.0, Pairing::Halves)?.angles(positions.clone());
    let mut right = Drawn::new(4, 4).k.rows(0, positions.len()).into_owned();
    let mut forward = right.clone();
    rotation_backward(&angles, &mut right)?;
    angles.rotate(&mut forward)?;
    Ok(off(&forward, &right))
}

/// The gradient of scores, from weights that were computed again, `exp(S − L)`, without the
/// mask that the forward pass had.
fn unmasked(mask: &Mask) -> Result<f32> {
    let drawn = Drawn::new(4, 4);
    let (weights, scores) =
        (drawn.weights(mask)?, scores(drawn.q.as_view(), drawn.k.as_view())?);
    let mut again = scores.clone();
    for (query, mut row) in again.row_iter_mut().enumerate() {
        // Any key that is seen gives the log-sum-exp; all see the first.
        let log_sum_exp = scores[(query, 0)] - weights[(query, 0)].ln();
        row.apply(|score| *score = (*score - log_sum_exp).exp());
    }
    let right = softmax_backward(&weights, drawn.d_weights());
    // The average is saved with the output, and so it is right.
    let averages = weights.component_mul(&drawn.d_weights()).column_sum();
    let mut found = drawn.d_weights();
    for (mut row, average) in found.row_iter_mut().zip(averages.iter()) {
        row.add_scalar_mut(-average);
    }
    Ok(off(&found.component_mul(&again), &right))
}

/// The largest difference, as a share of the largest right entry.
fn off(found: &DMatrix<f32>, right: &DMatrix<f32>) -> f32 {
    let apart = (found - right).amax();
    if apart == 0.0 { 0.0 } else { apart / right.amax() }
}

/// What a model that only counts can reach on recall.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counting {
    /// Nats per token, if each value is expected as often as it stands in the sequence.
    pub loss: f64,
    /// The share that is right, if it always says the value that stands there most often.
    pub accuracy: f64,
}

/// A model that knows which values the `pairs` of a sequence have, and how often, but not
/// which belongs to a key. There are twice as many values as pairs.
#[must_use]
pub fn counting(pairs: usize, sequences: usize) -> Counting {
    let task = crate::training::Task::Recall;
    let (mut surprise, mut most) = (0.0, 0.0);
    for example in task.batch(pairs, 1, 0, sequences) {
        let mut counts = vec![0_u32; task.vocabulary(pairs)];
        let values = example.targets.iter().flatten();
        values.clone().for_each(|&value| counts[value] += 1);
        let share = |count: u32| f64::from(count) / pairs as f64;
        surprise -= values.map(|&value| share(counts[value]).ln()).sum::<f64>();
        most += share(counts.iter().copied().max().unwrap_or(0));
    }
    let sequences = sequences as f64;
    Counting { loss: surprise / (sequences * pairs as f64), accuracy: most / sequences }
}

/// The share of the questions of recall whose value lies within the last `window` tokens,
/// if every pair is asked for equally often at every place.
#[must_use]
pub fn within(pairs: usize, window: usize) -> f64 {
    let seen = |question: usize| {
        let place = 2 * pairs + question;
        (0..pairs).filter(|pair| place - (2 * pair + 1) < window).count()
    };
    let all: usize = (0..pairs).map(seen).sum();
    all as f64 / (pairs * pairs) as f64
}

/// A number with a comma before its last three digits.
pub(crate) fn thousands(number: usize) -> String {
    match number / 1000 {
        0 => number.to_string(),
        thousand => format!("{thousand},{:03}", number % 1000),
    }
}
