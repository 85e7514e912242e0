//! Slips that were made, of attention or of an exercise's own steps.

use slips::{
    Way,
    attention::{Slip, other_numbers, slips, way},
};

use crate::{
    oracle::Oracle,
    outcome::Outcome,
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

#[cfg(test)]
mod tests {
    use super::{slips, way};
    use crate::{Draw, Found, Headed, outcome::outcome};
    use slips::Way;

    fn drawn(seed: u64) -> Headed {
        let mut draw = Draw::by_chance(seed, 1.0);
        let [kv_heads, size] = [draw.size(1..=2), draw.size(1..=2)];
        let [queries, keys] = [draw.size(1..=3), draw.size(1..=4)];
        let [d_k, d_v] = [draw.size(1..=3), draw.size(1..=3)];
        let sees = draw.mask(queries, keys);
        Headed {
            q: draw.numbers(queries, kv_heads * size * d_k),
            k: draw.numbers(keys, kv_heads * d_k),
            v: draw.numbers(keys, kv_heads * d_v),
            heads: kv_heads * size,
            kv_heads,
            sees,
        }
    }

    #[test]
    fn weights_sum_to_one_or_are_empty_where_nothing_slips() {
        for headed in (0..60).map(drawn) {
            let Some(found) = headed.found(&Way::default()) else {
                // A mask of another shape.
                continue;
            };
            let rows = found.weights.iter().flat_map(|map| map.row_iter());
            let sums: Vec<f32> = rows.map(|row| row.sum()).collect();
            assert!(
                sums.iter().all(|sum| *sum == 0.0 || (sum - 1.0).abs() < 1e-5),
                "{sums:?}"
            );
        }
    }

    #[test]
    fn every_slip_changes_something_and_has_a_name_of_its_own() {
        let all = slips(true);
        let same = |one: &Option<Found>, two: &Option<Found>| match (one, two) {
            (Some(one), Some(two)) => {
                let context = one.context.iter().zip(&two.context);
                one.context.shape() == two.context.shape()
                    && one.weights == two.weights
                    && context.into_iter().all(|(a, b)| (a - b).abs() < 1e-6)
            }
            (one, two) => one.is_none() == two.is_none(),
        };
        for (at, slip) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| other.name != slip.name));
            let way = way(&[slip]);
            let changes = (0..400).map(drawn).any(|headed| {
                !same(&headed.found(&way), &headed.found(&Way::default()))
            });
            // Shown by numbers that are not drawn here: large ones, and NaN.
            let by_odd_numbers = [
                "no-maximum",
                "no-maximum-but-guarded",
                "maximum-from-zero",
                "one-maximum-for-all",
                "hidden-nan-leaks",
                "masked-and-shared-anew",
            ];
            assert!(changes || by_odd_numbers.contains(&slip.name), "{}", slip.name);
        }
    }

    #[test]
    fn no_slip_panics() {
        for headed in (0..100).map(drawn) {
            for slip in slips(true) {
                let way = way(&[slip]);
                let stopped = outcome(|| {
                    let _ = headed.found(&way);
                    crate::Answer::default()
                });
                assert!(stopped.panic().is_none(), "{}: {stopped:?}", slip.name);
            }
        }
    }
}
