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

/// The sum of `numbers`, by all cores: little arithmetic for what is read, so that its
/// time is that of the memory.
#[must_use]
pub fn sum(numbers: &[f32]) -> f32 {
    const PARTS: usize = 64;
    let part = numbers.len().div_ceil(PARTS).max(1);
    let sums = share_out(PARTS, part, |share| {
        let end = numbers.len();
        let [first, last] = [share.start, share.end].map(|i| end.min(i * part));
        sum_of(&numbers[first..last])
    });
    sums.iter().sum()
}

/// In lanes that do not wait for one another.
fn sum_of(numbers: &[f32]) -> f32 {
    let mut sums = [0.0; 64];
    let (chunks, rest) = numbers.as_chunks::<64>();
    for chunk in chunks {
        for (sum, number) in sums.iter_mut().zip(chunk) {
            *sum += number;
        }
    }
    sums.iter().chain(rest).sum()
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn every_number_is_summed_once() {
        for count in [0, 1, 63, 64, 65, 5000, 1 << 17] {
            let numbers = vec![1.0; count];
            assert_eq!(sum(&numbers), count as f32);
        }
    }
}
