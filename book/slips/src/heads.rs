//! Attention in heads, and the slips that people make in it: one at a time, or two at
//! once. An exercise that says what its heads look at is told of all of them.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use nalgebra::{DMatrix, DMatrixView};

use crate::{
    around::Around,
    beside::{side_by_side, under_one_another},
    rounding::Rounding,
    sees::Sees,
    shares::{Shares, shares},
};

/// Heads beside each other, as a chapter's function gets them.
#[derive(Debug, Clone)]
pub struct Headed {
    /// (queries, heads · width).
    pub q: DMatrix<f32>,
    /// (keys, `kv_heads` · width).
    pub k: DMatrix<f32>,
    /// (keys, `kv_heads` · width of a value).
    pub v: DMatrix<f32>,
    /// Query heads.
    pub heads: usize,
    /// Heads of keys and values, which divide the query heads.
    pub kv_heads: usize,
    /// What the mask lets through.
    pub sees: Sees,
}

/// What the heads find.
#[derive(Debug, Clone)]
pub struct Found {
    /// (queries, heads · width of a value).
    pub context: DMatrix<f32>,
    /// Of each head: (queries, keys).
    pub weights: Vec<DMatrix<f32>>,
}

/// How attention is computed, step by step. The default is right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Way {
    pub(crate) roles: Roles,
    pub(crate) queries: Cut,
    pub(crate) keys: Cut,
    pub(crate) values: Cut,
    pub(crate) scale: Scale,
    pub(crate) seen: Seen,
    pub(crate) shares: Shares,
    pub(crate) mix: Mix,
    pub(crate) place: Place,
    pub(crate) maps: Maps,
}

/// Who asks, who is asked, and what is averaged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Roles {
    #[default]
    AsGiven,
    KeysAndValuesSwapped,
    QueriesAndKeysSwapped,
    ValuesAsKeys,
    KeysAsValues,
    QueriesAsKeys,
    KeysAsQueries,
    NewKeysAsQueries,
    /// Where a key is as wide as a value; elsewhere nothing fits.
    KeysAsValuesThatFit,
    /// Nothing is cut: all heads are one.
    OneHead,
}

/// The columns that a head takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Cut {
    #[default]
    Own,
    First,
    Last,
    Reversed,
    Next,
    /// By the number of the query head, as far as there are so many.
    ByHead,
    /// By the remainder instead of the quotient.
    InTurns,
    /// By the remainder of the group's size.
    BySize,
    /// By the number of the group.
    ByGroup,
    /// Each head begins one column after the one before it.
    OneColumnOn,
    /// Every so many columns.
    DealtOut,
    /// Each head begins where it would if keys were as wide as values, or the reverse.
    ByOtherWidth,
    /// The rows are read one after the other, and cut into heads: a reshape without the
    /// transpose.
    Reshaped,
    /// The mean of the heads of a group.
    MeanOfGroup,
}

/// What the scores are multiplied by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Scale {
    #[default]
    OverRoot,
    Unscaled,
    OverWidth,
    TimesRoot,
    OverRootOfLayer,
    OverRootOfHeads,
    OverRootOfValues,
    OverRootOfKeys,
    OverRootOfQueries,
    OverRootOfKeysToo,
    Halved,
    Doubled,
    OverRootCubed,
    OverRootOfValuesToo,
    OverRootRounded,
    Negative,
    OverFourthRoot,
    OverKeys,
    OverHeadsToo,
    OverSizeToo,
    OverRootOfSizeToo,
    OverRootOfKvHeads,
}

/// What the queries see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Seen {
    #[default]
    Masked,
    Everything,
    AlwaysCausal,
    OffsetForgotten,
    AllowedForgotten,
    CausalForgotten,
    OffsetAndAllowedForgotten,
    OneFuture,
    NotItself,
    OffsetOneLess,
    OffsetTwice,
    OffsetAlone,
    Turned,
    TrueHides,
    Past,
    FirstHeadAlone,
    FirstRowForAll,
    LastRowForAll,
    AfterSoftmax,
    InTheAverageAlone,
    Zeros,
    /// So far below 0.
    Below(u32),
    NotNumbers,
    FromTheEnd,
    OffsetSubtracted,
    OwnKeyAlone,
    NoneIsCausal,
    AllowedAndCausal,
    NotTheFirst,
    NotTheLast,
    LastHeadAlone,
    InfinityAfterSoftmax,
    AfterSoftmaxSharedAnew,
    CausalToo,
    WindowForgotten,
    WindowOneMore,
    WindowOneLess,
    WindowOfBothSides,
    WindowAlone,
    WindowInBlocks,
    /// The diagonal is that of tiles of so many.
    TileDiagonal(u16),
}

/// How values are averaged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Mix {
    #[default]
    Weighted,
    ByColumns,
    Leaking,
    Mean,
    Largest,
    Summed,
    OverKeys,
    OverRoot,
}

/// Where a head's answer goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    #[default]
    Own,
    Reversed,
    First,
    ByGroup,
    OneColumnOn,
    ByKeyWidth,
    InTurns,
    LastLeftOut,
    FirstLeftOut,
    EveryOther,
    FirstAlone,
    LastAlone,
    FirstOfEachGroup,
    /// Into the next head's place.
    Next,
    FirstAdded,
    EverywhereAdded,
    EverywhereAveraged,
    AddedByGroup,
    AveragedByGroup,
    /// With what the heads before have found.
    AddedUp,
    Added,
    Averaged,
    Stacked,
    /// Head after head and row after row, cut into rows anew: a reshape without the transpose
    /// back.
    Merged,
}

/// Which maps are given back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Maps {
    #[default]
    Own,
    Reversed,
    LastMissing,
    FirstMissing,
    FirstForAll,
    LastForAll,
    Mean,
    Transposed,
    Scores,
    ScoresUnmasked,
    Unmasked,
    OneForEachGroup,
    EveryOther,
    FirstAlone,
    LastAlone,
    Sum,
    OneMean,
    None,
}

/// What is looked at, in roles.
struct Given<'a> {
    q: Cow<'a, DMatrix<f32>>,
    k: &'a DMatrix<f32>,
    v: &'a DMatrix<f32>,
    heads: usize,
    kv_heads: usize,
    sees: &'a Sees,
}

/// One head on its way.
struct Head {
    /// (queries, keys), as they are before the mask.
    scores: DMatrix<f32>,
    /// (queries, keys), which most ways share among the heads.
    seen: Arc<DMatrix<bool>>,
}

/// Heads whose weights are known, and whose values are still to be averaged.
pub struct Scored<'a> {
    given: Given<'a>,
    heads: Vec<Head>,
    weights: Vec<DMatrix<f32>>,
    rounding: Rounding,
}

impl Way {
    /// The part of the way that decides the weights: two ways that agree in it share a
    /// [`Scored`].
    #[must_use]
    pub fn to_the_weights(&self) -> Way {
        let Way { roles, queries, keys, scale, seen, shares, .. } = *self;
        Way { roles, queries, keys, scale, seen, shares, ..Way::default() }
    }

    /// The part of the way that decides what each head finds: two ways that agree in it
    /// differ in where that goes, and in the maps.
    #[must_use]
    pub fn to_the_outputs(&self) -> Way {
        Way { place: Place::Own, maps: Maps::Own, ..*self }
    }

    /// Whether what one query finds depends on the other queries.
    #[must_use]
    pub fn mixes_queries(&self) -> bool {
        let over_rows = [
            Shares::ByColumns,
            Shares::OverTheWholeMap,
            Shares::OneMaximumForAll,
            Shares::ColumnsToo,
        ];
        over_rows.contains(&self.shares)
            || self.mix == Mix::ByColumns
            || self.places_queries()
            || self.maps == Maps::Transposed
    }

    /// Whether the answers to one query go to the places of others.
    pub(crate) fn places_queries(&self) -> bool {
        [Place::Stacked, Place::Merged].contains(&self.place)
    }

    /// Whether it changes nothing but the maps that are given back.
    #[must_use]
    pub fn is_of_maps_alone(&self) -> bool {
        Way { maps: Maps::Own, ..*self } == Way::default()
    }
}

impl Headed {
    /// What the heads find that way; nothing where the sizes do not fit it.
    #[must_use]
    pub fn found(&self, way: &Way) -> Option<Found> {
        let scored =
            self.scored(way, None, (1.0, &Around::default()), Rounding::None)?;
        Some(Found { context: scored.context(way)?, weights: scored.maps(way) })
    }

    /// The weights of the heads that way, of these queries or of all; nothing where the
    /// sizes do not fit it. Scores are multiplied by `stretch` as well, `around` stands around
    /// the softmax, and each number on the way is rounded.
    #[must_use]
    pub fn scored(
        &self,
        way: &Way,
        queries: Option<&[usize]>,
        (stretch, around): (f32, &Around),
        rounding: Rounding,
    ) -> Option<Scored<'_>> {
        let given = self.in_roles(way.roles)?;
        // In other roles there may be fewer queries.
        if queries.is_some_and(|rows| rows.iter().any(|row| *row >= given.q.nrows())) {
            return None;
        }
        if way.seen == Seen::Turned
            && !given.sees.fits(given.k.nrows(), given.q.nrows())
        {
            return None;
        }
        let mut heads: Vec<Head> = Vec::with_capacity(given.heads);
        for h in 0..given.heads {
            let scores = given.scores(h, way, queries, (stretch, around), rounding)?;
            let same = heads.last().filter(|_| !way.seen.differs_by_head());
            let seen = match same {
                Some(other) => Arc::clone(&other.seen),
                None => Arc::new(given.seen_of(h, way, queries, scores.shape())),
            };
            heads.push(Head { scores, seen });
        }
        let mut weights = weights(&heads, way, around);
        rounding.apply(&mut weights);
        Some(Scored { given, heads, weights, rounding })
    }

    fn in_roles(&self, roles: Roles) -> Option<Given<'_>> {
        let Headed { q, k, v, sees, .. } = self;
        let new = || {
            let count = q.nrows().min(k.nrows());
            k.rows(k.nrows().saturating_sub(q.nrows()), count).into_owned()
        };
        if roles == Roles::KeysAsValuesThatFit && self.d_k() != self.d_v() {
            return None;
        }
        let (q, k, v) = match roles {
            Roles::AsGiven | Roles::OneHead => (Cow::Borrowed(q), k, v),
            Roles::KeysAndValuesSwapped => (Cow::Borrowed(q), v, k),
            Roles::QueriesAndKeysSwapped => (Cow::Borrowed(k), q, v),
            Roles::ValuesAsKeys => (Cow::Borrowed(q), v, v),
            Roles::KeysAsValues | Roles::KeysAsValuesThatFit => {
                (Cow::Borrowed(q), k, k)
            }
            Roles::QueriesAsKeys => (Cow::Borrowed(q), q, v),
            Roles::KeysAsQueries => (Cow::Borrowed(k), k, v),
            Roles::NewKeysAsQueries => (Cow::Owned(new()), k, v),
        };
        let (heads, kv_heads) = match roles {
            Roles::OneHead => (1, 1),
            _ => (self.heads, self.kv_heads),
        };
        let fits = |of: &DMatrix<f32>, heads: usize| of.ncols().is_multiple_of(heads);
        let divided = fits(&q, heads) && fits(k, kv_heads);
        let pairs = k.nrows() == v.nrows() && sees.fits(q.nrows(), k.nrows());
        let equal = q.ncols() / heads == k.ncols() / kv_heads;
        let given = Given { q, k, v, heads, kv_heads, sees };
        (divided && pairs && equal).then_some(given)
    }

    fn d_k(&self) -> usize {
        self.q.ncols() / self.heads
    }

    fn d_v(&self) -> usize {
        self.v.ncols() / self.kv_heads
    }
}

impl Scored<'_> {
    /// The scores of each head, (queries, keys), as they are before the mask.
    pub fn scores(&self) -> impl Iterator<Item = &DMatrix<f32>> {
        self.heads.iter().map(|head| &head.scores)
    }

    /// What each head sees, (queries, keys).
    pub fn seen(&self) -> impl Iterator<Item = &DMatrix<bool>> {
        self.heads.iter().map(|head| &*head.seen)
    }

    /// What the heads find, (queries, heads · width of a value); nothing where the sizes do
    /// not fit the way.
    #[must_use]
    pub fn context(&self, way: &Way) -> Option<DMatrix<f32>> {
        self.placed(&self.outputs(way, None)?, way)
    }

    /// What each head finds, (queries, width of a value), of these rows or of all.
    pub(crate) fn outputs(
        &self,
        way: &Way,
        rows: Option<&[usize]>,
    ) -> Option<Vec<DMatrix<f32>>> {
        let found = self.heads.iter().zip(&self.weights).enumerate();
        let found = found.map(|(h, (head, weights))| {
            let values = self.given.values(h, way)?;
            let Some(rows) = rows else {
                return mixed(weights, values.view(), &head.seen, way.mix);
            };
            // Where weights are of keys, their columns are in the place of queries.
            if way.mix == Mix::ByColumns {
                return (weights.nrows() == values.view().nrows())
                    .then(|| weights.select_columns(rows).tr_mul(&values.view()));
            }
            let seen = head.seen.select_rows(rows);
            mixed(&weights.select_rows(rows), values.view(), &seen, way.mix)
        });
        found.collect()
    }

    /// How wide what the heads find is in its places.
    pub(crate) fn width(&self, way: &Way) -> usize {
        match way.place {
            Place::Added | Place::Averaged | Place::Stacked => self.given.d_v(),
            _ => self.heads.len() * self.given.d_v(),
        }
    }

    /// The same in the places that the way gives it.
    pub(crate) fn placed(
        &self,
        outputs: &[DMatrix<f32>],
        way: &Way,
    ) -> Option<DMatrix<f32>> {
        let mut context = self.given.placed(outputs, way.place)?;
        self.rounding.apply([&mut context]);
        Some(context)
    }

    /// The maps that are given back beside it.
    #[must_use]
    pub fn maps(&self, way: &Way) -> Vec<DMatrix<f32>> {
        self.given.maps(&self.heads, self.weights.clone(), way)
    }
}

impl Given<'_> {
    fn d_k(&self) -> usize {
        self.q.ncols() / self.heads
    }

    fn d_v(&self) -> usize {
        self.v.ncols() / self.kv_heads
    }

    /// Which columns head `h` takes of a matrix of `all` heads, of which `own` is right.
    fn chosen(
        &self,
        cut: Cut,
        h: usize,
        own: usize,
        all: usize,
        other: usize,
    ) -> Chosen {
        let size = self.heads / self.kv_heads;
        Chosen { cut, own, all, h, g: h / size, size, other }
    }

    fn values(&self, h: usize, way: &Way) -> Option<Columns<'_>> {
        let g = h / (self.heads / self.kv_heads);
        self.chosen(way.values, h, g, self.kv_heads, self.d_k()).columns(self.v)
    }

    /// The scores of head `h`, (queries, keys), as they are before the mask.
    fn scores(
        &self,
        h: usize,
        way: &Way,
        queries: Option<&[usize]>,
        (stretch, around): (f32, &Around),
        rounding: Rounding,
    ) -> Option<DMatrix<f32>> {
        let (kv_heads, d_v) = (self.kv_heads, self.d_v());
        let g = h / (self.heads / kv_heads);
        let q = self.chosen(way.queries, h, h, self.heads, d_v).columns(&self.q)?;
        let k = self.chosen(way.keys, h, g, kv_heads, d_v).columns(self.k)?;
        let q = match queries {
            Some(rows) => q.view().select_rows(rows),
            None => q.view().into_owned(),
        };
        // In this order, the keys are read as they lie.
        let factor = self.factor(way.scale) * stretch;
        let mut scores = (k.view() * (q * factor).transpose()).transpose();
        if let Some(cap) = around.cap {
            cap.bound(&mut scores, factor);
        }
        rounding.apply([&mut scores]);
        Some(scores)
    }

    /// What head `h` sees, in a map of this shape.
    fn seen_of(
        &self,
        h: usize,
        way: &Way,
        queries: Option<&[usize]>,
        (rows, keys): (usize, usize),
    ) -> DMatrix<bool> {
        let row = |query: usize| queries.map_or(query, |rows| rows[query]);
        DMatrix::from_fn(rows, keys, |query, key| {
            self.seen(way.seen, h, row(query), key)
        })
    }

    fn factor(&self, scale: Scale) -> f32 {
        let root = (self.d_k() as f32).sqrt();
        let over_root = |size: usize| 1.0 / (size as f32).sqrt();
        match scale {
            Scale::OverRoot => 1.0 / root,
            Scale::Unscaled => 1.0,
            Scale::OverWidth => 1.0 / root.powi(2),
            Scale::TimesRoot => root,
            Scale::OverRootOfLayer => over_root(self.q.ncols()),
            Scale::OverRootOfHeads => over_root(self.heads),
            Scale::OverRootOfValues => over_root(self.d_v()),
            Scale::OverRootOfKeys => over_root(self.k.nrows()),
            Scale::OverRootOfQueries => over_root(self.q.nrows()),
            Scale::Halved => 0.5 / root,
            Scale::Doubled => 2.0 / root,
            Scale::OverRootCubed => 1.0 / (root * root * root),
            Scale::OverRootOfKeysToo => over_root(self.k.nrows()) / root,
            Scale::OverRootOfValuesToo => over_root(self.d_v()) / root,
            Scale::OverRootRounded => 1.0 / root.floor(),
            Scale::Negative => -1.0 / root,
            Scale::OverFourthRoot => 1.0 / root.sqrt(),
            Scale::OverKeys => 1.0 / self.k.nrows() as f32,
            Scale::OverHeadsToo => 1.0 / self.heads as f32 / root,
            Scale::OverSizeToo => self.kv_heads as f32 / self.heads as f32 / root,
            Scale::OverRootOfSizeToo => over_root(self.heads / self.kv_heads) / root,
            Scale::OverRootOfKvHeads => over_root(self.k.ncols()),
        }
    }

    /// Whether the query sees the key, or is thought to.
    fn seen(&self, how: Seen, h: usize, query: usize, key: usize) -> bool {
        let right = self.sees.sees(query, key);
        // With another past: the future, a window and the like stay as they are.
        let moved = |causal: &dyn Fn(usize) -> bool| match *self.sees {
            Sees::UpTo { offset } => causal(offset),
            Sees::Within { offset, window } => {
                causal(offset) && query + offset < key + window
            }
            Sees::Everything | Sees::Pairs(_) => right,
        };
        let windowed = |lies_within: &dyn Fn(usize, usize) -> bool| match *self.sees {
            Sees::Within { offset, window } => lies_within(offset, window),
            Sees::UpTo { .. } | Sees::Everything | Sees::Pairs(_) => right,
        };
        let allowed = matches!(self.sees, Sees::Pairs(_));
        match how {
            Seen::Everything => true,
            Seen::Masked
            | Seen::AfterSoftmax
            | Seen::InfinityAfterSoftmax
            | Seen::AfterSoftmaxSharedAnew
            | Seen::InTheAverageAlone
            | Seen::Zeros
            | Seen::Below(_)
            | Seen::NotNumbers => right,
            Seen::AlwaysCausal => key <= query,
            Seen::WindowForgotten => windowed(&|offset, _| key <= query + offset),
            Seen::WindowOneMore => windowed(&|offset, window| {
                key <= query + offset && query + offset <= key + window
            }),
            Seen::WindowOneLess => windowed(&|offset, window| {
                key <= query + offset && query + offset + 1 < key + window
            }),
            Seen::WindowOfBothSides => {
                windowed(&|offset, window| (query + offset).abs_diff(key) < window)
            }
            Seen::WindowAlone => {
                windowed(&|offset, window| query + offset < key + window)
            }
            Seen::WindowInBlocks => windowed(&|offset, window| {
                key <= query + offset && key / window == (query + offset) / window
            }),
            Seen::TileDiagonal(tile) => {
                let tile = usize::from(tile);
                moved(&|offset| key / tile <= (query + offset) / tile)
            }
            Seen::OffsetForgotten => moved(&|_| key <= query),
            Seen::AllowedForgotten => right || allowed,
            Seen::CausalForgotten => moved(&|_| true),
            Seen::OffsetAndAllowedForgotten => allowed || moved(&|_| key <= query),
            Seen::OneFuture => moved(&|offset| key <= query + offset + 1),
            Seen::NotItself => moved(&|offset| key < query + offset),
            Seen::OffsetOneLess => {
                moved(&|offset| key <= query + offset.saturating_sub(1))
            }
            Seen::OffsetTwice => moved(&|offset| key <= query + 2 * offset),
            Seen::OffsetAlone => moved(&|offset| key <= offset),
            Seen::Turned => match *self.sees {
                Sees::UpTo { offset } => query <= key + offset,
                _ => self.sees.sees(key, query),
            },
            Seen::TrueHides => right != allowed,
            Seen::Past => moved(&|offset| key >= query + offset),
            Seen::FromTheEnd => {
                moved(&|_| key + self.q.nrows() <= query + self.k.nrows())
            }
            Seen::OffsetSubtracted => moved(&|offset| key + offset <= query),
            Seen::OwnKeyAlone => moved(&|offset| key == query + offset),
            Seen::NoneIsCausal => match *self.sees {
                Sees::Everything => key <= query,
                _ => right,
            },
            Seen::NotTheFirst => right && key > 0,
            Seen::NotTheLast => right && key + 1 < self.k.nrows(),
            Seen::CausalToo => right && key <= query,
            Seen::AllowedAndCausal => right && (!allowed || key <= query),
            Seen::FirstHeadAlone => h > 0 || right,
            Seen::LastHeadAlone => h + 1 < self.heads || right,
            Seen::FirstRowForAll => self.sees.sees(0, key),
            Seen::LastRowForAll => self.sees.sees(self.q.nrows() - 1, key),
        }
    }

    /// The heads' answers as one matrix.
    fn placed(&self, outputs: &[DMatrix<f32>], place: Place) -> Option<DMatrix<f32>> {
        let (heads, rows) = (outputs.len(), outputs[0].nrows());
        let d_v = outputs[0].ncols();
        let sum = || outputs.iter().sum::<DMatrix<f32>>();
        match place {
            Place::Added => return Some(sum()),
            Place::Averaged => return Some(sum() / heads as f32),
            Place::Stacked => return Some(under_one_another(outputs)),
            Place::Merged => {
                let width = heads * d_v;
                return Some(DMatrix::from_fn(rows, width, |i, j| {
                    let at = i * width + j;
                    let (head, rest) = (at / (rows * d_v), at % (rows * d_v));
                    outputs[head][(rest / d_v, rest % d_v)]
                }));
            }
            Place::InTurns => {
                return Some(DMatrix::from_fn(rows, heads * d_v, |i, j| {
                    outputs[j % heads][(i, j / heads)]
                }));
            }
            _ => {}
        }
        let mut context = DMatrix::zeros(rows, heads * d_v);
        for (h, output) in outputs.iter().enumerate() {
            for (start, part) in self.starts(h, d_v, place) {
                if start + d_v > context.ncols() {
                    return None;
                }
                let mut there = context.columns_mut(start, d_v);
                match part {
                    None => there.copy_from(output),
                    Some(part) => there += output * part,
                }
            }
        }
        Some(context)
    }

    /// The columns at which a head's answer begins, and what part of it is added to what
    /// is there, unless it takes its place.
    fn starts(&self, h: usize, d_v: usize, place: Place) -> Vec<(usize, Option<f32>)> {
        let (heads, size) = (self.heads, self.heads / self.kv_heads);
        let all = |heads: Range<usize>, part: f32| {
            heads.map(|h| (h * d_v, Some(part))).collect::<Vec<_>>()
        };
        let group = h / size * size..(h / size + 1) * size;
        let left_out = match place {
            Place::LastLeftOut => h + 1 == heads,
            Place::FirstLeftOut => h == 0,
            Place::EveryOther => !h.is_multiple_of(2),
            Place::FirstAlone => h > 0,
            Place::LastAlone => h + 1 < heads,
            Place::FirstOfEachGroup => !h.is_multiple_of(size),
            _ => false,
        };
        if left_out {
            return Vec::new();
        }
        let start = match place {
            Place::FirstAdded => return all(0..1, 1.0),
            Place::EverywhereAdded => return all(0..heads, 1.0),
            Place::EverywhereAveraged => return all(0..heads, 1.0 / heads as f32),
            Place::AddedUp => return all(h..heads, 1.0),
            Place::AddedByGroup => return all(group, 1.0),
            Place::AveragedByGroup => return all(group, 1.0 / size as f32),
            Place::Reversed => (heads - 1 - h) * d_v,
            Place::First => 0,
            Place::ByGroup => h / size * d_v,
            Place::OneColumnOn => h,
            Place::ByKeyWidth => h * self.d_k(),
            Place::Next => (h + 1) % heads * d_v,
            _ => h * d_v,
        };
        vec![(start, None)]
    }

    /// What is given back beside the answers.
    fn maps(
        &self,
        heads: &[Head],
        mut weights: Vec<DMatrix<f32>>,
        way: &Way,
    ) -> Vec<DMatrix<f32>> {
        let count = weights.len();
        match way.maps {
            Maps::Own => {}
            Maps::Reversed => weights.reverse(),
            Maps::LastMissing => weights.truncate(count - 1),
            Maps::FirstMissing => drop(weights.remove(0)),
            Maps::FirstForAll => weights = vec![weights[0].clone(); count],
            Maps::LastForAll => weights = vec![weights[count - 1].clone(); count],
            Maps::Mean => {
                let mean = weights.iter().sum::<DMatrix<f32>>() / count as f32;
                weights = vec![mean; count];
            }
            Maps::Transposed => {
                weights = weights.iter().map(DMatrix::transpose).collect();
            }
            Maps::Scores => weights = heads.iter().map(Head::hidden).collect(),
            Maps::ScoresUnmasked => {
                weights = heads.iter().map(|head| head.scores.clone()).collect();
            }
            Maps::Unmasked => {
                let all = heads.iter().map(|head| shares(&head.scores, way.shares));
                weights = all.collect();
            }
            Maps::OneForEachGroup => {
                weights = weights.into_iter().step_by(count / self.kv_heads).collect();
            }
            Maps::EveryOther => weights = weights.into_iter().step_by(2).collect(),
            Maps::FirstAlone => weights.truncate(1),
            Maps::LastAlone => drop(weights.drain(..count - 1)),
            Maps::Sum => weights = vec![weights.iter().sum()],
            Maps::OneMean => {
                weights = vec![weights.iter().sum::<DMatrix<f32>>() / count as f32];
            }
            Maps::None => weights.clear(),
        }
        weights
    }
}

/// Which columns of a matrix a head takes.
struct Chosen {
    cut: Cut,
    /// The number of the right head, and how many there are.
    own: usize,
    all: usize,
    h: usize,
    g: usize,
    size: usize,
    /// How wide a head of the other matrix is.
    other: usize,
}

/// Some columns of a matrix, where they lie or put together.
enum Columns<'a> {
    There(DMatrixView<'a, f32>),
    Own(DMatrix<f32>),
}

impl Columns<'_> {
    fn view(&self) -> DMatrixView<'_, f32> {
        match self {
            Columns::There(view) => view.as_view(),
            Columns::Own(matrix) => matrix.as_view(),
        }
    }
}

impl Chosen {
    fn columns<'a>(&self, of: &'a DMatrix<f32>) -> Option<Columns<'a>> {
        let width = of.ncols() / self.all;
        let start = |head: usize| (head < self.all).then(|| head * width);
        let start = match self.cut {
            Cut::Own => start(self.own),
            Cut::First => Some(0),
            Cut::Last => start(self.all - 1),
            Cut::Reversed => start(self.all - 1 - self.own),
            Cut::Next => start((self.own + 1) % self.all),
            Cut::ByHead => start(self.h),
            Cut::InTurns => start(self.h % self.all),
            Cut::BySize => start(self.h % self.size),
            Cut::ByGroup => start(self.g),
            Cut::OneColumnOn => Some(self.own),
            Cut::ByOtherWidth => {
                let start = self.own * self.other;
                (start + width <= of.ncols()).then_some(start)
            }
            Cut::Reshaped => {
                let (rows, all) = of.shape();
                let from = |i: usize, j: usize| {
                    let at = (self.own * rows + i) * width + j;
                    of[(at / all, at % all)]
                };
                return Some(Columns::Own(DMatrix::from_fn(rows, width, from)));
            }
            Cut::MeanOfGroup => {
                let heads = self.g * self.size..(self.g + 1) * self.size;
                let heads = heads.map(|head| of.columns(head * width, width));
                let sum = heads.fold(DMatrix::zeros(of.nrows(), width), |a, b| a + b);
                return Some(Columns::Own(sum / self.size as f32));
            }
            Cut::DealtOut => {
                let columns = (0..width).map(|i| self.own + i * self.all);
                let columns: Vec<usize> = columns.collect();
                return Some(Columns::Own(of.select_columns(&columns)));
            }
        }?;
        Some(Columns::There(of.columns(start, width)))
    }
}

impl Seen {
    fn differs_by_head(self) -> bool {
        matches!(self, Seen::FirstHeadAlone | Seen::LastHeadAlone)
    }
}

impl Head {
    /// The scores, those of hidden keys at -inf.
    fn hidden(&self) -> DMatrix<f32> {
        self.hidden_with(f32::NEG_INFINITY)
    }

    fn hidden_with(&self, hidden: f32) -> DMatrix<f32> {
        self.scores.zip_map(&self.seen, |score, seen| if seen { score } else { hidden })
    }
}

fn weights(heads: &[Head], way: &Way, around: &Around) -> Vec<DMatrix<f32>> {
    let hidden = around.hidden();
    if way.shares == Shares::OverAllHeads {
        let hidden: Vec<_> =
            heads.iter().map(|head| head.hidden_with(hidden)).collect();
        let all = shares(&side_by_side(&hidden), Shares::ByRows);
        let keys = all.ncols() / heads.len();
        let cut = |h: usize| all.columns(h * keys, keys).into_owned();
        return (0..heads.len()).map(cut).collect();
    }
    let one = |(h, head): (usize, &Head)| {
        let shares = |scores: &DMatrix<f32>, how| around.shares(scores, how, h);
        let left = |number: f32| {
            let weights = shares(&head.scores, way.shares);
            weights.zip_map(&head.seen, |w, seen| if seen { w } else { number })
        };
        let mut weights = match way.seen {
            Seen::AfterSoftmax => left(0.0),
            Seen::InfinityAfterSoftmax => left(f32::NEG_INFINITY),
            Seen::AfterSoftmaxSharedAnew => shared_anew(left(0.0)),
            Seen::InTheAverageAlone => shares(&head.scores, way.shares),
            Seen::Zeros => shares(&head.hidden_with(0.0), way.shares),
            Seen::Below(number) => {
                shares(&head.hidden_with(-f64::from(number) as f32), way.shares)
            }
            Seen::NotNumbers => shares(&head.hidden_with(f32::NAN), Shares::Unguarded),
            _ => shares(&head.hidden_with(hidden), way.shares),
        };
        if let Some(cap) = around.cap {
            cap.bound_weights(&mut weights);
        }
        weights
    };
    heads.iter().enumerate().map(one).collect()
}

/// Rows divided by what they sum to, if that is anything.
fn shared_anew(mut weights: DMatrix<f32>) -> DMatrix<f32> {
    for mut row in weights.row_iter_mut() {
        let sum = row.sum();
        if sum > 0.0 {
            row /= sum;
        }
    }
    weights
}

/// The average of values, those left out that a query does not see, where some are no
/// numbers.
fn mixed(
    weights: &DMatrix<f32>,
    values: DMatrixView<f32>,
    seen: &DMatrix<bool>,
    mix: Mix,
) -> Option<DMatrix<f32>> {
    let each = |of: &dyn Fn(usize, usize) -> f32| {
        Some(DMatrix::from_fn(weights.nrows(), values.ncols(), of))
    };
    match mix {
        Mix::Weighted => Some(average(weights, values, seen)),
        Mix::Summed => {
            let sum = values.row_sum();
            each(&|_, j| sum[j])
        }
        Mix::OverKeys => Some(average(weights, values, seen) / values.nrows() as f32),
        Mix::OverRoot => {
            Some(average(weights, values, seen) / (values.ncols() as f32).sqrt())
        }
        Mix::Leaking => Some(weights * values),
        Mix::ByColumns => {
            (weights.nrows() == values.nrows()).then(|| weights.tr_mul(&values))
        }
        Mix::Mean => {
            let mean = values.row_sum() / values.nrows() as f32;
            each(&|_, j| mean[j])
        }
        Mix::Largest => {
            let largest = |query: usize| {
                let row = weights.row(query);
                (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]))
            };
            let largest: Vec<Option<usize>> =
                (0..weights.nrows()).map(largest).collect();
            each(&|query, j| largest[query].map_or(0.0, |key| values[(key, j)]))
        }
    }
}

fn average(
    weights: &DMatrix<f32>,
    values: DMatrixView<f32>,
    seen: &DMatrix<bool>,
) -> DMatrix<f32> {
    let found = match weights.nrows() {
        // As products of columns: nalgebra's own takes several times as long for so few
        // rows.
        0..=5 => values.tr_mul(&weights.transpose()).transpose(),
        _ => weights * values,
    };
    // What is no number, or infinite, is so in every sum that it is a part of.
    if found.iter().all(|x| x.is_finite()) || values.iter().all(|x| x.is_finite()) {
        return found;
    }
    let term = |query: usize, key: usize, column: usize| {
        let (weight, value) = (weights[(query, key)], values[(key, column)]);
        // Left out is the value, not its weight: 0 times infinity is still NaN.
        let seen = seen[(query, key)] || value.is_finite();
        weight * if seen { value } else { 0.0 }
    };
    DMatrix::from_fn(weights.nrows(), values.ncols(), |query, column| {
        (0..values.nrows()).map(|key| term(query, key, column)).sum()
    })
}
