//! The sequences in a file, and whether they belong together.

use crate::message::{count, shape};
use crate::results::Layout;
use crate::{Chapter, Output, Sequence, Stack, TensorError, Tensors};
use anyhow::Result;
use nalgebra::DMatrix;

/// The sequences that a layer is run on.
pub(crate) struct Batch {
    /// How many, if the file says so.
    pub(crate) size: Option<usize>,
    sequences: Vec<Sequence>,
    /// One of them, but without rows.
    empty: Sequence,
    /// The rows of x.
    n: usize,
    /// The tokens that those of x look at: those of context, or x itself.
    m: usize,
}

impl Batch {
    /// Looks for x in its own file if it has one, and for context and mask there first.
    ///
    /// # Errors
    /// When there is no x, or one of them is not as it should be.
    pub(crate) fn read(
        input: &Tensors,
        x_file: Option<&Tensors>,
        prefix: &str,
    ) -> Result<Self, TensorError> {
        let views = |file: &Tensors| [file.clone(), file.with_prefix(prefix)];
        let x_views = views(x_file.unwrap_or(input));
        let all_views: Vec<_> =
            x_file.into_iter().chain([input]).flat_map(views).collect();

        let x_view = holder("x", &x_views).unwrap_or(&x_views[0]);
        let x = tokens("x", x_view, "[n, d] or [b, n, d]")?;
        let context =
            holder("context", &all_views).map(|view| context(view, &x)).transpose()?;
        let m = context.as_ref().map_or(x.rows(), Stack::rows);
        let mask =
            holder("mask", &all_views).map(|view| mask(view, &x, m)).transpose()?;

        Ok(Batch::of(&x, context.as_ref(), mask.as_ref()))
    }

    fn of(
        x: &Stack<f32>,
        context: Option<&Stack<f32>>,
        mask: Option<&Stack<bool>>,
    ) -> Self {
        let sequence = |i: usize| Sequence {
            x: x.matrices[i].clone(),
            context: context.and_then(|context| context.of_sequence(i)).cloned(),
            mask: mask.and_then(|mask| mask.of_sequence(i)).cloned(),
        };
        let no_tokens = |like: &Stack<f32>| DMatrix::zeros(0, like.cols());
        let empty =
            Sequence { x: no_tokens(x), context: context.map(no_tokens), mask: None };
        Batch {
            size: x.batch(),
            sequences: (0..x.matrices.len()).map(sequence).collect(),
            empty,
            n: x.rows(),
            m: context.unwrap_or(x).rows(),
        }
    }

    /// Runs the layer on each sequence.
    ///
    /// # Errors
    /// Those of the chapter.
    pub(crate) fn run<C: Chapter>(
        &self,
        layer: &C::Layer,
        flags: &C::Flags,
    ) -> Result<Vec<Output>> {
        let run = |sequence| C::forward(layer, flags, sequence);
        self.sequences.iter().map(run).collect()
    }

    /// The shapes that outputs would have if there were any sequences. A sequence
    /// without tokens tells all but the numbers of tokens.
    ///
    /// # Errors
    /// Those of the chapter.
    pub(crate) fn layout_of_nothing<C: Chapter>(
        &self,
        layer: &C::Layer,
        flags: &C::Flags,
    ) -> Result<Layout> {
        let mut layout = Layout::of(&C::forward(layer, flags, &self.empty)?)?;
        layout.y.0 = self.n;
        layout.weights.0 = self.n;
        // A layer that squeezes its keys to a fixed number has that number even here.
        if layout.weights.1 == 0 {
            layout.weights.1 = self.m;
        }
        Ok(layout)
    }
}

fn holder<'a>(name: &str, views: &'a [Tensors]) -> Option<&'a Tensors> {
    views.iter().find(|view| view.contains(name))
}

fn tokens(name: &str, view: &Tensors, wanted: &str) -> Result<Stack<f32>, TensorError> {
    let stack = view.stack(name, wanted)?;
    // Without this, a file of a hundred bytes could ask for a result of any size.
    if stack.cols() == 0 {
        let because = "a token has at least one feature";
        return Err(view.unfit(name, wanted.to_owned(), because));
    }
    Ok(stack)
}

fn context(view: &Tensors, x: &Stack<f32>) -> Result<Stack<f32>, TensorError> {
    let context = tokens("context", view, "[m, d] or [b, m, d]")?;
    expect_batch("context", view, &context, x)?;
    Ok(context)
}

fn mask(view: &Tensors, x: &Stack<f32>, m: usize) -> Result<Stack<bool>, TensorError> {
    let mask = view.bool_stack("mask", "[n, m] or [b, n, m]")?;
    expect_batch("mask", view, &mask, x)?;
    let n = x.rows();
    if (mask.rows(), mask.cols()) == (n, m) {
        return Ok(mask);
    }
    let mut wanted = mask.shape.clone();
    wanted.splice(wanted.len() - 2.., [n, m]);
    let because = format!("x has {} and {m} to look at", count(n, "token"));
    Err(view.mismatch("mask", &wanted, &because))
}

fn expect_batch<T>(
    name: &str,
    view: &Tensors,
    found: &Stack<T>,
    x: &Stack<f32>,
) -> Result<(), TensorError> {
    if found.batch().is_none() || found.batch() == x.batch() {
        return Ok(());
    }
    let one = found.shape[1..].to_vec();
    let Some(b) = x.batch() else {
        return Err(view.mismatch(name, &one, "x is one sequence"));
    };
    let wanted = format!("{} or {}", shape(&one), shape(&[&[b], &one[..]].concat()));
    Err(view.unfit(name, wanted, &format!("x holds {}", count(b, "sequence"))))
}
