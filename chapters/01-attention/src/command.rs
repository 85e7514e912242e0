//! `cargo run -p attention`: the worked example, the figures, and `forward` on files.

use crate::{Attended, Attention, example, figures, files, slips as known};
use chapter_cli::{Chapter, Described, Flag, Lack, Output, Sequence, Tensors, by_rows};
use nalgebra::DMatrix;
use slips::{Bench, Compare};

/// The chapter, as its program runs it.
pub struct Chapter1;

#[derive(clap::Args)]
#[expect(missing_docs, reason = "clap would print it in the place of its own words")]
pub struct Flags {
    /// Let token i see tokens 0 to i alone. In cross-attention both sequences are counted
    /// from their first token, as `is_causal` does in PyTorch.
    #[arg(long)]
    pub causal: bool,
}

impl Chapter for Chapter1 {
    const NAME: &'static str = "attention";
    const FOLDER: &'static str = "01-attention";
    const ABOUT: &'static str = "Scaled dot-product attention, one head";
    const FORWARD_HELP: &'static str = "\
Runs one attention layer, as torch.nn.Linear projections around softmax(Q Kᵀ / √d_k) V.

The input file holds, in F32, F16 or BF16, under the names of PyTorch and Hugging Face:

  q_proj.weight  [d_k, d]  q_proj.bias  [d_k]   optional
  k_proj.weight  [d_k, c]  k_proj.bias  [d_k]   optional
  v_proj.weight  [d_v, c]  v_proj.bias  [d_v]   optional
  x              [n, d] or [b, n, d], here or in the file named by --x
  context        [m, c] or [b, m, c], optional: keys and values
                 are read from it (cross-attention); without it, from x
  mask           [n, m] or [b, n, m], BOOL, optional, true = may attend;
                 with --causal only if it hides later tokens, too

The output file holds y [n, d_v] and attention_weights [1, n, m], with a leading b
where x has one. A query that may attend to nothing gets a row of zeros.

  cargo run -p attention -- forward --input layer.safetensors --output out.safetensors";

    type Flags = Flags;
    type Layer = Attention;

    fn example() -> anyhow::Result<String> {
        Ok([example::three_tokens()?, example::map()?, example::it()?].join("\n"))
    }

    fn figures() -> anyhow::Result<Vec<::figures::Figure>> {
        figures::all()
    }

    fn flags_of(layer: &mut Described) -> Result<Vec<Flag>, Lack> {
        layer.one_head()?;
        Ok(vec![Flag::switch("--causal", layer.is_causal())])
    }

    fn load(_: &Flags, tensors: &Tensors) -> anyhow::Result<Attention> {
        let linear = |name| files::linear(tensors, name);
        let [q, k, v] = ["q_proj", "k_proj", "v_proj"].map(linear);
        Attention::new(q?, k?, v?)
            .map_err(|error| files::misfit(tensors, &error).into())
    }

    fn forward(
        layer: &Attention,
        flags: &Flags,
        s: &Sequence,
    ) -> anyhow::Result<Output> {
        let mask = files::mask(s, flags.causal)?;
        let context = s.context.as_ref().unwrap_or(&s.x);
        let Attended { output, weights } = layer.forward_cross(&s.x, context, &mask)?;
        Ok(Output { y: output, attention_weights: vec![weights] })
    }

    fn forward_without_weights(
        layer: &Attention,
        flags: &Flags,
        s: &Sequence,
        rows: usize,
    ) -> anyhow::Result<DMatrix<f32>> {
        let mask = files::mask(s, flags.causal)?;
        let context = s.context.as_ref().unwrap_or(&s.x);
        by_rows(s.x.nrows(), rows, |rows| {
            let x = s.x.rows(rows.start, rows.len()).into_owned();
            let mask = files::mask_of_rows(&mask, rows);
            Ok(layer.forward_cross(&x, context, &mask)?.output)
        })
    }

    const COMPARES: bool = true;

    fn compared<'a>(
        layer: &'a Attention,
        flags: &Flags,
        s: &'a Sequence,
    ) -> anyhow::Result<Box<dyn Compare + 'a>> {
        let mask = files::mask(s, flags.causal)?;
        let context = s.context.as_ref().unwrap_or(&s.x);
        layer.forward_cross(&s.x, context, &mask)?;
        let steps = known::steps(layer, &s.x, context, &mask);
        Ok(Box::new(Bench::new(steps, known::slips())))
    }
}
