//! Signals as something to look at: an attached client decides what a Ctrl-C means.
//!
//! The signals are blocked and read from a signalfd(2); nothing runs in a handler. Children do not inherit this: the
//! standard library starts them with an empty mask. A signal that was ignored when we were started (nohup, a background
//! job of a script) stays ignored.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals that an attached client looks at.
const WATCHED: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Watches for signals from its making until it is dropped.
#[derive(Debug)]
pub(crate) struct Signals {
    descriptor: SignalFd,
    watched: SigSet,
}

impl Signals {
    /// Starts watching. Must be called before any other thread is started.
    ///
    /// # Errors
    /// As signalfd(2).
    pub(crate) fn watch() -> std::io::Result<Signals> {
        let ignored = ignored_signals();
        let mut watched = SigSet::empty();
        for signal in WATCHED
            .into_iter()
            .filter(|signal| ignored & (1 << (*signal as u32 - 1)) == 0)
        {
            watched.add(signal);
        }
        watched.thread_block()?;
        let descriptor =
            SignalFd::with_flags(&watched, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Signals {
            descriptor,
            watched,
        })
    }

    /// The next signal that has arrived, if one has.
    pub(crate) fn next(&self) -> Option<Signal> {
        let info = self.descriptor.read_signal().ok().flatten()?;
        Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = self.watched.thread_unblock();
    }
}

/// The mask of ignored signals, from proc(5)'s `SigIgn`; none where that can't be read.
fn ignored_signals() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
