//! The allocator keeps what is freed. Linux tells how often a thread met a new page.

use chapter_cli::bench::sum;
use std::fs;

/// More than glibc would ever keep.
const NUMBERS: usize = 16 << 20;
const SMALLEST_PAGE: usize = 4096;

/// How often this thread was given a page that it did not have (proc(5), `minflt`).
fn faults() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
    // The name before the last parenthesis may hold anything.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(7).unwrap().parse().unwrap()
}

/// Writes to all of a large matrix, and frees it.
fn pass() -> u64 {
    let before = faults();
    let matrix = vec![1.0_f32; NUMBERS];
    assert_eq!(sum(&matrix), NUMBERS as f32);
    faults() - before
}

#[test]
fn a_pass_gets_the_memory_that_the_one_before_has_freed() {
    pass();
    let pages = (NUMBERS * size_of::<f32>() / SMALLEST_PAGE) as u64;
    // Another test may take a piece of it, but hardly five times.
    let again = (0..5).map(|_| pass()).min().unwrap();
    assert!(again < pages / 50, "{again} of {pages} pages were new");
}
