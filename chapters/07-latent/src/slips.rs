//! What people do otherwise with a latent: each slip as a function, with what is said of it.

use crate::columns::{beside, split_heads};
use crate::{LatentAttention, QueryProjection, RmsNorm, Sharpness, Sizes};
use attention::{Linear, Mask, slips as one_head};
use multi_head::slips as heads;
use nalgebra::DMatrix;
use rotary::Rotary;
use rotary::slips::{Turning, Turns, of_rotation};
use slips::{Applied, Around, Headed, Layer, Looks, Map, Sees, Slip, Slips};
use std::{collections::HashMap, sync::Mutex};

/// The page of this chapter.
const PAGE: &str = "latent";

/// How tokens become latents, and latents keys and values. The default is right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Condensed {
    norm: Norm,
    up: Up,
    scale: Scale,
    sharp: Sharp,
    order: Order,
    turning: Turning,
}

/// What is normed, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Norm {
    #[default]
    Right,
    Nothing,
    NotTheLatent,
    NotTheQueries,
    WithTheKey,
    WithoutGain,
    Centered,
    LargerEps,
}

/// How `kv_b_proj` is cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Up {
    #[default]
    HeadByHead,
    InBlocks,
    ValuesFirst,
}

/// The width under the root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Scale {
    #[default]
    Right,
    NopeAlone,
    RopeAlone,
    RankAndRope,
}

/// What the scores are multiplied by besides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Sharp {
    #[default]
    Right,
    MscaleForgotten,
    MscaleNotSquared,
    MscaleTwice,
    TemperatureForgotten,
}

impl Sharp {
    fn of(self, right: Sharpness) -> Sharpness {
        let mscale = right.mscale;
        match self {
            Sharp::Right => right,
            Sharp::MscaleForgotten => Sharpness { mscale: 1.0, ..right },
            Sharp::MscaleNotSquared => Sharpness { mscale: mscale.sqrt(), ..right },
            Sharp::MscaleTwice => Sharpness { mscale: mscale * mscale, ..right },
            Sharp::TemperatureForgotten => Sharpness { temperature: None, ..right },
        }
    }
}

/// Which part of what is projected comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Order {
    #[default]
    Right,
    TurnedKeyFirst,
    TurnedQueryFirst,
}

/// Those of the latent.
#[expect(clippy::too_many_lines, reason = "a list")]
fn of_latents() -> Slips<Condensed> {
    let own = vec![
        latent(
            "over-root-of-nope",
            |way| way.scale = Scale::NopeAlone,
            "Your scores are divided by √nope_dim: a query is nope_dim + rope_dim wide.",
        )
        .hidden_by("one token"),
        latent(
            "over-root-of-rope",
            |way| way.scale = Scale::RopeAlone,
            "Your scores are divided by √rope_dim: a query is nope_dim + rope_dim wide.",
        )
        .hidden_by("one token"),
        latent(
            "over-root-of-rank-and-rope",
            |way| way.scale = Scale::RankAndRope,
            "Your scores are divided by √(rank + rope_dim), the width of what is absorbed: \
             it is √(nope_dim + rope_dim).",
        )
        .hidden_by("one token"),
        latent(
            "mscale-forgotten",
            |way| way.sharp = Sharp::MscaleForgotten,
            "Your scores are not multiplied by mscale², which a latent layer has where its \
             rotation is that of YaRN (mscale_all_dim).",
        )
        .hidden_by("one token, or a rotation that is not scaled"),
        latent(
            "mscale-not-squared",
            |way| way.sharp = Sharp::MscaleNotSquared,
            "Your scores are multiplied by mscale once: queries and keys grow by it both, so \
             that scores grow by its square.",
        )
        .hidden_by("one token, or a rotation that is not scaled"),
        latent(
            "mscale-twice",
            |way| way.sharp = Sharp::MscaleTwice,
            "Your scores are multiplied by mscale² twice.",
        )
        .hidden_by("one token, or a rotation that is not scaled"),
        latent(
            "temperature-forgotten",
            |way| way.sharp = Sharp::TemperatureForgotten,
            "Your queries do not grow with their position: the temperature for long texts is \
             left out.",
        )
        .hidden_by("a text that is no longer than those of the training"),
        latent(
            "kv-b-cut-in-blocks",
            |way| way.up = Up::InBlocks,
            "`kv_b_proj` is cut into all keys and all values: its columns are key, value, \
             key, value, head by head.",
        )
        .hidden_by("one head"),
        latent(
            "values-before-keys",
            |way| way.up = Up::ValuesFirst,
            "Of each head in `kv_b_proj`, the value is taken from the first columns and the \
             key from the last: the key comes first.",
        ),
        latent(
            "turned-key-first",
            |way| way.order = Order::TurnedKeyFirst,
            "The first features of `kv_a_proj_with_mqa` are taken for the turned key: the \
             latent comes first.",
        ),
        latent(
            "turned-query-first",
            |way| way.order = Order::TurnedQueryFirst,
            "The first features of each query are turned: the part that is not turned comes \
             first.",
        ),
        latent(
            "norms-left-out",
            |way| way.norm = Norm::Nothing,
            "Neither the latent nor that of the queries is normed.",
        ),
        latent(
            "latent-not-normed",
            |way| way.norm = Norm::NotTheLatent,
            "The latent is not normed before keys and values are made of it.",
        ),
        latent(
            "query-latent-not-normed",
            |way| way.norm = Norm::NotTheQueries,
            "The latent of the queries is not normed.",
        )
        .hidden_by("queries without a latent"),
        latent(
            "normed-with-the-turned-key",
            |way| way.norm = Norm::WithTheKey,
            "The latent is normed together with the turned key: the mean of squares is that \
             of the latent alone, and the key is not normed.",
        ),
        latent(
            "norm-without-gain",
            |way| way.norm = Norm::WithoutGain,
            "The learned weights of the norms are left out.",
        )
        .hidden_by("weights of one"),
        latent(
            "norm-centered",
            |way| way.norm = Norm::Centered,
            "The mean of a row is subtracted before it is normed, as LayerNorm does: RMS norm \
             does not.",
        )
        .hidden_by("rows of mean zero"),
        latent(
            "norm-with-a-larger-eps",
            |way| way.norm = Norm::LargerEps,
            "The eps of your norms is 0.00001: it is 0.000001 here.",
        )
        .hidden_by("rows with large numbers"),
    ];
    Slips::own(PAGE, own)
        .under("one-vector-from-which-all-heads-make-their-own", &["latent-not-normed"])
}

fn latent(
    name: &'static str,
    make: fn(&mut Condensed),
    says: &'static str,
) -> Slip<Condensed> {
    Slip::before(name, make, says)
}

/// All of this chapter, and of those that it stands on.
#[must_use]
pub fn slips() -> Slips<Condensed> {
    let turning = of_rotation().within(|way: &mut Condensed| &mut way.turning);
    of_latents().and(turning).and(heads::of_heads())
}

/// A layer whose keys and values are made of latents.
pub struct Steps<'a> {
    layer: &'a LatentAttention,
    x: &'a DMatrix<f32>,
    sees: Sees,
    turns: Turns<'a>,
    kept: Mutex<HashMap<Kept, DMatrix<f32>>>,
}

/// A product that many ways have in common, and on what it depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kept {
    Queries(Norm),
    Latents,
    Keys(Norm, Order),
    Values(Norm, Order),
}

/// The layer on tokens `x` (tokens, `model_dim`), step by step. `plain` turns as the base
/// alone says.
#[must_use]
pub fn steps<'a>(
    layer: &'a LatentAttention,
    x: &'a DMatrix<f32>,
    mask: &Mask,
    plain: Rotary,
) -> Steps<'a> {
    let turns = Turns { rotary: &layer.rotary, plain };
    let kept = Mutex::default();
    Steps { layer, x, sees: one_head::sees(mask), turns, kept }
}

impl Steps<'_> {
    /// What `make` gives, computed once.
    fn once(
        &self,
        what: Kept,
        make: impl FnOnce() -> Option<DMatrix<f32>>,
    ) -> Option<DMatrix<f32>> {
        if let Some(kept) = self.kept.lock().ok()?.get(&what) {
            return Some(kept.clone());
        }
        let made = make()?;
        self.kept.lock().ok()?.insert(what, made.clone());
        Some(made)
    }

    fn queries(&self, how: Condensed) -> Option<DMatrix<f32>> {
        let right = |linear: &Linear, x: &DMatrix<f32>| {
            one_head::map(linear).apply(x, Applied::Right)
        };
        match &self.layer.query {
            QueryProjection::Full(q_proj) => right(q_proj, self.x),
            QueryProjection::LowRank { q_a_proj, q_a_layernorm, q_b_proj } => {
                let latents = right(q_a_proj, self.x)?;
                let norm = match how.norm {
                    Norm::NotTheQueries => Norm::Nothing,
                    Norm::NotTheLatent | Norm::WithTheKey => Norm::Right,
                    other => other,
                };
                right(q_b_proj, &normed(q_a_layernorm, &latents, norm))
            }
        }
    }

    /// The latent of each token, and its turned key before it is turned.
    fn latents(&self, how: Condensed) -> Option<(DMatrix<f32>, DMatrix<f32>)> {
        let (rank, rope) = (self.layer.lora_rank(), self.layer.sizes.rope_dim);
        let both = self.once(Kept::Latents, || {
            one_head::map(&self.layer.kv_a_proj).apply(self.x, Applied::Right)
        })?;
        let (c, r) = match how.order {
            Order::TurnedKeyFirst => {
                let (r, c) = split_heads(&both, rope, rank);
                (c, r)
            }
            _ => split_heads(&both, rank, rope),
        };
        let norm = &self.layer.kv_a_layernorm;
        if how.norm == Norm::WithTheKey {
            let ones = RmsNorm::new(vec![1.0; both.ncols()]);
            let all = normed(&ones, &beside(c.as_view(), r.as_view()), Norm::Right);
            let (mut c, r) = split_heads(&all, rank, rope);
            for (mut column, weight) in c.column_iter_mut().zip(norm.weights()) {
                column *= *weight;
            }
            return Some((c, r));
        }
        let how = match how.norm {
            Norm::NotTheLatent => Norm::Nothing,
            Norm::NotTheQueries => Norm::Right,
            other => other,
        };
        Some((normed(norm, &c, how), r))
    }

    /// Keys without their turned part, and values.
    fn raised(
        &self,
        c: &DMatrix<f32>,
        how: Condensed,
    ) -> Option<(DMatrix<f32>, DMatrix<f32>)> {
        let Sizes { heads, nope_dim, v_dim, .. } = self.layer.sizes;
        let Condensed { norm, order, up, .. } = how;
        let raised = |up: &Linear| one_head::map(up).apply(c, Applied::Right);
        let k = self.once(Kept::Keys(norm, order), || raised(&self.layer.k_up))?;
        let v = self.once(Kept::Values(norm, order), || raised(&self.layer.v_up))?;
        if up == Up::HeadByHead {
            return Some((k, v));
        }
        let of_head = |h: usize| {
            beside(k.columns(h * nope_dim, nope_dim), v.columns(h * v_dim, v_dim))
        };
        let all: Vec<DMatrix<f32>> = (0..heads).map(of_head).collect();
        let all = slips::side_by_side(&all);
        if up == Up::ValuesFirst {
            let (v, k) = split_heads(&all, v_dim, nope_dim);
            return Some((k, v));
        }
        let keys = heads * nope_dim;
        let values = all.columns(keys, heads * v_dim).into_owned();
        Some((all.columns(0, keys).into_owned(), values))
    }
}

/// Heads of which each has so many columns of the one matrix and then of the other, which
/// begins anew where it ends: a key that all heads share.
fn head_by_head(
    heads: usize,
    matrices: [&DMatrix<f32>; 2],
    widths: [usize; 2],
) -> DMatrix<f32> {
    let rows = matrices[0].nrows();
    let part = |h: usize, which: usize| {
        let (all, size) = (matrices[which].as_slice(), widths[which] * rows);
        let start = if all.len() == size { 0 } else { h * size };
        &all[start..start + size]
    };
    let numbers: Vec<&[f32]> =
        (0..heads).flat_map(|h| [part(h, 0), part(h, 1)]).collect();
    DMatrix::from_vec(rows, heads * (widths[0] + widths[1]), numbers.concat())
}

/// Rows that are normed that way.
fn normed(norm: &RmsNorm, x: &DMatrix<f32>, how: Norm) -> DMatrix<f32> {
    if how == Norm::Nothing {
        return x.clone();
    }
    let eps = if how == Norm::LargerEps { 1e-5 } else { RmsNorm::EPS };
    let mut normed = x.clone();
    for mut row in normed.row_iter_mut() {
        if how == Norm::Centered {
            let mean = row.mean();
            row.add_scalar_mut(-mean);
        }
        let mean = row.norm_squared() / row.len() as f32;
        row /= (mean + eps).sqrt();
        if how != Norm::WithoutGain {
            for (x, weight) in row.iter_mut().zip(norm.weights()) {
                *x *= weight;
            }
        }
    }
    normed
}

impl Layer for Steps<'_> {
    type Before = Condensed;

    fn looks(&self, before: &Condensed) -> Option<Looks> {
        let Sizes { heads, nope_dim, rope_dim, .. } = self.layer.sizes;
        let queries =
            self.once(Kept::Queries(before.norm), || self.queries(*before))?;
        let (nope, rope) = match before.order {
            Order::TurnedQueryFirst => {
                let (rope, nope) = split_heads(&queries, rope_dim, nope_dim);
                (nope, rope)
            }
            _ => split_heads(&queries, nope_dim, rope_dim),
        };
        let (c, r) = self.latents(*before)?;
        let (k, v) = self.raised(&c, *before)?;
        let sharpness = before.sharp.of(self.layer.sharpness);
        let joined = |rope: &DMatrix<f32>, r: &DMatrix<f32>| {
            let mut q = head_by_head(heads, [&nope, rope], [nope_dim, rope_dim]);
            let k = head_by_head(heads, [&k, r], [nope_dim, rope_dim]);
            if sharpness != Sharpness::PLAIN {
                for (position, mut row) in q.row_iter_mut().enumerate() {
                    row *= sharpness.at(position);
                }
            }
            [q, k]
        };
        let unturned = Some(joined(&rope, &r));
        let [mut rope, mut r] = self.turns.ordered(before.turning, &rope, &r);
        self.turns.turn(before.turning, &mut rope, &mut r)?;
        let [q, k] = joined(&rope, &r);
        let width = (nope_dim + rope_dim) as f32;
        let under = match before.scale {
            Scale::Right => width,
            Scale::NopeAlone => nope_dim as f32,
            Scale::RopeAlone => rope_dim as f32,
            Scale::RankAndRope => self.layer.kept_width() as f32,
        };
        let (kv_heads, sees) = (heads, self.sees.clone());
        let headed = Headed { q, k, v, heads, kv_heads, sees };
        let stretch = (width / under).sqrt();
        Some(Looks { headed, unturned, stretch, around: Around::default() })
    }

    fn output(&self) -> Option<Map<'_>> {
        Some(one_head::map(&self.layer.o_proj))
    }

    fn x(&self) -> Option<&DMatrix<f32>> {
        Some(self.x)
    }
}
