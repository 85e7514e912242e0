//! Says in words, and in small tables, what was found.

use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use syllabus::{
    Chapter, Kind,
    verdict::{Example, Finding, Pair, Table, Verdict},
};

use crate::{
    build,
    course::{Chosen, Course},
    files, manifests, page,
    starter::Target,
};

/// Columns of text.
const WIDTH: usize = 78;

/// Rows and columns of a table that are shown.
const LARGEST: usize = 8;

fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

fn color(color: AnsiColor) -> Style {
    color.on_default()
}

pub(crate) fn bold(text: &str) -> String {
    styled(Style::new().bold(), text)
}

pub(crate) fn dim(text: &str) -> String {
    styled(Style::new().dimmed(), text)
}

/// Something to type.
pub(crate) fn command(text: &str) -> String {
    styled(color(AnsiColor::Cyan), text)
}

pub(crate) fn right(text: &str) -> String {
    styled(color(AnsiColor::Green).bold(), text)
}

pub(crate) fn wrong(text: &str) -> String {
    styled(color(AnsiColor::Red).bold(), text)
}

/// Lines that fit, indented.
pub(crate) fn wrapped(text: &str, indent: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.trim().split("\n\n") {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let width = line.chars().count() + 1 + word.chars().count();
            if !line.is_empty() && indent + width > WIDTH {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
        lines.push(line);
    }
    let indented = lines.iter().map(|line| format!("{:indent$}{line}", ""));
    indented.collect::<Vec<_>>().join("\n")
}

/// Warns of the first build, which takes a minute.
pub(crate) fn patience(course: &Course, chapter: &Chapter, functions: bool) {
    let name = if functions {
        manifests::check_name(chapter)
    } else {
        manifests::oracle_name(chapter)
    };
    if !build::was_built(course, &name) && std::io::stderr().is_terminal() {
        anstream::eprintln!(
            "{}",
            dim("the first check builds the chapter: a minute or so …")
        );
    }
}

/// A whole chapter is told a line at a time.
pub(crate) fn in_a_line(chosen: Chosen, verdict: &Verdict) {
    let what = match &verdict.finding {
        Finding::Right { .. } => right("right"),
        Finding::Blank { .. } => dim("to be filled in"),
        Finding::Unwritten { .. } => dim("to be written"),
        Finding::Mistaken { mistake, .. } => wrong(&format!("wrong: {mistake}")),
        Finding::Illegible { .. } => wrong("cannot be read"),
        Finding::Panicked { .. } => wrong("panics"),
        Finding::Wrong { .. } => wrong("wrong"),
    };
    anstream::println!("{:<32} {what}", chosen.id());
}

pub(crate) fn endless(chosen: Chosen) {
    anstream::println!("{} {}", wrong("✗"), bold(&chosen.id()));
    let text = "It did not end within a minute. Look for a loop that nothing stops.";
    anstream::println!("{}", wrapped(text, 2));
}

/// What the reader's code printed, on many cases, so only the beginning of it.
pub(crate) fn printed(lines: &[&str]) {
    let lines: Vec<&&str> = lines.iter().filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return;
    }
    anstream::println!("{}", dim("your code printed:"));
    for line in lines.iter().take(LARGEST) {
        anstream::println!("  {line}");
    }
    if lines.len() > LARGEST {
        let more =
            format!("  … and {} lines more, on other cases", lines.len() - LARGEST);
        anstream::println!("{}", dim(&more));
    }
}

/// Everything about one exercise.
///
/// # Errors
/// When the page cannot be read, to which a mistake points.
pub(crate) fn verdict(
    course: &Course,
    chosen: Chosen,
    verdict: &Verdict,
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
        Finding::Mistaken { mistake, left, example } => {
            let told = chosen.exercise.mistake(mistake);
            let says = told.map_or(mistake.as_str(), |told| &told.says);
            anstream::println!("{}", wrapped(says, 2));
            let section = told.and_then(|told| told.section.as_ref());
            if *left > 0 {
                let text = format!(
                    "That is not all: {left} more cases are wrong in another way. Mend \
                     this first, then check again."
                );
                anstream::println!("\n{}", wrapped(&text, 2));
            }
            read_again(course, chosen, section.unwrap_or(&chosen.exercise.section))?;
            tell_smallest(example);
        }
        Finding::Panicked { message, place, example } => {
            let text = match place.file.split_once("/registry/src/") {
                Some((_, file)) => {
                    let file = file.split_once('/').map_or(file, |(_, file)| file);
                    format!(
                        "A function that yours calls panics, or one that takes what \
                         yours gave, in `{file}`. Is its length right?"
                    )
                }
                None => format!("`{}` panics in line {}:", place.file, place.line),
            };
            anstream::println!("{}", wrapped(&text, 2));
            anstream::println!("{}", wrapped(message, 4));
            tell_open_before(course, chosen)?;
            tell_smallest(example);
        }
        Finding::Wrong { wrong, cases, example } => {
            let text = match *cases {
                1 => "Not every number is right. What differs is marked.".to_owned(),
                _ => format!(
                    "Your answer is another on {wrong} of {cases} cases, and none of the \
                     mistakes that are known here gives it."
                ),
            };
            anstream::println!("{}", wrapped(&text, 2));
            tell_open_before(course, chosen)?;
            tell_smallest(example);
        }
    }
    if !verdict.passed() {
        let hint = command(&format!("cargo course hint {}", chosen.id()));
        anstream::println!("\n  stuck? {hint}");
    }
    Ok(())
}

/// A function may call those of earlier exercises, and their mistakes look like its own.
fn tell_open_before(course: &Course, chosen: Chosen) -> Result<()> {
    let Chosen { chapter, exercise } = chosen;
    if exercise.kind != Kind::Implement {
        return Ok(());
    }
    let progress = crate::progress::Progress::read(course)?;
    let before = chapter.exercises.iter().take_while(|one| one.name != exercise.name);
    let open: Vec<String> = before
        .filter(|one| one.kind == Kind::Implement)
        .map(|one| chapter.id(one))
        .filter(|id| !progress.is_done(id))
        .collect();
    if !open.is_empty() {
        let (are, it) = if open.len() == 1 { ("is", "it") } else { ("are", "them") };
        let open = open.join(" and ");
        let text =
            format!("{open} {are} not right yet. If this needs {it}, begin there.");
        anstream::println!("\n{}", wrapped(&text, 2));
    }
    Ok(())
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
    let progress = crate::progress::Progress::read(course)?;
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
    let line = files::read(&file).ok().and_then(|text| {
        let function = crate::starter::find(&text, &target.name).ok()?;
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

fn tell_smallest(example: &Example) {
    if !example.given.is_empty() {
        anstream::println!("\n  The smallest case that shows it:");
    }
    anstream::println!();
    show(example);
}

/// An example, part by part.
fn show(example: &Example) {
    for given in &example.given {
        if let [row] = &given.table.rows[..]
            && let [one] = &row[..]
        {
            anstream::println!("    {}: {one}", given.name);
        } else {
            anstream::println!("    {}", given.name);
            for line in lines(&given.table, None) {
                anstream::println!("      {line}");
            }
        }
    }
    for (title, pairs) in [("on the way", &example.steps), ("", &example.answers)] {
        if !title.is_empty() && !pairs.is_empty() {
            anstream::println!("\n    {}", dim(title));
        }
        for pair in pairs {
            show_pair(pair);
        }
    }
}

/// One part of an answer.
pub(crate) fn answer(pair: &Pair) {
    show_pair(pair);
}

fn show_pair(pair: &Pair) {
    let mark = if pair.agrees { "" } else { " ≠" };
    let name = format!("{}{}", pair.name, if pair.got.is_some() { mark } else { "" });
    anstream::println!("    {}", bold(&name));
    let expected = pair.expected.as_ref().map(|table| lines(table, None));
    let got = pair.got.as_ref().map(|table| lines(table, pair.expected.as_ref()));
    let [expected_shape, got_shape] = shapes(pair);
    let columns = match (expected, got) {
        (Some(both), Some(_)) if pair.agrees => vec![("the same", both)],
        (Some(expected), Some(got)) => {
            vec![(&*expected_shape, expected), (&*got_shape, got)]
        }
        (Some(expected), None) => vec![("expected", expected)],
        (None, Some(got)) => vec![("got", got)],
        (None, None) => Vec::new(),
    };
    show_columns(&columns);
}

/// The titles of what is expected and what came, with their shapes where these differ:
/// among numbers that are wrong as well, few see that a row is missing.
fn shapes(pair: &Pair) -> [String; 2] {
    let shape = |table: &Table| {
        let cells = table.rows.iter().flatten();
        let numbers = cells.clone().all(|cell| cell.parse::<f32>().is_ok());
        numbers.then(|| (table.rows.len(), table.rows.first().map_or(0, Vec::len)))
    };
    let [expected, got] =
        [&pair.expected, &pair.got].map(|table| table.as_ref().and_then(shape));
    match (expected, got) {
        (Some((rows, columns)), Some((r, c))) if (rows, columns) != (r, c) => {
            [format!("expected, {rows} × {columns}"), format!("got, {r} × {c}")]
        }
        _ => ["expected", "got"].map(str::to_owned),
    }
}

/// A prediction is never wrong, and seldom the same.
fn show_prediction(pair: &Pair) {
    anstream::println!("    {}", bold(&pair.name));
    let column = |title, table: &Option<_>| Some((title, lines(table.as_ref()?, None)));
    let columns = [column("you said", &pair.got), column("it is", &pair.expected)];
    show_columns(&columns.into_iter().flatten().collect::<Vec<_>>());
}

/// Side by side, if they are narrow enough.
fn show_columns(columns: &[(&str, Vec<String>)]) {
    let widths: Vec<usize> = columns
        .iter()
        .map(|(title, lines)| {
            let widest = lines.iter().map(|line| visible(line)).max();
            widest.unwrap_or(0).max(title.chars().count())
        })
        .collect();
    if widths.iter().sum::<usize>() + 3 * widths.len() + 6 > WIDTH {
        // Too wide to stand side by side.
        for (title, lines) in columns {
            anstream::println!("      {}", dim(title));
            for line in lines {
                anstream::println!("      {line}");
            }
        }
        return;
    }
    let height = columns.iter().map(|(_, lines)| lines.len()).max().unwrap_or(0);
    let padded = |text: &str, width: usize| {
        format!("{text}{:1$}", "", width.saturating_sub(visible(text)))
    };
    let join = |cells: Vec<String>| cells.join("   ").trim_end().to_owned();
    let titles = columns.iter().zip(&widths).map(|((title, _), w)| padded(title, *w));
    anstream::println!("      {}", dim(&join(titles.collect())));
    for row in 0..height {
        let cells = columns.iter().zip(&widths).map(|((_, lines), width)| {
            padded(lines.get(row).map_or("", String::as_str), *width)
        });
        anstream::println!("      {}", join(cells.collect()));
    }
}

/// Characters that take up room: all but those of colors.
fn visible(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().chars().count()
}

/// The rows of a table, aligned. What differs from `beside` is red, and marked for those
/// who see no red.
fn lines(table: &Table, beside: Option<&Table>) -> Vec<String> {
    let columns = table.rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = table.rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell: &String| cell.chars().count()).max().unwrap_or(0)
    };
    let differs = |row: usize, column: usize, cell: &str| {
        beside.is_some_and(|other| {
            other
                .rows
                .get(row)
                .and_then(|row| row.get(column))
                .is_none_or(|c| c != cell)
        })
    };
    let line = |(r, row): (usize, &Vec<String>)| {
        let cells = row.iter().enumerate().take(LARGEST).map(|(c, cell)| {
            let width = width(c);
            let padded = format!("{cell:>width$}");
            if differs(r, c, cell) { wrong(&padded) } else { padded }
        });
        let more = if columns > LARGEST { " …" } else { "" };
        cells.collect::<Vec<_>>().join("  ") + more
    };
    let mut lines: Vec<String> =
        table.rows.iter().enumerate().take(LARGEST).map(line).collect();
    if table.rows.len() > LARGEST {
        lines.push("…".to_owned());
    }
    lines
}
