//! Headers of safetensors files that were good once: whoever asks for any of their tensors
//! gets it or an error, and no panic.

use crate::common::{bools, layer_and, zeros};
use chapter_cli::Tensors;
use proptest::prelude::*;

/// The header of a file, and what follows it.
fn parts(file: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = file.split_at(8);
    rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize)
}

/// Asks for everything in all the ways there are.
fn read(bytes: Vec<u8>) -> Result<(), chapter_cli::TensorError> {
    let file = Tensors::parse("some file", bytes)?;
    for prefix in ["", "q_proj."] {
        let file = file.with_prefix(prefix);
        for name in file.names() {
            let _ =
                (file.shape(&name).map(<[usize]>::to_vec), file.raw(&name).map(drop));
            let _ = (file.matrix(&name), file.vector(&name), file.linear(&name));
            let _ = (file.stack(&name, "[n, d]"), file.bool_stack(&name, "[n, m]"));
            let whole = name.strip_suffix(".weight").unwrap_or(&name);
            let _ = file.linear(whole);
        }
    }
    let _ = (file.metadata(), file.warnings());
    Ok(())
}

#[test]
fn damaged_headers_get_an_answer_or_one_line() {
    let x = zeros("x", &[2, 4, 3]);
    let mask = bools("mask", &[2, 4, 4], &[1; 32]);
    let good = layer_and([x, mask]);
    let (header, body) = parts(&good);
    let mut honest = (header.len() as u64).to_le_bytes().to_vec();
    honest.extend_from_slice(header);
    assert!(read([&honest, body].concat()).is_ok());

    proptest!(hostile::cases(), |(header in hostile::damaged(&[header]))| {
        let length = (header.len() as u64).to_le_bytes();
        if let Err(error) = read([&length, &header[..], body].concat()) {
            let line = error.to_string();
            prop_assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    });
}

#[test]
fn damaged_files_get_an_answer_or_one_line() {
    let good = layer_and([zeros("x", &[2, 3])]);
    proptest!(hostile::cases(), |(bytes in hostile::damaged(&[&good]))| {
        if let Err(error) = read(bytes) {
            let line = error.to_string();
            prop_assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    });
}
