//! `cargo run -p sliding-window`: the worked example, the figures, and `forward` on files.

use crate::{WindowAttention, example, figures, slips as known, through_cache};
use anyhow::{Context, anyhow, ensure};
use attention::{Mask, files};
use chapter_cli::{
    Chapter, Described, Flag, Lack, Output, ROPE_SCALING_HELP, Sequence, SharedHeads,
    Tensors, rope_scaling,
};
use checkpoint::Scaling;
use grouped_query::{GroupError, GroupedQueryAttention};
use multi_head::{LayerError, MultiHeadAttended, Projected};
use nalgebra::DMatrix;
use rotary::{Pairing, Rotary, RotaryAttention, RotaryError};
use slips::{Bench, Compare};

/// The chapter, as its program runs it.
pub struct Chapter10;

// clap shows this text as it stands, and would show backticks, too.
#[expect(clippy::doc_markdown)]
#[derive(clap::Args)]
#[expect(missing_docs, reason = "clap would print it in the place of its own words")]
pub struct Flags {
    /// How many query heads the layer has
    #[arg(long, value_name = "H")]
    pub heads: usize,

    /// How many key/value heads they share; divides H
    #[arg(long, value_name = "G")]
    pub kv_heads: usize,

    /// How many tokens a token sees, itself included: sliding_window in config.json
    #[arg(long, value_name = "W")]
    pub window: usize,

    /// Run the first P tokens at once, and the others one by one through a ring of W slots
    /// [default: all at once, without a cache]
    #[arg(long, value_name = "P")]
    pub cache: Option<usize>,

    /// The base of the frequencies, rope_theta in config.json
    #[arg(
        long,
        value_name = "THETA",
        default_value_t = 10_000.0,
        allow_hyphen_values = true
    )]
    pub rope_theta: f64,

    #[arg(
        long,
        value_name = "KIND,NUMBERS",
        value_parser = rope_scaling,
        allow_hyphen_values = true,
        help = ROPE_SCALING_HELP
    )]
    pub rope_scaling: Option<Scaling>,

    /// What turns also grows by this factor, attention_factor of rope_scaling in
    /// config.json
    #[arg(long, value_name = "A", default_value_t = 1.0, allow_hyphen_values = true)]
    pub rope_amplitude: f64,

    /// So many features of a head turn, the first ones; without it, all of them
    #[arg(long, value_name = "R")]
    pub rotary_dim: Option<usize>,

    /// Turn features 2i and 2i + 1 together, and not i and i + head_dim/2
    #[arg(long)]
    pub interleaved: bool,
}

impl Chapter for Chapter10 {
    const NAME: &'static str = "sliding-window";
    const FOLDER: &'static str = "10-sliding-window";
    const ABOUT: &'static str =
        "Sliding window: a token looks back a fixed number of tokens";
    const FORWARD_HELP: &'static str = "\
Runs one attention layer of Mistral: that of chapter 6, where token i sees the tokens
i - W + 1 to i, which are W with itself. The tokens of x stand at 0, 1, 2, …

The input file holds, in F32, F16 or BF16, under the names of PyTorch and Hugging Face:

  q_proj.weight  [H · head_dim, d]      q_proj.bias  optional
  k_proj.weight  [G · head_dim, d]      k_proj.bias  optional
  v_proj.weight  [G · v_dim, d]         v_proj.bias  optional
  o_proj.weight  [d_out, H · v_dim]     o_proj.bias  optional
  x              [n, d] or [b, n, d], here or in the file named by --x
  mask           [n, n] or [b, n, n], BOOL, optional, true = may attend, as far
                 as the window lets it; the same for all heads; not with --cache

head_dim is even. Pair i of a head's features turns by THETA^(-2i/head_dim) radians per
token: features i and i + head_dim/2, as Transformers has it, or 2i and 2i + 1 with
--interleaved. A context in the file is refused: it would stand at no position.

The output file holds y [n, d_out] and attention_weights [H, n, n], with a leading b
where x has one. With --no-weights, tiles outside of the window are skipped. What a query
that may attend to nothing gets from the heads is zeros, so that its row of y is the bias
of o_proj. With --cache the result is the same, and keys and values of W tokens are kept.

  cargo run -p sliding-window -- forward --input layer.safetensors \\
      --output out.safetensors --heads 32 --kv-heads 8 --window 4096";

    type Flags = Flags;
    type Layer = WindowAttention;

    fn example() -> anyhow::Result<String> {
        Ok(example::five_tokens()? + "\n" + &example::ring()?)
    }

    fn figures() -> anyhow::Result<Vec<::figures::Figure>> {
        figures::all()
    }

    fn flags_of(layer: &mut Described) -> Result<Vec<Flag>, Lack> {
        let SharedHeads { heads, kv_heads } = layer.groups()?;
        let turning = layer.turning()?;
        layer.causal()?;
        let Some(window) = layer.window() else {
            return layer.never("this layer has no window");
        };
        let [theta, scaling, amplitude] = turning.flags();
        let features = turning.features.map(|features| [features as f64]);
        Ok(vec![
            Flag::value("--heads", &heads),
            Flag::value("--kv-heads", &kv_heads),
            Flag::value("--window", &window),
            theta,
            scaling,
            amplitude,
            Flag::numbers("--rotary-dim", features.as_ref().map(|one| &one[..])),
            Flag::switch("--interleaved", turning.interleaved),
        ])
    }

    fn load(flags: &Flags, tensors: &Tensors) -> anyhow::Result<WindowAttention> {
        ensure!(
            u32::try_from(flags.window).is_ok(),
            "--window {}: no text is as long; leave the window out with `rotary`",
            flags.window
        );
        let linear = |name| files::linear(tensors, name);
        let [q, k, v, o] = ["q_proj", "k_proj", "v_proj", "o_proj"].map(linear);
        let Flags { heads, kv_heads, window, .. } = *flags;
        let q = q?;
        let width = q.shape().1;
        let layer = GroupedQueryAttention::new(q, k?, v?, o?, heads, kv_heads);
        let layer = layer.map_err(|error| match error {
            GroupError::Layer(LayerError::Shape(error)) => {
                files::misfit(tensors, &error).into()
            }
            other => anyhow!("--heads {heads} --kv-heads {kv_heads}: {other}"),
        })?;
        let layer = RotaryAttention::new(layer, turns(flags, width / heads)?)?;
        WindowAttention::new(layer, window)
            .with_context(|| format!("--window {window}"))
    }

    const COMPARES: bool = true;

    fn compared<'a>(
        layer: &'a WindowAttention,
        flags: &Flags,
        s: &'a Sequence,
    ) -> anyhow::Result<Box<dyn Compare + 'a>> {
        let mask = mask(layer, flags, s)?;
        layer.layer().project(&s.x, 0)?;
        let prompt = flags.cache.unwrap_or(s.x.nrows()).min(s.x.nrows());
        let rotary = layer.layer().rotary();
        let pairing =
            if flags.interleaved { Pairing::Neighbors } else { Pairing::Halves };
        let plain = Rotary::new(rotary.features(), flags.rope_theta, pairing)?;
        let plain = plain.in_heads_of(rotary.head_dim())?;
        let steps = known::steps(layer, &s.x, &[prompt], &mask, plain);
        Ok(Box::new(Bench::new(steps, known::slips())))
    }

    fn forward(
        layer: &WindowAttention,
        flags: &Flags,
        s: &Sequence,
    ) -> anyhow::Result<Output> {
        let mask = mask(layer, flags, s)?;
        let MultiHeadAttended { output, weights } = match (flags.cache, mask) {
            (Some(prompt), _) => through_ring(layer, &s.x, prompt)?,
            (None, Mask::Window { .. }) => layer.forward(&s.x)?,
            (None, mask) => layer.layer().forward(&s.x, &mask)?,
        };
        Ok(Output { y: output, attention_weights: weights })
    }

    fn forward_without_weights(
        layer: &WindowAttention,
        flags: &Flags,
        s: &Sequence,
        _: usize,
    ) -> anyhow::Result<DMatrix<f32>> {
        let mask = mask(layer, flags, s)?;
        if let Some(prompt) = flags.cache {
            return Ok(through_ring(layer, &s.x, prompt)?.output);
        }
        let Projected { q, k, v } = layer.layer().project(&s.x, 0)?;
        let grouped = layer.layer().layer();
        let (k, v) = (k.as_view(), v.as_view());
        let found = flash::attend(&q, k, v, grouped.groups(), &mask)?;
        Ok(grouped.o_proj().forward(&found)?)
    }
}

/// Through a ring that has no more slots than there are tokens: a wider window is none.
fn through_ring(
    layer: &WindowAttention,
    x: &DMatrix<f32>,
    prompt: usize,
) -> anyhow::Result<MultiHeadAttended> {
    let most = x.nrows().max(1);
    if layer.window() <= most {
        return Ok(through_cache(layer, x, prompt)?);
    }
    let narrow = WindowAttention::new(layer.layer().clone(), most)?;
    Ok(through_cache(&narrow, x, prompt)?)
}

/// The window, or what of it a mask in the file and padding leave.
///
/// # Errors
/// When it does not go together with the flags, or the file holds a context.
pub fn mask(
    layer: &WindowAttention,
    flags: &Flags,
    s: &Sequence,
) -> anyhow::Result<Mask> {
    ensure!(
        s.context.is_none(),
        "the file holds a context; a layer with a window looks at x itself, where every \
         token has a position"
    );
    let window = Mask::Window { offset: 0, window: layer.window() };
    match files::mask(s, false)? {
        Mask::Allowed(allowed) => {
            ensure!(
                flags.cache.is_none(),
                "--cache and a mask or padding in the file: the ring keeps every token"
            );
            let (n, m) = allowed.shape();
            Ok(Mask::Allowed(DMatrix::from_fn(n, m, |query, key| {
                allowed[(query, key)] && window.sees(query, key)
            })))
        }
        _ => Ok(window),
    }
}

/// How the heads of a layer turn, as the flags say.
fn turns(flags: &Flags, head_dim: usize) -> anyhow::Result<Rotary> {
    let Flags { heads, rope_theta, interleaved, .. } = *flags;
    let pairing = if interleaved { Pairing::Neighbors } else { Pairing::Halves };
    let features = flags.rotary_dim.unwrap_or(head_dim);
    let rotary = Rotary::new(features, rope_theta, pairing);
    let rotary = rotary.map_err(|error| match error {
        RotaryError::Unpaired { .. } if flags.rotary_dim.is_some() => {
            anyhow!("--rotary-dim: {features} features cannot be split into pairs")
        }
        RotaryError::Unpaired { .. } => anyhow!("--heads {heads}: {error}"),
        other => anyhow!("--rope-theta: {other}"),
    })?;
    let scaling = flags.rope_scaling.as_ref().unwrap_or(&Scaling::None);
    let rotary = rotary.stretched(rope_theta, scaling).context("--rope-scaling")?;
    let rotary = rotary.amplified(flags.rope_amplitude).context("--rope-amplitude")?;
    rotary.in_heads_of(head_dim).context("--rotary-dim")
}
