//! The layers of the other chapters out of files, and their gradients into one.

use crate::{
    Attending, FlashGradients, LatentGradients, LayerGradients, LinearGradients,
    LinformerGradients, NormGradients, QueryGradients, SharedGradients, SharedHeads,
    backward, flash_backward, forward, latent_backward, linformer_backward,
};
use ::attention::command::Chapter1;
use ::attention::{Linear, Mask, files};
use ::decoder_layer::command::Chapter11;
use ::decoder_layer::layout::{Piece, Pieces, pieces};
use ::decoder_layer::{HeadNorm, Parts, command as decoder_layer};
use ::flash::attend_saving;
use ::flash::command::{Chapter9, side_by_side};
use ::grouped_query::Groups;
use ::grouped_query::command::Chapter5;
use ::latent::Form;
use ::latent::command::{self as latent, Chapter7};
use ::linformer::command::{self as linformer, Chapter8};
use ::multi_head::command::Chapter2;
use ::multi_query::command::Chapter4;
use ::rotary::command::{self as rotary, Chapter6};
use ::sliding_window::command::{self as sliding_window, Chapter10};
use anyhow::{Context, Result, bail, ensure};
use chapter_cli::{Backward, Gradient, Gradients, Loaded, Sequence, Tensors};
use checkpoint::{NormNames, NormSpan, QkNorm};
use nalgebra::{DMatrix, DVector};
use std::ffi::OsString;
use std::io::Write;

/// A layer that can be run backward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mechanism {
    /// One head, chapter 1.
    Attention,
    /// Chapter 2.
    MultiHead,
    /// Chapter 4.
    MultiQuery,
    /// Chapter 5.
    GroupedQuery,
    /// Chapter 6.
    Rotary,
    /// Chapter 7.
    Latent,
    /// Chapter 8.
    Linformer,
    /// Chapter 9.
    Flash,
    /// Chapter 10.
    SlidingWindow,
    /// Chapter 11.
    DecoderLayer,
}

impl Mechanism {
    /// Runs the command `gradients`, of which `args` are the flags, behind the command's
    /// name.
    ///
    /// # Errors
    /// When a file, a tensor or a flag is not as it should be.
    pub fn gradients(
        self,
        args: Vec<OsString>,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
    ) -> Result<()> {
        macro_rules! run {
            ($chapter:ty, $backward:expr) => {
                chapter_cli::gradients::<$chapter>(args, &$backward, stdout, stderr)
            };
        }
        match self {
            Mechanism::Attention => run!(Chapter1, Backward::OfSequence(of_attention)),
            Mechanism::MultiHead => run!(Chapter2, Backward::OfSequence(of_multi_head)),
            Mechanism::MultiQuery => {
                run!(Chapter4, Backward::OfSequence(of_multi_query))
            }
            Mechanism::GroupedQuery => run!(Chapter5, Backward::OfSequence(of_grouped)),
            Mechanism::Rotary => run!(Chapter6, Backward::OfSequence(of_rotary)),
            Mechanism::Latent => run!(Chapter7, Backward::OfSequence(of_latent)),
            Mechanism::Linformer => run!(Chapter8, Backward::OfSequence(of_linformer)),
            Mechanism::Flash => run!(Chapter9, Backward::OfCall(of_flash)),
            Mechanism::SlidingWindow => {
                run!(Chapter10, Backward::OfSequence(of_window))
            }
            Mechanism::DecoderLayer => {
                run!(Chapter11, Backward::OfSequence(of_decoder))
            }
        }
    }
}

fn of_attention(
    loaded: &Loaded<Chapter1>,
    s: &Sequence,
    dy: &DMatrix<f32>,
) -> Result<Gradients> {
    let qkv = loaded.layer.projections();
    let parts = Parts::plain(Groups::new(1, 1)?, qkv[0].shape().1);
    let heads = SharedHeads { qkv, o_proj: None, parts: &parts };
    of_shared(heads, s, &files::mask(s, loaded.flags.causal)?, dy)
}

fn of_multi_head(
    loaded: &Loaded<Chapter2>,
    s: &Sequence,
    dy: &DMatrix<f32>,
) -> Result<Gradients> {
    let heads = loaded.layer.heads();
    let (groups, maps) = (Groups::new(heads, heads)?, loaded.layer.projections());
    of_maps(maps, groups, s, &files::mask(s, loaded.flags.causal)?, dy)
}

fn of_multi_query(
    loaded: &Loaded<Chapter4>,
    s: &Sequence,
    dy: &DMatrix<f32>,
) -> Result<Gradients> {
    let groups = Groups::new(loaded.layer.heads(), 1)?;
    let maps = loaded.layer.projections();
    of_maps(maps, groups, s, &files::mask(s, loaded.flags.causal)?, dy)
}

fn of_grouped(
    loaded: &Loaded<Chapter5>,
    s: &Sequence,
    dy: &DMatrix<f32>,
) -> Result<Gradients> {
    let (groups, maps) = (loaded.layer.groups(), loaded.layer.projections());
    of_maps(maps, groups, s, &files::mask(s, loaded.flags.causal)?, dy)
}

fn of_rotary(
    loaded: &Loaded<Chapter6>,
    s: &Sequence,
    dy: &DMatrix<f32>,
) -> Result<Gradients> {
    rotary::expect_no_context(s)?;
    of_turned(&loaded.layer, s, &files::mask(s, loaded.flags.causal)?, dy)
}

fn of_window(
    loaded: &Loaded<Chapter10>,
    s: &Sequence,
    dy: &DMatrix<f32>,
) -> Result<Gradients> {
    let Loaded { layer, flags, .. } = loaded;
    expect_no_cache(flags.cache)?;
    let mask = sliding_window::mask(layer, flags, s)?;
    of_turned(layer.layer(), s, &mask, dy)
}

/// A cache changes no number, and what it keeps is not kept for the way back.
fn expect_no_cache(cache: Option<usize>) -> Result<()> {
    ensure!(
        cache.is_none(),
        "--cache: gradients go through all tokens at once, and are the same without it: \
         leave it out"
    );
    Ok(())
}

fn of_turned(
    layer: &::rotary::RotaryAttention,
    s: &Sequence,
    mask: &Mask,
    dy: &DMatrix<f32>,
) -> Result<Gradients> {
    let [q, k, v, o] = layer.layer().projections();
    let rotary = layer.rotary().clone();
    let plain = Parts::plain(layer.layer().groups(), rotary.head_dim());
    let parts = Parts { rotary: Some(rotary), ..plain };
    let heads = SharedHeads { qkv: [q, k, v], o_proj: Some(o), parts: &parts };
    of_shared(heads, s, mask, dy)
}

fn of_maps(
    [q, k, v, o]: [&Linear; 4],
    groups: Groups,
    s: &Sequence,
    mask: &Mask,
    dy: &DMatrix<f32>,
) -> Result<Gradients> {
    let parts = Parts::plain(groups, q.shape().1 / groups.heads());
    let heads = SharedHeads { qkv: [q, k, v], o_proj: Some(o), parts: &parts };
    of_shared(heads, s, mask, dy)
}

fn of_shared(
    heads: SharedHeads,
    s: &Sequence,
    mask: &Mask,
    dy: &DMatrix<f32>,
) -> Result<Gradients> {
    let context = s.context.as_ref().unwrap_or(&s.x);
    let SharedGradients { x, context: d_context, qkv: [q, k, v], o_proj } =
        heads.backward([&s.x, context], mask, dy)?;
    let mut learned =
        vec![linear("q_proj", q), linear("k_proj", k), linear("v_proj", v)];
    learned.extend(o_proj.map(|o_proj| linear("o_proj", o_proj)));
    Ok(with_context(s, x, d_context, learned))
}

/// In self-attention, a token is asked as one that looks and as one that is looked at.
fn with_context(
    s: &Sequence,
    x: DMatrix<f32>,
    context: DMatrix<f32>,
    learned: Vec<Gradient>,
) -> Gradients {
    match s.context {
        Some(_) => Gradients { x: Some(x), context: Some(context), learned },
        None => Gradients { x: Some(x + context), context: None, learned },
    }
}

fn linear(name: &'static str, d: LinearGradients) -> Gradient {
    Gradient::Linear { name, weight: d.weight, bias: d.bias }
}

fn vector(name: &str, d: &DVector<f32>) -> Gradient {
    let (name, shape) = (name.to_owned(), vec![d.len()]);
    Gradient::Tensor { name, shape, numbers: d.as_slice().to_vec() }
}

fn of_latent(
    loaded: &Loaded<Chapter7>,
    s: &Sequence,
    dy: &DMatrix<f32>,
) -> Result<Gradients> {
    latent::expect_no_context(s)?;
    let mask = files::mask(s, loaded.flags.causal)?;
    let form = if loaded.flags.absorb { Form::Absorbed } else { Form::Naive };
    let LatentGradients { x, query, kv_a_proj, kv_a_layernorm, kv_b_proj, o_proj } =
        latent_backward(&loaded.layer, &s.x, &mask, form, dy)?;
    let mut learned = vec![
        linear("kv_a_proj_with_mqa", kv_a_proj),
        vector("kv_a_layernorm.weight", &kv_a_layernorm),
        linear("kv_b_proj", kv_b_proj),
        linear("o_proj", o_proj),
    ];
    match query {
        QueryGradients::Full(q_proj) => learned.push(linear("q_proj", q_proj)),
        QueryGradients::LowRank { q_a_proj, q_a_layernorm, q_b_proj } => {
            learned.push(linear("q_a_proj", q_a_proj));
            learned.push(vector("q_a_layernorm.weight", &q_a_layernorm));
            learned.push(linear("q_b_proj", q_b_proj));
        }
    }
    Ok(Gradients { x: Some(x), context: None, learned })
}

fn of_linformer(
    loaded: &Loaded<Chapter8>,
    s: &Sequence,
    dy: &DMatrix<f32>,
) -> Result<Gradients> {
    linformer::expect_no_mask(s)?;
    let (layer, context) = (&loaded.layer, s.context.as_ref().unwrap_or(&s.x));
    let LinformerGradients { x, context, to_q, to_k, to_v, to_out, e, f } =
        linformer_backward(layer, &s.x, context, dy)?;
    let shared = loaded.flags.share_projection || layer.to_v().is_none();
    // The matrix (r, n_max) is [n_max, r] in the file: its columns are rows there.
    let along = |name: &str, d: &DMatrix<f32>| Gradient::Tensor {
        name: name.to_owned(),
        shape: vec![d.ncols(), d.nrows()],
        numbers: d.as_slice().to_vec(),
    };
    let mut learned =
        vec![linear("to_q", to_q), linear("to_k", to_k), linear("to_out", to_out)];
    learned.extend(to_v.map(|to_v| linear("to_v", to_v)));
    learned.extend(e.iter().map(|e| along("proj_k", e)));
    let of_f = if shared { "proj_k" } else { "proj_v" };
    learned.extend(f.iter().map(|f| along(of_f, f)));
    Ok(with_context(s, x, context, learned))
}

fn of_flash(loaded: &Loaded<Chapter9>, tensors: &Tensors) -> Result<Gradients> {
    let call = &loaded.layer;
    let (heads, n) = (call.groups.heads(), call.q.nrows());
    let d_v = call.v.ncols() / call.groups.kv_heads();
    let dy = tensors.stack("dy", "[h, n, d_v], as y")?;
    if dy.shape != [heads, n, d_v] {
        let why = "it has the shape of y";
        return Err(tensors.mismatch("dy", &[heads, n, d_v], why).into());
    }
    let (mask, sinks) = (call.mask(), vec![f32::NEG_INFINITY; heads]);
    let (q, k, v, groups) = (&call.q, &call.k, &call.v, call.groups);
    let saved = attend_saving(q, k.as_view(), v.as_view(), groups, &mask, &sinks)?;
    let given = Attending { q, k, v, groups, mask: &mask, sinks: &sinks };
    let FlashGradients { q, k, v, .. } =
        flash_backward(given, &saved, &side_by_side(&dy))?;
    let kv_heads = groups.kv_heads();
    let of_heads = [("q", q, heads), ("k", k, kv_heads), ("v", v, kv_heads)];
    let learned = of_heads.map(|(name, d, heads)| {
        let (rows, width) = (d.nrows(), d.ncols() / heads);
        let of_head = |h| d.columns(h * width, width).transpose().as_slice().to_vec();
        let numbers = (0..heads).flat_map(of_head).collect();
        Gradient::Tensor {
            name: name.to_owned(),
            shape: vec![heads, rows, width],
            numbers,
        }
    });
    Ok(Gradients { x: None, context: None, learned: learned.into() })
}

fn of_decoder(
    loaded: &Loaded<Chapter11>,
    s: &Sequence,
    dy: &DMatrix<f32>,
) -> Result<Gradients> {
    let Loaded {
        layer: ::decoder_layer::command::Loaded { layer, .. },
        flags,
        described,
    } = loaded;
    expect_no_cache(flags.cache)?;
    let described = described.as_ref().context("--config is missing")?;
    let mask = decoder_layer::mask(layer, s)?;
    let passed = forward(layer, &s.x, &mask)?;
    let LayerGradients {
        x,
        q_proj,
        k_proj,
        v_proj,
        o_proj,
        gate_proj,
        q_norm,
        k_norm,
        sinks,
    } = backward(layer, &s.x, &passed, dy)?;

    let Pieces { projections, gate } = pieces(described)?;
    let maps = projections.iter().zip([q_proj, k_proj, v_proj, o_proj]);
    let mut learned: Vec<Gradient> =
        maps.flat_map(|(piece, d)| of_piece(piece, &d)).collect();
    if let (Some(piece), Some(d)) = (gate, gate_proj) {
        learned.extend(of_piece(&piece, &d));
    }
    learned.extend(sinks.map(|sinks| vector("sinks", &sinks)));
    if let Some(norms) = &layer.parts().norms {
        let names = described.norm.context("the layer has norms")?;
        for (which, norm, d) in [("q", &norms.q, q_norm), ("k", &norms.k, k_norm)] {
            learned.extend(of_norm(names, which, norm, &d.context("no gradient")?)?);
        }
    }
    Ok(Gradients { x: Some(x), context: None, learned })
}

/// The gradient of a projection in its place among the rows of the tensor that holds it.
fn of_piece(piece: &Piece, d: &LinearGradients) -> Vec<Gradient> {
    let (inputs, of) = (piece.inputs, piece.of);
    let rows = || piece.rows.iter().cloned().flatten().enumerate();
    let mut numbers = vec![0.0; inputs * of];
    for (column, row) in rows() {
        for (input, d) in d.weight.column(column).iter().enumerate() {
            let at =
                if piece.transposed { input * of + row } else { row * inputs + input };
            numbers[at] = *d;
        }
    }
    let shape = if piece.transposed { vec![inputs, of] } else { vec![of, inputs] };
    let name = format!("{}.weight", piece.tensor);
    let mut all = vec![Gradient::Tensor { name, shape, numbers }];
    if let Some(bias) = &d.bias {
        let mut numbers = vec![0.0; of];
        for (column, row) in rows() {
            numbers[row] = bias[column];
        }
        let name = format!("{}.bias", piece.tensor);
        all.push(Gradient::Tensor { name, shape: vec![of], numbers });
    }
    all
}

/// The gradients of a norm's gains and biases under the names that its model has for them.
fn of_norm(
    names: QkNorm,
    which: &str,
    norm: &HeadNorm,
    d: &NormGradients,
) -> Result<Vec<Gradient>> {
    let mut all = Vec::new();
    for (part, d) in [("weight", Some(&d.gain)), ("bias", d.bias.as_ref())] {
        let Some(d) = d else { continue };
        let width = norm.span();
        let shape = match names.span {
            NormSpan::Head | NormSpan::AllHeads => vec![d.len()],
            NormSpan::EachHead => vec![d.len() / width, width],
        };
        let numbers = d.as_slice().to_vec();
        match names.names {
            NormNames::Norm => {
                let name = format!("{which}_norm.{part}");
                all.push(Gradient::Tensor { name, shape, numbers });
            }
            NormNames::LayerNorm => {
                let name = format!("{which}_layernorm.{part}");
                all.push(Gradient::Tensor { name, shape, numbers });
            }
            NormNames::List => {
                let heads = numbers.chunks(width).enumerate();
                all.extend(heads.map(|(head, numbers)| Gradient::Tensor {
                    name: format!("{which}_layernorm.norms.{head}.{part}"),
                    shape: vec![width],
                    numbers: numbers.to_vec(),
                }));
            }
        }
    }
    if all.is_empty() {
        bail!("{which}: a norm without gains");
    }
    Ok(all)
}
