//! A listing as one compressed tar file, the same bytes for the same tree: what NeMo-Run's packagers answer with.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

use camino::Utf8Path;

use super::listing::{ItemKind, Listing, PackError, Source};

/// The time of everything in an archive: 2000-01-01T00:00:00Z.
const TIME: u64 = 946_684_800;

/// Writes everything that is listed to `dest`, which is placed whole or not at all.
///
/// # Errors
/// A file can't be read, or `dest` can't be written.
pub fn write_tar_gz(listing: &Listing, dest: &Utf8Path) -> Result<(), PackError> {
    let staged = dest.with_file_name(format!(
        ".{}.{}",
        dest.file_name().unwrap_or_default(),
        std::process::id()
    ));
    let written = write(listing, &staged)
        .and_then(|()| std::fs::rename(&staged, dest).map_err(|error| unwritable(dest, &error)));
    if written.is_err() {
        let _ = std::fs::remove_file(&staged);
    }
    written
}

fn unwritable(path: &Utf8Path, error: &std::io::Error) -> PackError {
    PackError::Write {
        path: path.to_string(),
        reason: error.to_string(),
    }
}

fn write(listing: &Listing, dest: &Utf8Path) -> Result<(), PackError> {
    let failed = |error: &std::io::Error| unwritable(dest, error);
    let file = std::fs::File::create(dest).map_err(|error| failed(&error))?;
    let gz = flate2::GzBuilder::new()
        .mtime(0)
        .write(std::io::BufWriter::new(file), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gz);
    let mut items: Vec<_> = listing.items.iter().collect();
    items.sort_by(|one, other| one.path.cmp(&other.path));
    for item in items {
        let name = || String::from_utf8_lossy(&item.path).into_owned();
        let unreadable = |error: &std::io::Error| PackError::Read {
            path: name(),
            reason: error.to_string(),
        };
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(&item.path));
        let mut header = tar::Header::new_gnu();
        header.set_mtime(TIME);
        header.set_mode(0o644);
        header.set_size(0);
        let link = |mut header: tar::Header, target: &[u8], tar: &mut tar::Builder<_>| {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            let target = std::ffi::OsStr::from_bytes(target);
            tar.append_link(&mut header, path, target)
        };
        match &item.kind {
            ItemKind::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                tar.append_data(&mut header, path, std::io::empty())
                    .map_err(|error| failed(&error))?;
            }
            ItemKind::Link { target } => {
                link(header, target, &mut tar).map_err(|error| failed(&error))?;
            }
            ItemKind::File { source, executable } => {
                let (mut executable, mut size) = (*executable, None);
                if let Source::Path(at) = source {
                    let facts = match at.symlink_metadata() {
                        Ok(facts) => facts,
                        // Deleted, and not yet told git.
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                        Err(error) => return Err(unreadable(&error)),
                    };
                    if facts.is_symlink() {
                        let target = at.read_link().map_err(|error| unreadable(&error))?;
                        link(header, target.as_os_str().as_bytes(), &mut tar)
                            .map_err(|error| failed(&error))?;
                        continue;
                    }
                    executable = facts.permissions().mode() & 0o100 != 0;
                    size = Some(facts.len());
                }
                let size = match (size, source) {
                    (Some(size), _) => size,
                    (None, Source::Bytes(bytes)) => bytes.len() as u64,
                    (None, Source::Spooled { len, .. }) => *len,
                    (None, Source::Path(_)) => 0,
                };
                header.set_size(size);
                header.set_mode(if executable { 0o755 } else { 0o644 });
                let mut reader =
                    std::io::Read::take(source.reader().map_err(|error| unreadable(&error))?, size);
                tar.append_data(&mut header, path, &mut reader)
                    .map_err(|error| failed(&error))?;
                if reader.limit() > 0 {
                    return Err(PackError::Changing { path: name() });
                }
            }
        }
    }
    tar.into_inner()
        .and_then(flate2::write::GzEncoder::finish)
        .and_then(|mut file| file.flush())
        .map_err(|error| failed(&error))
}
