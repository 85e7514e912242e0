//! `cargo run -p rotary`: the worked example, the figures, `forward` on files, and
//! `permute` for checkpoints.

use crate::{
    Pairing, Rotary, RotaryAttention, RotaryError, example, figures, permute,
    slips as known,
};
use anyhow::Context;
use attention::{ShapeError, files};
use chapter_cli::{
    Chapter, Described, Flag, Lack, Output, ROPE_SCALING_HELP, Sequence, SharedHeads,
    Tensors, by_rows, rope_scaling,
};
use checkpoint::Scaling;
use clap::{Args, FromArgMatches};
use grouped_query::{GroupError, GroupedQueryAttention, attend_groups};
use multi_head::{Heads, LayerError, MultiHeadAttended, Projected};
use nalgebra::DMatrix;
use slips::{Bench, Compare};
use std::io::Write;

/// The chapter, as its program runs it.
pub struct Chapter6;

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

    /// Turn features 2i and 2i + 1 together, as Meta's own files and DeepSeek's want it,
    /// and not i and i + head_dim/2
    #[arg(long)]
    pub interleaved: bool,

    /// Let token i see tokens 0 to i alone
    #[arg(long)]
    pub causal: bool,
}

impl Chapter for Chapter6 {
    const NAME: &'static str = "rotary";
    const FOLDER: &'static str = "06-rotary";
    const ABOUT: &'static str =
        "Rotary positions: queries and keys turn as tokens go by";
    const FORWARD_HELP: &'static str = "\
Runs one attention layer of Llama: grouped heads as in chapter 5, whose queries and keys
are turned by angles that grow with the position of their token. The tokens of x stand
at 0, 1, 2, … Without --causal every token sees all of them.

The input file holds, in F32, F16 or BF16, under the names of PyTorch and Hugging Face:

  q_proj.weight  [H · head_dim, d]      q_proj.bias  optional
  k_proj.weight  [G · head_dim, d]      k_proj.bias  optional
  v_proj.weight  [G · v_dim, d]         v_proj.bias  optional
  o_proj.weight  [d_out, H · v_dim]     o_proj.bias  optional
  x              [n, d] or [b, n, d], here or in the file named by --x
  mask           [n, n] or [b, n, n], BOOL, optional, true = may attend;
                 the same for all heads; with --causal only if it hides later
                 tokens, too
  rotary_emb.inv_freq  [R/2], optional: held to the frequencies of the flags

The first R features of each head turn, all of them without --rotary-dim; R is even. Pair
i turns by THETA^(-2i/R) radians per token: features i and i + R/2, as Transformers has
it, or 2i and 2i + 1 with --interleaved. With --rope-scaling the frequencies differ from
these; those of dynamic and longrope are the ones of a text as long as x. A context in the file is refused: it would stand at no position.

The output file holds y [n, d_out] and attention_weights [H, n, n], with a leading b
where x has one. What a query that may attend to nothing gets from the heads is zeros,
so that its row of y is the bias of o_proj.

  cargo run -p rotary -- forward --input layer.safetensors --output out.safetensors \\
      --heads 32 --kv-heads 8 --rope-theta 500000 --rope-scaling 8,1,4,8192 --causal";

    type Flags = Flags;
    type Layer = RotaryAttention;

    fn example() -> anyhow::Result<String> {
        Ok(example::three_tokens()? + "\n" + &example::shifted()?)
    }

    fn figures() -> anyhow::Result<Vec<::figures::Figure>> {
        figures::all()
    }

    fn flags_of(layer: &mut Described) -> Result<Vec<Flag>, Lack> {
        let SharedHeads { heads, kv_heads } = layer.groups()?;
        let turning = layer.turning()?;
        let [theta, scaling, amplitude] = turning.flags();
        let features = turning.features.map(|features| [features as f64]);
        Ok(vec![
            Flag::value("--heads", &heads),
            Flag::value("--kv-heads", &kv_heads),
            theta,
            scaling,
            amplitude,
            Flag::numbers("--rotary-dim", features.as_ref().map(|one| &one[..])),
            Flag::switch("--interleaved", turning.interleaved),
            Flag::switch("--causal", layer.is_causal()),
        ])
    }

    fn load(flags: &Flags, tensors: &Tensors) -> anyhow::Result<RotaryAttention> {
        let linear = |name| files::linear(tensors, name);
        let [q, k, v, o] = ["q_proj", "k_proj", "v_proj", "o_proj"].map(linear);
        let Flags { heads, kv_heads, .. } = *flags;
        let q = q?;
        let width = q.shape().1;
        let layer = GroupedQueryAttention::new(q, k?, v?, o?, heads, kv_heads);
        let layer = layer.map_err(|error| match error {
            GroupError::Layer(LayerError::Shape(error)) => misfit(tensors, &error),
            other => anyhow::anyhow!("--heads {heads} --kv-heads {kv_heads}: {other}"),
        })?;
        let rotary = turns(flags, width / heads)?;
        expect_frequencies(tensors, &rotary)?;
        Ok(RotaryAttention::new(layer, rotary)?)
    }

    fn forward(
        layer: &RotaryAttention,
        flags: &Flags,
        s: &Sequence,
    ) -> anyhow::Result<Output> {
        expect_no_context(s)?;
        let mask = files::mask(s, flags.causal)?;
        let MultiHeadAttended { output, weights } = layer.forward(&s.x, &mask)?;
        Ok(Output { y: output, attention_weights: weights })
    }

    fn forward_without_weights(
        layer: &RotaryAttention,
        flags: &Flags,
        s: &Sequence,
        rows: usize,
    ) -> anyhow::Result<DMatrix<f32>> {
        expect_no_context(s)?;
        let mask = files::mask(s, flags.causal)?;
        let Projected { q, k, v } = layer.project(&s.x, 0)?;
        let (k, v, groups) = (k.as_view(), v.as_view(), layer.layer().groups());
        by_rows(s.x.nrows(), rows, |rows| {
            let q = q.rows(rows.start, rows.len()).into_owned();
            let mask = files::mask_of_rows(&mask, rows);
            let Heads { found, .. } = attend_groups(&q, k, v, groups, &mask)?;
            Ok(layer.layer().o_proj().forward(&found)?)
        })
    }

    const COMPARES: bool = true;

    fn compared<'a>(
        layer: &'a RotaryAttention,
        flags: &Flags,
        s: &'a Sequence,
    ) -> anyhow::Result<Box<dyn Compare + 'a>> {
        expect_no_context(s)?;
        let mask = files::mask(s, flags.causal)?;
        layer.project(&s.x, 0)?;
        let plain = Rotary::new(
            layer.rotary().features(),
            flags.rope_theta,
            if flags.interleaved { Pairing::Neighbors } else { Pairing::Halves },
        )?
        .in_heads_of(layer.rotary().head_dim())?;
        let steps = known::steps(layer, &s.x, &mask, plain);
        Ok(Box::new(Bench::new(steps, known::slips())))
    }

    fn commands() -> Vec<clap::Command> {
        vec![permute::Arguments::augment_args(clap::Command::new("permute"))]
    }

    fn obey(
        _: &str,
        arguments: &clap::ArgMatches,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let arguments = permute::Arguments::from_arg_matches(arguments)?;
        permute::permute(&arguments, stdout, stderr)
    }
}

/// Refuses a context: its tokens would stand at no position.
///
/// # Errors
/// When the file holds one.
pub fn expect_no_context(s: &Sequence) -> anyhow::Result<()> {
    anyhow::ensure!(
        s.context.is_none(),
        "the file holds a context; a rotary layer looks at x itself, where every token \
         has a position"
    );
    Ok(())
}

/// Checkpoints of older models keep their frequencies. The flags have to say the same.
fn expect_frequencies(tensors: &Tensors, rotary: &Rotary) -> anyhow::Result<()> {
    const NAME: &str = "rotary_emb.inv_freq";
    if !tensors.contains(NAME) {
        return Ok(());
    }
    let (found, wanted) = (tensors.vector(NAME)?, rotary.frequencies());
    if found.len() != wanted.len() {
        let because = "a head has one frequency for each pair of features";
        return Err(tensors.mismatch(NAME, &[wanted.len()], because).into());
    }
    // In half precision they have three digits, and the smallest have fewer.
    let is_f32 = tensors.raw(NAME)?.bytes.len() == 4 * found.len();
    let (relative, absolute) = if is_f32 { (1e-5, 0.0) } else { (4e-3, 6e-8) };
    for (pair, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        anyhow::ensure!(
            (found - wanted).abs() <= relative * wanted + absolute,
            "{}: pair {pair} turns by {found} radians per token, and by {wanted} as the \
             flags have it: --rope-theta and --rope-scaling say how the layer turns",
            tensors.full_name(NAME)
        );
    }
    Ok(())
}

/// How the heads of a layer turn, as the flags say.
fn turns(flags: &Flags, head_dim: usize) -> anyhow::Result<Rotary> {
    let Flags { heads, rope_theta, interleaved, rope_amplitude, .. } = *flags;
    let pairing = if interleaved { Pairing::Neighbors } else { Pairing::Halves };
    let features = flags.rotary_dim.unwrap_or(head_dim);
    let rotary = Rotary::new(features, rope_theta, pairing);
    let rotary = rotary.map_err(|error| match error {
        RotaryError::Unpaired { .. } if flags.rotary_dim.is_some() => {
            anyhow::anyhow!(
                "--rotary-dim: {features} features cannot be split into pairs"
            )
        }
        RotaryError::Unpaired { .. } => anyhow::anyhow!("--heads {heads}: {error}"),
        other => anyhow::anyhow!("--rope-theta: {other}"),
    })?;
    let rotary = match &flags.rope_scaling {
        Some(scaling) => {
            rotary.stretched(rope_theta, scaling).context("--rope-scaling")?
        }
        None => rotary,
    };
    let rotary = rotary.amplified(rope_amplitude).context("--rope-amplitude")?;
    rotary.in_heads_of(head_dim).context("--rotary-dim")
}

/// A projection that does not fit, in the shapes of its file.
fn misfit(tensors: &Tensors, error: &ShapeError) -> anyhow::Error {
    files::misfit(tensors, error).into()
}
