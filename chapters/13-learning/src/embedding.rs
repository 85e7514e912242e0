//! The table of an embedding, there and back.

use attention::{ShapeError, expect_shape};
use nalgebra::DMatrix;

/// The vectors of `tokens`, (tokens, `model_dim`): row after row of `table`
/// (vocabulary, `model_dim`).
///
/// # Errors
/// When a token has no row.
pub fn embed(
    table: &DMatrix<f32>,
    tokens: &[usize],
) -> Result<DMatrix<f32>, ShapeError> {
    expect_rows(table.shape(), tokens)?;
    Ok(DMatrix::from_fn(tokens.len(), table.ncols(), |i, f| table[(tokens[i], f)]))
}

/// The gradient of the table, (`vocabulary`, `model_dim`), from the gradient `dx`
/// (tokens, `model_dim`) of the vectors that were read out of it. A token that occurs
/// several times gets the sum, and one that does not occur gets 0.
///
/// # Errors
/// When there is not one gradient for each token, or a token has no row.
pub fn embedding_backward(
    vocabulary: usize,
    tokens: &[usize],
    dx: &DMatrix<f32>,
) -> Result<DMatrix<f32>, ShapeError> {
    let wanted = (tokens.len(), dx.ncols());
    expect_shape("dx", dx.shape(), wanted, "one gradient for each token")?;
    let mut d_table = DMatrix::zeros(vocabulary, dx.ncols());
    expect_rows(d_table.shape(), tokens)?;
    for (mut into, from) in d_table.column_iter_mut().zip(dx.column_iter()) {
        for (token, d) in tokens.iter().zip(from.iter()) {
            into[*token] += d;
        }
    }
    Ok(d_table)
}

fn expect_rows(table: (usize, usize), tokens: &[usize]) -> Result<(), ShapeError> {
    let rows = tokens.iter().map(|token| token + 1).fold(table.0, usize::max);
    expect_shape("table", table, (rows, table.1), "every token has a row")
}
