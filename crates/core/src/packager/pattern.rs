//! What fits patterns: paths as a shell and `find` take them.
//!
//! ```text
//! pattern ─ part by part, as a shell does ─▶ what fits ─▶ files; folders with all that is in them
//!                                                └ path relative to `relative_path` ─▶ path in the tree
//! ```
//!
//! As in a shell a wildcard does not stand for a name's leading dot. `.git` comes along only if it is named itself: it differs
//! with every commit, and no job needs it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use camino::Utf8Path;
use globset::{GlobBuilder, GlobMatcher};

use super::listing::{Item, ItemKind, Listing, PackError, Source};
use super::settings::{PatternPackager, Patterns};

pub(super) fn list(packager: &PatternPackager, base: &Utf8Path) -> Result<Listing, PackError> {
    if packager.include_pattern.0.iter().all(String::is_empty) {
        return Err(PackError::Settings(
            "the pattern packager has no `include_pattern`: nothing would be packed".to_owned(),
        ));
    }
    Ok(Listing {
        root: base.to_owned(),
        items: collect(
            &packager.include_pattern,
            &packager.relative_path,
            base,
            base,
        )?,
        ..Listing::default()
    })
}

/// The files that fit patterns, which are relative to `base` as `relative` is. There is one of `relative` for each pattern,
/// or none, for `top`.
pub(super) fn collect(
    patterns: &Patterns,
    relative: &Patterns,
    base: &Utf8Path,
    top: &Utf8Path,
) -> Result<Vec<Item>, PackError> {
    let (patterns, relative) = (&patterns.0, &relative.0);
    if !relative.is_empty() && relative.len() != patterns.len() {
        return Err(PackError::Settings(format!(
            "{} patterns have {} relative paths: there must be one for each pattern",
            patterns.len(),
            relative.len()
        )));
    }
    let mut items: BTreeMap<Vec<u8>, PathBuf> = BTreeMap::new();
    for (number, pattern) in patterns.iter().enumerate() {
        // NeMo-Run's word for none.
        if pattern.is_empty() {
            continue;
        }
        let top = match relative.get(number) {
            Some(folder) if !folder.is_empty() => base.join(folder),
            _ => top.to_owned(),
        };
        let top = clean(top.as_std_path());
        let fitting = found(pattern, base)?;
        if fitting.is_empty() {
            return Err(PackError::Settings(format!(
                "no file fits `{}`, looked for from {base}",
                pattern.escape_debug()
            )));
        }
        for path in fitting {
            let inside = match path.strip_prefix(&top) {
                Ok(inside) if !inside.as_os_str().is_empty() => inside,
                _ => {
                    return Err(PackError::Settings(format!(
                        "{} fits `{}` and is not below {}, which its path is to be relative to",
                        path.display(),
                        pattern.escape_debug(),
                        top.display()
                    )));
                }
            };
            let inside = inside.as_os_str().as_bytes().to_owned();
            match items.get(&inside) {
                Some(other) if *other != path => same(other, &path)?,
                _ => {
                    items.insert(inside, path);
                }
            }
        }
    }
    Ok(items
        .into_iter()
        .map(|(path, file)| Item {
            path,
            kind: ItemKind::File {
                source: Source::Path(file),
                executable: false,
            },
        })
        .collect())
}

/// Two files may go to one path if they have the same content.
fn same(one: &Path, other: &Path) -> Result<(), PackError> {
    let (first, second) = (Source::Path(one.to_owned()), Source::Path(other.to_owned()));
    let equal = first.same_as(&second).map_err(|error| PackError::Read {
        path: other.display().to_string(),
        reason: error.to_string(),
    })?;
    if equal {
        return Ok(());
    }
    Err(PackError::Settings(format!(
        "{} and {} would be one file in the code, and differ: give one of them another relative path",
        one.display(),
        other.display()
    )))
}

/// Without `.` and `..`, as far as words tell.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

/// A part of a pattern.
enum Part {
    /// Only what has this name.
    Name(String),
    /// What fits.
    Wild {
        matcher: GlobMatcher,
        /// It begins with a dot, and so may what fits.
        hidden: bool,
    },
    /// Any number of folders.
    Deep,
}

fn found(pattern: &str, base: &Utf8Path) -> Result<Vec<PathBuf>, PackError> {
    let path = clean(base.join(pattern).as_std_path());
    let mut files = Vec::new();
    // What is called like the pattern itself is meant, whatever signs stand in its name.
    if path.symlink_metadata().is_ok() {
        walk(&path, &mut files)?;
        return Ok(files);
    }
    // No sign has a meaning in the folders that the pattern starts from.
    let (start, rest) = match path.strip_prefix(clean(base.as_std_path())) {
        Ok(rest) if !Utf8Path::new(pattern).is_absolute() => {
            (clean(base.as_std_path()), rest.to_owned())
        }
        _ => {
            let rest = path.strip_prefix("/").unwrap_or(&path).to_owned();
            (PathBuf::from("/"), rest)
        }
    };
    let parts = rest
        .iter()
        .map(|part| Part::new(&part.to_string_lossy()))
        .collect::<Result<Vec<Part>, String>>()
        .map_err(|reason| {
            PackError::Settings(format!(
                "`{}` is no pattern: {reason}",
                pattern.escape_debug()
            ))
        })?;
    descend(&start, &parts, &mut files)?;
    files.sort();
    files.dedup();
    Ok(files)
}

impl Part {
    fn new(text: &str) -> Result<Part, String> {
        if text == "**" {
            return Ok(Part::Deep);
        }
        if !text.contains(['*', '?', '[', '{', '\\']) {
            return Ok(Part::Name(text.to_owned()));
        }
        let matcher = GlobBuilder::new(text)
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|error| error.kind().to_string())?
            .compile_matcher();
        Ok(Part::Wild {
            matcher,
            hidden: text.trim_start_matches('\\').starts_with('.'),
        })
    }
}

/// What fits the parts from a folder on.
fn descend(path: &Path, parts: &[Part], files: &mut Vec<PathBuf>) -> Result<(), PackError> {
    let Some((part, rest)) = parts.split_first() else {
        return walk(path, files);
    };
    match part {
        Part::Name(name) => {
            let path = path.join(name);
            match path.symlink_metadata() {
                Ok(_) => descend(&path, rest, files),
                Err(_) => Ok(()),
            }
        }
        Part::Wild { matcher, hidden } => {
            for name in names(path)? {
                if (*hidden || !is_hidden(&name)) && matcher.is_match(&name) && name != ".git" {
                    descend(&path.join(name), rest, files)?;
                }
            }
            Ok(())
        }
        Part::Deep => {
            descend(path, rest, files)?;
            for name in names(path)? {
                let path = path.join(&name);
                // A link may lead in a circle.
                if !is_hidden(&name) && path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                    descend(&path, parts, files)?;
                }
            }
            Ok(())
        }
    }
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}

fn unreadable(path: &Path, error: &std::io::Error) -> PackError {
    PackError::Read {
        path: path.display().to_string(),
        reason: error.to_string(),
    }
}

/// The names in a folder, in their order; none if it is no folder.
fn names(folder: &Path) -> Result<Vec<std::ffi::OsString>, PackError> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(error) if [NotFound, NotADirectory].contains(&error.kind()) => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(folder, &error)),
    };
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(|error| unreadable(folder, &error))?;
    names.sort();
    Ok(names)
}

/// The files and links at and below a path.
fn walk(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), PackError> {
    let found = match path.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(path, &error)),
    };
    if found.is_dir() {
        for name in names(path)?.iter().filter(|name| *name != ".git") {
            walk(&path.join(name), files)?;
        }
    } else if found.is_file() || found.is_symlink() {
        // Sockets, pipes and devices hold no code.
        files.push(path.to_owned());
    }
    Ok(())
}
