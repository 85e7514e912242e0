//! The intermediates of a layer, in the order of the computation, and how far those of
//! another program are from them.

use nalgebra::DMatrix;

use crate::rounding::Rounding;

/// An intermediate, by the name that a file gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The queries of all heads.
    Q,
    /// The keys of all kv heads.
    K,
    /// The values of all kv heads.
    V,
    /// One map per head, before softmax.
    Scores,
    /// One map per head, after it.
    Weights,
    /// What the heads found, side by side.
    Heads,
    /// The output.
    Y,
}

impl Part {
    /// All of them, in the order of the computation.
    pub const ALL: [Part; 7] =
        [Part::Q, Part::K, Part::V, Part::Scores, Part::Weights, Part::Heads, Part::Y];

    /// The name of its tensor.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Part::Q => "q",
            Part::K => "k",
            Part::V => "v",
            Part::Scores => "scores",
            Part::Weights => "attention_weights",
            Part::Heads => "heads",
            Part::Y => "y",
        }
    }

    /// Whether there is one matrix of it per head.
    #[must_use]
    pub fn is_of_maps(self) -> bool {
        matches!(self, Part::Scores | Part::Weights)
    }
}

/// Intermediates of one sequence. What was not computed is missing.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    pub(crate) parts: Vec<(Part, Vec<DMatrix<f32>>)>,
    /// Which scores count, per head (queries, keys).
    pub(crate) seen: Vec<DMatrix<bool>>,
    /// Queries and keys before they were turned.
    pub(crate) unturned: Option<[DMatrix<f32>; 2]>,
    /// How many heads share the columns of queries, and how many those of keys.
    pub(crate) heads: [usize; 2],
}

/// How far some numbers are from others.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Off {
    /// The largest difference.
    pub worst: f32,
    /// The root of the mean of their squares.
    pub rms: f32,
}

/// Below this, a score in a file says that its pair is hidden.
const HIDDEN: f32 = -1e4;

impl Trace {
    /// The matrices of a part.
    #[must_use]
    pub fn part(&self, part: Part) -> Option<&[DMatrix<f32>]> {
        self.parts.iter().find(|(own, _)| *own == part).map(|(_, found)| &found[..])
    }

    /// How many heads share the columns of a part.
    #[must_use]
    pub fn heads_of(&self, part: Part) -> usize {
        match part {
            Part::Q | Part::Heads => self.heads[0],
            Part::K | Part::V => self.heads[1],
            Part::Scores | Part::Weights | Part::Y => 1,
        }
    }

    /// How far `yours` are from a part; nothing, if the shapes differ or one has numbers
    /// where the other has none.
    pub(crate) fn off(&self, part: Part, yours: &[DMatrix<f32>]) -> Option<Off> {
        let ours = self.part(part)?;
        let turned = self.off_from(part, ours, yours);
        let at = match part {
            Part::Q => 0,
            Part::K => 1,
            _ => return turned,
        };
        let unturned = self.unturned.as_ref();
        let unturned = unturned.and_then(|u| self.off_from(part, &u[at..=at], yours));
        match (turned, unturned) {
            (Some(one), Some(two)) => Some(if two.rms < one.rms { two } else { one }),
            (one, two) => one.or(two),
        }
    }

    fn off_from(
        &self,
        part: Part,
        ours: &[DMatrix<f32>],
        yours: &[DMatrix<f32>],
    ) -> Option<Off> {
        if ours.len() != yours.len() {
            return None;
        }
        let (mut worst, mut squares, mut count) = (0.0_f32, 0.0_f64, 0_usize);
        for (at, (ours, yours)) in ours.iter().zip(yours).enumerate() {
            if ours.shape() != yours.shape() {
                return None;
            }
            let seen = self.seen.get(at).filter(|_| part == Part::Scores);
            for (i, (ours, yours)) in ours.iter().zip(yours).enumerate() {
                let seen = seen.is_none_or(|seen| seen[i]);
                if part == Part::Scores && (*yours <= HIDDEN && !seen) {
                    continue;
                }
                let off = difference(*ours, *yours)?;
                worst = worst.max(off);
                squares += f64::from(off) * f64::from(off);
                count += 1;
            }
        }
        Some(Off { worst, rms: (squares / count.max(1) as f64).sqrt() as f32 })
    }

    /// Where `yours` are further than `within` from a part, matrix by matrix.
    pub(crate) fn wrong(
        &self,
        part: Part,
        yours: &[DMatrix<f32>],
        within: f32,
    ) -> Option<Vec<DMatrix<bool>>> {
        let ours = self.part(part)?;
        let one = |(at, (ours, yours)): (usize, (&DMatrix<f32>, &DMatrix<f32>))| {
            let seen = self.seen.get(at).filter(|_| part == Part::Scores);
            (ours.shape() == yours.shape()).then(|| {
                DMatrix::from_fn(ours.nrows(), ours.ncols(), |i, j| {
                    let is_hidden = seen.is_some_and(|seen| !seen[(i, j)]);
                    let (ours, yours) = (ours[(i, j)], yours[(i, j)]);
                    !(is_hidden && yours <= HIDDEN)
                        && difference(ours, yours).is_none_or(|off| off > within)
                })
            })
        };
        if ours.len() != yours.len() {
            return None;
        }
        ours.iter().zip(yours).enumerate().map(one).collect()
    }

    /// The largest finite number of a part.
    pub(crate) fn size(&self, part: Part) -> f32 {
        let all = self.part(part).into_iter().flatten().flat_map(|m| m.iter());
        all.filter(|x| x.is_finite()).fold(0.0, |most, x| most.max(x.abs()))
    }

    /// How far `yours` are from a part: infinitely, if they do not fit it.
    #[must_use]
    pub fn distance(&self, part: Part, yours: &[DMatrix<f32>]) -> f32 {
        self.off(part, yours).map_or(f32::INFINITY, |off| off.rms)
    }
}

/// How far two numbers are apart: nothing, if only one of them is a number.
fn difference(one: f32, two: f32) -> Option<f32> {
    if one == two || (one.is_nan() && two.is_nan()) {
        return Some(0.0);
    }
    (one.is_finite() && two.is_finite()).then(|| (one - two).abs())
}

/// What another program gave, of one sequence.
#[derive(Debug, Clone, Default)]
pub struct Yours {
    parts: Vec<(Part, Vec<DMatrix<f32>>)>,
}

impl Yours {
    /// The same and one more part: a matrix, or one per head.
    #[must_use]
    pub fn with(mut self, part: Part, found: Vec<DMatrix<f32>>) -> Yours {
        self.parts.push((part, found));
        self.parts.sort_by_key(|(part, _)| *part);
        self
    }

    /// The parts, in the order of the computation.
    pub fn parts(&self) -> impl Iterator<Item = (Part, &[DMatrix<f32>])> {
        self.parts.iter().map(|(part, found)| (*part, &found[..]))
    }

    /// Whether it holds a part.
    #[must_use]
    pub fn holds(&self, part: Part) -> bool {
        self.parts.iter().any(|(own, _)| *own == part)
    }

    /// The coarsest digits that hold all numbers.
    pub(crate) fn digits(&self) -> Rounding {
        let keeps = |rounding: Rounding| {
            let all = self.parts.iter().flat_map(|(_, found)| found);
            all.flat_map(|m| m.iter()).all(|x| x.is_nan() || rounding.of(*x) == *x)
        };
        let coarse = [Rounding::Brain, Rounding::Half];
        coarse.into_iter().find(|one| keeps(*one)).unwrap_or(Rounding::Sums)
    }
}
