//! The search for the slip, or the two, that numbers are made of.

use std::{
    cell::{OnceCell, RefCell},
    collections::HashMap,
};

use nalgebra::DMatrix;
use rayon::prelude::*;

use crate::{
    heads::{Headed, Scored, Way},
    layer::{Layer, Looks},
    linear::{AFTERS, After},
    map::{Applied, Map, add_to_rows},
    place::place,
    relation::relation,
    rounding::Rounding,
    slip::{Slip, Slips, Taken, Thread},
    trace::{Off, Part, Trace, Yours},
};

/// A layer on one sequence, and the slips that are known of it.
pub struct Bench<'a, L: Layer> {
    layer: L,
    slips: Slips<L::Before>,
    _of: std::marker::PhantomData<&'a ()>,
}

/// What a chapter's layer can be asked, whatever its steps are.
pub trait Compare {
    /// The right intermediates.
    ///
    /// # Errors
    /// When the sizes of the layer do not fit together.
    fn right(&self) -> Result<Trace, Misfit>;

    /// How the numbers of another program stand to the right ones.
    ///
    /// # Errors
    /// When the sizes of the layer do not fit together.
    fn compare(&self, yours: &Yours) -> Result<Verdict, Misfit>;
}

/// The sizes of the layer do not fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfit;

/// What came of a comparison.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The largest difference of any part.
    pub worst: f32,
    /// What is said of the numbers.
    pub finding: Finding,
}

/// Whether numbers agree, and if not, where they part and why.
#[derive(Debug, Clone)]
pub enum Finding {
    /// They agree as well as numbers of their type can.
    Agree(Rounding),
    /// They differ.
    Differ(Differ),
}

/// Where numbers part, and why.
#[derive(Debug, Clone)]
pub struct Differ {
    /// The first part that differs, in the order of the computation.
    pub first: Part,
    /// The largest difference there, if both have numbers of one shape.
    pub off: Option<f32>,
    /// The largest right number there.
    pub size: f32,
    /// Where.
    pub place: String,
    /// The slips that give these numbers: one, or two at once; each way to them.
    pub ways: Vec<Vec<Named>>,
    /// Where no slip does, what has become of the right numbers.
    pub relation: Option<String>,
}

/// A slip that was found, without what makes it.
#[derive(Debug, Clone)]
pub struct Named {
    /// As it is called.
    pub name: &'static str,
    /// What is said of it.
    pub says: &'static str,
    /// The page that tells of it.
    pub page: &'static str,
    /// The heading there.
    pub section: &'static str,
    /// The input on which nobody would notice.
    pub hidden_by: Option<&'static str>,
    /// Where it was seen.
    pub seen: Vec<Thread>,
}

impl<B> From<&Slip<B>> for Named {
    fn from(slip: &Slip<B>) -> Named {
        let Slip { name, says, page, section, hidden_by, .. } = *slip;
        let seen = slip.seen.clone();
        Named { name, says, page, section, hidden_by, seen }
    }
}

/// How many times the rounding of our own numbers others may be off: another order of sums,
/// and steps that are rounded elsewhere.
const MARGIN: f32 = 8.0;

/// What numbers may be off at least, as a share of the largest.
const LEAST: f32 = 1e-6;

/// Ways to the same numbers that are told.
const WAYS: usize = 3;

/// Queries that a slip is tried on, before it is tried on all: first on one, and where that
/// does not rule it out, on some.
const PROBED: [usize; 2] = [1, 3];

/// Queries on which rounding is looked at, before all features are computed.
const ROUNDED: usize = 64;

/// Features of the output that a slip is tried on first.
const FEATURES: usize = 24;

/// Of these, those that are looked at before the others.
const FIRST: usize = 4;

/// How many times what rounding does to few numbers others may be off, beyond what they may
/// be off where all numbers are looked at.
const FEW: f32 = 4.0;

/// A way that is tried, by the slips of which it is made.
struct Try<B> {
    made: Vec<usize>,
    taken: Taken<B>,
}

/// The few numbers that are looked at first.
struct Probe {
    rows: Vec<usize>,
    columns: Vec<usize>,
    /// Rows, and for the output columns, of what is compared.
    yours: Vec<(Part, Vec<DMatrix<f32>>)>,
    /// What each may be off.
    within: HashMap<Part, f32>,
    /// Where the numbers have to be as near as those of these digits can be, and not only
    /// roughly the same.
    digits: Option<Rounding>,
    /// For each way on from the heads, the output map's columns that are looked at.
    outputs: HashMap<After, Option<DMatrix<f32>>>,
}

/// What some tries have in common, as it is on the numbers that are looked at.
struct Shared<'a> {
    scored: &'a Scored<'a>,
    /// Whether all queries are there, and those that are looked at are to be picked.
    all_rows: bool,
    /// What is let pass, of the queries that are looked at.
    gate: Option<&'a DMatrix<f32>>,
    /// What was made of the numbers so far.
    rounding: Rounding,
    /// What the heads found: of the queries that are looked at, and of all.
    outputs: [OnceCell<Option<Vec<DMatrix<f32>>>>; 2],
    /// What the heads found in their places, by the whole way.
    contexts: RefCell<HashMap<Way, Option<DMatrix<f32>>>>,
}

impl<'a> Shared<'a> {
    fn of(
        scored: &'a Scored<'a>,
        (all_rows, gate): (bool, Option<&'a DMatrix<f32>>),
        rounding: Rounding,
    ) -> Self {
        let (outputs, contexts) = Default::default();
        Shared { scored, all_rows, gate, rounding, outputs, contexts }
    }

    /// Those of the rows that are looked at.
    fn rows(&self, of: DMatrix<f32>, probe: &Probe) -> DMatrix<f32> {
        let fits = probe.rows.iter().all(|row| *row < of.nrows());
        if self.all_rows && fits { of.select_rows(&probe.rows) } else { of }
    }

    /// What the heads found, of the queries that are looked at.
    fn context(&self, way: &Way, probe: &Probe) -> Option<DMatrix<f32>> {
        let made = || {
            let whole = !self.all_rows || way.places_queries();
            let rows = (!whole).then_some(&probe.rows[..]);
            let outputs = self.outputs[usize::from(whole)]
                .get_or_init(|| self.scored.outputs(way, rows));
            let context = self.scored.placed(outputs.as_ref()?, way)?;
            Some(if whole { self.rows(context, probe) } else { context })
        };
        self.contexts.borrow_mut().entry(*way).or_insert_with(made).clone()
    }

    /// Which of the pairs that are looked at count.
    fn seen(&self, probe: &Probe) -> Vec<DMatrix<bool>> {
        let some = |seen: &DMatrix<bool>| {
            if self.all_rows { seen.select_rows(&probe.rows) } else { seen.clone() }
        };
        self.scored.seen().map(some).collect()
    }
}

impl<'a, L: Layer + 'a> Bench<'a, L> {
    /// A layer and its slips.
    pub fn new(layer: L, slips: Slips<L::Before>) -> Self {
        Bench { layer, slips, _of: std::marker::PhantomData }
    }

    /// The slips that are known of it.
    #[must_use]
    pub fn slips(&self) -> &[Slip<L::Before>] {
        &self.slips.0
    }

    /// What the layer gives with these slips; nothing where the sizes do not fit them.
    #[must_use]
    pub fn slipped(&self, made: &[usize], rounding: Rounding) -> Option<Trace> {
        self.trace(&self.taken(made), rounding)
    }

    fn taken(&self, made: &[usize]) -> Taken<L::Before> {
        let mut taken = Taken::default();
        for slip in made {
            self.slips.0[*slip].make(&mut taken);
        }
        taken
    }

    fn trace(&self, taken: &Taken<L::Before>, rounding: Rounding) -> Option<Trace> {
        let Looks { mut headed, unturned, stretch, around } =
            self.layer.looks(&taken.before)?;
        let Headed { q, k, v, .. } = &mut headed;
        rounding.apply([q, k, v]);
        let way = &taken.attention;
        let scored = headed.scored(way, None, (stretch, &around), rounding)?;
        let context = scored.context(way)?;
        let passed = passed(context.clone(), around.gate.as_ref())?;
        let mut y = self.output(&passed, taken.after)?;
        rounding.apply([&mut y]);
        let parts = vec![
            (Part::Q, vec![headed.q.clone()]),
            (Part::K, vec![headed.k.clone()]),
            (Part::V, vec![headed.v.clone()]),
            (Part::Scores, scored.scores().cloned().collect()),
            (Part::Weights, scored.maps(way)),
            (Part::Heads, vec![context]),
            (Part::Y, vec![y]),
        ];
        let seen = scored.seen().cloned().collect();
        Some(Trace { parts, seen, unturned, heads: [headed.heads, headed.kv_heads] })
    }

    fn output(&self, context: &DMatrix<f32>, after: After) -> Option<DMatrix<f32>> {
        let Some(map) = self.layer.output() else {
            return (after == After::Projected).then(|| context.clone());
        };
        let mut y = match after {
            After::Skipped => return Some(context.clone()),
            After::Transposed => map.apply(context, Applied::Transposed)?,
            After::WithoutBias => map.apply(context, Applied::WithoutBias)?,
            _ => map.apply(context, Applied::Right)?,
        };
        self.add_after(&mut y, after, None)?;
        Some(y)
    }

    /// What else is added, to all numbers or to those of some rows and columns.
    fn add_after(
        &self,
        y: &mut DMatrix<f32>,
        after: After,
        some: Option<(&[usize], &[usize])>,
    ) -> Option<()> {
        match after {
            After::BiasForEachHead => {
                let bias = self.layer.output()?.bias?;
                let heads = self.layer.looks(&L::Before::default())?.headed.heads;
                let more = bias * (heads as f32 - 1.0);
                match some {
                    None => add_to_rows(y, more.iter().copied()),
                    Some((_, columns)) => {
                        add_to_rows(y, columns.iter().map(|j| more[*j]));
                    }
                }
            }
            After::WithInput => {
                let x = self.layer.x()?;
                let x = match some {
                    None => x.clone(),
                    Some((rows, columns)) if columns.iter().all(|j| *j < x.ncols()) => {
                        x.select_rows(rows).select_columns(columns)
                    }
                    Some(_) => return None,
                };
                if x.shape() != y.shape() {
                    return None;
                }
                *y += x;
            }
            _ => {}
        }
        Some(())
    }

    /// What each part may be off, if `trace` is right and numbers have these digits.
    fn within(
        &self,
        taken: &Taken<L::Before>,
        trace: &Trace,
        digits: Rounding,
    ) -> Option<HashMap<Part, f32>> {
        let rounded = self.trace(taken, digits)?;
        let one = |part: Part| {
            let off = rounded.off(part, trace.part(part)?).map_or(0.0, |off| off.worst);
            Some((part, off * MARGIN + trace.size(part) * LEAST))
        };
        Part::ALL.into_iter().map(one).collect()
    }
}

/// What a gate lets pass of what the heads found; nothing, if it does not fit.
fn passed(found: DMatrix<f32>, gate: Option<&DMatrix<f32>>) -> Option<DMatrix<f32>> {
    match gate {
        None => Some(found),
        Some(gate) => {
            (gate.shape() == found.shape()).then(|| found.component_mul(gate))
        }
    }
}

fn agree(trace: &Trace, yours: &Yours, within: &HashMap<Part, f32>) -> bool {
    yours.parts().all(|(part, yours)| {
        trace.off(part, yours).is_some_and(|off| off.worst <= within[&part])
    })
}

impl<'a, L: Layer + 'a> Compare for Bench<'a, L> {
    fn right(&self) -> Result<Trace, Misfit> {
        self.trace(&Taken::default(), Rounding::None).ok_or(Misfit)
    }

    fn compare(&self, yours: &Yours) -> Result<Verdict, Misfit> {
        let right = self.right()?;
        let taken = Taken::default();
        let offs: Vec<(Part, Option<Off>)> =
            yours.parts().map(|(part, found)| (part, right.off(part, found))).collect();
        let worst = offs
            .iter()
            .map(|(_, off)| off.map_or(f32::INFINITY, |off| off.worst))
            .fold(0.0, f32::max);
        let verdict = |finding| Ok(Verdict { worst, finding });
        let digits = yours.digits();
        let mut within = self.within(&taken, &right, Rounding::Sums).ok_or(Misfit)?;
        if agree(&right, yours, &within) {
            return verdict(Finding::Agree(Rounding::Sums));
        }
        if digits != Rounding::Sums {
            within = self.within(&taken, &right, digits).ok_or(Misfit)?;
            if agree(&right, yours, &within) {
                return verdict(Finding::Agree(digits));
            }
        }
        let ways = self.ways(yours, &right, &within, digits);
        if ways.is_empty()
            && let Some(coarse) = self.as_coarse(&right, &offs)
        {
            return verdict(Finding::Agree(coarse));
        }
        let first = yours.parts().find(|(part, found)| {
            right.off(*part, found).is_none_or(|off| off.worst > within[part])
        });
        let (first, found) = first.ok_or(Misfit)?;
        verdict(Finding::Differ(Differ {
            first,
            off: right.off(first, found).map(|off| off.worst),
            size: right.size(first),
            place: where_wrong(&right, first, found, within[&first]),
            relation: related(&right, yours, &within).filter(|_| ways.is_empty()),
            ways,
        }))
    }
}

/// Where a part is wrong, or how its shape is, or where it has no numbers.
fn where_wrong(
    right: &Trace,
    part: Part,
    yours: &[DMatrix<f32>],
    within: f32,
) -> String {
    let shape = |of: &[DMatrix<f32>]| {
        let (rows, columns) = of.first().map_or((0, 0), DMatrix::shape);
        match of.len() {
            1 => format!("[{rows}, {columns}]"),
            heads => format!("[{heads}, {rows}, {columns}]"),
        }
    };
    let ours = right.part(part).unwrap_or_default();
    let Some(wrong) = right.wrong(part, yours, within) else {
        return format!("shape {}, ours {}", shape(yours), shape(ours));
    };
    let nan = |m: &DMatrix<f32>| m.map(|x: f32| x.is_nan());
    let ours_have = ours.iter().any(|m| m.iter().any(|x| x.is_nan()));
    let nans: Vec<DMatrix<bool>> = yours.iter().map(nan).collect();
    let heads = right.heads_of(part);
    if !ours_have && nans.iter().any(|m| m.iter().any(|nan| *nan)) {
        return format!("NaN {}", place(&nans, heads));
    }
    place(&wrong, heads)
}

/// What has become of the first part that is some relation of the right one.
fn related(
    right: &Trace,
    yours: &Yours,
    within: &HashMap<Part, f32>,
) -> Option<String> {
    yours.parts().find_map(|(part, found)| {
        let ours = right.part(part)?;
        let off = right.off(part, found);
        if off.is_some_and(|off| off.worst <= within[&part]) {
            return None;
        }
        let told = match (ours, found) {
            ([ours], [yours]) => {
                relation(yours, ours, right.heads_of(part), within[&part])?
            }
            (ours, yours) if ours.len() == yours.len() => {
                let pairs = ours.iter().zip(yours);
                let mut told =
                    pairs.map(|(ours, yours)| relation(yours, ours, 1, within[&part]));
                let first = told.next()??;
                told.all(|other| other.as_ref() == Some(&first)).then_some(first)?
            }
            _ => return None,
        };
        Some(format!("{} is ours {told}", part.name()))
    })
}

impl<'a, L: Layer + 'a> Bench<'a, L> {
    /// All ways to these numbers: by one slip, or else by two.
    fn ways(
        &self,
        yours: &Yours,
        right: &Trace,
        within: &HashMap<Part, f32>,
        digits: Rounding,
    ) -> Vec<Vec<Named>> {
        let probe = |queries| self.probe(queries, yours, right, within);
        let Some(mut probes) =
            PROBED.into_iter().map(probe).collect::<Option<Vec<_>>>()
        else {
            return Vec::new();
        };
        if let Some(mut near) = probe(ROUNDED) {
            // Projections are compared whole, whatever is looked at.
            near.within
                .extend(within.iter().filter(|(part, _)| **part >= Part::Scores));
            probes.push(Probe { digits: Some(digits), ..near });
        }
        for at_once in 1..=2 {
            let found = self.found(self.tries(at_once, yours), yours, &probes, digits);
            if !found.is_empty() {
                let named = |made: &Vec<usize>| {
                    made.iter().map(|at| Named::from(&self.slips.0[*at])).collect()
                };
                return found.iter().take(WAYS).map(named).collect();
            }
        }
        Vec::new()
    }

    /// Each slip, or every two that are not one of them alone.
    fn tries(&self, at_once: usize, yours: &Yours) -> Vec<Try<L::Before>> {
        let maps = yours.holds(Part::Weights);
        let counts = |at: &usize| {
            let taken = self.taken(&[*at]);
            let of_maps =
                taken.attention.is_of_maps_alone() && taken.attention != Way::default();
            maps || !of_maps
        };
        let all: Vec<usize> = (0..self.slips.0.len()).filter(counts).collect();
        let one = |made: Vec<usize>| Try { taken: self.taken(&made), made };
        if at_once == 1 {
            return all.into_iter().map(|at| one(vec![at])).collect();
        }
        let alone: Vec<Taken<L::Before>> =
            all.iter().map(|at| self.taken(&[*at])).collect();
        let pairs =
            (0..all.len()).flat_map(|a| (a + 1..all.len()).map(move |b| (a, b)));
        let tries = pairs.map(|(a, b)| (a, b, one(vec![all[a], all[b]])));
        tries
            .filter(|(a, b, both)| both.taken != alone[*a] && both.taken != alone[*b])
            .map(|(_, _, both)| both)
            .collect()
    }

    /// The numbers of so many queries, those whose outputs are the furthest off.
    fn probe(
        &self,
        probed: usize,
        yours: &Yours,
        right: &Trace,
        within: &HashMap<Part, f32>,
    ) -> Option<Probe> {
        let (last, found) = yours.parts().last()?;
        let queries = right.part(Part::Q)?[0].nrows();
        let off_of = |row: usize| {
            let ours = right.part(last);
            let pairs = ours.into_iter().flatten().zip(found);
            let fits = pairs.filter(|(a, b)| a.shape() == b.shape() && row < a.nrows());
            let off = fits.map(|(a, b)| (a.row(row) - b.row(row)).norm());
            off.map(|off| if off.is_finite() { off } else { f32::MAX }).sum::<f32>()
        };
        let mut rows: Vec<usize> = (0..queries).collect();
        rows.sort_by(|a, b| off_of(*b).total_cmp(&off_of(*a)));
        rows.truncate(probed);
        rows.sort_unstable();
        let width = right.part(Part::Y)?[0].ncols();
        let step = (width / FEATURES).max(1);
        let columns: Vec<usize> = (0..width).step_by(step).collect();
        let outputs = AFTERS.map(|after| {
            let weight = self.layer.output().and_then(|map: Map| match after {
                After::Transposed if map.weight.is_square() => {
                    Some(map.weight.select_rows(&columns).transpose())
                }
                After::Transposed | After::Skipped => None,
                _ => Some(map.weight.select_columns(&columns)),
            });
            (after, weight)
        });
        let fits = |(part, found): &(Part, &[DMatrix<f32>])| {
            part.is_of_maps() || *part >= Part::Scores && found[0].nrows() == queries
        };
        let mut probed: Vec<(Part, Vec<DMatrix<f32>>)> = Vec::new();
        for (part, found) in yours.parts().filter(fits) {
            if found.iter().any(|one| one.nrows() != queries) {
                continue;
            }
            let of_rows = found.iter().map(|one| one.select_rows(&rows));
            let of_rows: Vec<DMatrix<f32>> = match part {
                Part::Y if found[0].ncols() == width => {
                    of_rows.map(|one| one.select_columns(&columns)).collect()
                }
                // Another width is looked at whole.
                Part::Y => continue,
                _ => of_rows.collect(),
            };
            probed.push((part, of_rows));
        }
        // A slip may make numbers large, and then they are rounded at larger steps.
        let looser = |(part, within): (&Part, &f32)| {
            let off = yours.parts().find(|(own, _)| own == part);
            let off = off.and_then(|(part, found)| right.off(part, found));
            (*part, within.max(off.map_or(0.0, |off| off.worst * 0.05)) * 2.0)
        };
        let within = within.iter().map(looser).collect();
        Some(Probe {
            rows,
            columns,
            yours: probed,
            within,
            digits: None,
            outputs: outputs.into_iter().collect(),
        })
    }

    /// The tries that give these numbers.
    fn found(
        &self,
        tries: Vec<Try<L::Before>>,
        yours: &Yours,
        probes: &[Probe],
        digits: Rounding,
    ) -> Vec<Vec<usize>> {
        let sieved = |tries, probe| self.sieved(tries, yours, probe);
        let mut likely = probes.iter().fold(tries, sieved);
        likely.sort_by(|a, b| a.made.cmp(&b.made));
        let is_it = |one: &Try<L::Before>| {
            let trace = self.trace(&one.taken, Rounding::None)?;
            // What is far off on all numbers needs no second look.
            let mut rough = probes.iter().filter(|probe| probe.digits.is_none());
            if !rough.all(|probe| agree(&trace, yours, &probe.within)) {
                return None;
            }
            let within = self.within(&one.taken, &trace, digits)?;
            agree(&trace, yours, &within).then_some(())
        };
        let mut found = Vec::new();
        for one in likely {
            if found.len() < WAYS && is_it(&one).is_some() {
                found.push(one.made);
            }
        }
        found
    }

    /// Those of the tries that give the few numbers which are looked at first.
    fn sieved(
        &self,
        tries: Vec<Try<L::Before>>,
        yours: &Yours,
        probe: &Probe,
    ) -> Vec<Try<L::Before>> {
        let mut by_steps: HashMap<L::Before, Vec<Try<L::Before>>> = HashMap::new();
        for one in tries {
            by_steps.entry(one.taken.before.clone()).or_default().push(one);
        }
        by_steps
            .into_par_iter()
            .flat_map(|(before, tries)| self.likely(&before, tries, yours, probe))
            .collect()
    }

    /// Those of the tries, all with the same steps before the heads, that give the few
    /// numbers which are looked at first.
    fn likely(
        &self,
        before: &L::Before,
        tries: Vec<Try<L::Before>>,
        yours: &Yours,
        probe: &Probe,
    ) -> Vec<Try<L::Before>> {
        let Some(looks) = self.layer.looks(before) else { return Vec::new() };
        if !projections_fit(&looks, yours, probe) {
            return Vec::new();
        }
        let mut by_weights: HashMap<(Way, bool), Vec<Try<L::Before>>> = HashMap::new();
        for one in tries {
            let way = one.taken.attention;
            let key = (way.to_the_weights(), way.mixes_queries());
            by_weights.entry(key).or_default().push(one);
        }
        let headed = &looks.headed;
        let rounded = probe.digits.map(|digits| {
            let mut headed = headed.clone();
            digits.apply([&mut headed.q, &mut headed.k, &mut headed.v]);
            (headed, digits)
        });
        let gate = looks.around.gate.as_ref();
        let gate = gate.map(|gate| gate.select_rows(&probe.rows));
        let likely = |((way, mixes), tries): ((Way, bool), Vec<Try<L::Before>>)| {
            let rows = (!mixes).then_some(&probe.rows[..]);
            let between = (looks.stretch, &looks.around);
            let Some(scored) = headed.scored(&way, rows, between, Rounding::None)
            else {
                return Vec::new();
            };
            let rounded = rounded.as_ref().and_then(|(headed, digits)| {
                Some((headed.scored(&way, rows, between, *digits)?, *digits))
            });
            let mut by_outputs: HashMap<Way, Vec<Try<L::Before>>> = HashMap::new();
            for one in tries {
                by_outputs
                    .entry(one.taken.attention.to_the_outputs())
                    .or_default()
                    .push(one);
            }
            let of_outputs = |tries: Vec<Try<L::Before>>| {
                let given = (mixes, gate.as_ref());
                let exact = Shared::of(&scored, given, Rounding::None);
                let rounded = rounded
                    .as_ref()
                    .map(|(scored, digits)| Shared::of(scored, given, *digits));
                let fits = |one: &Try<L::Before>| {
                    self.fits(&one.taken, &exact, rounded.as_ref(), probe).is_some()
                };
                tries.into_iter().filter(fits).collect::<Vec<_>>()
            };
            by_outputs.into_values().flat_map(of_outputs).collect()
        };
        by_weights.into_par_iter().flat_map(likely).collect()
    }

    fn fits(
        &self,
        taken: &Taken<L::Before>,
        exact: &Shared<'_>,
        rounded: Option<&Shared<'_>>,
        probe: &Probe,
    ) -> Option<()> {
        let queries = exact.scored.seen().next()?.nrows();
        if exact.all_rows && probe.rows.iter().any(|row| *row >= queries) {
            return None;
        }
        let all = probe.columns.len();
        let first = FIRST.min(all);
        for (part, yours) in &probe.yours {
            let mut trace = Trace::default();
            if *part == Part::Scores {
                trace.seen = exact.seen(probe);
            }
            // Most slips are ruled out by the first features.
            if *part == Part::Y && probe.digits.is_none() && first != all {
                let ours = self.probed(*part, taken, exact, (probe, first))?;
                trace.parts = vec![(*part, ours)];
                let yours = yours.iter().map(|y| y.columns(0, first).into_owned());
                let off = trace.off(*part, &yours.collect::<Vec<_>>())?;
                if off.worst > probe.within[part] {
                    return None;
                }
            }
            let ours = self.probed(*part, taken, exact, (probe, all))?;
            let noise = match rounded {
                None => 0.0,
                Some(rounded) => {
                    let parts = self.probed(*part, taken, rounded, (probe, all))?;
                    trace.parts = vec![(*part, parts)];
                    trace.off(*part, &ours).map_or(f32::INFINITY, |off| off.worst)
                }
            };
            trace.parts = vec![(*part, ours)];
            let off = trace.off(*part, yours)?;
            if off.worst > probe.within[part].max(noise * MARGIN * FEW) {
                return None;
            }
        }
        Some(())
    }

    /// A part on the numbers that are looked at, the output in so many of its columns.
    fn probed(
        &self,
        part: Part,
        taken: &Taken<L::Before>,
        shared: &Shared<'_>,
        (probe, columns): (&Probe, usize),
    ) -> Option<Vec<DMatrix<f32>>> {
        let way = &taken.attention;
        let rows = |found: Vec<DMatrix<f32>>| -> Vec<DMatrix<f32>> {
            found.into_iter().map(|one| shared.rows(one, probe)).collect()
        };
        Some(match part {
            Part::Scores => rows(shared.scored.scores().cloned().collect()),
            Part::Weights => rows(shared.scored.maps(way)),
            Part::Heads => vec![shared.context(way, probe)?],
            _ => {
                let map = probe.outputs.get(&taken.after).and_then(Option::as_ref);
                if map.is_some_and(|map| map.nrows() != shared.scored.width(way)) {
                    return None;
                }
                let context = passed(shared.context(way, probe)?, shared.gate)?;
                let mut y =
                    self.probed_output(&context, taken.after, (probe, columns))?;
                shared.rounding.apply([&mut y]);
                vec![y]
            }
        })
    }

    /// The features of the output that are looked at.
    fn probed_output(
        &self,
        context: &DMatrix<f32>,
        after: After,
        (probe, columns): (&Probe, usize),
    ) -> Option<DMatrix<f32>> {
        let columns = &probe.columns[..columns];
        let fits = probe.columns.iter().all(|j| *j < context.ncols());
        let Some(map) = self.layer.output() else {
            let is_all = after == After::Projected && fits;
            return is_all.then(|| context.select_columns(columns));
        };
        if after == After::Skipped {
            return fits.then(|| context.select_columns(columns));
        }
        let weight = probe.outputs[&after].as_ref()?;
        if context.ncols() != weight.nrows() {
            return None;
        }
        let weight = weight.columns(0, columns.len());
        let mut y = match context.nrows() {
            // As products of columns: of so few rows, nalgebra's own takes some times as
            // long.
            0..=5 => context.transpose().tr_mul(&weight),
            _ => context * weight,
        };
        if let Some(bias) = map.bias.filter(|_| after != After::WithoutBias) {
            add_to_rows(&mut y, columns.iter().map(|j| bias[*j]));
        }
        self.add_after(&mut y, after, Some((&probe.rows, columns)))?;
        Some(y)
    }

    /// The digits of a computation whose rounding explains the differences, although the
    /// numbers themselves were widened again.
    fn as_coarse(
        &self,
        right: &Trace,
        offs: &[(Part, Option<Off>)],
    ) -> Option<Rounding> {
        let as_noise = |digits: Rounding| {
            let rounded = self.trace(&Taken::default(), digits)?;
            let like = |(part, off): &(Part, Option<Off>)| {
                let noise = rounded.off(*part, right.part(*part)?)?;
                let off = (*off)?;
                (off.rms <= 2.0 * noise.rms && off.worst <= MARGIN * noise.rms * 2.0)
                    .then_some(())
            };
            offs.iter().map(like).collect::<Option<Vec<()>>>().map(|_| digits)
        };
        [Rounding::Half, Rounding::Brain].into_iter().find_map(as_noise)
    }
}

/// Whether queries, keys and values are what was found, where they were given.
fn projections_fit(looks: &Looks, yours: &Yours, probe: &Probe) -> bool {
    let Looks { headed, unturned, .. } = looks;
    yours.parts().all(|(part, found)| {
        let ours = match part {
            Part::Q => &headed.q,
            Part::K => &headed.k,
            Part::V => &headed.v,
            _ => return true,
        };
        let parts = vec![(part, vec![ours.clone()])];
        let unturned = unturned.clone();
        let trace = Trace { parts, unturned, ..Trace::default() };
        trace.off(part, found).is_some_and(|off| off.worst <= probe.within[&part])
    })
}
