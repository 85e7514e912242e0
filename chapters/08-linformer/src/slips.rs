//! What people do otherwise where keys and values are condensed: each slip as a function,
//! with what is said of it.

use crate::LinformerAttention;
use crate::SequenceProjection;
use attention::slips as one_head;
use grouped_query::slips as groups;
use multi_head::slips as heads;
use nalgebra::DMatrix;
use slips::{
    Applied, Headed, Kept, Layer, Looks, Map, Projected, Projecting, Sees, Slip, Slips,
};

/// The page of this chapter.
const PAGE: &str = "linformer";

/// How tokens become keys and values, and these fewer. The default is right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Fewer {
    projecting: Projecting,
    condensing: Condensing,
}

/// How they become fewer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Condensing {
    #[default]
    Right,
    NotAtAll,
    BeforeProjecting,
    EForValues,
    FForKeys,
    Swapped,
    LastTokens,
    Features,
    KeysForValues,
}

/// Those of condensing.
fn of_condensing() -> Slips<Fewer> {
    let own = vec![
        condensing(
            "not-condensed",
            |way| way.condensing = Condensing::NotAtAll,
            "Your queries look at all tokens: keys and values are not condensed.",
        ),
        condensing(
            "condensed-before-projecting",
            |way| way.condensing = Condensing::BeforeProjecting,
            "The tokens are condensed, and then projected to keys and values: the biases are \
             then added to what is condensed, and not to every token.",
        )
        .hidden_by("no biases, or rows of E that sum to one"),
        condensing(
            "e-for-values",
            |way| way.condensing = Condensing::EForValues,
            "Your values are condensed by E, the projection of the keys: they have F.",
        )
        .hidden_by("E = F"),
        condensing(
            "f-for-keys",
            |way| way.condensing = Condensing::FForKeys,
            "Your keys are condensed by F, the projection of the values: they have E.",
        )
        .hidden_by("E = F"),
        condensing(
            "e-and-f-swapped",
            |way| way.condensing = Condensing::Swapped,
            "E and F have changed places: keys are condensed by E and values by F.",
        )
        .hidden_by("E = F"),
        condensing(
            "last-tokens-of-e",
            |way| way.condensing = Condensing::LastTokens,
            "A text that is shorter than the projection meets its last columns: it meets the \
             first.",
        )
        .hidden_by("a text as long as the projection"),
        condensing(
            "features-condensed",
            |way| way.condensing = Condensing::Features,
            "E and F are applied to features, and not to tokens: nothing is condensed along \
             the sequence.",
        ),
        condensing(
            "condensed-keys-for-values",
            |way| way.condensing = Condensing::KeysForValues,
            "The condensed keys stand where the condensed values belong: sharing E = F is not \
             sharing keys and values.",
        )
        .hidden_by("a layer whose keys are its values"),
    ];
    let shared = ["e-for-values", "f-for-keys", "e-and-f-swapped"];
    Slips::own(PAGE, own)
        .under("a-layer-and-four-ways-to-share", &shared)
        .under("keys-and-values-shrink-along-the-sequence", &["not-condensed"])
}

fn condensing(
    name: &'static str,
    make: fn(&mut Fewer),
    says: &'static str,
) -> Slip<Fewer> {
    Slip::before(name, make, says)
}

/// All of this chapter, and of those that it stands on.
#[must_use]
pub fn slips() -> Slips<Fewer> {
    let projecting =
        heads::of_projections().within(|way: &mut Fewer| &mut way.projecting);
    of_condensing().and(groups::of_heads()).and(projecting)
}

/// A layer whose keys and values are condensed.
pub struct Steps<'a> {
    layer: &'a LinformerAttention,
    projected: Projected<'a>,
}

/// The layer on tokens `x` (tokens, `model_dim`) that look at what is left of `context`,
/// step by step.
#[must_use]
pub fn steps<'a>(
    layer: &'a LinformerAttention,
    x: &'a DMatrix<f32>,
    context: &'a DMatrix<f32>,
) -> Steps<'a> {
    let to_v = layer.to_v.as_ref().unwrap_or(&layer.to_k);
    let projected = Projected {
        x,
        context,
        maps: [&layer.to_q, &layer.to_k, to_v].map(one_head::map),
        output: Some(one_head::map(&layer.to_out)),
        heads: layer.groups.heads(),
        kv_heads: layer.groups.kv_heads(),
        sees: Sees::Everything,
        kept: Kept::default(),
    };
    Steps { layer, projected }
}

impl Steps<'_> {
    fn condensed(
        &self,
        all: &DMatrix<f32>,
        by: &SequenceProjection,
        how: Condensing,
    ) -> Option<DMatrix<f32>> {
        let (n, n_max) = (all.nrows(), by.weight.ncols());
        if n > n_max {
            return None;
        }
        match how {
            Condensing::LastTokens => Some(by.weight.columns(n_max - n, n) * all),
            Condensing::Features => {
                let kv_heads = self.projected.kv_heads;
                let d = all.ncols() / kv_heads;
                if by.weight.shape() != (d, d) {
                    return None;
                }
                let one = |h: usize| all.columns(h * d, d) * by.weight.transpose();
                let heads: Vec<DMatrix<f32>> = (0..kv_heads).map(one).collect();
                Some(slips::side_by_side(&heads))
            }
            _ => Some(by.weight.columns(0, n) * all),
        }
    }
}

impl Layer for Steps<'_> {
    type Before = Fewer;

    fn looks(&self, before: &Fewer) -> Option<Looks> {
        let mut looks = self.projected.looks(&before.projecting)?;
        let Headed { k, v, .. } = &mut looks.headed;
        let how = before.condensing;
        let projections = &self.layer.projections;
        // One for each head is not read from files.
        let ([e], [f]) = (&projections.keys[..], &projections.values[..]) else {
            return None;
        };
        let (e, f) = match how {
            Condensing::EForValues => (e, e),
            Condensing::FForKeys => (f, f),
            Condensing::Swapped => (f, e),
            _ => (e, f),
        };
        if how == Condensing::BeforeProjecting {
            let [_, to_k, to_v] = self.projected.maps;
            let context = self.projected.context;
            *k = to_k.apply(&self.condensed(context, e, how)?, Applied::Right)?;
            *v = to_v.apply(&self.condensed(context, f, how)?, Applied::Right)?;
            return Some(looks);
        }
        if how != Condensing::NotAtAll {
            *k = self.condensed(k, e, how)?;
            *v = self.condensed(v, f, how)?;
        }
        // Without values of their own, the condensed keys are the values.
        if self.layer.to_v.is_none() || how == Condensing::KeysForValues {
            v.clone_from(k);
        }
        Some(looks)
    }

    fn output(&self) -> Option<Map<'_>> {
        self.projected.output
    }

    fn x(&self) -> Option<&DMatrix<f32>> {
        Some(self.projected.x)
    }
}
