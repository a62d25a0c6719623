//! Orders to end a job that stand in its attempt's folder: for an agent with no channel, in a container or beside one.
//!
//! ```text
//! end.json appears (inotify) ─┐
//! SIGTERM                     ├▶ read it ─▶ why the job ends, and how
//! the heartbeat               ┘
//! ```
//!
//! Not every file system tells what others write to it: a signal always arrives, and the heartbeat is the net under both.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use mizzen_agent::protocol::{END_FILE, EndHow, EndOrder, Job};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::clock::now_micros;

/// Where orders come from.
#[derive(Debug)]
pub(crate) struct Orders {
    file: PathBuf,
    told: Option<Inotify>,
    /// The one that was obeyed.
    obeyed: Option<EndOrder>,
}

impl Orders {
    /// Those for a job, by the folder of its first member.
    pub(crate) fn of(job: &Job) -> Option<Orders> {
        let folder = Path::new(&job.members.first()?.attempt_dir);
        let told = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok();
        let flags = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE;
        let told = told.filter(|told| told.add_watch(folder, flags).is_ok());
        Some(Orders {
            file: folder.join(END_FILE),
            told,
            obeyed: None,
        })
    }

    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.told.as_ref().map(|told| told.as_fd())
    }

    /// Takes in that something was written, whatever it was.
    pub(crate) fn drain(&self) {
        if let Some(told) = &self.told {
            while told.read_events().is_ok_and(|events| !events.is_empty()) {}
        }
    }

    /// An order that was not obeyed yet. A half-written one comes again.
    pub(crate) fn take(&mut self) -> Option<EndOrder> {
        let order: EndOrder = serde_json::from_slice(&fs::read(&self.file).ok()?).ok()?;
        if self.obeyed == Some(order) {
            return None;
        }
        self.obeyed = Some(order);
        Some(order)
    }

    /// There was an order, and the job knows of it.
    pub(crate) fn was_obeyed(&self) -> bool {
        self.obeyed.is_some()
    }
}

/// Tells the agents of a group's other members to end. One that has ended, or has no folder yet, needs no order.
pub(crate) fn tell_peers(peers: &[String], how: EndHow) {
    let order = EndOrder {
        how,
        immediately: false,
    };
    let Ok(text) = serde_json::to_vec(&order) else {
        return;
    };
    for folder in peers {
        let folder = Path::new(folder);
        // Each container's agent is its process 1: the number alone would be everybody's.
        let draft = format!("{END_FILE}.{}-{}", std::process::id(), now_micros());
        let draft = folder.join(draft);
        // Whoever was first has told why; and what can't be told here shows when this container has ended.
        if folder.join(END_FILE).exists() {
            continue;
        }
        if write(&draft, &text).is_ok() {
            let _ = fs::rename(&draft, folder.join(END_FILE));
        }
    }
}

fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?
        .write_all(text)
}
