//! What a packager selected, before anything of it is read.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};

use crate::config::Size;

/// The files, links and empty folders that a packager selected.
#[derive(Debug, Default)]
pub struct Listing {
    /// The folder that it was made of.
    pub root: Utf8PathBuf,
    /// What is in it, in no order that anybody may rely on.
    pub items: Vec<Item>,
    /// What people should know about it.
    pub notes: Vec<Note>,
}

impl Listing {
    /// Takes out what is on disk in a folder: our own home is nobody's code.
    pub(super) fn leave_out(&mut self, folder: &Utf8Path) {
        let folder = folder.as_str().as_bytes();
        let is_in = |path: &[u8]| match path.strip_prefix(folder) {
            Some(rest) => rest.is_empty() || rest.starts_with(b"/"),
            None => false,
        };
        let root = &self.root;
        self.items.retain(|item| match &item.kind {
            ItemKind::File {
                source: Source::Path(path),
                ..
            } => !is_in(path.as_os_str().as_bytes()),
            ItemKind::Folder => {
                let path = [root.as_str().as_bytes(), b"/", item.path.as_slice()].concat();
                !is_in(&path)
            }
            _ => true,
        });
    }
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its path below the top: parts with `/` between them, any bytes but NUL.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: ItemKind,
}

/// What an item is.
#[derive(Debug, Clone)]
pub enum ItemKind {
    /// A file. What is at a [`Source::Path`] is looked at when it is packed: it may be a symbolic link as well, and whether it
    /// is executable is said there.
    File {
        /// Its content.
        source: Source,
        /// It may be executed; not asked of [`Source::Path`].
        executable: bool,
    },
    /// A symbolic link and its target.
    Link {
        /// What stands in it.
        target: Vec<u8>,
    },
    /// A folder with nothing in it.
    Folder,
}

/// Where a file's content is.
#[derive(Debug, Clone)]
pub enum Source {
    /// On disk, still in somebody's hands.
    Path(PathBuf),
    /// In memory.
    Bytes(Arc<[u8]>),
    /// A part of a file of ours.
    Spooled {
        /// The file; it may have no name.
        file: Arc<File>,
        /// Where the content begins.
        offset: u64,
        /// How long it is.
        len: u64,
    },
}

impl Source {
    /// The content from its beginning. A link is followed; what is neither file nor link to one is an error.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn reader(&self) -> std::io::Result<Box<dyn Read + '_>> {
        Ok(match self {
            Source::Path(path) => Box::new(File::open(path)?),
            Source::Bytes(bytes) => Box::new(&bytes[..]),
            Source::Spooled { file, offset, len } => Box::new(Part {
                file,
                at: *offset,
                end: offset.saturating_add(*len),
            }),
        })
    }

    /// Both have the same content, or are links with the same target.
    pub(super) fn same_as(&self, other: &Source) -> std::io::Result<bool> {
        let link = |source: &Source| match source {
            Source::Path(path) => path.read_link().ok(),
            _ => None,
        };
        match (link(self), link(other)) {
            (None, None) => {}
            (one, other) => return Ok(one == other),
        }
        let hash = |source: &Source| -> std::io::Result<blake3::Hash> {
            let mut hasher = blake3::Hasher::new();
            std::io::copy(&mut source.reader()?, &mut hasher)?;
            Ok(hasher.finalize())
        };
        Ok(hash(self)? == hash(other)?)
    }
}

/// A part of a file, read without moving anybody else's place in it.
struct Part<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let room = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..room], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Something that people should know about what was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What it is, in a sentence.
    pub text: String,
    /// What may be done about it.
    pub hint: Option<String>,
}

/// How much may be packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files together.
    pub total: u64,
    /// Bytes of one file.
    pub file: u64,
}

/// The code can't be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file or folder can't be read.
    #[error("{path} can't be read: {reason}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// What was packed can't be written.
    #[error("{path} can't be written: {reason}")]
    Write {
        /// Where to.
        path: String,
        /// Why.
        reason: String,
    },
    /// A file went on changing while it was read.
    #[error(
        "{path} changes while it is read: pack again once nobody writes to it, or name it in .mizzenignore"
    )]
    Changing {
        /// Which.
        path: String,
    },
    /// Something that a tree of code can't hold.
    #[error("{path} can't be packed: {reason}")]
    Item {
        /// Which.
        path: String,
        /// Why, and what to do.
        reason: String,
    },
    /// More than the limits allow.
    #[error("{0}")]
    TooLarge(String),
    /// git refused, or is not there.
    #[error("{0}")]
    Git(String),
    /// The packager's settings don't fit what is there.
    #[error("{0}")]
    Settings(String),
    /// Our own store of trees can't be used.
    #[error(transparent)]
    Bundle(#[from] super::bundle::BundleError),
}

/// The largest of the named files, for a message: at most five.
fn largest(mut files: Vec<(&[u8], u64)>) -> String {
    files.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    files
        .iter()
        .take(5)
        .map(|(path, size)| {
            format!(
                "{} ({})",
                String::from_utf8_lossy(path).escape_debug(),
                Size(*size)
            )
        })
        .collect::<Vec<_>>()
        .join(", ")
}

impl Limits {
    /// Whether so much may be packed. `files`: each one's path and size.
    ///
    /// # Errors
    /// [`PackError::TooLarge`], which names the largest files.
    pub fn guard(&self, files: &[(&[u8], u64)]) -> Result<(), PackError> {
        let what_to_do = "name what no job needs in .mizzenignore or .gitignore";
        let over: Vec<_> = files
            .iter()
            .filter(|(_, size)| *size > self.file)
            .copied()
            .collect();
        if !over.is_empty() {
            return Err(PackError::TooLarge(format!(
                "the code holds files over {}: {}; {what_to_do}, or raise `max_file_size` of the packager",
                Size(self.file),
                largest(over)
            )));
        }
        let total: u64 = files.iter().map(|(_, size)| size).sum();
        if total > self.total {
            return Err(PackError::TooLarge(format!(
                "the code is {} in {} files, more than {}; the largest are {}; {what_to_do}, or raise `max_size` of the packager",
                Size(total),
                files.len(),
                Size(self.total),
                largest(files.to_vec())
            )));
        }
        Ok(())
    }
}
