//! Squeezes every head of MiniLM on 512 tokens to fewer rows, and keeps what is left in
//! `src/measured.csv`, from which the chapter's tables and figures are made.
//!
//!     cargo run -p linformer --example measure

use linformer::measured::Measurements;
use std::path::Path;

fn main() -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/measured.csv");
    std::fs::write(&path, Measurements::write()?)?;
    println!("measured in {}; now draw the plots", path.display());
    Ok(())
}
