//! A layer out of a file, as its `config.json` describes it.

use crate::layout::{Piece, Pieces, pieces};
use crate::{Centering, DecoderLayer, HeadNorm, Norms, Parts, Temperature};
use anyhow::{Result, bail, ensure};
use attention::Linear;
use chapter_cli::{LinearTensors, TensorError, Tensors};
use checkpoint::{Attention, Heads, NormNames, NormSpan, Projections, QkNorm};
use grouped_query::Groups;
use nalgebra::DVector;
use rotary::Rotary;

/// The layer that `described` says, from tensors behind its prefix.
///
/// # Errors
/// When a tensor is missing or does not fit the description.
pub fn layer(described: &Attention, tensors: &Tensors) -> Result<DecoderLayer> {
    let parts = parts(described, |name, shape| small(tensors, name, shape))?;
    if let Some(rotary) = &parts.rotary {
        expect_frequencies(tensors, rotary)?;
    }
    pass_over(described, tensors)?;
    let Pieces { projections, gate } = pieces(described)?;
    let all = Fused::read(&projections[0], tensors)?;
    let [q, k, v, o] = projections.each_ref().map(|piece| all.linear(piece, tensors));
    let layer = DecoderLayer::new([q?, k?, v?, o?], parts)?;
    match gate {
        Some(gate) => Ok(layer.gated(all.linear(&gate, tensors)?)?),
        None => Ok(layer),
    }
}

/// The parts that `described` says. `read` gives a small tensor of this name and shape,
/// row after row.
///
/// # Errors
/// Those of `read`, and when its heads share a latent.
pub fn parts(
    described: &Attention,
    mut read: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
) -> Result<Parts> {
    let Heads::Shared { heads, kv_heads, head_dim } = described.heads else {
        bail!("heads that share a latent have other parts");
    };
    let [heads, kv_heads, d] = [heads, kv_heads, head_dim].map(|size| size as usize);
    let groups = Groups::new(heads, kv_heads)?;
    let norms = match described.norm {
        Some(norm) => Some(norms(norm, groups, d, &mut read)?),
        None => None,
    };
    let rotary = described.rope.as_ref().map(|rope| Rotary::of(rope, d)).transpose()?;
    let sinks = if described.sinks { Some(read("sinks", &[heads])?) } else { None };
    Ok(Parts {
        sight: described.sight,
        window: described.window.map(|tokens| tokens as usize),
        clip: described.clip_qkv.map(|clip| clip as f32),
        norms,
        rotary,
        temperature: described
            .temperature
            .map(|grows| Temperature { beta: grows.beta, every: grows.trained }),
        scale: described.scale as f32,
        cap: described.soft_cap.map(|cap| cap as f32),
        sinks: sinks.map(DVector::from_vec),
        ..Parts::plain(groups, d)
    })
}

fn norms(
    norm: QkNorm,
    groups: Groups,
    d: usize,
    read: &mut impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
) -> Result<Norms> {
    let mut one = |which: &str, heads: usize| {
        let span = if norm.span == NormSpan::AllHeads { heads * d } else { d };
        let mut vectors = |part| gains(&norm, which, [heads, d], part, read);
        let gain = DVector::from_vec(vectors("weight")?);
        let more = if norm.gain_plus_one { 1.0 } else { 0.0 };
        let centering = if norm.centered { Centering::Mean } else { Centering::None };
        let eps = norm.eps as f32;
        let norm_of_heads = HeadNorm::new(gain.add_scalar(more), span, centering, eps);
        if !norm.bias {
            return Ok(norm_of_heads);
        }
        let bias = DVector::from_vec(vectors("bias")?);
        Ok::<_, anyhow::Error>(norm_of_heads.with_bias(bias)?)
    };
    Ok(Norms { q: one("q", groups.heads())?, k: one("k", groups.kv_heads())? })
}

/// The gains of a norm of queries or keys, or its biases, head after head if each head has
/// its own.
fn gains(
    norm: &QkNorm,
    which: &str,
    [heads, d]: [usize; 2],
    part: &str,
    read: &mut impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
) -> Result<Vec<f32>> {
    let shape = match norm.span {
        NormSpan::Head => vec![d],
        NormSpan::AllHeads => vec![heads * d],
        NormSpan::EachHead => vec![heads, d],
    };
    match norm.names {
        NormNames::Norm => read(&format!("{which}_norm.{part}"), &shape),
        NormNames::LayerNorm => read(&format!("{which}_layernorm.{part}"), &shape),
        NormNames::List => {
            let of_head =
                |head| read(&format!("{which}_layernorm.norms.{head}.{part}"), &[d]);
            let all: Result<Vec<_>> = (0..heads).map(of_head).collect();
            Ok(all?.concat())
        }
    }
}

/// A small tensor, of any number of dimensions.
fn small(tensors: &Tensors, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let because = "the layer is described so";
    if tensors.contains(name) && tensors.shape(name)? != shape {
        return Err(tensors.mismatch(name, shape, because).into());
    }
    match shape {
        [_] => Ok(tensors.vector(name)?.as_slice().to_vec()),
        _ => Ok(tensors.matrix(name)?.transpose().as_slice().to_vec()),
    }
}

/// Checkpoints of older models keep their frequencies: those that the configuration gives.
fn expect_frequencies(tensors: &Tensors, rotary: &Rotary) -> Result<()> {
    let names = ["rotary_emb.inv_freq", "rotary_emb.original_inv_freq"];
    for name in names.into_iter().filter(|name| tensors.contains(name)) {
        let (found, wanted) = (tensors.vector(name)?, rotary.frequencies());
        if found.len() != wanted.len() {
            let because = "a head has one frequency for each pair of features";
            return Err(tensors.mismatch(name, &[wanted.len()], because).into());
        }
        // In half precision they have three digits, and the smallest have fewer.
        let is_f32 = tensors.raw(name)?.bytes.len() == 4 * found.len();
        let (relative, absolute) = if is_f32 { (1e-5, 0.0) } else { (4e-3, 6e-8) };
        let off = |found: f32, wanted: f32| {
            (found - wanted).abs() > relative * wanted + absolute
        };
        let differs = found.iter().zip(wanted).position(|(f, w)| off(*f, *w));
        if let Some(pair) = differs {
            bail!(
                "{}: pair {pair} turns by {} radians per token, and by {} as the \
                 configuration says",
                tensors.full_name(name),
                found[pair],
                wanted[pair]
            );
        }
    }
    Ok(())
}

/// Tensors beside the projections that change nothing of what they compute: the causal
/// masks that GPT-2 and those made from it keep, and the norm behind BERT's output
/// projection, which comes after the residual connection.
fn pass_over(described: &Attention, tensors: &Tensors) -> Result<()> {
    let names = match described.projections {
        Projections::Bert => ["output.LayerNorm.weight", "output.LayerNorm.bias"],
        _ => ["bias", "masked_bias"],
    };
    for name in names.into_iter().filter(|name| tensors.contains(name)) {
        tensors.raw(name)?;
    }
    Ok(())
}

/// A tensor that holds several projections, read once.
struct Fused {
    tensor: &'static str,
    linear: Linear,
}

impl Fused {
    fn read(piece: &Piece, tensors: &Tensors) -> Result<Self> {
        Ok(Fused { tensor: piece.tensor, linear: whole(piece, tensors)? })
    }

    /// The projection that `piece` says, out of this tensor or out of its own.
    fn linear(&self, piece: &Piece, tensors: &Tensors) -> Result<Linear> {
        if piece.tensor != self.tensor {
            return part(&whole(piece, tensors)?, piece);
        }
        part(&self.linear, piece)
    }
}

/// The columns of a whole matrix that belong to a piece.
fn part(whole: &Linear, piece: &Piece) -> Result<Linear> {
    if piece.rows.len() == 1 && piece.rows[0] == (0..piece.of) {
        return Ok(whole.clone());
    }
    let columns: Vec<usize> = piece.rows.iter().cloned().flatten().collect();
    let bias = whole.bias().map(|bias| bias.select_rows(&columns));
    Ok(Linear::new(whole.weight().select_columns(&columns), bias)?)
}

/// The tensor that holds a piece, as a map.
fn whole(piece: &Piece, tensors: &Tensors) -> Result<Linear> {
    let LinearTensors { weight, bias } = if piece.transposed {
        transposed(piece.tensor, tensors)?
    } else {
        tensors.linear(piece.tensor)?
    };
    let (name, wanted) = (format!("{}.weight", piece.tensor), (piece.inputs, piece.of));
    if weight.shape() != wanted {
        let stored = [wanted.1, wanted.0];
        let stored = if piece.transposed { [wanted.0, wanted.1] } else { stored };
        let because = "the configuration says so";
        return Err(tensors.mismatch(&name, &stored, because).into());
    }
    ensure!(
        bias.is_some() == piece.biased,
        "{}: the file has {} bias, and the configuration says that there is {}",
        tensors.full_name(&name),
        if bias.is_some() { "a" } else { "no" },
        if piece.biased { "one" } else { "none" }
    );
    Ok(Linear::new(weight, bias)?)
}

/// A map as GPT-2's `Conv1D` is stored: (in, out), as it is here.
fn transposed(name: &str, tensors: &Tensors) -> Result<LinearTensors, TensorError> {
    let weight = tensors.matrix(&format!("{name}.weight"))?;
    let bias = format!("{name}.bias");
    let bias =
        if tensors.contains(&bias) { Some(tensors.vector(&bias)?) } else { None };
    Ok(LinearTensors { weight, bias })
}
