//! `cargo run -p grouped-query`: the worked example, the figures, `forward` on files, and
//! `convert` for checkpoints.

use crate::{
    GroupError, GroupedQueryAttention, attend_groups, convert, example, figures,
    slips as known,
};
use attention::files;
use chapter_cli::{
    Chapter, Described, Flag, Lack, Output, Sequence, SharedHeads, Tensors, by_rows,
};
use clap::{Args, FromArgMatches};
use multi_head::{Heads, LayerError, MultiHeadAttended, Projected};
use nalgebra::DMatrix;
use slips::{Bench, Compare};
use std::io::Write;

/// The chapter, as its program runs it.
pub struct Chapter5;

#[derive(clap::Args)]
#[expect(missing_docs, reason = "clap would print it in the place of its own words")]
pub struct Flags {
    /// How many query heads the layer has
    #[arg(long, value_name = "H")]
    pub heads: usize,

    /// How many key/value heads they share; divides H
    #[arg(long, value_name = "G")]
    pub kv_heads: usize,

    /// Let token i see tokens 0 to i alone. In cross-attention both sequences are counted
    /// from their first token, as `is_causal` does in PyTorch.
    #[arg(long)]
    pub causal: bool,
}

impl Chapter for Chapter5 {
    const NAME: &'static str = "grouped-query";
    const FOLDER: &'static str = "05-grouped-query";
    const ABOUT: &'static str =
        "Grouped-query attention: groups of heads share keys and values";
    const FORWARD_HELP: &'static str = "\
Runs one grouped-query attention layer: H query heads, of which H/G neighbors share each
of G key/value heads. Query head h asks key/value head h / (H/G), rounded down, as in
Llama and in PyTorch's scaled_dot_product_attention with enable_gqa=True.

The input file holds, in F32, F16 or BF16, under the names of PyTorch and Hugging Face:

  q_proj.weight  [H · head_dim, d]          q_proj.bias  optional
  k_proj.weight  [G · head_dim, d_context]  k_proj.bias  optional
  v_proj.weight  [G · v_dim, d_context]     v_proj.bias  optional
  o_proj.weight  [d_out, H · v_dim]         o_proj.bias  optional
  x              [n, d] or [b, n, d], here or in the file named by --x
  context        [m, d_context] or [b, m, d_context], optional: keys and values
                 are read from it (cross-attention); without it, from x
  mask           [n, m] or [b, n, m], BOOL, optional, true = may attend;
                 the same for all heads; with --causal only if it hides later
                 tokens, too

The output file holds y [n, d_out] and attention_weights [H, n, m], with a leading b
where x has one. What a query that may attend to nothing gets from the heads is zeros,
so that its row of y is the bias of o_proj.

  cargo run -p grouped-query -- forward --input layer.safetensors \\
      --output out.safetensors --heads 8 --kv-heads 2 --causal";

    type Flags = Flags;
    type Layer = GroupedQueryAttention;

    fn example() -> anyhow::Result<String> {
        Ok(example::three_tokens()? + "\n" + &example::errors()?)
    }

    fn figures() -> anyhow::Result<Vec<::figures::Figure>> {
        figures::all()
    }

    fn flags_of(layer: &mut Described) -> Result<Vec<Flag>, Lack> {
        let SharedHeads { heads, kv_heads } = layer.groups()?;
        Ok(vec![
            Flag::value("--heads", &heads),
            Flag::value("--kv-heads", &kv_heads),
            Flag::switch("--causal", layer.is_causal()),
        ])
    }

    fn load(flags: &Flags, tensors: &Tensors) -> anyhow::Result<GroupedQueryAttention> {
        let linear = |name| files::linear(tensors, name);
        let [q, k, v, o] = ["q_proj", "k_proj", "v_proj", "o_proj"].map(linear);
        let Flags { heads, kv_heads, .. } = *flags;
        let layer = GroupedQueryAttention::new(q?, k?, v?, o?, heads, kv_heads);
        layer.map_err(|error| match error {
            GroupError::Layer(LayerError::Shape(error)) => {
                files::misfit(tensors, &error).into()
            }
            other => {
                anyhow::anyhow!("--heads {heads} --kv-heads {kv_heads}: {other}")
            }
        })
    }

    fn forward(
        layer: &GroupedQueryAttention,
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
        layer: &GroupedQueryAttention,
        flags: &Flags,
        s: &Sequence,
        rows: usize,
    ) -> anyhow::Result<DMatrix<f32>> {
        let mask = files::mask(s, flags.causal)?;
        let context = s.context.as_ref().unwrap_or(&s.x);
        let Projected { q, k, v } = layer.project(&s.x, context)?;
        let (k, v, groups) = (k.as_view(), v.as_view(), layer.groups());
        by_rows(s.x.nrows(), rows, |rows| {
            let q = q.rows(rows.start, rows.len()).into_owned();
            let mask = files::mask_of_rows(&mask, rows);
            let Heads { found, .. } = attend_groups(&q, k, v, groups, &mask)?;
            Ok(layer.o_proj().forward(&found)?)
        })
    }

    const COMPARES: bool = true;

    fn compared<'a>(
        layer: &'a GroupedQueryAttention,
        flags: &Flags,
        s: &'a Sequence,
    ) -> anyhow::Result<Box<dyn Compare + 'a>> {
        let mask = files::mask(s, flags.causal)?;
        let context = s.context.as_ref().unwrap_or(&s.x);
        layer.project(&s.x, context)?;
        let steps = known::steps(layer, &s.x, context, &mask);
        Ok(Box::new(Bench::new(steps, known::slips())))
    }

    fn commands() -> Vec<clap::Command> {
        vec![convert::Arguments::augment_args(clap::Command::new("convert"))]
    }

    fn obey(
        _: &str,
        arguments: &clap::ArgMatches,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let arguments = convert::Arguments::from_arg_matches(arguments)?;
        convert::convert(&arguments, stdout, stderr)
    }
}
