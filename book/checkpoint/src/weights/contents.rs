//! The bytes of a file: mapped into memory, so that nothing is read before it is looked
//! at, or in memory already.

#[cfg(not(target_family = "wasm"))]
use mmap_io::{MemoryMappedFile, MmapAdvice, MmapIoError};
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

/// The bytes of a file.
///
/// A file that another process shortens while it is mapped ends this process at the
/// next look behind its end: the system offers no gentler answer. Downloads and
/// `save_file` replace files, or write new ones, and do no harm.
#[derive(Debug)]
pub(crate) enum Contents {
    // A page has no files, and carries no code for them.
    #[cfg(not(target_family = "wasm"))]
    Mapped(MemoryMappedFile),
    Owned(Vec<u8>),
}

impl Contents {
    /// Maps the file at `path`.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let about = fs::metadata(path)?;
        if about.is_dir() {
            return Err(io::Error::other("it is a directory"));
        }
        // /dev/zero has no end, and a pipe may wait for ever.
        if !about.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        if about.len() == 0 {
            return Ok(Contents::Owned(Vec::new()));
        }
        Contents::map(path)
    }

    #[cfg(not(target_family = "wasm"))]
    fn map(path: &Path) -> io::Result<Self> {
        MemoryMappedFile::open_ro(path).map(Contents::Mapped).map_err(|why| match why {
            MmapIoError::Io(why) => why,
            why => io::Error::other(why),
        })
    }

    #[cfg(target_family = "wasm")]
    fn map(path: &Path) -> io::Result<Self> {
        fs::read(path).map(Contents::Owned)
    }

    /// Lets the system have the memory back in which it holds these bytes of a mapped
    /// file. Whoever looks at them again finds them all the same: they are read anew.
    pub(crate) fn forget(&self, at: Range<usize>) {
        #[cfg(not(target_family = "wasm"))]
        if let Contents::Mapped(map) = self {
            let length = at.len() as u64;
            // A hint: a system that does not take it has the memory back at the end.
            let _ = map.advise(at.start as u64, length, MmapAdvice::DontNeed);
        }
        #[cfg(target_family = "wasm")]
        let _ = at;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            #[cfg(not(target_family = "wasm"))]
            Contents::Mapped(map) => {
                // Only a file that can be written to, or a range beyond it, is refused.
                map.as_slice_bytes(0, map.len()).unwrap_or_default()
            }
            Contents::Owned(bytes) => bytes,
        }
    }
}
