//! Proves that a chapter's exercises do what they promise.

use std::{fmt, fs, path::Path};

use anyhow::{Context, Result, bail};
use syllabus::{Chapter, Heading, Kind, verdict::Finding};

use crate::{
    answer::{Answer, Tolerance, Value},
    draw::Choices,
    judge::judged_by,
    made::Made,
    oracle::Oracle,
    outcome::{Outcome, agree, outcome},
    sheet::Judged,
    task::{Exercises, Task},
    trial::{Cause, Trial},
};

/// What a chapter has at least.
const LEAST: usize = 4;

/// What was proved, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// A line for each exercise.
    pub exercises: Vec<Proved>,
}

/// What was proved of one exercise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// `attention/softmax`.
    pub id: String,
    /// What the reader does.
    pub kind: Kind,
    /// Mistakes that fail and are named as themselves.
    pub mistakes: usize,
    /// How many of them come with a case that hides them.
    pub hidden: usize,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for Proved { id, kind, mistakes, hidden } in &self.exercises {
            writeln!(
                f,
                "{id:<32} {kind:<12} {mistakes:>2} mistakes, {hidden:>2} hidden"
            )?;
        }
        Ok(())
    }
}

/// Proves for every exercise of the chapter in `folder` that `course.toml` and the code
/// tell of the same things, that the chapter's answer passes, that an unwritten one does
/// not, that each mistake fails and is named as itself, and that it is hidden where it is
/// said to be.
///
/// # Errors
/// All that does not hold.
pub fn prove(folder: impl AsRef<Path>, exercises: &Exercises) -> Result<Proof> {
    let folder = folder.as_ref();
    let chapter = Chapter::open(folder)?.context("there is no course.toml")?;
    let mut wrong = Vec::new();
    if chapter.exercises.len() < LEAST {
        wrong.push(format!("a chapter has at least {LEAST} exercises"));
    }
    for kind in [Kind::ByHand, Kind::Implement, Kind::Investigate] {
        if !chapter.exercises.iter().any(|exercise| exercise.kind == kind) {
            wrong.push(format!("no exercise is of the kind `{kind}`"));
        }
    }
    for task in exercises.iter() {
        if chapter.exercise(task.name()).is_none() {
            wrong.push(format!("`{}` is not in course.toml", task.name()));
        }
    }
    let anchors = anchors(&folder.join("../..").join(chapter.prose()))?;
    let mut proof = Proof::default();
    for exercise in &chapter.exercises {
        let Some(task) = exercises.find(&exercise.name) else {
            wrong.push(format!("`{}` is not in tests/it/course.rs", exercise.name));
            continue;
        };
        let judged = Judged { blanks: &exercise.blank, oracle: task };
        let task = if exercise.blank.is_empty() { task } else { &judged };
        let oracle = Oracle::of(task);
        let subject = Subject { exercise, task, oracle: &oracle };
        let id = chapter.id(exercise);
        let complaints = [
            subject.sections(&anchors),
            subject.kind(),
            subject.blanks(),
            subject.passes(),
            subject.starter_fails(),
            subject.slips(),
            subject.mistakes(),
        ];
        wrong.extend(complaints.concat().into_iter().map(|why| format!("{id}: {why}")));
        let (kind, mistakes) = (exercise.kind, exercise.mistake.len());
        let hidden = exercise.mistake.iter().filter(|m| m.hidden_by.is_some()).count();
        proof.exercises.push(Proved { id, kind, mistakes, hidden });
    }
    if wrong.is_empty() { Ok(proof) } else { bail!("{}", wrong.join("\n")) }
}

/// One exercise, as `course.toml` tells of it and as the code does.
struct Subject<'a> {
    exercise: &'a syllabus::Exercise,
    task: &'a dyn Task,
    oracle: &'a Oracle<'a>,
}

impl Subject<'_> {
    fn sections(&self, anchors: &[String]) -> Vec<String> {
        let sections = self.exercise.mistake.iter().filter_map(|m| m.section.as_ref());
        let dead = [&self.exercise.section].into_iter().chain(sections);
        dead.filter(|section| !anchors.contains(section))
            .map(|section| format!("the page has no section `{section}`"))
            .collect()
    }

    fn kind(&self) -> Vec<String> {
        let (told, is) = (self.exercise.kind, self.task.kind());
        let differ = told != is;
        differ
            .then(|| {
                format!("is `{told}` in course.toml, `{is}` in tests/it/course.rs")
            })
            .into_iter()
            .collect()
    }

    /// The blanks are the parts of the answer, by name and shape.
    fn blanks(&self) -> Vec<String> {
        if self.exercise.blank.is_empty() {
            return Vec::new();
        }
        let Outcome::Gave(Answer(parts)) = self.task.answer(&[]) else {
            return vec!["the chapter's answer panics".to_owned()];
        };
        let wanted = self.exercise.blank.iter().filter(|blank| !blank.prediction);
        let wanted: Vec<_> =
            wanted.map(|blank| (blank.name.clone(), Some(blank.shape))).collect();
        let shape = |value: &Value| match value {
            Value::Numbers(matrix) => Some(matrix.shape().into()),
            _ => None,
        };
        let found: Vec<_> =
            parts.iter().map(|(name, value)| (name.clone(), shape(value))).collect();
        let differ = wanted != found;
        let why = || format!("the blanks are {wanted:?}, the answer has {found:?}");
        differ.then(why).into_iter().collect()
    }

    fn passes(&self) -> Vec<String> {
        let passed = Trial::of(self.task, self.oracle).cause() == Cause::Right;
        let failed = (!passed).then(|| "the chapter's answer fails".to_owned());
        let panics = self.oracle.right.iter().find_map(Outcome::panic);
        let panics = panics
            .map(|panic| format!("the chapter's answer panics: {}", panic.message));
        let stopped = |(name, outcome): (String, Outcome)| {
            let panic = outcome.panic()?;
            Some(format!("step `{name}` panics: {}", panic.message))
        };
        let steps = self.oracle.cases.iter().flat_map(|case| self.task.steps(case));
        failed
            .into_iter()
            .chain(panics)
            .chain(steps.filter_map(stopped).take(1))
            .collect()
    }

    fn starter_fails(&self) -> Vec<String> {
        let starter = Instead { task: self.task, answer: &|_| outcome(|| todo!()) };
        let (verdict, _) = judged_by(&starter, self.oracle);
        let failed = matches!(verdict.finding, Finding::Unwritten { .. });
        let passed = !failed;
        passed.then(|| "a `todo!()` is not seen".to_owned()).into_iter().collect()
    }

    /// Without a slip, and with every dial at 0, the answer is right; each wrong setting
    /// changes it somewhere, by itself or beside another.
    fn slips(&self) -> Vec<String> {
        let Oracle { cases, right, .. } = self.oracle;
        let none = Made::none(self.task.dials());
        let is_right = |made: &Made| {
            let mut pairs = cases.iter().zip(right);
            pairs.all(|(case, right)| made.gives(self.oracle, case, right))
        };
        let attends = none.iter().filter(|made| !is_right(made));
        let attends = attends.map(|_| "its steps, taken rightly, give another answer");
        let idle = Made::dialed(self.task.dials(), 1).filter(is_right);
        let idle = idle.filter(|made| !self.changes_beside_another(made));
        let idle = idle.map(|made| format!("`{}` makes nothing wrong", made.names[0]));
        attends.map(str::to_owned).chain(idle).collect()
    }

    fn changes_beside_another(&self, made: &Made) -> bool {
        let dials = self.task.dials();
        Made::dialed(dials, 1).any(|other| {
            let both = made.beside(&other);
            self.oracle.cases.iter().any(|case| {
                let [one, two] =
                    [&both, &other].map(|made| made.answer(self.oracle, case));
                !self.oracle.agree(&one, &two)
            })
        })
    }

    fn mistakes(&self) -> Vec<String> {
        let names = self.task.mistakes();
        let mut wrong = Vec::new();
        if names.is_empty() {
            wrong.push("no mistake is catalogued".to_owned());
        }
        for mistake in &self.exercise.mistake {
            if !names.contains(&mistake.name.as_str()) {
                wrong.push(format!(
                    "mistake `{}` is not in tests/it/course.rs",
                    mistake.name
                ));
            }
        }
        for (which, name) in names.iter().enumerate() {
            wrong.extend(
                self.mistake(which, name).map(|why| format!("mistake `{name}` {why}")),
            );
        }
        wrong
    }

    fn mistake(&self, which: usize, name: &str) -> Option<String> {
        let Some(told) = self.exercise.mistake(name) else {
            return Some("is not in course.toml".to_owned());
        };
        let answers = self.oracle.mistaken[which].clone();
        match Trial::with(answers, self.oracle).cause() {
            Cause::Mistakes(named) if named == [which] => {}
            Cause::Right => return Some("passes".to_owned()),
            Cause::Mistakes(named) => {
                let taken = self.task.mistakes()[named[0]];
                return Some(format!("is taken for `{taken}`"));
            }
            Cause::Slips(_) | Cause::Partly(_) => {
                return Some("is not recognized".to_owned());
            }
        }
        match (&told.hidden_by, self.task.hidden(which)) {
            (None, None) => None,
            (Some(_), None) => {
                Some("has no case that hides it in tests/it/course.rs".to_owned())
            }
            (None, Some(_)) => Some("needs `hidden_by` in course.toml".to_owned()),
            (Some(words), Some([right, mistaken])) => {
                let hidden = agree(&mistaken, &right, |part| self.task.tolerance(part))
                    && matches!(right, Outcome::Gave(_));
                (!hidden).then(|| format!("is not hidden by {words}"))
            }
        }
    }
}

/// A task with another answer.
struct Instead<'a> {
    task: &'a dyn Task,
    answer: &'a dyn Fn(&[u32]) -> Outcome,
}

impl Task for Instead<'_> {
    fn name(&self) -> &str {
        self.task.name()
    }

    fn kind(&self) -> Kind {
        self.task.kind()
    }

    fn tolerance(&self, part: &str) -> Tolerance {
        self.task.tolerance(part)
    }

    fn answer(&self, case: &[u32]) -> Outcome {
        (self.answer)(case)
    }

    fn draw(&self, seed: u64, reach: f32) -> Choices {
        self.task.draw(seed, reach)
    }
}

/// The headings of the page, as mdBook links to them.
fn anchors(page: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(page)
        .with_context(|| format!("cannot read the page {}", page.display()))?;
    Ok(text.lines().filter_map(Heading::of).map(Heading::anchor).collect())
}
