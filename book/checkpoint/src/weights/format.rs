//! How numbers are stored: one by one, or in blocks that share a scale.

use std::fmt;

/// How the numbers of a tensor are stored. [`Format::block`] numbers take
/// [`Format::block_bytes`] bytes.
///
/// Source of the blocks: `ggml-common.h` of llama.cpp, and `gguf/constants.py` of its
/// Python package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// 64 bits.
    F64,
    /// 32 bits.
    F32,
    /// 16 bits, 5 of them for the exponent.
    F16,
    /// 16 bits, 8 of them for the exponent: the upper half of an F32.
    Bf16,
    /// Whole numbers of 64 bits.
    I64,
    /// Whole numbers of 32 bits.
    I32,
    /// Whole numbers of 16 bits.
    I16,
    /// Whole numbers of 8 bits.
    I8,
    /// Whole numbers of 8 bits, without a sign.
    U8,
    /// Yes or no, a byte each.
    Bool,
    /// 32 numbers of 4 bits, q − 8, and their scale in F16.
    Q4_0,
    /// 32 numbers of 4 bits, and their scale and least value in F16.
    Q4_1,
    /// 32 numbers of 5 bits, q − 16, and their scale in F16.
    Q5_0,
    /// 32 numbers of 5 bits, and their scale and least value in F16.
    Q5_1,
    /// 32 numbers of 8 bits with a sign, and their scale in F16.
    Q8_0,
    /// 256 numbers of 4 bits; each 32 of them have a scale and a least value of 6 bits,
    /// which are multiples of two numbers in F16.
    Q4K,
    /// The same with 5 bits.
    Q5K,
    /// 256 numbers of 6 bits, q − 32; each 16 of them have a scale of 8 bits, which is a
    /// multiple of a number in F16.
    Q6K,
    /// A way that is known by name and size, and not read.
    Other {
        /// What it is called.
        name: &'static str,
        /// Numbers of a block.
        block: usize,
        /// Bytes of a block.
        block_bytes: usize,
    },
}

impl Format {
    /// How many numbers are stored together.
    #[must_use]
    pub fn block(self) -> usize {
        self.sizes().0
    }

    /// How many bytes they take.
    #[must_use]
    pub fn block_bytes(self) -> usize {
        self.sizes().1
    }

    fn sizes(self) -> (usize, usize) {
        match self {
            Format::F64 | Format::I64 => (1, 8),
            Format::F32 | Format::I32 => (1, 4),
            Format::F16 | Format::Bf16 | Format::I16 => (1, 2),
            Format::I8 | Format::U8 | Format::Bool => (1, 1),
            Format::Q4_0 => (32, 2 + 16),
            Format::Q4_1 => (32, 2 + 2 + 16),
            Format::Q5_0 => (32, 2 + 4 + 16),
            Format::Q5_1 => (32, 2 + 2 + 4 + 16),
            Format::Q8_0 => (32, 2 + 32),
            Format::Q4K => (256, 2 + 2 + 12 + 128),
            Format::Q5K => (256, 2 + 2 + 12 + 32 + 128),
            Format::Q6K => (256, 128 + 64 + 16 + 2),
            Format::Other { block, block_bytes, .. } => (block, block_bytes),
        }
    }

    /// The name that files give it, `BF16` or `Q4_K`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::F64 => "F64",
            Format::F32 => "F32",
            Format::F16 => "F16",
            Format::Bf16 => "BF16",
            Format::I64 => "I64",
            Format::I32 => "I32",
            Format::I16 => "I16",
            Format::I8 => "I8",
            Format::U8 => "U8",
            Format::Bool => "BOOL",
            Format::Q4_0 => "Q4_0",
            Format::Q4_1 => "Q4_1",
            Format::Q5_0 => "Q5_0",
            Format::Q5_1 => "Q5_1",
            Format::Q8_0 => "Q8_0",
            Format::Q4K => "Q4_K",
            Format::Q5K => "Q5_K",
            Format::Q6K => "Q6_K",
            Format::Other { name, .. } => name,
        }
    }

    /// Bytes of so many numbers, if they fill whole blocks and can be counted.
    pub(crate) fn bytes_of(self, numbers: usize) -> Option<usize> {
        let whole = numbers.is_multiple_of(self.block());
        let blocks = numbers / self.block();
        blocks.checked_mul(self.block_bytes()).filter(|_| whole)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How many numbers a tensor of this shape has, if they can be counted.
pub(crate) fn numbers(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, &length| product.checked_mul(length))
}
