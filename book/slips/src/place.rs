//! Where numbers differ, in words.

use nalgebra::DMatrix;

/// Where the numbers of a matrix (tokens, heads · width) are wrong, or those of a map per
/// head.
pub(crate) fn place(wrong: &[DMatrix<bool>], heads: usize) -> String {
    let mut said = Vec::new();
    if wrong.len() > 1 {
        let of_heads = some(wrong.len(), |h| wrong[h].iter().any(|wrong| *wrong));
        said.extend(which(&of_heads, "head"));
    }
    let (rows, columns) = wrong.first().map_or((0, 0), DMatrix::shape);
    let of_rows = some(rows, |i| wrong.iter().any(|one| one.row(i).iter().any(|w| *w)));
    said.extend(which(&of_rows, "token"));
    let of_columns =
        some(columns, |j| wrong.iter().any(|one| one.column(j).iter().any(|w| *w)));
    if wrong.len() > 1 {
        said.extend(which(&of_columns, "key"));
    } else if heads > 1 && columns.is_multiple_of(heads) {
        let width = columns / heads;
        let of_heads =
            some(heads, |h| of_columns[h * width..][..width].contains(&true));
        said.extend(which(&of_heads, "head"));
        let within = some(width, |i| (0..heads).any(|h| of_columns[h * width + i]));
        said.extend(features(&within).map(|words| format!("{words} of each head")));
    } else {
        said.extend(features(&of_columns));
    }
    match said.len() {
        0 => "everywhere".to_owned(),
        _ => said.join(", "),
    }
}

fn some(count: usize, is: impl Fn(usize) -> bool) -> Vec<bool> {
    (0..count).map(is).collect()
}

fn features(wrong: &[bool]) -> Option<String> {
    let (n, half) = (wrong.len(), wrong.len() / 2);
    let is = |of: &dyn Fn(usize) -> bool| (0..n).all(|i| wrong[i] == of(i));
    if n > 2 && is(&|i| i >= half) {
        Some("the second half".to_owned())
    } else if n > 2 && is(&|i| i < half) {
        Some("the first half".to_owned())
    } else if n > 2 && is(&|i| i % 2 == 1) {
        Some("every second feature".to_owned())
    } else if n > 2 && is(&|i| i % 2 == 0) {
        Some("every second feature, from the first".to_owned())
    } else {
        which(wrong, "feature")
    }
}

/// Which of some numbered things; nothing, if it is all of them.
fn which(wrong: &[bool], thing: &str) -> Option<String> {
    let at: Vec<usize> = (0..wrong.len()).filter(|i| wrong[*i]).collect();
    let (first, last) = (*at.first()?, *at.last()?);
    let one_run = last - first + 1 == at.len();
    Some(match at.len() {
        all if all == wrong.len() => return None,
        1 => format!("{thing} {first}"),
        _ if one_run && last + 1 == wrong.len() && first > 0 => {
            format!("all {thing}s after {}", first - 1)
        }
        _ if one_run => format!("{thing}s {first} to {last}"),
        2..=4 => {
            let named: Vec<String> = at.iter().map(ToString::to_string).collect();
            let (last, others) = named.split_last()?;
            format!("{thing}s {} and {last}", others.join(", "))
        }
        some if wrong.len() - some <= 3 => {
            let right: Vec<String> = (0..wrong.len())
                .filter(|i| !wrong[*i])
                .map(|i| i.to_string())
                .collect();
            format!("all {thing}s but {}", right.join(", "))
        }
        some => format!("{some} of {} {thing}s", wrong.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::place;
    use nalgebra::DMatrix;

    fn of(rows: usize, columns: usize, is: impl Fn(usize, usize) -> bool) -> String {
        place(&[DMatrix::from_fn(rows, columns, is)], 4)
    }

    #[test]
    fn patterns_have_words() {
        assert_eq!(of(3, 8, |_, _| true), "everywhere");
        assert_eq!(of(3, 8, |i, _| i > 0), "all tokens after 0");
        assert_eq!(of(9, 8, |i, _| i == 4), "token 4");
        assert_eq!(of(3, 8, |_, j| j >= 4), "all heads after 1");
        assert_eq!(of(3, 16, |_, j| j % 4 > 1), "the second half of each head");
        let maps = [true, false].map(|wrong| DMatrix::from_element(2, 2, wrong));
        assert_eq!(place(&maps, 1), "head 0");
    }
}
