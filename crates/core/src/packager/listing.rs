//! What a packager selected, before it is read.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use camino::Utf8PathBuf;

/// What a packager selected.
#[derive(Debug)]
pub struct Listing {
    /// What the paths are relative to.
    pub root: Utf8PathBuf,
    /// Everything selected.
    pub items: Vec<Item>,
}

/// One thing selected.
#[derive(Debug)]
pub struct Item {
    /// Where it goes in the tree: names joined by `/`.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: ItemKind,
}

/// What a selected thing is.
#[derive(Debug)]
pub enum ItemKind {
    /// A file.
    File {
        /// Where its content is.
        source: Source,
        /// Its owner may run it; for [`Source::Path`] the file itself says.
        executable: bool,
    },
    /// A symbolic link.
    Link {
        /// What is written in it.
        target: Vec<u8>,
    },
    /// A folder with nothing in it.
    Folder,
}

/// Where a file's content is.
#[derive(Debug, Clone)]
pub enum Source {
    /// In a file.
    Path(PathBuf),
    /// Here.
    Bytes(Arc<[u8]>),
    /// In a part of an open file.
    Spooled {
        /// The file.
        file: Arc<File>,
        /// Where the content begins.
        offset: u64,
        /// How long it is.
        len: u64,
    },
}

/// How large a tree may be, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All files together.
    pub total: u64,
    /// One file.
    pub file: u64,
}

/// Why there is no package.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// Where it is kept, or what was selected, can't be read or written.
    #[error(transparent)]
    Bundle(#[from] super::bundle::BundleError),
}
