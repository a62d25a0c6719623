//! The system calls that neither the standard library nor nix offers in the form needed, each behind a safe function.

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What the agent reads from its signalfd. Everything else that can be blocked is blocked and stays pending for ever.
const WATCHED: [nix::sys::signal::Signal; 8] = {
    use nix::sys::signal::Signal::{
        SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
    };
    [
        SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCONT,
    ]
};

/// A child that ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChildEnd {
    pub(crate) pid: i32,
    pub(crate) how: How,
    pub(crate) usage: Usage,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Code(i32),
    Signal(i32),
}

/// What a process used (wait4(2)'s rusage).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) user_seconds: f64,
    pub(crate) system_seconds: f64,
    pub(crate) peak_memory: u64,
}

impl Usage {
    pub(crate) fn add(&mut self, other: Usage) {
        self.user_seconds += other.user_seconds;
        self.system_seconds += other.system_seconds;
        self.peak_memory = self.peak_memory.max(other.peak_memory);
    }
}

/// What a question after ended children brought.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Waited {
    Ended(ChildEnd),
    /// There are children, none has ended.
    NoneEnded,
    NoChildren,
}

/// Asks, without waiting, for one child that has ended.
pub(crate) fn wait_any() -> Waited {
    let mut status = 0;
    // SAFETY: rusage is a plain struct of integers; all zeroes is a value of it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live locals of the right type, which the kernel fills in.
    let answer = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) };
    match answer {
        0 => Waited::NoneEnded,
        // ECHILD is the only error that wait4(2) has for these arguments.
        ..0 => Waited::NoChildren,
        pid => {
            let how = if libc::WIFSIGNALED(status) {
                How::Signal(libc::WTERMSIG(status))
            } else {
                How::Code(libc::WEXITSTATUS(status))
            };
            Waited::Ended(ChildEnd {
                pid,
                how,
                usage: Usage::from(&usage),
            })
        }
    }
}

/// How a child has ended that [`wait_any`] would take, which it still may.
pub(crate) fn peek() -> Option<How> {
    peek_end().map(|(_, how)| how)
}

/// Which child has ended that [`wait_any`] would take, if it takes this one.
pub(crate) fn peek_pid() -> Option<i32> {
    peek_end().map(|(pid, _)| pid)
}

fn peek_end() -> Option<(i32, How)> {
    // SAFETY: siginfo_t is plain data, all zeroes is a value of it.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the pointer is to a live local, which the kernel fills in.
    let answer = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) };
    // SAFETY: waitid(2) fills in these fields, or leaves them zero if no child has ended.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if answer != 0 || pid == 0 {
        return None;
    }
    let how = match info.si_code {
        libc::CLD_EXITED => How::Code(status),
        _ => How::Signal(status),
    };
    Some((pid, how))
}

impl From<&libc::rusage> for Usage {
    fn from(usage: &libc::rusage) -> Usage {
        #[expect(
            clippy::cast_precision_loss,
            reason = "2^53 seconds are enough for any job"
        )]
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        Usage {
            user_seconds: seconds(usage.ru_utime),
            system_seconds: seconds(usage.ru_stime),
            // Linux gives kibibytes.
            peak_memory: u64::try_from(usage.ru_maxrss)
                .unwrap_or(0)
                .saturating_mul(1024),
        }
    }
}

/// Sends a signal to one process.
pub(crate) fn signal_process(pid: i32, signal: i32) -> Result<(), Errno> {
    debug_assert!(pid > 0, "0 and negative numbers mean groups");
    // SAFETY: kill(2) takes two integers.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Sends a signal to a process group. Pids 0 and 1 as groups would mean "mine" and "everybody": they are refused.
pub(crate) fn signal_group(group: i32, signal: i32) -> Result<(), Errno> {
    if group <= 1 {
        return Err(Errno::EINVAL);
    }
    // SAFETY: kill(2) takes two integers.
    Errno::result(unsafe { libc::kill(-group, signal) }).map(drop)
}

/// Makes this process fit to be an agent: blocks every signal and gives the watched ones to the descriptor that is
/// returned, resets what its starter ignored, closes descriptors that it has no business with, and becomes the parent
/// of every orphan below it. `hand_on`: inherited descriptors are the ranks' (an MPI program speaks to Slurm through one).
pub(crate) fn become_agent(hand_on: bool) -> io::Result<SignalFd> {
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    // Children inherit what is ignored (nohup's SIGHUP, the Rust runtime's SIGPIPE), and an ignored SIGCHLD would
    // let exit statuses vanish. (The C library keeps its own two, 32 and 33, to itself: those stay as they are.) As all signals are blocked, "default" does no harm to the agent itself.
    for signal in 1..=libc::SIGRTMAX() {
        stop_ignoring(signal);
    }
    // The agent may outlive its starter by days: a pipe or a lock that it inherited by accident would live on with it.
    // SAFETY: closes numbers that nothing in this program has opened yet: this runs before anything else does.
    if !hand_on && unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) } != 0 {
        close_one_by_one()?;
    }
    nix::sys::prctl::set_child_subreaper(true)?;
    let watched: SigSet = WATCHED.into_iter().collect();
    Ok(SignalFd::with_flags(
        &watched,
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )?)
}

fn stop_ignoring(signal: i32) {
    // SAFETY: sigaction is plain data, all zeroes is a value of it (SIG_DFL, no flags, an empty mask).
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: asks only; the pointer is to a live local. Numbers that are no signal give an error and leave it as it is.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    if asked == 0 && action.sa_sigaction == libc::SIG_IGN {
        // SAFETY: sets the default disposition, no function is installed.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// For kernels before 5.9, which have no close_range(2).
fn close_one_by_one() -> io::Result<()> {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > 2)
        .collect();
    for descriptor in open {
        // SAFETY: as in `become_agent`: nothing in this program owns these; the folder's own is closed already (EBADF).
        unsafe { libc::close(descriptor) };
    }
    Ok(())
}

/// Opens `/dev/null` for the ranks' standard input.
pub(crate) fn open_null() -> io::Result<OwnedFd> {
    Ok(std::fs::File::open("/dev/null")?.into())
}

/// Sets a file's times to now, making it if it isn't there: the machine that keeps the file says what "now" is.
pub(crate) fn touch(path: &std::path::Path) -> io::Result<()> {
    use nix::sys::stat::{Mode, futimens};
    use nix::sys::time::TimeSpec;
    let flags =
        nix::fcntl::OFlag::O_CREAT | nix::fcntl::OFlag::O_WRONLY | nix::fcntl::OFlag::O_CLOEXEC;
    let file = nix::fcntl::open(path, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
    Ok(futimens(&file, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW)?)
}
