//! How well slips are recognized: made on purpose in random layers, each by itself and two
//! at once.

use std::collections::BTreeMap;
use std::fmt;

use nalgebra::{DMatrix, DVector};

use crate::{
    layer::Layer,
    rounding::Rounding,
    search::{Bench, Compare, Finding},
    slip::Slips,
    trace::{Part, Trace, Yours},
};

/// Numbers between -1 and 1, the same for the same seed.
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// A sequence of its own for each seed.
    #[must_use]
    pub fn of(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }

    /// The next whole number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        // Knuth's generator for 64 bits; its upper half is the better one.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % end.max(1) as u64) as usize
    }

    /// The next number.
    pub fn number(&mut self) -> f32 {
        self.below(1 << 24) as f32 / (1 << 23) as f32 - 1.0
    }

    /// A matrix of them, times `size`.
    pub fn matrix(&mut self, rows: usize, columns: usize, size: f32) -> DMatrix<f32> {
        DMatrix::from_fn(rows, columns, |_, _| self.number() * size)
    }

    /// A list of them.
    pub fn vector(&mut self, length: usize) -> DVector<f32> {
        DVector::from_fn(length, |_, _| self.number())
    }
}

/// How often slips were recognized.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Numbers that a slip made wrong.
    pub wrong: usize,
    /// Of these, those for which it was named, or another that gives the same numbers.
    pub named: usize,
    /// Numbers of which something was said that is not so.
    pub false_names: Vec<String>,
    /// Slips, or pairs, that were not found, and how often.
    pub missed: BTreeMap<String, usize>,
    /// Slips that changed nothing in any layer.
    pub silent: Vec<&'static str>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Measured { wrong, named, false_names, missed, silent } = self;
        write!(
            f,
            "{named} of {wrong} named; false: {false_names:?}; missed: {missed:?}; \
             silent: {silent:?}"
        )
    }
}

/// Another program's numbers: those of the slips, in another order of sums.
fn given(trace: &Trace, parts: &[Part]) -> Option<Yours> {
    parts.iter().try_fold(Yours::default(), |yours, part| {
        Some(yours.with(*part, trace.part(*part)?.to_vec()))
    })
}

/// Makes each slip of every layer, or as many random pairs as `pairs` says for each layer,
/// and looks for what was made in these parts alone.
pub fn measure<L: Layer>(
    benches: &[Bench<'_, L>],
    parts: &[Part],
    pairs: Option<usize>,
) -> Measured {
    let mut measured = Measured::default();
    let mut told: BTreeMap<&'static str, bool> = BTreeMap::new();
    for (seed, bench) in benches.iter().enumerate() {
        let count = bench.slips().len();
        let mut numbers = Numbers::of(seed as u64);
        let made: Vec<Vec<usize>> = match pairs {
            None => (0..count).map(|at| vec![at]).collect(),
            Some(pairs) => (0..pairs)
                .map(|_| vec![numbers.below(count), numbers.below(count)])
                .filter(|two| two[0] < two[1])
                .collect(),
        };
        for made in made {
            let is_wrong = one(bench, &made, parts, &mut measured);
            let name = bench.slips()[made[0]].name;
            *told.entry(name).or_default() |= is_wrong;
        }
    }
    let silent = told.into_iter().filter(|(_, told)| !told).map(|(name, _)| name);
    measured.silent = if pairs.is_none() { silent.collect() } else { Vec::new() };
    measured
}

/// Makes these slips, and says whether they changed anything.
fn one<L: Layer>(
    bench: &Bench<'_, L>,
    made: &[usize],
    parts: &[Part],
    measured: &mut Measured,
) -> bool {
    let names: Vec<&str> = made.iter().map(|at| bench.slips()[*at].name).collect();
    let name = names.join(" + ");
    let Some(yours) =
        bench.slipped(made, Rounding::Sums).and_then(|trace| given(&trace, parts))
    else {
        return false;
    };
    let Ok(right) = bench.right() else { return false };
    let off = |part: Part, found: &[DMatrix<f32>]| {
        right.off(part, found).map_or(f32::INFINITY, |off| off.worst / right.size(part))
    };
    let far = yours.parts().map(|(part, found)| off(part, found)).fold(0.0, f32::max);
    let Ok(verdict) = bench.compare(&yours) else { return false };
    match verdict.finding {
        // What is far off does not agree.
        Finding::Agree(_) => {
            if far > 1e-3 {
                measured.false_names.push(format!("{name}: agrees, {far} off"));
            }
            false
        }
        Finding::Differ(differ) => {
            if far < 1e-6 {
                measured.false_names.push(format!("{name}: differs, {far} off"));
            }
            measured.wrong += 1;
            for way in &differ.ways {
                let other: Vec<usize> = way
                    .iter()
                    .filter_map(|named| {
                        bench.slips().iter().position(|slip| slip.name == named.name)
                    })
                    .collect();
                let way: Vec<&str> = way.iter().map(|slip| slip.name).collect();
                if way != names && !gives(bench, &other, &yours) {
                    measured.false_names.push(format!("{name}: told {way:?}"));
                }
            }
            if differ.ways.is_empty() {
                *measured.missed.entry(name).or_default() += 1;
            } else {
                measured.named += 1;
            }
            true
        }
    }
}

/// Whether these slips give these numbers.
fn gives<L: Layer>(bench: &Bench<'_, L>, made: &[usize], yours: &Yours) -> bool {
    // A slip of several readings is named once.
    let names: Vec<&str> = made.iter().map(|at| bench.slips()[*at].name).collect();
    let readings = |name: &&str| -> Vec<usize> {
        let slips = bench.slips().iter().enumerate();
        slips.filter(|(_, slip)| slip.name == *name).map(|(at, _)| at).collect()
    };
    let mut sets: Vec<Vec<usize>> = vec![Vec::new()];
    for name in &names {
        let readings = readings(name);
        let longer = |set: &Vec<usize>| {
            let set = set.clone();
            readings
                .iter()
                .map(move |at| [&set[..], &[*at]].concat())
                .collect::<Vec<_>>()
        };
        sets = sets.iter().flat_map(longer).collect();
    }
    sets.iter().any(|made| {
        let trace = bench.slipped(made, Rounding::None);
        trace.is_some_and(|trace| {
            yours.parts().all(|(part, found)| {
                let size = trace.size(part).max(1e-3);
                trace.off(part, found).is_some_and(|off| off.worst <= 1e-3 * size)
            })
        })
    })
}

/// Asks whether each slip, made by itself in every layer, is named from the output alone in
/// 95 of 100 cases, and nothing is said that is not so.
///
/// # Panics
/// When it is not.
pub fn expect_named<L: Layer>(benches: &[Bench<'_, L>]) {
    expect(&measure(benches, &[Part::Y], None), 95);
}

/// Asks the same of 30 random pairs of slips per layer, and 80 of 100 cases.
///
/// # Panics
/// When it is not so.
pub fn expect_pairs_named<L: Layer>(benches: &[Bench<'_, L>]) {
    expect(&measure(benches, &[Part::Y], Some(30)), 80);
}

/// Asks whether the output of a layer, of which some rows are numbers that no slip gives, is
/// said to be so, and these rows are named.
///
/// # Panics
/// When it is not.
pub fn expect_unexplained<L: Layer>(benches: &[Bench<'_, L>]) {
    for (seed, bench) in benches.iter().enumerate() {
        let mut numbers = Numbers::of(seed as u64);
        let Ok(right) = bench.right() else { panic!("layer {seed} does not fit") };
        let mut y = right.part(Part::Y).map_or_else(Vec::new, <[_]>::to_vec);
        let size = right.size(Part::Y);
        let row = numbers.below(y[0].nrows());
        y[0].row_mut(row).apply(|x| *x += size * (1.0 + numbers.number()));
        match bench.compare(&Yours::default().with(Part::Y, y)).map(|v| v.finding) {
            Ok(Finding::Differ(differ)) => {
                let named: Vec<_> =
                    differ.ways.iter().flatten().map(|s| s.name).collect();
                assert_eq!(named, Vec::<&str>::new(), "layer {seed}");
                assert_eq!(differ.place, format!("token {row}"), "layer {seed}");
            }
            other => panic!("layer {seed}: {other:?}"),
        }
    }
}

fn expect(measured: &Measured, percent: usize) {
    println!("{measured}");
    assert_eq!(measured.false_names, Vec::<String>::new());
    assert!(measured.named * 100 >= measured.wrong * percent, "{measured}");
}

/// Asks whether `text` has the section of every slip that is told on `page`, and a link to
/// each thread in which one was seen.
///
/// # Panics
/// When it has not.
pub fn expect_told<B: 'static>(page: &str, text: &str, slips: &Slips<B>) {
    let headings = text.lines().filter(|line| line.starts_with("##"));
    let anchors: Vec<String> = headings.map(anchor).collect();
    for slip in slips.0.iter().filter(|slip| slip.page == page) {
        let (name, section) = (slip.name, slip.section);
        assert!(
            anchors.iter().any(|anchor| anchor == section),
            "{name}: {page} has no section {section}"
        );
        for thread in &slip.seen {
            let address = thread.address();
            assert!(text.contains(&address), "{name}: {page} does not link {address}");
        }
    }
}

/// The anchor of a heading: the one that it names, or its words.
fn anchor(heading: &str) -> String {
    if let Some((_, rest)) = heading.split_once("{#") {
        return rest.trim_end_matches('}').to_owned();
    }
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    });
    kept.collect()
}
