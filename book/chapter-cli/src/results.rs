//! What a layer gives, as a file holds it.

use crate::Output;
use crate::message::shape;
use anyhow::{Result, bail};
use nalgebra::DMatrix;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
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

/// F32, row after row.
struct Tensor {
    shape: Vec<usize>,
    bytes: Vec<u8>,
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
        outputs: &[Output],
    ) -> Result<Self> {
        for output in outputs {
            if Layout::of(output)? != *layout {
                bail!("the sequences of the batch give outputs of different shapes");
            }
        }
        let lead: Vec<usize> = batch.into_iter().collect();
        let (n, d) = layout.y;
        let y =
            Tensor::of(&[&lead, &[n, d][..]].concat(), outputs.iter().map(|o| &o.y));
        let (n, m) = layout.weights;
        let heads = outputs.iter().flat_map(|o| &o.attention_weights);
        let attention_weights = (layout.heads > 0)
            .then(|| Tensor::of(&[&lead, &[layout.heads, n, m][..]].concat(), heads));
        Ok(Results { y, attention_weights })
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
        let each: Vec<DMatrix<f32>> =
            (0..heads).map(|h| y.columns(h * d, d).into_owned()).collect();
        let y = Tensor::of(&[heads, n, d], each.iter());
        Ok(Results { y, attention_weights: None })
    }

    /// The file.
    ///
    /// # Errors
    /// Those of the format.
    pub(crate) fn to_safetensors(&self) -> Result<Vec<u8>> {
        let y = [("y", &self.y)];
        let weights = self.attention_weights.iter().map(|w| ("attention_weights", w));
        let views = y.into_iter().chain(weights).map(|(name, tensor)| {
            let Tensor { shape, bytes } = tensor;
            Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?))
        });
        let views: Vec<_> = views.collect::<Result<_>>()?;
        Ok(safetensors::serialize(views, None)?)
    }
}

impl Tensor {
    fn of<'a>(
        shape: &[usize],
        matrices: impl Iterator<Item = &'a DMatrix<f32>>,
    ) -> Self {
        let mut bytes = Vec::new();
        for matrix in matrices {
            // A matrix lies in memory column after column, so its transpose lies there
            // as the file wants it.
            let rows = matrix.transpose();
            bytes.extend(rows.iter().flat_map(|x| x.to_le_bytes()));
        }
        Tensor { shape: shape.to_vec(), bytes }
    }
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
