//! Reading logs whole, or their last lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use camino::Utf8Path;

use super::fold::{Fold, FoldedLine, FoldedSink, Given};
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
    each_attempt(view, selection, &mut |dir, ranks, template| {
        ranks.iter().try_for_each(|&rank| {
            let line = LogLine { rank, ..template };
            read_log(&rank_log(dir, rank), selection, &line, sink)
        })
    })
}

/// Goes through the chosen attempts: their folders, the ranks that have logs, what their lines have in common. Answers with how
/// many logs there were.
fn each_attempt<T>(
    view: &ExperimentView,
    selection: &Selection,
    take: &mut T,
) -> std::io::Result<u32>
where
    T: FnMut(&Utf8Path, &[u32], LogLine<'_>) -> std::io::Result<()>,
{
    let mut logs = 0;
    for job in view.jobs.iter().filter(|job| selection.wants(job)) {
        let attempt = selection
            .attempt
            .or_else(|| attempts(&view.dir, &job.name).last().copied());
        let Some(attempt) = attempt else { continue };
        let dir = super::attempt_dir(view, job, attempt);
        let ranks = ranks(&dir, selection.rank);
        let template = LogLine {
            job: &job.name,
            job_index: job.index,
            attempt,
            rank: 0,
            ranks: shown_ranks(ranks.len(), job.ranks, selection),
            bytes: &[],
            ended: true,
        };
        logs += ranks.len() as u32;
        take(&dir, &ranks, template)?;
    }
    Ok(logs)
}

/// How many lines of each rank are compared with those of the others, at least and at most.
const AHEAD: std::ops::RangeInclusive<usize> = 16..=256;
/// And of all ranks together.
const AHEAD_IN_ALL: usize = 32 * 1024;
/// So many bytes of a log are read at once for that.
const AHEAD_BYTES: usize = 1 << 20;

/// Reads what [`read`] does, with lines that several ranks of an attempt wrote alike handed on once. Answers with how many logs
/// there were.
///
/// # Errors
/// A log can't be read, or the sink fails.
pub fn read_folded(
    view: &ExperimentView,
    selection: &Selection,
    sink: &mut FoldedSink<'_>,
) -> std::io::Result<u32> {
    each_attempt(view, selection, &mut |dir, ranks, template| {
        let [rank] = *ranks else {
            return fold_logs(dir, ranks, selection, &template, sink);
        };
        let template = LogLine { rank, ..template };
        read_log(&rank_log(dir, rank), selection, &template, &mut |line| {
            sink(FoldedLine {
                line,
                ranks: &[rank],
            })
        })
    })
}

/// Reads the logs of several ranks beside each other, each as far ahead as is needed to see what belongs together.
fn fold_logs(
    dir: &Utf8Path,
    ranks: &[u32],
    selection: &Selection,
    template: &LogLine<'_>,
    sink: &mut FoldedSink<'_>,
) -> std::io::Result<()> {
    let ahead = (AHEAD_IN_ALL / ranks.len().max(1)).clamp(*AHEAD.start(), *AHEAD.end());
    let mut readers = ranks
        .iter()
        .map(|rank| Ahead::open(rank_log(dir, *rank), *rank, selection))
        .collect::<std::io::Result<Vec<Ahead>>>()?;
    readers.sort_by_key(|reader| reader.rank);
    let mut fold = Fold::default();
    loop {
        for reader in &mut readers {
            while reader.is_hungry(&fold) {
                let lines = reader.lines(ahead, selection)?;
                fold.add(reader.rank, lines, None);
            }
        }
        // Lines are handed on until a rank has too few of them to tell what belongs together.
        loop {
            let ranks = fold.pop(template, sink)?;
            if ranks.is_empty() {
                if readers.iter().all(|reader| reader.at_end) {
                    return Ok(());
                }
                break;
            }
            let hungry = |rank: &u32| {
                let place = readers.binary_search_by_key(rank, |reader| reader.rank);
                place.is_ok_and(|place| readers[place].is_hungry(&fold))
            };
            if ranks.iter().any(hungry) {
                break;
            }
        }
    }
}

/// A log that is read some lines at a time, and is closed in between: there may be more of them than files may be open.
struct Ahead {
    path: camino::Utf8PathBuf,
    rank: u32,
    offset: u64,
    /// What was chosen at once, because only the whole log tells which lines are its last.
    chosen: std::collections::VecDeque<Given>,
    at_end: bool,
    /// With fewer lines of it waiting, more are to be read.
    enough: usize,
}

impl Ahead {
    fn open(path: camino::Utf8PathBuf, rank: u32, selection: &Selection) -> std::io::Result<Ahead> {
        let mut ahead = Ahead {
            path,
            rank,
            offset: 0,
            chosen: std::collections::VecDeque::new(),
            at_end: false,
            enough: 1,
        };
        match (selection.tail, &selection.grep) {
            (Some(count), None) => {
                let start = File::open(&ahead.path)
                    .and_then(|mut file| start_of_last_lines(&mut file, count));
                ahead.offset = start.map_err(|error| ahead.named(&error))?;
            }
            (Some(_), Some(_)) => {
                let template = LogLine {
                    job: "",
                    job_index: 0,
                    attempt: 0,
                    rank,
                    ranks: 1,
                    bytes: &[],
                    ended: true,
                };
                let chosen = &mut ahead.chosen;
                read_log(&ahead.path, selection, &template, &mut |line| {
                    chosen.push_back(Given {
                        bytes: line.bytes.to_vec(),
                        ended: line.ended,
                    });
                    Ok(())
                })?;
                ahead.offset = u64::MAX;
            }
            (None, _) => {}
        }
        Ok(ahead)
    }

    /// More of it is to be read before lines are handed on.
    fn is_hungry(&self, fold: &Fold) -> bool {
        !self.at_end && fold.waiting(self.rank) < self.enough
    }

    fn named(&self, error: &std::io::Error) -> std::io::Error {
        std::io::Error::new(error.kind(), format!("{}: {error}", self.path))
    }

    /// About so many of the next lines that are wanted; at the end fewer.
    fn lines(&mut self, count: usize, selection: &Selection) -> std::io::Result<Vec<Given>> {
        if self.offset == u64::MAX {
            self.at_end = true;
            return Ok(self.chosen.drain(..).collect());
        }
        self.read(count, selection)
            .map_err(|error| self.named(&error))
    }

    fn read(&mut self, count: usize, selection: &Selection) -> std::io::Result<Vec<Given>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut reader = BufReader::with_capacity(BLOCK as usize, file);
        let mut lines = Vec::new();
        let mut bytes = 0;
        while lines.len() < count && bytes < AHEAD_BYTES {
            let mut line = Vec::new();
            let read = (&mut reader)
                .take(LINE_LIMIT as u64)
                .read_until(b'\n', &mut line)?;
            if read == 0 {
                self.at_end = true;
                break;
            }
            self.offset += read as u64;
            let ended = line.pop_if(|byte| *byte == b'\n').is_some();
            if selection.keeps(&line) {
                bytes += line.len();
                lines.push(Given { bytes: line, ended });
            }
        }
        // Of very long lines fewer are enough.
        self.enough = (lines.len() / 2).max(1);
        Ok(lines)
    }
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
