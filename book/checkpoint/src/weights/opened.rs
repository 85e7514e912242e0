//! Tensors by name, from whatever files they lie in.

use crate::gguf::described::{Described, Odd};
use crate::gguf::header as gguf;
use crate::gguf::names::{huggingface, is_paired};
use crate::gguf::value::Value;
use crate::open_error::OpenError;
use crate::weights::contents::Contents;
use crate::weights::format::Format;
use crate::weights::index::{INDEX, Index};
use crate::weights::kind::kind;
use crate::weights::safetensors;
use crate::weights::tensor::{Order, Tensor};
use crate::words::brief;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name that Hugging Face's folders give weights that are in one file.
const SINGLE: &str = "model.safetensors";

/// Tensors by their names in Hugging Face's files, mapped into memory: opening a model
/// takes as long as reading its headers, and a tensor is read when it is asked for.
///
/// It is cheap to clone.
#[derive(Debug, Clone)]
pub struct Weights {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The file or folder that was asked for.
    path: PathBuf,
    parts: Vec<Part>,
    entries: BTreeMap<String, Entry>,
}

/// One file.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    contents: Contents,
    header: Header,
    /// Its tensors, until those of all parts come together.
    entries: Vec<(String, Entry)>,
}

#[derive(Debug)]
enum Header {
    /// What the file's writer noted about it.
    Safetensors(Option<HashMap<String, String>>),
    Gguf(gguf::Header),
}

/// Where a tensor is.
#[derive(Debug)]
struct Entry {
    part: usize,
    format: Format,
    shape: Vec<usize>,
    at: Range<usize>,
    order: Order,
}

impl Weights {
    /// Opens a safetensors file, the index of several, a `.gguf` file, or the folder in
    /// which a model's safetensors files lie.
    ///
    /// # Errors
    /// When there is no such file, or it is of another kind, or damaged; when an index
    /// names what is not there.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        if path.is_dir() {
            return Weights::folder(path);
        }
        let contents = contents(path)?;
        if contents.bytes().first() == Some(&b'{') && is_index(contents.bytes()) {
            return Weights::indexed(path, contents.bytes());
        }
        Weights::from_parts(path, vec![Part::read(path.to_path_buf(), contents)?])
    }

    /// A safetensors or GGUF file that is in memory already, under the name that errors
    /// give it.
    ///
    /// # Errors
    /// When it is neither, or damaged.
    pub fn parse(name: &str, bytes: Vec<u8>) -> Result<Self, OpenError> {
        let path = PathBuf::from(name);
        let part = Part::read(path.clone(), Contents::Owned(bytes))?;
        Weights::from_parts(&path, vec![part])
    }

    /// Opens one safetensors file, and refuses whatever else there is.
    ///
    /// # Errors
    /// When there is no such file, or it is of another kind, or damaged.
    pub fn open_safetensors(path: &Path) -> Result<Self, OpenError> {
        let part = Part::safetensors(path.to_path_buf(), contents(path)?)?;
        Weights::from_parts(path, vec![part])
    }

    /// The same, of a file that is in memory already, under the name that errors give it.
    ///
    /// # Errors
    /// When it is of another kind, or damaged.
    pub fn parse_safetensors(name: &str, bytes: Vec<u8>) -> Result<Self, OpenError> {
        let path = PathBuf::from(name);
        let part = Part::safetensors(path.clone(), Contents::Owned(bytes))?;
        Weights::from_parts(&path, vec![part])
    }

    fn folder(folder: &Path) -> Result<Self, OpenError> {
        let index = folder.join(INDEX);
        if index.is_file() {
            let text = contents(&index)?;
            return Weights::indexed(&index, text.bytes());
        }
        let single = folder.join(SINGLE);
        if single.is_file() {
            return Weights::open(&single);
        }
        Err(OpenError::NoModel { path: folder.to_path_buf(), what: nothing_in(folder) })
    }

    /// The files of an index, which lie beside it.
    fn indexed(path: &Path, text: &[u8]) -> Result<Self, OpenError> {
        let damaged = |what| OpenError::Damaged { path: path.to_path_buf(), what };
        let index = Index::parse(text).map_err(damaged)?;
        let mut parts = Vec::new();
        for name in index.names() {
            let file = path.with_file_name(name);
            if !file.is_file() {
                return Err(damaged(format!(
                    "it names `{}`, which is not beside it: download that file too",
                    brief(name)
                )));
            }
            let contents = contents(&file)?;
            parts.push(Part::read(file, contents)?);
        }
        let weights = Weights::from_parts(path, parts)?;
        for (tensor, file) in &index.files {
            let found = weights.get(tensor).map(|tensor| tensor.path());
            if found != Some(&*path.with_file_name(file)) {
                return Err(damaged(format!(
                    "it says that `{}` is in `{}`, and it is not there: index and files \
                     are of different downloads; download the model again",
                    brief(tensor),
                    brief(file)
                )));
            }
        }
        Ok(weights)
    }

    fn from_parts(path: &Path, mut parts: Vec<Part>) -> Result<Self, OpenError> {
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for number in 0..parts.len() {
            for (name, mut entry) in std::mem::take(&mut parts[number].entries) {
                entry.part = number;
                let told = brief(&name);
                let Some(other) = entries.insert(name, entry) else { continue };
                return Err(parts[number].damaged(format!(
                    "`{told}` is in {} too: keep the file that counts",
                    parts[other.part].path.display()
                )));
            }
        }
        let path = path.to_path_buf();
        Ok(Weights { shared: Arc::new(Shared { path, parts, entries }) })
    }

    /// The file or folder that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The names of all tensors, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.shared.entries.keys().map(String::as_str)
    }

    /// Whether there is a tensor of that name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.shared.entries.contains_key(name)
    }

    /// The tensor of that name, if there is one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Tensor<'_>> {
        let (name, entry) = self.shared.entries.get_key_value(name)?;
        let part = &self.shared.parts[entry.part];
        Some(Tensor {
            path: &part.path,
            name,
            shape: &entry.shape,
            format: entry.format,
            bytes: &part.contents.bytes()[entry.at.clone()],
            order: entry.order,
        })
    }

    /// Says that the tensor of that name has been read and will not be needed again: what
    /// the system holds of it in memory is given back. Whoever reads a model tensor after
    /// tensor into a form of their own then never has it in memory twice. A tensor can
    /// still be read; it takes longer.
    pub fn forget(&self, name: &str) {
        if let Some(entry) = self.shared.entries.get(name) {
            self.shared.parts[entry.part].contents.forget(entry.at.clone());
        }
    }

    /// The tensor of that name.
    ///
    /// # Errors
    /// When there is none, with the names that come nearest.
    pub fn tensor(&self, name: &str) -> Result<Tensor<'_>, OpenError> {
        self.get(name).ok_or_else(|| OpenError::Missing {
            path: self.shared.path.clone(),
            tensor: name.to_owned(),
            hint: self.nearest(name),
        })
    }

    /// The tensor of that name, if it has this shape; `because` says what asks for it.
    ///
    /// # Errors
    /// When there is none, or it has another shape.
    pub fn shaped(
        &self,
        name: &str,
        shape: &[usize],
        because: &str,
    ) -> Result<Tensor<'_>, OpenError> {
        self.tensor(name)?.shaped(shape, because)
    }

    /// How many bytes all tensors take as they are stored.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.entries.values().map(|entry| entry.at.len() as u64).sum()
    }

    /// How many numbers all tensors have.
    #[must_use]
    pub fn numbers(&self) -> u64 {
        let numbers = |entry: &Entry| {
            let blocks = entry.at.len() / entry.format.block_bytes();
            (blocks * entry.format.block()) as u64
        };
        self.shared.entries.values().map(numbers).sum()
    }

    /// What a safetensors file's writer noted about it, if it is one file.
    #[must_use]
    pub fn metadata(&self) -> Option<&HashMap<String, String>> {
        match &self.shared.parts[..] {
            [Part { header: Header::Safetensors(noted), .. }] => noted.as_ref(),
            _ => None,
        }
    }

    /// What the GGUF says of its model, if it is one.
    pub(crate) fn described(&self) -> Option<Described<'_>> {
        match &self.shared.parts[..] {
            [Part { header: Header::Gguf(header), contents, .. }] => {
                Some(Described { header, file: contents.bytes() })
            }
            _ => None,
        }
    }

    /// The names that come nearest to one that is not there.
    fn nearest(&self, wanted: &str) -> String {
        const SHOWN: usize = 3;
        let mut names: Vec<&str> = self.names().collect();
        if names.is_empty() {
            return "it has no tensors".to_owned();
        }
        names.sort_by_cached_key(|name| std::cmp::Reverse(shared_ends(wanted, name)));
        let near: Vec<String> =
            names.iter().take(SHOWN).map(|name| format!("`{}`", brief(name))).collect();
        format!("of its {}, the nearest are {}", names.len(), near.join(", "))
    }
}

impl Part {
    fn read(path: PathBuf, contents: Contents) -> Result<Self, OpenError> {
        if contents.bytes().starts_with(b"GGUF") {
            Part::gguf(path, contents)
        } else {
            Part::safetensors(path, contents)
        }
    }

    fn safetensors(path: PathBuf, contents: Contents) -> Result<Self, OpenError> {
        let bytes = contents.bytes();
        match safetensors::read(bytes) {
            Ok(safetensors::Header { tensors, metadata }) => {
                let entry = |placed: safetensors::Placed| {
                    let safetensors::Placed { name, format, shape, at } = placed;
                    let order = Order::AsNumbered;
                    (name, Entry { part: 0, format, shape, at, order })
                };
                let entries = tensors.into_iter().map(entry).collect();
                let header = Header::Safetensors(metadata);
                Ok(Part { path, contents, header, entries })
            }
            Err(damage) => {
                // A kind that is known says more than where it differs.
                let kind = kind(bytes).map(|kind| format!("it is {kind}"));
                Err(OpenError::Damaged { path, what: kind.unwrap_or(damage) })
            }
        }
    }

    fn gguf(path: PathBuf, contents: Contents) -> Result<Self, OpenError> {
        let header = match gguf::Header::read(contents.bytes()) {
            Ok(header) => header,
            Err(what) => return Err(OpenError::Damaged { path, what }),
        };
        if let Some(Value::Whole(2..)) = header.metadata.get("split.count") {
            let what = "it is one of several files: merge them with llama.cpp's \
                        llama-gguf-split --merge"
                .to_owned();
            return Err(OpenError::Damaged { path, what });
        }
        let described = Described { header: &header, file: contents.bytes() };
        let architecture = described.architecture().unwrap_or_default();
        let entry = |(name, placed): (&String, &gguf::Placed)| {
            let order = if is_paired(architecture, name) {
                paired(&path, described, name, placed)?
            } else {
                Order::AsNumbered
            };
            let gguf::Placed { format, shape, at } = placed.clone();
            Ok((huggingface(name), Entry { part: 0, format, shape, at, order }))
        };
        let entries = header.tensors.iter().map(entry);
        let entries = entries.collect::<Result<Vec<_>, OpenError>>()?;
        Ok(Part { path, contents, header: Header::Gguf(header), entries })
    }

    fn damaged(&self, what: String) -> OpenError {
        OpenError::Damaged { path: self.path.clone(), what }
    }
}

/// The order of the rows of queries and keys. A bias has as many numbers, and each
/// of them is moved like a row.
fn paired(
    path: &Path,
    described: Described,
    name: &str,
    placed: &gguf::Placed,
) -> Result<Order, OpenError> {
    let head_dim = described.head_dim().map_err(|odd| odd.told(path))?;
    let gguf::Placed { shape, format, .. } = placed;
    let whole = shape.first().is_some_and(|rows| rows.is_multiple_of(head_dim));
    let movable = shape.len() > 1 || format.block() == 1;
    if !whole || !movable || !head_dim.is_multiple_of(2) {
        return Err(OpenError::Shape {
            path: path.to_path_buf(),
            tensor: name.to_owned(),
            found: shape.clone(),
            wanted: vec![head_dim],
            because: "queries and keys consist of heads, and the file says how wide \
                      one is, which is an even number"
                .to_owned(),
        });
    }
    Ok(Order::Paired { head_dim })
}

impl Odd {
    /// The same as an error about the file at `path`.
    pub(crate) fn told(self, path: &Path) -> OpenError {
        let Odd { key, found, wanted } = self;
        OpenError::Metadata { path: path.to_path_buf(), key, found, wanted }
    }
}

fn contents(path: &Path) -> Result<Contents, OpenError> {
    let unreadable = |why| OpenError::Unreadable { path: path.to_path_buf(), why };
    Contents::open(path).map_err(unreadable)
}

/// Whether JSON is an index, by its first bytes or its last: the map is long.
fn is_index(text: &[u8]) -> bool {
    let names =
        |part: &[u8]| part.windows(12).any(|window| window == b"\"weight_map\"");
    names(&text[..text.len().min(4096)])
        || names(&text[text.len().saturating_sub(4096)..])
}

/// What a folder without weights has instead.
fn nothing_in(folder: &Path) -> String {
    let has = |name: &str| folder.join(name).is_file();
    let wanted = format!("no {SINGLE} and no {INDEX}");
    if has("pytorch_model.bin") || has("pytorch_model.bin.index.json") {
        return format!(
            "{wanted}, and its pytorch_model.bin is a pickle, which is not read here: \
             save the model with save_pretrained(…, safe_serialization=True)"
        );
    }
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut ggufs: Vec<String> = files
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .filter(|name| Path::new(name).extension().is_some_and(|end| end == "gguf"))
        .collect();
    ggufs.sort();
    match ggufs.first() {
        Some(name) => format!("{wanted}; give the file {} in it", brief(name)),
        None => format!("{wanted}: give the folder of a model from Hugging Face"),
    }
}

/// How many letters two names share at their beginnings and ends.
fn shared_ends(one: &str, other: &str) -> usize {
    let equal = |(a, b): &(char, char)| a == b;
    let front = one.chars().zip(other.chars()).take_while(equal).count();
    let back = one.chars().rev().zip(other.chars().rev()).take_while(equal).count();
    front + back
}
