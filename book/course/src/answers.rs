//! The sheets that a reader fills in.

use syllabus::{BLANK, Blank, Exercise};

/// A sheet with its blanks left blank.
pub(crate) fn sheet(id: &str, exercise: &Exercise) -> String {
    filled(id, exercise, |_, _, _| BLANK.to_owned())
}

/// The blanks that are blank in a sheet; none where the text is no sheet.
pub(crate) fn left_blank(text: &str, exercise: &Exercise) -> Vec<String> {
    let Ok(table) = text.parse::<toml::Table>() else { return Vec::new() };
    let names = exercise.blank.iter().map(|blank| blank.name.clone());
    names.filter(|name| table.get(name).is_some_and(is_blank)).collect()
}

fn is_blank(value: &toml::Value) -> bool {
    match value {
        toml::Value::Array(values) => values.iter().any(is_blank),
        value => syllabus::is_blank(value),
    }
}

/// A sheet with something in its blanks: for a blank, a row and a column.
pub(crate) fn filled(
    id: &str,
    exercise: &Exercise,
    cell: impl Fn(&Blank, usize, usize) -> String,
) -> String {
    let mut text = format!(
        "# {}\n# Put a number in the place of each {BLANK} (\"not a number\"), such as 0.5 or -2, then:\n\
         # cargo course check {id}\n",
        exercise.title
    );
    for blank in &exercise.blank {
        let kind = if blank.prediction { "Predict first: " } else { "" };
        text += &format!("\n# {kind}{}\n{} = ", blank.ask, blank.name);
        let [rows, columns] = blank.shape;
        let row = |row| {
            let cells: Vec<String> =
                (0..columns).map(|c| cell(blank, row, c)).collect();
            format!("[{}]", cells.join(", "))
        };
        text += &match (rows, columns) {
            (1, 1) => cell(blank, 0, 0),
            (1, _) => row(0),
            _ => {
                let rows: Vec<String> =
                    (0..rows).map(|r| format!("  {},\n", row(r))).collect();
                format!("[\n{}]", rows.concat())
            }
        };
        text.push('\n');
    }
    text
}
