//! What a layer gives, as a file holds it.

use crate::Output;
use crate::message::shape;
use crate::output::Destination;
use anyhow::{Result, bail};
use nalgebra::DMatrix;
use safetensors::Dtype;
use std::fmt::{self, Display, Formatter};

/// The shapes of one [`Output`].
#[derive(Debug, PartialEq)]
pub(crate) struct Layout {
    pub(crate) y: (usize, usize),
    pub(crate) heads: usize,
    /// Of each head.
    pub(crate) weights: (usize, usize),
}

impl Layout {
    /// # Errors
    /// When the heads differ.
    pub(crate) fn of(output: &Output) -> Result<Self> {
        let heads = &output.attention_weights;
        let weights = heads.first().map_or((0, 0), DMatrix::shape);
        if heads.iter().any(|head| head.shape() != weights) {
            bail!("the heads' attention weights differ in shape");
        }
        Ok(Layout { y: output.y.shape(), heads: heads.len(), weights })
    }
}

/// What goes into the output file.
pub(crate) struct Results {
    y: Tensor,
    attention_weights: Option<Tensor>,
}

/// Matrices of one shape, one after the other.
struct Tensor {
    shape: Vec<usize>,
    matrices: Vec<DMatrix<f32>>,
}

impl Results {
    /// The outputs of all sequences, which `layout` describes, one after the other.
    /// Their number leads the shapes if it is `batch`.
    ///
    /// # Errors
    /// When one of them does not have this layout.
    pub(crate) fn stack(
        batch: Option<usize>,
        layout: &Layout,
        outputs: Vec<Output>,
    ) -> Result<Self> {
        let (mut y, mut weights) = (Vec::new(), Vec::new());
        for output in outputs {
            if Layout::of(&output)? != *layout {
                bail!("the sequences of the batch give outputs of different shapes");
            }
            y.push(output.y);
            weights.extend(output.attention_weights);
        }
        let lead: Vec<usize> = batch.into_iter().collect();
        let shape_of = |rest: &[usize]| [&lead, rest].concat();
        let y = Tensor { shape: shape_of(&[layout.y.0, layout.y.1]), matrices: y };
        let (n, m) = layout.weights;
        let shape = shape_of(&[layout.heads, n, m]);
        let attention_weights = Tensor { shape, matrices: weights };
        let has_weights = layout.heads > 0;
        Ok(Results { y, attention_weights: has_weights.then_some(attention_weights) })
    }

    /// `y` (n, heads · d) as [heads, n, d], and no attention weights.
    ///
    /// # Errors
    /// When the heads do not divide the columns.
    pub(crate) fn heads(y: &DMatrix<f32>, heads: usize) -> Result<Self> {
        if heads == 0 || !y.ncols().is_multiple_of(heads) {
            bail!("{} columns cannot be split among {heads} heads", y.ncols());
        }
        let (n, d) = (y.nrows(), y.ncols() / heads);
        let each = (0..heads).map(|h| y.columns(h * d, d).into_owned());
        let y = Tensor { shape: vec![heads, n, d], matrices: each.collect() };
        Ok(Results { y, attention_weights: None })
    }

    /// Writes the file, without putting it together in memory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, destination: &Destination) -> Result<()> {
        let weights = self.attention_weights.iter().map(|w| ("attention_weights", w));
        let tensors: Vec<_> = weights.chain([("y", &self.y)]).collect();
        let shapes = tensors.iter().map(|(name, t)| (*name, Dtype::F32, &t.shape[..]));
        let matrices = tensors.iter().flat_map(|(_, tensor)| &tensor.matrices);
        destination.write_lazily(shapes, matrices.flat_map(in_bytes))
    }
}

/// F32, row after row, so many rows at a time that the copy is small.
fn in_bytes(matrix: &DMatrix<f32>) -> impl Iterator<Item = Vec<u8>> {
    const NUMBERS: usize = 1 << 20;
    let at_once = (NUMBERS / matrix.ncols().max(1)).max(1);
    (0..matrix.nrows()).step_by(at_once).map(move |start| {
        let rows = matrix.rows(start, at_once.min(matrix.nrows() - start));
        // A matrix lies in memory column after column, so its transpose lies there as the
        // file wants it.
        rows.transpose().iter().flat_map(|x| x.to_le_bytes()).collect()
    })
}

impl Display for Results {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "y {}", shape(&self.y.shape))?;
        if let Some(weights) = &self.attention_weights {
            write!(f, " and attention_weights {}", shape(&weights.shape))?;
        }
        Ok(())
    }
}
