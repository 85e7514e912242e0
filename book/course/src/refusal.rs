//! What does not compile: the compiler's words, and whose they are.

use std::path::Path;

use syllabus::Chapter;

use crate::{
    build::Message,
    course::{Chosen, Course},
    files,
    starter::{self, Target},
    text::{command, wrapped},
};

/// Passes the compiler's words on, with a line about whose they are.
pub(crate) fn tell(course: &Course, chosen: Chosen, messages: &[Message]) {
    let id = chosen.id();
    let is_ours = |message: &&Message| {
        let file = message.place.as_ref().map(|(file, _)| course.my.join(file));
        file.is_some_and(|file| {
            let inside = course.root.join("chapters").canonicalize();
            let file = file.canonicalize().unwrap_or(file);
            inside.is_ok_and(|inside| file.starts_with(inside))
        })
    };
    let (of_the_check, own): (Vec<&Message>, Vec<&Message>) =
        messages.iter().partition(is_ours);
    let changed = changed(course, chosen.chapter);
    let mut belongs = Vec::new();
    for message in &own {
        let place = message.place.as_ref();
        let exercise = place
            .and_then(|(file, line)| exercise_at(course, chosen.chapter, file, *line));
        // Whoever uses a name that is gone follows from that it is gone.
        if exercise.is_some() || changed.is_empty() {
            anstream::print!("{}", message.rendered);
        }
        if let Some(id) = exercise
            && !belongs.contains(&id)
        {
            belongs.push(id);
        }
    }
    for words in &changed {
        anstream::println!("{}", wrapped(words, 0));
    }
    let whose = match (&belongs[..], &changed[..]) {
        ([], [_, ..]) => {
            format!("{id} cannot be checked before that is mended.")
        }
        ([], []) if !of_the_check.is_empty() => {
            for message in &of_the_check {
                anstream::print!("{}", message.rendered);
            }
            "These are lines of the check. It uses the names and types that the chapter has, \
             and one of them is another now in yours."
                .to_owned()
        }
        ([], []) => format!(
            "This is no exercise's own line, but {id} cannot be checked before it compiles."
        ),
        ([one], _) if *one == id => format!("This belongs to {id}."),
        (others, _) => format!(
            "This belongs to {}. The chapter is one crate, so {id} cannot be checked before \
             it compiles.",
            others.join(" and ")
        ),
    };
    anstream::println!("{}", wrapped(&whose, 0));
}

/// The functions of exercises whose names or signatures are no longer the chapter's.
fn changed(course: &Course, chapter: &Chapter) -> Vec<String> {
    let one = |exercise: &syllabus::Exercise| {
        let target = Target::of(exercise.body.as_ref()?, &chapter.path);
        let reference = files::read(&chapter.path.join(&target.file)).ok()?;
        let file = course.mine(chapter).join(&target.file);
        let text = files::read(&file).ok()?;
        let wanted = starter::find(&reference, &target.name).ok()?;
        let wanted = starter::signature(&reference, &wanted);
        let reset = command(&format!("cargo course reset {}", chapter.id(exercise)));
        let name = &target.name;
        let file = course.told(&file);
        match starter::find(&text, name) {
            Err(_) => Some(format!(
                "The check calls `{name}`, and {file} has no such function any more. It is \
                 `{wanted}`. To have its starter back: {reset}"
            )),
            Ok(found) => {
                let found = starter::signature(&text, &found);
                (found != wanted).then(|| {
                    format!(
                        "The check calls `{name}` as the chapter declares it, `{wanted}`; in \
                         {file} it is `{found}`. To have its starter back: {reset}"
                    )
                })
            }
        }
    };
    chapter.exercises.iter().filter_map(one).collect()
}

/// The exercise whose function stands at a line, even where the file is not Rust.
fn exercise_at(
    course: &Course,
    chapter: &Chapter,
    file: &str,
    line: usize,
) -> Option<String> {
    let text = course.source_of(chapter, file)?;
    let functions = chapter.exercises.iter().filter_map(|exercise| {
        let target = Target::of(exercise.body.as_ref()?, &chapter.path);
        let here = Path::new(&chapter.folder).join(&target.file);
        (here == Path::new(file)).then_some((exercise, target))
    });
    let functions: Vec<_> = functions.collect();
    if let Some(name) = starter::function_at(&text, line) {
        let found = functions.iter().find(|(_, target)| target.name == name);
        return found.map(|(exercise, _)| chapter.id(exercise));
    }
    // The nearest `fn name` above.
    let above: Vec<&str> = text.lines().take(line).collect();
    let nearest = above.iter().rev().find_map(|line| {
        let (_, rest) = line.split_once("fn ")?;
        Some(rest.split(['(', '<']).next()?.trim())
    })?;
    let found = functions.iter().find(|(_, target)| target.short() == nearest);
    found.map(|(exercise, _)| chapter.id(exercise))
}
