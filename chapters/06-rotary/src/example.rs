//! x
/// x
/// # Errors
/// x
pub fn three_tokens() -> anyhow::Result<String> { Ok(String::new()) }
/// x
/// # Errors
/// x
pub fn shifted() -> anyhow::Result<String> { Ok(String::new()) }
