//! The questions of a chapter, asked one by one.

use std::io::{BufRead, Write};

use anyhow::Result;

use crate::{
    course::Course,
    page::{self, Question},
    text,
};

/// Asks what was missed before, or else everything.
///
/// # Errors
/// When there is no such chapter, or its page cannot be read.
pub(crate) fn quiz(course: &Course, name: Option<&str>) -> Result<()> {
    let mut progress = course.progress()?;
    let chapter = match (name, &progress.chapter) {
        (Some(name), _) => course.chapter(name)?,
        (None, Some(here)) => course.chapter(here)?,
        (None, None) => course.choose(None)?.chapter,
    };
    let all = page::questions(course, chapter)?;
    let missed = progress.missed.get(&chapter.name).cloned().unwrap_or_default();
    let again: Vec<&Question> =
        all.iter().filter(|q| missed.contains(&q.asked)).collect();
    let asked = if again.is_empty() { all.iter().collect() } else { again };
    if asked.is_empty() {
        anstream::println!("{} has no questions", chapter.folder);
        return Ok(());
    }
    if !missed.is_empty() {
        anstream::println!("{}", text::dim("what you missed last time:"));
    }
    let mut known = 0;
    for (number, question) in asked.iter().enumerate() {
        let head = format!("{} of {}. {}", number + 1, asked.len(), question.asked);
        anstream::println!("\n{}", text::bold(&text::wrapped(&head, 0)));
        let Some(_) = prompt("think, then press Enter for the answer ")? else { break };
        anstream::println!("\n{}\n", text::wrapped(&question.answer, 2));
        let Some(verdict) = prompt("did you have it? [y/n] ")? else { break };
        let missed = progress.missed.entry(chapter.name.clone()).or_default();
        if matches!(verdict.trim().to_lowercase().as_str(), "y" | "yes") {
            known += 1;
            missed.remove(&question.asked);
        } else {
            missed.insert(question.asked.clone());
        }
    }
    progress.missed.retain(|_, questions| !questions.is_empty());
    let left =
        progress.missed.get(&chapter.name).map_or(0, std::collections::BTreeSet::len);
    anstream::println!("\n{known} of {} known", asked.len());
    if left > 0 {
        anstream::println!(
            "{left} kept for next time: {}",
            text::command(&format!("cargo course quiz {}", chapter.name))
        );
    }
    if course.my.is_dir() {
        progress.write(&course.own())?;
    }
    Ok(())
}

/// A line of the reader's; nothing when there is no more.
fn prompt(text: &str) -> Result<Option<String>> {
    anstream::print!("{}", text::dim(text));
    std::io::stdout().flush()?;
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line)?;
    Ok((read > 0).then_some(line))
}
