//! The way back through a rotation.

use attention::ShapeError;
use nalgebra::DMatrix;
use rotary::Angles;

/// The way back through [`Angles::rotate`]: `d` (tokens, heads · `head_dim`) is the gradient
/// of turned queries or keys, and becomes that of what was turned.
///
/// What was turned forward turns back. The way back through a matrix is its transpose, and
/// the transpose of a rotation is its inverse. An [amplified](rotary::Rotary::amplified)
/// rotation still amplifies: only the angle changes its sign.
///
/// # Errors
/// When `d` has a different number of tokens, or its width is not that of whole heads.
pub fn rotation_backward(
    angles: &Angles,
    d: &mut DMatrix<f32>,
) -> Result<(), ShapeError> {
    angles.back().rotate(d)
}
