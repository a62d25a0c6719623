//! What fits patterns: paths as a shell and `find` take them.
//!
//! ```text
//! pattern ─ its part without wildcards ─▶ a walk ─ what fits ─▶ files; folders with all that is in them
//!                                                     └ path relative to `relative_path` ─▶ path in the tree
//! ```

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use camino::Utf8Path;
use globset::{GlobBuilder, GlobMatcher};

use super::listing::{Item, ItemKind, Listing, PackError, Source};
use super::settings::{PatternPackager, Patterns};

pub(super) fn list(packager: &PatternPackager, base: &Utf8Path) -> Result<Listing, PackError> {
    if packager.include_pattern.0.is_empty() {
        return Err(PackError::Settings(
            "the pattern packager has no `include_pattern`: nothing would be packed".to_owned(),
        ));
    }
    Ok(Listing {
        root: base.to_owned(),
        items: collect(&packager.include_pattern, &packager.relative_path, base)?,
        ..Listing::default()
    })
}

/// The files that fit patterns, which are relative to `base` as `relative` is. There is one of `relative` for each pattern,
/// or none, for `base`.
pub(super) fn collect(
    patterns: &Patterns,
    relative: &Patterns,
    base: &Utf8Path,
) -> Result<Vec<Item>, PackError> {
    let (patterns, relative) = (&patterns.0, &relative.0);
    if !relative.is_empty() && relative.len() != patterns.len() {
        return Err(PackError::Settings(format!(
            "{} patterns have {} relative paths: there must be one for each pattern",
            patterns.len(),
            relative.len()
        )));
    }
    let mut items = BTreeMap::new();
    for (number, pattern) in patterns.iter().enumerate() {
        let top = relative
            .get(number)
            .map_or_else(|| base.to_owned(), |folder| base.join(folder));
        let top = clean(top.as_std_path());
        let fitting = found(pattern, base)?;
        if fitting.is_empty() {
            return Err(PackError::Settings(format!(
                "no file fits `{pattern}`, looked for from {base}"
            )));
        }
        for path in fitting {
            let inside = path.strip_prefix(&top).map_err(|_| {
                PackError::Settings(format!(
                    "{} fits `{pattern}` and is not below {}, which its path is to be relative to",
                    path.display(),
                    top.display()
                ))
            })?;
            let inside = inside.as_os_str().as_bytes().to_owned();
            let kind = ItemKind::File {
                source: Source::Path(path),
                executable: false,
            };
            items.insert(inside, kind);
        }
    }
    Ok(items
        .into_iter()
        .map(|(path, kind)| Item { path, kind })
        .collect())
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

fn found(pattern: &str, base: &Utf8Path) -> Result<Vec<PathBuf>, PackError> {
    let path = clean(base.join(pattern).as_std_path());
    let text = path.to_string_lossy().into_owned();
    let mut files = Vec::new();
    // What is called like the pattern itself is meant, whatever signs stand in its name.
    if path.symlink_metadata().is_ok() {
        walk(&path, None, &mut files)?;
        return Ok(files);
    }
    let literal: PathBuf = path
        .components()
        .take_while(|part| {
            !part
                .as_os_str()
                .as_bytes()
                .iter()
                .any(|byte| b"*?[{\\".contains(byte))
        })
        .collect();
    if literal == path {
        return Ok(files);
    }
    let matcher = GlobBuilder::new(&text)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|error| PackError::Settings(format!("`{pattern}` is no pattern: {error}")))?
        .compile_matcher();
    walk(&literal, Some(&matcher), &mut files)?;
    Ok(files)
}

/// The files and links at and below a path; with a pattern only what fits it, or is below a folder that does.
fn walk(
    path: &Path,
    matcher: Option<&GlobMatcher>,
    files: &mut Vec<PathBuf>,
) -> Result<(), PackError> {
    let unreadable = |error: &std::io::Error| PackError::Read {
        path: path.display().to_string(),
        reason: error.to_string(),
    };
    let found = match path.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(&error)),
    };
    let fits = matcher.is_none_or(|matcher| matcher.is_match(path));
    if !found.is_dir() {
        // Sockets, pipes and devices hold no code.
        if fits && (found.is_file() || found.is_symlink()) {
            files.push(path.to_owned());
        }
        return Ok(());
    }
    let mut entries = path
        .read_dir()
        .and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>())
        .map_err(|error| unreadable(&error))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        walk(&entry.path(), matcher.filter(|_| !fits), files)?;
    }
    Ok(())
}
