//! The commands, one file each: the arguments, whose doc comments are the help, and a `run` that answers with a value.

pub(crate) mod cancel;
pub(crate) mod completions;
pub(crate) mod devspace;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod executors;
pub(crate) mod gc;
pub(crate) mod get;
pub(crate) mod import_nemo;
pub(crate) mod launch;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod plan;
pub(crate) mod repro;
pub(crate) mod retry;
pub(crate) mod rm;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod shell;
pub(crate) mod show;
pub(crate) mod status;
pub(crate) mod supervise;
pub(crate) mod tunnel;
pub(crate) mod wait;
