//! Sees to it that somebody drives an experiment.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::context::{Context, create_private_dir};
use crate::model::ExperimentId;
use crate::store::{LeaseError, Store, StoreError, lease_name};

/// An experiment can't be driven.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The store can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else drives it.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The supervisor can't be started, or can't go on.
    #[error("the supervisor of {id}: {reason}")]
    Supervisor {
        /// The experiment.
        id: ExperimentId,
        /// Why.
        reason: String,
    },
}

/// The supervisor's own words, in the experiment's folder.
pub(super) const LOG: &str = "supervisor.log";

/// Starts a detached supervisor unless the experiment is over or a living process drives it. Two that are started at
/// once do no harm: the lease lets one of them go on. Answers whether one was started.
///
/// # Errors
/// The store can't be read, or the process can't be started.
pub fn ensure_supervised(
    context: &Context,
    store: &Store,
    id: &ExperimentId,
) -> Result<bool, WatchError> {
    let summary = store.summary(id)?;
    // History is never driven, whatever its archive says of it.
    if summary.is_over() || store.imported(id)?.is_some() {
        return Ok(false);
    }
    let lease = store.lease(&lease_name(id))?;
    if lease.is_some_and(|lease| lease.is_live(context.clock.now())) {
        return Ok(false);
    }
    let failed = |reason: String| WatchError::Supervisor {
        id: id.clone(),
        reason,
    };
    if !store.path().exists() {
        // What an open database can still be asked is no reason to make a home again that somebody removed.
        return Err(failed(format!("{} is gone", store.path())));
    }
    let dir = context.experiment_dir(&summary.title, id);
    create_private_dir(&dir).map_err(|error| failed(error.to_string()))?;
    let path = dir.join(LOG);
    let log = {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        options
            .open(&path)
            .map_err(|error| failed(format!("can't write {path}: {error}")))?
    };
    let errors = log.try_clone().map_err(|error| failed(error.to_string()))?;
    let mut command = Command::new(&context.program);
    command
        .args(["supervise", id.as_str()])
        .env_clear()
        .envs(context.environment.iter())
        .env("MIZZEN_HOME", &context.home)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::from(log))
        .stderr(Stdio::from(errors));
    // SAFETY: fork(2), _exit(2) and setsid(2) are async-signal-safe, and this is the only thread of a process that is about
    // to become another program.
    unsafe {
        command.pre_exec(|| {
            // A grandchild: whoever started it, perhaps a notebook that lives for days, is not its parent, so that nobody here
            // has to wait for it.
            match libc::fork() {
                -1 => return Err(std::io::Error::last_os_error()),
                0 => {}
                _ => libc::_exit(0),
            }
            // Out of the terminal's session: neither its Ctrl-C nor its end reaches the supervisor.
            nix::unistd::setsid()
                .map(drop)
                .map_err(std::io::Error::from)
        });
    }
    command
        .spawn()
        .and_then(|mut between| between.wait())
        .map_err(|error| failed(format!("can't start {}: {error}", context.program)))?;
    Ok(true)
}

/// What the last supervisor of the experiment in this folder said last: why nobody drives it, where supervisors keep
/// ending.
#[must_use]
pub fn last_words(experiment_dir: &camino::Utf8Path) -> Option<String> {
    let log = std::fs::read(experiment_dir.join(LOG)).ok()?;
    let log = String::from_utf8_lossy(&log);
    log.lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .map(str::to_owned)
}
