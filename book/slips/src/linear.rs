//! The projections around the heads, and what people take for them.

use std::{collections::HashMap, sync::Mutex};

use nalgebra::DMatrix;

use crate::{
    around::Around,
    heads::Headed,
    layer::{Layer, Looks},
    map::{Applied, Map},
    sees::Sees,
    side_by_side,
};

/// How queries, keys and values lie in one product, where they are computed as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Fused {
    /// As they are cut.
    #[default]
    Right,
    /// All queries, all keys, all values; cut head by head, or group by group.
    CutHeadByHead,
    /// Group by group, its queries, key and value; cut into all queries, all keys, all
    /// values.
    CutInBlocks,
}

/// How tokens become queries, keys and values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Projecting {
    /// The queries' projection.
    pub q: Applied,
    /// The keys'.
    pub k: Applied,
    /// The values'.
    pub v: Applied,
    /// How the three lie together.
    pub fused: Fused,
}

/// What is made of what the heads found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum After {
    /// The output projection.
    #[default]
    Projected,
    /// Nothing.
    Skipped,
    /// The output projection without its bias.
    WithoutBias,
    /// The output projection's matrix turned over, where it is square.
    Transposed,
    /// The output projection head by head, with its bias each time.
    BiasForEachHead,
    /// The output projection, and what went into the layer on top.
    WithInput,
}

/// All that can be made of what the heads found.
pub(crate) const AFTERS: [After; 6] = [
    After::Projected,
    After::Skipped,
    After::WithoutBias,
    After::Transposed,
    After::BiasForEachHead,
    After::WithInput,
];

/// A layer of four projections around heads, the first three of which read tokens.
pub struct Projected<'a> {
    /// (tokens, `model_dim`).
    pub x: &'a DMatrix<f32>,
    /// (context tokens, `d_context`), which may be `x` itself.
    pub context: &'a DMatrix<f32>,
    /// To queries, keys and values.
    pub maps: [Map<'a>; 3],
    /// From what the heads found, if there is one.
    pub output: Option<Map<'a>>,
    /// Query heads.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// What the mask lets through.
    pub sees: Sees,
    /// What was projected so far.
    pub kept: Kept,
}

/// Projections that were computed, by which of the three it was and how.
pub type Kept = Mutex<HashMap<(usize, Applied), Option<DMatrix<f32>>>>;

impl Projected<'_> {
    fn projected(&self, which: usize, how: Applied) -> Option<DMatrix<f32>> {
        let from = if which == 0 { self.x } else { self.context };
        let Ok(mut kept) = self.kept.lock() else {
            return self.maps[which].apply(from, how);
        };
        let apply = || self.maps[which].apply(from, how);
        kept.entry((which, how)).or_insert_with(apply).clone()
    }

    /// The three, cut from one another's columns.
    fn fused(&self, how: Fused, qkv: [DMatrix<f32>; 3]) -> Option<[DMatrix<f32>; 3]> {
        if how == Fused::Right {
            return Some(qkv);
        }
        let (heads, kv_heads) = (self.heads, self.kv_heads);
        let (d, size) = (qkv[0].ncols() / heads, heads / kv_heads);
        let rows = qkv[0].nrows();
        let all_wide = |one: &DMatrix<f32>| one.shape() == (rows, kv_heads * d);
        if !qkv[1..].iter().all(all_wide) || heads < 2 {
            return None;
        }
        let all = side_by_side(&qkv);
        // The place of head `h` of part `p`: where all queries come first, and where each
        // kv head follows the queries of its group.
        let in_blocks = |p: usize, h: usize| h + [0, heads, heads + kv_heads][p];
        let by_group = |p: usize, h: usize| match p {
            0 => h / size * (size + 2) + h % size,
            _ => h * (size + 2) + size + p - 1,
        };
        let cut = |p: usize| {
            let heads = if p == 0 { heads } else { kv_heads };
            DMatrix::from_fn(rows, heads * d, |row, column| {
                let (h, i) = (column / d, column % d);
                let at = if how == Fused::CutHeadByHead {
                    by_group(p, h)
                } else {
                    // What stands at the place of block `p` in a tensor by groups.
                    let place = in_blocks(p, h);
                    let (group, rest) = (place / (size + 2), place % (size + 2));
                    match rest.checked_sub(size) {
                        None => in_blocks(0, group * size + rest),
                        Some(part) => in_blocks(part + 1, group),
                    }
                };
                all[(row, at * d + i)]
            })
        };
        Some([cut(0), cut(1), cut(2)])
    }
}

impl Layer for Projected<'_> {
    type Before = Projecting;

    fn looks(&self, before: &Projecting) -> Option<Looks> {
        let Projecting { q, k, v, fused } = *before;
        let qkv = [self.projected(0, q)?, self.projected(1, k)?, self.projected(2, v)?];
        let [q, k, v] = self.fused(fused, qkv)?;
        let (heads, kv_heads, sees) = (self.heads, self.kv_heads, self.sees.clone());
        let headed = Headed { q, k, v, heads, kv_heads, sees };
        let around = Around::default();
        Some(Looks { headed, unturned: None, stretch: 1.0, around })
    }

    fn output(&self) -> Option<Map<'_>> {
        self.output
    }

    fn x(&self) -> Option<&DMatrix<f32>> {
        Some(self.x)
    }
}
