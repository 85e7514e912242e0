//! Times a causal layer forward and backward, beside PyTorch if `PYTHON` has it, and measures
//! how much memory the way back through tiles asks for.
//!
//!     cargo bench -p learning               print the times
//!     cargo bench -p learning -- --record   and keep them in benches/recorded.csv

use anyhow::{Context, Result};
use attention::{Linear, Mask};
use chapter_cli::bench::{Bench, Turns, timed, tried};
use decoder_layer::{DecoderLayer, Parts};
use flash::attend_saving;
use grouped_query::Groups;
use learning::{Attending, backward, flash_backward, forward, forward_in_tiles};
use nalgebra::DMatrix;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use std::fs;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const HEADS: usize = 8;
const HEAD_DIM: usize = 64;
const TOKENS: usize = 1024;
/// Tokens of the pass whose memory is measured.
const LONG: usize = 16_384;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--peak") {
        return peak();
    }
    let peak = Command::new(std::env::current_exe()?).arg("--peak").output()?;
    print!("{}", String::from_utf8_lossy(&peak.stdout));

    let width = HEADS * HEAD_DIM;
    let layer = layer(width)?;
    let [x, dy] = [11, 12].map(|seed| normal(TOKENS, width, seed));
    let causal = Mask::Causal { offset: 0 };
    let mut pytorch = PyTorch::start();
    let mut turns = Turns::new();
    for (name, run) in
        [("plain", forward as fn(_, _, _) -> _), ("tiles", forward_in_tiles)]
    {
        let (layer, x, dy, causal) = (&layer, &x, &dy, &causal);
        turns.add(name, TOKENS, move || {
            tried(|| {
                let passed = run(layer, x, causal)?;
                backward(layer, x, &passed, dy)
            })
        });
    }
    if let Some(pytorch) = &mut pytorch {
        turns.add("pytorch", TOKENS, || pytorch.step());
    }
    let mut bench = Bench::start();
    bench.measure(turns);
    Ok(bench.finish(env!("CARGO_MANIFEST_DIR"))?)
}

fn normal(rows: usize, columns: usize, seed: u64) -> DMatrix<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    DMatrix::from_fn(rows, columns, |_, _| StandardNormal.sample(&mut rng))
}

fn layer(width: usize) -> Result<DecoderLayer> {
    let map =
        |seed| Linear::new(normal(width, width, seed) / (width as f32).sqrt(), None);
    let parts = Parts::plain(Groups::new(HEADS, HEADS)?, HEAD_DIM);
    Ok(DecoderLayer::new([map(1)?, map(2)?, map(3)?, map(4)?], parts)?)
}

/// Attention there and back over a long sequence, in a process of its own, and the most
/// memory that it had at a time.
fn peak() -> Result<()> {
    let width = HEADS * HEAD_DIM;
    let [q, k, v, dy] = [1, 2, 3, 4].map(|seed| normal(LONG, width, seed));
    let (groups, causal) = (Groups::new(HEADS, HEADS)?, Mask::Causal { offset: 0 });
    let sinks = [f32::NEG_INFINITY; HEADS];
    let mut took = Duration::ZERO;
    took += timed(|| {
        let saved =
            attend_saving(&q, k.as_view(), v.as_view(), groups, &causal, &sinks)
                .expect("it fits");
        let given =
            Attending { q: &q, k: &k, v: &v, groups, mask: &causal, sinks: &sinks };
        black_box(flash_backward(given, &saved, &dy).expect("it fits"))
    });
    let status = fs::read_to_string("/proc/self/status").context("no /proc")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = line
        .and_then(|l| l.split_whitespace().next()?.parse().ok())
        .context("no VmHWM")?;
    println!(
        "flash there and back, {LONG} tokens, {HEADS} heads of {HEAD_DIM}: {:.0} MiB, {:.1} s",
        kib / 1024.0,
        took.as_secs_f64()
    );
    Ok(())
}

/// The same layer in PyTorch, in a process that takes turns with this one.
struct PyTorch {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl PyTorch {
    /// None where there is no PyTorch.
    fn start() -> Option<Self> {
        let python = std::env::var_os("PYTHON")?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/beside_pytorch.py");
        let mut child = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut answers = BufReader::new(child.stdout.take()?);
        let mut line = String::new();
        answers.read_line(&mut line).ok()?;
        (line.trim() == "ready").then_some(PyTorch { child, answers })
    }

    /// One pass there and back, as PyTorch has timed it.
    fn step(&mut self) -> Duration {
        let asked = self.child.stdin.as_mut().map(|stdin| writeln!(stdin));
        asked.expect("it listens").expect("it lives");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        Duration::from_secs_f64(line.trim().parse::<f64>().expect("a number") / 1e3)
    }
}

impl Drop for PyTorch {
    fn drop(&mut self) {
        // It ends when nobody asks any more.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
