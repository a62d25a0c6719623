//! Reading logs whole, or their last lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use camino::Utf8Path;

use super::select::{attempts, ranks, shown_ranks};
use super::{LINE_LIMIT, Selection, rank_log};
use crate::store::ExperimentView;

/// How much is read at a time when lines are counted from a log's end.
const BLOCK: u64 = 64 * 1024;

/// A line, or a piece of one, without its line end.
#[derive(Debug, Clone, Copy)]
pub struct LogLine<'a> {
    /// The job's name.
    pub job: &'a str,
    /// The job's number.
    pub job_index: u32,
    /// The attempt.
    pub attempt: u32,
    /// The rank.
    pub rank: u32,
    /// How many ranks of the attempt are read: with one, its number need not be shown.
    pub ranks: u32,
    /// The bytes.
    pub bytes: &'a [u8],
    /// A line end followed. Without it this is a piece of a long line, or the last words of a log so far.
    pub ended: bool,
}

/// Reads what there is of the selected logs, job by job and rank by rank. Answers with how many logs there were.
///
/// # Errors
/// A log can't be read, or the sink fails.
pub fn read(
    view: &ExperimentView,
    selection: &Selection,
    sink: &mut dyn FnMut(LogLine<'_>) -> std::io::Result<()>,
) -> std::io::Result<u32> {
    let mut logs = 0;
    for job in view.jobs.iter().filter(|job| selection.wants(job)) {
        let attempt = selection
            .attempt
            .or_else(|| attempts(&view.dir, &job.name).last().copied());
        let Some(attempt) = attempt else { continue };
        let dir = super::attempt_dir(view, job, attempt);
        let ranks = ranks(&dir, selection.rank);
        for rank in &ranks {
            logs += 1;
            let line = LogLine {
                job: &job.name,
                job_index: job.index,
                attempt,
                rank: *rank,
                ranks: shown_ranks(ranks.len(), job.ranks, selection),
                bytes: &[],
                ended: true,
            };
            read_log(&rank_log(&dir, *rank), selection, &line, sink)?;
        }
    }
    Ok(logs)
}

fn read_log(
    path: &Utf8Path,
    selection: &Selection,
    template: &LogLine<'_>,
    sink: &mut dyn FnMut(LogLine<'_>) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let with_path =
        |error: std::io::Error| std::io::Error::new(error.kind(), format!("{path}: {error}"));
    let mut file = File::open(path).map_err(with_path)?;
    match (selection.tail, &selection.grep) {
        (Some(count), None) => {
            let start = start_of_last_lines(&mut file, count).map_err(with_path)?;
            file.seek(SeekFrom::Start(start)).map_err(with_path)?;
            each_line(file, &mut |bytes, ended| {
                sink(LogLine {
                    bytes,
                    ended,
                    ..*template
                })
            })
        }
        (Some(count), Some(_)) => {
            let mut last = std::collections::VecDeque::with_capacity(count.min(4096));
            each_line(file, &mut |bytes, ended| {
                if selection.keeps(bytes) && count > 0 {
                    if last.len() == count {
                        last.pop_front();
                    }
                    last.push_back((bytes.to_vec(), ended));
                }
                Ok(())
            })?;
            last.iter().try_for_each(|(bytes, ended)| {
                sink(LogLine {
                    bytes,
                    ended: *ended,
                    ..*template
                })
            })
        }
        (None, _) => each_line(file, &mut |bytes, ended| {
            if selection.keeps(bytes) {
                sink(LogLine {
                    bytes,
                    ended,
                    ..*template
                })
            } else {
                Ok(())
            }
        }),
    }
}

/// Hands on each line of a file, long ones in pieces.
fn each_line(
    file: File,
    sink: &mut dyn FnMut(&[u8], bool) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut reader = BufReader::with_capacity(BLOCK as usize, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader)
            .take(LINE_LIMIT as u64)
            .read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        let ended = line.last() == Some(&b'\n');
        if ended {
            line.pop();
        }
        sink(&line, ended)?;
    }
}

/// The offset at which the last `count` lines begin.
pub(super) fn start_of_last_lines(file: &mut File, count: usize) -> std::io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    if count == 0 {
        return Ok(length);
    }
    let mut block = vec![0; BLOCK as usize];
    let (mut position, mut found) = (length, 0);
    while position > 0 {
        let size = BLOCK.min(position);
        position -= size;
        file.seek(SeekFrom::Start(position))?;
        let block = &mut block[..size as usize];
        file.read_exact(block)?;
        for (offset, byte) in block.iter().enumerate().rev() {
            // The line end at the very end belongs to the last line.
            if *byte == b'\n' && position + offset as u64 + 1 < length {
                found += 1;
                if found == count {
                    return Ok(position + offset as u64 + 1);
                }
            }
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(contents: &[u8]) -> (tempfile_path::Path, File) {
        tempfile_path::with(contents)
    }

    mod tempfile_path {
        use super::*;
        pub(super) struct Path(std::path::PathBuf);
        impl Drop for Path {
            fn drop(&mut self) {
                let _ = std::fs::remove_file(&self.0);
            }
        }
        pub(super) fn with(contents: &[u8]) -> (Path, File) {
            static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
            let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let path =
                std::env::temp_dir().join(format!("mizzen-read-{}-{number}", std::process::id()));
            File::create(&path).unwrap().write_all(contents).unwrap();
            let file = File::open(&path).unwrap();
            (Path(path), file)
        }
    }

    #[test]
    fn last_lines_begin_where_they_should() {
        for (contents, count, expected) in [
            (&b"a\nb\nc\n"[..], 2, 2),
            (b"a\nb\nc", 1, 4),
            (b"a\nb\nc\n", 9, 0),
            (b"a\nb\nc\n", 0, 6),
            (b"", 3, 0),
            (b"\n\n\n", 1, 2),
        ] {
            let (_path, mut file) = file(contents);
            assert_eq!(
                start_of_last_lines(&mut file, count).unwrap(),
                expected,
                "{contents:?} {count}"
            );
        }
        let long = [
            vec![b'x'; 100_000],
            b"\n".to_vec(),
            vec![b'y'; 100_000],
            b"\n".to_vec(),
        ]
        .concat();
        let (_path, mut long) = file(&long);
        assert_eq!(start_of_last_lines(&mut long, 1).unwrap(), 100_001);
    }

    #[test]
    fn a_line_without_end_comes_in_pieces() {
        let (_path, endless) = file(&vec![b'x'; LINE_LIMIT + 3]);
        let mut pieces = Vec::new();
        each_line(endless, &mut |bytes, ended| {
            pieces.push((bytes.len(), ended));
            Ok(())
        })
        .unwrap();
        assert_eq!(pieces, [(LINE_LIMIT, false), (3, false)]);
    }
}
