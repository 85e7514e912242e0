//! One token over a long cache, on all cores: the numbers of [`LatentAttention::attend`],
//! in the order that suits decoding.

use crate::columns::stacked;
use crate::{Expanded, Form, LatentAttention, Queries, Sizes, cores};
use attention::{Attended, ShapeError, expect_shape};
use decoding::few;
use multi_head::Heads;
use nalgebra::DMatrixView;

impl LatentAttention {
    /// [`LatentAttention::attend`] for one token that sees all that is kept.
    ///
    /// # Errors
    /// When `q` is not that of one token, or as there.
    pub fn attend_one(
        &self,
        q: &Queries,
        kept: DMatrixView<f32>,
        form: Form,
    ) -> Result<Heads, ShapeError> {
        self.expect_queries(q)?;
        self.expect_kept(kept)?;
        expect_one(q)?;
        match form {
            Form::Naive => self.one_naive(q, kept),
            Form::Absorbed => self.one_absorbed(q, kept),
        }
    }

    fn one_naive(
        &self,
        q: &Queries,
        kept: DMatrixView<f32>,
    ) -> Result<Heads, ShapeError> {
        let r = kept.columns(self.lora_rank(), self.sizes.rope_dim);
        self.attend_expanded(q, &self.expand(kept)?, r)
    }

    /// Lets the queries of one token look at keys and values that have been made already.
    /// `r` (keys, `rope_dim`) is the turned key that all heads share.
    ///
    /// # Errors
    /// When the parts do not fit together.
    pub fn attend_expanded(
        &self,
        q: &Queries,
        Expanded { k, v }: &Expanded,
        r: DMatrixView<f32>,
    ) -> Result<Heads, ShapeError> {
        self.expect_queries(q)?;
        expect_one(q)?;
        let Sizes { heads, nope_dim, rope_dim, v_dim } = self.sizes;
        expect_shape(
            "r",
            r.shape(),
            (r.nrows(), rope_dim),
            "one turned key per token",
        )?;
        let wanted = (r.nrows(), heads * nope_dim);
        expect_shape("k", k.shape(), wanted, "a key for each head and turned key")?;
        let wanted = (r.nrows(), heads * v_dim);
        expect_shape("v", v.shape(), wanted, "a value for each head and key")?;
        let scale = 1.0 / (self.sizes.qk_dim() as f32).sqrt();
        let found = cores::share_out(heads, k.len() / heads, |share| {
            let one = |h| {
                let k = k.columns(h * nope_dim, nope_dim);
                let plain = few::scores(&self.nope(q, h).into_owned(), k);
                let turned = few::scores(&self.rope(q, h).into_owned(), r);
                let shares = few::softmax_of_columns((plain + turned) * scale);
                let output = few::average(&shares, v.columns(h * v_dim, v_dim));
                Attended { output, weights: shares.transpose() }
            };
            share.map(one).collect::<Vec<_>>()
        });
        self.side_by_side(1, found.into_iter().flatten().map(Ok))
    }

    /// What [`LatentAttention::attend`] does in the absorbed form, with the heads as the
    /// rows of one matrix, so that what is kept is read for many of them at a time.
    fn one_absorbed(
        &self,
        q: &Queries,
        kept: DMatrixView<f32>,
    ) -> Result<Heads, ShapeError> {
        let c = kept.columns(0, self.lora_rank());
        let found = cores::share_out(self.sizes.heads, kept.len(), |share| {
            let asks: Vec<_> = share.clone().map(|h| self.absorb(q, h)).collect();
            let scores = few::scores(&stacked(&asks, kept.ncols()), kept);
            let shares = few::softmax_of_columns(scores);
            let latents = few::average(&shares, c);
            let one = |(row, h)| {
                let output = latents.rows(row, 1).into_owned();
                let weights = shares.columns(row, 1).transpose();
                self.raise(h, Attended { output, weights })
            };
            share.enumerate().map(one).collect::<Vec<_>>()
        });
        self.side_by_side(1, found.into_iter().flatten().map(Ok))
    }
}

fn expect_one(q: &Queries) -> Result<(), ShapeError> {
    let wanted = (1, q.nope.ncols());
    expect_shape("q", q.nope.shape(), wanted, "decoding goes token by token")
}
