//! A model in 8 bits.

use super::checkpoint::{in_file, in_memory};
use super::model::Model;
use super::parameter::Parameter;
use super::shape::Shape;
use anyhow::{Context, Result, ensure};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use std::collections::HashMap;

/// What the file says of itself, under this name.
const SHAPE: &str = "shape";

/// What a row's scale is called.
const SCALE: &str = ".scale";

/// The bytes of a safetensors file in which the numbers of a matrix are whole, from −127
/// to 127, and each row has an `f32` by which they are multiplied. Gains of norms stay as
/// they are. Names and layout are those of a Llama; a row of the table is a token's, and a
/// row of any other matrix makes one feature that leaves.
///
/// # Errors
/// When a number is not finite.
pub fn packed(model: &mut Model) -> Result<Vec<u8>> {
    let shape = serde_json::to_string(model.shape()).context("no shape")?;
    let mut tensors = Vec::new();
    for Parameter { name, shape, numbers } in model.parameters() {
        let finite = numbers.iter().all(|number| number.is_finite());
        ensure!(finite, "{name}: a number is not finite");
        let ((rows, columns), numbers) = in_file(&name, shape, numbers);
        if rows == 1 {
            let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            tensors.push((name, Dtype::F32, vec![columns], bytes));
            continue;
        }
        let (mut whole, mut scales) = (Vec::new(), Vec::new());
        for row in numbers.chunks_exact(columns) {
            let scale = row.iter().fold(0.0, |most: f32, x| most.max(x.abs())) / 127.0;
            let one = |x: &f32| if scale > 0.0 { (x / scale).round() as i8 } else { 0 };
            whole.extend(row.iter().map(|x| one(x).cast_unsigned()));
            scales.extend(scale.to_le_bytes());
        }
        tensors.push((format!("{name}{SCALE}"), Dtype::F32, vec![rows], scales));
        tensors.push((name, Dtype::I8, vec![rows, columns], whole));
    }
    let views =
        tensors.iter().map(|(name, dtype, shape, bytes): &(_, _, _, Vec<u8>)| {
            let view = TensorView::new(*dtype, shape.clone(), bytes)?;
            Ok((name.as_str(), view))
        });
    let views = views.collect::<Result<Vec<_>>>()?;
    Ok(serialize(views, Some(HashMap::from([(SHAPE.to_owned(), shape)])))?)
}

/// The model in the bytes of a file that [`packed`] has made.
///
/// # Errors
/// When it is no such file, or a tensor is missing or has another shape.
pub fn unpacked(file: &[u8]) -> Result<Model> {
    let (_, about) =
        SafeTensors::read_metadata(file).context("not a safetensors file")?;
    let shape = about.metadata().as_ref().and_then(|said| said.get(SHAPE));
    let shape = shape.context("the file does not say what shape its model has")?;
    let shape: Shape = serde_json::from_str(shape).context("its shape")?;
    let tensors = SafeTensors::deserialize(file)?;
    let mut model = Model::blank(shape)?;
    for Parameter { name, shape, numbers } in model.parameters() {
        let ((rows, columns), _) = in_file(&name, shape, numbers);
        let found = if rows == 1 {
            floats(&tensors, &name, columns)?
        } else {
            let scales = floats(&tensors, &format!("{name}{SCALE}"), rows)?;
            let whole = bytes(&tensors, &name, Dtype::I8, rows * columns)?;
            let whole = whole.chunks_exact(columns).zip(scales);
            let row = |(row, scale): (&[u8], f32)| {
                let one = move |x: &u8| f32::from(x.cast_signed()) * scale;
                row.iter().map(one).collect::<Vec<_>>()
            };
            whole.flat_map(row).collect()
        };
        numbers.copy_from_slice(&in_memory(&name, shape, &found));
    }
    Ok(model)
}

fn floats(tensors: &SafeTensors, name: &str, wanted: usize) -> Result<Vec<f32>> {
    let (chunks, _) = bytes(tensors, name, Dtype::F32, 4 * wanted)?.as_chunks::<4>();
    Ok(chunks.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

fn bytes<'a>(
    tensors: &SafeTensors<'a>,
    name: &str,
    dtype: Dtype,
    wanted: usize,
) -> Result<&'a [u8]> {
    let tensor = tensors.tensor(name).with_context(|| format!("no tensor {name}"))?;
    let found = (tensor.dtype(), tensor.data().len());
    ensure!(
        found == (dtype, wanted),
        "{name}: {} bytes of {:?}; wanted {wanted} of {dtype:?}",
        found.1,
        found.0
    );
    Ok(tensor.data())
}
