//! x
/// x
/// # Errors
/// x
pub fn all() -> anyhow::Result<Vec<figures::Figure>> {
    Ok(vec![])
}
