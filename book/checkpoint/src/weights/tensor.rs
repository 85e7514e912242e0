//! One tensor, as it lies in its file.

use crate::open_error::OpenError;
use crate::weights::format::Format;
use std::borrow::Cow;
use std::path::Path;

/// In which order the rows of a tensor lie in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// As they are numbered.
    AsNumbered,
    /// As GGUF's llama kind has the rows of each head of queries and keys.
    Paired {
        /// Rows of a head.
        head_dim: usize,
    },
}

impl Order {
    /// Where in the file row `row` lies.
    fn place(self, row: usize) -> usize {
        match self {
            Order::AsNumbered => row,
            Order::Paired { head_dim } => {
                let (half, feature) = (head_dim / 2, row % head_dim);
                row - feature + 2 * (feature % half) + feature / half
            }
        }
    }
}

/// Which row of a head in a GGUF of the llama kind is row `j` of that head in Hugging
/// Face's files, for each `j`.
///
/// `convert_hf_to_gguf.py` (`LlamaModel.permute`) reorders the rows of `q_proj` and
/// `k_proj` head by head, since llama.cpp rotates neighboring features, 2i and 2i + 1,
/// where Hugging Face's models rotate feature i with feature i + `head_dim` / 2. Here
/// they are put back when they are read.
///
/// ```
/// assert_eq!(checkpoint::llama_row_order(6), [0, 2, 4, 1, 3, 5]);
/// ```
#[must_use]
pub fn llama_row_order(head_dim: usize) -> Vec<usize> {
    (0..head_dim).map(|row| Order::Paired { head_dim }.place(row)).collect()
}

/// One tensor, as it lies in its file. Nothing is read before it is asked for.
///
/// The shape is that of Hugging Face's files, also where the file is a GGUF: a `Linear`
/// has `[out, in]`, row after row.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a> {
    pub(crate) path: &'a Path,
    pub(crate) name: &'a str,
    pub(crate) shape: &'a [usize],
    pub(crate) format: Format,
    /// As many as shape and format say, in whole blocks per row.
    pub(crate) bytes: &'a [u8],
    pub(crate) order: Order,
}

impl<'a> Tensor<'a> {
    /// Its name in Hugging Face's files.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The file that it lies in.
    #[must_use]
    pub fn path(&self) -> &'a Path {
        self.path
    }

    /// Its lengths, outermost first.
    #[must_use]
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// How its numbers are stored.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// How many rows it has: the product of all lengths but the last. A vector is one
    /// row, and so is a single number; but a bias that lies in the file in another order
    /// has a row for each number.
    #[must_use]
    pub fn rows(&self) -> usize {
        match (self.shape.split_last(), self.order) {
            (Some((length, [])), Order::Paired { .. }) => *length,
            (Some((_, outer)), _) => outer.iter().product(),
            (None, _) => 1,
        }
    }

    /// How many numbers a row has.
    #[must_use]
    pub fn width(&self) -> usize {
        match (self.shape, self.order) {
            ([_], Order::Paired { .. }) | ([], _) => 1,
            ([.., width], _) => *width,
        }
    }

    /// How many numbers it has.
    #[must_use]
    pub fn numbers(&self) -> usize {
        self.rows() * self.width()
    }

    /// The bytes of one row, in whole blocks; empty if there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> &'a [u8] {
        if row >= self.rows() {
            return &[];
        }
        let length = self.bytes.len() / self.rows();
        let begin = self.order.place(row) * length;
        &self.bytes[begin..begin + length]
    }

    /// All bytes, row after row: a view of the file, unless its rows lie there in
    /// another order.
    #[must_use]
    pub fn bytes(&self) -> Cow<'a, [u8]> {
        match self.order {
            Order::AsNumbered => Cow::Borrowed(self.bytes),
            Order::Paired { .. } => {
                let rows: Vec<&[u8]> = (0..self.rows()).map(|i| self.row(i)).collect();
                Cow::Owned(rows.concat())
            }
        }
    }

    /// All numbers, row after row. NaN stays NaN.
    ///
    /// # Errors
    /// When its format is not one of weights that are read here.
    pub fn to_f32(&self) -> Result<Vec<f32>, OpenError> {
        let mut numbers = vec![0.0; self.numbers()];
        if self.order == Order::AsNumbered {
            self.widened(self.bytes, &mut numbers)?;
            return Ok(numbers);
        }
        for (row, out) in numbers.chunks_mut(self.width().max(1)).enumerate() {
            self.widened(self.row(row), out)?;
        }
        Ok(numbers)
    }

    /// The same, if all of them are finite.
    ///
    /// # Errors
    /// As for [`Tensor::to_f32`], and when a weight is NaN or infinite.
    pub fn to_finite_f32(&self) -> Result<Vec<f32>, OpenError> {
        let numbers = self.to_f32()?;
        self.expect_finite(0, &numbers)?;
        Ok(numbers)
    }

    /// The numbers of one row, into `out`, which is as long as a row.
    ///
    /// # Errors
    /// When its format is not one of weights, or there is no such row, or `out` is of
    /// another length.
    pub fn row_to_f32(&self, row: usize, out: &mut [f32]) -> Result<(), OpenError> {
        if row >= self.rows() || out.len() != self.width() {
            return Err(OpenError::Shape {
                path: self.path.to_path_buf(),
                tensor: self.name.to_owned(),
                found: self.shape.to_vec(),
                wanted: vec![row.saturating_add(1), out.len()],
                because: "row and length that were asked for".to_owned(),
            });
        }
        self.widened(self.row(row), out)
    }

    /// Refuses a tensor in which a weight is NaN or infinite. It is widened row by row,
    /// so that no second copy of it is needed.
    ///
    /// # Errors
    /// As for [`Tensor::to_finite_f32`].
    pub fn check_finite(&self) -> Result<(), OpenError> {
        // Without numbers there may be rows without end.
        if self.bytes.is_empty() {
            return Ok(());
        }
        let mut numbers = vec![0.0; self.width()];
        for row in 0..self.rows() {
            self.widened(self.row(row), &mut numbers)?;
            self.expect_finite(row, &numbers)?;
        }
        Ok(())
    }

    /// The same tensor, if it has this shape.
    ///
    /// # Errors
    /// When it has another, with `because` for what asks for it.
    pub fn shaped(self, wanted: &[usize], because: &str) -> Result<Self, OpenError> {
        if self.shape == wanted {
            return Ok(self);
        }
        Err(OpenError::Shape {
            path: self.path.to_path_buf(),
            tensor: self.name.to_owned(),
            found: self.shape.to_vec(),
            wanted: wanted.to_vec(),
            because: because.to_owned(),
        })
    }

    fn widened(&self, bytes: &[u8], out: &mut [f32]) -> Result<(), OpenError> {
        self.format.widen(bytes, out).then_some(()).ok_or_else(|| OpenError::Format {
            path: self.path.to_path_buf(),
            tensor: self.name.to_owned(),
            found: self.format.name(),
        })
    }

    /// Looks through rows from `first` on.
    fn expect_finite(&self, first: usize, numbers: &[f32]) -> Result<(), OpenError> {
        let at = numbers.iter().position(|number| !number.is_finite());
        at.map_or(Ok(()), |at| {
            Err(OpenError::NotFinite {
                path: self.path.to_path_buf(),
                tensor: self.name.to_owned(),
                found: numbers[at],
                row: first + at / self.width(),
                column: at % self.width(),
            })
        })
    }
}
