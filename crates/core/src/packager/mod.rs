//! Turns a working tree into what the job finds as its code.
//!
//! ```text
//! Packager ─ list ─▶ Listing: paths and where their contents are ─ bundle ─▶ a tree: manifest, objects in packs ─▶ places
//!   working_tree    what stands there and is not ignored
//!   git_archive     what git has at a commit, and patterns
//!   pattern         what fits patterns
//!   hybrid          several of them
//! ```
//!
//! A packager only says what belongs to the code; reading, hashing and compressing it is [`bundle`]'s, the same for all.
//! Nothing is ever written into the user's folders. Pitfall: paths are bytes, not text; what is between a packager and a
//! place must not assume more than that they hold no NUL.
//!
//! One more packager: a file here, a variant of [`Packager`] with its settings, a line in [`list`].

pub mod bundle;
mod git;
mod git_archive;
mod hybrid;
mod lfs;
mod listing;
mod pattern;
mod settings;
mod tar;
mod working_tree;

use camino::{Utf8Path, Utf8PathBuf};

pub(crate) use git::{Git, top as repository};
pub use listing::{Item, ItemKind, Limits, Listing, Note, PackError, Source};
pub use settings::{
    FileSize, GitArchivePackager, HybridPackager, Packager, PassthroughPackager, PatternPackager,
    Patterns, TotalSize, WorkingTreePackager,
};

pub use tar::write_tar_gz;

use crate::context::Context;

/// The folder in the home in which trees are unpacked for jobs of this machine.
pub const TREES: &str = "bundles/trees";

/// Which folder a tree is made of, and where in it somebody stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The folder.
    pub root: Utf8PathBuf,
    /// The folder below it that relative paths start from; empty for the root itself.
    pub inside: String,
}

/// The folder that a packager makes a tree of when somebody stands in `base`. Nobody is asked: the top of a repository is
/// the nearest folder above with a `.git`.
#[must_use]
pub fn position(packager: &Packager, base: &Utf8Path) -> Position {
    match packager {
        Packager::WorkingTree(_) => {
            let root = git::top(base).unwrap_or_else(|| base.to_owned());
            let inside = base
                .strip_prefix(&root)
                .map(Utf8Path::to_string)
                .unwrap_or_default();
            Position { root, inside }
        }
        // NeMo-Run's jobs start at the top of what was packed.
        Packager::GitArchive(archive) => {
            let base = below(base, &archive.basepath);
            Position {
                root: git::top(&base).unwrap_or(base),
                inside: String::new(),
            }
        }
        Packager::Passthrough(_) | Packager::Pattern(_) | Packager::Hybrid(_) => Position {
            root: base.to_owned(),
            inside: String::new(),
        },
    }
}

/// A folder that settings name, from another one; that one itself if they name none.
fn below(base: &Utf8Path, folder: &str) -> Utf8PathBuf {
    match folder {
        "" | "." => base.to_owned(),
        folder => base.join(folder),
    }
}

/// What a packager selects for somebody who stands in `base`.
///
/// # Errors
/// git refuses, a folder can't be read, or the settings don't fit what is there.
pub fn list(packager: &Packager, base: &Utf8Path, context: &Context) -> Result<Listing, PackError> {
    let Position { root, inside } = position(packager, base);
    let mut listing = match packager {
        Packager::WorkingTree(_) => working_tree::list(&root, &inside, context)?,
        Packager::GitArchive(archive) => git_archive::list(archive, base, context)?,
        Packager::Pattern(pattern) => pattern::list(pattern, base)?,
        Packager::Hybrid(hybrid) => hybrid::list(hybrid, base, context)?,
        Packager::Passthrough(_) => Listing {
            root,
            ..Listing::default()
        },
    };
    listing.leave_out(&context.home);
    Ok(listing)
}
