//! Says in words what was found.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use syllabus::{
    Chapter,
    verdict::{Example, Finding, Known, ONLY_SOMETIMES, Pair, Shown, Stopped, Verdict},
};

use crate::{
    build,
    course::{Chosen, Course},
    manifests, page,
    run::Ending,
    starter::{self, Target},
    table::{show, show_given, show_prediction},
    text::{bold, command, dim, listed, right, wrapped, wrong},
};

/// Lines of what the reader's code prints that are shown.
const PRINTED: usize = 40;

/// What the reader's code printed.
#[derive(Debug, Default)]
pub(crate) struct Printed {
    /// For the case that is shown.
    pub shown: Vec<String>,
    /// Whether it printed for others.
    pub more: bool,
}

/// Warns of the first build, which takes a minute.
pub(crate) fn patience(course: &Course, chapter: &Chapter, functions: bool) {
    let name = if functions {
        manifests::check_name(course, chapter)
    } else {
        manifests::oracle_name(chapter)
    };
    if !build::was_built(course, &name) {
        anstream::eprintln!(
            "{}",
            dim("the first check builds the chapter, which takes a minute or so")
        );
    }
}

/// A whole chapter is told a line at a time.
pub(crate) fn in_a_line(chosen: Chosen, verdict: &Verdict) {
    let what = match &verdict.finding {
        Finding::Right { .. } => right("right"),
        Finding::Blank { .. } => dim("to be filled in"),
        Finding::Unwritten { .. } => dim("to be written"),
        Finding::Mistaken { mistakes, .. } => {
            wrong(&format!("wrong: {}", mistakes.join(" and ")))
        }
        Finding::Illegible { .. } => wrong("cannot be read"),
        Finding::Wrong { example, .. } if example.stopped.is_some() => wrong("panics"),
        Finding::Wrong { .. } => wrong("wrong"),
    };
    anstream::println!("{:<32} {what}", chosen.id());
}

/// A check that came to no verdict, and the case at which it stopped.
pub(crate) fn stopped(chosen: Chosen, ending: &Ending, case: Option<&[Shown]>) {
    anstream::println!("{} {}", wrong("✗"), bold(&chosen.id()));
    let text = match ending {
        Ending::Endless(patience) => format!(
            "It did not end within {} seconds. Look for a loop that nothing stops, or for              one that runs over numbers where it should run over tokens.",
            Duration::as_secs(patience)
        ),
        Ending::OutOfMemory(bytes) => format!(
            "Your code asked for more memory than there is{}. Look for a size that is a              difference gone below zero, or a product of the wrong two sizes.",
            bytes
                .as_ref()
                .map_or(String::new(), |bytes| format!(": {bytes} bytes at once"))
        ),
        Ending::StackOverflow => {
            "Your code ran out of stack: a function calls itself, \
             directly or through another, and nothing ends that."
                .to_owned()
        }
        Ending::Exited(code) => format!(
            "Your code ended the program (exit code {code}) before the check was done.              Look for `std::process::exit`: a function that cannot go on returns an error."
        ),
        Ending::Killed(how) => format!(
            "The operating system ended the check ({how}). That is most often memory: look              for a vector or matrix that grows without end."
        ),
        Ending::Well | Ending::Failed(_) | Ending::Interrupted => return,
    };
    anstream::println!("{}", wrapped(&text, 2));
    if let Some(given) = case {
        anstream::println!("\n  It happened on this case:\n");
        show_given(given);
    }
}

/// What the reader's code printed, beside the case that it was printed for.
fn tell_printed(printed: &Printed) {
    let Printed { shown, more } = printed;
    let lines: Vec<&String> = shown.iter().collect();
    let used =
        lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    if used > 0 {
        anstream::println!("\n    {}", dim("your code printed for it"));
        for line in lines.iter().take(used.min(PRINTED)) {
            anstream::println!("      {line}");
        }
        if used > PRINTED {
            anstream::println!(
                "      {}",
                dim(&format!("… {} lines more", used - PRINTED))
            );
        }
    } else if *more {
        let text = "Your code prints, but not for this case.";
        anstream::println!("\n{}", dim(&wrapped(text, 4)));
    }
}

/// The function is right, and others that it calls are not.
pub(crate) fn fault_of_others(chosen: Chosen, others: &[String]) {
    anstream::println!(
        "{} {}: {}",
        wrong("✗"),
        bold(&chosen.id()),
        chosen.exercise.title
    );
    let text = format!(
        "Yours is right by itself: with the chapter's own functions around it, it gives the \
         right answer in every case. What is wrong comes from {}, which it calls.",
        others.join(" and ")
    );
    anstream::println!("{}", wrapped(&text, 2));
    if let Some(first) = others.first() {
        let check = command(&format!("cargo course check {first}"));
        anstream::println!("\n  mend that first: {check}");
    }
}

/// The function is wrong, and so are others that it calls.
pub(crate) fn fault_of_others_too(chosen: Chosen, others: &[String]) {
    let text = format!(
        "{} calls {}, not right yet either. What follows is what is wrong with it alone, \
         with the chapter's own functions around it.",
        chosen.id(),
        others.join(" and ")
    );
    anstream::println!("{}", wrapped(&text, 0));
}

/// Others that the function calls are wrong, and whether it is cannot be seen.
pub(crate) fn others_are_wrong(chosen: Chosen, others: &[String]) {
    let text = format!(
        "{} calls {}, not right yet. What follows may come from there: mend that first.",
        chosen.id(),
        others.join(" and ")
    );
    anstream::println!("{}", wrapped(&text, 0));
}

/// Everything about one exercise.
///
/// # Errors
/// When the page cannot be read, to which a mistake points.
pub(crate) fn verdict(
    course: &Course,
    chosen: Chosen,
    verdict: &Verdict,
    printed: &Printed,
) -> Result<()> {
    let mark = if verdict.passed() { right("✓") } else { wrong("✗") };
    anstream::println!("{mark} {}: {}", bold(&chosen.id()), chosen.exercise.title);
    match &verdict.finding {
        Finding::Right { cases, predictions } => {
            tell_right(course, chosen, *cases, predictions)?;
        }
        Finding::Blank { blanks } => tell_blank(course, chosen, blanks),
        Finding::Illegible { message } => {
            let file = course.told(&course.sheet(chosen));
            anstream::println!("{}\n", wrapped(&format!("{file} cannot be read:"), 2));
            anstream::println!("{message}");
        }
        Finding::Unwritten { place, example } => {
            tell_unwritten(course, chosen, &place.file);
            if !example.answers.is_empty() {
                anstream::println!("\n  What is wanted, on a small case:\n");
                show(example);
            }
        }
        Finding::Mistaken { mistakes, says, example } => {
            tell_mistakes(course, chosen, mistakes, says)?;
            tell_smallest(course, chosen, example);
        }
        Finding::Wrong { known: Known { cases: 1, .. }, example } => {
            let text = "Not every number is right. What differs is marked.";
            anstream::println!("{}", wrapped(text, 2));
            tell_smallest(course, chosen, example);
        }
        Finding::Wrong { known, example } => {
            let text = format!(
                "Your answer differs in {} of {} cases, and no mistake that is known here \
                 explains all of them.",
                known.wrong, known.cases
            );
            anstream::println!("{}", wrapped(&text, 2));
            tell_known(chosen, known);
            tell_smallest(course, chosen, example);
        }
    }
    if !verdict.passed() {
        tell_printed(printed);
        let hint = command(&format!("cargo course hint {}", chosen.id()));
        anstream::println!("\n  stuck? {hint}");
    }
    Ok(())
}

/// What was done, and where to read.
fn tell_mistakes(
    course: &Course,
    chosen: Chosen,
    mistakes: &[String],
    of_any: &BTreeMap<String, String>,
) -> Result<()> {
    let told = |name: &String| chosen.exercise.mistake(name);
    let says = |name: &String| {
        let own = of_any.get(name).or_else(|| told(name).map(|told| &told.says));
        own.unwrap_or(name).clone()
    };
    if let [one] = mistakes {
        anstream::println!("{}", wrapped(&says(one), 2));
    } else if let [one, sometimes] = mistakes
        && sometimes == ONLY_SOMETIMES
    {
        for name in [one, sometimes] {
            anstream::println!("{}", wrapped(&says(name), 2));
        }
    } else {
        let text = "Several things at once, which together explain every case, or one that comes to \
             the same:";
        anstream::println!("{}", wrapped(text, 2));
        for (number, name) in mistakes.iter().enumerate() {
            anstream::println!(
                "{}",
                listed(&says(name), 2, &format!("{}. ", number + 1))
            );
        }
    }
    let section = mistakes.first().and_then(|name| told(name)?.section.as_ref());
    read_again(course, chosen, section.unwrap_or(&chosen.exercise.section))
}

/// What holds of some cases, and what holds of all.
fn tell_known(chosen: Chosen, known: &Known) {
    let Known { wrong, partly, seen, .. } = known;
    for partly in partly {
        let told = chosen.exercise.mistake(&partly.mistake);
        let says = told.map_or(partly.mistake.as_str(), |told| &told.says);
        let how_many = if partly.gives == *wrong {
            format!("In all {wrong}")
        } else {
            format!("In {} of the {wrong}", partly.gives)
        };
        let others = match partly.spared {
            0 => String::new(),
            spared => format!(
                " (In {spared} others it would be wrong, too, and yours is right: if it is \
                 this, it happens only sometimes.)"
            ),
        };
        let text =
            format!("{how_many}, yours is what this mistake gives: “{says}”{others}");
        anstream::println!("\n{}", wrapped(&text, 2));
    }
    if !seen.is_empty() {
        anstream::println!("\n  What the cases show:");
        for sentence in seen {
            anstream::println!("{}", listed(sentence, 2, "- "));
        }
    }
}

fn tell_panic(course: &Course, chosen: Chosen, stopped: &Stopped) {
    let Stopped { message, place, .. } = stopped;
    let line = place.line as usize;
    let source = course.source_of(chosen.chapter, &place.file);
    let function = source.as_ref().and_then(|text| starter::function_at(text, line));
    let code = source.as_ref().and_then(|text| text.lines().nth(line.checked_sub(1)?));
    let text = match (&function, &code) {
        (Some(function), Some(_)) => format!("`{function}` panics in line {line}:"),
        (None, Some(_)) => format!("{} panics in line {line}:", place.file),
        (_, None) => {
            "What yours gave makes the check panic. Is its shape right?".to_owned()
        }
    };
    anstream::println!("\n{}", wrapped(&text, 4));
    if let Some(code) = code {
        anstream::println!("\n      {}\n", bold(code.trim()));
    }
    anstream::println!("{}", wrapped(message, 6));
}

fn tell_right(
    course: &Course,
    chosen: Chosen,
    cases: usize,
    predictions: &[Pair],
) -> Result<()> {
    if cases > 1 {
        anstream::println!(
            "  The same as the chapter's on {cases} cases, the odd ones too."
        );
    } else {
        anstream::println!("  Right.");
    }
    if !predictions.is_empty() {
        anstream::println!("\n  What you predicted, beside what is so:\n");
        for pair in predictions {
            show_prediction(pair);
        }
    }
    let progress = course.progress()?;
    let open = chosen.chapter.exercises.iter().find(|exercise| {
        !progress.is_done(&chosen.chapter.id(exercise))
            && exercise.name != chosen.exercise.name
    });
    match open {
        Some(next) => {
            anstream::println!("\n  next: {}", bold(&chosen.chapter.id(next)));
        }
        None => anstream::println!(
            "\n  The chapter is done. {}",
            command("cargo course quiz")
        ),
    }
    Ok(())
}

fn tell_blank(course: &Course, chosen: Chosen, blanks: &[String]) {
    let file = course.told(&course.sheet(chosen));
    let text = match blanks {
        [one] => format!("Still to be filled in, in {file}: {one}."),
        all => format!("Still to be filled in, in {file}: {}.", all.join(", ")),
    };
    anstream::println!("{}", wrapped(&text, 2));
    for blank in
        chosen.exercise.blank.iter().filter(|blank| blanks.contains(&blank.name))
    {
        let predict = if blank.prediction { "predict " } else { "" };
        anstream::println!(
            "{}",
            wrapped(&format!("{}: {predict}{}", blank.name, blank.ask), 4)
        );
    }
}

fn tell_unwritten(course: &Course, chosen: Chosen, function: &str) {
    let Some(body) = &chosen.exercise.body else { return };
    let target = Target::of(body, &chosen.chapter.path);
    let file = course.mine(chosen.chapter).join(&target.file);
    let line = course.text(chosen, &target.file).ok().and_then(|text| {
        let function = starter::find(&text, &target.name).ok()?;
        Some(text[..function.body.start].matches('\n').count() + 1)
    });
    let place = line
        .map_or(course.told(&file), |line| format!("{}:{line}", course.told(&file)));
    let text = if function == target.name {
        format!("`{}` is not written yet. It waits in {place}.", target.name)
    } else {
        let other = chosen.chapter.exercises.iter().find(|exercise| {
            exercise.body.as_ref().is_some_and(|body| {
                Target::of(body, &chosen.chapter.path).name == function
            })
        });
        let id = other.map_or(function.to_owned(), |other| chosen.chapter.id(other));
        format!(
            "`{}` calls `{function}`, which is not written yet: do {id} first.",
            target.name
        )
    };
    anstream::println!("{}", wrapped(&text, 2));
}

fn read_again(course: &Course, chosen: Chosen, section: &str) -> Result<()> {
    let heading = page::heading(course, chosen.chapter, section)?;
    let text =
        format!("Read again: \"{heading}\" ({}#{section})", chosen.chapter.page());
    anstream::println!("\n{}", dim(&wrapped(&text, 2)));
    Ok(())
}

fn tell_smallest(course: &Course, chosen: Chosen, example: &Example) {
    if !example.given.is_empty() {
        anstream::println!("\n  The smallest case that shows it:");
    }
    anstream::println!();
    show(example);
    if let Some(stopped) = &example.stopped {
        tell_panic(course, chosen, stopped);
    }
}
