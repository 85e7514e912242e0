//! A run in a file, to be gone on with.

use super::parameter::Parameter;
use super::run::{Run, Settings};
use super::shape::Shape;
use anyhow::{Context, Result, ensure};
use nalgebra::DMatrix;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use std::collections::HashMap;

/// What the file says of itself, under this name.
const RUN: &str = "run";

/// The optimizer's means, all in one.
const MEANS: [&str; 2] = ["adamw.first", "adamw.second"];

/// The bytes of a safetensors file with everything that the next step depends on: the
/// weights, under the names and in the layout of a Llama; both means of `AdamW`; the
/// settings, the shape and the steps taken. A batch depends on seed and step alone.
///
/// # Errors
/// When a name occurs twice, which is a mistake of ours.
pub fn kept(run: &mut Run) -> Result<Vec<u8>> {
    let said = (&run.settings, run.model.shape(), run.optimizer.steps);
    let said =
        serde_json::to_string(&said).context("the settings cannot be written")?;
    let mut tensors = Vec::new();
    for Parameter { name, shape, numbers } in run.model.parameters() {
        let (shape, numbers) = in_file(&name, shape, numbers);
        tensors.push((name, shape, bytes(&numbers)));
    }
    let means = [&run.optimizer.first, &run.optimizer.second];
    for (name, mean) in MEANS.iter().zip(means) {
        tensors.push(((*name).to_owned(), (1, mean.len()), bytes(mean)));
    }
    let views = tensors.iter().map(|(name, (rows, columns), bytes)| {
        let shape = if *rows == 1 { vec![*columns] } else { vec![*rows, *columns] };
        Ok((name.as_str(), TensorView::new(Dtype::F32, shape, bytes)?))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    Ok(serialize(views, Some(HashMap::from([(RUN.to_owned(), said)])))?)
}

/// The run in the bytes of a file that [`kept`] has made.
///
/// # Errors
/// When it is no such file, or a tensor is missing or has another shape.
pub fn restored(file: &[u8]) -> Result<Run> {
    let (_, about) =
        SafeTensors::read_metadata(file).context("not a safetensors file")?;
    let said = about.metadata().as_ref().and_then(|said| said.get(RUN));
    let said = said.context(
        "the file does not say which run it is of: wanted one that train --out wrote",
    )?;
    let (settings, shape, steps): (Settings, Shape, i32) =
        serde_json::from_str(said).context("its settings cannot be read")?;
    let tensors = SafeTensors::deserialize(file)?;
    let mut run = Run::new(settings, shape)?;
    for Parameter { name, shape, numbers } in run.model.parameters() {
        let found = numbers_of(&tensors, &name, numbers.len())?;
        numbers.copy_from_slice(&in_memory(&name, shape, &found));
    }
    let all = run.optimizer.first.len();
    run.optimizer.steps = steps;
    run.optimizer.first = numbers_of(&tensors, MEANS[0], all)?;
    run.optimizer.second = numbers_of(&tensors, MEANS[1], all)?;
    Ok(run)
}

/// A parameter's (rows, columns) and numbers as a file has them, row after row. A linear map
/// (`d_in`, `d_out`) is [`d_out`, `d_in`] there, and its numbers stand in the order that
/// they have in memory; those of the table do not.
pub(super) fn in_file(
    name: &str,
    (rows, columns): (usize, usize),
    numbers: &[f32],
) -> ((usize, usize), Vec<f32>) {
    if is_table(name) {
        return ((rows, columns), turned((rows, columns), numbers));
    }
    let shape = if rows == 1 { (rows, columns) } else { (columns, rows) };
    (shape, numbers.to_vec())
}

/// The way back: the numbers of a parameter of this `shape`, in the order of memory.
pub(super) fn in_memory(
    name: &str,
    (rows, columns): (usize, usize),
    found: &[f32],
) -> Vec<f32> {
    if is_table(name) { turned((columns, rows), found) } else { found.to_vec() }
}

/// From column after column to row after row, of a matrix of so many rows and columns.
fn turned((rows, columns): (usize, usize), numbers: &[f32]) -> Vec<f32> {
    DMatrix::from_column_slice(rows, columns, numbers).transpose().as_slice().to_vec()
}

fn is_table(name: &str) -> bool {
    name == "model.embed_tokens.weight"
}

fn numbers_of(tensors: &SafeTensors, name: &str, wanted: usize) -> Result<Vec<f32>> {
    let tensor = tensors.tensor(name).with_context(|| format!("no tensor {name}"))?;
    let (chunks, _) = tensor.data().as_chunks::<4>();
    let numbers: Vec<f32> = chunks.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let found = (tensor.dtype(), numbers.len());
    ensure!(
        found == (Dtype::F32, wanted),
        "{name}: {} numbers in {:?}; wanted {wanted} in F32",
        found.1,
        found.0
    );
    Ok(numbers)
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}
