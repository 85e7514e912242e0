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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use syllabus::{Blank, Exercise, Kind};

    use super::{filled, left_blank, sheet};

    fn exercise() -> Exercise {
        let blank = |name: &str, shape, prediction| {
            let (name, ask) = (name.to_owned(), "a number".to_owned());
            Blank { name, ask, shape, within: 0.01, prediction }
        };
        Exercise {
            name: "moon".to_owned(),
            kind: Kind::ByHand,
            title: "The row of moon".to_owned(),
            section: "by-hand".to_owned(),
            body: None,
            blank: vec![
                blank("guess", [1, 1], true),
                blank("row", [1, 3], false),
                blank("table", [2, 2], false),
            ],
            hints: Vec::new(),
            mistake: Vec::new(),
        }
    }

    #[test]
    fn a_sheet_is_blank_until_it_is_filled_in() {
        let exercise = exercise();
        let blank = sheet("attention/moon", &exercise);
        assert_eq!(left_blank(&blank, &exercise), ["guess", "row", "table"]);
        let half = filled("attention/moon", &exercise, |blank, row, column| {
            let number = format!("{row}.{column}");
            if blank.name == "row" && column == 1 { "nan".to_owned() } else { number }
        });
        assert_eq!(left_blank(&half, &exercise), ["row"]);
    }

    #[test]
    fn damaged_sheets_are_read_without_a_panic() {
        let exercise = exercise();
        let blank = sheet("attention/moon", &exercise);
        let full = filled("attention/moon", &exercise, |_, r, c| format!("{r}.{c}"));
        let good = [blank.as_bytes(), full.as_bytes()];
        proptest!(hostile::cases(), |(bytes in hostile::damaged(&good))| {
            let left = left_blank(&String::from_utf8_lossy(&bytes), &exercise);
            prop_assert!(left.len() <= exercise.blank.len());
        });
    }
}
