//! Times one token's attention over a long cache, for several numbers of key/value heads.
//!
//!     cargo bench -p grouped-query               print the times
//!     cargo bench -p grouped-query -- --record   and keep them in benches/recorded.csv

use grouped_query::{Groups, attend_stacked};
use nalgebra::DMatrix;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use std::hint::black_box;
use std::time::{Duration, Instant};

const HEADS: usize = 32;
const HEAD_DIM: usize = 128;
const CACHED: usize = 8192;
const KV_HEADS: [usize; 6] = [32, 16, 8, 4, 2, 1];

fn main() -> std::io::Result<()> {
    let q = normal(1, HEADS * HEAD_DIM);
    let caches = KV_HEADS.map(|kv_heads| {
        let width = kv_heads * HEAD_DIM;
        (kv_heads, normal(CACHED, width), normal(CACHED, width))
    });
    let mut times = KV_HEADS.map(|_| Vec::new());
    let started = Instant::now();
    // They take turns, so that a slow moment of the machine is shared by all of them.
    for round in 0.. {
        if round > 5 && started.elapsed() > Duration::from_secs(10) {
            break;
        }
        for ((kv_heads, k, v), times) in caches.iter().zip(&mut times) {
            let groups = Groups::new(HEADS, *kv_heads).expect("they divide the heads");
            let start = Instant::now();
            black_box(attend_stacked(&q, k.as_view(), v.as_view(), groups))
                .expect("the shapes fit");
            if round > 0 {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    let mut recording = String::from("kv_heads,min_ms,median_ms\n");
    println!("{:>8} {:>9} {:>9} {:>9}", "kv heads", "min", "median", "to 32");
    let mut most = None;
    for (kv_heads, mut times) in KV_HEADS.into_iter().zip(times) {
        times.sort_by(f64::total_cmp);
        let (min, median) = (times[0], times[times.len() / 2]);
        let ratio = min / *most.get_or_insert(min);
        println!("{kv_heads:>8} {min:>7.3}ms {median:>7.3}ms {ratio:>9.2}");
        recording += &format!("{kv_heads},{min:.4},{median:.4}\n");
    }
    if std::env::args().any(|argument| argument == "--record") {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/recorded.csv");
        std::fs::write(path, recording)?;
        println!("recorded in {path}; now: cargo run -p grouped-query -- plots");
    }
    Ok(())
}

fn normal(rows: usize, columns: usize) -> DMatrix<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    DMatrix::from_fn(rows, columns, |_, _| StandardNormal.sample(&mut rng))
}
