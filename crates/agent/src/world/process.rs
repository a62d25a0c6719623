//! The tool that shows stacks: found, started, and pointed at the Python processes of a rank.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mizzen_agent::process_table::pids;
use nix::unistd::{Pid, getsid};

use crate::surroundings::surroundings;

/// A program of the agent's own PATH.
pub(super) fn in_path(name: &str) -> Option<PathBuf> {
    let (_, path) = surroundings().iter().find(|(name, _)| name == b"PATH")?;
    path.split(|byte| *byte == b':')
        .map(|folder| Path::new(OsStr::from_bytes(folder)).join(name))
        .find(|file| nix::unistd::access(file, nix::unistd::AccessFlags::X_OK).is_ok())
}

/// The Python processes of a session: a rank's own, and those that it started.
pub(super) fn pythons_of_session(session: i32) -> Vec<i32> {
    let of_session = |pid: &i32| getsid(Some(Pid::from_raw(*pid))) == Ok(Pid::from_raw(session));
    pids()
        .into_iter()
        .filter(of_session)
        .filter(|pid| {
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| {
                let name = program.file_name().map(|name| name.to_string_lossy());
                name.is_some_and(|name| name.starts_with("python") || name.starts_with("pypy"))
            })
        })
        .collect()
}

/// Starts a tool that writes to a file. Its end is taken where all children's are.
pub(super) fn start(tool: &Path, words: &[String], output: &File) -> Option<i32> {
    let copy = || output.try_clone().map(Stdio::from);
    let child = Command::new(tool)
        .args(words)
        .stdin(Stdio::null())
        .stdout(copy().ok()?)
        .stderr(copy().ok()?)
        .spawn();
    i32::try_from(child.ok()?.id()).ok()
}
