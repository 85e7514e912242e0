//! An exercise: cases, what the crate under test answers, and what people answer instead.

use std::borrow::Cow;

use slips::{Found, Headed, Way};
use syllabus::Kind;

use crate::{
    answer::{Answer, Tolerance, Value},
    draw::{Choices, Draw},
    outcome::{Outcome, outcome},
    panic::does_not_fit,
};

/// The rounding of some dozen sums and products of numbers up to 4.
const TOLERANCE: f32 = 1e-4;

/// The exercises of a chapter.
#[must_use]
#[derive(Default)]
pub struct Exercises(Vec<Box<dyn Task>>);

impl Exercises {
    /// None yet.
    pub fn new() -> Exercises {
        Exercises::default()
    }

    /// The same and one more.
    pub fn with<P: 'static>(mut self, exercise: Exercise<P>) -> Exercises {
        self.0.push(Box::new(exercise));
        self
    }

    /// One after the other.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &dyn Task> {
        self.0.iter().map(Box::as_ref)
    }

    /// The exercise of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&dyn Task> {
        self.iter().find(|task| task.name() == name)
    }
}

/// One exercise, whose cases are drawn as a `P`.
pub struct Exercise<P> {
    name: &'static str,
    kind: Kind,
    draw: fn(&mut Draw) -> P,
    answer: fn(&P) -> Answer,
    steps: Vec<Step<P>>,
    mistakes: Vec<Mistake<P>>,
    heads: Option<Heads<P>>,
    dialed: Option<Dialed<P>>,
    tolerance: f32,
}

/// Attention inside an exercise: what is looked at, and the answer that follows. The steps
/// before and after it may be dials.
struct Heads<P> {
    looks: Box<LooksBy<P>>,
    answer: Box<AnswerBy<P>>,
    dials: &'static [Dial],
}

/// What is looked at, by the settings of the dials.
type LooksBy<P> = dyn Fn(&P, &[usize]) -> Looks;

/// What follows from what was found, by the settings of the dials.
type AnswerBy<P> = dyn Fn(&P, &[Found], &[usize]) -> Answer;

/// What heads look at in a case.
#[derive(Debug, Clone)]
pub enum Looks {
    /// At these, one after the other.
    At(Vec<Headed>),
    /// At nothing: the case is refused, as it should be.
    Nothing,
    /// At what does not fit together: an error or a panic.
    Misfit,
}

/// One step of an answer, and the ways to take it: the right one first.
#[derive(Debug)]
pub struct Dial {
    /// What each is called and what is said of it, from the second on.
    pub wrong: &'static [(&'static str, &'static str)],
}

/// A dial with these wrong settings.
#[must_use]
pub const fn dial(wrong: &'static [(&'static str, &'static str)]) -> Dial {
    Dial { wrong }
}

/// An answer step by step.
struct Dialed<P> {
    dials: &'static [Dial],
    answer: fn(&P, &[usize]) -> Answer,
    reading: Option<fn(Answer) -> Answer>,
}

/// What an answer becomes with slips of attention.
#[derive(Debug, Clone)]
pub enum Slipped {
    /// Nothing is looked at in this case, so it is as it should be.
    Untouched,
    /// The sizes do not fit: an error or a panic.
    Misfit,
    /// That.
    Gave(Outcome),
}

struct Step<P> {
    name: &'static str,
    value: fn(&P) -> Value,
}

struct Mistake<P> {
    name: &'static str,
    answer: fn(&P) -> Answer,
    hidden_by: Option<fn() -> P>,
    reading: Option<fn(Answer) -> Answer>,
}

impl<P> Exercise<P> {
    /// A function to write. `draw` must not call what the reader has to write; `answer`
    /// calls it.
    #[must_use]
    pub fn implement(
        name: &'static str,
        draw: fn(&mut Draw) -> P,
        answer: fn(&P) -> Answer,
    ) -> Exercise<P> {
        Exercise::new(name, Kind::Implement, draw, answer)
    }

    fn new(
        name: &'static str,
        kind: Kind,
        draw: fn(&mut Draw) -> P,
        answer: fn(&P) -> Answer,
    ) -> Exercise<P> {
        Exercise {
            name,
            kind,
            draw,
            answer,
            steps: Vec::new(),
            mistakes: Vec::new(),
            heads: None,
            dialed: None,
            tolerance: TOLERANCE,
        }
    }

    /// Something that happens on the way, in order. It is shown and not judged.
    #[must_use]
    pub fn step(mut self, name: &'static str, value: fn(&P) -> Value) -> Self {
        self.steps.push(Step { name, value });
        self
    }

    /// What people answer instead. It may use the chapter's functions.
    #[must_use]
    pub fn mistake(mut self, name: &'static str, answer: fn(&P) -> Answer) -> Self {
        self.mistakes.push(Mistake { name, answer, hidden_by: None, reading: None });
        self
    }

    /// A case in which nobody would notice the mistake before.
    ///
    /// # Panics
    /// When no mistake was named yet.
    #[must_use]
    pub fn hidden_by(mut self, case: fn() -> P) -> Self {
        let mistake = self.mistakes.last_mut();
        mistake.expect("a mistake before the case that hides it").hidden_by =
            Some(case);
        self
    }

    /// What other answers come from the same mistake: those that `reading` turns into the
    /// one that it gives, as any large negative number is as wrong as another.
    ///
    /// # Panics
    /// When no mistake was named yet.
    #[must_use]
    pub fn reading(mut self, reading: fn(Answer) -> Answer) -> Self {
        let mistake = self.mistakes.last_mut();
        mistake.expect("a mistake before another reading of it").reading =
            Some(reading);
        self
    }

    /// Says what heads look at in a case, one after the other, or that none do since the
    /// case is refused; and what answer follows from what they find. The slips that people
    /// make in attention are then known without being catalogued, and two at once.
    #[must_use]
    pub fn attending(
        mut self,
        given: fn(&P) -> Option<Vec<Headed>>,
        answer: fn(&P, &[Found]) -> Answer,
    ) -> Self
    where
        P: 'static,
    {
        let looks =
            move |p: &P, _: &[usize]| given(p).map_or(Looks::Nothing, Looks::At);
        let answer = move |p: &P, found: &[Found], _: &[usize]| answer(p, found);
        let (looks, answer) = (Box::new(looks), Box::new(answer));
        self.heads = Some(Heads { looks, answer, dials: &[] });
        self
    }

    /// The same where the steps before and after attention may be taken wrongly: what the
    /// heads look at and what answer follows, by the settings of dials. A slip of attention
    /// and one of these steps are known at once.
    #[must_use]
    pub fn around(
        mut self,
        dials: &'static [Dial],
        looks: fn(&P, &[usize]) -> Looks,
        answer: fn(&P, &[Found], &[usize]) -> Answer,
    ) -> Self
    where
        P: 'static,
    {
        let (looks, answer) = (Box::new(looks), Box::new(answer));
        self.heads = Some(Heads { looks, answer, dials });
        self
    }

    /// Says how the answer is made step by step, each of which may be taken wrongly: what
    /// comes of the setting of each dial, where 0 is right. Every wrong setting, and every
    /// two of different dials, are then known without being catalogued.
    #[must_use]
    pub fn dials(
        mut self,
        dials: &'static [Dial],
        answer: fn(&P, &[usize]) -> Answer,
    ) -> Self {
        self.dialed = Some(Dialed { dials, answer, reading: None });
        self
    }

    /// What other answers come from the settings of dials: those that `reading` turns into
    /// the one that they give.
    ///
    /// # Panics
    /// When there are no dials yet.
    #[must_use]
    pub fn dials_reading(mut self, reading: fn(Answer) -> Answer) -> Self {
        let dialed = self.dialed.as_mut().expect("dials before a reading of them");
        dialed.reading = Some(reading);
        self
    }

    /// How far off a number may be, times the larger of 1 and the number itself.
    #[must_use]
    pub fn tolerance(mut self, tolerance: f32) -> Self {
        self.tolerance = tolerance;
        self
    }
}

impl Exercise<()> {
    /// Numbers to find with a pencil, under the names of the blanks.
    #[must_use]
    pub fn by_hand(name: &'static str, answer: fn(&()) -> Answer) -> Exercise<()> {
        Exercise::new(name, Kind::ByHand, |_| (), answer)
    }

    /// Numbers to find by trying, under the names of the blanks.
    #[must_use]
    pub fn investigate(name: &'static str, answer: fn(&()) -> Answer) -> Exercise<()> {
        Exercise::new(name, Kind::Investigate, |_| (), answer)
    }
}

/// An [`Exercise`], whatever its cases are. What is not said of one is that it has none.
#[doc(hidden)]
pub trait Task {
    /// Its name in the chapter.
    fn name(&self) -> &str;
    /// What the reader does.
    fn kind(&self) -> Kind;
    /// How far off the numbers of a part may be.
    fn tolerance(&self, part: &str) -> Tolerance;
    /// What the crate under test answers.
    fn answer(&self, case: &[u32]) -> Outcome;
    /// The choices behind a case that is drawn by chance.
    fn draw(&self, _seed: u64, _reach: f32) -> Choices {
        Choices::new()
    }
    /// What was drawn.
    fn given(&self, _case: &[u32]) -> Vec<(String, Value)> {
        Vec::new()
    }
    /// What happens on the way to the answer.
    fn steps(&self, _case: &[u32]) -> Vec<(String, Outcome)> {
        Vec::new()
    }
    /// The mistakes' names.
    fn mistakes(&self) -> Vec<&str> {
        Vec::new()
    }
    /// What a mistake answers.
    fn mistaken(&self, _which: usize, case: &[u32]) -> Outcome {
        self.answer(case)
    }
    /// An answer as a mistake reads it.
    fn read<'a>(&self, _which: usize, answer: &'a Outcome) -> Cow<'a, Outcome> {
        Cow::Borrowed(answer)
    }
    /// How many heads there are at most in this case, if attention is part of it.
    fn heads(&self, _case: &[u32]) -> Option<usize> {
        None
    }
    /// What becomes of the answer if attention goes that way, and the steps around it as
    /// the dials are set.
    fn slipped(&self, _case: &[u32], _way: &Way, _settings: &[usize]) -> Slipped {
        Slipped::Untouched
    }
    /// Whether the dials are steps around attention.
    fn is_around_attention(&self) -> bool {
        false
    }
    /// The steps that may be taken wrongly.
    fn dials(&self) -> &'static [Dial] {
        &[]
    }
    /// An answer as the dials read it.
    fn read_dialed<'a>(&self, answer: &'a Outcome) -> Cow<'a, Outcome> {
        Cow::Borrowed(answer)
    }
    /// What comes of the settings of the dials.
    fn dialed(&self, case: &[u32], _settings: &[usize]) -> Outcome {
        self.answer(case)
    }
    /// The right answer and a mistake's where it is hidden, if there is such a case.
    fn hidden(&self, _which: usize) -> Option<[Outcome; 2]> {
        None
    }
}

impl<P> Task for Exercise<P> {
    fn name(&self) -> &str {
        self.name
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn tolerance(&self, _part: &str) -> Tolerance {
        Tolerance::Relative(self.tolerance)
    }

    fn draw(&self, seed: u64, reach: f32) -> Choices {
        let mut draw = Draw::by_chance(seed, reach);
        (self.draw)(&mut draw);
        draw.made()
    }

    fn given(&self, case: &[u32]) -> Vec<(String, Value)> {
        let mut draw = Draw::again(case);
        (self.draw)(&mut draw);
        draw.drawn()
    }

    fn answer(&self, case: &[u32]) -> Outcome {
        outcome(|| (self.answer)(&(self.draw)(&mut Draw::again(case))))
    }

    fn steps(&self, case: &[u32]) -> Vec<(String, Outcome)> {
        let step = |Step { name, value }: &Step<P>| {
            let give = || Answer::of(name, value(&(self.draw)(&mut Draw::again(case))));
            ((*name).to_owned(), outcome(give))
        };
        self.steps.iter().map(step).collect()
    }

    fn mistakes(&self) -> Vec<&str> {
        self.mistakes.iter().map(|mistake| mistake.name).collect()
    }

    fn mistaken(&self, which: usize, case: &[u32]) -> Outcome {
        let answer = self.mistakes[which].answer;
        outcome(|| answer(&(self.draw)(&mut Draw::again(case))))
    }

    fn read<'a>(&self, which: usize, answer: &'a Outcome) -> Cow<'a, Outcome> {
        read_by(self.mistakes[which].reading, answer)
    }

    fn heads(&self, case: &[u32]) -> Option<usize> {
        let heads = self.heads.as_ref()?;
        let right = vec![0; heads.dials.len()];
        let looks = (heads.looks)(&(self.draw)(&mut Draw::again(case)), &right);
        let Looks::At(given) = looks else { return Some(0) };
        Some(given.iter().map(|given| given.heads).max().unwrap_or(0))
    }

    fn slipped(&self, case: &[u32], way: &Way, settings: &[usize]) -> Slipped {
        let case = (self.draw)(&mut Draw::again(case));
        let Some(Heads { looks, answer, .. }) = &self.heads else {
            return Slipped::Untouched;
        };
        let given = match looks(&case, settings) {
            Looks::At(given) => given,
            Looks::Nothing => return Slipped::Untouched,
            Looks::Misfit => return Slipped::Misfit,
        };
        let found = given.iter().map(|given| given.found(way));
        match found.collect::<Option<Vec<_>>>() {
            Some(found) => Slipped::Gave(outcome(|| answer(&case, &found, settings))),
            None => Slipped::Misfit,
        }
    }

    fn is_around_attention(&self) -> bool {
        self.heads.as_ref().is_some_and(|heads| !heads.dials.is_empty())
    }

    fn dials(&self) -> &'static [Dial] {
        match (&self.dialed, &self.heads) {
            (Some(dialed), _) => dialed.dials,
            (None, Some(heads)) => heads.dials,
            (None, None) => &[],
        }
    }

    fn read_dialed<'a>(&self, answer: &'a Outcome) -> Cow<'a, Outcome> {
        read_by(self.dialed.as_ref().and_then(|dialed| dialed.reading), answer)
    }

    fn dialed(&self, case: &[u32], settings: &[usize]) -> Outcome {
        match &self.dialed {
            Some(Dialed { answer, .. }) => {
                outcome(|| answer(&(self.draw)(&mut Draw::again(case)), settings))
            }
            None => match self.slipped(case, &Way::default(), settings) {
                Slipped::Gave(given) => given,
                Slipped::Untouched => self.answer(case),
                Slipped::Misfit => outcome(|| does_not_fit()),
            },
        }
    }

    fn hidden(&self, which: usize) -> Option<[Outcome; 2]> {
        let Mistake { answer, hidden_by, .. } = &self.mistakes[which];
        let case = (*hidden_by)?();
        Some([self.answer, *answer].map(|answer| outcome(|| answer(&case))))
    }
}

/// An answer as a reading turns it, if there is one.
fn read_by(
    reading: Option<fn(Answer) -> Answer>,
    answer: &Outcome,
) -> Cow<'_, Outcome> {
    match (reading, answer) {
        (Some(reading), Outcome::Gave(answer)) => {
            Cow::Owned(Outcome::Gave(reading(answer.clone())))
        }
        _ => Cow::Borrowed(answer),
    }
}
