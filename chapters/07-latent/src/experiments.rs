//! What the chapter counts and measures: the data behind its figures and numbers.

use crate::{Form, LatentAttention, Projections, QueryProjection, RmsNorm, Sizes};
use anyhow::Result;
use attention::Linear;
use attention::experiments::Recorded;
use decoding::experiments::normal;

/// A latent layer as far as its costs go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Heads and their widths.
    pub sizes: Sizes,
    /// Width of a latent.
    pub lora_rank: usize,
}

/// `DeepSeek-V2`, §3.1.2, and `DeepSeek-V3`: 128 heads of 128 + 64, latents of 512.
pub const DEEPSEEK: Shape = Shape {
    sizes: Sizes { heads: 128, nope_dim: 128, rope_dim: 64, v_dim: 128 },
    lora_rank: 512,
};

/// The same with 16 heads in place of 128: what the benchmark runs.
pub const SCALED: Shape =
    Shape { sizes: Sizes { heads: 16, ..DEEPSEEK.sizes }, lora_rank: 512 };

/// Cached tokens over which the benchmark decodes one more.
pub const CACHED: [usize; 5] = [512, 1024, 2048, 4096, 8192];

/// Tokens that the benchmark runs at once, after [`BEFORE`] cached ones.
pub const CHUNKS: [usize; 8] = [1, 8, 32, 64, 128, 256, 512, 1024];

/// Cached tokens before a chunk.
pub const BEFORE: usize = 2048;

/// Key/value heads of the grouped layer beside: its cache is about that of the latent.
pub const KV_HEADS: usize = 2;

/// Side of the square product, and size of the memory that is read, which say what the
/// machine can do.
pub const PRODUCT: usize = 2048;
/// Megabytes (MiB).
pub const READ_MIB: usize = 512;

/// A layer of [`SCALED`] with random weights, on few features: the projections from and
/// to the tokens are the same in both forms and not timed.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn scaled_layer() -> Result<LatentAttention> {
    let Shape { sizes, lora_rank } = SCALED;
    let linear = |d_in: usize, d_out, seed| {
        Linear::new(normal(d_in, d_out, seed) / (d_in as f32).sqrt(), None)
    };
    let projections = Projections {
        query: QueryProjection::Full(linear(64, sizes.heads * sizes.qk_dim(), 1)?),
        kv_a_proj: linear(64, lora_rank + sizes.rope_dim, 2)?,
        kv_a_layernorm: RmsNorm::new(vec![1.0; lora_rank]),
        kv_b_proj: linear(lora_rank, sizes.heads * (sizes.nope_dim + sizes.v_dim), 3)?,
        o_proj: linear(sizes.heads * sizes.v_dim, 64, 4)?,
    };
    Ok(LatentAttention::new(projections, sizes, 10_000.0)?)
}

/// What it takes to let `new` tokens look at `seen`, between the queries and the outputs
/// of the heads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Multiplications, each with its addition.
    pub multiply_adds: f64,
    /// Numbers that come from memory or go there.
    pub numbers: f64,
}

impl Shape {
    /// Numbers that one token leaves in the cache.
    #[must_use]
    pub fn kept(self) -> usize {
        self.lora_rank + self.sizes.rope_dim
    }

    /// Keys and values of all heads that are made from one latent, the turned key of each
    /// head not counted.
    #[must_use]
    pub fn expanded(self) -> usize {
        self.sizes.heads * (self.sizes.nope_dim + self.sizes.v_dim)
    }

    /// Multiply-adds of one head for one pair of tokens: a score and a share of the
    /// average.
    #[must_use]
    pub fn pair(self, form: Form) -> usize {
        match form {
            Form::Naive => self.sizes.qk_dim() + self.sizes.v_dim,
            Form::Absorbed => self.kept() + self.lora_rank,
        }
    }

    /// [`Work`] in either form: all latents are expanded, or each query is brought to
    /// the latents and each output back.
    #[must_use]
    pub fn work(self, form: Form, new: usize, seen: usize) -> Work {
        let (expanded, rank) = (self.expanded() as f64, self.lora_rank as f64);
        let (new, seen, heads) = (new as f64, seen as f64, self.sizes.heads as f64);
        let pairs = new * seen * heads * self.pair(form) as f64;
        let weights = rank * expanded;
        match form {
            // What is made is written, and read again.
            Form::Naive => Work {
                multiply_adds: seen * weights + pairs,
                numbers: weights + seen * (self.kept() as f64 + 2.0 * expanded),
            },
            // The latent is read as a part of the key, and again as the value.
            Form::Absorbed => Work {
                multiply_adds: new * weights + pairs,
                numbers: weights + seen * (self.kept() as f64 + rank),
            },
        }
    }

    /// How many new tokens make both forms cost the same multiply-adds over a long cache.
    #[must_use]
    pub fn crossing(self) -> f64 {
        let more = self.pair(Form::Absorbed) as f64 - self.pair(Form::Naive) as f64;
        let per_head = self.expanded() as f64 / self.sizes.heads as f64;
        self.lora_rank as f64 * per_head / more
    }
}

/// What the machine can do at best, as the benchmark recorded it.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Multiply-adds a second in a large square product.
    pub multiply_adds: f64,
    /// Numbers a second that are read.
    pub numbers: f64,
}

impl Machine {
    /// From the recording.
    ///
    /// # Errors
    /// When it does not hold them.
    pub fn recorded() -> Result<Self> {
        let recorded = recorded()?;
        let seconds =
            |case, n| Ok::<_, anyhow::Error>(recorded.milliseconds(case, n)? / 1e3);
        Ok(Machine {
            multiply_adds: (PRODUCT as f64).powi(3) / seconds("product", PRODUCT)?,
            numbers: (READ_MIB << 18) as f64 / seconds("read", READ_MIB)?,
        })
    }

    /// Milliseconds that `work` takes at the least: chapter 3's roofline.
    #[must_use]
    pub fn at_best(self, work: Work) -> f64 {
        let (a, b) =
            (work.multiply_adds / self.multiply_adds, work.numbers / self.numbers);
        a.max(b) * 1e3
    }
}

/// What `cargo bench -p latent -- --record` wrote down last.
///
/// # Errors
/// When it cannot be read.
pub fn recorded() -> Result<Recorded> {
    Recorded::parse(include_str!("../benches/recorded.csv"))
}
