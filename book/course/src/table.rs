//! Cases and answers as small tables, side by side where there is room.

use syllabus::verdict::{Example, Pair, Shown, Table};

use crate::text::{bold, dim, visible, width, wrong};

/// Rows and columns of a table that are shown.
const LARGEST: usize = 8;

/// An example, part by part.
pub(crate) fn show(example: &Example) {
    show_given(&example.given);
    for (title, pairs) in [("on the way", &example.steps), ("", &example.answers)] {
        if !title.is_empty() && !pairs.is_empty() {
            anstream::println!("\n    {}", dim(title));
        }
        for pair in pairs {
            show_pair(pair);
        }
    }
}

/// What a case is made of.
pub(crate) fn show_given(given: &[Shown]) {
    for Shown { name, table } in given {
        if let [row] = &table.rows[..]
            && let [one] = &row[..]
        {
            anstream::println!("    {name}: {one}");
        } else {
            anstream::println!("    {name}");
            for line in lines(table, None) {
                anstream::println!("      {line}");
            }
        }
    }
}

/// One part of an answer.
pub(crate) fn show_pair(pair: &Pair) {
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
pub(crate) fn show_prediction(pair: &Pair) {
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
    if widths.iter().sum::<usize>() + 3 * widths.len() + 6 > width() {
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
