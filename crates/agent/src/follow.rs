//! `mizzen-agent follow`: tells a mirror what jobs write, as they write it. What is said is in `following.rs` of the
//! library.
//!
//! ```text
//! stdin ── Ask ──▶ folders ─┐
//! inotify ─ this folder ────┼─▶ scan: attempts, logs, records ──▶ read ──▶ stdout
//! time ─── all folders ─────┘
//! ```
//!
//! Network file systems tell nobody of what other machines write: inotify is what makes it fast where it works, looking
//! again from time to time is what makes it right. One thread; only writing to the mirror may block it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use mizzen_agent::following::{Ask, Follow, News, PIECE, attempt_number, is_followed};
use mizzen_agent::protocol::EXIT_RECORD;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use crate::channel::{say, without_content};

/// The shortest and the longest pause between two looks at everything.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Looking takes at most one part in so many of the time: file systems may be slow.
const SHARE: u32 = 10;
/// After each look: who writes line by line is not followed line by line.
const GATHER: Duration = Duration::from_millis(2);
/// A longer line is none of ours.
const LONGEST_LINE: usize = 64 << 20;
/// A larger record is none of ours.
const LARGEST_RECORD: u64 = 64 << 20;

/// Follows until the mirror closes its end, then looks once more. `once`: what is there now.
pub(crate) fn follow(once: bool) -> io::Result<()> {
    let mut follower = Follower {
        asks: Vec::new(),
        open: true,
        folders: BTreeMap::new(),
        inotify: Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .ok()
            .filter(|_| !once),
        watched: HashMap::new(),
        due: BTreeSet::new(),
    };
    match follower.run(once) {
        // Nobody reads any longer: that is the mirror's affair.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        ended => ended,
    }
}

struct Follower {
    /// What was read of the next line.
    asks: Vec<u8>,
    open: bool,
    folders: BTreeMap<u64, Folder>,
    inotify: Option<Inotify>,
    watched: HashMap<WatchDescriptor, BTreeSet<u64>>,
    /// Folders in which something has happened.
    due: BTreeSet<u64>,
}

struct Folder {
    path: String,
    files: BTreeMap<String, Seen>,
    /// The mirror waits to hear that all has been sent.
    fresh: bool,
}

/// What the mirror has of a file.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// 0: not seen here.
    inode: u64,
    offset: u64,
    /// When a record was written.
    changed: (i64, i64),
}

impl Follower {
    fn run(&mut self, once: bool) -> io::Result<()> {
        while once && self.open {
            self.take_asks();
        }
        let mut pause = PAUSES.0;
        let mut next = Instant::now();
        while self.open {
            let now = Instant::now();
            if now >= next {
                self.due = self.folders.keys().copied().collect();
            }
            let sent = self.send_due()?;
            if now >= next {
                pause = if sent {
                    PAUSES.0
                } else {
                    (pause * 3 / 2).min(PAUSES.1)
                };
                next = Instant::now() + pause.max(now.elapsed() * SHARE);
            }
            self.wait(false, GATHER)?;
            self.wait(true, next.saturating_duration_since(Instant::now()))?;
        }
        self.due = self.folders.keys().copied().collect();
        self.send_due().map(drop)
    }

    /// Waits for a word of the mirror or, if `news`, for something written.
    fn wait(&mut self, news: bool, limit: Duration) -> io::Result<()> {
        let mut polled = vec![PollFd::new(stdin(), PollFlags::POLLIN)];
        let inotify = self.inotify.as_ref().filter(|_| news);
        polled.extend(inotify.map(|inotify| PollFd::new(inotify.as_fd(), PollFlags::POLLIN)));
        // Rounded up: a pause that is shorter than it should be would be many.
        let limit = limit + Duration::from_micros(999);
        match nix::poll::poll(
            &mut polled,
            PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX),
        ) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [asked, told] = [0, 1].map(|place| {
            let polled = polled.get(place).and_then(PollFd::any);
            polled.unwrap_or(false)
        });
        if told && let Some(inotify) = &self.inotify {
            for event in inotify.read_events().unwrap_or_default() {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    self.due.extend(self.folders.keys());
                }
                self.due
                    .extend(self.watched.get(&event.wd).into_iter().flatten());
                if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    self.watched.remove(&event.wd);
                }
            }
        }
        if asked {
            self.take_asks();
        }
        Ok(())
    }

    /// Reads once.
    fn take_asks(&mut self) {
        let mut piece = [0; 64 * 1024];
        match nix::unistd::read(stdin(), &mut piece) {
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // An error means what the end means: nothing more will come.
            Ok(0) | Err(_) => self.open = false,
            Ok(length) => {
                for byte in &piece[..length] {
                    match byte {
                        b'\n' => self.take_ask(),
                        byte => self.asks.push(*byte),
                    }
                }
                if self.asks.len() > LONGEST_LINE {
                    say("a line is longer than any of ours");
                    self.open = false;
                }
            }
        }
    }

    fn take_ask(&mut self) {
        let line = std::mem::take(&mut self.asks);
        match serde_json::from_slice(&line) {
            Ok(Ask::Follow(Follow { id, folder, known })) => {
                let seen = |(name, offset)| {
                    let seen = Seen {
                        offset,
                        ..Seen::default()
                    };
                    (name, seen)
                };
                let folder = Folder {
                    path: folder,
                    files: known.into_iter().map(seen).collect(),
                    fresh: true,
                };
                self.folders.insert(id, folder);
                self.due.insert(id);
            }
            Ok(Ask::Stop(id)) => {
                self.folders.remove(&id);
                self.due.remove(&id);
            }
            Err(error) => say(&format!(
                "left out a line that is none of following.rs: {}",
                without_content(&error)
            )),
        }
    }

    /// Sends what is new in the folders in which something may be; each has its turn until none has more. Says whether
    /// there was something.
    fn send_due(&mut self) -> io::Result<bool> {
        let mut due = std::mem::take(&mut self.due);
        let mut something = false;
        while !due.is_empty() {
            for id in std::mem::take(&mut due) {
                let Some(mut folder) = self.folders.remove(&id) else {
                    continue;
                };
                let more = self.send_folder(id, &mut folder, &mut something)?;
                if more {
                    due.insert(id);
                } else if std::mem::take(&mut folder.fresh) {
                    let quiet = News {
                        id,
                        quiet: true,
                        ..News::default()
                    };
                    send(&quiet, &[])?;
                }
                self.folders.insert(id, folder);
            }
            // A mirror that has gone, or asks for something else, is heard between two turns.
            if !due.is_empty() && self.open {
                self.wait(false, Duration::ZERO)?;
            }
        }
        Ok(something)
    }

    /// A piece of each file that has more than the mirror; says whether there is still more.
    fn send_folder(
        &mut self,
        id: u64,
        folder: &mut Folder,
        something: &mut bool,
    ) -> io::Result<bool> {
        let root = Path::new(&folder.path).to_owned();
        self.watch(id, &root);
        let mut more = false;
        let mut attempts: Vec<u32> = names(&root)
            .iter()
            .filter_map(|name| attempt_number(name))
            .collect();
        attempts.sort_unstable();
        for attempt in attempts {
            let path = root.join(attempt.to_string());
            self.watch(id, &path);
            // Before the logs are looked at: what was written before the record is then sent before it.
            let record = fs::metadata(path.join(EXIT_RECORD)).ok();
            let mut unsent = false;
            for name in names(&path).iter().filter(|name| is_followed(name)) {
                if name != EXIT_RECORD {
                    let key = format!("{attempt}/{name}");
                    let seen = folder.files.entry(key.clone()).or_default();
                    let (sent, rest) = send_log(id, &key, &path.join(name), seen)?;
                    *something |= sent;
                    unsent |= rest;
                }
            }
            more |= unsent;
            if let (Some(record), false) = (record, unsent) {
                let key = format!("{attempt}/{EXIT_RECORD}");
                let seen = folder.files.entry(key.clone()).or_default();
                *something |= send_record(id, &key, &path.join(EXIT_RECORD), &record, seen)?;
            }
        }
        Ok(more)
    }

    /// Asks to be told of what happens in a folder; while it is not there, of what happens above it.
    fn watch(&mut self, id: u64, folder: &Path) {
        let Some(inotify) = &self.inotify else { return };
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_ONLYDIR;
        let watched = folder
            .ancestors()
            .find_map(|folder| inotify.add_watch(folder, flags).ok());
        if let Some(watched) = watched {
            self.watched.entry(watched).or_default().insert(id);
        }
    }
}

fn stdin() -> BorrowedFd<'static> {
    // SAFETY: standard input is open for the whole life of the program: the runtime opens it if its starter didn't, and
    // nothing here closes it.
    unsafe { BorrowedFd::borrow_raw(libc::STDIN_FILENO) }
}

/// What is in a folder, as far as it can be read; a folder that is not there is empty.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Sends a piece of a log; says whether it did, and whether there is more. What can't be read is looked at again.
fn send_log(id: u64, file: &str, path: &Path, seen: &mut Seen) -> io::Result<(bool, bool)> {
    let Ok(metadata) = fs::metadata(path) else {
        return Ok((false, false));
    };
    let length = metadata.len();
    let other = seen.inode != 0 && seen.inode != metadata.ino();
    let restart = length < seen.offset || other && seen.offset > 0;
    if restart {
        seen.offset = 0;
    }
    seen.inode = metadata.ino();
    if length == seen.offset && !restart {
        return Ok((false, false));
    }
    let mut bytes = vec![0; PIECE.min(usize::try_from(length - seen.offset).unwrap_or(PIECE))];
    let read = File::open(path).and_then(|file| file.read_at(&mut bytes, seen.offset));
    bytes.truncate(read.unwrap_or(0));
    let news = News {
        id,
        file: file.to_owned(),
        offset: seen.offset,
        size: bytes.len() as u64,
        restart,
        quiet: false,
    };
    if bytes.is_empty() && !restart {
        return Ok((false, false));
    }
    send(&news, &bytes)?;
    seen.offset += bytes.len() as u64;
    Ok((true, !bytes.is_empty() && seen.offset < length))
}

/// Sends a record that is new; says whether it did.
fn send_record(
    id: u64,
    file: &str,
    path: &Path,
    metadata: &fs::Metadata,
    seen: &mut Seen,
) -> io::Result<bool> {
    let changed = (metadata.mtime(), metadata.mtime_nsec());
    let known = match seen.inode {
        0 => seen.offset == metadata.len(),
        inode => inode == metadata.ino() && seen.changed == changed,
    };
    let now = Seen {
        inode: metadata.ino(),
        offset: metadata.len(),
        changed,
    };
    if known || metadata.len() > LARGEST_RECORD {
        *seen = now;
        return Ok(false);
    }
    let Ok(bytes) = fs::read(path) else {
        return Ok(false);
    };
    *seen = now;
    let news = News {
        id,
        file: file.to_owned(),
        size: bytes.len() as u64,
        ..News::default()
    };
    send(&news, &bytes)?;
    Ok(true)
}

fn send(news: &News, bytes: &[u8]) -> io::Result<()> {
    let mut frame = serde_json::to_vec(news)?;
    frame.push(b'\n');
    frame.extend_from_slice(bytes);
    let mut output = io::stdout().lock();
    output.write_all(&frame)?;
    output.flush()
}
