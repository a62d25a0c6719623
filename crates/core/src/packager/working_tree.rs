//! The tree as it stands.
//!
//! ```text
//! a repository: git ls-files: tracked ┐ side by side
//!                             others  ├─▶ − .mizzenignore ─▶ items; repositories within it the same way
//!                             empty   ┘
//! a folder:     a walk − .gitignore − .mizzenignore ─▶ items
//! ```

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};

use camino::Utf8Path;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use ignore::{WalkBuilder, WalkState};

use super::git::{Git, is_top};
use super::lfs::{self, Lfs};
use super::listing::{Item, ItemKind, Listing, Note, PackError, Source};
use crate::context::Context;

/// What keeps files out of bundles alone.
const IGNORE_FILE: &str = ".mizzenignore";
/// No tree of code has more files than this.
const MOST_ITEMS: usize = 1_000_000;

/// So much of a folder that git does not track is looked at for empty folders.
const MOST_LOOKED_AT: usize = 10_000;

/// How git names a submodule in its index.
const SUBMODULE: &[u8] = b"160000";

const TRACKED: [&str; 4] = ["ls-files", "-z", "--cached", "--stage"];
const OTHERS: [&str; 4] = ["ls-files", "-z", "--others", "--exclude-standard"];
const FOLDERS: [&str; 5] = [
    "ls-files",
    "-z",
    "--others",
    "--exclude-standard",
    "--directory",
];

/// `inside`: where somebody stands below `root`.
pub(super) fn list(root: &Utf8Path, inside: &str, context: &Context) -> Result<Listing, PackError> {
    let mut listing = Listing {
        root: root.to_owned(),
        ..Listing::default()
    };
    if is_top(root.as_std_path()) {
        repository(root.as_std_path(), b"", context, &mut listing)?;
        leave_out(root.as_std_path(), &mut listing)?;
    } else {
        let bare = ["objects", "refs"]
            .iter()
            .all(|name| root.join(name).is_dir());
        if bare && root.join("HEAD").is_file() {
            return Err(PackError::Git(format!(
                "{root} is a bare repository, which has no working tree: launch from a clone of it, or use `packager = \"git_archive\"`"
            )));
        }
        folder(root.as_std_path(), context, &mut listing)?;
    }
    if !inside.is_empty() {
        stand_in(inside, &mut listing);
    }
    Ok(listing)
}

/// Jobs start in the folder that somebody stands in, so it must be there.
fn stand_in(inside: &str, listing: &mut Listing) {
    let inside = inside.as_bytes();
    let is_there = listing
        .items
        .iter()
        .any(|item| match item.path.strip_prefix(inside) {
            Some(rest) => rest.is_empty() || rest.starts_with(b"/"),
            None => false,
        });
    if is_there {
        return;
    }
    listing.notes.push(Note {
        text: format!(
            "all that is in {} is ignored, and none of it belongs to the code",
            String::from_utf8_lossy(inside)
        ),
        hint: Some(format!(
            "change what .gitignore of {} and {IGNORE_FILE} say of it, or launch from elsewhere",
            listing.root
        )),
    });
    listing.items.push(Item {
        path: inside.to_owned(),
        kind: ItemKind::Folder,
    });
}

fn item(root: &Path, path: Vec<u8>) -> Item {
    let source = Source::Path(root.join(OsStr::from_bytes(&path)));
    Item {
        path,
        kind: ItemKind::File {
            source,
            executable: false,
        },
    }
}

fn joined(prefix: &[u8], path: &[u8]) -> Vec<u8> {
    [prefix, path].concat()
}

/// A repository whose top is at `prefix` (empty, or with a slash at its end) below the listing's root.
fn repository(
    top: &Path,
    prefix: &[u8],
    context: &Context,
    listing: &mut Listing,
) -> Result<(), PackError> {
    let git = Git::new(context, top);
    let start = |arguments: &[&str]| -> Result<Child, PackError> {
        git.command(arguments)
            .spawn()
            .map_err(|error| git.absent(&error))
    };
    let end = |child: Child| {
        child
            .wait_with_output()
            .map_err(|error| PackError::Git(format!("git can't be waited for: {error}")))
    };
    // All three look at the same tree: side by side they take the time of the slowest.
    let (others, folders) = (start(&OTHERS)?, start(&FOLDERS)?);
    let tracked = git.output(&TRACKED);
    let (others, folders) = (end(others), end(folders));
    let (tracked, others, folders) = (tracked?, others?, folders?);
    listing.notes.extend(unopened(&others.stderr));
    let others = git.answer(&OTHERS, others)?;
    let folders = git.answer(&FOLDERS, folders)?;
    let root = listing.root.clone().into_std_path_buf();
    let root = root.as_path();

    let mut within: Vec<Vec<u8>> = Vec::new();
    let mut last: &[u8] = b"";
    for entry in parts(&tracked) {
        let Some(tab) = entry.iter().position(|byte| *byte == b'\t') else {
            continue;
        };
        let (facts, path) = (&entry[..tab], &entry[tab + 1..]);
        // During a merge a path stands there once for each side.
        if path == last {
            continue;
        }
        last = path;
        if facts.starts_with(SUBMODULE) {
            within.push(path.to_owned());
        } else {
            listing.items.push(item(root, joined(prefix, path)));
        }
    }
    for path in parts(&others) {
        match path.strip_suffix(b"/") {
            Some(repository) => within.push(repository.to_owned()),
            None => listing.items.push(item(root, joined(prefix, path))),
        }
    }
    pointers(&git, prefix, &tracked, context, listing)?;
    let known: HashSet<&[u8]> = within.iter().map(Vec::as_slice).collect();
    let untracked = parts(&folders)
        .filter_map(|path| path.strip_suffix(b"/"))
        .filter(|path| !known.contains(path))
        .map(<[u8]>::to_owned)
        .collect();
    for path in empty_folders(&git, untracked)? {
        listing.items.push(Item {
            path: joined(prefix, &path),
            kind: ItemKind::Folder,
        });
    }
    for path in &within {
        let folder = top.join(OsStr::from_bytes(path));
        let mut below = joined(prefix, path);
        if is_top(&folder) {
            below.push(b'/');
            repository(&folder, &below, context, listing)?;
        } else {
            let shown = String::from_utf8_lossy(&below).into_owned();
            listing.notes.push(Note {
                text: format!(
                    "the submodule {shown} is not there, and is packed as an empty folder"
                ),
                hint: Some(format!("git submodule update --init -- {shown}")),
            });
            listing.items.push(Item {
                path: below,
                kind: ItemKind::Folder,
            });
        }
    }
    Ok(())
}

/// Files of LFS whose pointers alone are checked out: their contents, where they are here.
fn pointers(
    git: &Git<'_>,
    prefix: &[u8],
    tracked: &[u8],
    context: &Context,
    listing: &mut Listing,
) -> Result<(), PackError> {
    let name = b".gitattributes";
    let speaks_of_lfs = parts(tracked)
        .filter_map(|entry| entry.splitn(2, |byte| *byte == b'\t').nth(1))
        .filter(|path| path.ends_with(name))
        .filter_map(|path| std::fs::read(git.folder().join(OsStr::from_bytes(path))).ok())
        .any(|text| text.windows(10).any(|words| words == b"filter=lfs"));
    if !speaks_of_lfs {
        return Ok(());
    }
    let kept = git.output(&["ls-files", "-z", "--cached", "--", ":(attr:filter=lfs)"])?;
    let kept: HashSet<&[u8]> = parts(&kept).collect();
    let found: Vec<(usize, Vec<u8>)> = listing
        .items
        .iter()
        .enumerate()
        .filter_map(|(number, item)| {
            let path = item.path.strip_prefix(prefix)?;
            let ItemKind::File { source, .. } = &item.kind else {
                return None;
            };
            // What can't be read is told of by whoever packs it.
            (kept.contains(path) && lfs::may_be_pointer(source).unwrap_or(false))
                .then(|| (number, path.to_owned()))
        })
        .collect();
    for number in lfs::fill_in(git, &found, Lfs::AsItIs, context, &mut listing.items)? {
        let shown = String::from_utf8_lossy(&listing.items[number].path).into_owned();
        listing.notes.push(Note {
            text: format!("{shown} is only a pointer of Git LFS, and is packed as that"),
            hint: Some("git lfs pull".to_owned()),
        });
    }
    Ok(())
}

fn parts(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(|byte| *byte == 0)
        .filter(|part| !part.is_empty())
}

/// Folders that git could not look into: it goes on without them.
fn unopened(words: &[u8]) -> Vec<Note> {
    String::from_utf8_lossy(words)
        .lines()
        .filter_map(|line| line.strip_prefix("warning: "))
        .filter(|line| line.contains("could not open directory"))
        .map(|line| Note {
            text: format!("git {line}: nothing in it belongs to the code"),
            hint: None,
        })
        .collect()
}

/// The empty folders at and below folders that git tracks nothing in, without those that are ignored. What is very large is
/// not looked through to its end.
fn empty_folders(git: &Git<'_>, untracked: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, PackError> {
    let mut empty = Vec::new();
    let mut seen = 0;
    let mut level = untracked;
    while !level.is_empty() {
        let mut next = Vec::new();
        for path in level {
            let Ok(entries) = git.folder().join(OsStr::from_bytes(&path)).read_dir() else {
                continue;
            };
            let before = seen;
            for entry in entries.flatten() {
                seen += 1;
                if seen > MOST_LOOKED_AT {
                    return Ok(empty);
                }
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if is_folder && entry.file_name() != ".git" {
                    let name = entry.file_name();
                    next.push([&path, b"/".as_slice(), name.as_bytes()].concat());
                }
            }
            if seen == before {
                empty.push(path);
            }
        }
        if !next.is_empty() {
            let ignored = ignored(git, &next)?;
            next.retain(|path| !ignored.contains(path));
        }
        level = next;
    }
    Ok(empty)
}

/// Those of some folders that git ignores.
fn ignored(git: &Git<'_>, folders: &[Vec<u8>]) -> Result<HashSet<Vec<u8>>, PackError> {
    let arguments = ["check-ignore", "-z", "--stdin"];
    let asked: Vec<u8> = folders
        .iter()
        .flat_map(|path| path.iter().copied().chain(*b"/\0"))
        .collect();
    let output = git.answers(&arguments, &asked)?;
    // 1: none of them.
    if output.status.code() == Some(1) {
        return Ok(HashSet::new());
    }
    let found = git.answer(&arguments, output)?;
    Ok(parts(&found)
        .map(|path| path.strip_suffix(b"/").unwrap_or(path).to_owned())
        .collect())
}

/// Takes out what `.mizzenignore` names, at the top and below it.
fn leave_out(root: &Path, listing: &mut Listing) -> Result<(), PackError> {
    let name = IGNORE_FILE.as_bytes();
    let mut places: Vec<Vec<u8>> = listing
        .items
        .iter()
        .filter_map(|item| item.path.strip_suffix(name))
        .filter(|folder| folder.is_empty() || folder.ends_with(b"/"))
        .map(<[u8]>::to_owned)
        .collect();
    // git may have been told to ignore it.
    if root.join(IGNORE_FILE).is_file() && !places.iter().any(Vec::is_empty) {
        places.push(Vec::new());
    }
    if places.is_empty() {
        return Ok(());
    }
    // The rules nearest to a file are asked first.
    places.sort_by_key(|place| std::cmp::Reverse(place.len()));
    let mut rules: Vec<(Vec<u8>, Gitignore)> = Vec::with_capacity(places.len());
    for place in places {
        let folder = root.join(OsStr::from_bytes(&place));
        let mut builder = GitignoreBuilder::new(&folder);
        let file = folder.join(IGNORE_FILE);
        let unreadable = |error: &dyn std::fmt::Display| PackError::Read {
            path: file.display().to_string(),
            reason: error.to_string(),
        };
        if let Some(error) = builder.add(&file) {
            return Err(unreadable(&error));
        }
        rules.push((place, builder.build().map_err(|error| unreadable(&error))?));
    }
    listing.items.retain(|item| {
        let is_folder = matches!(item.kind, ItemKind::Folder);
        for (place, rules) in &rules {
            let Some(below) = item.path.strip_prefix(place.as_slice()) else {
                continue;
            };
            let found = rules.matched_path_or_any_parents(OsStr::from_bytes(below), is_folder);
            if found.is_ignore() {
                return false;
            }
            if found.is_whitelist() {
                return true;
            }
        }
        true
    });
    Ok(())
}

/// A folder without git.
fn folder(root: &Path, context: &Context, listing: &mut Listing) -> Result<(), PackError> {
    enum Found {
        File(PathBuf),
        Folder(PathBuf),
        Wrong(PackError),
    }
    // Our own home may be large, and is nobody's code.
    let home = context.home.clone().into_std_path_buf();
    let walk = WalkBuilder::new(root)
        .standard_filters(false)
        .git_ignore(true)
        .require_git(false)
        .add_custom_ignore_filename(IGNORE_FILE)
        .follow_links(false)
        .filter_entry(move |entry| entry.file_name() != ".git" && entry.path() != home)
        .build_parallel();
    let (sink, found) = std::sync::mpsc::channel();
    let seen = AtomicUsize::new(0);
    walk.run(|| {
        let (sink, seen) = (sink.clone(), &seen);
        Box::new(move |entry| {
            if seen.fetch_add(1, Ordering::Relaxed) > MOST_ITEMS {
                return WalkState::Quit;
            }
            let told = match entry {
                Ok(entry) if entry.depth() == 0 => return WalkState::Continue,
                Ok(entry) if entry.file_type().is_some_and(|kind| kind.is_dir()) => {
                    Found::Folder(entry.into_path())
                }
                Ok(entry)
                    if entry
                        .file_type()
                        .is_some_and(|kind| kind.is_file() || kind.is_symlink()) =>
                {
                    Found::File(entry.into_path())
                }
                // Pipes, sockets and devices are no code; git does not see them either.
                Ok(_) => return WalkState::Continue,
                Err(error) => Found::Wrong(PackError::Read {
                    path: root.display().to_string(),
                    reason: error.to_string(),
                }),
            };
            match sink.send(told) {
                Ok(()) => WalkState::Continue,
                Err(_) => WalkState::Quit,
            }
        })
    });
    drop(sink);
    let mut folders: Vec<PathBuf> = Vec::new();
    let mut holding: HashSet<PathBuf> = HashSet::new();
    let below = |path: &Path| {
        let path = path.strip_prefix(root).unwrap_or(path);
        path.as_os_str().as_bytes().to_owned()
    };
    for found in found {
        let path = match found {
            Found::Wrong(error) => return Err(error),
            Found::Folder(path) => {
                folders.push(path.clone());
                path
            }
            Found::File(path) => {
                listing.items.push(item(root, below(&path)));
                path
            }
        };
        if let Some(parent) = path.parent()
            && !holding.contains(parent)
        {
            holding.insert(parent.to_owned());
        }
    }
    if seen.into_inner() > MOST_ITEMS {
        return Err(PackError::TooLarge(format!(
            "{} holds more than {MOST_ITEMS} files: launch from the folder of your code, or name what no job needs in {IGNORE_FILE}",
            root.display()
        )));
    }
    for folder in folders.iter().filter(|folder| !holding.contains(*folder)) {
        listing.items.push(Item {
            path: below(folder),
            kind: ItemKind::Folder,
        });
    }
    Ok(())
}
