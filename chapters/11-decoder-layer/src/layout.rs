//! Where the projections of a layer lie in its checkpoint: under which names, and which
//! rows of a matrix that holds several of them.

use anyhow::{Result, bail};
use checkpoint::{Attention, Heads, Projections};
use std::ops::Range;

/// One projection in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The name of the tensor that holds it, without `.weight` and `.bias`.
    pub tensor: &'static str,
    /// The features that it gives, among those of that tensor, in their order.
    pub rows: Vec<Range<usize>>,
    /// How many features that tensor gives.
    pub of: usize,
    /// How many features it reads.
    pub inputs: usize,
    /// Whether there is a bias.
    pub biased: bool,
    /// Whether the tensor is stored as (in, out), as GPT-2's `Conv1D` is, and not as
    /// (out, in).
    pub transposed: bool,
}

/// The projections of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pieces {
    /// Queries, keys, values and output.
    pub projections: [Piece; 4],
    /// The output gate, if there is one.
    pub gate: Option<Piece>,
}

/// Where the projections of `layer` lie.
///
/// # Errors
/// When its heads share a latent.
pub fn pieces(layer: &Attention) -> Result<Pieces> {
    let Heads::Shared { heads, kv_heads, head_dim } = layer.heads else {
        bail!("heads that share a latent have other projections");
    };
    let [heads, kv_heads, d] = [heads, kv_heads, head_dim].map(|size| size as usize);
    let sizes = Sizes { heads, kv_heads, d };
    let model_dim = layer.model_dim as usize;
    let input = |tensor, rows, of| Piece {
        tensor,
        rows,
        of,
        inputs: model_dim,
        biased: layer.biases.inputs,
        transposed: layer.projections == Projections::FusedTransposed,
    };
    let one = |tensor, width: usize| input(tensor, one_run(0..width), width);
    let fused = |tensor, [q, k, v]: [Vec<Range<usize>>; 3]| {
        let of = (heads + 2 * kv_heads) * d;
        [input(tensor, q, of), input(tensor, k, of), input(tensor, v, of)]
    };
    let (wide, narrow) = (heads * d, kv_heads * d);
    let ([q, k, v], output) = match layer.projections {
        Projections::Separate => (
            [one("q_proj", wide), one("k_proj", narrow), one("v_proj", narrow)],
            "o_proj",
        ),
        Projections::SeparateDense => (
            [one("q_proj", wide), one("k_proj", narrow), one("v_proj", narrow)],
            "dense",
        ),
        Projections::FusedByGroup => {
            (fused("query_key_value", sizes.group_by_group()), "dense")
        }
        Projections::Bert => (
            [
                one("self.query", wide),
                one("self.key", narrow),
                one("self.value", narrow),
            ],
            "output.dense",
        ),
        Projections::Fused => (fused("qkv_proj", sizes.one_after_another()), "o_proj"),
        Projections::FusedTransposed => {
            (fused("c_attn", sizes.one_after_another()), "c_proj")
        }
        Projections::Latent => bail!("a latent has other projections"),
    };
    let o = Piece {
        tensor: output,
        rows: one_run(0..model_dim),
        of: model_dim,
        inputs: wide,
        biased: layer.biases.output,
        transposed: q.transposed,
    };
    Ok(Pieces { projections: [q, k, v, o], gate: None })
}

/// Heads in a matrix that holds queries, keys and values.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    heads: usize,
    kv_heads: usize,
    d: usize,
}

impl Sizes {
    /// All queries, then all keys, then all values: Phi-3 and GPT-2.
    fn one_after_another(self) -> [Vec<Range<usize>>; 3] {
        let keys = self.heads * self.d;
        let values = keys + self.kv_heads * self.d;
        let end = values + self.kv_heads * self.d;
        [0..keys, keys..values, values..end].map(one_run)
    }

    /// Group by group: the queries of the heads that share a key, then the key and the
    /// value. GPT-NeoX, whose groups are single heads, and Falcon, whose first models have
    /// one group.
    fn group_by_group(self) -> [Vec<Range<usize>>; 3] {
        let shared = self.heads / self.kv_heads * self.d;
        let begins = |group| group * (shared + 2 * self.d);
        let run = |from: usize, width: usize| {
            let of_group = |group| begins(group) + from..begins(group) + from + width;
            (0..self.kv_heads).map(of_group).collect()
        };
        [run(0, shared), run(shared, self.d), run(shared + self.d, self.d)]
    }
}

/// A list of one range.
fn one_run(range: Range<usize>) -> Vec<Range<usize>> {
    std::iter::once(range).collect()
}
