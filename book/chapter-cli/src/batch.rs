//! The sequences in a file, and whether they belong together.

use crate::error::TensorError;
use crate::masks::{self, Mask, Sizes};
use crate::message::{count, shape};
use crate::results::Layout;
use crate::stack::Stack;
use crate::tensors::Tensors;
use crate::unread::POSITIONS;
use crate::{Chapter, Sequence};
use anyhow::Result;
use nalgebra::DMatrix;

/// The sequences that a layer is run on.
pub(crate) struct Batch {
    /// How many, if the file says so.
    pub(crate) size: Option<usize>,
    pub(crate) sequences: Vec<Sequence>,
    /// One of them, but without rows.
    empty: Sequence,
    /// The rows of x.
    pub(crate) n: usize,
    /// The tokens that those of x look at: those of context, or x itself.
    pub(crate) m: usize,
}

/// The files that may hold a sequence, first those that come first: each as it is, and
/// seen through the prefix.
struct Files(Vec<[Tensors; 2]>);

impl Batch {
    /// Looks for x in its own file if it has one, and for context and masks there first.
    ///
    /// # Errors
    /// When there is no x, or one of them is not as it should be.
    pub(crate) fn read(
        input: &Tensors,
        x_file: Option<&Tensors>,
        prefix: &str,
    ) -> Result<Self, TensorError> {
        let views = |file: &Tensors| [file.with_prefix(""), file.with_prefix(prefix)];
        let x_file_or_input = Files(vec![views(x_file.unwrap_or(input))]);
        let files = Files(x_file.into_iter().chain([input]).map(views).collect());

        let x_view = x_file_or_input.holder("x")?;
        let x_view = x_view.unwrap_or(&x_file_or_input.0[0][0]);
        let x = tokens("x", x_view, "[n, d] or [b, n, d]")?;
        let context = files.holder("context")?;
        let context = context.map(|view| context_of(view, &x)).transpose()?;
        let crosses = context.is_some();
        let m = context.as_ref().map_or(x.rows(), Stack::rows);
        let sizes = Sizes { batch: x.batch(), n: x.rows(), m, crosses };
        let hides = Hides::read(&files, &x, sizes)?;
        expect_positions(&files, &x)?;
        Ok(Batch::of(&x, context.as_ref(), hides))
    }

    /// The tensor `name`, of which every token of x has a row, sequence by sequence. It is
    /// looked for where x is.
    ///
    /// # Errors
    /// When there is none, or it does not have as many rows or sequences as x.
    pub(crate) fn beside(
        &self,
        name: &str,
        input: &Tensors,
        x_file: Option<&Tensors>,
        prefix: &str,
    ) -> Result<Vec<DMatrix<f32>>, TensorError> {
        let views = |file: &Tensors| [file.with_prefix(""), file.with_prefix(prefix)];
        let files = Files(x_file.into_iter().chain([input]).map(views).collect());
        let view = files.holder(name)?.unwrap_or(&files.0[0][0]);
        let found = view.stack(name, "[n, d] or [b, n, d], as y")?;
        if (found.batch(), found.rows()) != (self.size, self.n) {
            let wanted = self.size.into_iter().chain([self.n, found.cols()]);
            let wanted: Vec<usize> = wanted.collect();
            return Err(view.mismatch(name, &wanted, "it has the shape of y"));
        }
        Ok(found.matrices)
    }

    fn of(x: &Stack<f32>, context: Option<&Stack<f32>>, hides: Hides) -> Self {
        let Hides { pairs, mut keys } = hides;
        let sequence = |i: usize| Sequence {
            x: x.matrices[i].clone(),
            context: context.and_then(|context| context.of_sequence(i)).cloned(),
            mask: pairs.as_ref().and_then(|mask| mask.of_sequence(i)).cloned(),
            real: keys.as_mut().map(|keys| std::mem::take(&mut keys[i])),
        };
        let no_tokens = |like: &Stack<f32>| DMatrix::zeros(0, like.cols());
        let empty = Sequence {
            x: no_tokens(x),
            context: context.map(no_tokens),
            mask: None,
            real: None,
        };
        Batch {
            size: x.batch(),
            sequences: (0..x.matrices.len()).map(sequence).collect(),
            empty,
            n: x.rows(),
            m: context.unwrap_or(x).rows(),
        }
    }

    /// The shapes that the output of a sequence will have, of which one without tokens
    /// tells all but the numbers of tokens.
    ///
    /// # Errors
    /// Those of the chapter.
    pub(crate) fn layout<C: Chapter>(
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

impl Files {
    /// The view that `name` is seen in, of the first file that holds it.
    ///
    /// # Errors
    /// When that file holds it with the prefix and without.
    fn holder(&self, name: &str) -> Result<Option<&Tensors>, TensorError> {
        for [bare, behind] in &self.0 {
            let names = [bare, behind].map(|view| view.full_name(name));
            if bare.contains(name) && behind.contains(name) && names[0] != names[1] {
                return Err(TensorError::Twice { names });
            }
            let views = [bare, behind];
            if let Some(view) = views.into_iter().find(|view| view.contains(name)) {
                return Ok(Some(view));
            }
        }
        Ok(None)
    }
}

/// What is hidden from whom: at most one mask of pairs, and one of keys.
#[derive(Default)]
struct Hides {
    pairs: Option<Stack<bool>>,
    keys: Option<Vec<Vec<bool>>>,
}

impl Hides {
    fn read(files: &Files, x: &Stack<f32>, sizes: Sizes) -> Result<Self, TensorError> {
        let mut hides = Hides::default();
        let mut names: [Option<String>; 2] = [None, None];
        for name in masks::NAMES {
            let Some(view) = files.holder(name)? else { continue };
            let mask = masks::read(name, view, sizes)?;
            let kind = usize::from(matches!(mask, Mask::Keys(_)));
            let full = view.full_name(name);
            if let Some(other) = names[kind].replace(full.clone()) {
                return Err(TensorError::Twice { names: [other, full] });
            }
            match mask {
                Mask::Pairs(pairs) => {
                    expect_pairs(name, view, &pairs, x, sizes.m)?;
                    hides.pairs = Some(pairs);
                }
                // Where nothing is padding, there is nothing to say.
                Mask::Keys(keys) if keys.iter().flatten().all(|&real| real) => {}
                Mask::Keys(keys) => hides.keys = Some(keys),
            }
        }
        Ok(hides)
    }
}

/// Positions may be given if they are those that tokens have here anyway.
fn expect_positions(files: &Files, x: &Stack<f32>) -> Result<(), TensorError> {
    for name in POSITIONS {
        let Some(view) = files.holder(name)? else { continue };
        let found = view.values(name)?;
        let n = x.rows();
        let positions = found.numbers.chunks(n.max(1));
        let count = |row: &[f64]| row.iter().enumerate().all(|(i, &p)| p == i as f64);
        if found.shape.last() != Some(&n) || !positions.into_iter().all(count) {
            let what =
                "the tokens of x stand at 0, 1, 2, … here, and it says otherwise";
            return Err(view.unclear(name, what));
        }
    }
    Ok(())
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

fn context_of(view: &Tensors, x: &Stack<f32>) -> Result<Stack<f32>, TensorError> {
    let context = tokens("context", view, "[m, d] or [b, m, d]")?;
    expect_batch("context", view, &context, x)?;
    Ok(context)
}

fn expect_pairs(
    name: &str,
    view: &Tensors,
    mask: &Stack<bool>,
    x: &Stack<f32>,
    m: usize,
) -> Result<(), TensorError> {
    expect_batch(name, view, mask, x)?;
    let n = x.rows();
    if (mask.rows(), mask.cols()) == (n, m) {
        return Ok(());
    }
    let mut wanted = mask.shape.clone();
    wanted.splice(wanted.len() - 2.., [n, m]);
    let because = format!("x has {} and {m} to look at", count(n, "token"));
    Err(view.mismatch(name, &wanted, &because))
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
