//! Stored numbers as f32.
//!
//! Source of the blocks: `ggml-quants.c` of llama.cpp, `dequantize_row_*`. The order in
//! which factors are multiplied is that of `gguf/quants.py`, so that results agree to
//! the bit.

use crate::weights::format::Format;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

impl Format {
    /// Widens whole blocks to f32: `out` gets as many numbers as `bytes` holds. F64 is
    /// rounded. Whole numbers are not weights, and are not widened.
    ///
    /// Returns whether this format can be widened, and `out` is as long as `bytes` says.
    #[must_use]
    pub fn widen(self, bytes: &[u8], out: &mut [f32]) -> bool {
        if self.bytes_of(out.len()) != Some(bytes.len()) {
            return false;
        }
        match self {
            Format::F64 => each(bytes, out, |number| f64::from_le_bytes(number) as f32),
            Format::F32 => each(bytes, out, f32::from_le_bytes),
            Format::F16 => f16s(bytes, out),
            Format::Bf16 => bf16s(bytes, out),
            Format::Q4_0 => blocks(bytes, out, q4_0),
            Format::Q4_1 => blocks(bytes, out, q4_1),
            Format::Q5_0 => blocks(bytes, out, q5_0),
            Format::Q5_1 => blocks(bytes, out, q5_1),
            Format::Q8_0 => blocks(bytes, out, q8_0),
            Format::Q4K => blocks(bytes, out, q4_k),
            Format::Q5K => blocks(bytes, out, q5_k),
            Format::Q6K => blocks(bytes, out, q6_k),
            Format::I64
            | Format::I32
            | Format::I16
            | Format::I8
            | Format::U8
            | Format::Bool
            | Format::Other { .. } => return false,
        }
        true
    }
}

fn each<const N: usize>(bytes: &[u8], out: &mut [f32], read: impl Fn([u8; N]) -> f32) {
    for (number, out) in bytes.as_chunks().0.iter().zip(out) {
        *out = read(*number);
    }
}

fn f16s(bytes: &[u8], out: &mut [f32]) {
    // Processors widen F16 by the dozen, and not one by one.
    const AT_ONCE: usize = 64;
    let mut some = [f16::ZERO; AT_ONCE];
    for (bytes, out) in bytes.chunks(2 * AT_ONCE).zip(out.chunks_mut(AT_ONCE)) {
        let some = &mut some[..out.len()];
        for (number, one) in bytes.as_chunks().0.iter().zip(&mut *some) {
            *one = f16::from_le_bytes(*number);
        }
        some.convert_to_f32_slice(out);
    }
}

fn bf16s(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |number| bf16::from_le_bytes(number).to_f32());
}

/// Widens block after block: `B` bytes to `N` numbers.
fn blocks<const B: usize, const N: usize>(
    bytes: &[u8],
    out: &mut [f32],
    widen: impl Fn(&[u8; B], &mut [f32; N]),
) {
    for (block, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        widen(block, out);
    }
}

/// The F16 at byte `at`.
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let scale = half(block, 0);
    for (i, both) in block[2..].iter().enumerate() {
        out[i] = scale * (f32::from(both & 15) - 8.0);
        out[i + 16] = scale * (f32::from(both >> 4) - 8.0);
    }
}

fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (scale, least) = (half(block, 0), half(block, 2));
    for (i, both) in block[4..].iter().enumerate() {
        out[i] = scale * f32::from(both & 15) + least;
        out[i + 16] = scale * f32::from(both >> 4) + least;
    }
}

fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let scale = half(block, 0);
    for (i, number) in five_bits(&block[2..]).into_iter().enumerate() {
        out[i] = scale * (f32::from(number) - 16.0);
    }
}

fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (scale, least) = (half(block, 0), half(block, 2));
    for (i, number) in five_bits(&block[4..]).into_iter().enumerate() {
        out[i] = scale * f32::from(number) + least;
    }
}

/// 32 numbers of 5 bits: first the upper bit of each, then the lower four of each, those
/// of number i + 16 above those of number i.
fn five_bits(block: &[u8]) -> [u8; 32] {
    let upper = u32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    std::array::from_fn(|i| {
        let both = block[4 + i % 16];
        let lower = if i < 16 { both & 15 } else { both >> 4 };
        lower | ((upper >> i & 1) as u8) << 4
    })
}

fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let scale = half(block, 0);
    for (out, number) in out.iter_mut().zip(&block[2..]) {
        *out = scale * f32::from(number.cast_signed());
    }
}

fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let groups = Groups::read(block);
    for (pair, four_bits) in block[16..].chunks(32).enumerate() {
        let [low, high] = [2 * pair, 2 * pair + 1];
        for (i, both) in four_bits.iter().enumerate() {
            out[32 * low + i] = groups.number(low, both & 15);
            out[32 * high + i] = groups.number(high, both >> 4);
        }
    }
}

fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let groups = Groups::read(block);
    let (upper, lower) = block[16..].split_at(32);
    for (pair, four_bits) in lower.chunks(32).enumerate() {
        let [low, high] = [2 * pair, 2 * pair + 1];
        for (i, both) in four_bits.iter().enumerate() {
            let fifth = |group: usize| (upper[i] >> group & 1) << 4;
            out[32 * low + i] = groups.number(low, both & 15 | fifth(low));
            out[32 * high + i] = groups.number(high, both >> 4 | fifth(high));
        }
    }
}

/// Scale and least value of each of the eight groups of 32 in a block of 256.
struct Groups {
    scales: [f32; 8],
    leasts: [f32; 8],
}

impl Groups {
    /// The first 16 bytes of a block: two F16, and 12 bytes in which eight scales and
    /// eight least values of 6 bits lie folded.
    fn read(block: &[u8]) -> Self {
        let (scale, least) = (half(block, 0), half(block, 2));
        let folded = &block[4..16];
        let six_bits = |group: usize| match group {
            0..4 => (folded[group] & 63, folded[group + 4] & 63),
            _ => (
                folded[group + 4] & 15 | (folded[group - 4] >> 6) << 4,
                folded[group + 4] >> 4 | (folded[group] >> 6) << 4,
            ),
        };
        Groups {
            scales: std::array::from_fn(|group| scale * f32::from(six_bits(group).0)),
            leasts: std::array::from_fn(|group| least * f32::from(six_bits(group).1)),
        }
    }

    fn number(&self, group: usize, stored: u8) -> f32 {
        self.scales[group] * f32::from(stored) - self.leasts[group]
    }
}

fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let (lower, rest) = block.split_at(128);
    let (upper, scales) = rest.split_at(64);
    let scale = half(block, 208);
    for (i, out) in out.iter_mut().enumerate() {
        // Each half of the block has four groups of 32 that share their bytes.
        let (side, group, at) = (i / 128, i % 128 / 32, i % 32);
        let four_bits = lower[64 * side + 32 * (group % 2) + at] >> (4 * (group / 2));
        let two_bits = upper[32 * side + at] >> (2 * group) & 3;
        let number = f32::from(four_bits & 15 | two_bits << 4) - 32.0;
        *out = scale * f32::from(scales[i / 16].cast_signed()) * number;
    }
}
