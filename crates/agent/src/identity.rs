//! Who an agent is, whether it still lives, and how to end what a killed agent left behind.
//!
//! ```text
//! claim (symlink) ── Identity::from_text ──▶ is_alive ──▶ true: leave it alone
//!                                                    ├──▶ not known (None): leave it alone as well
//!                                                    └──▶ false ── sweep(key) ──▶ nothing of the job is left
//! ```
//!
//! The ranks of a killed agent die with it (`PR_SET_PDEATHSIG`), but what they had started may live on. Such processes
//! are found by the submission key in their environment.
//!
//! Pitfalls: a process that overwrote its environment (some daemons put their title there), that cleared it, or that
//! runs as another user can't be found. A pid means something only within its pid namespace: the boot text of an agent
//! inside a container therefore carries the namespace's number behind an `@`.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::process_table::{ProcessStat, pids};
use crate::protocol::{Identity, KEY_VARIABLE};

/// The initial pid namespace's inode number (`PROC_PID_INIT_INO` of the kernel's `proc_ns.h`).
const INITIAL_PID_NAMESPACE: &str = "4026531836";
/// How long [`sweep`] goes on killing before it reports what is left.
const KILLING: Duration = Duration::from_secs(10);
/// How often [`sweep`] looks again while it kills, or where the kernel can't tell it that a process ended.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Identity {
    /// This process's identity.
    ///
    /// # Errors
    /// What reading `/proc` or the machine's name gave.
    pub fn of_self() -> io::Result<Identity> {
        let pid = i32::try_from(std::process::id()).map_err(io::Error::other)?;
        let stat = ProcessStat::read(pid)
            .ok_or_else(|| io::Error::other("/proc holds no entry of this process"))?;
        Ok(Identity {
            host: host_name()?,
            boot: boot_text()?,
            pid,
            start: stat.start,
        })
    }

    /// Whether that process still runs. `None` when this can't be known from here: it is on another machine, in
    /// another pid namespace, or hidden from this user.
    #[must_use]
    pub fn is_alive(&self) -> Option<bool> {
        if host_name().ok()? != self.host {
            return None;
        }
        let here = boot_text().ok()?;
        if split_boot(&here).0 != split_boot(&self.boot).0 {
            return Some(false);
        }
        if here != self.boot {
            return None;
        }
        if let Some(stat) = ProcessStat::read(self.pid) {
            return Some(stat.start == self.start && !stat.is_dead());
        }
        // No entry may also mean that /proc hides other users' processes (hidepid): only kill(2) tells these apart.
        match send(self.pid, None, 0) {
            Err(Errno::ESRCH) => Some(false),
            _ => None,
        }
    }
}

/// The processes of this user whose environment holds the submission key, this process left out.
#[must_use]
pub fn find_by_key(key: &str) -> Vec<i32> {
    let user = nix::unistd::geteuid().as_raw();
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    pids()
        .into_iter()
        .filter(|pid| *pid != own)
        .filter(|pid| fs::metadata(format!("/proc/{pid}")).is_ok_and(|entry| entry.uid() == user))
        .filter(|pid| has_key(*pid, key))
        .collect()
}

/// What [`sweep`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// How many processes it had to signal.
    pub signalled: u32,
    /// What could not be ended: in an uninterruptible sleep, or forking faster than it could be killed.
    pub left: Vec<i32>,
}

/// Ends every process of this user whose environment holds the submission key: SIGTERM, after `grace` SIGKILL.
/// Returns as soon as none is left, and at the latest some ten seconds after `grace`. Only for a job whose agent is
/// known to be dead: a living agent does this by itself.
#[must_use]
pub fn sweep(key: &str, grace: Duration) -> Swept {
    let kill_at = Instant::now() + grace;
    let give_up_at = kill_at + KILLING;
    let mut signalled = HashSet::new();
    loop {
        let found: Vec<Found> = find_by_key(key)
            .into_iter()
            .filter_map(|pid| Found::hold(pid, key))
            .collect();
        let now = Instant::now();
        if found.is_empty() || now >= give_up_at {
            return Swept {
                signalled: u32::try_from(signalled.len()).unwrap_or(u32::MAX),
                left: found.iter().map(|process| process.pid).collect(),
            };
        }
        for process in &found {
            let first_time = signalled.insert((process.pid, process.start));
            if now >= kill_at {
                process.signal(libc::SIGKILL);
            } else if first_time {
                process.signal(libc::SIGTERM);
                // A stopped process takes no SIGTERM before it goes on.
                process.signal(libc::SIGCONT);
            }
        }
        let until = if now >= kill_at {
            now + LOOK_AGAIN
        } else {
            kill_at
        };
        wait_for_an_end(&found, until.saturating_duration_since(now));
    }
}

/// A process held by its pidfd, so that a signal can't reach a later owner of its number.
struct Found {
    pid: i32,
    start: u64,
    /// `None` on kernels before 5.3, which have no pidfd_open(2).
    handle: Option<OwnedFd>,
}

impl Found {
    /// Opens the handle first and looks at the key afterwards: what has the key then is what the handle names.
    fn hold(pid: i32, key: &str) -> Option<Found> {
        let handle = pidfd_open(pid);
        let stat = ProcessStat::read(pid)?;
        (!stat.is_dead() && has_key(pid, key)).then_some(Found {
            pid,
            start: stat.start,
            handle,
        })
    }

    /// Errors are left aside: the process has ended, or can't be signalled and will be reported as left.
    fn signal(&self, signal: i32) {
        let _ = send(self.pid, self.handle.as_ref(), signal);
    }
}

fn has_key(pid: i32, key: &str) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else {
        return false;
    };
    environment.split(|byte| *byte == 0).any(|entry| {
        entry
            .strip_prefix(KEY_VARIABLE.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="))
            .is_some_and(|value| value == key.as_bytes())
    })
}

/// Returns when one of the processes ended or the time is over.
fn wait_for_an_end(found: &[Found], limit: Duration) {
    let mut handles: Vec<PollFd<'_>> = found
        .iter()
        .filter_map(|process| process.handle.as_ref())
        .map(|handle| PollFd::new(handle.as_fd(), PollFlags::POLLIN))
        .collect();
    let limit = if handles.len() < found.len() {
        limit.min(LOOK_AGAIN)
    } else {
        limit
    };
    // Rounded up: a wait of 0 ms for a rest of 0.4 ms would be a busy loop.
    let milliseconds = u16::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
    // An interrupted wait is as good as a short one: the caller looks again.
    let _ = nix::poll::poll(&mut handles, PollTimeout::from(milliseconds));
}

fn host_name() -> io::Result<String> {
    Ok(nix::unistd::gethostname()?.to_string_lossy().into_owned())
}

/// The first digits of the boot id: enough to tell boots apart, and short enough that a claim's text fits into an inode
/// (59 bytes on ext4), which makes it a cheap file.
const BOOT_DIGITS: usize = 12;

/// The boot id's first digits, with `@<namespace>` behind it unless this is the initial pid namespace.
fn boot_text() -> io::Result<String> {
    let boot: String = fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(BOOT_DIGITS)
        .collect();
    // The link reads `pid:[4026531836]`.
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let namespace: String = link
        .to_string_lossy()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    Ok(
        if namespace.is_empty() || namespace == INITIAL_PID_NAMESPACE {
            boot
        } else {
            format!("{boot}@{namespace}")
        },
    )
}

fn split_boot(text: &str) -> (&str, &str) {
    text.split_once('@').unwrap_or((text, ""))
}

#[cfg(target_os = "linux")]
fn pidfd_open(pid: i32) -> Option<OwnedFd> {
    // SAFETY: pidfd_open(2) takes two integers and returns a new descriptor or -1; it touches no memory of ours.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let descriptor = i32::try_from(descriptor)
        .ok()
        .filter(|descriptor| *descriptor >= 0)?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(target_os = "linux")]
fn send(pid: i32, handle: Option<&OwnedFd>, signal: i32) -> Result<(), Errno> {
    let answer = match handle {
        // SAFETY: pidfd_send_signal(2) with a null siginfo reads no memory of ours.
        Some(handle) => unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                handle.as_raw_fd(),
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        },
        // SAFETY: kill(2) takes two integers.
        None => unsafe { libc::c_long::from(libc::kill(pid, signal)) },
    };
    Errno::result(answer).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn pidfd_open(_pid: i32) -> Option<OwnedFd> {
    None
}

#[cfg(not(target_os = "linux"))]
fn send(_pid: i32, _handle: Option<&OwnedFd>, _signal: i32) -> Result<(), Errno> {
    Err(Errno::ENOSYS)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_claim_reads_back() {
        let own = Identity::of_self().unwrap();
        assert_eq!(Identity::from_text(&own.to_text()), Some(own));
        let odd = Identity {
            host: "a:b".to_owned(),
            boot: "x@1".to_owned(),
            pid: 1,
            start: 2,
        };
        assert_eq!(Identity::from_text(&odd.to_text()), Some(odd));
        assert_eq!(Identity::from_text("nonsense"), None);
    }

    #[test]
    fn alive_is_a_matter_of_host_boot_pid_and_start() {
        let own = Identity::of_self().unwrap();
        assert_eq!(own.is_alive(), Some(true));
        assert_eq!(
            Identity {
                host: "elsewhere.invalid".to_owned(),
                ..own.clone()
            }
            .is_alive(),
            None
        );
        assert_eq!(
            Identity {
                boot: "another".to_owned(),
                ..own.clone()
            }
            .is_alive(),
            Some(false)
        );
        assert_eq!(
            Identity {
                start: own.start + 1,
                ..own.clone()
            }
            .is_alive(),
            Some(false)
        );
        // One above the kernel's highest possible pid.
        assert_eq!(
            Identity {
                pid: (1 << 22) + 1,
                ..own.clone()
            }
            .is_alive(),
            Some(false)
        );
        let other_namespace = format!("{}@1", split_boot(&own.boot).0);
        assert_eq!(
            Identity {
                boot: other_namespace,
                ..own
            }
            .is_alive(),
            None
        );
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let own = Identity::of_self().unwrap();
        let identity = Identity {
            pid,
            start: ProcessStat::read(pid).unwrap().start,
            ..own
        };
        let found = Found {
            pid,
            start: identity.start,
            handle: pidfd_open(pid),
        };
        wait_for_an_end(std::slice::from_ref(&found), Duration::from_secs(10));
        assert_eq!(identity.is_alive(), Some(false));
        child.wait().unwrap();
    }
}
