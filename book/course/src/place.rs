//! Where a program stopped, as a place in the reader's code.

use std::iter::once;

use syllabus::verdict::{Finding, Place, Stopped, Verdict};

use crate::{
    course::{Chosen, Course},
    starter,
};

/// Tells of a program that stopped where it stopped in the reader's code: the function that
/// is still to be written, and the line from which a panic came, though it be in a library.
pub(crate) fn where_it_stopped(
    course: &Course,
    chosen: Chosen,
    mut verdict: Verdict,
) -> Verdict {
    let chapter = chosen.chapter;
    match &mut verdict.finding {
        Finding::Unwritten { place, .. } => {
            let text = course.source_of(chapter, &place.file);
            let function =
                text.and_then(|text| starter::function_at(&text, place.line as usize));
            place.file = function.unwrap_or_else(|| place.file.clone());
        }
        Finding::Mistaken { example, .. } | Finding::Wrong { example, .. } => {
            if let Some(Stopped { place, frames, .. }) = &mut example.stopped {
                let all = once(&*place).chain(frames.iter());
                let mut own =
                    all.filter(|at| course.source_of(chapter, &at.file).is_some());
                if let Some(own) = own.next().cloned() {
                    *place = own;
                }
            }
        }
        _ => {}
    }
    verdict
}

/// A place in a copy of the reader's crate, in which other functions may have another
/// length, as one in the reader's own: by the function, and the line in it.
pub(crate) fn in_the_original(
    copy: &Course,
    original: &Course,
    chosen: Chosen,
    mut verdict: Verdict,
) -> Verdict {
    if let Finding::Mistaken { example, .. } | Finding::Wrong { example, .. } =
        &mut verdict.finding
        && let Some(Stopped { place, .. }) = &mut example.stopped
        && let Some(line) = line_in_the_original(copy, original, chosen, place)
    {
        place.line = line;
    }
    verdict
}

fn line_in_the_original(
    copy: &Course,
    original: &Course,
    chosen: Chosen,
    place: &Place,
) -> Option<u32> {
    let [copy, original] =
        [copy, original].map(|course| course.source_of(chosen.chapter, &place.file));
    let (copy, original) = (copy?, original?);
    let name = starter::function_at(&copy, place.line as usize)?;
    let first = |text: &str| {
        let function = starter::find(text, &name).ok()?;
        u32::try_from(text[..function.whole.start].matches('\n').count()).ok()
    };
    (place.line + first(&original)?).checked_sub(first(&copy)?)
}
