//! What chapters 5 and 7 do to a layer's keys and values, done to every layer of a model
//! that was not trained for it: so that the loss can say what it costs.

use crate::heads::{Attention, SelfAttention};
use crate::projection::Projection;
use crate::{Decoder, ModelError};
use attention::Linear;
use decoder_layer::Parts;
use grouped_query::{Groups, Pool, Pooling};
use multi_query::alignment::{Freedom, turn_heads, turns};
use nalgebra::{DMatrix, SymmetricEigen};

/// How the kv heads of a layer are merged into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merging {
    /// Their mean.
    Mean,
    /// The first, and the others are dropped.
    First,
    /// Their mean, after they have been turned toward one another as far as rotary keys
    /// allow.
    Aligned,
}

/// The model with one kv head in every layer, in place of several.
///
/// # Errors
/// When a layer does not fit together.
pub fn merged(model: &Decoder, merging: Merging) -> Result<Decoder, ModelError> {
    let mut model = model.clone();
    for block in &mut model.blocks {
        let layer = merged_layer(heads_of(&block.attention, "merging")?, merging)?;
        block.attention = Attention::Heads(layer);
    }
    Ok(model)
}

fn heads_of<'a>(
    attention: &'a Attention,
    what: &'static str,
) -> Result<&'a SelfAttention, ModelError> {
    attention.heads().ok_or(ModelError::Latents { what })
}

fn merged_layer(
    layer: &SelfAttention,
    merging: Merging,
) -> Result<SelfAttention, ModelError> {
    let layer = match merging {
        Merging::Aligned => aligned(layer)?,
        Merging::Mean | Merging::First => layer.clone(),
    };
    let pooling = match merging {
        Merging::First => Pooling::First,
        Merging::Mean | Merging::Aligned => Pooling::Mean,
    };
    let mut pool = Pool::new(Groups::new(layer.parts.groups.kv_heads(), 1)?, pooling);
    let k_proj = pool.linear("k_proj", &layer.k_proj.to_linear()?)?;
    let v_proj = pool.linear("v_proj", &layer.v_proj.to_linear()?)?;
    Ok(SelfAttention {
        k_proj: Projection::of_linear(&k_proj),
        v_proj: Projection::of_linear(&v_proj),
        parts: Parts {
            groups: Groups::new(layer.parts.groups.heads(), 1)?,
            ..layer.parts
        },
        q_proj: layer.q_proj,
        o_proj: layer.o_proj,
    })
}

/// The same layer, whose kv heads are as alike as turning makes them. What turns a key
/// turns the queries of its group, and what turns a value is undone in the rows of the
/// output projection that read it.
///
/// # Errors
/// When the layer does not fit together.
pub fn aligned(layer: &SelfAttention) -> Result<SelfAttention, ModelError> {
    let groups = layer.parts.groups;
    let [q, k, v, o] = [&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.o_proj];
    let (q, k, v, o) = (q.to_linear()?, k.to_linear()?, v.to_linear()?, o.to_linear()?);
    let rotary_dim = k.shape().1 / groups.kv_heads();
    let keys = turns(k.weight(), groups.kv_heads(), Freedom::HalfSplit { rotary_dim })?;
    let values = turns(v.weight(), groups.kv_heads(), Freedom::Any)?;
    let of_heads = |turns: &[DMatrix<f32>]| -> Vec<_> {
        (0..groups.heads()).map(|head| turns[groups.kv_head(head)].clone()).collect()
    };
    let o_weight = turn_heads(&o.weight().transpose(), &of_heads(&values))?.transpose();
    Ok(SelfAttention {
        q_proj: turned(&q, &of_heads(&keys))?,
        k_proj: turned(&k, &keys)?,
        v_proj: turned(&v, &values)?,
        o_proj: Projection::of_linear(&Linear::new(o_weight, o.bias().cloned())?),
        parts: layer.parts.clone(),
    })
}

/// A projection with each head turned, the bias as one more row.
fn turned(
    projection: &Linear,
    turns: &[DMatrix<f32>],
) -> Result<Projection, ModelError> {
    let weight = turn_heads(projection.weight(), turns)?;
    let bias = projection.bias().map(|bias| {
        let row = DMatrix::from_row_slice(1, bias.len(), bias.as_slice());
        Ok::<_, ModelError>(turn_heads(&row, turns)?.row(0).transpose())
    });
    Ok(Projection::of_linear(&Linear::new(weight, bias.transpose()?)?))
}

/// The model whose keys and values come out of a latent of `rank` numbers: the projections
/// of a layer side by side, and of their singular values only the largest.
///
/// # Errors
/// When a layer does not fit together.
pub fn through_latents(model: &Decoder, rank: usize) -> Result<Decoder, ModelError> {
    let mut model = model.clone();
    for block in &mut model.blocks {
        let Attention::Heads(layer) = &mut block.attention else {
            return Err(ModelError::Latents { what: "a latent of lower rank" });
        };
        let (k, v) = (layer.k_proj.to_linear()?, layer.v_proj.to_linear()?);
        let (keys, values) = (k.shape().1, v.shape().1);
        let mut both = DMatrix::zeros(k.shape().0, keys + values);
        both.columns_mut(0, keys).copy_from(k.weight());
        both.columns_mut(keys, values).copy_from(v.weight());
        let both = of_rank(&both, rank);
        let part = |first, width| both.columns(first, width).into_owned();
        let [k, v] =
            [(part(0, keys), &k), (part(keys, values), &v)].map(|(weight, old)| {
                Ok::<_, ModelError>(Projection::of_linear(&Linear::new(
                    weight,
                    old.bias().cloned(),
                )?))
            });
        (layer.k_proj, layer.v_proj) = (k?, v?);
    }
    Ok(model)
}

/// The matrix of at most this rank that is closest to `matrix` (Eckart and Young 1936).
#[must_use]
pub fn of_rank(matrix: &DMatrix<f32>, rank: usize) -> DMatrix<f32> {
    let matrix = matrix.map(f64::from);
    // The right singular vectors are the eigenvectors of MᵀM. nalgebra's SVD finds wrong
    // ones for some matrices that have singular values of 0.
    let SymmetricEigen { eigenvalues, eigenvectors } =
        SymmetricEigen::new(matrix.tr_mul(&matrix));
    let mut order: Vec<usize> = (0..eigenvalues.len()).collect();
    order.sort_by(|&a, &b| eigenvalues[b].total_cmp(&eigenvalues[a]));
    order.truncate(rank);
    let kept = eigenvectors.select_columns(&order);
    (matrix * &kept * kept.transpose()).map(|x| x as f32)
}
