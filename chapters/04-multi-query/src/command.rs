//! `cargo run -p multi-query`: the worked example, the figures, and `forward` on files.

use crate::{MultiQueryAttention, attend_shared, example, figures, slips as known};
use attention::files;
use chapter_cli::{Chapter, Described, Flag, Lack, Output, Sequence, Tensors, by_rows};
use multi_head::{Heads, LayerError, MultiHeadAttended, Projected};
use nalgebra::DMatrix;
use slips::{Bench, Compare};

/// The chapter, as its program runs it.
pub struct Chapter4;

#[derive(clap::Args)]
#[expect(missing_docs, reason = "clap would print it in the place of its own words")]
pub struct Flags {
    /// How many query heads look at the one key and value
    #[arg(long, value_name = "H")]
    pub heads: usize,

    /// Let token i see tokens 0 to i alone. In cross-attention both sequences are counted
    /// from their first token, as `is_causal` does in PyTorch.
    #[arg(long)]
    pub causal: bool,
}

impl Chapter for Chapter4 {
    const NAME: &'static str = "multi-query";
    const FOLDER: &'static str = "04-multi-query";
    const ABOUT: &'static str = "Multi-query attention: many heads, one key and value";
    const FORWARD_HELP: &'static str = "\
Runs one multi-query attention layer: H heads of queries, one key and one value per token,
softmax(Q Kᵀ / √head_dim) V for each head, and the output projection.

The input file holds, in F32, F16 or BF16, under the names of PyTorch and Hugging Face:

  q_proj.weight  [H · head_dim, d]      q_proj.bias  optional
  k_proj.weight  [head_dim, d_context]  k_proj.bias  optional
  v_proj.weight  [v_dim, d_context]     v_proj.bias  optional
  o_proj.weight  [d_out, H · v_dim]     o_proj.bias  optional
  x              [n, d] or [b, n, d], here or in the file named by --x
  context        [m, d_context] or [b, m, d_context], optional: keys and values
                 are read from it (cross-attention); without it, from x
  mask           [n, m] or [b, n, m], BOOL, optional, true = may attend;
                 the same for all heads; with --causal only if it hides later
                 tokens, too

The output file holds y [n, d_out] and attention_weights [H, n, m], with a leading b
where x has one. What a query that may attend to nothing gets from the heads is zeros,
so that its row of y is the bias of o_proj.

  cargo run -p multi-query -- forward --input layer.safetensors --output out.safetensors \\
      --heads 8 --causal";

    type Flags = Flags;
    type Layer = MultiQueryAttention;

    fn example() -> anyhow::Result<String> {
        Ok(example::three_tokens()? + "\n" + &example::decoded()?)
    }

    fn figures() -> anyhow::Result<Vec<::figures::Figure>> {
        figures::all()
    }

    fn flags_of(layer: &mut Described) -> Result<Vec<Flag>, Lack> {
        let heads = layer.heads_on_one()?;
        Ok(vec![
            Flag::value("--heads", &heads),
            Flag::switch("--causal", layer.is_causal()),
        ])
    }

    fn load(flags: &Flags, tensors: &Tensors) -> anyhow::Result<MultiQueryAttention> {
        let linear = |name| files::linear(tensors, name);
        let [q, k, v, o] = ["q_proj", "k_proj", "v_proj", "o_proj"].map(linear);
        let layer = MultiQueryAttention::new(q?, k?, v?, o?, flags.heads);
        layer.map_err(|error| match error {
            LayerError::Shape(error) => files::misfit(tensors, &error).into(),
            error @ LayerError::Split { .. } => {
                anyhow::anyhow!("--heads {}: {error}", flags.heads)
            }
        })
    }

    fn forward(
        layer: &MultiQueryAttention,
        flags: &Flags,
        s: &Sequence,
    ) -> anyhow::Result<Output> {
        let mask = files::mask(s, flags.causal)?;
        let context = s.context.as_ref().unwrap_or(&s.x);
        let MultiHeadAttended { output, weights } =
            layer.forward_cross(&s.x, context, &mask)?;
        Ok(Output { y: output, attention_weights: weights })
    }

    fn forward_without_weights(
        layer: &MultiQueryAttention,
        flags: &Flags,
        s: &Sequence,
        rows: usize,
    ) -> anyhow::Result<DMatrix<f32>> {
        let mask = files::mask(s, flags.causal)?;
        let context = s.context.as_ref().unwrap_or(&s.x);
        let Projected { q, k, v } = layer.project(&s.x, context)?;
        let (k, v) = (k.as_view(), v.as_view());
        by_rows(s.x.nrows(), rows, |rows| {
            let q = q.rows(rows.start, rows.len()).into_owned();
            let mask = files::mask_of_rows(&mask, rows);
            let Heads { found, .. } = attend_shared(&q, k, v, layer.heads(), &mask)?;
            Ok(layer.o_proj().forward(&found)?)
        })
    }

    const COMPARES: bool = true;

    fn compared<'a>(
        layer: &'a MultiQueryAttention,
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
