//! Prints the lines with which a recording begins, for benchmarks in other languages:
//!
//!     cargo bench --quiet -p chapter-cli --bench machine

fn main() {
    print!("{}", chapter_cli::bench::conditions(env!("CARGO_MANIFEST_DIR"), "ms"));
}
