//! What a function gave, or where it stopped.

use std::{
    cell::RefCell,
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    sync::Once,
};

use syllabus::verdict::Place;

use crate::answer::{Answer, Tolerance, same};

/// What a function gave.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// An answer.
    Gave(Answer),
    /// It panicked.
    Stopped(Panic),
}

/// What a panic said, and where.
#[derive(Debug, Clone, Default)]
pub struct Panic {
    /// Its words.
    pub message: String,
    /// The line that panicked.
    pub place: Place,
}

impl Panic {
    /// Whether it comes from a `todo!()`.
    pub(crate) fn is_todo(&self) -> bool {
        self.message.starts_with("not yet implemented")
    }
}

thread_local! {
    static LAST: RefCell<Panic> = RefCell::default();
}

static HOOK: Once = Once::new();

/// Runs `give`, and keeps a panic to itself.
pub(crate) fn outcome(give: impl FnOnce() -> Answer) -> Outcome {
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.with_borrow(|quiet| *quiet) {
                return usual(info);
            }
            LAST.replace(Panic { message: message(info), place: place(info) });
        }));
    });
    QUIET.set(true);
    let gave = panic::catch_unwind(AssertUnwindSafe(give));
    QUIET.set(false);
    gave.map_or_else(|_| Outcome::Stopped(LAST.take()), Outcome::Gave)
}

thread_local! {
    static QUIET: RefCell<bool> = const { RefCell::new(false) };
}

fn message(info: &PanicHookInfo) -> String {
    info.payload_as_str().unwrap_or("a panic without words").to_owned()
}

fn place(info: &PanicHookInfo) -> Place {
    let place =
        |at: &panic::Location| Place { file: at.file().to_owned(), line: at.line() };
    info.location().map_or_else(Place::default, place)
}

/// Whether two outcomes are the same, part by part; a panic is as good as another.
pub(crate) fn agree(
    found: &Outcome,
    expected: &Outcome,
    tolerance: impl Fn(&str) -> Tolerance,
) -> bool {
    match (found, expected) {
        (Outcome::Gave(Answer(found)), Outcome::Gave(Answer(expected))) => {
            found.len() == expected.len()
                && found.iter().zip(expected).all(|((name, f), (wanted, e))| {
                    name == wanted && same(f, e, tolerance(name))
                })
        }
        (Outcome::Stopped(_), Outcome::Stopped(_)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, outcome};

    #[test]
    fn a_panic_is_caught_with_its_words_and_its_place() {
        let stopped = outcome(|| todo!("write `softmax`"));
        let Outcome::Stopped(panic) = stopped else { panic!("it gave {stopped:?}") };
        assert!(panic.is_todo());
        assert_eq!(panic.message, "not yet implemented: write `softmax`");
        assert!(panic.place.file.ends_with("outcome.rs") && panic.place.line > 50);
    }
}
