//! How wrong numbers come from the right ones: in sentences that hold of every case that
//! they speak of, whatever the exercise.

use std::collections::BTreeSet;

use nalgebra::DMatrix;

use crate::{
    answer::Value,
    features::{Features, Given},
    outcome::Outcome,
};

/// A case that is wrong.
pub(crate) struct WrongCase<'a> {
    /// What is given, and what happens on the way.
    pub given: &'a Given,
    pub features: &'a Features,
    pub mine: &'a Outcome,
    pub right: &'a Outcome,
}

/// Fewer cases say nothing.
const ENOUGH: usize = 3;

/// What holds of wrong cases.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// A sentence each.
    pub told: Vec<String>,
    /// What kind of change gives every wrong number from the right ones, if that is known.
    pub whole: Option<&'static str>,
}

/// A sentence about a part, and what it is called if it says where each number comes from.
struct Said {
    kind: &'static str,
    says: String,
}

impl Said {
    fn of(kind: &'static str, says: String) -> Said {
        Said { kind, says }
    }
}

/// What holds of the wrong cases.
pub(crate) fn seen(cases: &[WrongCase]) -> Seen {
    let mut told = refusals(cases);
    let numeric: Vec<&WrongCase> =
        cases.iter().filter(|case| is_numeric(case)).collect();
    let parts = parts(&numeric);
    let wrong: BTreeSet<&str> =
        parts.iter().filter(|part| part.differs()).map(|part| &*part.name).collect();
    let all: BTreeSet<&str> = parts.iter().map(|part| &*part.name).collect();
    let right: Vec<&str> = all.difference(&wrong).copied().collect();
    if !right.is_empty() && !wrong.is_empty() && numeric.len() >= ENOUGH {
        told.push(format!(
            "Only {} differs; {} is right in all cases.",
            listed(&wrong.iter().copied().collect::<Vec<_>>()),
            listed(&right)
        ));
    }
    let mut kinds = Vec::new();
    for name in &wrong {
        let differ = parts.iter().filter(|part| part.name == *name && part.differs());
        let (sentences, kind) = of_part(name, &differ.collect::<Vec<_>>());
        kinds.push(kind);
        if kinds.len() <= SAID_OF || kind.is_some() {
            told.extend(sentences);
        }
    }
    let all_told = numeric.len() == cases.len() && kinds.iter().all(Option::is_some);
    let whole = kinds.first().copied().flatten().filter(|_| all_told);
    Seen { told, whole }
}

/// Parts of which more is told than where their numbers come from.
const SAID_OF: usize = 2;

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ")
}

fn is_numeric(case: &WrongCase) -> bool {
    case.mine.panic().is_none() && case.mine.is_refused() == case.right.is_refused()
}

/// Errors where there should be none, and none where there should be one.
fn refusals(cases: &[WrongCase]) -> Vec<String> {
    let count =
        |is: &dyn Fn(&WrongCase) -> bool| cases.iter().filter(|c| is(c)).count();
    let panics = |case: &WrongCase| case.mine.panic().is_some();
    let wanted = |case: &WrongCase| case.right.is_refused();
    let told = [
        (
            count(&|c| panics(c) && wanted(c)),
            "an error is expected, and your function panics",
        ),
        (
            count(&|c| panics(c) && !wanted(c)),
            "an answer is expected, and your function panics",
        ),
        (
            count(&|c| !panics(c) && wanted(c) && !c.mine.is_refused()),
            "an error is expected, and your function gives an answer",
        ),
        (
            count(&|c| !panics(c) && !wanted(c) && c.mine.is_refused()),
            "an answer is expected, and your function gives an error",
        ),
    ];
    let told = told.into_iter().filter(|(count, _)| *count > 0);
    told.map(|(count, what)| match (count, cases.len()) {
        (1, 1) => format!("In the one case that is wrong, {what}."),
        (count, all) if count == all => format!("In all of these, {what}."),
        (count, _) => format!("In {count} of these, {what}."),
    })
    .collect()
}

/// One part of an answer in one case, where both are numbers.
struct Part<'a> {
    name: String,
    mine: &'a DMatrix<f32>,
    right: &'a DMatrix<f32>,
    case: &'a WrongCase<'a>,
}

impl Part<'_> {
    fn differs(&self) -> bool {
        !same(self.mine, self.right)
    }
}

/// Numbers of the parts, under names that do not count: `weights of head 1` is one of the
/// `weights of head`.
fn parts<'a>(cases: &[&'a WrongCase<'a>]) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    for case in cases {
        for (name, right) in case.right.parts() {
            let found = case.mine.parts().iter().find(|(found, _)| found == name);
            if let (Some((_, Value::Numbers(mine))), Value::Numbers(right)) =
                (found, right)
            {
                parts.push(Part { name: uncounted(name), mine, right, case });
            }
        }
    }
    parts
}

fn uncounted(name: &str) -> String {
    let without: String = name.chars().filter(|c| !c.is_ascii_digit()).collect();
    without.replace(" ,", ",").trim().to_owned()
}

fn near(a: f32, b: f32) -> bool {
    // Everything is within a share of infinity.
    let finite = a.is_finite() && b.is_finite();
    a == b
        || (a.is_nan() && b.is_nan())
        || (finite && (a - b).abs() <= 2e-4 * b.abs().max(1.0))
}

fn same(a: &DMatrix<f32>, b: &DMatrix<f32>) -> bool {
    a.shape() == b.shape() && a.iter().zip(b).all(|(a, b)| near(*a, *b))
}

/// What holds of a part, wherever it differs; and the kind of change, if it is known where
/// all of its numbers come from.
fn of_part(name: &str, parts: &[&Part]) -> (Vec<String>, Option<&'static str>) {
    if parts.len() < ENOUGH {
        return (Vec::new(), None);
    }
    let all = |is: &dyn Fn(&Part) -> bool| parts.iter().all(|part| is(part));
    if all(&|part| same(&part.mine.transpose(), part.right)) {
        let says = format!("Your `{name}` is the right one transposed.");
        return (vec![says], Some("transposed"));
    }
    if let Some(Said { kind, says }) = as_it_came(name, parts) {
        return (vec![says], Some(kind));
    }
    if all(&|part| part.mine.shape() != part.right.shape()) {
        return (vec![shapes(name, parts)], None);
    }
    let told: Vec<&Part> =
        parts.iter().copied().filter(|p| p.mine.shape() == p.right.shape()).collect();
    let mut sentences = Vec::new();
    if told.len() < parts.len() {
        let others = parts.len() - told.len();
        sentences
            .push(format!("`{name}` has another shape than it should {others} times."));
    }
    if told.len() < ENOUGH {
        return (sentences, None);
    }
    let whole = rearranged(name, &told)
        .or_else(|| shifted(name, &told))
        .or_else(|| multiplied(name, &told))
        .or_else(|| added(name, &told))
        .or_else(|| reordered(name, &told))
        .or_else(|| not_written(name, &told))
        .or_else(|| left_as_given(name, &told));
    let kind = whole.as_ref().map(|said| said.kind);
    let kind = kind.filter(|kind| told.len() == parts.len() && *kind != FACTORS);
    match whole {
        Some(Said { kind, says }) => {
            sentences.push(says);
            if kind == NOT_WRITTEN || kind == LEFT {
                sentences.extend(placed(name, &told));
            }
        }
        None if name.contains("weights") => {
            sentences.extend(tempered(name, &told).or_else(|| shared(name, &told)));
            sentences.extend(hidden(name, &told));
            sentences.extend(placed(name, &told));
        }
        None => sentences.extend(placed(name, &told)),
    }
    if kind.is_none() {
        sentences.extend(not_numbers(name, &told));
    }
    (sentences, kind)
}

/// A factor for each case, which says little of what was done.
const FACTORS: &str = "factors";

/// Numbers that are what was given.
const LEFT: &str = "left-as-given";

/// Numbers that are missing.
const NOT_WRITTEN: &str = "not-written";

fn shapes(name: &str, parts: &[&Part]) -> String {
    let more = |of: fn(&DMatrix<f32>) -> usize| {
        let more =
            |part: &Part| of(part.mine).cast_signed() - of(part.right).cast_signed();
        let first = more(parts[0]);
        parts.iter().all(|part| more(part) == first).then_some(first)
    };
    let counted = |more: isize, what: &str| {
        let s = if more.abs() == 1 { "" } else { "s" };
        let than = if more > 0 { "many" } else { "few" };
        format!("Your `{name}` has {} {what}{s} too {than}.", more.abs())
    };
    match (more(DMatrix::nrows), more(DMatrix::ncols)) {
        (Some(rows), Some(0)) => counted(rows, "row"),
        (Some(0), Some(columns)) => counted(columns, "column"),
        _ => format!("Your `{name}` has another shape than it should."),
    }
}

/// What was given, or came out on the way, or belongs elsewhere.
fn as_it_came(name: &str, parts: &[&Part]) -> Option<Said> {
    let first = parts.first()?.case.given;
    let came = |part: &Part, given: &str| {
        part.case.given.iter().any(|(other, value)| {
            other == given && matches!(value, Value::Numbers(m) if same(part.mine, m))
        })
    };
    let mut names = first.iter().map(|(given, _)| given);
    if let Some(given) = names.find(|given| parts.iter().all(|part| came(part, given)))
    {
        let says = format!("Your `{name}` is `{given}`, as it came.");
        return Some(Said::of("as-it-came", says));
    }
    let stands_in = |part: &Part, other: &str| {
        part.case.right.parts().iter().any(|(found, value)| {
            uncounted(found) == other
                && matches!(value, Value::Numbers(m) if same(part.mine, m))
        })
    };
    let others = parts.first()?.case.right.parts().iter();
    let mut others = others.map(|(other, _)| uncounted(other)).filter(|o| o != name);
    let other = others.find(|other| parts.iter().all(|part| stands_in(part, other)))?;
    let says = format!("Your `{name}` is what `{other}` should be.");
    Some(Said::of("another-part", says))
}

/// The right columns, or the right rows, in other places.
fn reordered(name: &str, parts: &[&Part]) -> Option<Said> {
    let columns = |m: &DMatrix<f32>| -> Vec<DMatrix<f32>> {
        (0..m.ncols()).map(|j| m.columns(j, 1).into_owned()).collect()
    };
    let holds = |turn: fn(&DMatrix<f32>) -> DMatrix<f32>| {
        parts.iter().all(|part| {
            let mut right = columns(&turn(part.right));
            columns(&turn(part.mine)).iter().all(|mine| {
                let at = right.iter().position(|right| same(mine, right));
                at.map(|at| right.swap_remove(at)).is_some()
            })
        })
    };
    let words =
        [("columns", holds(DMatrix::clone)), ("rows", holds(DMatrix::transpose))];
    let (words, _) = words.into_iter().find(|(_, holds)| *holds)?;
    let says = format!("Your `{name}` has the right {words}, in another order.");
    Some(Said::of("reordered", says))
}

/// Numbers that are right where they are not 0.
fn not_written(name: &str, parts: &[&Part]) -> Option<Said> {
    let holds = |part: &&Part| {
        let mut pairs = part.mine.iter().zip(part.right);
        pairs.all(|(mine, right)| *mine == 0.0 || near(*mine, *right))
    };
    parts.iter().all(holds).then(|| {
        let says = format!("Where your `{name}` is wrong it is 0.");
        Said::of(NOT_WRITTEN, says)
    })
}

/// Numbers that are right where they are not what was given in their place.
fn left_as_given(name: &str, parts: &[&Part]) -> Option<Said> {
    let left = |part: &Part, given: &str| {
        part.case.given.iter().any(|(other, value)| match value {
            Value::Numbers(came)
                if other == given && came.shape() == part.mine.shape() =>
            {
                let mut all = part.mine.iter().zip(part.right).zip(came);
                all.all(|((mine, right), came)| {
                    near(*mine, *right) || near(*mine, *came)
                })
            }
            _ => false,
        })
    };
    let mut names = parts.first()?.case.given.iter().map(|(given, _)| given);
    let given = names.find(|given| parts.iter().all(|part| left(part, given)))?;
    let says = format!(
        "Where your `{name}` is wrong it is `{given}` as it came, as if nothing was done \
         there."
    );
    Some(Said::of(LEFT, says))
}

fn rearranged(name: &str, parts: &[&Part]) -> Option<Said> {
    type Arrange = fn(&DMatrix<f32>) -> DMatrix<f32>;
    let reversed_rows: Arrange =
        |m| DMatrix::from_fn(m.nrows(), m.ncols(), |i, j| m[(m.nrows() - 1 - i, j)]);
    let reversed_columns: Arrange =
        |m| DMatrix::from_fn(m.nrows(), m.ncols(), |i, j| m[(i, m.ncols() - 1 - j)]);
    let first_row: Arrange =
        |m| DMatrix::from_fn(m.nrows(), m.ncols(), |_, j| m[(0, j)]);
    let last_row: Arrange =
        |m| DMatrix::from_fn(m.nrows(), m.ncols(), |_, j| m[(m.nrows() - 1, j)]);
    let softmax: Arrange = |m| slips::softmax(m);
    let over_sums: Arrange = |m| {
        let sums = m.column_sum();
        DMatrix::from_fn(m.nrows(), m.ncols(), |i, j| m[(i, j)] / sums[i])
    };
    let ways: [(Arrange, &str); 18] = [
        (|m| m * 0.0, "all zeros"),
        (|m| -m, "the right one with the other sign"),
        (reversed_rows, "the right one with its rows in the opposite order"),
        (reversed_columns, "the right one with its columns in the opposite order"),
        (first_row, "the first row of the right one, in every row"),
        (last_row, "the last row of the right one, in every row"),
        (softmax, "what softmax makes of the right one"),
        (over_sums, "the right one with each row divided by its sum"),
        (DMatrix::abs, "the right one without its signs"),
        (|m| m.map(|x| x * x), "the square of the right one"),
        (|m| m.map(f32::sqrt), "the root of the right one"),
        (|m| m.map(f32::recip), "1 over the right one"),
        (|m| m.map(|x| 1.0 - x), "1 minus the right one"),
        (|m| m.map(f32::exp), "e to the power of the right one"),
        (|m| m.map(f32::ln), "the logarithm of the right one"),
        (|m| m.map(f32::floor), "the right one rounded down"),
        (|m| m.map(f32::ceil), "the right one rounded up"),
        (|m| m.map(f32::round), "the right one rounded to whole numbers"),
    ];
    let holds =
        |arrange: Arrange| parts.iter().all(|p| same(p.mine, &arrange(p.right)));
    // Any number alone is a row that softmax turns into 1.
    let has_rows = parts.iter().any(|part| part.right.ncols() > 1);
    let of_rows = ["what softmax makes", "each row divided by its sum"];
    let told = |words: &str| has_rows || !of_rows.iter().any(|of| words.contains(of));
    let (_, words) =
        ways.into_iter().find(|(arrange, words)| told(words) && holds(*arrange))?;
    Some(Said::of("rearranged", format!("Your `{name}` is {words}.")))
}

/// The same number too much everywhere.
fn shifted(name: &str, parts: &[&Part]) -> Option<Said> {
    let by = |part: &Part| {
        let by = part
            .mine
            .iter()
            .zip(part.right)
            .map(|(m, r)| m - r)
            .find(|d| d.is_finite())?;
        let moved = part.right.add_scalar(by);
        same(part.mine, &moved).then_some(by)
    };
    let by: Vec<(f32, &Features)> = parts
        .iter()
        .map(|part| Some((by(part)?, part.case.features)))
        .collect::<Option<_>>()?;
    let constant = by.iter().all(|(d, _)| near(*d, by[0].0));
    if constant {
        let (by, more) = (by[0].0.abs(), if by[0].0 > 0.0 { "large" } else { "small" });
        let says =
            format!("Every number of your `{name}` is too {more} by {}.", rounded(by));
        return Some(Said::of("shifted", says));
    }
    let words = fitted(&by)?;
    let says = format!("To every number of your `{name}` {words} was added.");
    Some(Said::of("shifted", says))
}

/// Something that was given on top, as a residual connection adds it.
fn added(name: &str, parts: &[&Part]) -> Option<Said> {
    let signs =
        [(1.0, 1.0, "plus"), (1.0, -1.0, "minus"), (-1.0, 1.0, "subtracted from")];
    let holds = |part: &Part, given: &str, (right, came): (f32, f32)| {
        part.case.given.iter().any(|(other, value)| match value {
            Value::Numbers(m) if other == given && m.shape() == part.right.shape() => {
                same(part.mine, &(part.right * right + m * came))
            }
            _ => false,
        })
    };
    let mut names = parts.first()?.case.given.iter().map(|(given, _)| given);
    names.find_map(|given| {
        let (.., how) = signs.into_iter().find(|(right, came, _)| {
            parts.iter().all(|part| holds(part, given, (*right, *came)))
        })?;
        Some(Said::of(
            "added",
            format!("Your `{name}` is the right one {how} `{given}`."),
        ))
    })
}

/// A factor that a case has throughout.
fn multiplied(name: &str, parts: &[&Part]) -> Option<Said> {
    let factor = |part: &Part| {
        let pairs = part.mine.iter().zip(part.right);
        let finite =
            pairs.filter(|(m, r)| m.is_finite() && r.is_finite() && **r != 0.0);
        let (mine, right) = finite.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))?;
        let factor = mine / right;
        let scaled = part.right.map(|r| if r == 0.0 { 0.0 } else { r * factor });
        same(part.mine, &scaled).then_some(factor)
    };
    let factors: Vec<(f32, &Features)> = parts
        .iter()
        .map(|part| Some((factor(part)?, part.case.features)))
        .collect::<Option<_>>()?;
    let one_number = parts.iter().all(|part| part.right.len() == 1);
    match fitted(&factors) {
        Some(words) => {
            let says = format!("Your `{name}` is the right one times {words}.");
            Some(Said::of("multiplied", says))
        }
        None if one_number => None,
        None => {
            let says = format!(
                "Your `{name}` is the right one times a number, which is another in \
                 each case."
            );
            Some(Said::of(FACTORS, says))
        }
    }
}

/// Softmax of scores that were multiplied by something.
fn tempered(name: &str, parts: &[&Part]) -> Option<String> {
    let factor = |part: &Part| -> Option<f32> {
        let mut found: Option<(f32, f32)> = None;
        for (mine, right) in part.mine.row_iter().zip(part.right.row_iter()) {
            let seen = |j: &usize| mine[*j] > 1e-5 && right[*j] > 1e-5;
            let keys: Vec<usize> = (0..right.len()).filter(seen).collect();
            for (at, i) in keys.iter().enumerate() {
                for j in &keys[at + 1..] {
                    let apart = (right[*i] / right[*j]).ln();
                    let factor = (mine[*i] / mine[*j]).ln() / apart;
                    if apart.abs() > 0.1
                        && found.is_none_or(|(best, _)| apart.abs() > best)
                    {
                        found = Some((apart.abs(), factor));
                    }
                }
            }
        }
        let (_, factor) = found?;
        let again = |row: usize| {
            let powers: Vec<f32> =
                part.right.row(row).iter().map(|r| r.powf(factor)).collect();
            let sum: f32 = powers.iter().sum();
            let mine = part.mine.row(row);
            sum == 0.0
                || mine.iter().zip(&powers).all(|(m, p)| (m - p / sum).abs() < 2e-3)
        };
        (0..part.right.nrows()).all(again).then_some(factor)
    };
    let factors: Vec<(f32, &Features)> = parts
        .iter()
        .map(|part| Some((factor(part)?, part.case.features)))
        .collect::<Option<_>>()?;
    let words = fitted(&factors)?;
    Some(format!(
        "Your `{name}` is what softmax gives for the right scores times {words}."
    ))
}

/// Weights that do not sum to one.
fn shared(name: &str, parts: &[&Part]) -> Option<String> {
    let sums_to_one = |m: &DMatrix<f32>| {
        m.row_iter().all(|row| near(row.sum(), 1.0) || near(row.sum(), 0.0))
    };
    let shares = |part: &Part| {
        sums_to_one(part.right) && part.mine.iter().all(|x| x.is_finite())
    };
    let wrong = parts.iter().filter(|p| shares(p) && !sums_to_one(p.mine)).count();
    let down = |part: &&Part| sums_to_one(&part.mine.transpose());
    if wrong == 0 {
        return None;
    }
    let also = if parts.iter().all(down) { ", its columns do" } else { "" };
    Some(format!(
        "The rows of your `{name}` do not sum to one in {wrong} of {}{also}.",
        parts.len()
    ))
}

/// Keys that have weight and should have none, or the reverse.
fn hidden(name: &str, parts: &[&Part]) -> Vec<String> {
    let any = |part: &Part, is: fn(f32, f32) -> bool| {
        part.mine.iter().zip(part.right).any(|(m, r)| is(*m, *r))
    };
    let count = |is: fn(f32, f32) -> bool| parts.iter().filter(|p| any(p, is)).count();
    let shown = count(|mine, right| right == 0.0 && mine.abs() > 1e-4);
    let blind = count(|mine, right| right > 1e-4 && mine == 0.0);
    let told = [
        (shown, "a key has weight that the query must not see"),
        (blind, "a key has no weight that the query sees"),
    ];
    let told = told.into_iter().filter(|(count, _)| *count > 0);
    told.map(|(count, what)| {
        format!("In {count} of {} of your `{name}`, {what}.", parts.len())
    })
    .collect()
}

fn not_numbers(name: &str, parts: &[&Part]) -> Vec<String> {
    let count = |is: fn(f32) -> bool| {
        let odd = |part: &&&Part| {
            let pairs = part.mine.iter().zip(part.right);
            pairs.into_iter().any(|(mine, right)| is(*mine) && !is(*right))
        };
        parts.iter().filter(odd).count()
    };
    let told =
        [(count(f32::is_nan), "NaN"), (count(f32::is_infinite), "infinite numbers")];
    let told = told.into_iter().filter(|(count, _)| *count > 0);
    told.map(|(count, what)| {
        format!(
            "{count} of {} of your `{name}` hold {what} that should not.",
            parts.len()
        )
    })
    .collect()
}

/// Where in a matrix the wrong numbers stand.
fn placed(name: &str, parts: &[&Part]) -> Option<String> {
    type Place = fn((usize, usize), (usize, usize)) -> bool;
    let places: [(Place, &str); 8] = [
        (|(i, _), _| i == 0, "in the first row only"),
        (|(i, _), (rows, _)| i + 1 == rows, "in the last row only"),
        (|(_, j), _| j == 0, "in the first column only"),
        (|(_, j), (_, columns)| j + 1 == columns, "in the last column only"),
        (|(i, _), _| i > 0, "in every row but the first"),
        (|(_, j), _| j > 0, "in every column but the first"),
        (|(i, j), _| j > i, "right of the diagonal only"),
        (|(i, j), _| j < i, "left of the diagonal only"),
    ];
    let large = |part: &&&Part| part.right.nrows() > 1 && part.right.ncols() > 1;
    if parts.iter().filter(large).count() < ENOUGH {
        return None;
    }
    let within = |place: Place| {
        parts.iter().all(|part| {
            let shape = part.right.shape();
            let cells = (0..shape.0).flat_map(|i| (0..shape.1).map(move |j| (i, j)));
            cells
                .filter(|at| !near(part.mine[*at], part.right[*at]))
                .all(|at| place(at, shape))
        })
    };
    let (_, words) = places.into_iter().find(|(place, _)| within(*place))?;
    Some(format!("Your `{name}` differs {words}."))
}

/// A number of each case as a constant, or from the sizes of the case.
fn fitted(numbers: &[(f32, &Features)]) -> Option<String> {
    let (first, features) = *numbers.first()?;
    let close = |a: f32, b: f32| (a - b).abs() <= 2e-3 * b.abs().max(1e-3);
    if numbers.iter().all(|(number, _)| close(*number, first)) {
        return Some(rounded(first));
    }
    let mut distinct: Vec<f32> = numbers.iter().map(|(number, _)| *number).collect();
    distinct.sort_by(f32::total_cmp);
    distinct.dedup_by(|a, b| close(*a, *b));
    if numbers.len() <= ENOUGH || distinct.len() < 2 {
        return None;
    }
    let names: Vec<&String> = features.sizes.keys().collect();
    let of = |name: &String, power: f32, features: &Features| {
        features.sizes.get(name).map(|size| size.powf(power))
    };
    let powers = [
        (1.0, ""),
        (-1.0, "1 over "),
        (0.5, "the root of "),
        (-0.5, "1 over the root of "),
        (2.0, "the square of "),
        (-2.0, "1 over the square of "),
    ];
    for name in &names {
        for (power, words) in powers {
            let ratio =
                |(number, f): &(f32, &Features)| Some(number / of(name, power, f)?);
            let Some(ratios) = numbers.iter().map(ratio).collect::<Option<Vec<f32>>>()
            else {
                continue;
            };
            if ratios.iter().all(|ratio| ratio.is_finite() && close(*ratio, ratios[0]))
            {
                let ratio = if close(ratios[0], 1.0) {
                    String::new()
                } else {
                    format!("{} times ", rounded(ratios[0]))
                };
                return Some(format!("{ratio}{words}{name}"));
            }
        }
    }
    if distinct.len() < 3 {
        return None;
    }
    for (at, one) in names.iter().enumerate() {
        for two in &names[at + 1..] {
            for (power, words) in &powers[..4] {
                for (other, other_words) in &powers[..4] {
                    let fits = |(number, f): &(f32, &Features)| {
                        let product = of(one, *power, f).zip(of(two, *other, f));
                        product.is_some_and(|(a, b)| close(*number, a * b))
                    };
                    if numbers.iter().all(fits) {
                        return Some(format!("{words}{one} times {other_words}{two}"));
                    }
                }
            }
        }
    }
    None
}

fn rounded(number: f32) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::{WrongCase, near, seen};
    use crate::{
        Answer, Value,
        features::Features,
        outcome::{Outcome, outcome},
    };
    use nalgebra::DMatrix;

    /// What is seen if `wrong` answers in place of `x`.
    fn told(part: &str, wrong: fn(&DMatrix<f32>) -> Value) -> String {
        let given: Vec<Vec<(String, Value)>> = (1..12)
            .map(|seed| {
                let (rows, columns) = (1 + seed % 3, 1 + seed % 4);
                let number = |i, j| ((7 * i + 3 * j + seed) % 5) as f32 + 1.0;
                let x = DMatrix::from_fn(rows, columns, number);
                vec![("x".to_owned(), Value::from(x))]
            })
            .collect();
        let x = |given: &[(String, Value)]| match &given[0].1 {
            Value::Numbers(x) => x.clone(),
            _ => unreachable!("all given values are numbers"),
        };
        let features: Vec<Features> = given.iter().map(|g| Features::of(g)).collect();
        let right: Vec<Outcome> =
            given.iter().map(|g| outcome(|| Answer::of(part, x(g) * 2.0))).collect();
        let mine: Vec<Outcome> =
            given.iter().map(|g| outcome(|| Answer::of(part, wrong(&x(g))))).collect();
        let cases = (0..given.len()).map(|at| WrongCase {
            given: &given[at],
            features: &features[at],
            mine: &mine[at],
            right: &right[at],
        });
        seen(&cases.collect::<Vec<_>>()).told.join(" ")
    }

    #[test]
    fn only_infinity_is_near_infinity() {
        assert!(near(f32::INFINITY, f32::INFINITY) && near(f32::NAN, f32::NAN));
        assert!(!near(3.0, f32::INFINITY) && !near(f32::NEG_INFINITY, 3.0));
        assert!(near(1.0, 1.0001) && !near(1.0, 1.001));
    }

    #[test]
    fn what_holds_of_every_case_is_told() {
        for (wrong, words) in [
            ((|x| Value::from(x)) as fn(&DMatrix<f32>) -> Value, "is `x`, as it came"),
            (|x| Value::from(x * -2.0), "with the other sign"),
            (|x| Value::from(x.transpose() * 2.0), "transposed"),
            (|x| Value::from(x * 6.0), "times 3"),
            (|x| Value::from(x.map(|x| 4.0 * x * x)), "the square of the right one"),
            (
                |x| {
                    let (rows, columns) = x.shape();
                    Value::from(DMatrix::from_fn(rows, columns, |_, j| 2.0 * x[(0, j)]))
                },
                "the first row of the right one, in every row",
            ),
            (|x| Value::from((x * 2.0).add_scalar(1.0)), "too large by 1"),
            (
                |x| Value::from(x * 2.0 * (x.ncols() as f32).sqrt()),
                "times the root of the width of `x`",
            ),
            (|x| Value::from((x * 2.0).insert_row(0, 0.0)), "1 row too many"),
            (|x| Value::from(x * f32::NAN), "hold NaN"),
            (|_| Value::Refused("no".to_owned()), "your function gives an error"),
            (
                |x| {
                    let (rows, columns) = x.shape();
                    let turned = |i, j| 2.0 * x[(i, (j + 2) % columns)];
                    Value::from(DMatrix::from_fn(rows, columns, turned))
                },
                "the right columns, in another order",
            ),
            (
                |x| {
                    let first =
                        |i: usize, j: usize| if i == 0 { 0.0 } else { 2.0 * x[(i, j)] };
                    Value::from(DMatrix::from_fn(x.nrows(), x.ncols(), first))
                },
                "is wrong it is 0",
            ),
        ] {
            let told = told("y", wrong);
            assert!(told.contains(words), "{words:?} is not in {told:?}");
        }
    }

    #[test]
    fn what_was_given_and_is_added_is_told() {
        let same_shape = |rows: usize| -> (DMatrix<f32>, DMatrix<f32>) {
            let number = |i: usize, j: usize| ((3 * i + 5 * j + rows) % 7) as f32 - 3.0;
            let matrix = |start| DMatrix::from_fn(rows, 2, |i, j| number(i + start, j));
            (matrix(0), matrix(3))
        };
        let given: Vec<Vec<(String, Value)>> = (1..6)
            .map(|rows| vec![("x".to_owned(), Value::from(same_shape(rows).0))])
            .collect();
        let features: Vec<Features> = given.iter().map(|g| Features::of(g)).collect();
        let answers = |plus: f32| -> Vec<Outcome> {
            let one = |rows: usize| {
                let (x, y) = same_shape(rows);
                outcome(|| Answer::of("y", y + x * plus))
            };
            (1..6).map(one).collect()
        };
        let (mine, right) = (answers(-1.0), answers(0.0));
        let cases = (0..5).map(|at| WrongCase {
            given: &given[at],
            features: &features[at],
            mine: &mine[at],
            right: &right[at],
        });
        let told = seen(&cases.collect::<Vec<_>>()).told;
        assert_eq!(told, ["Your `y` is the right one minus `x`."]);
    }

    #[test]
    fn nothing_is_told_that_does_not_hold() {
        let told = told("y", |x| Value::from(x.map(|x| x * x + 0.25)));
        assert_eq!(told, "");
    }
}
