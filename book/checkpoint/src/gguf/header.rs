//! The header of a GGUF: what it says of itself, and where its tensors are.

use crate::gguf::stored;
use crate::gguf::value::{Reader, Value};
use crate::weights::format::{Format, numbers};
use crate::words::{brief, count, shape};
use std::collections::BTreeMap;
use std::ops::Range;

/// Where tensors begin, if `general.alignment` does not say: at multiples of this.
const ALIGNMENT: usize = 32;
/// Lengths of a tensor. ggml has four.
const MOST_LENGTHS: u32 = 4;

/// What a header says.
#[derive(Debug, Default)]
pub(crate) struct Header {
    pub(crate) metadata: BTreeMap<String, Value>,
    pub(crate) tensors: BTreeMap<String, Placed>,
}

/// A tensor, and which bytes of the file are its own.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) format: Format,
    /// Outermost length first, as Hugging Face's files have it. GGUF has it last.
    pub(crate) shape: Vec<usize>,
    pub(crate) at: Range<usize>,
}

impl Header {
    /// Reads the header of a file, or says what is wrong with it, and what to do.
    ///
    /// Each count is held to the length of the file before anything is done with it:
    /// nothing is allocated by a number that the file names.
    pub(crate) fn read(file: &[u8]) -> Result<Self, String> {
        let mut reader = Reader::new(file, 4);
        expect_version(reader.u32()?)?;
        // Name, number of lengths, one length, way of storing, offset.
        let tensors = reader.count("tensor", 8 + 4 + 8 + 4 + 8)?;
        // Key, kind, value.
        let keys = reader.count("key", 8 + 4 + 1)?;
        let mut header = Header::default();
        for _ in 0..keys {
            header.read_key(&mut reader)?;
        }
        let mut placed = BTreeMap::new();
        for _ in 0..tensors {
            let (name, tensor) = read_tensor(&mut reader)?;
            if placed.insert(name.clone(), tensor).is_some() {
                return Err(format!(
                    "it has two tensors of the name `{}`",
                    brief(&name)
                ));
            }
        }
        let data = reader.at.next_multiple_of(header.alignment()?);
        for (name, mut tensor) in placed {
            tensor.at = within(&name, &tensor, data, file.len())?;
            header.tensors.insert(name, tensor);
        }
        Ok(header)
    }

    fn read_key(&mut self, reader: &mut Reader) -> Result<(), String> {
        let key = reader.name()?;
        let value =
            reader.value().map_err(|why| format!("`{}`: {why}", brief(&key)))?;
        match self.metadata.insert(key.clone(), value) {
            None => Ok(()),
            Some(_) => Err(format!("it has the key `{}` twice", brief(&key))),
        }
    }

    fn alignment(&self) -> Result<usize, String> {
        match self.metadata.get("general.alignment") {
            None => Ok(ALIGNMENT),
            Some(Value::Whole(at)) if (1..=1 << 20).contains(at) => Ok(*at as usize),
            Some(_) => Err("`general.alignment` is no number of bytes".to_owned()),
        }
    }

    /// The text that `key` has, if it has one.
    pub(crate) fn text<'a>(&self, file: &'a [u8], key: &str) -> Option<&'a str> {
        match self.metadata.get(key)? {
            Value::Text(at) => std::str::from_utf8(&file[at.clone()]).ok(),
            _ => None,
        }
    }
}

fn expect_version(version: u32) -> Result<(), String> {
    match version {
        2 | 3 => Ok(()),
        _ if (1..=9).contains(&version.swap_bytes()) => Err(
            "it is a GGUF with its bytes in the other order (big-endian), which is \
                 not read here: convert it with gguf-py's gguf_convert_endian.py"
                .to_owned(),
        ),
        _ => Err(format!(
            "it is a GGUF of version {version}, and 2 and 3 are read here: convert the \
             model anew with llama.cpp's convert_hf_to_gguf.py"
        )),
    }
}

/// A tensor whose place is still counted from where the data begins.
fn read_tensor(reader: &mut Reader) -> Result<(String, Placed), String> {
    let name = reader.name()?;
    let told = brief(&name);
    let lengths = reader.u32()?;
    if !(1..=MOST_LENGTHS).contains(&lengths) {
        return Err(format!(
            "`{told}` has {lengths} dimensions, and 1 to 4 are allowed"
        ));
    }
    let mut shape = Vec::new();
    for _ in 0..lengths {
        let length = reader.u64()?;
        let length = usize::try_from(length).ok().filter(|length| *length > 0);
        let wrong = || format!("`{told}` has a length of 0, or one beyond counting");
        shape.insert(0, length.ok_or_else(wrong)?);
    }
    let number = reader.u32()?;
    let format = stored::format(number).ok_or_else(|| {
        format!(
            "`{told}` is stored in a way of number {number}, which is not known here: \
             take a file in Q8_0 or F16"
        )
    })?;
    let begin = usize::try_from(reader.u64()?).unwrap_or(usize::MAX);
    Ok((name, Placed { format, shape, at: begin..begin }))
}

/// Which bytes of the file a tensor has.
fn within(
    name: &str,
    tensor: &Placed,
    data: usize,
    file: usize,
) -> Result<Range<usize>, String> {
    let Placed { format, shape: dims, at } = tensor;
    let told = format!("`{}` of shape {} in {format}", brief(name), shape(dims));
    let whole = dims.last().is_some_and(|width| width.is_multiple_of(format.block()));
    let bytes = numbers(dims).filter(|_| whole).and_then(|all| format.bytes_of(all));
    let bytes = bytes.ok_or_else(|| {
        let block = format.block();
        format!("{told}: its rows are no blocks of {block}, or beyond counting")
    })?;
    let begin = data.saturating_add(at.start);
    let end = begin.saturating_add(bytes);
    if end > file {
        return Err(format!(
            "{told} ends at byte {end}, and the file has {}: it is cut short; download \
             it again",
            count(file as u64, "byte")
        ));
    }
    Ok(begin..end)
}
