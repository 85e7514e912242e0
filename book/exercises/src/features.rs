//! What the cases of an exercise have in common: sizes, masks, odd numbers. From what the
//! wrong ones share and the right ones lack, a reader sees where to look.

use std::collections::{BTreeMap, BTreeSet};

use crate::answer::Value;

/// What is given in one case.
pub(crate) type Given = [(String, Value)];

/// What can be said of one case: numbers by what they count, and what is so.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Features {
    /// Three rows of `q`: `the number of rows of …` is 3.
    pub sizes: BTreeMap<String, f32>,
    /// `` `mask` is Causal ``.
    pub facts: BTreeSet<String>,
}

impl Features {
    /// Reads the features off what is given.
    pub(crate) fn of(given: &Given) -> Features {
        let mut features = Features::default();
        for (name, value) in given {
            features.facts.insert(format!("there is `{name}`"));
            match value {
                Value::Numbers(matrix) => {
                    // A list whose name lists names.
                    let names: Vec<&str> = name.split(", ").collect();
                    if names.len() > 1 && matrix.shape() == (1, names.len()) {
                        for (name, number) in names.iter().zip(matrix.iter()) {
                            features.sizes.insert(format!("`{name}`"), *number);
                        }
                    } else {
                        features.read_matrix(name, matrix);
                    }
                }
                Value::Words(words) => features.read_words(name, words),
                Value::Refused(_) | Value::Stopped(_) => {}
            }
        }
        features
    }

    fn read_matrix(&mut self, name: &str, matrix: &nalgebra::DMatrix<f32>) {
        let (rows, columns) = matrix.shape();
        self.sizes.insert(format!("the number of rows of `{name}`"), rows as f32);
        self.sizes.insert(format!("the width of `{name}`"), columns as f32);
        if let (1, 1) = (rows, columns) {
            self.sizes.insert(format!("`{name}`"), matrix[0]);
        }
        let some = |is: fn(f32) -> bool| matrix.iter().any(|number| is(*number));
        for (is_so, words) in [
            (some(f32::is_nan), "holds NaN"),
            (some(|x| x == f32::INFINITY), "holds +inf"),
            (some(|x| x == f32::NEG_INFINITY), "holds -inf"),
            (some(|x| x.is_finite() && x.abs() > 30.0), "holds large numbers"),
            (some(|x| x < 0.0), "holds negative numbers"),
            (matrix.is_empty(), "is empty"),
        ] {
            if is_so {
                self.facts.insert(format!("`{name}` {words}"));
            }
        }
        let hides = if name.starts_with("mask") { 0.0 } else { f32::NEG_INFINITY };
        if columns > 0 && matrix.row_iter().any(|row| row.iter().all(|x| *x == hides)) {
            self.facts.insert(format!("a row of `{name}` is hidden throughout"));
        }
    }

    /// `Causal { offset: 2 }` is a kind and a size; `Halves, Neighbors` two kinds.
    fn read_words(&mut self, name: &str, words: &str) {
        let names: Vec<&str> = name.split(", ").collect();
        let listed: Vec<&str> = words.split(", ").collect();
        if names.len() == listed.len() {
            for (name, word) in names.iter().zip(&listed) {
                let kind = word.split([' ', '{', '(']).next().unwrap_or_default();
                self.facts.insert(format!("`{name}` is {kind}"));
            }
        }
        for (key, value) in
            words.split(['{', '}', ',']).filter_map(|field| field.split_once(':'))
        {
            if let Ok(number) = value.trim().parse() {
                self.sizes.insert(format!("`{}`", key.trim()), number);
            }
        }
    }
}

/// Something that is so in some cases, in words.
struct Condition {
    words: String,
    holds: Vec<bool>,
}

/// Cases that tell nothing: a condition says more than chance when it keeps so many of
/// the right ones out.
const ENOUGH: usize = 3;

/// Where the wrong cases are: a condition that all of them meet, and few of the others.
pub(crate) fn where_wrong(features: &[Features], right: &[bool]) -> Option<String> {
    let wrong = right.iter().filter(|right| !**right).count();
    let all_right = right.len() - wrong;
    let conditions = conditions(features);
    let fits = |condition: &&Condition| {
        condition.holds.iter().zip(right).all(|(holds, right)| *holds || *right)
    };
    let fitting: Vec<&Condition> = conditions.iter().filter(fits).collect();
    let met = |holds: &dyn Fn(usize) -> bool| {
        (0..right.len()).filter(|case| right[*case] && holds(*case)).count()
    };
    let best =
        fitting.iter().min_by_key(|condition| met(&|case| condition.holds[case]))?;
    let also = met(&|case| best.holds[case]);
    if all_right - also < ENOUGH {
        return None;
    }
    if also == 0 {
        return Some(format!(
            "It is wrong exactly where {}: in all {wrong} such cases, and in no other.",
            best.words
        ));
    }
    let both = fitting.iter().enumerate().find_map(|(at, one)| {
        let two = fitting[at + 1..]
            .iter()
            .find(|two| met(&|case| one.holds[case] && two.holds[case]) == 0)?;
        Some((one, two))
    });
    if let Some((one, two)) = both
        && wrong >= ENOUGH
    {
        return Some(format!(
            "It is wrong exactly where {} and {}: in all {wrong} such cases, and in no \
             other.",
            one.words, two.words
        ));
    }
    (also <= 2 * wrong).then(|| {
        format!(
            "It is wrong only where {}: in {wrong} of the {} such cases, and in none of \
             the {} others.",
            best.words,
            wrong + also,
            all_right - also
        )
    })
}

/// Everything that may be said of the cases, the simpler things first.
fn conditions(features: &[Features]) -> Vec<Condition> {
    let of = |words: String, holds: &dyn Fn(&Features) -> bool| Condition {
        words,
        holds: features.iter().map(holds).collect(),
    };
    let facts: BTreeSet<&String> = features.iter().flat_map(|f| &f.facts).collect();
    let mut all: Vec<Condition> = Vec::new();
    for fact in facts {
        all.push(of(fact.clone(), &|f| f.facts.contains(fact)));
        let without = fact
            .strip_prefix("there is ")
            .map(|name| format!("there is no {name}"))
            .or_else(|| fact.split_once(" is ").map(|(a, b)| format!("{a} is not {b}")))
            .or_else(|| {
                fact.split_once(" holds ").map(|(a, b)| format!("{a} holds no {b}"))
            })
            .unwrap_or_else(|| format!("it is not so that {fact}"));
        all.push(of(without, &|f| !f.facts.contains(fact)));
    }
    let names: BTreeSet<&String> =
        features.iter().flat_map(|f| f.sizes.keys()).collect();
    let names: Vec<&String> = names.into_iter().collect();
    let is = |name: &String, holds: &dyn Fn(f32) -> bool, f: &Features| {
        f.sizes.get(name).is_some_and(|size| holds(*size))
    };
    for name in &names {
        let values = features.iter().filter_map(|f| f.sizes.get(*name).copied());
        let mut values: Vec<f32> = values.collect();
        values.sort_by(f32::total_cmp);
        values.dedup();
        for value in values.iter().take(8) {
            all.push(of(format!("{name} is more than {value}"), &|f| {
                is(name, &|s| s > *value, f)
            }));
            all.push(of(format!("{name} is {value}"), &|f| {
                is(name, &|s| s == *value, f)
            }));
            all.push(of(format!("{name} is less than {value}"), &|f| {
                is(name, &|s| s < *value, f)
            }));
        }
    }
    for (at, one) in names.iter().enumerate() {
        for two in &names[at + 1..] {
            let compare = |holds: &dyn Fn(f32, f32) -> bool, f: &Features| {
                let (one, two) = (f.sizes.get(*one), f.sizes.get(*two));
                one.zip(two).is_some_and(|(one, two)| holds(*one, *two))
            };
            all.push(of(format!("{one} and {two} differ"), &|f| {
                compare(&|a, b| a != b, f)
            }));
            all.push(of(format!("{one} and {two} are the same"), &|f| {
                compare(&|a, b| a == b, f)
            }));
            all.push(of(format!("{one} is more than {two}"), &|f| {
                compare(&|a, b| a > b, f)
            }));
            all.push(of(format!("{one} is less than {two}"), &|f| {
                compare(&|a, b| a < b, f)
            }));
        }
    }
    for sum in &names {
        for (at, one) in names.iter().enumerate() {
            for two in &names[at + 1..] {
                let sizes = |f: &Features| {
                    let size = |name: &String| f.sizes.get(name).copied();
                    size(sum).zip(size(one).zip(size(two)))
                };
                if sum != one && sum != two {
                    all.push(of(
                        format!("{sum} is more than {one} and {two} together"),
                        &|f| sizes(f).is_some_and(|(sum, (one, two))| sum > one + two),
                    ));
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{Features, where_wrong};
    use crate::answer::Value;
    use nalgebra::DMatrix;

    fn case(tokens: usize, offset: usize) -> Features {
        Features::of(&[
            ("mask".to_owned(), Value::from(format!("Causal {{ offset: {offset} }}"))),
            ("x".to_owned(), Value::from(DMatrix::repeat(tokens, 2, 1.0))),
        ])
    }

    #[test]
    fn what_the_wrong_cases_share_is_found() {
        let cases: Vec<(usize, usize)> =
            (1..5).flat_map(|n| (0..4).map(move |offset| (n, offset))).collect();
        let features: Vec<Features> = cases.iter().map(|(n, o)| case(*n, *o)).collect();
        let told = |right: fn(usize, usize) -> bool| {
            let right: Vec<bool> = cases.iter().map(|(n, o)| right(*n, *o)).collect();
            where_wrong(&features, &right).unwrap_or_default()
        };
        assert!(
            told(|_, offset| offset == 0)
                .contains("exactly where `offset` is more than 0")
        );
        let both = told(|n, offset| offset == 0 || n < 3);
        assert!(
            both.contains("`offset` is more than 0") && both.contains(" and "),
            "{both}"
        );
        assert_eq!(told(|_, _| false), "");
    }

    #[test]
    fn words_are_kinds_and_sizes() {
        let features = case(3, 2);
        assert!(features.facts.contains("`mask` is Causal"));
        assert_eq!(features.sizes["`offset`"], 2.0);
        assert_eq!(features.sizes["the number of rows of `x`"], 3.0);
        let two = [("from, to".to_owned(), Value::from("Halves, Neighbors"))];
        assert!(Features::of(&two).facts.contains("`to` is Neighbors"));
    }
}
