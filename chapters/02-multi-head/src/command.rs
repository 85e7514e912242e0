//! `cargo run -p multi-head`: the worked example, the figures, and `forward` on files.

use crate::{
    Heads, LayerError, MultiHeadAttended, MultiHeadAttention, Projected, attend_heads,
    example, figures, slips as known,
};
use attention::{ShapeError, files};
use chapter_cli::{Chapter, Described, Flag, Lack, Output, Sequence, Tensors, by_rows};
use nalgebra::DMatrix;
use slips::{Bench, Compare};

/// The chapter, as its program runs it.
pub struct Chapter2;

#[derive(clap::Args)]
#[expect(missing_docs, reason = "clap would print it in the place of its own words")]
pub struct Flags {
    /// How many heads share the projections
    #[arg(long, value_name = "H")]
    pub heads: usize,

    /// Let token i see tokens 0 to i alone. In cross-attention both sequences are counted
    /// from their first token, as `is_causal` does in PyTorch.
    #[arg(long)]
    pub causal: bool,
}

impl Chapter for Chapter2 {
    const NAME: &'static str = "multi-head";
    const FOLDER: &'static str = "02-multi-head";
    const ABOUT: &'static str =
        "Multi-head attention: split, attend, concatenate, project";
    const FORWARD_HELP: &'static str = "\
Runs one multi-head attention layer: projections to queries, keys and values, H heads
of softmax(Q Kᵀ / √head_dim) V on their own columns, and the output projection.

The input file holds, in F32, F16 or BF16, under the names of PyTorch and Hugging Face:

  q_proj.weight  [H · head_dim, d]            q_proj.bias  optional
  k_proj.weight  [H · head_dim, context_dim]  k_proj.bias  optional
  v_proj.weight  [H · v_dim, context_dim]     v_proj.bias  optional
  o_proj.weight  [d_out, H · v_dim]           o_proj.bias  optional
  x              [n, d] or [b, n, d], here or in the file named by --x
  context        [m, context_dim] or [b, m, context_dim], optional: keys and values
                 are read from it (cross-attention); without it, from x
  mask           [n, m] or [b, n, m], BOOL, optional, true = may attend, for all
                 heads alike; with --causal only if it hides later tokens, too

The output file holds y [n, d_out] and attention_weights [H, n, m], with a leading b
where x has one. A query that may attend to nothing finds zeros, and its row of y is
the bias of o_proj.

  cargo run -p multi-head -- forward --input layer.safetensors \\
      --output out.safetensors --heads 8 --causal";

    type Flags = Flags;
    type Layer = MultiHeadAttention;

    fn example() -> anyhow::Result<String> {
        let [learned, steps] =
            [example::three_tokens_learned(), example::three_tokens()?];
        Ok([learned, steps, example::twelve_heads()?].join("\n"))
    }

    fn figures() -> anyhow::Result<Vec<::figures::Figure>> {
        figures::all()
    }

    fn flags_of(layer: &mut Described) -> Result<Vec<Flag>, Lack> {
        let heads = layer.heads_alone()?;
        Ok(vec![
            Flag::value("--heads", &heads),
            Flag::switch("--causal", layer.is_causal()),
        ])
    }

    fn load(flags: &Flags, tensors: &Tensors) -> anyhow::Result<MultiHeadAttention> {
        let linear = |name| files::linear(tensors, name);
        let [q, k, v, o] = ["q_proj", "k_proj", "v_proj", "o_proj"].map(linear);
        let layer = MultiHeadAttention::new(q?, k?, v?, o?, flags.heads);
        layer.map_err(|error| match error {
            LayerError::Shape(error) => files::misfit(tensors, &error).into(),
            LayerError::Split { .. } => {
                anyhow::anyhow!("--heads {}: {error}", flags.heads)
            }
        })
    }

    fn forward(
        layer: &MultiHeadAttention,
        flags: &Flags,
        s: &Sequence,
    ) -> anyhow::Result<Output> {
        let mask = files::mask(s, flags.causal)?;
        let MultiHeadAttended { output, weights } = match &s.context {
            Some(context) => layer.forward_cross(&s.x, context, &mask)?,
            None => layer.forward(&s.x, &mask).map_err(no_context)?,
        };
        Ok(Output { y: output, attention_weights: weights })
    }

    fn forward_without_weights(
        layer: &MultiHeadAttention,
        flags: &Flags,
        s: &Sequence,
        rows: usize,
    ) -> anyhow::Result<DMatrix<f32>> {
        let mask = files::mask(s, flags.causal)?;
        let projected = match &s.context {
            Some(context) => layer.project(&s.x, context)?,
            None => layer.project(&s.x, &s.x).map_err(|e| no_context(e.into()))?,
        };
        let Projected { q, k, v } = projected;
        by_rows(s.x.nrows(), rows, |rows| {
            let q = q.rows(rows.start, rows.len()).into_owned();
            let mask = files::mask_of_rows(&mask, rows);
            let Heads { found, .. } = attend_heads(&q, &k, &v, layer.heads(), &mask)?;
            Ok(layer.o_proj().forward(&found)?)
        })
    }

    const COMPARES: bool = true;

    fn compared<'a>(
        layer: &'a MultiHeadAttention,
        flags: &Flags,
        s: &'a Sequence,
    ) -> anyhow::Result<Box<dyn Compare + 'a>> {
        let mask = files::mask(s, flags.causal)?;
        let context = s.context.as_ref().unwrap_or(&s.x);
        layer.project(&s.x, context)?;
        let steps = known::steps(layer, &s.x, context, &mask);
        Ok(Box::new(Bench::new(steps, known::slips())))
    }
}

/// Without a context, x is its own. If x does not fit there, one was forgotten.
fn no_context(error: LayerError) -> LayerError {
    match error {
        LayerError::Shape(error) if error.tensor == "context" => {
            let because =
                "k_proj and v_proj read that many, and the file has no context";
            ShapeError { because, ..error.of("x") }.into()
        }
        other => other,
    }
}
