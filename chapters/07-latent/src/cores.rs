//! Heads that are shared out among the cores.

use rayon::prelude::*;
use std::ops::Range;

/// Numbers to read for each head below which a second core costs more than it saves.
const WORTH: usize = 1 << 16;

/// Does `work` on equal shares of `heads`, each of which reads so many `numbers`: a share a
/// core, all at a time. The results come in the order of the heads.
pub(crate) fn share_out<T: Send>(
    heads: usize,
    numbers: usize,
    work: impl Fn(Range<usize>) -> T + Sync,
) -> Vec<T> {
    let cores = rayon::current_num_threads();
    if cores == 1 || numbers < WORTH {
        return vec![work(0..heads)];
    }
    let share = heads.div_ceil(cores).max(1);
    let shares = (0..heads).into_par_iter().step_by(share);
    shares.map(|first| work(first..heads.min(first + share))).collect()
}

#[cfg(test)]
mod tests {
    use super::share_out;

    #[test]
    fn shares_come_in_the_order_of_the_heads() {
        for (heads, numbers) in
            [(7, 1 << 20), (7, 1), (1, 1 << 20), (0, 1 << 20), (64, 1 << 20)]
        {
            let shares =
                share_out(heads, numbers, std::iter::Iterator::collect::<Vec<_>>);
            let all: Vec<usize> = shares.into_iter().flatten().collect();
            assert_eq!(all, (0..heads).collect::<Vec<_>>());
        }
    }
}
