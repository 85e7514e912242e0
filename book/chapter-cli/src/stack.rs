//! A tensor of two or three dimensions as matrices.

use nalgebra::DMatrix;

/// A tensor `[rows, cols]`, or `[batch, rows, cols]`: one matrix a sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack<T> {
    /// The shape in the file, two or three numbers.
    pub shape: Vec<usize>,
    /// Each (rows, cols). There is one when the shape has two numbers.
    pub matrices: Vec<DMatrix<T>>,
}

impl<T> Stack<T> {
    /// How many sequences the file says that there are, if it says so.
    #[must_use]
    pub fn batch(&self) -> Option<usize> {
        (self.shape.len() == 3).then(|| self.shape[0])
    }

    /// The rows of each matrix.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.shape[self.shape.len() - 2]
    }

    /// The columns of each matrix.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.shape[self.shape.len() - 1]
    }

    /// The matrix of the sequence `index`: its own, or the one that all share.
    #[must_use]
    pub fn of_sequence(&self, index: usize) -> Option<&DMatrix<T>> {
        let index = if self.batch().is_some() { index } else { 0 };
        self.matrices.get(index)
    }
}
