//! Keeps trees of code by their content, and writes them as bundles. What reads bundles is `mizzen_agent::bundle`.
//!
//! ```text
//! Listing ─ scan ─▶ what is there, by now ─ cache ─▶ contents known without reading
//!                        └─ read ─▶ pack: new contents, compressed      store: manifest + where its objects are
//! store ─ send ─▶ bundle ─▶ a place, an archive          bundle ─ take ─▶ store, or a tree unpacked for jobs of this machine
//! store ─ gc ─▶ what nobody needs is gone
//! ```
//!
//! Everything is named by its content and put in its place by a rename, so any number of processes may pack, send and take at
//! once. Only gc needs to be alone, by a lock. Nothing is synced to the disk: after a power failure a pack may be damaged. That is
//! noticed, since each byte is covered by a hash, and healed by packing again while the files are still there.
//!
//! Pitfall: "is kept" means "was kept when somebody looked". Each reader must be able to say what is lost.

mod cache;
mod cut;
mod gc;
mod home;
mod pack;
mod parallel;
mod read;
mod scan;
mod send;
mod store;
mod take;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::time::SystemTime;

use camino::{Utf8Path, Utf8PathBuf};
use mizzen_agent::bundle::{
    Entry, Kind, Manifest, ManifestError, ObjectHash, ReceiveError, StreamError, TreeHash, shown,
};

use self::cache::Cache;
use self::home::Home;
use self::pack::PackWriter;
use self::scan::{FoundKind, Scan};
use self::store::Objects;
use super::listing::{Limits, Listing, PackError};

/// The trees that are kept in the home.
#[derive(Debug, Clone)]
pub struct Bundles {
    home: Home,
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
    /// How many trees are no longer kept.
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
    /// Something kept has other bytes than were written.
    #[error("{path} is damaged ({what}): pack the code again where it still is")]
    Damaged {
        /// The file.
        path: Utf8PathBuf,
        /// What of it.
        what: String,
    },
    /// Contents of a tree are gone.
    #[error(
        "the kept tree {} has lost the contents of {files} files, {example} among them: pack the code again where it still is",
        tree.short()
    )]
    Lost {
        /// The tree.
        tree: TreeHash,
        /// How many of its files.
        files: usize,
        /// One of them.
        example: String,
    },
    /// An object that was there a moment ago.
    #[error("the object {0} is no longer kept: was it removed just now?")]
    Object(ObjectHash),
    /// The disk is full.
    #[error("no space is left for the code in {place}{}: `mizzen gc` frees what no experiment needs", needs(*needed))]
    Full {
        /// Where.
        place: Utf8PathBuf,
        /// What is needed, in bytes, if that is known.
        needed: Option<u64>,
    },
    /// A file or folder can't be read or written.
    #[error("{path}: {reason}")]
    Io {
        /// Which.
        path: Utf8PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// What was given is no whole bundle.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A tree can't be unpacked.
    #[error(transparent)]
    Receive(ReceiveError),
    /// Whoever the bundle was written to takes no more.
    #[error("the bundle can't be written: {0}")]
    Output(std::io::Error),
    /// zstd refused.
    #[error("the code can't be compressed: {0}")]
    Compress(String),
}

fn needs(needed: Option<u64>) -> String {
    needed.map_or(String::new(), |needed| format!(", it needs {needed} bytes"))
}

impl BundleError {
    /// What an error of the system says about a path.
    fn at(path: impl Into<Utf8PathBuf>) -> impl FnOnce(std::io::Error) -> BundleError {
        let path = path.into();
        move |reason| match reason.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => BundleError::Full {
                place: path,
                needed: None,
            },
            _ => BundleError::Io { path, reason },
        }
    }

    fn unknown(home: &Home, tree: &TreeHash) -> BundleError {
        BundleError::Unknown {
            tree: *tree,
            place: home.folder.clone(),
        }
    }
}

/// What compresses contents: the same everywhere, for what it makes has to be the same.
fn compressor() -> std::io::Result<zstd::bulk::Compressor<'static>> {
    zstd::bulk::Compressor::new(1)
}

impl Bundles {
    /// Opens what is kept under `home`; nothing need be there yet.
    ///
    /// # Errors
    /// The folders can't be made.
    pub fn open(home: &Utf8Path) -> Result<Bundles, BundleError> {
        Ok(Bundles {
            home: Home::open(home.join("bundles"))?,
        })
    }

    /// For looking only: nothing is made. Whoever only asks for [`Bundles::tree_of`] needs no more.
    #[must_use]
    pub fn peek(home: &Utf8Path) -> Bundles {
        Bundles {
            home: Home {
                folder: home.join("bundles"),
            },
        }
    }

    /// Reads what was selected, and keeps it. Files that are as they were the last time are not read.
    ///
    /// # Errors
    /// It can't be read or kept, is no tree, or is larger than the limits.
    pub fn pack(&self, listing: &Listing, limits: &Limits) -> Result<Packed, PackError> {
        let _shared = self.home.share()?;
        self.home.sweep();
        // Before anything is looked at: what is changed from here on shows.
        let now = self.home.temporary()?.made()?;
        let cache = Cache::load(&self.home, &listing.root);
        let mut scan = Scan::of(listing, &cache)?;
        scan.guard(limits)?;
        if scan.is_known() {
            let manifest = manifest(&scan)?;
            if store::is_intact(&self.home, &manifest.hash()) {
                return Ok(packed(&manifest, 0));
            }
        }
        let mut objects = Objects::all(&self.home)?;
        let unread = scan.unread(|object| objects.contains(object));
        let mut written = 0;
        if !unread.is_empty() {
            let pack = PackWriter::new(&self.home)?;
            read::read(
                &mut scan,
                &unread,
                &|object| objects.contains(object),
                Some(&pack),
            )?;
            if let Some((id, bytes)) = pack.finish(&self.home)? {
                written = bytes;
                objects.add(&self.home, &id)?;
            }
        }
        let manifest = manifest(&scan)?;
        store::keep(&self.home, &manifest, &objects.packs_of(&manifest))?;
        if !unread.is_empty() {
            cache.save(&self.home, &scan.found, now)?;
        }
        Ok(packed(&manifest, written))
    }

    /// The tree of what was selected. Nothing is kept of it.
    ///
    /// # Errors
    /// It can't be read, or is no tree.
    pub fn tree_of(&self, listing: &Listing) -> Result<Manifest, PackError> {
        let cache = Cache::load(&self.home, &listing.root);
        let mut scan = Scan::of(listing, &cache)?;
        let unread = scan.unread(|_| true);
        read::read(&mut scan, &unread, &|_| true, None)?;
        manifest(&scan)
    }

    /// The manifest of a tree, if it is kept.
    ///
    /// # Errors
    /// It can't be read, or is damaged.
    pub fn manifest(&self, tree: &TreeHash) -> Result<Option<Manifest>, BundleError> {
        Ok(store::load(&self.home, tree)?.map(|kept| kept.manifest))
    }

    /// Writes a tree as a bundle, without what `bases` hold (as far as they are known here); answers how many bytes. Without
    /// bases the same tree always gives the same bytes.
    ///
    /// # Errors
    /// The tree is not kept whole, or `out` can't be written. What is found damaged is packed anew the next time.
    pub fn stream(
        &self,
        tree: &TreeHash,
        bases: &[TreeHash],
        out: &mut dyn Write,
    ) -> Result<u64, BundleError> {
        let _shared = self.home.share()?;
        send::stream(&self.home, tree, bases, out)
    }

    /// Reads a bundle, checks it, and keeps the tree. It is read up to its end and not beyond.
    ///
    /// # Errors
    /// It is no whole bundle, or can't be kept; nothing is kept of it then.
    pub fn absorb(&self, stream: &mut dyn Read) -> Result<TreeHash, BundleError> {
        let _shared = self.home.share()?;
        self.home.sweep();
        take::absorb(&self.home, stream)
    }

    /// Unpacks a tree to `$MIZZEN_HOME/bundles/trees/<hash>/tree`, unless it is there and whole; answers that path.
    ///
    /// # Errors
    /// The tree is not kept whole, or can't be written.
    pub fn unpack(&self, tree: &TreeHash) -> Result<Utf8PathBuf, BundleError> {
        let _shared = self.home.share()?;
        take::unpack(&self.home, tree)
    }

    /// All trees that are kept with the time of their last use, the latest first.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn known(&self) -> Result<Vec<(TreeHash, SystemTime)>, BundleError> {
        store::known(&self.home)
    }

    /// Takes away what none of these trees needs, but nothing that was used in the last ten minutes: its experiment may not be
    /// written down yet. With `dry_run` it only says what it would take.
    ///
    /// # Errors
    /// Something can't be read or taken away.
    pub fn gc(&self, keep: &BTreeSet<TreeHash>, dry_run: bool) -> Result<Freed, BundleError> {
        let _alone = self.home.alone()?;
        gc::gc(&self.home, keep, dry_run)
    }
}

fn packed(manifest: &Manifest, written: u64) -> Packed {
    Packed {
        tree: manifest.hash(),
        files: manifest.files(),
        bytes: manifest.bytes(),
        written,
    }
}

/// The tree of what was found and read.
fn manifest(scan: &Scan<'_>) -> Result<Manifest, PackError> {
    let entries = scan.found.iter().filter_map(|found| {
        let kind = match &found.kind {
            FoundKind::File(file) => Kind::File {
                executable: file.executable,
                size: file.size,
                object: file.object?,
            },
            FoundKind::Link(target) => Kind::Link {
                target: target.clone(),
            },
            FoundKind::Folder => Kind::Folder,
        };
        Some(Entry {
            path: found.path.to_vec(),
            kind,
        })
    });
    Manifest::new(entries.collect()).map_err(|error| {
        let item = |path: &[u8], reason: String| PackError::Item { path: shown(path), reason };
        match &error {
            ManifestError::Link(path, target) => item(
                path,
                format!(
                    "it is a link out of the code, to `{}`, which leads nowhere in a job: replace it by what it points to, or name it in .mizzenignore",
                    shown(target)
                ),
            ),
            ManifestError::Path(path) => {
                item(path, "jobs can't have this name: rename it".to_owned())
            }
            ManifestError::Order(path)
            | ManifestError::Below(path)
            | ManifestError::Size(path) => item(path, error.to_string()),
            _ => PackError::TooLarge(format!("{error}: name what no job needs in .mizzenignore")),
        }
    })
}
