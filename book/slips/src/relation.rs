//! What numbers have become, where no slip explains them.

use nalgebra::DMatrix;

/// A relation between a matrix (tokens, heads · width) and the right one, in words that
/// follow "is ours".
pub(crate) fn relation(
    yours: &DMatrix<f32>,
    ours: &DMatrix<f32>,
    heads: usize,
    within: f32,
) -> Option<String> {
    let same = |one: &DMatrix<f32>| {
        one.shape() == yours.shape()
            && one.iter().zip(yours).all(|(a, b)| (a - b).abs() <= within)
    };
    if same(&ours.transpose()) {
        return Some("transposed".to_owned());
    }
    if ours.len() == yours.len() && ours.shape() != yours.shape() {
        let (rows, columns) = yours.shape();
        let in_rows =
            DMatrix::from_row_slice(rows, columns, ours.transpose().as_slice());
        return same(&in_rows)
            .then(|| "in another shape, its numbers in order".to_owned());
    }
    if ours.shape() != yours.shape() {
        return None;
    }
    if yours.iter().all(|x| *x == 0.0) {
        return Some("with every number 0".to_owned());
    }
    let factor = ours.dot(yours) / ours.norm_squared();
    if same(&(ours * factor)) {
        return Some(format!("times {}", brief(factor)));
    }
    let row = (yours - ours).row(0).into_owned();
    let plus =
        DMatrix::from_fn(ours.nrows(), ours.ncols(), |i, j| ours[(i, j)] + row[j]);
    if ours.nrows() > 1 && same(&plus) {
        return Some(
            "plus one and the same row for every token, as a bias is".to_owned(),
        );
    }
    let rows = order(yours.nrows(), |i, j| {
        let pairs = yours.row(i).into_owned().into_iter().copied().collect::<Vec<_>>();
        ours.row(j).iter().zip(pairs).all(|(a, b)| (a - b).abs() <= within)
    });
    if let Some(rows) = rows {
        return Some(format!("with its tokens in another order: {}", listed(&rows)));
    }
    let columns = order(yours.ncols(), |i, j| {
        let pairs = yours.column(i).into_iter().zip(ours.column(j));
        pairs.into_iter().all(|(a, b)| (a - b).abs() <= within)
    })?;
    let width = yours.ncols() / heads.max(1);
    let whole_heads = heads > 1
        && width > 1
        && (0..yours.ncols()).all(|i| {
            columns[i] % width == i % width
                && columns[i] / width == columns[i / width * width] / width
        });
    if whole_heads {
        let of_heads: Vec<usize> =
            columns.iter().step_by(width).map(|column| column / width).collect();
        return Some(format!("with its heads in another order: {}", listed(&of_heads)));
    }
    Some(format!("with its features in another order: {}", listed(&columns)))
}

/// Which of the right things each one is; nothing, if one is none of them.
fn order(count: usize, is: impl Fn(usize, usize) -> bool) -> Option<Vec<usize>> {
    (0..count).map(|i| (0..count).find(|j| is(i, *j))).collect()
}

fn listed(order: &[usize]) -> String {
    let shown: Vec<String> = order.iter().take(8).map(ToString::to_string).collect();
    let more = if order.len() > 8 { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Three digits.
fn brief(x: f32) -> String {
    let whole = (x * 1000.0).round() / 1000.0;
    if x.abs() >= 0.01 { format!("{whole}") } else { format!("{x:.2e}") }
}

#[cfg(test)]
mod tests {
    use super::relation;
    use nalgebra::dmatrix;

    #[test]
    fn what_became_of_the_right_numbers_is_told() {
        let ours =
            dmatrix![1.0, 2.0, 3.0, 4.0; 5.0, 6.0, 7.0, 8.5; 0.5, -1.0, 9.0, 2.0];
        let told = |yours| relation(&yours, &ours, 2, 1e-5).unwrap_or_default();
        assert_eq!(told(ours.transpose()), "transposed");
        assert_eq!(told(&ours * 0.5), "times 0.5");
        assert!(told(ours.select_rows(&[2, 1, 0])).ends_with("order: 2, 1, 0"));
        assert!(told(ours.select_columns(&[2, 3, 0, 1])).contains("heads"));
        assert!(told(ours.select_columns(&[1, 0, 3, 2])).contains("features"));
        assert!(told(ours.add_scalar(1.0)).starts_with("plus one"));
        assert_eq!(told(ours.map(|x| x * x)), "");
    }
}
