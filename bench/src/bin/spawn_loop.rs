//! The floor under every local launcher: start a program N times, WIDTH at a time, and do nothing else.
//!
//! ```text
//! mizzen-bench-spawn-loop N WIDTH PROGRAM [ARG]…      prints the seconds that it took
//! ```
//!
//! `posix_spawnp(3)` starts a child without copying this process (glibc uses `CLONE_VFORK`), `waitpid(2)` waits for
//! whichever ends first, and its place is taken at once. No log is opened, no directory made, nothing is recorded. A
//! WIDTH of 1 is the floor of a chain: each child starts when the one before it has ended.

use std::ffi::{CString, NulError, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
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
    count: usize,
    width: usize,
    command: Vec<CString>,
}

impl Loop {
    fn from_arguments(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
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
        let mut running = 0;
        let mut started = 0;
        while started < self.count || running > 0 {
            if started < self.count && running < self.width {
                spawn(&pointers)?;
                started += 1;
                running += 1;
            } else {
                wait_for_one()?;
                running -= 1;
            }
        }
        Ok(start.elapsed())
    }
}

/// Starts one child; `pointers` is its NULL-terminated argv, the first of them also its name on PATH.
fn spawn(pointers: &[*mut libc::c_char]) -> io::Result<()> {
    let mut child: libc::pid_t = 0;
    // SAFETY: `pointers` ends with NULL and points at NUL-terminated strings that outlive the call; `environ` is the
    // C library's own and this program has one thread; NULL stands for default file actions and attributes.
    let error = unsafe {
        libc::posix_spawnp(
            &raw mut child,
            pointers[0],
            ptr::null(),
            ptr::null(),
            pointers.as_ptr(),
            environ,
        )
    };
    // posix_spawnp returns the error number, it does not set errno.
    if error == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(error))
    }
}

/// Reaps one child. One that failed is an error: what it was measured doing is not what was asked for.
fn wait_for_one() -> io::Result<()> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the one int that waitpid writes.
    if unsafe { libc::waitpid(-1, &raw mut status, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "a child ended with wait status {status:#x}"
        )))
    }
}
