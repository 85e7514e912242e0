//! x
pub fn all() -> anyhow::Result<Vec<figures::Figure>> { Ok(vec![]) }
