//! `cargo run -p decoding`: the worked example, the figures, and `forward` on files.

use attention::{Mask, ShapeError, files};
use chapter_cli::{Chapter, Described, Flag, Lack, Output, Sequence, Tensors, by_rows};
use decoding::{
    CacheError, KvCache, decode, example, figures, slips as known, through_cache,
};
use multi_head::{
    Heads, LayerError, MultiHeadAttended, MultiHeadAttention, Projected, attend_heads,
};
use nalgebra::DMatrix;
use slips::{Bench, Compare};
use std::ops::Range;
use std::process::ExitCode;

struct Chapter3;

#[derive(clap::Args)]
struct Flags {
    /// How many heads share the projections
    #[arg(long, value_name = "H")]
    heads: usize,

    /// How many tokens to run at once before the others follow one by one
    #[arg(long, value_name = "P", default_value_t = 0)]
    prefill: usize,
}

impl Chapter for Chapter3 {
    const NAME: &'static str = "decoding";
    const FOLDER: &'static str = "03-decoding";
    const ABOUT: &'static str =
        "Decoding: one token at a time, through a cache of keys and values";
    const FORWARD_HELP: &'static str = "\
Runs one multi-head attention layer as a model does that writes: the first P tokens at
once, the others one by one, each looking at the keys and values that are kept of the
tokens before it and at its own. The output is that of one causal pass.

The input file holds, in F32, F16 or BF16, under the names of PyTorch and Hugging Face:

  q_proj.weight  [H · head_dim, d]   q_proj.bias  optional
  k_proj.weight  [H · head_dim, d]   k_proj.bias  optional
  v_proj.weight  [H · v_dim, d]      v_proj.bias  optional
  o_proj.weight  [d_out, H · v_dim]  o_proj.bias  optional
  x              [n, d] or [b, n, d], here or in the file named by --x

P may be 0, which runs all tokens one by one, up to n, which runs them all at once. A
context or a mask in the file is refused: a token looks at itself and what came before.

The output file holds y [n, d_out] and attention_weights [H, n, n], which are 0 for the
future, with a leading b where x has one.

  cargo run -p decoding -- forward --input layer.safetensors \\
      --output out.safetensors --heads 8 --prefill 16";

    type Flags = Flags;
    type Layer = MultiHeadAttention;

    fn example() -> anyhow::Result<String> {
        example::three_tokens()
    }

    fn figures() -> anyhow::Result<Vec<::figures::Figure>> {
        figures::all()
    }

    fn flags_of(layer: &mut Described) -> Result<Vec<Flag>, Lack> {
        layer.causal()?;
        Ok(vec![Flag::value("--heads", &layer.heads_alone()?)])
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
        let prompt = prompt(flags, s)?;
        let attended = through_cache(layer, &s.x, prompt);
        let MultiHeadAttended { output, weights } =
            attended.map_err(|error| of_all_tokens(error, s.x.nrows()))?;
        Ok(Output { y: output, attention_weights: weights })
    }

    fn forward_without_weights(
        layer: &MultiHeadAttention,
        flags: &Flags,
        s: &Sequence,
        rows: usize,
    ) -> anyhow::Result<DMatrix<f32>> {
        let (n, prompt) = (s.x.nrows(), prompt(flags, s)?);
        let (key_width, value_width) = layer.kv_widths();
        let mut cache = KvCache::new(n, key_width, value_width);
        let x = |rows: Range<usize>| s.x.rows(rows.start, rows.len()).into_owned();
        let whole = |error| of_all_tokens(error, n);
        // All keys of the prompt for each part of its queries: parts of one size take the
        // memory of the part before.
        let Projected { q, k, v } = layer
            .project(&x(0..prompt), &x(0..prompt))
            .map_err(|error| whole(error.into()))?;
        cache.append(&k, &v)?;
        let parts = by_rows(prompt, rows, |rows| {
            let q = q.rows(rows.start, rows.len()).into_owned();
            let causal = Mask::Causal { offset: rows.start };
            let Heads { found, .. } = attend_heads(&q, &k, &v, layer.heads(), &causal)?;
            Ok(layer.o_proj().forward(&found)?)
        })?;
        let mut y = parts.resize_vertically(n, 0.0);
        for token in prompt..n {
            let one = decode(layer, &x(token..token + 1), &mut cache).map_err(whole)?;
            y.rows_mut(token, 1).copy_from(&one.output);
        }
        Ok(y)
    }

    const COMPARES: bool = true;

    fn compared<'a>(
        layer: &'a MultiHeadAttention,
        flags: &Flags,
        s: &'a Sequence,
    ) -> anyhow::Result<Box<dyn Compare + 'a>> {
        let prompt = prompt(flags, s)?;
        layer.project(&s.x, &s.x)?;
        let steps = known::steps(layer, &s.x, prompt);
        Ok(Box::new(Bench::new(steps, known::slips())))
    }

    /// The weights of the prompt, and those of all tokens.
    fn copies_of_weights(_: &Flags) -> usize {
        2
    }
}

/// How many tokens to run at once, if the sequence is one to decode.
fn prompt(flags: &Flags, s: &Sequence) -> anyhow::Result<usize> {
    let refused = [
        ("context", s.context.is_some()),
        ("mask", s.mask.is_some()),
        ("mask of padding", s.real.is_some()),
    ];
    if let Some((name, _)) = refused.iter().find(|(_, found)| *found) {
        anyhow::bail!(
            "the file holds a {name}; decoding looks at x itself, each token at \
             what came before"
        );
    }
    let (n, prompt) = (s.x.nrows(), flags.prefill);
    // Without tokens there is nothing to run, in whatever pieces.
    if prompt > n && n > 0 {
        anyhow::bail!("--prefill {prompt}: x has no more than {n} tokens");
    }
    Ok(prompt.min(n))
}

/// It is the prompt that does not fit; the file has all `tokens` of x.
fn of_all_tokens(error: CacheError, tokens: usize) -> CacheError {
    match error {
        CacheError::Shape(ShapeError { tensor: "x", expected, found, because }) => {
            let [expected, found] = [expected, found].map(|shape| (tokens, shape.1));
            CacheError::Shape(ShapeError { tensor: "x", expected, found, because })
        }
        other => other,
    }
}

fn main() -> ExitCode {
    chapter_cli::main::<Chapter3>()
}
