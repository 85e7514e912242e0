//! Masks, under the names that PyTorch and Transformers have for them, and with the
//! meaning that each name has there.

use crate::error::TensorError;
use crate::message::shape;
use crate::stack::Stack;
use crate::tensors::{Tensors, Values};
use nalgebra::DMatrix;
use safetensors::Dtype;

/// What one mask of a file says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mask {
    /// (n, m) for each sequence, or one for all: true = may attend.
    Pairs(Stack<bool>),
    /// m entries for each sequence: true = a token, false = padding.
    Keys(Vec<Vec<bool>>),
}

/// The names of masks of pairs, and of masks of keys, that [`read`] understands.
pub(crate) const NAMES: [&str; 5] = [
    "mask",
    "attn_mask",
    "attention_mask",
    "encoder_attention_mask",
    "key_padding_mask",
];

/// What a mask belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Sequences, if x says how many.
    pub(crate) batch: Option<usize>,
    /// Tokens of x.
    pub(crate) n: usize,
    /// Tokens that they look at.
    pub(crate) m: usize,
    /// Whether these are those of a context.
    pub(crate) crosses: bool,
}

/// The mask `name`, one of [`NAMES`].
///
/// # Errors
/// When its shape or its numbers have no meaning under that name, or two.
pub(crate) fn read(name: &str, view: &Tensors, s: Sizes) -> Result<Mask, TensorError> {
    match name {
        "attn_mask" => attn_mask(name, view, s),
        "attention_mask" => attention_mask(name, view, s),
        "encoder_attention_mask" if s.crosses => real_keys(name, view, s),
        "encoder_attention_mask" => {
            Err(view.unclear(name, "it is about a context, and the file has none"))
        }
        "key_padding_mask" => key_padding_mask(name, view, s),
        _ => mask(name, view, s),
    }
}

/// This book's own: BOOL, true = may attend.
fn mask(name: &str, view: &Tensors, s: Sizes) -> Result<Mask, TensorError> {
    let mask = view.bool_stack(name, "[n, m] or [b, n, m]")?;
    let (rows, cols) = (mask.rows(), mask.cols());
    if let (None, Some(b)) = (mask.batch(), s.batch) {
        let both = b == rows && (s.n, s.m) == (rows, cols) && b > 1;
        if both {
            return Err(view.unclear(name, &format!(
                "{} may be one row per token or one row per sequence: repeat it as {}, or \
                 save padding as key_padding_mask (true = hidden)",
                shape(&mask.shape), shape(&[b, rows, cols]),
            )));
        }
    }
    // [b, 1, m] hides the same keys from every query of a sequence.
    if rows == 1 && cols == s.m && mask.batch() == s.batch && s.batch.is_some() {
        let matrices = mask.matrices.iter();
        let matrices =
            matrices.map(|row| DMatrix::from_fn(s.n, s.m, |_, j| row[(0, j)]));
        return Ok(Mask::Pairs(Stack {
            shape: vec![mask.matrices.len(), s.n, s.m],
            matrices: matrices.collect(),
        }));
    }
    Ok(Mask::Pairs(mask))
}

/// The `attn_mask` of PyTorch, whose numbers are added to the scores. Its booleans mean
/// opposite things to PyTorch's two functions.
fn attn_mask(name: &str, view: &Tensors, s: Sizes) -> Result<Mask, TensorError> {
    let values = view.values(name)?;
    if !is_float(values.dtype) {
        return Err(view.unclear(
            name,
            "true attends in scaled_dot_product_attention, and hides in \
             nn.MultiheadAttention: save it as mask, BOOL, with true = may attend",
        ));
    }
    pairs(name, view, &values, s, added).map(Mask::Pairs)
}

/// The `attention_mask` of Transformers: [b, m] with 1 for a token and 0 for padding, or
/// for pairs: [b, n, m] with 1 and 0, [b, 1, n, m] with numbers to add, or BOOL.
fn attention_mask(name: &str, view: &Tensors, s: Sizes) -> Result<Mask, TensorError> {
    let values = view.values(name)?;
    match values.shape.len() {
        1 | 2 if s.crosses => Err(view.unclear(
            name,
            "in Transformers it is about x; save what it says of the context as \
             encoder_attention_mask",
        )),
        1 | 2 => real_keys(name, view, s),
        4 if values.dtype == Dtype::BOOL => {
            pairs(name, view, &values, s, switched).map(Mask::Pairs)
        }
        4 if is_float(values.dtype) => {
            pairs(name, view, &values, s, added).map(Mask::Pairs)
        }
        3 => pairs(name, view, &values, s, switched).map(Mask::Pairs),
        _ => Err(view.unclear(
            name,
            "wanted [b, m] with 1 for a token and 0 for padding, or [b, 1, n, m], BOOL \
             with true = may attend, or floating with numbers to add",
        )),
    }
}

/// [b, m], or [m] for one sequence: 1 or true for a token, 0 or false for padding.
fn real_keys(name: &str, view: &Tensors, s: Sizes) -> Result<Mask, TensorError> {
    keys(name, view, s, switched)
}

/// The `key_padding_mask` of `nn.MultiheadAttention`: true hides, and floating numbers are
/// added to the scores.
fn key_padding_mask(name: &str, view: &Tensors, s: Sizes) -> Result<Mask, TensorError> {
    let is_float = is_float(view.values(name)?.dtype);
    let meaning = if is_float { added } else { hidden };
    keys(name, view, s, meaning)
}

/// What a number of a mask means, or what was wanted in its place.
type Meaning = fn(f64) -> Result<Sight, &'static str>;

/// Whether a query may look at a key.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sight {
    Seen,
    Hidden,
    /// By a finite number, which hides nothing where all keys have it.
    Buried,
}

fn switched(value: f64) -> Result<Sight, &'static str> {
    match value {
        1.0 => Ok(Sight::Seen),
        0.0 => Ok(Sight::Hidden),
        _ => Err("wanted 1 for what may be looked at and 0 for what may not"),
    }
}

fn hidden(value: f64) -> Result<Sight, &'static str> {
    match value {
        0.0 => Ok(Sight::Seen),
        1.0 => Ok(Sight::Hidden),
        _ => Err("wanted 1 for what is hidden and 0 for what is not"),
    }
}

/// No pair of scores of a real layer is this far apart, so exp gives 0.
const BURIED: f64 = -1e4;

fn added(value: f64) -> Result<Sight, &'static str> {
    match value {
        0.0 => Ok(Sight::Seen),
        f64::NEG_INFINITY => Ok(Sight::Hidden),
        finite if finite <= BURIED => Ok(Sight::Buried),
        _ => Err(
            "wanted 0 or -inf (or -10000 and less); other numbers are a bias on the \
                  scores, which no chapter has",
        ),
    }
}

fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// One entry for each key of each sequence.
fn keys(
    name: &str,
    view: &Tensors,
    s: Sizes,
    meaning: Meaning,
) -> Result<Mask, TensorError> {
    let values = view.values(name)?;
    let fits = match s.batch {
        Some(b) => values.shape == [b, s.m],
        None => values.shape == [s.m] || values.shape == [1, s.m],
    };
    if !fits {
        let wanted = s.batch.map_or(vec![s.m], |b| vec![b, s.m]);
        let because = "it has one entry for each token that is looked at";
        return Err(view.unfit(name, shape(&wanted), because));
    }
    let sights = sights(name, view, &values.numbers, s.m, meaning)?;
    let rows = sights.chunks(s.m.max(1)).map(<[bool]>::to_vec);
    let rows: Vec<_> = rows.collect();
    // Without keys there are no rows to cut.
    let sequences = s.batch.unwrap_or(1);
    Ok(Mask::Keys(if s.m == 0 { vec![Vec::new(); sequences] } else { rows }))
}

/// One entry for each query and key: [n, m], or with a batch and a 1 before it.
fn pairs(
    name: &str,
    view: &Tensors,
    values: &Values,
    s: Sizes,
    meaning: Meaning,
) -> Result<Stack<bool>, TensorError> {
    let (b, heads) = match values.shape[..] {
        [_, _] => (1, 1),
        [b, _, _] => (b, 1),
        [b, heads, _, _] => (b, heads),
        _ => return Err(view.unclear(name, "wanted [n, m] or [b, 1, n, m]")),
    };
    let is_each = Some(b) == s.batch;
    let rank = values.shape.len();
    // nn.MultiheadAttention's third dimension counts heads within sequences.
    let heads_first = rank == 3 && name == "attn_mask";
    let fits = values.shape[rank - 2..] == [s.n, s.m] && (is_each || b == 1);
    if heads > 1 || heads_first || !fits {
        let b = s.batch.unwrap_or(1);
        let wanted = shape(&[b, 1, s.n, s.m]);
        let because = "one mask serves all heads, and has an entry for each pair";
        return Err(view.unfit(name, wanted, because));
    }
    let sights = sights(name, view, &values.numbers, s.m, meaning)?;
    let matrix = |i: usize| {
        DMatrix::from_row_slice(s.n, s.m, &sights[i * s.n * s.m..][..s.n * s.m])
    };
    let shape = if is_each { vec![b, s.n, s.m] } else { vec![s.n, s.m] };
    Ok(Stack { shape, matrices: (0..b).map(matrix).collect() })
}

/// What each number means, in rows of `m`. A row that is hidden by finite numbers alone is
/// not hidden: softmax does not see what is added to all scores.
fn sights(
    name: &str,
    view: &Tensors,
    numbers: &[f64],
    m: usize,
    meaning: Meaning,
) -> Result<Vec<bool>, TensorError> {
    let sight = |&number: &f64| {
        meaning(number).map_err(|wanted| {
            view.unclear(name, &format!("it holds {number}: {wanted}"))
        })
    };
    let sights = numbers.iter().map(sight).collect::<Result<Vec<_>, _>>()?;
    for (row, keys) in sights.chunks(m.max(1)).enumerate() {
        if keys.contains(&Sight::Buried) && !keys.contains(&Sight::Seen) {
            let what = format!(
                "row {row} has a large negative number for every key, and so hides none: \
                 softmax does not see what all scores have; wanted -inf"
            );
            return Err(view.unclear(name, &what));
        }
    }
    Ok(sights.iter().map(|&sight| sight == Sight::Seen).collect())
}

/// Whether a mask (n, m), true = may attend, lets a token see a later one, if tokens and
/// those that they look at are counted from the first.
#[must_use]
pub fn sees_the_future(mask: &DMatrix<bool>) -> bool {
    let later = |key: usize| (0..key.min(mask.nrows())).any(|query| mask[(query, key)]);
    (0..mask.ncols()).any(later)
}

/// The mask `name` of a file without x: `[n, m]` or `[1, 1, n, m]`, whose numbers are added
/// to the scores, as booleans, true = may attend.
///
/// # Errors
/// When it has another shape, or holds numbers other than 0 and those that hide.
pub fn added_mask(
    view: &Tensors,
    name: &str,
    [n, m]: [usize; 2],
) -> Result<Stack<bool>, TensorError> {
    let s = Sizes { batch: None, n, m, crosses: true };
    pairs(name, view, &view.values(name)?, s, added)
}
