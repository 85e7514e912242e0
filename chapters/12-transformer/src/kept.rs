//! How the weights of a projection are kept: in 32, 16 or 8 bits.

use half::bf16;
use nalgebra::DMatrix;

/// In which form the numbers of a projection are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// As they are computed with.
    F32,
    /// The upper half of an `f32`: its whole range, and 8 bits of its 24.
    Bf16,
    /// Whole numbers from −127 to 127, and one `f32` for every 64 ([`BLOCK`]) of
    /// them, by which they are multiplied.
    Q8,
}

impl Precision {
    /// Memory that so many numbers take.
    #[must_use]
    pub fn bytes_of(self, numbers: u64) -> u64 {
        match self {
            Precision::F32 => numbers.saturating_mul(4),
            Precision::Bf16 => numbers.saturating_mul(2),
            Precision::Q8 => numbers.saturating_add(4 * numbers.div_ceil(BLOCK as u64)),
        }
    }
}

/// Numbers that are packed together, and in [`Precision::Q8`] share one scale.
pub const BLOCK: usize = 64;
/// Words that hold a block of 16-bit numbers: word `i` has numbers `i` and `i` + 32.
pub const WORDS_BF16: usize = BLOCK / 2;
/// Words that hold a block of 8-bit numbers: word `i` has `i`, `i` + 16, `i` + 32, `i` + 48.
pub const WORDS_Q8: usize = BLOCK / 4;
/// What is added to an 8-bit number, so that it is stored without a sign.
pub const OFFSET: f32 = 128.0;

/// The weights (`d_in`, `d_out`) of a linear map: for one feature that leaves after the
/// other, its `d_in` weights side by side.
///
/// Those of fewer than 32 bits lie in words, several numbers in each. Numbers that are
/// neighbors in a block are in neighboring words: one vector of words unpacks into several
/// vectors of neighbors, however wide a vector is. The last block is filled up with zeros.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    d_in: usize,
    d_out: usize,
    numbers: Numbers,
}

/// The numbers themselves.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// Column after column.
    F32(DMatrix<f32>),
    /// [`WORDS_BF16`] for each block.
    Bf16(Vec<u32>),
    /// [`WORDS_Q8`] for each block, and its scale.
    Q8 {
        /// With [`OFFSET`] added.
        words: Vec<u32>,
        /// One for each block.
        scales: Vec<f32>,
    },
}

impl Kept {
    /// Weights (`d_in`, `d_out`). `read` fills in the `d_in` of one feature that leaves,
    /// and one after the other is kept as `precision` says: there is never a second copy
    /// of them all.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn read<E>(
        (d_in, d_out): (usize, usize),
        precision: Precision,
        mut read: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let blocks = d_in.div_ceil(BLOCK);
        let mut row = vec![0.0; blocks * BLOCK];
        let numbers = match precision {
            Precision::F32 => {
                let mut all = DMatrix::zeros(d_in, d_out);
                for feature in 0..d_out {
                    read(feature, all.column_mut(feature).as_mut_slice())?;
                }
                Numbers::F32(all)
            }
            Precision::Bf16 => {
                let mut words = Vec::with_capacity(blocks * WORDS_BF16 * d_out);
                for feature in 0..d_out {
                    read(feature, &mut row[..d_in])?;
                    row.as_chunks().0.iter().for_each(|b| words.extend(in_16_bits(b)));
                }
                Numbers::Bf16(words)
            }
            Precision::Q8 => {
                let mut words = Vec::with_capacity(blocks * WORDS_Q8 * d_out);
                let mut scales = Vec::with_capacity(blocks * d_out);
                for feature in 0..d_out {
                    read(feature, &mut row[..d_in])?;
                    for block in row.as_chunks().0 {
                        let (packed, scale) = in_8_bits(block);
                        words.extend(packed);
                        scales.push(scale);
                    }
                }
                Numbers::Q8 { words, scales }
            }
        };
        Ok(Kept { d_in, d_out, numbers })
    }

    /// The weights in full precision.
    #[must_use]
    pub fn of(weight: DMatrix<f32>) -> Self {
        let (d_in, d_out) = weight.shape();
        Kept { d_in, d_out, numbers: Numbers::F32(weight) }
    }

    /// Features that enter.
    #[must_use]
    pub fn d_in(&self) -> usize {
        self.d_in
    }

    /// Features that leave.
    #[must_use]
    pub fn d_out(&self) -> usize {
        self.d_out
    }

    /// The matrix, where it is kept in full precision.
    #[must_use]
    pub fn in_full(&self) -> Option<&DMatrix<f32>> {
        match &self.numbers {
            Numbers::F32(all) => Some(all),
            _ => None,
        }
    }

    /// As they are kept.
    #[must_use]
    pub fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// Memory that they take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.numbers {
            Numbers::F32(all) => size_of_val(all.as_slice()),
            Numbers::Bf16(words) => size_of_val(&words[..]),
            Numbers::Q8 { words, scales } => {
                size_of_val(&words[..]) + size_of_val(&scales[..])
            }
        }
    }

    /// Widens the `d_in` weights of one feature that leaves into `out`.
    ///
    /// # Panics
    /// When there is no such feature, or `out` has another length.
    pub fn widen(&self, feature: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.d_in, "as many numbers as features enter");
        let blocks = self.d_in.div_ceil(BLOCK);
        let blocks = feature * blocks..(feature + 1) * blocks;
        match &self.numbers {
            Numbers::F32(all) => out.copy_from_slice(all.column(feature).as_slice()),
            Numbers::Bf16(words) => {
                let words = &words.as_chunks::<WORDS_BF16>().0[blocks];
                for (words, out) in words.iter().zip(out.chunks_mut(BLOCK)) {
                    out.copy_from_slice(&of_16_bits(words)[..out.len()]);
                }
            }
            Numbers::Q8 { words, scales } => {
                let words = &words.as_chunks::<WORDS_Q8>().0[blocks.clone()];
                let packed = words.iter().zip(&scales[blocks]);
                for ((words, scale), out) in packed.zip(out.chunks_mut(BLOCK)) {
                    out.copy_from_slice(&of_8_bits(words, *scale)[..out.len()]);
                }
            }
        }
    }
}

fn in_16_bits(block: &[f32; BLOCK]) -> [u32; WORDS_BF16] {
    let bits = |i: usize| u32::from(bf16::from_f32(block[i]).to_bits());
    std::array::from_fn(|i| bits(i) | bits(i + WORDS_BF16) << 16)
}

fn of_16_bits(words: &[u32; WORDS_BF16]) -> [f32; BLOCK] {
    let mut block = [0.0; BLOCK];
    for (i, word) in words.iter().enumerate() {
        block[i] = f32::from_bits(word << 16);
        block[i + WORDS_BF16] = f32::from_bits(word & 0xffff_0000);
    }
    block
}

/// The largest number of the block becomes 127 or −127.
fn in_8_bits(block: &[f32; BLOCK]) -> ([u32; WORDS_Q8], f32) {
    let scale = block.iter().fold(0.0, |m: f32, x| m.max(x.abs())) / 127.0;
    let to_one = if scale > 0.0 { scale.recip() } else { 0.0 };
    let bits = |i: usize| ((block[i] * to_one).round() + OFFSET) as u32;
    let word =
        |i: usize| (0..4).map(|byte| bits(i + byte * WORDS_Q8) << (8 * byte)).sum();
    (std::array::from_fn(word), scale)
}

fn of_8_bits(words: &[u32; WORDS_Q8], scale: f32) -> [f32; BLOCK] {
    let mut block = [0.0; BLOCK];
    for (byte, block) in block.as_chunks_mut::<WORDS_Q8>().0.iter_mut().enumerate() {
        for (out, word) in block.iter_mut().zip(words) {
            *out = ((word >> (8 * byte) & 255) as f32 - OFFSET) * scale;
        }
    }
    block
}
