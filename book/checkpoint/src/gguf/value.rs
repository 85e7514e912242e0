//! The parts of a GGUF header: numbers, texts and lists, read one after the other and
//! never beyond the end of the file.

use crate::words::{brief, count};
use std::ops::Range;

/// The longest key or name, in bytes. The format allows keys of 65,535.
const LONGEST_NAME: usize = 65_535;

/// What a key of a GGUF has. Texts and lists are left where they are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// A whole number, of any width.
    Whole(i128),
    Float(f64),
    Bool(bool),
    /// Which bytes of the file are the text, in UTF-8.
    Text(Range<usize>),
    List(List),
}

/// A list of which each entry is of one kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct List {
    pub(crate) kind: Kind,
    pub(crate) length: usize,
    /// The bytes of all entries.
    pub(crate) at: Range<usize>,
}

/// The kinds of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    List,
    U64,
    I64,
    F64,
}

impl Kind {
    fn of(number: u32) -> Result<Self, String> {
        Ok(match number {
            0 => Kind::U8,
            1 => Kind::I8,
            2 => Kind::U16,
            3 => Kind::I16,
            4 => Kind::U32,
            5 => Kind::I32,
            6 => Kind::F32,
            7 => Kind::Bool,
            8 => Kind::Text,
            9 => Kind::List,
            10 => Kind::U64,
            11 => Kind::I64,
            12 => Kind::F64,
            _ => return Err(format!("a value of kind {number}, and 12 is the last")),
        })
    }

    /// The fewest bytes that such a value takes.
    fn least_bytes(self) -> usize {
        match self {
            Kind::U8 | Kind::I8 | Kind::Bool => 1,
            Kind::U16 | Kind::I16 => 2,
            Kind::U32 | Kind::I32 | Kind::F32 => 4,
            Kind::U64 | Kind::I64 | Kind::F64 | Kind::Text => 8,
            Kind::List => 12,
        }
    }
}

/// A place in the file.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    file: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(file: &'a [u8], at: usize) -> Self {
        Reader { file, at }
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.file.len().saturating_sub(self.at)
    }

    fn take(&mut self, length: usize) -> Result<Range<usize>, String> {
        let range = self.at..self.at.saturating_add(length);
        if range.end > self.file.len() {
            return Err(format!(
                "the file ends at byte {}, and its header goes on: it is cut short; \
                 download it again",
                self.file.len()
            ));
        }
        self.at = range.end;
        Ok(range)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let range = self.take(N)?;
        Ok(std::array::from_fn(|i| self.file[range.start + i]))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, String> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, String> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// A count of things that take at least so many bytes each: no more of them than
    /// the rest of the file can hold.
    pub(crate) fn count(&mut self, noun: &str, each: usize) -> Result<usize, String> {
        let told = self.u64()?;
        let most = self.left() / each;
        let fits = usize::try_from(told).ok().filter(|told| *told <= most);
        fits.ok_or_else(|| {
            format!(
                "it promises {}, and the {} that are left hold at most {most}: it is \
                 damaged or cut short; download it again",
                count(told, noun),
                count(self.left() as u64, "byte")
            )
        })
    }

    /// A text: its length, and its bytes.
    pub(crate) fn text(&mut self) -> Result<Range<usize>, String> {
        let length = self.count("byte", 1)?;
        self.take(length)
    }

    /// A key, or the name of a tensor.
    pub(crate) fn name(&mut self) -> Result<String, String> {
        let range = self.text()?;
        let bytes = &self.file[range];
        if bytes.len() > LONGEST_NAME {
            let length = bytes.len();
            return Err(format!(
                "a name of {length} bytes, and {LONGEST_NAME} is most"
            ));
        }
        let name = std::str::from_utf8(bytes);
        name.map(str::to_owned).map_err(|_| {
            format!(
                "the name `{}` is not UTF-8",
                brief(&String::from_utf8_lossy(bytes))
            )
        })
    }

    /// A kind, and a value of that kind.
    pub(crate) fn value(&mut self) -> Result<Value, String> {
        let kind = Kind::of(self.u32()?)?;
        if kind != Kind::List {
            return self.one(kind);
        }
        let kind = Kind::of(self.u32()?)?;
        if kind == Kind::List {
            return Err("a list of lists, which GGUF does not have".to_owned());
        }
        let length = self.count("value", kind.least_bytes())?;
        let begin = self.at;
        if kind == Kind::Text {
            for _ in 0..length {
                self.text()?;
            }
        } else {
            // At most what is left, as was just seen.
            self.take(length * kind.least_bytes())?;
        }
        Ok(Value::List(List { kind, length, at: begin..self.at }))
    }

    /// A value of a kind that is known.
    pub(crate) fn one(&mut self, kind: Kind) -> Result<Value, String> {
        Ok(match kind {
            Kind::U8 => Value::Whole(u8::from_le_bytes(self.bytes()?).into()),
            Kind::I8 => Value::Whole(i8::from_le_bytes(self.bytes()?).into()),
            Kind::U16 => Value::Whole(u16::from_le_bytes(self.bytes()?).into()),
            Kind::I16 => Value::Whole(i16::from_le_bytes(self.bytes()?).into()),
            Kind::U32 => Value::Whole(self.u32()?.into()),
            Kind::I32 => Value::Whole(i32::from_le_bytes(self.bytes()?).into()),
            Kind::U64 => Value::Whole(self.u64()?.into()),
            Kind::I64 => Value::Whole(i64::from_le_bytes(self.bytes()?).into()),
            Kind::F32 => Value::Float(shortest(f32::from_le_bytes(self.bytes()?))),
            Kind::F64 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            Kind::Bool => Value::Bool(self.bytes::<1>()? != [0]),
            Kind::Text => Value::Text(self.text()?),
            Kind::List => return Err("a list within a list".to_owned()),
        })
    }
}

/// The number that somebody wrote, of which `number` is the nearest f32: 1e-5, and not
/// 0.000009999999747378752.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}
