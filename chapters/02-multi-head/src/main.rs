//! `cargo run -p multi-head`: the worked example, the figures, and `forward` on files.

use attention::{Linear, Mask, ShapeError};
use chapter_cli::{Chapter, LinearTensors, Output, Sequence, TensorError, Tensors};
use multi_head::{LayerError, MultiHeadAttended, MultiHeadAttention};
use std::process::ExitCode;

struct Chapter2;

#[derive(clap::Args)]
struct Flags {
    /// How many heads share the projections
    #[arg(long, value_name = "H")]
    heads: usize,

    /// Let token i see tokens 0 to i alone. In cross-attention both sequences are counted
    /// from their first token, as `is_causal` does in PyTorch.
    #[arg(long)]
    causal: bool,
}

impl Chapter for Chapter2 {
    const NAME: &'static str = "multi-head";
    const FOLDER: &'static str = "02-multi-head";
    const ABOUT: &'static str = "Multi-head attention: split, attend, concatenate, project";
    const FORWARD_HELP: &'static str = "\
Runs one multi-head attention layer: projections to queries, keys and values, H heads
of softmax(Q Kᵀ / √head_dim) V on their own columns, and the output projection.

The input file holds, in F32, F16 or BF16, under the names of PyTorch and Hugging Face:

  q_proj.weight  [H · head_dim, d]          q_proj.bias  optional
  k_proj.weight  [H · head_dim, d_context]  k_proj.bias  optional
  v_proj.weight  [H · v_dim, d_context]     v_proj.bias  optional
  o_proj.weight  [d_out, H · v_dim]         o_proj.bias  optional
  x              [n, d] or [b, n, d], here or in the file named by --x
  context        [m, d_context] or [b, m, d_context], optional: keys and values
                 are read from it (cross-attention); without it, from x
  mask           [n, m] or [b, n, m], BOOL, optional, true = may attend;
                 the same for all heads; not together with --causal

The output file holds y [n, d_out] and attention_weights [H, n, m], with a leading b
where x has one. What a query that may attend to nothing gets from the heads is zeros,
so that its row of y is the bias of o_proj.

  cargo run -p multi-head -- forward --input layer.safetensors --output out.safetensors \\
      --heads 8 --causal";

    type Flags = Flags;
    type Layer = MultiHeadAttention;

    fn example() -> anyhow::Result<String> {
        Ok(String::new())
    }

    fn figures() -> anyhow::Result<Vec<::figures::Figure>> {
        Ok(vec![])
    }

    fn load(flags: &Flags, tensors: &Tensors) -> anyhow::Result<MultiHeadAttention> {
        let linear = |name| -> anyhow::Result<Linear> {
            let LinearTensors { weight, bias } = tensors.linear(name)?;
            Ok(Linear::new(weight, bias)?)
        };
        let [q, k, v, o] = ["q_proj", "k_proj", "v_proj", "o_proj"].map(linear);
        let layer = MultiHeadAttention::new(q?, k?, v?, o?, flags.heads);
        layer.map_err(|error| match error {
            LayerError::Shape(error) => as_in_the_file(tensors, &error).into(),
            LayerError::Split { .. } => anyhow::anyhow!("--heads {}: {error}", flags.heads),
        })
    }

    fn forward(
        layer: &MultiHeadAttention,
        flags: &Flags,
        s: &Sequence,
    ) -> anyhow::Result<Output> {
        let mask = match (&s.mask, flags.causal) {
            (Some(_), true) => {
                anyhow::bail!("--causal and a mask in the file: give one")
            }
            (Some(allowed), false) => Mask::Allowed(allowed.clone()),
            (None, true) => Mask::Causal { offset: 0 },
            (None, false) => Mask::None,
        };
        let context = s.context.as_ref().unwrap_or(&s.x);
        let MultiHeadAttended { output, weights } =
            layer.forward_cross(&s.x, context, &mask)?;
        Ok(Output { y: output, attention_weights: weights })
    }
}

/// The library's (in, out) is `[out, in]` in a checkpoint.
fn as_in_the_file(tensors: &Tensors, error: &ShapeError) -> TensorError {
    let (d_in, d_out) = error.expected;
    let name = format!("{}.weight", error.tensor);
    tensors.mismatch(&name, &[d_out, d_in], error.because)
}

fn main() -> ExitCode {
    chapter_cli::main::<Chapter2>()
}
