//! Whether there is memory enough, asked before it is taken.

use std::fs;
use std::path::Path;

/// Bytes that are to be had; more than can be counted is as much as can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(u64);

impl Bytes {
    /// So many.
    pub(crate) fn of(bytes: u64) -> Self {
        Bytes(bytes)
    }

    /// Of so many F32 numbers in a tensor of this shape.
    pub(crate) fn of_f32s(shape: &[usize]) -> Self {
        let mut factors = shape.iter().map(|&length| length as u64);
        let all = factors.try_fold(size_of::<f32>() as u64, u64::checked_mul);
        // An empty tensor is empty, however long its other sides are.
        Bytes(if shape.contains(&0) { 0 } else { all.unwrap_or(u64::MAX) })
    }

    /// So many of a byte each.
    pub(crate) fn of_booleans(shape: &[usize]) -> Self {
        Bytes(Bytes::of_f32s(shape).0 / size_of::<f32>() as u64)
    }

    pub(crate) fn and(self, more: Bytes) -> Self {
        Bytes(self.0.saturating_add(more.0))
    }

    pub(crate) fn times(self, factor: usize) -> Self {
        Bytes(self.0.saturating_mul(factor as u64))
    }

    /// How many times `one` fits.
    pub(crate) fn hold(self, one: Bytes) -> usize {
        usize::try_from(self.0 / one.0.max(1)).unwrap_or(usize::MAX)
    }

    /// Whether the process can have them.
    ///
    /// # Errors
    /// When it cannot: then so many are free.
    pub(crate) fn are_free(self) -> Result<(), Bytes> {
        match free() {
            Some(free) if self > free => Err(free),
            Some(_) => Ok(()),
            None => self.can_be_reserved(),
        }
    }

    /// Asks the allocator, where the system does not say what is free. What is reserved
    /// and not written to takes no memory.
    fn can_be_reserved(self) -> Result<(), Bytes> {
        let length = usize::try_from(self.0).unwrap_or(usize::MAX);
        let reserved = Vec::<u8>::new().try_reserve_exact(length);
        reserved.map_err(|_| Bytes(self.0 / 2))
    }
}

/// `8.6 GB`, `12.5 MB`, in powers of 1,000.
impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        if self.0 == u64::MAX {
            return write!(f, "more than 18,000 PB");
        }
        let (mut number, mut unit) = (self.0 as f64 / 1e3, "kB");
        for larger in ["MB", "GB", "TB", "PB"] {
            if number >= 1e3 {
                (number, unit) = (number / 1e3, larger);
            }
        }
        write!(f, "{number:.1} {unit}")
    }
}

/// What this process can still have, where Linux tells it: of the machine, of the group of
/// processes that it belongs to (a container has one), and of its own limit.
fn free() -> Option<Bytes> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let machine = line(&read("/proc/meminfo")?, "MemAvailable:")?.saturating_mul(1024);
    let own = read("/proc/self/limits").and_then(|limits| {
        let limit = line(&limits, "Max address space")?;
        let pages: u64 = read("/proc/self/statm")?.split(' ').next()?.parse().ok()?;
        Some(limit.saturating_sub(pages.saturating_mul(PAGE)))
    });
    let limits = [Some(machine), group(), own];
    limits.into_iter().flatten().min().map(Bytes)
}

/// The smallest page of Linux. Where pages are larger, the process is taken to be smaller.
const PAGE: u64 = 4096;

/// The number that follows `key` at the start of a line; `unlimited` is none.
fn line(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// What the control group (version 2) leaves. Files that were read are counted there, and
/// make room.
fn group() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = Path::new("/sys/fs/cgroup").join(path);
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let most: u64 = read("memory.max")?.trim().parse().ok()?;
    let taken: u64 = read("memory.current")?.trim().parse().ok()?;
    let files = line(&read("memory.stat")?, "inactive_file").unwrap_or(0);
    Some(most.saturating_sub(taken.saturating_sub(files)))
}

#[cfg(test)]
mod tests {
    use super::{Bytes, line};

    #[test]
    fn bytes_are_counted_without_overflow() {
        assert_eq!(Bytes::of_f32s(&[32, 8192, 8192]).to_string(), "8.6 GB");
        assert_eq!(Bytes::of_f32s(&[1_000_000, 1_000_000]).to_string(), "4.0 TB");
        assert_eq!(Bytes::of_f32s(&[2, 3]).to_string(), "0.0 kB");
        let endless = Bytes::of_f32s(&[usize::MAX, usize::MAX]);
        assert_eq!(endless.and(endless).times(3).to_string(), "more than 18,000 PB");
        assert_eq!(Bytes::of_f32s(&[usize::MAX, 0, usize::MAX]), Bytes(0));
        assert_eq!(Bytes::of_booleans(&[10, 10]), Bytes(100));
    }

    #[test]
    fn little_is_free_and_too_much_is_not() {
        assert_eq!(Bytes(1000).are_free(), Ok(()));
        assert!(Bytes(u64::MAX).are_free().is_err());
        assert_eq!(Bytes(1000).can_be_reserved(), Ok(()));
        assert!(Bytes(u64::MAX).can_be_reserved().is_err());
    }

    #[test]
    fn a_number_is_found_behind_its_key() {
        let limits =
            "Max data size  unlimited\nMax address space    8192  9000  bytes\n";
        assert_eq!(line(limits, "Max address space"), Some(8192));
        assert_eq!(line(limits, "Max data size"), None);
        assert_eq!(line(limits, "MemAvailable:"), None);
    }
}
