//! `cargo run -p decoder-layer`: the worked example, the figures, and `forward` on the
//! layers of today's models.

use crate::{DecoderLayer, example, figures, reading, slips as known, through_cache};
use anyhow::{Context, bail, ensure};
use attention::{Mask, files};
use chapter_cli::{Chapter, Described, Flag, Lack, Output, Sequence, Tensors, by_rows};
use checkpoint::{Attention, Rope, Scaling, Sight};
use multi_head::{Heads, MultiHeadAttended, Projected};
use nalgebra::DMatrix;
use rotary::Rotary;
use slips::{Bench, Compare};

/// The chapter, as its program runs it.
pub struct Chapter11;

/// A layer out of a file.
pub struct Loaded {
    /// As its description says.
    pub layer: DecoderLayer,
    /// As it would turn if the base alone said so.
    pub plain: Option<Rotary>,
}

#[derive(clap::Args)]
#[expect(missing_docs, reason = "clap would print it in the place of its own words")]
pub struct Flags {
    /// Run the first P tokens at once and the others one by one, over a cache
    ///
    /// The output is the same as without it.
    #[arg(long, value_name = "P")]
    pub cache: Option<usize>,
}

impl Chapter for Chapter11 {
    const NAME: &'static str = "decoder-layer";
    const FOLDER: &'static str = "11-decoder-layer";
    const ABOUT: &'static str =
        "The parts around the softmax in the layers of today's models";
    const FORWARD_HELP: &'static str = "\
Runs one attention layer as the config.json of its model describes it: heads that share
keys, norms of queries and keys, rotation of every kind, windows, scale factors, caps,
sinks, clipped projections. The tokens of x stand at 0, 1, 2, … The layer begins behind the
norm in front of it, and ends with its output projection: what is added to the residual.

The input file holds the tensors under the names and in the layout of the model's own
checkpoint, behind --prefix or with --layer, in F32, F16 or BF16. Of most models:

  q_proj.weight  [H · head_dim, d]      q_proj.bias  where the configuration says so
  k_proj.weight  [G · head_dim, d]      k_proj.bias  the same
  v_proj.weight  [G · head_dim, d]      v_proj.bias  the same
  o_proj.weight  [d, H · head_dim]      o_proj.bias  the same
  q_norm.weight, k_norm.weight, sinks   where its kind has them
  x              [n, d] or [b, n, d], here or in the file named by --x
  mask           [n, n] or [b, n, n], BOOL, optional, true = may attend: what it hides
                 is hidden beside what the layer hides itself

and of others one matrix for all three (qkv_proj, query_key_value), transposed (c_attn,
c_proj of GPT-2), or BERT's self.query, self.key, self.value and output.dense.

The output file holds y [n, d] and attention_weights [H, n, n], with a leading b where x
has one. Learned sinks take weight, so that rows sum to less than one.

  cargo run -p decoder-layer -- forward --input model.safetensors --x x.safetensors \\
      --output out.safetensors --config config.json --layer 3";

    type Flags = Flags;
    type Layer = Loaded;

    fn example() -> anyhow::Result<String> {
        example::told()
    }

    fn figures() -> anyhow::Result<Vec<::figures::Figure>> {
        figures::all()
    }

    fn flags_of(layer: &mut Described) -> Result<Vec<Flag>, Lack> {
        layer.everything()?;
        Ok(Vec::new())
    }

    fn load(_: &Flags, _: &Tensors) -> anyhow::Result<Loaded> {
        bail!(
            "--config is missing: the config.json of the model says which parts the layer \
             has; without one, the layer may be that of rotary (chapter 6)"
        )
    }

    fn load_described(
        described: &Attention,
        flags: &Flags,
        tensors: &Tensors,
    ) -> anyhow::Result<Loaded> {
        ensure!(
            flags.cache.is_none() || described.sight == Sight::Causal,
            "--cache: tokens of a {} model see those that follow, which no cache holds",
            described.kind
        );
        let layer = reading::layer(described, tensors)?;
        let plain =
            described.rope.as_ref().map(|rope| plain(rope, &layer)).transpose()?;
        Ok(Loaded { layer, plain })
    }

    const COMPARES: bool = true;

    fn compared<'a>(
        Loaded { layer, plain }: &'a Loaded,
        _: &Flags,
        s: &'a Sequence,
    ) -> anyhow::Result<Box<dyn Compare + 'a>> {
        let mask = mask(layer, s)?;
        layer.project(&s.x, &layer.parts().place(0..s.x.nrows(), s.x.nrows()))?;
        let steps = known::steps(layer, &s.x, &mask, plain.clone());
        Ok(Box::new(Bench::new(steps, known::slips())))
    }

    fn forward(
        Loaded { layer, .. }: &Loaded,
        flags: &Flags,
        s: &Sequence,
    ) -> anyhow::Result<Output> {
        let MultiHeadAttended { output, weights } = match flags.cache {
            Some(prompt) => {
                expect_no_mask(s)?;
                through_cache(layer, &s.x, prompt)?
            }
            None => layer.forward(&s.x, &mask(layer, s)?)?,
        };
        Ok(Output { y: output, attention_weights: weights })
    }

    fn forward_without_weights(
        loaded: &Loaded,
        flags: &Flags,
        s: &Sequence,
        rows: usize,
    ) -> anyhow::Result<DMatrix<f32>> {
        if flags.cache.is_some() {
            return Ok(Self::forward(loaded, flags, s)?.y);
        }
        let layer = &loaded.layer;
        let (n, mask) = (s.x.nrows(), mask(layer, s)?);
        let place = layer.parts().place(0..n, n);
        let Projected { q, k, v } = layer.project(&s.x, &place)?;
        by_rows(n, rows, |rows| {
            let of_rows = |all: &DMatrix<f32>| all.rows(rows.start, rows.len()).into();
            let (q, x): (DMatrix<f32>, DMatrix<f32>) = (of_rows(&q), of_rows(&s.x));
            let mask = files::mask_of_rows(&mask, rows.clone());
            let found = layer.parts().find(&q, k.as_view(), v.as_view(), &mask)?;
            Ok(layer.mix(&x, Heads { found, weights: Vec::new() })?.output)
        })
    }
}

/// The rotation that the base alone gives.
fn plain(rope: &Rope, layer: &DecoderLayer) -> anyhow::Result<Rotary> {
    let rope = Rope { scaling: Scaling::None, ..rope.clone() };
    Ok(Rotary::of(&rope, layer.parts().head_dim)?)
}

/// What the layer hides, and what the file hides besides.
///
/// # Errors
/// When it does not go together with the flags, or the file holds a context.
pub fn mask(layer: &DecoderLayer, s: &Sequence) -> anyhow::Result<Mask> {
    ensure!(
        s.context.is_none(),
        "the file holds a context; a decoder layer looks at x itself"
    );
    let own = layer.parts().mask(0);
    if s.mask.is_none() && s.real.is_none() {
        return Ok(own);
    }
    let n = s.x.nrows();
    let given = |query, key| s.mask.as_ref().is_none_or(|mask| mask[(query, key)]);
    let real = |key: usize| s.real.as_ref().is_none_or(|real| real[key]);
    let sees = |query, key| own.sees(query, key) && given(query, key) && real(key);
    Ok(Mask::Allowed(DMatrix::from_fn(n, n, sees)))
}

fn expect_no_mask(s: &Sequence) -> anyhow::Result<()> {
    let none = s.mask.is_none() && s.real.is_none() && s.context.is_none();
    none.then_some(()).context(
        "--cache: the file holds a mask or a context, and a cache serves one text without \
         padding: run it without --cache, or --ignore the mask",
    )
}
