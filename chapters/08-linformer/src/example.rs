//! x
pub fn four_tokens() -> anyhow::Result<String> { Ok(String::new()) }
pub fn spectrum() -> anyhow::Result<String> { Ok(String::new()) }
