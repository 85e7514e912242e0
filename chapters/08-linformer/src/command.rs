//! `cargo run -p linformer`: the worked example, the figures, and `forward` on files.

use crate::{LinformerAttention, LinformerError, Projections, SequenceProjection};
use crate::{example, figures, slips as known};
use anyhow::bail;
use attention::{ShapeError, files};
use chapter_cli::{Chapter, Described, Flag, Lack, Output, Sequence, Tensors, by_rows};
use grouped_query::Groups;
use multi_head::{LayerError, MultiHeadAttended, head_dim};
use nalgebra::DMatrix;
use slips::{Bench, Compare};
use std::sync::Arc;

/// The chapter, as its program runs it.
pub struct Chapter8;

#[derive(clap::Args)]
#[expect(missing_docs, reason = "clap would print it in the place of its own words")]
pub struct Flags {
    /// How many heads ask
    #[arg(long, value_name = "H")]
    pub heads: usize,

    /// Condense the values with `proj_k` too: the paper's key-value sharing, E = F, where
    /// keys and values themselves stay apart. The file then has no `proj_v`.
    #[arg(long)]
    pub share_projection: bool,
}

impl Chapter for Chapter8 {
    const NAME: &'static str = "linformer";
    const FOLDER: &'static str = "08-linformer";
    const ABOUT: &'static str =
        "Linformer: keys and values condensed along the sequence";
    const FORWARD_HELP: &'static str = "\
Runs one Linformer layer: keys and values of up to n_max tokens are condensed to r rows,
and each of H heads attends to these, softmax(Q (E K)ᵀ / √head_dim) (F V).

The input file holds, in F32, F16 or BF16, as the PyPI package linformer names them:

  to_q.weight    [H · head_dim, d]
  to_k.weight    [H · head_dim, d_context], or [head_dim, d_context] if one key and one
                 value serve all heads (one_kv_head)
  to_v.weight    as to_k.weight
  proj_k         [n_max, r]: E of the paper; row i belongs to token i
  proj_v         [n_max, r]: F
  to_out.weight  [d_out, H · head_dim]
  to_out.bias    [d_out], optional, as are to_q.bias, to_k.bias and to_v.bias
  x              [n, d] or [b, n, d], here or in the file named by --x
  context        [m, d_context] or [b, m, d_context], optional: keys and values are
                 read from it (cross-attention); without it, from x

Without to_v.weight and proj_v, keys and values share both (share_kv): the condensed
keys are the values. At most n_max tokens are read for keys and values; if there are fewer,
proj_k and proj_v are cut to their first rows. There is no mask, and no --causal: after
the projection no single token is left to hide.

The output file holds y [n, d_out] and attention_weights [H, n, r], with a leading b
where x has one.

  cargo run -p linformer -- forward --input layer.safetensors --output out.safetensors \\
      --heads 8";

    type Flags = Flags;
    type Layer = LinformerAttention;

    fn example() -> anyhow::Result<String> {
        Ok(example::four_tokens()? + "\n" + &example::spectrum()?)
    }

    fn figures() -> anyhow::Result<Vec<::figures::Figure>> {
        figures::all()
    }

    /// No kind of model that a `config.json` is read of condenses its sequence.
    fn flags_of(layer: &mut Described) -> Result<Vec<Flag>, Lack> {
        layer.never("its layers do not condense keys along the sequence")
    }

    fn load(flags: &Flags, tensors: &Tensors) -> anyhow::Result<LinformerAttention> {
        let linear = |name| files::linear(tensors, name);
        let (to_q, to_k) = (linear("to_q")?, linear("to_k")?);
        let e = projection(tensors, "proj_k")?;
        let keys_are_values =
            !tensors.contains("to_v.weight") && !tensors.contains("proj_v");
        let to_v = if keys_are_values { None } else { Some(linear("to_v")?) };
        let shared = flags.share_projection || keys_are_values;
        let f = match (tensors.contains("proj_v"), shared) {
            (true, true) => {
                bail!("--share-projection and proj_v in the file: give one")
            }
            (false, true) => Arc::clone(&e),
            (true, false) => projection(tensors, "proj_v")?,
            // Beside to_v it cannot be known whether it was left out or forgotten.
            (false, false) => projection(tensors, "proj_v").map_err(|missing| {
                let flag = "--share-projection would condense the values with proj_k";
                anyhow::anyhow!("{missing:#}; {flag}")
            })?,
        };
        let to_out = linear("to_out")?;
        let heads = |error: &dyn std::fmt::Display| {
            anyhow::anyhow!("--heads {}: {error}", flags.heads)
        };
        let one =
            head_dim("to_q", to_q.shape().1, flags.heads).map_err(|e| heads(&e))?;
        let kv_heads = if to_k.shape().1 == one { 1 } else { flags.heads };
        let groups = Groups::new(flags.heads, kv_heads)?;
        let projections = Projections::new(vec![e], vec![f])
            .map_err(|error| misfit(tensors, "proj_v", &error))?;
        let layer =
            LinformerAttention::new(to_q, to_k, to_v, to_out, projections, groups);
        layer.map_err(|error| match error {
            LayerError::Shape(error) => files::misfit(tensors, &error).into(),
            LayerError::Split { .. } => heads(&error),
        })
    }

    fn forward(
        layer: &LinformerAttention,
        _: &Flags,
        s: &Sequence,
    ) -> anyhow::Result<Output> {
        expect_no_mask(s)?;
        let (attended, condensed) = match &s.context {
            Some(context) => (layer.forward_cross(&s.x, context), "context"),
            None => (layer.forward(&s.x), "x"),
        };
        let MultiHeadAttended { output, weights } =
            attended.map_err(|error| refused(condensed, error))?;
        Ok(Output { y: output, attention_weights: weights })
    }

    fn forward_without_weights(
        layer: &LinformerAttention,
        _: &Flags,
        s: &Sequence,
        rows: usize,
    ) -> anyhow::Result<DMatrix<f32>> {
        expect_no_mask(s)?;
        let (context, condensed) = match &s.context {
            Some(context) => (context, "context"),
            None => (&s.x, "x"),
        };
        by_rows(s.x.nrows(), rows, |rows| {
            let x = s.x.rows(rows.start, rows.len()).into_owned();
            let attended = layer.forward_cross(&x, context);
            Ok(attended.map_err(|error| refused(condensed, error))?.output)
        })
    }

    const COMPARES: bool = true;

    fn compared<'a>(
        layer: &'a LinformerAttention,
        flags: &Flags,
        s: &'a Sequence,
    ) -> anyhow::Result<Box<dyn Compare + 'a>> {
        // What does not fit is refused as by forward.
        Self::forward(layer, flags, s)?;
        let context = s.context.as_ref().unwrap_or(&s.x);
        let steps = known::steps(layer, &s.x, context);
        Ok(Box::new(Bench::new(steps, known::slips())))
    }
}

/// Refuses a mask: what is condensed has no tokens left to hide.
///
/// # Errors
/// When the file holds one.
pub fn expect_no_mask(s: &Sequence) -> anyhow::Result<()> {
    if s.mask.is_some() || s.real.is_some() {
        bail!("mask: after proj_k there is no single token left to hide");
    }
    Ok(())
}

/// The projection along the sequence `name` `[n_max, r]`, as (r, `n_max`).
fn projection(
    tensors: &Tensors,
    name: &'static str,
) -> anyhow::Result<Arc<SequenceProjection>> {
    let weight = tensors.matrix(name)?.transpose();
    let projection = SequenceProjection::new(weight);
    Ok(Arc::new(projection.map_err(|error| misfit(tensors, name, &error))?))
}

fn misfit(tensors: &Tensors, name: &str, error: &ShapeError) -> anyhow::Error {
    let (r, n_max) = error.expected;
    tensors.mismatch(name, &[n_max, r], error.because).into()
}

/// What is said of a sequence that is too long, or of one that does not fit the layer.
fn refused(condensed: &str, error: LinformerError) -> anyhow::Error {
    match error {
        LinformerError::TooLong { .. } => anyhow::anyhow!("{condensed}: {error}"),
        // Without a context, x is its own. If x does not fit there, one was forgotten.
        LinformerError::Layer(LayerError::Shape(error))
            if condensed == "x" && error.tensor == "context" =>
        {
            let because = "to_k and to_v read that many, and the file has no context";
            ShapeError { because, ..error.of("x") }.into()
        }
        error @ LinformerError::Layer(_) => error.into(),
    }
}
