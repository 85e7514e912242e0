//! The numbers by which a GGUF names the ways of storing tensors.

use crate::weights::format::Format;

/// The way of that number, if it is one.
///
/// Source: `GGMLQuantizationType` and `GGML_QUANT_SIZES` of `gguf/constants.py`. The
/// ways that are not read have a name and a size, so that a file is opened and only
/// reading such a tensor is refused.
pub(crate) fn format(number: u32) -> Option<Format> {
    let other = |name, block, block_bytes| Format::Other { name, block, block_bytes };
    Some(match number {
        0 => Format::F32,
        1 => Format::F16,
        2 => Format::Q4_0,
        3 => Format::Q4_1,
        6 => Format::Q5_0,
        7 => Format::Q5_1,
        8 => Format::Q8_0,
        9 => other("Q8_1", 32, 40),
        10 => other("Q2_K", 256, 84),
        11 => other("Q3_K", 256, 110),
        12 => Format::Q4K,
        13 => Format::Q5K,
        14 => Format::Q6K,
        15 => other("Q8_K", 256, 292),
        16 => other("IQ2_XXS", 256, 66),
        17 => other("IQ2_XS", 256, 74),
        18 => other("IQ3_XXS", 256, 98),
        19 => other("IQ1_S", 256, 50),
        20 => other("IQ4_NL", 32, 18),
        21 => other("IQ3_S", 256, 110),
        22 => other("IQ2_S", 256, 82),
        23 => other("IQ4_XS", 256, 136),
        24 => Format::I8,
        25 => Format::I16,
        26 => Format::I32,
        27 => Format::I64,
        28 => Format::F64,
        29 => other("IQ1_M", 256, 56),
        30 => Format::Bf16,
        34 => other("TQ1_0", 256, 54),
        35 => other("TQ2_0", 256, 66),
        39 => other("MXFP4", 32, 17),
        _ => return None,
    })
}
