//! x
use anyhow::Result;
/// x
pub fn online() -> Result<String> { Ok(String::new()) }
