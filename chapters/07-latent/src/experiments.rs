//! What the chapter counts and measures: the data behind its figures and numbers.

use crate::{Form, LatentAttention, Projections, QueryProjection, RmsNorm, Sizes};
use anyhow::{Context, Result};
use attention::{Linear, Mask};
use chapter_cli::{Recorded, Roof};
use decoding::experiments::normal;
use grouped_query::experiments::{Aligned, aligned, grouped, heads_of, relative_error};
use grouped_query::{Pooling, attend_groups};
use minilm::Layer;
use nalgebra::{DMatrix, SymmetricEigen};
use rotary::{Pairing, Rotary};
use std::sync::OnceLock;

/// A latent layer as far as its costs go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Heads and their widths.
    pub sizes: Sizes,
    /// Width of a latent.
    pub lora_rank: usize,
}

/// `DeepSeek-V2`, §3.1.2, and `DeepSeek-V3`: 128 heads of 128 + 64, latents of 512.
pub const DEEPSEEK: Shape = Shape {
    sizes: Sizes { heads: 128, nope_dim: 128, rope_dim: 64, v_dim: 128 },
    lora_rank: 512,
};

/// The same with 16 heads instead of 128: what the benchmark runs.
pub const SCALED: Shape =
    Shape { sizes: Sizes { heads: 16, ..DEEPSEEK.sizes }, lora_rank: 512 };

/// Cached tokens over which the benchmark decodes one more.
pub const CACHED: [usize; 5] = [512, 1024, 2048, 4096, 8192];

/// Tokens that the benchmark runs at once, after [`BEFORE`] cached ones.
pub const CHUNKS: [usize; 8] = [1, 8, 32, 64, 128, 256, 512, 1024];

/// Cached tokens before a chunk.
pub const BEFORE: usize = 2048;

/// Key/value heads of the grouped layer beside: its cache is about that of the latent.
pub const KV_HEADS: usize = 2;

/// The chunk whose parts are timed: near the crossing.
pub const PARTS_OF: usize = 128;

/// A layer of [`SCALED`] with random weights, on few features: the projections from and
/// to the tokens are the same in both forms and not timed.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn scaled_layer() -> Result<LatentAttention> {
    Ok(LatentAttention::new(random(SCALED, 64)?, SCALED.sizes, 10_000.0)?)
}

/// Random weights for tokens of `model_dim` features, scaled so that numbers keep their
/// size.
///
/// # Errors
/// None that can happen: the shapes fit.
pub fn random(shape: Shape, model_dim: usize) -> Result<Projections> {
    let Shape { sizes, lora_rank } = shape;
    let linear = |d_in: usize, d_out, seed| {
        Linear::new(normal(d_in, d_out, seed) / (d_in as f32).sqrt(), None)
    };
    let queries = sizes.heads * sizes.qk_dim();
    Ok(Projections {
        query: QueryProjection::Full(linear(model_dim, queries, 1)?),
        kv_a_proj: linear(model_dim, shape.kept(), 2)?,
        kv_a_layernorm: RmsNorm::new(vec![1.0; lora_rank]),
        kv_b_proj: linear(lora_rank, shape.expanded(), 3)?,
        o_proj: linear(sizes.heads * sizes.v_dim, model_dim, 4)?,
    })
}

/// What it takes to let `new` tokens look at `seen`, between the queries and the outputs
/// of the heads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Multiplications, each with its addition.
    pub multiply_adds: f64,
    /// Numbers that come from memory or go there.
    pub numbers: f64,
}

impl Shape {
    /// Numbers that one token leaves in the cache.
    #[must_use]
    pub fn kept(self) -> usize {
        self.lora_rank + self.sizes.rope_dim
    }

    /// Keys and values of all heads that are made from one latent, the turned key of each
    /// head not counted.
    #[must_use]
    pub fn expanded(self) -> usize {
        self.sizes.heads * (self.sizes.nope_dim + self.sizes.v_dim)
    }

    /// Multiply-adds of one head for one pair of tokens: a score and a share of the
    /// average.
    #[must_use]
    pub fn pair(self, form: Form) -> usize {
        match form {
            Form::Naive => self.sizes.qk_dim() + self.sizes.v_dim,
            Form::Absorbed => self.kept() + self.lora_rank,
        }
    }

    /// [`Work`] in either form: all latents are expanded, or each query is brought to
    /// the latents and each output back.
    #[must_use]
    pub fn work(self, form: Form, new: usize, seen: usize) -> Work {
        let (expanded, rank) = (self.expanded() as f64, self.lora_rank as f64);
        let (new, seen, heads) = (new as f64, seen as f64, self.sizes.heads as f64);
        let pairs = new * seen * heads * self.pair(form) as f64;
        let weights = rank * expanded;
        match form {
            // What is made is written, and read again.
            Form::Naive => Work {
                multiply_adds: seen * weights + pairs,
                numbers: weights + seen * (self.kept() as f64 + 2.0 * expanded),
            },
            // The latent is read as a part of the key, and again as the value.
            Form::Absorbed => Work {
                multiply_adds: new * weights + pairs,
                numbers: weights + seen * (self.kept() as f64 + rank),
            },
        }
    }

    /// How many new tokens make both forms cost the same multiply-adds over a long cache.
    #[must_use]
    pub fn crossing(self) -> f64 {
        let (expanding, more) = self.expanding_and_more();
        expanding / more
    }

    /// The same after so many cached tokens: the n of `before · expanding = n · (before +
    /// n) · more`, since the latents of the new tokens cost as much to expand as their
    /// queries cost to absorb.
    #[must_use]
    pub fn crossing_after(self, before: usize) -> f64 {
        let (before, half) = (before as f64, before as f64 / 2.0);
        (half * half + before * self.crossing()).sqrt() - half
    }

    /// Multiply-adds of one head: what it spends on expanding one latent, and how much
    /// more it spends on a pair of tokens in the absorbed form.
    fn expanding_and_more(self) -> (f64, f64) {
        let Sizes { nope_dim, v_dim, .. } = self.sizes;
        let more = self.pair(Form::Absorbed) as f64 - self.pair(Form::Naive) as f64;
        ((self.lora_rank * (nope_dim + v_dim)) as f64, more)
    }
}

/// What the machine can do at best, as the benchmark recorded it.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Multiply-adds per second in a large square product.
    pub multiply_adds: f64,
    /// Numbers per second that are read.
    pub numbers: f64,
}

impl Machine {
    /// From the recording.
    ///
    /// # Errors
    /// When it does not hold them.
    pub fn recorded() -> Result<Self> {
        let Roof { bytes_per_second, multiply_adds_per_second } =
            recorded()?.roofs()?;
        Ok(Machine {
            multiply_adds: multiply_adds_per_second,
            numbers: bytes_per_second / size_of::<f32>() as f64,
        })
    }

    /// Operations, two for each multiply-add, that it can do while it reads one byte.
    #[must_use]
    pub fn roof(self) -> f64 {
        2.0 * self.multiply_adds / (4.0 * self.numbers)
    }

    /// Milliseconds that `work` takes if nothing is computed while memory is read. A
    /// processor does some of both at once, and neither at its best.
    #[must_use]
    pub fn milliseconds(self, work: Work) -> f64 {
        let computed = work.multiply_adds / self.multiply_adds;
        (computed + work.numbers / self.numbers) * 1e3
    }
}

/// What `cargo bench -p latent -- --record` wrote down last.
///
/// # Errors
/// When it cannot be read.
pub fn recorded() -> Result<Recorded> {
    Recorded::parse(include_str!("../benches/recorded.csv"))
        .context("chapters/07-latent/benches/recorded.csv")
}

/// How many times longer the naive form takes for one token over so many cached ones:
/// measured, and as counted work on the recorded machine predicts.
///
/// # Errors
/// When the recording does not hold it.
pub fn speedup(cached: usize) -> Result<Speedup> {
    let (recorded, machine) = (recorded()?, Machine::recorded()?);
    let measured = |case| recorded.milliseconds(case, cached);
    let predicted = |form| machine.milliseconds(SCALED.work(form, 1, cached));
    Ok(Speedup {
        measured: measured("naive")? / measured("absorbed")?,
        predicted: predicted(Form::Naive) / predicted(Form::Absorbed),
    })
}

/// Naive over absorbed.
#[derive(Debug, Clone, Copy)]
pub struct Speedup {
    /// By the recorded times.
    pub measured: f64,
    /// By the counted work.
    pub predicted: f64,
}

impl Speedup {
    /// How much larger the larger is, as a share of the smaller: 0 where both agree, 1
    /// where one is twice the other.
    #[must_use]
    pub fn off(self) -> f64 {
        let ratio = self.measured / self.predicted;
        ratio.max(1.0 / ratio) - 1.0
    }
}

/// Where the recorded times of both forms cross, in new tokens: between two sizes of
/// chunk, on a straight line in the logarithms.
///
/// # Errors
/// When they do not cross.
pub fn measured_crossing() -> Result<f64> {
    let recorded = recorded()?;
    let mut ratios = Vec::new();
    for new in CHUNKS {
        let [naive, absorbed] = ["chunk_naive", "chunk_absorbed"]
            .map(|case| recorded.milliseconds(case, new));
        ratios.push(((new as f64).ln(), (absorbed? / naive?).ln()));
    }
    let around = ratios.windows(2).find(|pair| pair[0].1 <= 0.0 && pair[1].1 > 0.0);
    let [(x0, y0), (x1, y1)] = *around.context("recorded.csv: no crossing")? else {
        unreachable!("windows of two");
    };
    Ok((x0 - y0 * (x1 - x0) / (y1 - y0)).exp())
}

/// Operations, two for each multiply-add, that decoding does per byte of the cache that it
/// reads: the arithmetic intensity of attention over a long cache.
#[derive(Debug, Clone, Copy)]
pub struct Intensity {
    /// Query heads that look at the same cached numbers.
    pub heads: usize,
    /// Multiply-adds of one head for one cached token.
    pub pair: usize,
    /// Numbers per cached token, each read once for all of these heads.
    pub numbers: usize,
}

impl Intensity {
    /// A key and a value of `width` features that `sharing` query heads look at.
    #[must_use]
    pub fn shared(sharing: usize, width: usize) -> Self {
        Intensity { heads: sharing, pair: 2 * width, numbers: 2 * width }
    }

    /// All heads of a latent layer, absorbed, over the latents as they are kept.
    #[must_use]
    pub fn absorbed(shape: Shape) -> Self {
        let (heads, pair) = (shape.sizes.heads, shape.pair(Form::Absorbed));
        Intensity { heads, pair, numbers: shape.kept() }
    }

    /// Operations per byte where a number takes so many `bytes`.
    #[must_use]
    pub fn per_byte(self, bytes: usize) -> f64 {
        (2 * self.heads * self.pair) as f64 / (self.numbers * bytes) as f64
    }
}

/// Operations that an H100 (SXM) can do on bf16 while it reads one byte: 989.4 teraFLOPS
/// without sparsity and 3.35 TB/s, by NVIDIA's data sheet.
pub const H100: f64 = 989.4e12 / 3.35e12;

/// What `YaRN` multiplies queries and keys with, 0.1 · mscale · ln(factor) + 1 (Peng et al.
/// 2023, §3.4). `DeepSeek`'s layers multiply their scale with the square of it, where
/// mscale is `mscale_all_dim` of their `config.json`.
#[must_use]
pub fn yarn_temperature(factor: f64, mscale: f64) -> f64 {
    0.1 * mscale * factor.ln() + 1.0
}

/// Values that one token leaves in a cache of all layers, as table 1 of DeepSeek-V2 has
/// the formulas.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    /// `n_h`.
    pub heads: usize,
    /// `d_h`.
    pub head_dim: usize,
    /// l.
    pub layers: usize,
}

/// `DeepSeek-V2`, §3.1.2.
pub const V2: Model = Model { heads: 128, head_dim: 128, layers: 60 };

/// `DeepSeek-V2-Lite`, appendix B: the small model of table 9.
pub const V2_LITE: Model = Model { heads: 16, head_dim: 128, layers: 27 };

/// The large model of table 9 with multi-head attention. Its heads are not in the paper;
/// 56 of 128 in 60 layers give the number that is printed.
pub const LARGE_MHA: Model = Model { heads: 56, head_dim: 128, layers: 60 };

impl Model {
    /// 2 `n_h` `d_h` l.
    #[must_use]
    pub fn multi_head(self) -> usize {
        self.grouped(self.heads)
    }

    /// 2 `n_g` `d_h` l.
    #[must_use]
    pub fn grouped(self, kv_heads: usize) -> usize {
        2 * kv_heads * self.head_dim * self.layers
    }

    /// (`d_c` + `d_h^R`) l, with the widths that both DeepSeek-V2 models have.
    #[must_use]
    pub fn latent(self) -> usize {
        DEEPSEEK.kept() * self.layers
    }
}

/// What is left of the cache, as a share, by whom it is compared with.
///
/// # Errors
/// When DeepSeek-67B is not in the list of models.
pub fn remaining() -> Result<[(&'static str, f64); 3]> {
    let older = minilm::models::find("DeepSeek-67B")?;
    let older = (2 * older.layers * older.kv_heads * older.head_dim) as f64;
    let values = V2.latent() as f64;
    Ok([
        ("DeepSeek-67B, values", values / older),
        ("DeepSeek-67B, 16-bit; V2 in 6", values * 6.0 / (older * 16.0)),
        ("V2 with multi-head, values", values / V2.multi_head() as f64),
    ])
}

/// A layer of MiniLM whose keys and values come from a latent.
pub struct LowRank {
    layer: Layer,
    /// Columns: the left singular vectors of [`W_K` | `W_V`], the largest first.
    directions: DMatrix<f32>,
}

impl LowRank {
    /// Finds the directions of a layer.
    #[must_use]
    pub fn new(layer: Layer) -> Self {
        let (k, v) = (&layer.k_proj.weight, &layer.v_proj.weight);
        // W Wᵀ has the same left vectors and is half as wide.
        let square = (k * k.transpose() + v * v.transpose()).cast::<f64>();
        let SymmetricEigen { eigenvalues, eigenvectors } = SymmetricEigen::new(square);
        let mut order: Vec<usize> = (0..eigenvalues.len()).collect();
        order.sort_by(|&a, &b| eigenvalues[b].total_cmp(&eigenvalues[a]));
        let directions = eigenvectors.select_columns(&order).cast::<f32>();
        LowRank { layer, directions }
    }

    /// Keys and values of all heads, made from a latent of this width, which is the best
    /// that any such latent does for the weights.
    ///
    /// # Errors
    /// When the weights do not make a layer.
    pub fn keys_and_values(&self, rank: usize) -> Result<[DMatrix<f32>; 2]> {
        let down = self.directions.columns(0, rank.min(self.directions.ncols()));
        let latents = &self.layer.x * down;
        let raised = |linear: &chapter_cli::LinearTensors| {
            let up = Linear::new(down.tr_mul(&linear.weight), linear.bias.clone())?;
            up.forward(&latents)
        };
        Ok([raised(&self.layer.k_proj)?, raised(&self.layer.v_proj)?])
    }

    /// The relative error of the heads' output with [`LowRank::keys_and_values`], for each
    /// of these widths.
    ///
    /// # Errors
    /// When the weights do not make a layer.
    pub fn errors(&self, ranks: &[usize]) -> Result<Vec<f32>> {
        let whole = grouped(&self.layer, self.layer.heads, Pooling::Mean)?;
        let projected = whole.project(&self.layer.x, &self.layer.x)?;
        let expected = heads_of(&whole, &self.layer.x)?.found;
        let error = |&rank: &usize| {
            let [k, v] = self.keys_and_values(rank)?;
            let (k, v) = (k.as_view(), v.as_view());
            let found = attend_groups(&projected.q, k, v, whole.groups(), &Mask::None)?;
            Ok(relative_error(&found.found, &expected))
        };
        ranks.iter().map(error).collect()
    }
}

/// Layers of MiniLM.
pub const LAYERS: usize = 6;

/// The errors of [`LowRank::errors`] on MiniLM's text of 512 tokens: for each layer, those
/// of all [`RANKS`].
///
/// # Errors
/// When the model's slices cannot be read.
pub fn errors_by_layer() -> Result<&'static [Vec<f32>]> {
    static ALL: OnceLock<Result<Vec<Vec<f32>>, String>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let errors = |layer| LowRank::new(Layer::with_long_text(layer)?).errors(&RANKS);
        let all: Result<Vec<_>> = (0..LAYERS).map(errors).collect();
        all.map_err(|error| format!("{error:#}"))
    });
    all.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
}

/// Their mean over the layers, for one of [`RANKS`].
///
/// # Errors
/// When the model's slices cannot be read, or the width is none of these.
pub fn mean_error(rank: usize) -> Result<f32> {
    let at = RANKS.iter().position(|&one| one == rank);
    let at = at.with_context(|| format!("nobody tried a latent of {rank}"))?;
    let layers = errors_by_layer()?;
    Ok(layers.iter().map(|errors| errors[at]).sum::<f32>() / LAYERS as f32)
}

/// What shared heads lose with so many key/value heads, on the same text.
///
/// # Errors
/// When the model's slices cannot be read, or there is no such conversion.
pub fn shared(kv_heads: usize) -> Result<Aligned> {
    let found = aligned()?.iter().find(|one| one.kv_heads == kv_heads);
    found.copied().with_context(|| format!("nobody tried {kv_heads} kv heads"))
}

/// Widths of latents that the chapter tries on MiniLM, whose layers cache 768 numbers.
pub const RANKS: [usize; 8] = [32, 64, 96, 128, 192, 256, 320, 384];

/// What a head's query would have to be, absorbed, if whole keys were turned: its distance
/// from the one for the token's own place, as a share of that one's length, for keys that
/// stand so many tokens back. The query is that of `it` in layer 3, head 1, of MiniLM.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn turned_away(distances: usize) -> Result<Vec<f32>> {
    let layer = Layer::load(3)?;
    let width = layer.head_dim();
    let whole =
        grouped(&layer, layer.heads, Pooling::Mean)?.project(&layer.x, &layer.x)?;
    let q = whole.q.view((layer.position("it")?, width), (1, width)).into_owned();
    let w_uk = layer.k_proj.weight.columns(width, width);
    let rotary = Rotary::new(width, 10_000.0, Pairing::Neighbors)?;
    let absorbed = |distance: usize| -> Result<DMatrix<f32>> {
        let mut q = q.clone();
        rotary.angles(distance..distance + 1).rotate(&mut q)?;
        Ok(q * w_uk.transpose())
    };
    let here = absorbed(0)?;
    (0..distances).map(|d| Ok(relative_error(&absorbed(d)?, &here))).collect()
}

/// A mistake: changes the weights so that the right layer computes what the wrong one
/// would.
pub type Mistake = fn(Projections, Sizes) -> Result<Projections>;

/// Scores divided by √nope.
///
/// # Errors
/// None that can happen: the shapes stay.
pub fn scaled_by_nope(mut p: Projections, sizes: Sizes) -> Result<Projections> {
    let larger = (sizes.qk_dim() as f32 / sizes.nope_dim as f32).sqrt();
    p.query = reworked(&p.query, |weight| weight * larger)?;
    Ok(p)
}

/// `kv_b_proj` cut once, all keys and then all values, instead of head by head.
///
/// # Errors
/// None that can happen: the shapes stay.
pub fn cut_once(mut p: Projections, sizes: Sizes) -> Result<Projections> {
    let Sizes { heads, nope_dim, v_dim, .. } = sizes;
    let key = |h| h * nope_dim..(h + 1) * nope_dim;
    let value = |h| heads * nope_dim + h * v_dim..heads * nope_dim + (h + 1) * v_dim;
    let order: Vec<usize> = (0..heads).flat_map(|h| key(h).chain(value(h))).collect();
    p.kv_b_proj = Linear::new(p.kv_b_proj.weight().select_columns(&order), None)?;
    Ok(p)
}

/// Feature `i` turned with feature `i + rope / 2`, instead of its neighbor.
///
/// # Errors
/// None that can happen: the shapes stay.
pub fn turned_in_halves(mut p: Projections, sizes: Sizes) -> Result<Projections> {
    let Sizes { nope_dim, rope_dim, .. } = sizes;
    let partner = |i: usize| i / 2 + i % 2 * (rope_dim / 2);
    let moved = |first: usize, width: usize| {
        (0..width).map(move |c| if c < first { c } else { first + partner(c - first) })
    };
    p.query = reworked(&p.query, |weight| {
        let head = sizes.qk_dim();
        let starts = (0..weight.ncols()).step_by(head);
        let order: Vec<usize> = starts
            .flat_map(|start| moved(nope_dim, head).map(move |c| start + c))
            .collect();
        weight.select_columns(&order)
    })?;
    let width = p.kv_a_proj.shape().1;
    let order: Vec<usize> = moved(width - rope_dim, width).collect();
    p.kv_a_proj = Linear::new(p.kv_a_proj.weight().select_columns(&order), None)?;
    Ok(p)
}

fn reworked(
    query: &QueryProjection,
    rework: impl Fn(&DMatrix<f32>) -> DMatrix<f32>,
) -> Result<QueryProjection> {
    let (QueryProjection::Full(last) | QueryProjection::LowRank { q_b_proj: last, .. }) =
        query;
    let last = Linear::new(rework(last.weight()), None)?;
    Ok(match query.clone() {
        QueryProjection::Full(_) => QueryProjection::Full(last),
        QueryProjection::LowRank { q_a_proj, q_a_layernorm, .. } => {
            QueryProjection::LowRank { q_a_proj, q_a_layernorm, q_b_proj: last }
        }
    })
}

/// The relative error that a mistake makes in the output of a random layer of so many
/// heads, for so many random tokens under a causal mask.
///
/// # Errors
/// None that can happen: the shapes fit.
pub fn mistaken(mistake: Mistake, sizes: Sizes, tokens: usize) -> Result<f32> {
    let right = random(Shape { sizes, lora_rank: 24 }, 32)?;
    let wrong = mistake(right.clone(), sizes)?;
    let x = normal(tokens, 32, 7);
    let output = |projections| -> Result<DMatrix<f32>> {
        let layer = LatentAttention::new(projections, sizes, 10_000.0)?;
        Ok(layer.forward(&x, &Mask::Causal { offset: 0 }, Form::Absorbed)?.output)
    };
    Ok(relative_error(&output(wrong)?, &output(right)?))
}

/// Heads of 16 + `rope_dim` features, for the mistakes.
#[must_use]
pub fn small(heads: usize, rope_dim: usize) -> Sizes {
    Sizes { heads, nope_dim: 16, rope_dim, v_dim: 16 }
}
