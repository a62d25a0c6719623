//! What git has at a commit.
//!
//! ```text
//! ref ─ rev-parse ─▶ commit ─ git archive ─▶ a nameless file ─ tar ─▶ items ┐
//!                      └ ls-tree ─ submodules ─ the same at their commits ──┼─▶ listing
//!                    include_pattern ───────────────────────────────────────┘
//! ```
//!
//! Pitfalls: git names a submodule's place in the archive by an empty folder; its commit is the one in the tree, not the one
//! that happens to be checked out. What is not committed is left out, and that is said.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};

use super::git::{Git, is_top};
use super::lfs::{self, Lfs};
use super::listing::{Item, ItemKind, Listing, Note, PackError, Source};
use super::pattern;
use super::settings::GitArchivePackager;
use crate::context::Context;

/// So many paths are named where something is left out.
const NAMED: usize = 3;

pub(super) fn list(
    packager: &GitArchivePackager,
    base: &Utf8Path,
    context: &Context,
) -> Result<Listing, PackError> {
    let base = super::below(base, &packager.basepath);
    let top = top(&base, context)?;
    let git = Git::new(context, top.as_std_path());
    let mut listing = Listing {
        root: top.clone(),
        ..Listing::default()
    };
    let reference = &packager.reference;
    if reference.starts_with('-') || reference.is_empty() {
        return Err(PackError::Git(format!(
            "`{}` is no name of a commit: no branch or tag begins like that",
            reference.escape_debug()
        )));
    }
    let commit = resolve(&git, &format!("{reference}^{{commit}}")).map_err(|error| {
        if reference == "HEAD" {
            return PackError::Git(format!(
                "there is no commit in {top} yet: commit something, or use `packager = \"working_tree\"`"
            ));
        }
        PackError::Git(format!(
            "there is no commit `{}` in {top} ({error}); `git fetch` may bring it",
            reference.escape_debug()
        ))
    })?;
    look_at_changes(packager, &git, &commit, &mut listing)?;
    let subpath = plain(&packager.subpath)?;
    if !subpath.is_empty() {
        let kind = git.output(&["cat-file", "-t", &format!("{commit}:{subpath}")]);
        if !kind.is_ok_and(|kind| kind.starts_with(b"tree")) {
            return Err(PackError::Git(format!(
                "{top} has no folder `{subpath}` at `{reference}`"
            )));
        }
    }
    let part = Part {
        top: top.as_std_path(),
        commit: &commit,
        within: subpath.as_bytes(),
        at: b"",
    };
    archive(&part, packager.include_submodules, context, &mut listing)?;
    // The top as it is called from here: git names it without links.
    let near = super::git::top(&base).unwrap_or(top);
    let more = pattern::collect(
        &packager.include_pattern,
        &packager.include_pattern_relative_path,
        &base,
        &near,
    )?;
    // What the patterns name stands there instead of what git has, as the user sees it.
    let named: HashSet<&[u8]> = more.iter().map(|item| item.path.as_slice()).collect();
    listing
        .items
        .retain(|item| !named.contains(item.path.as_slice()));
    listing.items.extend(more);
    Ok(listing)
}

/// The repository's top; a bare repository is its own.
fn top(base: &Utf8Path, context: &Context) -> Result<Utf8PathBuf, PackError> {
    let git = Git::new(context, base.as_std_path());
    let line = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).ok()?;
        Some(text.strip_suffix('\n').unwrap_or(&text).to_owned())
    };
    let not_utf8 = || PackError::Git(format!("the path of the repository at {base} is not UTF-8"));
    if line(git.output(&["rev-parse", "--is-bare-repository"]).map_err(|error| {
        match super::git::top(base) {
            Some(_) => error,
            None => PackError::Git(format!(
                "{base} is in no git repository: launch from one, or use `packager = \"working_tree\"`"
            )),
        }
    })?)
    .as_deref()
        == Some("true")
    {
        let folder = line(git.output(&["rev-parse", "--absolute-git-dir"])?).ok_or_else(not_utf8)?;
        return Ok(folder.into());
    }
    let folder = line(git.output(&["rev-parse", "--show-toplevel"])?).ok_or_else(not_utf8)?;
    Ok(folder.into())
}

fn resolve(git: &Git<'_>, name: &str) -> Result<String, PackError> {
    let found = git.output(&["rev-parse", "--verify", "--quiet", name])?;
    Ok(String::from_utf8_lossy(&found).trim().to_owned())
}

/// A path of plain names without a slash at its ends.
fn plain(path: &str) -> Result<String, PackError> {
    let names: Vec<&str> = path
        .split('/')
        .filter(|name| !name.is_empty() && *name != ".")
        .collect();
    if path.starts_with('/') || names.contains(&"..") {
        return Err(PackError::Settings(format!(
            "the subpath `{path}` must lead from the repository's top to a folder below it"
        )));
    }
    Ok(names.join("/"))
}

/// What is not committed: refused if that was asked for, told if it is left out of a commit that is checked out.
fn look_at_changes(
    packager: &GitArchivePackager,
    git: &Git<'_>,
    commit: &str,
    listing: &mut Listing,
) -> Result<(), PackError> {
    let asked = packager.check_uncommitted_changes || packager.check_untracked_files;
    let status = git.output(&[
        "status",
        "--porcelain",
        "-z",
        "--untracked-files=all",
        "--no-renames",
    ]);
    let status = match status {
        Ok(status) => status,
        Err(error) if asked => return Err(error),
        // A bare repository has no working tree that could differ.
        Err(_) => return Ok(()),
    };
    let (mut changed, mut untracked) = (Vec::new(), Vec::new());
    for entry in status
        .split(|byte| *byte == 0)
        .filter(|entry| entry.len() > 3)
    {
        let path = String::from_utf8_lossy(&entry[3..]).into_owned();
        match entry.starts_with(b"??") {
            true => untracked.push(path),
            false => changed.push(path),
        }
    }
    if packager.check_uncommitted_changes && !changed.is_empty() {
        return Err(PackError::Git(format!(
            "{} in {} are not committed ({}): commit them, or set `check_uncommitted_changes = false`",
            counted(changed.len(), "change"),
            listing.root,
            some(&changed)
        )));
    }
    if packager.check_untracked_files && !untracked.is_empty() {
        return Err(PackError::Git(format!(
            "{} in {} are not tracked ({}): add or ignore them, or set `check_untracked_files = false`",
            counted(untracked.len(), "file"),
            listing.root,
            some(&untracked)
        )));
    }
    let head = resolve(git, "HEAD^{commit}").ok();
    if head.as_deref() == Some(commit) && !(changed.is_empty() && untracked.is_empty()) {
        let mut left = Vec::new();
        if !changed.is_empty() {
            left.push(format!(
                "{} ({})",
                counted(changed.len(), "change"),
                some(&changed)
            ));
        }
        if !untracked.is_empty() {
            left.push(format!(
                "{} ({})",
                counted(untracked.len(), "new file"),
                some(&untracked)
            ));
        }
        listing.notes.push(Note {
            text: format!(
                "the code is that of commit {}, without {}",
                &commit[..12.min(commit.len())],
                left.join(" and ")
            ),
            hint: Some(
                "commit them, or use `packager = \"working_tree\"`, which takes them along"
                    .to_owned(),
            ),
        });
    }
    Ok(())
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn some(paths: &[String]) -> String {
    let mut text = paths[..paths.len().min(NAMED)].join(", ");
    if paths.len() > NAMED {
        text.push_str(", …");
    }
    text
}

/// A commit of one repository, and where it goes.
struct Part<'a> {
    top: &'a Path,
    commit: &'a str,
    /// Only this folder of it, which becomes the top.
    within: &'a [u8],
    /// The folder of the tree that it goes to; empty, or with a slash at its end.
    at: &'a [u8],
}

impl Part<'_> {
    /// Where a path of the repository goes; `None` if it is outside of what is asked for.
    fn place(&self, path: &[u8]) -> Option<Vec<u8>> {
        let below = match self.within {
            b"" => path,
            within => path.strip_prefix(within)?.strip_prefix(b"/")?,
        };
        Some([self.at, below].concat())
    }
}

fn archive(
    part: &Part<'_>,
    submodules: bool,
    context: &Context,
    listing: &mut Listing,
) -> Result<(), PackError> {
    let git = Git::new(context, part.top);
    let spool = spool(&git, part, context)?;
    let within: Vec<(Vec<u8>, String)> = links(&git, part)?;
    let mut pointers = Vec::new();
    let mut folders: HashSet<Vec<u8>> = HashSet::new();
    let unreadable = |error: std::io::Error| {
        PackError::Git(format!(
            "git archive of {} can't be read: {error}",
            part.top.display()
        ))
    };
    let mut tar = tar::Archive::new(&*spool);
    for entry in tar.entries_with_seek().map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path_bytes();
        let path = path.strip_suffix(b"/").unwrap_or(&path);
        let Some(place) = part.place(path) else {
            continue;
        };
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            folders.insert(path.to_owned());
        } else if kind.is_symlink() {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            listing.items.push(Item {
                path: place,
                kind: ItemKind::Link { target },
            });
        } else if kind.is_file() {
            let executable = entry.header().mode().map_err(unreadable)? & 0o100 != 0;
            let source = Source::Spooled {
                file: Arc::clone(&spool),
                offset: entry.raw_file_position(),
                len: entry.size(),
            };
            if lfs::may_be_pointer(&source).map_err(unreadable)? {
                pointers.push((listing.items.len(), path.to_owned()));
            }
            listing.items.push(Item {
                path: place,
                kind: ItemKind::File { source, executable },
            });
        }
    }
    let missing = lfs::fill_in(&git, &pointers, Lfs::Fetched, context, &mut listing.items)?;
    if let Some(first) = missing.first() {
        let more = match missing.len() {
            1 => String::new(),
            count => format!("; so it is with {} more", count - 1),
        };
        return Err(PackError::Item {
            path: String::from_utf8_lossy(&listing.items[*first].path).into_owned(),
            reason: format!(
                "git has only its pointer, and its content is not here: `git lfs pull` in {} brings it (git-lfs must be installed){more}",
                part.top.display()
            ),
        });
    }
    for (path, commit) in within {
        let Some(mut place) = part.place(&path) else {
            continue;
        };
        // `export-ignore` holds for submodules as well.
        if !folders.contains(&path) {
            continue;
        }
        if !submodules {
            listing.items.push(Item {
                path: place,
                kind: ItemKind::Folder,
            });
            continue;
        }
        place.push(b'/');
        let top = part.top.join(OsStr::from_bytes(&path));
        let shown = String::from_utf8_lossy(&place[..place.len() - 1]).into_owned();
        let there = is_top(&top)
            && Git::new(context, &top)
                .output(&["cat-file", "-e", &format!("{commit}^{{commit}}")])
                .is_ok();
        if !there {
            return Err(PackError::Git(format!(
                "the submodule {shown} is not here at its commit {}: `git submodule update --init --recursive -- {}` brings it; `include_submodules = false` leaves it out",
                &commit[..12.min(commit.len())],
                String::from_utf8_lossy(&path)
            )));
        }
        let below = Part {
            top: &top,
            commit: &commit,
            within: b"",
            at: &place,
        };
        archive(&below, submodules, context, listing)?;
    }
    Ok(())
}

/// The archive in a file without a name, in our own home.
fn spool(git: &Git<'_>, part: &Part<'_>, context: &Context) -> Result<Arc<File>, PackError> {
    let mut file = nameless(context)?;
    let mut command = git.command(&[
        "--literal-pathspecs",
        "archive",
        "--format=tar",
        part.commit,
    ]);
    if !part.within.is_empty() {
        command.arg("--").arg(OsStr::from_bytes(part.within));
    }
    let copy = file
        .try_clone()
        .map_err(|error| PackError::Git(error.to_string()))?;
    let output = command
        .stdout(Stdio::from(copy))
        .output()
        .map_err(|error| git.absent(&error))?;
    git.answer(&["archive"], output)?;
    file.seek(SeekFrom::Start(0))
        .map_err(|error| PackError::Git(error.to_string()))?;
    Ok(Arc::new(file))
}

/// A file of ours that is gone when nobody has it open any more.
pub(super) fn nameless(context: &Context) -> Result<File, PackError> {
    // A preview makes no home.
    let folder = match context.home.is_dir() {
        true => context.home.join("bundles/tmp"),
        false => context.variable("TMPDIR").unwrap_or("/tmp").into(),
    };
    let made = crate::context::create_private_dir(&folder).and_then(|()| {
        let path = folder.join(format!("{}.{:x}", std::process::id(), nonce()));
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(file)
    });
    made.map_err(|error| PackError::Read {
        path: folder.into_string(),
        reason: error.to_string(),
    })
}

fn nonce() -> u64 {
    getrandom::u64().unwrap_or_default()
}

/// The submodules of a commit: their paths and their commits.
fn links(git: &Git<'_>, part: &Part<'_>) -> Result<Vec<(Vec<u8>, String)>, PackError> {
    let tree = git.output(&["ls-tree", "-r", "-z", "--full-tree", part.commit])?;
    Ok(tree
        .split(|byte| *byte == 0)
        .filter_map(|entry| {
            let tab = entry.iter().position(|byte| *byte == b'\t')?;
            let facts = std::str::from_utf8(&entry[..tab]).ok()?;
            let mut facts = facts.split(' ');
            let (mode, _, commit) = (facts.next()?, facts.next()?, facts.next()?);
            (mode == "160000").then(|| (entry[tab + 1..].to_owned(), commit.to_owned()))
        })
        .collect())
}
