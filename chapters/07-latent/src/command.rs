//! `cargo run -p latent`: the worked example, the figures, and `forward` on files.

use crate::{
    Form, LatentAttention, LatentError, Projections, Queries, QueryProjection, RmsNorm,
    Sharpness, Sizes, example, figures, slips as known,
};
use attention::files;
use chapter_cli::{
    Chapter, Described, Flag, Lack, LatentHeads, Output, ROPE_SCALING_HELP, Sequence,
    Tensors, by_rows, rope_scaling,
};
use checkpoint::{Scaling, Temperature};
use multi_head::MultiHeadAttended;
use nalgebra::DMatrix;
use rotary::{Pairing, Rotary, RotaryError};
use slips::{Bench, Compare};

/// The chapter, as its program runs it.
pub struct Chapter7;

#[derive(clap::Args)]
#[expect(missing_docs, reason = "clap would print it in the place of its own words")]
pub struct Flags {
    /// How many heads the layer has
    #[arg(long, value_name = "H")]
    pub heads: usize,

    /// Features of a query and a key that are not turned (`qk_nope_head_dim`)
    #[arg(long, value_name = "N")]
    pub nope_dim: usize,

    /// Features of a query and a key that are turned (`qk_rope_head_dim`); even
    #[arg(long, value_name = "R")]
    pub rope_dim: usize,

    /// Features of a value (`v_head_dim`)
    #[arg(long, value_name = "V")]
    pub v_dim: usize,

    /// Base of the rotary frequencies
    #[arg(long, value_name = "THETA", default_value_t = 10_000.0)]
    pub rope_theta: f64,

    #[arg(
        long,
        value_name = "KIND,NUMBERS",
        value_parser = rope_scaling,
        allow_hyphen_values = true,
        help = ROPE_SCALING_HELP
    )]
    pub rope_scaling: Option<Scaling>,

    /// What turns also grows by this factor (`attention_factor`)
    #[arg(long, value_name = "A", default_value_t = 1.0, allow_hyphen_values = true)]
    pub rope_amplitude: f64,

    /// Multiply the scores by this besides: the square of the temperature that
    /// `mscale_all_dim` gives
    #[arg(long, value_name = "M", default_value_t = 1.0, allow_hyphen_values = true)]
    pub mscale: f64,

    /// Multiply the query at position p by 1 + BETA · ln(1 + ⌊p / CONTEXT⌋), as Mistral 4
    #[arg(
        long,
        value_name = "BETA,CONTEXT",
        value_parser = temperature,
        allow_hyphen_values = true
    )]
    pub temperature: Option<Temperature>,

    /// Turn features i and i + R/2 of a head together (`rope_interleave`: false), and not
    /// 2i and 2i + 1, as DeepSeek's weights want it
    #[arg(long)]
    pub half_split: bool,

    /// Let token i see tokens 0 to i alone
    #[arg(long)]
    pub causal: bool,

    /// Bring the queries to the latents instead of making keys and values: the same
    /// output, computed in another order
    #[arg(long)]
    pub absorb: bool,
}

/// Two numbers with a comma between them.
fn temperature(text: &str) -> Result<Temperature, String> {
    let numbers: Vec<Option<f64>> =
        text.split(',').map(|number| number.trim().parse().ok()).collect();
    match numbers[..] {
        [Some(beta), Some(trained)] if beta.is_finite() && trained >= 1.0 => {
            Ok(Temperature { beta, trained })
        }
        _ => Err("wanted two numbers, as in 0.1,8192".to_owned()),
    }
}

impl Chapter for Chapter7 {
    const NAME: &'static str = "latent";
    const FOLDER: &'static str = "07-latent";
    const ABOUT: &'static str =
        "Latent attention: one small vector per token instead of keys and values";
    const FORWARD_HELP: &'static str = "\
Runs one layer of DeepSeek's multi-head latent attention. Each of H heads has N features
of a query and key that are not turned, R that are, and V features of a value. The scores
are divided by √(N + R), and multiplied by M where --mscale gives it. Token i stands at position i; neighboring features are turned
together, as in DeepSeek's checkpoints, or, with --half-split, features i and i + R/2, as
in MiniCPM3 and where config.json says \"rope_interleave\": false.

The input file holds, in F32, F16 or BF16, under DeepSeek's names, with the rank L of the
latent and the rank Q of that of the queries:

  kv_a_proj_with_mqa.weight  [L + R, d]          .bias  optional
  kv_a_layernorm.weight      [L]
  kv_b_proj.weight           [H · (N + V), L]    .bias  optional
  o_proj.weight              [d_out, H · V]      .bias  optional
  and either
  q_proj.weight              [H · (N + R), d]    .bias  optional
  or
  q_a_proj.weight            [Q, d]              .bias  optional
  q_a_layernorm.weight       [Q]
  q_b_proj.weight            [H · (N + R), Q]    .bias  optional
  and
  x              [n, d] or [b, n, d], here or in the file named by --x
  mask           [n, n] or [b, n, n], BOOL, optional, true = may attend;
                 the same for all heads; with --causal only if it hides later
                 tokens, too

Both norms divide by the root of the mean square plus 1e-6. A context in the file is
refused: the tokens of x look at one another.

The output file holds y [n, d_out] and attention_weights [H, n, n], with a leading b
where x has one. What a query that may attend to nothing gets from the heads is zeros,
so that its row of y is the bias of o_proj.

  cargo run -p latent -- forward --input layer.safetensors --output out.safetensors \\
      --heads 16 --nope-dim 128 --rope-dim 64 --v-dim 128 --causal --absorb";

    type Flags = Flags;
    type Layer = LatentAttention;

    fn example() -> anyhow::Result<String> {
        Ok(example::three_tokens()? + "\n" + &example::cache_table()?)
    }

    fn figures() -> anyhow::Result<Vec<::figures::Figure>> {
        figures::all()
    }

    fn flags_of(layer: &mut Described) -> Result<Vec<Flag>, Lack> {
        let LatentHeads { heads, nope_dim, rope_dim, v_dim } =
            layer.latent(RmsNorm::EPS.into())?;
        let turning = layer.turning()?;
        let [theta, scaling, amplitude] = turning.flags();
        let sharpness = layer.sharpness();
        let mscale = (sharpness.mscale != 1.0).then_some([sharpness.mscale]);
        let grows = sharpness.temperature;
        Ok(vec![
            Flag::value("--heads", &heads),
            Flag::value("--nope-dim", &nope_dim),
            Flag::value("--rope-dim", &rope_dim),
            Flag::value("--v-dim", &v_dim),
            theta,
            scaling,
            amplitude,
            Flag::numbers("--mscale", mscale.as_ref().map(|one| &one[..])),
            Flag::numbers("--temperature", grows.as_ref().map(|two| &two[..])),
            Flag::switch("--half-split", !turning.interleaved),
            Flag::switch("--causal", layer.is_causal()),
        ])
    }

    fn load(flags: &Flags, tensors: &Tensors) -> anyhow::Result<LatentAttention> {
        let linear = |name| files::linear(tensors, name);
        let norm = |name: &str| -> anyhow::Result<RmsNorm> {
            let weight = tensors.vector(&format!("{name}.weight"))?;
            Ok(RmsNorm::new(weight.as_slice().to_vec()))
        };
        // First what every file has, so that it is found behind a prefix that was not given.
        let kv_a_proj = linear("kv_a_proj_with_mqa")?;
        let query = match ["q_proj.weight", "q_a_proj.weight"]
            .map(|q| tensors.contains(q))
        {
            [true, true] => anyhow::bail!(
                "the file holds q_proj.weight and q_a_proj.weight: a layer has one of them"
            ),
            [_, true] => QueryProjection::LowRank {
                q_a_proj: linear("q_a_proj")?,
                q_a_layernorm: norm("q_a_layernorm")?,
                q_b_proj: linear("q_b_proj")?,
            },
            [_, false] => QueryProjection::Full(linear("q_proj")?),
        };
        let projections = Projections {
            query,
            kv_a_proj,
            kv_a_layernorm: norm("kv_a_layernorm")?,
            kv_b_proj: linear("kv_b_proj")?,
            o_proj: linear("o_proj")?,
        };
        let Flags { heads, nope_dim, rope_dim, v_dim, rope_theta, .. } = *flags;
        let sizes = Sizes { heads, nope_dim, rope_dim, v_dim };
        let layer = LatentAttention::new(projections, sizes, rope_theta);
        let layer = layer
            .and_then(|layer| Ok(layer.with_rotary(turns(flags)?)?))
            .map(|layer| layer.sharpened(sharpness(flags)));
        layer.map_err(|error| match error {
            // A norm has no columns: [L] in a file.
            LatentError::Shape(e) if e.tensor.ends_with("layernorm") => {
                let name = format!("{}.weight", e.tensor);
                tensors.mismatch(&name, &[e.expected.0], e.because).into()
            }
            LatentError::Shape(error) => files::misfit(tensors, &error).into(),
            LatentError::Nothing { .. } => anyhow::anyhow!(
                "--heads {heads} --nope-dim {nope_dim} --rope-dim {rope_dim} \
                 --v-dim {v_dim}: each has to be at least 1"
            ),
            LatentError::Rotary(error @ RotaryError::Stretch { .. }) => {
                anyhow::anyhow!("--rope-scaling and --rope-amplitude: {error}")
            }
            LatentError::Rotary(error) => anyhow::anyhow!(
                "--rope-dim {rope_dim} --rope-theta {rope_theta}: {error}"
            ),
            error @ LatentError::Cache(_) => error.into(),
        })
    }

    fn forward(
        layer: &LatentAttention,
        flags: &Flags,
        s: &Sequence,
    ) -> anyhow::Result<Output> {
        expect_no_context(s)?;
        let mask = files::mask(s, flags.causal)?;
        let form = if flags.absorb { Form::Absorbed } else { Form::Naive };
        let MultiHeadAttended { output, weights } = layer.forward(&s.x, &mask, form)?;
        Ok(Output { y: output, attention_weights: weights })
    }

    fn forward_without_weights(
        layer: &LatentAttention,
        flags: &Flags,
        s: &Sequence,
        rows: usize,
    ) -> anyhow::Result<DMatrix<f32>> {
        expect_no_context(s)?;
        let mask = files::mask(s, flags.causal)?;
        let form = if flags.absorb { Form::Absorbed } else { Form::Naive };
        let (queries, kept) = (layer.queries(&s.x, 0)?, layer.compress(&s.x, 0)?);
        by_rows(s.x.nrows(), rows, |rows| {
            let part =
                |all: &DMatrix<f32>| all.rows(rows.start, rows.len()).into_owned();
            let q = Queries { nope: part(&queries.nope), rope: part(&queries.rope) };
            let mask = files::mask_of_rows(&mask, rows);
            let heads = layer.attend(&q, kept.as_view(), &mask, form)?;
            Ok(layer.output(&heads.found)?)
        })
    }

    const COMPARES: bool = true;

    fn compared<'a>(
        layer: &'a LatentAttention,
        flags: &Flags,
        s: &'a Sequence,
    ) -> anyhow::Result<Box<dyn Compare + 'a>> {
        expect_no_context(s)?;
        let mask = files::mask(s, flags.causal)?;
        layer.queries(&s.x, 0)?;
        let pairing =
            if flags.half_split { Pairing::Halves } else { Pairing::Neighbors };
        let plain = Rotary::new(flags.rope_dim, flags.rope_theta, pairing)?;
        let steps = known::steps(layer, &s.x, &mask, plain);
        Ok(Box::new(Bench::new(steps, known::slips())))
    }

    /// Absorbed, the scores of all heads are one matrix, and so are their weights.
    fn copies_of_weights(flags: &Flags) -> usize {
        if flags.absorb { 3 } else { 1 }
    }
}

/// How the rotary part of a head turns, as the flags say.
fn turns(flags: &Flags) -> Result<Rotary, RotaryError> {
    let pairing = if flags.half_split { Pairing::Halves } else { Pairing::Neighbors };
    let rotary = Rotary::new(flags.rope_dim, flags.rope_theta, pairing)?;
    let scaling = flags.rope_scaling.as_ref().unwrap_or(&Scaling::None);
    rotary.stretched(flags.rope_theta, scaling)?.amplified(flags.rope_amplitude)
}

fn sharpness(flags: &Flags) -> Sharpness {
    Sharpness { mscale: flags.mscale as f32, temperature: flags.temperature }
}

/// Refuses a context: its tokens would stand at no position.
///
/// # Errors
/// When the file holds one.
pub fn expect_no_context(s: &Sequence) -> anyhow::Result<()> {
    let has_none = s.context.is_none();
    anyhow::ensure!(
        has_none,
        "the file holds a context; the tokens of x look at one another"
    );
    Ok(())
}
