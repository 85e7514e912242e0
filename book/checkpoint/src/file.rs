//! The file that a configuration is read from, and what it is if it is none.

use crate::config::Config;
use crate::error::ConfigError;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The longest file that is read, in bytes. Most configurations have a few thousand;
/// those with a vocabulary inside have some million.
pub const LONGEST: u64 = 64 << 20;

/// Why a file gives no configuration. Each is one line that begins with the path.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system does not give it.
    #[error("{path}: {why}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// It is something else.
    #[error("{path}: this is {kind}", path = path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What it is, and what to do.
        kind: &'static str,
    },
    /// It is too long.
    #[error(
        "{path}: {bytes} bytes, and a configuration has at most {LONGEST}",
        path = path.display()
    )]
    Long {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// It is text, and not understood.
    #[error("{path}: {why}", path = path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: ConfigError,
    },
}

impl Config {
    /// Reads a `config.json`, or that of a folder.
    ///
    /// # Errors
    /// When there is none, or it is something else, or as for [`Config::parse`].
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let folder = path.is_dir();
        let path = if folder { path.join("config.json") } else { path.to_path_buf() };
        match text(&path) {
            Ok(Ok(text)) => {
                Config::parse(&text).map_err(|why| ReadError::Config { path, why })
            }
            Ok(Err(Refused::Is(kind))) => Err(ReadError::Other { path, kind }),
            Ok(Err(Refused::Long(bytes))) => Err(ReadError::Long { path, bytes }),
            Err(why) => Err(ReadError::Unreadable { path, why }),
        }
    }
}

enum Refused {
    Is(&'static str),
    Long(u64),
}

/// The text of a file that may be a configuration.
fn text(path: &Path) -> io::Result<Result<String, Refused>> {
    let about = fs::metadata(path)?;
    // /dev/zero has no end, and a pipe may wait for ever.
    if !about.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    file.by_ref().take(4096).read_to_end(&mut bytes)?;
    if let Some(kind) = kind(&bytes) {
        return Ok(Err(Refused::Is(kind)));
    }
    if about.len() > LONGEST {
        return Ok(Err(Refused::Long(about.len())));
    }
    file.take(LONGEST).read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes);
    Ok(text.map_err(|_| Refused::Is("no text in UTF-8, which a config.json is")))
}

/// What a file that is no configuration is, by its first bytes, and what to do.
#[must_use]
pub fn kind(start: &[u8]) -> Option<&'static str> {
    let begins = |magic: &[u8]| start.starts_with(magic);
    let text = String::from_utf8_lossy(&start[..start.len().min(512)]).to_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if begins(b"version https://git-lfs.github.com/spec/") {
        Some(
            "a Git LFS pointer, in the place of the file: fetch that with git lfs pull",
        )
    } else if text.starts_with("<!doctype html") || text.starts_with("<html") {
        Some(
            "an HTML page, as a server sends it when a download fails: download it again",
        )
    } else if text.starts_with("<?xml") {
        Some("an XML text, as a server sends it when a download fails: download again")
    } else if start.get(8) == Some(&b'{') && !text.starts_with('{') {
        Some("a safetensors file, which holds weights: give the config.json beside it")
    } else if begins(b"GGUF") {
        Some("a GGUF file: give the config.json of the model that it was made from")
    } else if begins(b"PK\x03\x04") || matches!(start, [0x80, 2..=5, ..]) {
        Some("an archive, as PyTorch writes weights: give the config.json beside it")
    } else if begins(b"\x1f\x8b") || begins(b"\x28\xb5\x2f\xfd") {
        Some("a compressed file: unpack it first")
    } else {
        None
    }
}
