//! Heads that are shared out among the cores.

use std::ops::Range;
use std::panic::resume_unwind;
use std::thread::{available_parallelism, scope};

/// Numbers to read for each head below which a second core costs more than it saves.
const WORTH: usize = 1 << 16;

/// Does `work` on equal shares of `heads`, each of which reads so many `numbers`: a share a
/// core, all at a time. The results come in the order of the heads.
pub fn share_out<T: Send>(
    heads: usize,
    numbers: usize,
    work: impl Fn(Range<usize>) -> T + Sync,
) -> Vec<T> {
    let cores = available_parallelism().map_or(1, usize::from);
    if cores == 1 || numbers < WORTH {
        return vec![work(0..heads)];
    }
    let (share, work) = (heads.div_ceil(cores).max(1), &work);
    scope(|scope| {
        let shares = (0..heads).step_by(share);
        let shares = shares.map(|first| first..heads.min(first + share));
        let at_work: Vec<_> =
            shares.map(|share| scope.spawn(move || work(share))).collect();
        let done = at_work.into_iter().map(std::thread::ScopedJoinHandle::join);
        done.map(|done| done.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}
