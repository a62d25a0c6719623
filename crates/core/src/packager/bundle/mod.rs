//! Keeps trees of code by their content, and writes them as bundles. What reads bundles is `mizzen_agent::bundle`.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::time::SystemTime;

use camino::{Utf8Path, Utf8PathBuf};
use mizzen_agent::bundle::{Manifest, TreeHash};

use super::listing::{Limits, Listing, PackError};

/// The trees that are kept in the home.
#[derive(Debug, Clone)]
pub struct Bundles {
    place: Utf8PathBuf,
}

/// What was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// The tree's name.
    pub tree: TreeHash,
    /// How many files it has.
    pub files: u64,
    /// The bytes of all its files.
    pub bytes: u64,
    /// The compressed bytes that were new.
    pub written: u64,
}

/// What was, or would be, given back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freed {
    /// How many trees are no longer known.
    pub trees: u64,
    /// How many packs are gone.
    pub packs: u64,
    /// The bytes given back.
    pub bytes: u64,
    /// What is gone: path and bytes.
    pub items: Vec<(Utf8PathBuf, u64)>,
}

/// Why something about kept trees failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The tree is not kept.
    #[error("the tree {} is not kept in {place}", tree.short())]
    Unknown {
        /// The tree.
        tree: TreeHash,
        /// Where trees are kept.
        place: Utf8PathBuf,
    },
}

impl Bundles {
    /// Opens what is kept under `home`; nothing need be there.
    ///
    /// # Errors
    /// The folder can't be made.
    pub fn open(home: &Utf8Path) -> Result<Bundles, BundleError> {
        Ok(Bundles {
            place: home.join("bundles"),
        })
    }

    fn unknown<T>(&self, tree: &TreeHash) -> Result<T, BundleError> {
        Err(BundleError::Unknown {
            tree: *tree,
            place: self.place.clone(),
        })
    }

    /// Reads what was selected, and keeps it.
    ///
    /// # Errors
    /// It can't be read or kept, or is larger than the limits.
    pub fn pack(&self, listing: &Listing, _limits: &Limits) -> Result<Packed, PackError> {
        let tree = self.tree_of(listing)?.hash();
        Ok(self.unknown(&tree)?)
    }

    /// The tree of what was selected. Nothing is written.
    ///
    /// # Errors
    /// As [`Bundles::pack`].
    pub fn tree_of(&self, _listing: &Listing) -> Result<Manifest, PackError> {
        Ok(self.unknown(&TreeHash::of(b""))?)
    }

    /// The manifest of a tree, if it is kept.
    ///
    /// # Errors
    /// It can't be read, or is damaged.
    pub fn manifest(&self, _tree: &TreeHash) -> Result<Option<Manifest>, BundleError> {
        Ok(None)
    }

    /// Writes a tree as a bundle, without what `bases` hold; says how many bytes. Without bases the same tree gives the same
    /// bytes.
    ///
    /// # Errors
    /// The tree is not kept whole, or `out` can't be written.
    pub fn stream(
        &self,
        tree: &TreeHash,
        _bases: &[TreeHash],
        _out: &mut dyn Write,
    ) -> Result<u64, BundleError> {
        self.unknown(tree)
    }

    /// Reads a bundle, checks it, and keeps the tree.
    ///
    /// # Errors
    /// It is no whole bundle, or can't be kept.
    pub fn absorb(&self, _stream: &mut dyn Read) -> Result<TreeHash, BundleError> {
        self.unknown(&TreeHash::of(b""))
    }

    /// Unpacks a tree to `$MIZZEN_HOME/bundles/trees/<hash>/tree`, unless it is there and whole.
    ///
    /// # Errors
    /// The tree is not kept whole, or can't be written.
    pub fn unpack(&self, tree: &TreeHash) -> Result<Utf8PathBuf, BundleError> {
        self.unknown(tree)
    }

    /// All trees that are kept, the one used last first.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn known(&self) -> Result<Vec<(TreeHash, SystemTime)>, BundleError> {
        Ok(Vec::new())
    }

    /// Takes away what none of these trees needs.
    ///
    /// # Errors
    /// Something can't be read or taken away.
    pub fn gc(&self, _keep: &BTreeSet<TreeHash>, _dry_run: bool) -> Result<Freed, BundleError> {
        Ok(Freed::default())
    }
}
