//! Following logs while they grow: new lines, new ranks, new attempts.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::read::start_of_last_lines;
use super::select::{attempts, ranks, shown_ranks};
use super::{LINE_LIMIT, LogLine, Selection, rank_log};
use crate::store::{ExperimentView, JobView};

/// The most that is read of one log before the others get their turn.
const TURN: usize = 1 << 20;
/// At most so many logs are kept open; those that were read longest ago are closed.
const OPEN: usize = 256;

/// A log that is followed.
struct Log {
    file: Option<File>,
    offset: u64,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    used: u64,
}

/// A job whose logs may be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// How many ranks it has (see [`JobView::ranks`]).
    pub ranks: u32,
    /// The first attempt that is of interest; none: the last of those that are there when it is first looked at.
    pub from: Option<u32>,
}

impl Followed {
    /// The jobs of an experiment.
    #[must_use]
    pub fn all(view: &ExperimentView) -> Vec<Followed> {
        let followed = |job: &JobView| Followed {
            index: job.index,
            name: job.name.clone(),
            ranks: job.ranks,
            from: None,
        };
        view.jobs.iter().map(followed).collect()
    }

    /// The same for whoever saw the experiment before it was begun: all attempts that come after, however quickly they end.
    #[must_use]
    pub fn from_now_on(view: &ExperimentView) -> Vec<Followed> {
        let mut all = Followed::all(view);
        for (followed, job) in all.iter_mut().zip(&view.jobs) {
            followed.from = Some(job.attempts.last().map_or(1, |attempt| attempt.number + 1));
        }
        all
    }
}

/// Follows the logs of some jobs.
pub struct Follower {
    dir: Utf8PathBuf,
    jobs: Vec<Followed>,
    selection: Selection,
    logs: HashMap<(u32, u32, u32), Log>,
    inotify: Option<Inotify>,
    watched: HashMap<Utf8PathBuf, ()>,
    turn: u64,
    first: bool,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Follower")
            .field("dir", &self.dir)
            .field("logs", &self.logs.len())
            .finish_non_exhaustive()
    }
}

impl Follower {
    /// Follows the logs of `jobs` of the experiment whose folder is `dir`. Without `selection.tail`
    /// what is there is read from its beginning.
    #[must_use]
    pub fn new(dir: &Utf8Path, jobs: &[Followed], selection: Selection) -> Follower {
        let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
        let wanted =
            |job: &&Followed| selection.jobs.is_empty() || selection.jobs.contains(&job.index);
        Follower {
            dir: dir.to_owned(),
            jobs: jobs.iter().filter(wanted).cloned().collect(),
            selection,
            logs: HashMap::new(),
            inotify: Inotify::init(flags).ok(),
            watched: HashMap::new(),
            turn: 0,
            first: true,
        }
    }

    /// Hands on everything that is new. `running` says which jobs may have something new: those that run or have just
    /// ended. Answers whether there was something.
    ///
    /// # Errors
    /// A log can't be read, or the sink fails.
    pub fn poll(
        &mut self,
        running: &dyn Fn(u32) -> bool,
        sink: &mut dyn FnMut(LogLine<'_>) -> std::io::Result<()>,
    ) -> std::io::Result<bool> {
        let mut something = false;
        let jobs = std::mem::take(&mut self.jobs);
        let first = self.first;
        let result = jobs
            .iter()
            .filter(|job| first || running(job.index))
            .try_for_each(|job| {
                something |= self.poll_job(job, sink)?;
                Ok(())
            });
        self.jobs = jobs;
        self.first = false;
        result.map(|()| something)
    }

    fn poll_job(
        &mut self,
        job: &Followed,
        sink: &mut dyn FnMut(LogLine<'_>) -> std::io::Result<()>,
    ) -> std::io::Result<bool> {
        let folder = self.dir.join(&job.name).join("attempts");
        self.watch(&folder);
        let mut numbers = attempts(&self.dir, &job.name);
        if let Some(only) = self.selection.attempt {
            numbers.retain(|number| *number == only);
        } else if let Some(from) = job.from {
            numbers.retain(|number| *number >= from);
        } else if self.first {
            // What is there already: the last attempt is the one of interest.
            numbers.drain(..numbers.len().saturating_sub(1));
        } else {
            let known = self
                .logs
                .keys()
                .filter(|(index, ..)| *index == job.index)
                .map(|(_, attempt, _)| *attempt)
                .min();
            numbers.retain(|number| known.is_none_or(|known| *number >= known));
        }
        let mut something = false;
        for attempt in numbers {
            let dir = folder.join(attempt.to_string());
            self.watch(&dir);
            let ranks = ranks(&dir, self.selection.rank);
            for &rank in &ranks {
                let line = LogLine {
                    job: &job.name,
                    job_index: job.index,
                    attempt,
                    rank,
                    ranks: shown_ranks(ranks.len(), job.ranks, &self.selection),
                    bytes: &[],
                    ended: true,
                };
                something |= self.poll_log(&rank_log(&dir, rank), &line, sink)?;
            }
        }
        Ok(something)
    }

    fn watch(&mut self, folder: &Utf8Path) {
        let Some(inotify) = &self.inotify else { return };
        if self.watched.contains_key(folder) {
            return;
        }
        let flags =
            AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        if inotify.add_watch(folder.as_std_path(), flags).is_ok() {
            self.watched.insert(folder.to_owned(), ());
        }
    }

    fn poll_log(
        &mut self,
        path: &Utf8Path,
        template: &LogLine<'_>,
        sink: &mut dyn FnMut(LogLine<'_>) -> std::io::Result<()>,
    ) -> std::io::Result<bool> {
        let key = (template.job_index, template.attempt, template.rank);
        self.turn += 1;
        let turn = self.turn;
        if !self.logs.contains_key(&key) {
            let mut file = File::open(path)?;
            let offset = match (self.first, self.selection.tail) {
                (true, Some(count)) => start_of_last_lines(&mut file, count)?,
                _ => 0,
            };
            self.logs.insert(
                key,
                Log {
                    file: Some(file),
                    offset,
                    partial: Vec::new(),
                    used: turn,
                },
            );
            self.close_some();
        }
        let Some(log) = self.logs.get_mut(&key) else {
            return Ok(false);
        };
        let length = std::fs::metadata(path)?.len();
        if length <= log.offset {
            return Ok(false);
        }
        log.used = turn;
        let file = match &mut log.file {
            Some(file) => file,
            closed => closed.insert(File::open(path)?),
        };
        file.seek(SeekFrom::Start(log.offset))?;
        let mut bytes = std::mem::take(&mut log.partial);
        let read = file.take(TURN as u64).read_to_end(&mut bytes)?;
        log.offset += read as u64;
        let mut start = 0;
        while let Some(end) = bytes[start..].iter().position(|byte| *byte == b'\n') {
            let line = &bytes[start..start + end];
            if self.selection.keeps(line) {
                sink(LogLine {
                    bytes: line,
                    ended: true,
                    ..*template
                })?;
            }
            start += end + 1;
        }
        let mut rest = bytes.split_off(start);
        if rest.len() >= LINE_LIMIT {
            if self.selection.keeps(&rest) {
                sink(LogLine {
                    bytes: &rest,
                    ended: false,
                    ..*template
                })?;
            }
            rest.clear();
        }
        log.partial = rest;
        Ok(read > 0)
    }

    /// Hands on the beginnings of lines whose end will not come any more.
    ///
    /// # Errors
    /// The sink fails.
    pub fn finish(
        &mut self,
        sink: &mut dyn FnMut(LogLine<'_>) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        self.hand_on_partials(u32::MAX, sink)
    }

    /// Hands on the beginnings of lines, so that a prompt is seen: only of attempts with one rank, since the lines of several
    /// can't be shown in pieces.
    ///
    /// # Errors
    /// The sink fails.
    pub fn pieces(
        &mut self,
        sink: &mut dyn FnMut(LogLine<'_>) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        self.hand_on_partials(1, sink)
    }

    /// Of attempts with at most so many ranks.
    fn hand_on_partials(
        &mut self,
        most_ranks: u32,
        sink: &mut dyn FnMut(LogLine<'_>) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let mut keys: Vec<_> = self.logs.keys().copied().collect();
        keys.sort_unstable();
        for key in keys {
            let (job_index, attempt, rank) = key;
            let seen = self
                .logs
                .keys()
                .filter(|(job, number, _)| *job == job_index && *number == attempt)
                .count();
            let Some(job) = self.jobs.iter().find(|job| job.index == job_index) else {
                continue;
            };
            let ranks = shown_ranks(seen, job.ranks, &self.selection);
            let Some(log) = self.logs.get_mut(&key).filter(|_| ranks <= most_ranks) else {
                continue;
            };
            let bytes = std::mem::take(&mut log.partial);
            if !bytes.is_empty() && self.selection.keeps(&bytes) {
                sink(LogLine {
                    job: &job.name,
                    job_index,
                    attempt,
                    rank,
                    ranks,
                    bytes: &bytes,
                    ended: false,
                })?;
            }
        }
        Ok(())
    }

    fn close_some(&mut self) {
        let mut open: Vec<(u64, (u32, u32, u32))> = self
            .logs
            .iter()
            .filter(|(_, log)| log.file.is_some())
            .map(|(key, log)| (log.used, *key))
            .collect();
        if open.len() > OPEN {
            open.sort_unstable();
            for (_, key) in &open[..open.len() - OPEN] {
                if let Some(log) = self.logs.get_mut(key) {
                    log.file = None;
                }
            }
        }
    }

    /// Waits until something is written to a followed log, at most so long.
    pub fn wait(&self, limit: Duration) {
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        match &self.inotify {
            Some(inotify) => {
                let _ = nix::poll::poll(
                    &mut [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)],
                    timeout,
                );
                let _ = inotify.read_events();
            }
            None => {
                let _ = nix::poll::poll(&mut [], timeout);
            }
        }
    }

    /// A descriptor that becomes readable when something is written to a followed log.
    #[must_use]
    pub fn descriptor(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(logs: &[&str]) -> Vec<String> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("mizzen-follow-{}-{number}", std::process::id());
        let dir = Utf8PathBuf::from_path_buf(std::env::temp_dir().join(name)).unwrap();
        let attempt = dir.join("job/attempts/1");
        std::fs::create_dir_all(&attempt).unwrap();
        for (rank, text) in logs.iter().enumerate() {
            std::fs::write(rank_log(&attempt, rank as u32), text).unwrap();
        }
        let mut follower = Follower::new(
            &dir,
            &[Followed {
                index: 0,
                name: "job".to_owned(),
                ranks: 1,
                from: None,
            }],
            Selection::default(),
        );
        let mut seen = Vec::new();
        let mut sink = |line: LogLine<'_>| {
            seen.push(String::from_utf8_lossy(line.bytes).into_owned());
            Ok(())
        };
        follower.poll(&|_| true, &mut sink).unwrap();
        follower.pieces(&mut sink).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        seen
    }

    #[test]
    fn all_attempts_that_come_are_followed_however_many_there_are_by_then() {
        let name = format!("mizzen-follow-{}-attempts", std::process::id());
        let dir = Utf8PathBuf::from_path_buf(std::env::temp_dir().join(name)).unwrap();
        for attempt in 1..=3 {
            let folder = dir.join(format!("job/attempts/{attempt}"));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(rank_log(&folder, 0), format!("of {attempt}\n")).unwrap();
        }
        let seen = |from| {
            let job = Followed {
                index: 0,
                name: "job".to_owned(),
                ranks: 1,
                from,
            };
            let mut follower = Follower::new(&dir, &[job], Selection::default());
            let mut seen = Vec::new();
            let mut sink = |line: LogLine<'_>| {
                seen.push(String::from_utf8_lossy(line.bytes).into_owned());
                Ok(())
            };
            follower.poll(&|_| true, &mut sink).unwrap();
            seen
        };
        assert_eq!(seen(Some(1)), ["of 1", "of 2", "of 3"]);
        assert_eq!(seen(Some(3)), ["of 3"]);
        assert_eq!(seen(None), ["of 3"]);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn only_a_single_ranks_line_is_handed_on_before_its_end() {
        assert_eq!(pieces(&["one\npassword: "]), ["one", "password: "]);
        assert_eq!(pieces(&["one\ntw", "eins\nzw"]), ["one", "eins"]);
    }
}
