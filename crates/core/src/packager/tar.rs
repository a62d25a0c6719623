//! A listing as one compressed tar file, the same bytes for the same tree: what NeMo-Run's packagers answer with.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read as _, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use camino::Utf8Path;
use mizzen_agent::bundle::{
    Entry, Kind, Manifest, ManifestError, ObjectHash, is_below, order, shown,
};

use super::listing::{Item, ItemKind, Limits, Listing, PackError, Source};

/// The time of everything in an archive: 2000-01-01T00:00:00Z.
const TIME: u64 = 946_684_800;

/// Writes everything that is listed to `dest`, which is placed whole or not at all.
///
/// # Errors
/// A file can't be read or changes, something can't be part of a tree, there is more than the limits allow, or `dest` can't be
/// written.
pub fn write_tar_gz(listing: &Listing, limits: &Limits, dest: &Utf8Path) -> Result<(), PackError> {
    let members = look(listing)?;
    check(&members)?;
    let sizes: Vec<(&[u8], u64)> = members
        .iter()
        .filter_map(|member| match member.found {
            Found::File { size, .. } => Some((member.item.path.as_slice(), size)),
            _ => None,
        })
        .collect();
    limits.guard(&sizes)?;
    let staged = dest.with_file_name(format!(
        ".{}.{}.{:x}",
        dest.file_name().unwrap_or_default(),
        std::process::id(),
        getrandom::u64().unwrap_or_default()
    ));
    let written = write(&members, &staged)
        .and_then(|()| std::fs::rename(&staged, dest).map_err(|error| unwritable(dest, &error)));
    if written.is_err() {
        let _ = std::fs::remove_file(&staged);
    }
    written
}

/// An item, and what is there.
struct Member<'a> {
    item: &'a Item,
    found: Found<'a>,
}

enum Found<'a> {
    File {
        source: &'a Source,
        executable: bool,
        size: u64,
        facts: Option<Metadata>,
    },
    Link(Cow<'a, [u8]>),
    Folder,
}

fn name(item: &Item) -> String {
    shown(&item.path)
}

fn unreadable(item: &Item, error: &std::io::Error) -> PackError {
    PackError::Read {
        path: name(item),
        reason: error.to_string(),
    }
}

fn unwritable(path: &Utf8Path, error: &std::io::Error) -> PackError {
    PackError::Write {
        path: path.to_string(),
        reason: error.to_string(),
    }
}

/// What the items are on disk, in the order of their paths.
fn look(listing: &Listing) -> Result<Vec<Member<'_>>, PackError> {
    let mut members = Vec::with_capacity(listing.items.len());
    for item in &listing.items {
        let found = match &item.kind {
            ItemKind::Folder => Found::Folder,
            ItemKind::Link { target } => Found::Link(Cow::Borrowed(target)),
            ItemKind::File { source, executable } => match source {
                Source::Path(at) => match look_at(item, source, at)? {
                    Some(found) => found,
                    None => continue,
                },
                Source::Bytes(bytes) => Found::File {
                    source,
                    executable: *executable,
                    size: bytes.len() as u64,
                    facts: None,
                },
                Source::Spooled { len, .. } => Found::File {
                    source,
                    executable: *executable,
                    size: *len,
                    facts: None,
                },
            },
        };
        members.push(Member { item, found });
    }
    members.sort_by(|one, other| order(&one.item.path, &other.item.path));
    tidy(&mut members);
    Ok(members)
}

/// Leaves out what only seems to be there: what stands behind a link, and folders with things in them.
fn tidy(members: &mut Vec<Member<'_>>) {
    let mut link: Option<&[u8]> = None;
    members.retain(|member| {
        let path = member.item.path.as_slice();
        if link.is_some_and(|link| is_below(path, link)) {
            let source = match &member.found {
                Found::File { source, .. } => Some(source),
                _ => None,
            };
            // What is not on disk is there: it can't be packed.
            return !matches!(source, Some(Source::Path(_)) | None);
        }
        link = matches!(member.found, Found::Link(_)).then_some(path);
        true
    });
    let mut next: Option<&[u8]> = None;
    let mut full = HashSet::new();
    for member in members.iter().rev() {
        let path = member.item.path.as_slice();
        if matches!(member.found, Found::Folder) && next.is_some_and(|next| is_below(next, path)) {
            full.insert(path);
        }
        next = Some(path);
    }
    members.retain(|member| !full.contains(member.item.path.as_slice()));
}

/// What is at a path; `None` if nothing of the listing is there any more.
fn look_at<'a>(item: &Item, source: &'a Source, at: &Path) -> Result<Option<Found<'a>>, PackError> {
    let facts = match at.symlink_metadata() {
        Ok(facts) => facts,
        // Deleted, and git not told of it.
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
            return Ok(None);
        }
        Err(error) => return Err(unreadable(item, &error)),
    };
    if facts.is_symlink() {
        let target = at.read_link().map_err(|error| unreadable(item, &error))?;
        let target = Cow::Owned(target.into_os_string().into_vec());
        return Ok(Some(Found::Link(target)));
    }
    if facts.is_dir() {
        // A folder in the place of a file that git knows; what is in it is listed by itself.
        return Ok(None);
    }
    if !facts.is_file() {
        return Err(PackError::Item {
            path: name(item),
            reason: "it is a socket, a pipe or a device; name it in .mizzenignore".to_owned(),
        });
    }
    Ok(Some(Found::File {
        source,
        executable: facts.permissions().mode() & 0o100 != 0,
        size: facts.len(),
        facts: Some(facts),
    }))
}

/// The rules of trees hold here as well: an archive is unpacked at other places.
fn check(members: &[Member<'_>]) -> Result<(), PackError> {
    let entries = members.iter().map(|member| Entry {
        path: member.item.path.clone(),
        kind: match &member.found {
            // The rules ask nothing of contents.
            Found::File { executable, .. } => Kind::File {
                executable: *executable,
                size: 0,
                object: ObjectHash::EMPTY,
            },
            Found::Link(target) => Kind::Link {
                target: target.to_vec(),
            },
            Found::Folder => Kind::Folder,
        },
    });
    match Manifest::new(entries.collect()) {
        Ok(_) => Ok(()),
        Err(ManifestError::Link(path, target)) => Err(PackError::Item {
            path: shown(&path),
            reason: format!(
                "it is a link that leads out of the code, to {}: name it in .mizzenignore, or put there what it leads to",
                shown(&target)
            ),
        }),
        Err(error) => Err(PackError::Settings(error.to_string())),
    }
}

fn write(members: &[Member<'_>], dest: &Utf8Path) -> Result<(), PackError> {
    let failed = |error: &std::io::Error| unwritable(dest, error);
    let file = File::create(dest).map_err(|error| failed(&error))?;
    let gz = flate2::GzBuilder::new()
        .mtime(0)
        .write(std::io::BufWriter::new(file), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gz);
    for member in members {
        let path = Path::new(OsStr::from_bytes(&member.item.path));
        let mut header = tar::Header::new_gnu();
        header.set_mtime(TIME);
        header.set_size(0);
        match &member.found {
            Found::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                tar.append_data(&mut header, path, std::io::empty())
                    .map_err(|error| failed(&error))?;
            }
            Found::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                tar.append_link(&mut header, path, OsStr::from_bytes(target))
                    .map_err(|error| failed(&error))?;
            }
            Found::File {
                source,
                executable,
                size,
                facts,
            } => {
                header.set_size(*size);
                header.set_mode(if *executable { 0o755 } else { 0o644 });
                let reader = source
                    .reader()
                    .map_err(|error| unreadable(member.item, &error))?;
                let mut reader = Reader {
                    inner: reader.take(*size),
                    failed: None,
                };
                let appended = tar.append_data(&mut header, path, &mut reader);
                if let Some(error) = reader.failed {
                    return Err(unreadable(member.item, &error));
                }
                appended.map_err(|error| failed(&error))?;
                if reader.inner.limit() > 0 || has_changed(source, facts.as_ref()) {
                    return Err(PackError::Changing {
                        path: name(member.item),
                    });
                }
            }
        }
    }
    tar.into_inner()
        .and_then(flate2::write::GzEncoder::finish)
        .and_then(|mut file| file.flush())
        .map_err(|error| failed(&error))
}

fn has_changed(source: &Source, before: Option<&Metadata>) -> bool {
    let (Source::Path(at), Some(before)) = (source, before) else {
        return false;
    };
    let facts = |facts: &Metadata| (facts.len(), facts.mtime(), facts.mtime_nsec(), facts.ino());
    at.symlink_metadata()
        .map_or(true, |after| facts(&after) != facts(before))
}

/// Tells an error of reading from one of writing.
struct Reader<R> {
    inner: std::io::Take<R>,
    failed: Option<std::io::Error>,
}

impl<R: std::io::Read> std::io::Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.inner.read(buffer).inspect_err(|error| {
            if error.kind() != ErrorKind::Interrupted {
                self.failed = Some(std::io::Error::new(error.kind(), error.to_string()));
            }
        })
    }
}
