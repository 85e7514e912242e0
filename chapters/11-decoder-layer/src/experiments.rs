//! What the chapter measures: the parts around the softmax, one after the other, on a small
//! row of scores and on a real one.

use crate::{
    Centering, HeadNorm, Norms, Parts, Temperature, open_gate, soft_cap,
    softmax_with_sink,
};
use anyhow::{Context, Result, ensure};
use attention::{Linear, softmax};
use checkpoint::{Config, NormSpan, Rope, Scaling};
use grouped_query::Groups;
use minilm::smollm2::{Sentence, Slice};
use multi_head::Projected;
use nalgebra::{DMatrix, DVector, dmatrix, dvector};
use rotary::{Pairing, Rotary};

/// The head of `SmolLM2`'s layer 13 in which `it` looks at `animal`.
pub const HEAD: usize = 8;

/// Width of its heads.
pub const HEAD_DIM: usize = 64;

/// Base of the rotation of `SmolLM2`.
const THETA: f64 = 100_000.0;

/// The worked example: one query, three keys and their values.
#[derive(Debug, Clone, PartialEq)]
pub struct Toy {
    /// (1, 2)
    pub q: DMatrix<f32>,
    /// (3, 2)
    pub k: DMatrix<f32>,
    /// (3, 1)
    pub v: DMatrix<f32>,
}

/// A key that points elsewhere, a long one, and a short one that points as the query does.
#[must_use]
pub fn toy() -> Toy {
    Toy {
        q: dmatrix![1.0, 7.0],
        k: dmatrix![7.0, 1.0; -1.0, 7.0; 0.1, 0.7],
        v: dmatrix![10.0; 20.0; 30.0],
    }
}

/// What the worked example shows, in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct Steps {
    /// q · k / √2, (1, 3), and their weights.
    pub plain: [DMatrix<f32>; 2],
    /// The same under a cap of 5.
    pub capped: [DMatrix<f32>; 2],
    /// The same of queries and keys that are normed.
    pub normed: [DMatrix<f32>; 2],
    /// The weights of these with a sink of 1.
    pub with_sink: DMatrix<f32>,
    /// What they find, (1, 1), and what a gate of 0 lets pass of it.
    pub found: [DMatrix<f32>; 2],
}

/// Cap and sink of the worked example.
pub const CAP: f32 = 5.0;
/// Its sink's score.
pub const SINK: f32 = 1.0;

/// The worked example, step by step.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn steps() -> Result<Steps> {
    let Toy { q, k, v } = toy();
    let scores = |q: &DMatrix<f32>, k: &DMatrix<f32>| q * k.transpose() / 2_f32.sqrt();
    let weighed = |scores: DMatrix<f32>| [scores.clone(), softmax(scores)];
    let plain = scores(&q, &k);
    let mut capped = plain.clone();
    soft_cap(&mut capped, CAP);
    let norm = HeadNorm::new(dvector![1.0, 1.0], 2, Centering::None, 0.0);
    let (mut q_normed, mut k_normed) = (q, k);
    norm.apply(&mut q_normed)?;
    norm.apply(&mut k_normed)?;
    let normed = scores(&q_normed, &k_normed);
    let with_sink = softmax_with_sink(normed.clone(), SINK);
    let found = &with_sink * v;
    let mut passed = found.clone();
    open_gate(&mut passed, &dmatrix![0.0])?;
    Ok(Steps {
        plain: weighed(plain),
        capped: weighed(capped),
        normed: weighed(normed),
        with_sink,
        found: [found, passed],
    })
}

/// Queries and keys of all heads of a real layer, before they are turned, and what is needed
/// to let them meet.
pub struct Real {
    /// The tokens of the sentence.
    pub tokens: Vec<String>,
    projected: Projected,
    plain: Parts,
    /// Where [`HEAD`] is among the heads that are here.
    head: usize,
}

/// Which parts stand around the softmax of the real row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Switched {
    /// Queries and keys are normed, with a gain of 1.
    pub norm: bool,
    /// Queries and keys turn.
    pub rotation: bool,
    /// What scores are bounded by.
    pub cap: Option<f32>,
    /// The score of a sink.
    pub sink: Option<f32>,
    /// Tokens that a query sees.
    pub window: Option<usize>,
    /// What the scale is multiplied by.
    pub sharper: f32,
}

impl Switched {
    /// As the layer is.
    pub const NONE: Self = Switched {
        norm: false,
        rotation: true,
        cap: None,
        sink: None,
        window: None,
        sharper: 1.0,
    };
}

impl Real {
    /// Layer 13 of `SmolLM2` on *The animal did not cross the street because it was too
    /// tired.*
    ///
    /// # Errors
    /// When the slice cannot be read.
    pub fn load() -> Result<Self> {
        let slice = Slice::load()?;
        let (tokens, x) = slice.sentence(Sentence::Tired)?;
        let x = slice.normed(&x);
        let project = |name| -> Result<DMatrix<f32>> {
            Ok(Linear::new(slice.weight(name)?, None)?.forward(&x)?)
        };
        let projected = Projected {
            q: project("q_proj")?,
            k: project("k_proj")?,
            v: project("v_proj")?,
        };
        let groups = Groups::new(slice.heads, slice.kv_heads)?;
        let rotary = Rotary::new(HEAD_DIM, slice.theta, Pairing::Halves)?;
        let plain = Parts { rotary: Some(rotary), ..Parts::plain(groups, HEAD_DIM) };
        Ok(Real { tokens, projected, plain, head: HEAD })
    }

    /// Head [`HEAD`] alone, from what the chapter keeps of its queries and keys: all that a
    /// page needs. Its values are zero.
    ///
    /// # Errors
    /// When the file is not what it should be.
    pub fn kept() -> Result<Self> {
        let lines =
            include_str!("head.csv").lines().filter(|line| !line.starts_with('#'));
        let (mut tokens, mut numbers) = (Vec::new(), Vec::new());
        for line in lines {
            let (token, row) = line.split_once(',').context("head.csv: no numbers")?;
            tokens.push(token.to_owned());
            for number in row.split(',') {
                numbers.push(number.parse().context("head.csv: not a number")?);
            }
        }
        let n = tokens.len();
        ensure!(numbers.len() == n * 2 * HEAD_DIM, "head.csv: rows of another length");
        let both = DMatrix::from_row_slice(n, 2 * HEAD_DIM, &numbers);
        let projected = Projected {
            q: both.columns(0, HEAD_DIM).into_owned(),
            k: both.columns(HEAD_DIM, HEAD_DIM).into_owned(),
            v: DMatrix::zeros(n, HEAD_DIM),
        };
        let rotary = Rotary::new(HEAD_DIM, THETA, Pairing::Halves)?;
        let plain = Parts::plain(Groups::new(1, 1)?, HEAD_DIM);
        let plain = Parts { rotary: Some(rotary), ..plain };
        Ok(Real { tokens, projected, plain, head: 0 })
    }

    /// The queries and keys of [`HEAD`], (tokens, 64) each, before they are turned.
    #[must_use]
    pub fn queries_and_keys(&self) -> [DMatrix<f32>; 2] {
        let group = self.plain.groups.kv_head(self.head);
        let Projected { q, k, .. } = &self.projected;
        [(q, self.head), (k, group)]
            .map(|(all, head)| all.columns(head * HEAD_DIM, HEAD_DIM).into_owned())
    }

    /// Where a word stands.
    ///
    /// # Errors
    /// When it does not.
    pub fn place_of(&self, word: &str) -> Result<usize> {
        let place = self.tokens.iter().position(|token| token == word);
        place.with_context(|| format!("no token {word}"))
    }

    /// The weights of `it` in head [`HEAD`], (1, tokens), and what a sink takes.
    ///
    /// # Errors
    /// When there is no `it`.
    pub fn row(&self, switched: Switched) -> Result<(DMatrix<f32>, f32)> {
        let query = self.place_of("it")?;
        let parts = self.parts(switched);
        let mut projected = self.projected.clone();
        let n = self.tokens.len();
        parts.prepare(&mut projected, &parts.place(0..n, n))?;
        let Projected { q, k, .. } = projected;
        let group = parts.groups.kv_head(self.head);
        let q = q.columns(self.head * HEAD_DIM, HEAD_DIM);
        let k = k.columns(group * HEAD_DIM, HEAD_DIM);
        let weights = parts.weights(self.head, q, k, &parts.mask(0))?;
        let row = weights.rows(query, 1).into_owned();
        let sunk = 1.0 - row.sum();
        Ok((row, sunk))
    }

    /// The scores of that row before softmax, those of the future left out.
    ///
    /// # Errors
    /// When there is no `it`.
    pub fn scores(&self) -> Result<Vec<f32>> {
        let query = self.place_of("it")?;
        let mut projected = self.projected.clone();
        let n = self.tokens.len();
        self.plain.prepare(&mut projected, &self.plain.place(0..n, n))?;
        let group = self.plain.groups.kv_head(self.head);
        let first = self.head * HEAD_DIM;
        let q = projected.q.view((query, first), (1, HEAD_DIM)).into_owned();
        let k = projected.k.view((0, group * HEAD_DIM), (query + 1, HEAD_DIM));
        Ok((q * k.transpose() * self.plain.scale).as_slice().to_vec())
    }

    fn parts(&self, switched: Switched) -> Parts {
        let Switched { norm, rotation, cap, sink, window, sharper } = switched;
        let plain = self.plain.clone();
        let gain = || DVector::repeat(HEAD_DIM, 1.0);
        let one = || HeadNorm::new(gain(), HEAD_DIM, Centering::None, 1e-6);
        Parts {
            norms: norm.then(|| Norms { q: one(), k: one() }),
            rotary: plain.rotary.clone().filter(|_| rotation),
            cap,
            sinks: sink.map(|sink| DVector::repeat(plain.groups.heads(), sink)),
            window,
            scale: plain.scale * sharper,
            ..plain
        }
    }
}

/// The rows of the figure and of the table: a name, and which parts there are.
pub const ROWS: [(&str, Switched); 7] = [
    ("as it is", Switched::NONE),
    ("QK-norm", Switched { norm: true, ..Switched::NONE }),
    ("cap 2", Switched { cap: Some(2.0), ..Switched::NONE }),
    ("half the scale", Switched { sharper: 0.5, ..Switched::NONE }),
    ("sink 4", Switched { sink: Some(4.0), ..Switched::NONE }),
    ("window 5", Switched { window: Some(5), ..Switched::NONE }),
    ("no rotation", Switched { rotation: false, ..Switched::NONE }),
];

/// How far the scores of one query and key that are normed, and then turned, are from those
/// that are turned and then normed: without a gain, and with one.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn norm_and_turn() -> Result<[f32; 2]> {
    let rotary = Rotary::new(4, 10_000.0, Pairing::Halves)?;
    let x = dmatrix![1.0, -2.0, 0.5, 3.0; 2.0, 1.0, -1.0, 0.5];
    let angles = rotary.angles(3..5);
    let apart = |gain: DVector<f32>| -> Result<f32> {
        let norm = HeadNorm::new(gain, 4, Centering::None, 0.0);
        let (mut before, mut after) = (x.clone(), x.clone());
        norm.apply(&mut before)?;
        angles.rotate(&mut before)?;
        angles.rotate(&mut after)?;
        norm.apply(&mut after)?;
        let score = |x: &DMatrix<f32>| x.row(0).dot(&x.row(1));
        Ok((score(&before) - score(&after)).abs())
    };
    Ok([apart(DVector::repeat(4, 1.0))?, apart(dvector![2.0, 1.0, 0.5, 1.0])?])
}

/// How much weight a query at `position` puts on one key whose score is 3 above that of all
/// others, without a temperature and with Llama 4's.
#[must_use]
pub fn fades(position: usize) -> [f64; 2] {
    let temperature = Temperature { beta: 0.1, every: 8192.0 };
    [1.0, temperature.at(position)].map(|factor| {
        let one = (3.0 * f64::from(factor)).exp();
        one / (one + position as f64)
    })
}

/// What the layers of a kind have beside those of Llama, as the configuration class of its
/// kind has it where a file says nothing.
///
/// # Errors
/// When there is no such kind.
pub fn parts_of(kind: &str) -> Result<Vec<String>> {
    let config = Config::parse(&format!(r#"{{"model_type": "{kind}"}}"#))?;
    let layers: Result<Vec<_>, _> =
        (0..config.layers()?).map(|layer| config.attention(layer)).collect();
    let layers = layers?;
    let first = layers.first().context("no layer")?;
    let mut parts = Vec::new();
    if let Some(norm) = first.norm {
        parts.push(match norm.span {
            NormSpan::Head => "norm per head".to_owned(),
            NormSpan::EachHead => "norm per head, own gains".to_owned(),
            NormSpan::AllHeads => "norm over all heads".to_owned(),
        });
    }
    let windows: Vec<u64> = layers.iter().filter_map(|layer| layer.window).collect();
    if let Some(window) = windows.first() {
        parts.push(format!("window {window} in {}/{}", windows.len(), layers.len()));
    }
    parts.extend(rotations(&layers));
    if first.temperature.is_some() {
        parts.push("temperature".to_owned());
    }
    if let Some(cap) = first.soft_cap {
        parts.push(format!("cap {cap}"));
    }
    if first.sinks {
        parts.push("sinks".to_owned());
    }
    let root = 1.0 / (first.query_width() as f64).sqrt();
    if (first.scale - root).abs() > 1e-6 {
        parts.push(format!("scale {:.4}", first.scale));
    }
    if first.biases.inputs {
        parts.push("biases".to_owned());
    }
    Ok(parts)
}

/// What is said of the rotation of a model's layers.
fn rotations(layers: &[checkpoint::Attention]) -> Vec<String> {
    let ropes: Vec<&Rope> =
        layers.iter().filter_map(|layer| layer.rope.as_ref()).collect();
    let Some(first) = ropes.first() else { return vec!["no rotation".to_owned()] };
    let mut said = Vec::new();
    let width = layers[0].query_width();
    if first.features as u64 != width {
        said.push(format!("{} of {width} features turn", first.features));
    }
    if first.pairing == checkpoint::Pairing::Neighbors {
        said.push("neighbors turn".to_owned());
    }
    if ropes.len() < layers.len() {
        said.push(format!("{}/{} turn", ropes.len(), layers.len()));
    }
    if ropes.iter().any(|rope| rope.base != first.base) {
        said.push("two bases".to_owned());
    }
    if ropes.iter().any(|rope| matches!(rope.scaling, Scaling::Yarn { .. })) {
        said.push("YaRN".to_owned());
    }
    said
}
