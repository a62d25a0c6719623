//! The trees that a place keeps.

use std::path::Path;

use super::hash::TreeHash;

/// A tree that is kept at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub tree: TreeHash,
    /// When it was last asked for, in seconds since 1970.
    pub used: i64,
}

/// Which of these trees are at the place `bundles`, whole. One that was damaged is taken away, so that it is sent again.
/// Those that are there count as used now.
#[must_use]
pub fn have(_bundles: &Path, _wanted: &[TreeHash]) -> Vec<TreeHash> {
    Vec::new()
}

/// All trees at the place, the one used last first.
///
/// # Errors
/// As read_dir(3); a place that is not there has none.
pub fn list(_bundles: &Path) -> std::io::Result<Vec<Kept>> {
    Ok(Vec::new())
}

/// Takes trees away. Jobs that were given them keep what they have.
///
/// # Errors
/// As rename(2) and unlink(2).
pub fn remove(_bundles: &Path, _trees: &[TreeHash]) -> std::io::Result<()> {
    Ok(())
}
