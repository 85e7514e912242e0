//! From tensors in a file to this crate's types, for the command line of this chapter
//! and of those that build on it.

use crate::{Linear, Mask, ShapeError};
use anyhow::{Result, bail};
use chapter_cli::{LinearTensors, Sequence, TensorError, Tensors, sees_the_future};
use nalgebra::DMatrix;
use std::ops::Range;

/// The linear map `name`, from `name.weight` and, if there is one, `name.bias`.
///
/// # Errors
/// When the weight is missing, or one of them cannot be used.
pub fn linear(tensors: &Tensors, name: &str) -> Result<Linear> {
    let LinearTensors { weight, bias } = tensors.linear(name)?;
    Ok(Linear::new(weight, bias)?)
}

/// What a sequence may look at: the mask in its file, or `--causal`, or everything; and
/// never padding. A mask that hides all that `--causal` hides goes together with it.
///
/// # Errors
/// When there are `--causal` and a mask that lets a token see a later one.
pub fn mask(sequence: &Sequence, causal: bool) -> Result<Mask> {
    let mask = match (&sequence.mask, causal) {
        (Some(allowed), true) if sees_the_future(allowed) => {
            bail!("--causal and a mask in the file: give one")
        }
        (Some(allowed), _) => Mask::Allowed(allowed.clone()),
        (None, true) => Mask::Causal { offset: 0 },
        (None, false) => Mask::None,
    };
    let Some(real) = &sequence.real else { return Ok(mask) };
    let allowed = |query, key: usize| real[key] && mask.sees(query, key);
    Ok(Mask::Allowed(DMatrix::from_fn(sequence.x.nrows(), real.len(), allowed)))
}

/// What of a mask is about the queries `rows`, if these are all that there are.
#[must_use]
pub fn mask_of_rows(mask: &Mask, rows: Range<usize>) -> Mask {
    match mask {
        Mask::None => Mask::None,
        Mask::Causal { offset } => Mask::Causal { offset: offset + rows.start },
        Mask::Window { offset, window } => {
            Mask::Window { offset: offset + rows.start, window: *window }
        }
        Mask::Allowed(allowed) => {
            Mask::Allowed(allowed.rows(rows.start, rows.len()).into_owned())
        }
    }
}

/// A projection that does not fit, told in the shapes of its file: the library's
/// (in, out) is `[out, in]` in a checkpoint.
#[must_use]
pub fn misfit(tensors: &Tensors, error: &ShapeError) -> TensorError {
    let (d_in, d_out) = error.expected;
    let name = format!("{}.weight", error.tensor);
    tensors.mismatch(&name, &[d_out, d_in], error.because)
}
