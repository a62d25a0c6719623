//! Writes exit records: whole or not at all, now or, while the disk is full, later.
//!
//! A record is written beside its place and renamed into it. There is no fsync: a machine that loses its power may lose
//! the record of its last seconds, and readers must take an empty or torn file as no record; a fsync would cost each
//! job more than everything else that the agent does.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mizzen_agent::protocol::EXIT_RECORD;
use mizzen_agent::record::ExitRecord;

/// How long to wait before the next try.
const AGAIN: Duration = Duration::from_secs(1);

/// Records that could not be written yet.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pending: Vec<(PathBuf, Vec<u8>)>,
    again_at: Option<Instant>,
}

impl Writer {
    /// Writes the record into its attempt's folder, or keeps it for another try; tells why on a first failure.
    pub(crate) fn write(&mut self, folder: &Path, record: &ExitRecord) -> io::Result<()> {
        let mut text = serde_json::to_vec(record)?;
        text.push(b'\n');
        let written = write_by_rename(folder, &text);
        if written.is_err() {
            self.pending.push((folder.to_owned(), text));
            self.again_at.get_or_insert_with(|| Instant::now() + AGAIN);
        }
        written
    }

    /// When the next try is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.again_at
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Tries again what is due.
    pub(crate) fn retry(&mut self, now: Instant) {
        if self.again_at.is_none_or(|again_at| now < again_at) {
            return;
        }
        self.pending
            .retain(|(folder, text)| write_by_rename(folder, text).is_err());
        self.again_at = (!self.pending.is_empty()).then_some(now + AGAIN);
    }

    /// The folders whose records were never written.
    pub(crate) fn unwritten(&self) -> impl Iterator<Item = &Path> {
        self.pending.iter().map(|(folder, _)| folder.as_path())
    }
}

fn write_by_rename(folder: &Path, text: &[u8]) -> io::Result<()> {
    let place = folder.join(EXIT_RECORD);
    let beside = folder.join(format!("{EXIT_RECORD}.tmp"));
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(text)?;
    drop(file);
    fs::rename(beside, place)
}
