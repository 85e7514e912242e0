//! `cargo run -p flash`: the worked example, the figures, and `forward` on files.

use crate::{Align, attend, attend_causal, example, figures, slips as known};
use anyhow::{Result, anyhow, bail};
use attention::Mask;
use chapter_cli::{
    Chapter, Described, Dtype, Flag, Lack, SideBySide, Stack, TensorError, Tensors,
    added_mask, expect_room,
};
use grouped_query::Groups;
use nalgebra::DMatrix;
use slips::{Bench, Compare};

/// The chapter, as its program runs it.
pub struct Chapter9;

#[derive(clap::Args)]
#[expect(missing_docs, reason = "clap would print it in the place of its own words")]
pub struct Flags {
    /// Let each query see its own key and those before it. The last query stands at the
    /// last key, as in decoding.
    #[arg(long)]
    pub causal: bool,

    /// With --causal: the first query stands at the first key, as with `is_causal` in
    /// PyTorch. It is the same where there are as many queries as keys.
    #[arg(long, requires = "causal")]
    pub top_left: bool,
}

/// One call: what PyTorch's `scaled_dot_product_attention` is given.
pub struct Call {
    /// (n, heads · d): a head's columns are its matrix in the file.
    pub q: DMatrix<f32>,
    /// (m, `kv_heads` · d)
    pub k: DMatrix<f32>,
    /// (m, `kv_heads` · `d_v`)
    pub v: DMatrix<f32>,
    /// Which query heads share a key.
    pub groups: Groups,
    look: Look,
}

/// Which keys the queries may look at.
enum Look {
    At(Mask),
    Back(Align),
}

impl Call {
    /// What its queries may look at.
    #[must_use]
    pub fn mask(&self) -> Mask {
        match &self.look {
            Look::At(mask) => mask.clone(),
            Look::Back(align) => causal(*align, self.q.nrows(), self.k.nrows()),
        }
    }
}

impl Chapter for Chapter9 {
    const NAME: &'static str = "flash";
    const FOLDER: &'static str = "09-flash";
    const ABOUT: &'static str =
        "Flash attention: the same numbers, without the matrix of weights";
    const FORWARD_HELP: &'static str = "\
Computes what scaled_dot_product_attention(q, k, v, enable_gqa=True) does in PyTorch:
softmax(q kᵀ / √d) v for each head, where query head i of h asks key/value head i / (h/g),
rounded down.

The input file holds, in F32, F16 or BF16:

  q     [h, n, d]
  k     [g, m, d]    g divides h
  v     [g, m, d_v]
  mask  [n, m], BOOL, optional, true = may attend; the same for all heads;
        with --causal only if it hides later keys, too. Its name in PyTorch, attn_mask,
        is understood: BOOL with the same meaning, or numbers that are added, 0 or -inf

The output file holds y [h, n, d_v]. There are no attention_weights: they are never
formed. A query that may attend to nothing gets zeros.

  cargo run -p flash -- forward --input qkv.safetensors --output out.safetensors --causal";

    const READS_X: bool = false;

    type Flags = Flags;
    type Layer = Call;

    fn example() -> Result<String> {
        example::online()
    }

    fn figures() -> Result<Vec<::figures::Figure>> {
        figures::all()
    }

    fn flags_of(layer: &mut Described) -> Result<Vec<Flag>, Lack> {
        layer.projected();
        Ok(vec![Flag::switch("--causal", layer.is_causal())])
    }

    fn load(flags: &Flags, tensors: &Tensors) -> Result<Call> {
        let q = heads(tensors, "q", "[h, n, d]")?;
        let k = heads(tensors, "k", "[g, m, d]")?;
        let v = heads(tensors, "v", "[g, m, d_v]")?;
        let (h, g) = (q.matrices.len(), k.matrices.len());
        let groups = Groups::new(h, g).map_err(|error| anyhow!("q, k: {error}"))?;
        let (n, d, m) = (q.rows(), q.cols(), k.rows());
        if k.cols() != d {
            let why = "a key is as wide as a query";
            return Err(tensors.mismatch("k", &[g, m, d], why).into());
        }
        if (v.matrices.len(), v.rows()) != (g, m) {
            let why = "every key has one value";
            return Err(tensors.mismatch("v", &[g, m, v.cols()], why).into());
        }
        // Without this, a file of a hundred bytes could ask for a result of any size.
        if m == 0 && v.cols() != d {
            let why = "values that are none are as wide as the keys";
            return Err(tensors.mismatch("v", &[g, 0, d], why).into());
        }
        let look = look(flags, tensors, n, m)?;
        // Many queries of one feature and few values of many make a large output.
        expect_room("y", &[h, n, v.cols()])?;
        let [q, k, v] = [q, k, v].map(|stack| side_by_side(&stack));
        Ok(Call { q, k, v, groups, look })
    }

    fn run(call: &Call, _: &Flags) -> Result<SideBySide> {
        let Call { q, k, v, groups, look } = call;
        let (k, v) = (k.as_view(), v.as_view());
        let y = match look {
            Look::At(mask) => attend(q, k, v, *groups, mask)?,
            Look::Back(align) => attend_causal(q, k, v, *groups, *align)?,
        };
        Ok(SideBySide { y, heads: groups.heads() })
    }

    const COMPARES: bool = true;

    fn compared_run<'a>(call: &'a Call, _: &Flags) -> Result<Box<dyn Compare + 'a>> {
        let Call { q, k, v, groups, .. } = call;
        let steps = known::steps([q, k, v], *groups, &call.mask());
        Ok(Box::new(Bench::new(steps, known::slips())))
    }
}

/// The mask of `n` queries that look back at `m` keys.
fn causal(align: Align, n: usize, m: usize) -> Mask {
    match (align, m.checked_sub(n)) {
        (Align::First, _) => Mask::Causal { offset: 0 },
        (Align::Last, Some(offset)) => Mask::Causal { offset },
        // The first queries stand before the first key.
        (Align::Last, None) => {
            Mask::Allowed(DMatrix::from_fn(n, m, |query, key| key + n <= query + m))
        }
    }
}

/// A tensor of three dimensions, the first and the last not 0.
fn heads(
    tensors: &Tensors,
    name: &str,
    wanted: &str,
) -> Result<Stack<f32>, TensorError> {
    let stack = tensors.stack(name, wanted)?;
    let &[h, rows, columns] = &stack.shape[..] else {
        let why = format!("it is {wanted}, and one head is a head");
        let [rows, columns] = [stack.rows(), stack.cols()];
        return Err(tensors.mismatch(name, &[1, rows, columns], &why));
    };
    if h == 0 || columns == 0 {
        let why = "there is at least one head, of at least one feature";
        return Err(tensors.mismatch(name, &[h.max(1), rows, columns.max(1)], why));
    }
    Ok(stack)
}

fn look(flags: &Flags, tensors: &Tensors, n: usize, m: usize) -> Result<Look> {
    let align = if flags.top_left { Align::First } else { Align::Last };
    let names = ["mask", "attn_mask"].map(|name| (name, tensors.contains(name)));
    let name = match names {
        [(one, true), (other, true)] => {
            bail!("{one} and {other} in the file: give one")
        }
        [(name, true), _] | [_, (name, true)] => name,
        _ => {
            let back = flags.causal.then_some(Look::Back(align));
            return Ok(back.unwrap_or(Look::At(Mask::None)));
        }
    };
    let allowed = allowed(tensors, name, [n, m])?;
    if flags.causal && sees_later_keys(&allowed, align) {
        bail!(
            "--causal, and the {name} in the file lets queries see later keys: give one"
        );
    }
    Ok(Look::At(Mask::Allowed(allowed)))
}

/// The mask `name` (n, m), true = may attend.
fn allowed(
    tensors: &Tensors,
    name: &str,
    [n, m]: [usize; 2],
) -> Result<DMatrix<bool>, TensorError> {
    if name == "attn_mask" && tensors.raw(name)?.dtype != Dtype::BOOL {
        return Ok(added_mask(tensors, name, [n, m])?.matrices.remove(0));
    }
    let mut mask = tensors.bool_stack(name, "[n, m]")?;
    if mask.shape != [n, m] {
        let why = "q has n rows and k has m";
        return Err(tensors.mismatch(name, &[n, m], why));
    }
    Ok(mask.matrices.remove(0))
}

/// Whether a query sees a key that `--causal` would hide from it.
fn sees_later_keys(mask: &DMatrix<bool>, align: Align) -> bool {
    let (n, m) = match align {
        Align::First => (0, 0),
        Align::Last => mask.shape(),
    };
    // Query i stands at key i, or at i + m - n where the last ones meet.
    let is_later = |query: usize, key: usize| key + n > query + m;
    let sees = |key| (0..mask.nrows()).any(|i| mask[(i, key)] && is_later(i, key));
    (0..mask.ncols()).any(sees)
}

/// The matrices (rows, d) of the heads as one matrix (rows, heads · d).
#[must_use]
pub fn side_by_side(heads: &Stack<f32>) -> DMatrix<f32> {
    // Columns lie one after the other, so those of the next head simply follow.
    let columns = heads.matrices.iter().flat_map(|head| head.iter().copied());
    DMatrix::from_iterator(heads.rows(), heads.cols() * heads.matrices.len(), columns)
}
