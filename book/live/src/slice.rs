//! One head's weights, from the file that the weaver cuts for a page. `checkpoint` opens
//! files of any origin and is half as long as all that draws; this one is the book's own.

use anyhow::{Context, Result, bail};
use attention::experiments::{Place, Real};
use attention::{Attention, Linear};
use half::f16;
use nalgebra::{DMatrix, DVector};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// The head on its sentence, from a safetensors file with `x` (tokens, `model_dim`), the
/// projections `q_proj`, `k_proj` and `v_proj` of one head as PyTorch stores them, and the
/// tokens among its metadata.
///
/// # Errors
/// When the file does not hold them.
pub(crate) fn read(place: Place, file: &[u8]) -> Result<Real> {
    let (_, header) =
        SafeTensors::read_metadata(file).context("not a safetensors file")?;
    let said = header.metadata().as_ref().and_then(|all| all.get("tokens"));
    let tokens = said.context("no tokens")?.lines().map(str::to_owned).collect();
    let tensors = SafeTensors::deserialize(file)?;
    let x = matrix(&tensors.tensor("x")?)?.transpose();
    let linear = |name: &str| -> Result<Linear> {
        let weight = matrix(&tensors.tensor(&format!("{name}.weight"))?)?;
        let bias = numbers(&tensors.tensor(&format!("{name}.bias"))?)?;
        Ok(Linear::new(weight, Some(DVector::from_vec(bias)))?)
    };
    let head = Attention::new(linear("q_proj")?, linear("k_proj")?, linear("v_proj")?)?;
    Ok(Real::new(place, tokens, x, head)?)
}

/// The transpose of a stored matrix: what lies row after row is read column after column.
fn matrix(tensor: &TensorView) -> Result<DMatrix<f32>> {
    let &[rows, columns] = tensor.shape() else { bail!("not a matrix") };
    Ok(DMatrix::from_vec(columns, rows, numbers(tensor)?))
}

fn numbers(tensor: &TensorView) -> Result<Vec<f32>> {
    if tensor.dtype() != Dtype::F16 {
        bail!("{:?}, where F16 was expected", tensor.dtype());
    }
    let numbers = tensor.data().as_chunks::<2>().0.iter();
    Ok(numbers.map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect())
}
