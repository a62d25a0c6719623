//! The floor under every local launcher: start a program N times, WIDTH at a time, and do nothing else.
//!
//! ```text
//! mizzen-bench-spawn-loop [--files FOLDER] N WIDTH PROGRAM [ARG]…      prints the seconds that it took
//! ```
//!
//! `posix_spawnp(3)` starts a child without copying this process (glibc uses `CLONE_VFORK`), `waitpid(2)` waits for
//! whichever ends first, and its place is taken at once. No log is opened, no directory made, nothing is recorded. A
//! WIDTH of 1 is the floor of a chain: each child starts when the one before it has ended.
//!
//! With `--files` it also keeps for each child the files that mizzen keeps for each job: a folder of its own with
//! `attempts/1` in it, a claim (a symbolic link), a log that is the child's output, and a record of some hundred bytes,
//! written beside its place and renamed. That is the floor under a launcher that keeps these, in one process that
//! decides nothing and stores nothing.

use std::ffi::{CString, NulError, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::ptr;
use std::time::{Duration, Instant};

unsafe extern "C" {
    static environ: *const *mut libc::c_char;
}

fn main() -> ExitCode {
    match measure() {
        Ok(elapsed) => match writeln!(io::stdout(), "{}", elapsed.as_secs_f64()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(message) => {
            // When standard error is closed as well there is nobody left to tell.
            let _ = writeln!(io::stderr(), "error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<Duration, String> {
    let plan = Loop::from_arguments(std::env::args_os().skip(1))?;
    plan.run().map_err(|error| error.to_string())
}

struct Loop {
    files: Option<PathBuf>,
    count: usize,
    width: usize,
    command: Vec<CString>,
}

impl Loop {
    fn from_arguments(arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut arguments = arguments.peekable();
        let mut files = None;
        if arguments.next_if(|first| first == "--files").is_some() {
            files = Some(PathBuf::from(
                arguments.next().ok_or("--files needs a folder")?,
            ));
        }
        let mut number = |name: &str| {
            arguments
                .next()
                .and_then(|text| text.to_str()?.parse().ok())
                .filter(|value: &usize| *value > 0)
                .ok_or_else(|| format!("{name} must be a positive number: N WIDTH PROGRAM [ARG]…"))
        };
        let (count, width) = (number("N")?, number("WIDTH")?);
        let command: Vec<CString> = arguments
            .map(|argument| CString::new(argument.into_vec()))
            .collect::<Result<_, NulError>>()
            .map_err(|error| error.to_string())?;
        if command.is_empty() {
            return Err("PROGRAM is missing: N WIDTH PROGRAM [ARG]…".to_owned());
        }
        Ok(Self {
            files,
            count,
            width,
            command,
        })
    }

    fn run(&self) -> io::Result<Duration> {
        let mut pointers: Vec<*mut libc::c_char> = self
            .command
            .iter()
            .map(|part| part.as_ptr().cast_mut())
            .collect();
        pointers.push(ptr::null_mut());

        let start = Instant::now();
        let mut running: Vec<(libc::pid_t, Option<PathBuf>)> = Vec::with_capacity(self.width);
        let mut started = 0;
        while started < self.count || !running.is_empty() {
            if started < self.count && running.len() < self.width {
                let kept = self
                    .files
                    .as_deref()
                    .map(|folder| keep(folder, started))
                    .transpose()?;
                let (attempt, log) = kept.unzip();
                running.push((spawn(&pointers, log.as_ref())?, attempt));
                started += 1;
            } else {
                let ended = wait_for_one()?;
                let place = running.iter().position(|(pid, _)| *pid == ended);
                let place =
                    place.ok_or_else(|| io::Error::other("a child that was not started here"))?;
                if let (_, Some(attempt)) = running.swap_remove(place) {
                    record(&attempt)?;
                }
            }
        }
        Ok(start.elapsed())
    }
}

/// The folder of one child's attempt, claimed, and its log.
fn keep(folder: &Path, number: usize) -> io::Result<(PathBuf, File)> {
    let mut attempt = folder.join(format!("t-i={number}"));
    fs::create_dir(&attempt)?;
    attempt.push("attempts");
    fs::create_dir(&attempt)?;
    attempt.push("1");
    fs::create_dir(&attempt)?;
    symlink("0123456789ab:12345:1234567:host", attempt.join("agent"))?;
    let mut options = OpenOptions::new();
    let log = options
        .create_new(true)
        .append(true)
        .mode(0o600)
        .open(attempt.join("rank-0.log"))?;
    Ok((attempt, log))
}

/// A record as long as an exit record is.
fn record(attempt: &Path) -> io::Result<()> {
    let (beside, place) = (attempt.join("exit.json.tmp"), attempt.join("exit.json"));
    fs::write(&beside, [b'x'; 500])?;
    fs::rename(beside, place)
}

/// Starts one child; `pointers` is its NULL-terminated argv, the first of them also its name on PATH.
fn spawn(pointers: &[*mut libc::c_char], log: Option<&File>) -> io::Result<libc::pid_t> {
    let mut child: libc::pid_t = 0;
    let mut actions = std::mem::MaybeUninit::<libc::posix_spawn_file_actions_t>::uninit();
    if let Some(log) = log {
        // SAFETY: the actions are initialised by the first call before the others add to them.
        unsafe {
            libc::posix_spawn_file_actions_init(actions.as_mut_ptr());
            libc::posix_spawn_file_actions_adddup2(actions.as_mut_ptr(), log.as_raw_fd(), 1);
            libc::posix_spawn_file_actions_adddup2(actions.as_mut_ptr(), log.as_raw_fd(), 2);
        }
    }
    let file_actions = if log.is_some() {
        actions.as_ptr()
    } else {
        ptr::null()
    };
    // SAFETY: `pointers` ends with NULL and points at NUL-terminated strings that outlive the call; `environ` is the
    // C library's own and this program has one thread; NULL stands for default attributes, and for default file actions
    // where there is no log; else they were initialised above.
    let error = unsafe {
        libc::posix_spawnp(
            &raw mut child,
            pointers[0],
            file_actions,
            ptr::null(),
            pointers.as_ptr(),
            environ,
        )
    };
    if log.is_some() {
        // SAFETY: the actions were initialised above and are not used any more.
        unsafe { libc::posix_spawn_file_actions_destroy(actions.as_mut_ptr()) };
    }
    // posix_spawnp returns the error number, it does not set errno.
    if error == 0 {
        Ok(child)
    } else {
        Err(io::Error::from_raw_os_error(error))
    }
}

/// Reaps one child. One that failed is an error: what it was measured doing is not what was asked for.
fn wait_for_one() -> io::Result<libc::pid_t> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the one int that waitpid writes.
    let ended = unsafe { libc::waitpid(-1, &raw mut status, 0) };
    if ended < 0 {
        return Err(io::Error::last_os_error());
    }
    if status == 0 {
        Ok(ended)
    } else {
        Err(io::Error::other(format!(
            "a child ended with wait status {status:#x}"
        )))
    }
}
