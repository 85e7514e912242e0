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
        let shape = of_file(&name, shape);
        tensors.push((name.clone(), shape, bytes(&turned(&name, shape, numbers))));
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
        let (rows, columns) = of_file(&name, shape);
        let found = numbers_of(&tensors, &name, numbers.len())?;
        // In the file rows stand one after the other, in memory columns.
        numbers.copy_from_slice(&turned(&name, (columns, rows), &found));
    }
    let all = run.optimizer.first.len();
    run.optimizer.steps = steps;
    run.optimizer.first = numbers_of(&tensors, MEANS[0], all)?;
    run.optimizer.second = numbers_of(&tensors, MEANS[1], all)?;
    Ok(run)
}

/// (rows, columns) in the file. A linear map (`d_in`, `d_out`) is [`d_out`, `d_in`] there,
/// and its numbers stand in the order that they have in memory.
fn of_file(name: &str, (rows, columns): (usize, usize)) -> (usize, usize) {
    if is_table(name) || rows == 1 { (rows, columns) } else { (columns, rows) }
}

/// The numbers in the file's order. That of the table is another than in memory.
fn turned(name: &str, (rows, columns): (usize, usize), numbers: &[f32]) -> Vec<f32> {
    if is_table(name) {
        let table = DMatrix::from_column_slice(rows, columns, numbers);
        return table.transpose().as_slice().to_vec();
    }
    numbers.to_vec()
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
