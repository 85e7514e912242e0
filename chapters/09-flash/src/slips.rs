//! What people do otherwise where keys are taken in tiles: each slip as a function, with
//! what is said of it.

use attention::{Mask, slips as one_head};
use grouped_query::{Groups, slips as groups};
use nalgebra::DMatrix;
use slips::{
    Around, Headed, Layer, Looks, Map, Sees, Slip, Slips, Thread, attention as known,
};

/// The page of this chapter.
const PAGE: &str = "flash";

/// Where a causal mask starts. The default is right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Corner {
    other: bool,
}

/// All of this chapter, and of those that it stands on.
#[must_use]
pub fn slips() -> Slips<Corner> {
    let corner = Slip::before(
        "other-corner",
        |way: &mut Corner| way.other = true,
        "Your causal mask starts from the other corner: the first query stands at the first \
         key, or the last query at the last key.",
    )
    .hidden_by("as many queries as keys")
    .seen(&[Thread::of("pytorch/pytorch", 108_108)]);
    let first = "the largest score in the first tile";
    let own = Slips::of_attention(PAGE, known::of_tiles())
        .hidden_by("tile-sum-not-rescaled", first)
        .hidden_by("tile-output-not-rescaled", first)
        .hidden_by("tiles-not-rescaled", first)
        .hidden_by("divided-in-each-tile", "tiles with equal sums")
        .hidden_by("last-tile-of-zeros", "a number of keys that fills whole tiles")
        .hidden_by("last-tile-left-out", "a number of keys that fills whole tiles")
        .hidden_by("last-tile-alone", "no more keys than fit into a tile")
        .hidden_by("diagonal-of-tiles", "no mask");
    let corner = Slips::own(PAGE, vec![corner])
        .under("which-corner-does-a-causal-mask-start-from", &["other-corner"]);
    own.and(corner).and(groups::of_heads())
}

/// Queries, keys and values of heads, before anything is made of them.
pub struct Steps<'a> {
    /// (n, heads · d), (m, `kv_heads` · d) and (m, `kv_heads` · `d_v`).
    qkv: [&'a DMatrix<f32>; 3],
    groups: Groups,
    mask: Mask,
}

/// What heads find, step by step.
#[must_use]
pub fn steps<'a>(qkv: [&'a DMatrix<f32>; 3], groups: Groups, mask: &Mask) -> Steps<'a> {
    Steps { qkv, groups, mask: mask.clone() }
}

impl Layer for Steps<'_> {
    type Before = Corner;

    fn looks(&self, before: &Corner) -> Option<Looks> {
        let [q, k, v] = self.qkv.map(DMatrix::clone);
        let (n, m) = (q.nrows(), k.nrows());
        let sees = match &self.mask {
            Mask::Causal { offset } if before.other => {
                let other = if *offset == 0 { m.checked_sub(n)? } else { 0 };
                Sees::UpTo { offset: other }
            }
            mask => one_head::sees(mask),
        };
        let (heads, kv_heads) = (self.groups.heads(), self.groups.kv_heads());
        let headed = Headed { q, k, v, heads, kv_heads, sees };
        let around = Around::default();
        Some(Looks { headed, unturned: None, stretch: 1.0, around })
    }

    fn output(&self) -> Option<Map<'_>> {
        None
    }

    fn x(&self) -> Option<&DMatrix<f32>> {
        None
    }
}
