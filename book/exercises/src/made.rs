//! Slips that were made, of attention or of an exercise's own steps.

use crate::{
    heads::Way,
    oracle::Oracle,
    outcome::Outcome,
    slips::{Slip, other_numbers, slips, way},
    task::{Dial, Slipped},
};

/// One slip, or two at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    /// What they are called.
    pub names: Vec<&'static str>,
    /// What is said of each.
    pub says: Vec<&'static str>,
    by: By,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum By {
    Attention(Box<Way>),
    Dials(Vec<usize>),
    /// Where the exercise's own steps lie around attention.
    Both(Box<Way>, Vec<usize>),
}

impl Made {
    /// All of which an exercise knows, so many at once.
    pub(crate) fn all(oracle: &Oracle, at_once: usize) -> Vec<Made> {
        let heads = oracle.cases.iter().filter_map(|case| oracle.task.heads(case));
        let known = heads.max().map_or_else(Vec::new, |heads| slips(heads > 1));
        let dials = oracle.task.dials();
        let both = (at_once == 2 && oracle.task.is_around_attention())
            .then(|| Made::one_of_each(&known, dials));
        let numbers = other_numbers().filter(|_| at_once == 1 && !known.is_empty());
        let numbers: Vec<&'static Slip> = numbers.collect();
        let attention = subsets(known, at_once).into_iter();
        let attention = attention.chain(subsets(numbers, at_once));
        let attention = attention.map(|made| Made::in_attention(&made));
        let dialed = Made::dialed(dials, at_once);
        attention.chain(dialed).chain(both.into_iter().flatten()).collect()
    }

    /// A slip of attention, and one of the steps around it.
    fn one_of_each(known: &[&'static Slip], dials: &'static [Dial]) -> Vec<Made> {
        let dialed: Vec<Made> = Made::dialed(dials, 1).collect();
        let beside = |slip: &&'static Slip| {
            let attention = Made::in_attention(&[*slip]);
            dialed.iter().map(move |step| step.amid(&attention)).collect::<Vec<_>>()
        };
        known.iter().flat_map(beside).collect()
    }

    /// Both: a slip of attention, and steps around it.
    fn amid(&self, attention: &Made) -> Made {
        let by = match (&attention.by, &self.by) {
            (By::Attention(way), By::Dials(set)) => By::Both(way.clone(), set.clone()),
            (_, by) => by.clone(),
        };
        let names = [&attention.names[..], &self.names].concat();
        let says = [&attention.says[..], &self.says].concat();
        Made { names, says, by }
    }

    /// Those of an exercise's own steps, so many at once.
    pub(crate) fn dialed(
        dials: &'static [Dial],
        at_once: usize,
    ) -> impl Iterator<Item = Made> {
        let sets = subsets(settings(dials), at_once).into_iter();
        sets.filter_map(move |set| Made::by_dials(dials, &set))
    }

    /// Not a slip: of attention, and of the exercise's own steps.
    pub(crate) fn none(dials: &'static [Dial]) -> Vec<Made> {
        Made::by_dials(dials, &[])
            .into_iter()
            .chain([Made::in_attention(&[])])
            .collect()
    }

    fn in_attention(made: &[&'static Slip]) -> Made {
        Made {
            names: made.iter().map(|slip| slip.name).collect(),
            says: made.iter().map(|slip| slip.says).collect(),
            by: By::Attention(Box::new(way(made))),
        }
    }

    /// Nothing, if two of the settings are of one dial.
    fn by_dials(dials: &'static [Dial], set: &[(usize, usize)]) -> Option<Made> {
        let mut all = vec![0; dials.len()];
        let (mut names, mut says) = (Vec::new(), Vec::new());
        for (dial, setting) in set {
            if all[*dial] != 0 {
                return None;
            }
            all[*dial] = *setting;
            let (name, words) = dials[*dial].wrong[setting - 1];
            names.push(name);
            says.push(words);
        }
        Some(Made { names, says, by: By::Dials(all) })
    }

    /// Both, of an exercise's own steps; the other's setting, where it is one dial.
    pub(crate) fn beside(&self, other: &Made) -> Made {
        let (By::Dials(one), By::Dials(two)) = (&self.by, &other.by) else {
            return other.clone();
        };
        let both =
            one.iter().zip(two).map(|(one, two)| if *two == 0 { *one } else { *two });
        Made { by: By::Dials(both.collect()), ..other.clone() }
    }

    /// What comes of it, for an exercise's own steps.
    pub(crate) fn answer(&self, oracle: &Oracle, case: &[u32]) -> Outcome {
        match &self.by {
            By::Dials(set) => oracle.task.dialed(case, set),
            By::Attention(_) | By::Both(..) => oracle.task.answer(case),
        }
    }

    /// Whether an answer is what comes of it.
    pub(crate) fn gives(
        &self,
        oracle: &Oracle,
        case: &[u32],
        answer: &Outcome,
    ) -> bool {
        let attends =
            |way: &Way, set: &[usize]| match oracle.task.slipped(case, way, set) {
                Slipped::Untouched => oracle.agree(answer, &oracle.task.answer(case)),
                Slipped::Misfit => answer.is_refused() || answer.panic().is_some(),
                Slipped::Gave(given) => oracle.agree(answer, &given),
            };
        match &self.by {
            By::Dials(set) if oracle.task.is_around_attention() => {
                attends(&Way::default(), set)
            }
            By::Dials(set) => {
                let read = oracle.task.read_dialed(answer);
                oracle.agree(&read, &oracle.task.dialed(case, set))
            }
            By::Attention(way) => attends(way, &vec![0; oracle.task.dials().len()]),
            By::Both(way, set) => attends(way, set),
        }
    }
}

/// Every wrong setting: the number of its dial, and its own.
fn settings(dials: &[Dial]) -> Vec<(usize, usize)> {
    let of = |(at, dial): (usize, &Dial)| (1..=dial.wrong.len()).map(move |s| (at, s));
    dials.iter().enumerate().flat_map(of).collect()
}

/// Each by itself, or every two.
fn subsets<T: Copy>(all: Vec<T>, at_once: usize) -> Vec<Vec<T>> {
    if at_once < 2 {
        return all.into_iter().map(|one| vec![one]).collect();
    }
    let pairs = all
        .iter()
        .enumerate()
        .flat_map(|(at, one)| all[at + 1..].iter().map(|two| vec![*one, *two]));
    pairs.collect()
}
