//! Panics, caught with their words and the way to them.

use std::{
    backtrace::Backtrace,
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    sync::Once,
};

use syllabus::verdict::Place;

/// What a panic said, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Panic {
    /// Its words.
    pub message: String,
    /// The line that panicked.
    pub place: Place,
    /// The lines that led there, the innermost first. Only kept while [`traced`] runs.
    pub frames: Vec<Place>,
}

/// What a panic is about, as far as its words tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unwritten,
    DoesNotFit,
    DividesByZero,
    Overflows,
    Unwraps,
    Other,
}

impl Panic {
    /// Whether it comes from a `todo!()`.
    pub(crate) fn is_todo(&self) -> bool {
        self.kind() == Kind::Unwritten
    }

    /// Whether both are about the same thing. Where one multiplication panics, another one
    /// that is wrong in the same way may say so in other words.
    pub(crate) fn is_like(&self, other: &Panic) -> bool {
        let kind = self.kind();
        kind == other.kind() && (kind != Kind::Other || self.message == other.message)
    }

    fn kind(&self) -> Kind {
        let words = self.message.to_lowercase();
        let has = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
        if words.starts_with("not yet implemented") {
            Kind::Unwritten
        } else if has(&["divide by zero", "divisor of zero"]) {
            Kind::DividesByZero
        } else if has(&["overflow"]) {
            Kind::Overflows
        } else if has(&["called `option::", "called `result::"]) {
            Kind::Unwraps
        } else if has(&[
            "dimension",
            "mismatch",
            "out of bounds",
            "out of range",
            "shape",
            "slice length",
            "same length",
            "same number of",
            "source slice",
        ]) {
            Kind::DoesNotFit
        } else {
            Kind::Other
        }
    }
}

/// Panics as a product of matrices does that do not fit: what a mistake gives that leaves
/// out a check.
///
/// # Panics
/// Always.
#[track_caller]
pub fn does_not_fit() -> ! {
    panic!("dimensions mismatch")
}

thread_local! {
    static LAST: RefCell<Panic> = RefCell::default();
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static TRACED: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Runs `give`, and keeps a panic to itself.
pub(crate) fn catch<T>(give: impl FnOnce() -> T) -> Result<T, Panic> {
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if QUIET.get() {
                LAST.replace(Panic::of(info));
            } else {
                usual(info);
            }
        }));
    });
    let was_quiet = QUIET.replace(true);
    let gave = panic::catch_unwind(AssertUnwindSafe(give));
    QUIET.set(was_quiet);
    gave.map_err(|_| LAST.take())
}

/// Runs `give`; a panic that is caught in it keeps the way to it, which takes a while.
pub(crate) fn traced<T>(give: impl FnOnce() -> T) -> T {
    let was_traced = TRACED.replace(true);
    let gave = give();
    TRACED.set(was_traced);
    gave
}

impl Panic {
    fn of(info: &PanicHookInfo) -> Panic {
        let place = |at: &panic::Location| Place {
            file: at.file().to_owned(),
            line: at.line(),
        };
        Panic {
            message: info
                .payload_as_str()
                .unwrap_or("a panic without words")
                .to_owned(),
            place: info.location().map_or_else(Place::default, place),
            frames: if TRACED.get() { frames() } else { Vec::new() },
        }
    }
}

/// The lines on the stack, read off the text of a backtrace: its frames are not public.
fn frames() -> Vec<Place> {
    let text = Backtrace::force_capture().to_string();
    let at = text.lines().filter_map(|line| line.trim_start().strip_prefix("at "));
    at.filter_map(|place| {
        let (place, _column) = place.rsplit_once(':')?;
        let (file, line) = place.rsplit_once(':')?;
        let file = file.trim_start_matches("./").to_owned();
        Some(Place { file, line: line.parse().ok()? })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::{Panic, catch, traced};

    #[test]
    fn a_panic_is_caught_with_its_words_and_its_place() {
        let panic = catch(|| todo!("write `softmax`")).unwrap_err();
        assert!(panic.is_todo());
        assert_eq!(panic.message, "not yet implemented: write `softmax`");
        assert!(panic.place.file.ends_with("panic.rs") && panic.place.line > 50);
    }

    #[test]
    fn the_way_to_a_panic_is_kept_where_it_is_asked_for() {
        let stop = || catch(|| Vec::<f32>::new()[1]).unwrap_err();
        assert!(stop().frames.is_empty());
        let frames = traced(stop).frames;
        assert!(frames.iter().any(|f| f.file.ends_with("src/panic.rs")), "{frames:?}");
    }

    #[test]
    fn a_panic_inside_another_is_caught_as_well() {
        let both = catch(|| {
            let inner = catch(|| panic!("inner")).unwrap_err();
            panic!("{} and outer", inner.message)
        });
        assert_eq!(both.unwrap_err().message, "inner and outer");
    }

    #[test]
    fn panics_are_told_apart_by_what_they_are_about() {
        let panic =
            |message: &str| Panic { message: message.to_owned(), ..Panic::default() };
        let slicing = panic("Matrix slicing out of bounds.");
        assert!(
            slicing.is_like(&panic("gemm: dimensions mismatch for multiplication."))
        );
        assert!(!slicing.is_like(&panic("attempt to subtract with overflow")));
        assert!(!slicing.is_like(&panic("not yet implemented")));
        assert!(!panic("one").is_like(&panic("another")));
    }
}
