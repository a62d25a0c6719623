//! What the signal that ended a program says about the reason.

use super::WhyKind;

/// Kind and words for a signal.
pub(super) fn meaning(signal: i32) -> (WhyKind, &'static str) {
    // The numbers are those of Linux on x86 and ARM; records are read everywhere.
    match signal {
        1 => (WhyKind::Terminated, "ended by SIGHUP"),
        2 => (WhyKind::Interrupted, "interrupted by SIGINT"),
        3 => (WhyKind::Terminated, "ended by SIGQUIT"),
        4 => (WhyKind::IllegalInstruction, "illegal instruction"),
        5 => (WhyKind::Fault, "stopped at a trap (SIGTRAP)"),
        6 => (WhyKind::Aborted, "aborted (SIGABRT)"),
        7 => (WhyKind::BusError, "bus error"),
        8 => (WhyKind::Fault, "arithmetic error (SIGFPE)"),
        9 => (WhyKind::Killed, "killed by SIGKILL"),
        10 => (
            WhyKind::Terminated,
            "ended by SIGUSR1, which it did not handle",
        ),
        11 => (WhyKind::SegmentationFault, "segmentation fault"),
        12 => (
            WhyKind::Terminated,
            "ended by SIGUSR2, which it did not handle",
        ),
        13 => (
            WhyKind::PeerLost,
            "wrote to a pipe or socket that nobody read any more (SIGPIPE)",
        ),
        14 => (
            WhyKind::Terminated,
            "ended by SIGALRM, which it did not handle",
        ),
        15 => (WhyKind::Terminated, "ended by SIGTERM"),
        24 => (
            WhyKind::TimeLimit,
            "its limit of processor time was over (SIGXCPU)",
        ),
        25 => (
            WhyKind::QuotaExceeded,
            "a file would be larger than is allowed (SIGXFSZ)",
        ),
        31 => (
            WhyKind::Fault,
            "made a system call that is forbidden here (SIGSYS)",
        ),
        _ => (WhyKind::Fault, "ended by a signal"),
    }
}

/// A signal of a fault of the program's own: nothing that it wrote before explains more.
pub(super) const fn is_fault(signal: i32) -> bool {
    matches!(signal, 4 | 7 | 8 | 11)
}

/// A signal by which somebody ends a program: it says nothing of what was wrong before.
pub(super) const fn is_told(signal: i32) -> bool {
    matches!(signal, 1 | 2 | 3 | 9 | 10 | 12 | 14 | 15)
}

/// The signal that a shell or launcher reports in an exit status.
pub(super) const fn of_status(status: i32) -> Option<i32> {
    if status > 128 && status <= 128 + 31 {
        Some(status - 128)
    } else {
        None
    }
}
