//! What somebody at a terminal wants from a place: a value, which an executor makes a command of.

use crate::model::Env;

/// A session at somebody's terminal, with an executor's settings.
#[derive(Debug, Clone)]
pub struct Interactive<'a> {
    /// What the place calls the session.
    pub name: &'a str,
    /// The command for the nodes; empty for a shell.
    pub command: &'a [String],
    /// Ask for nodes only, and give a shell (or run the command) where jobs are submitted, from which steps are started.
    pub allocate: bool,
    /// Input and output are a terminal.
    pub terminal: bool,
    /// Variables on top of the executor's own.
    pub env: &'a Env,
    /// The folder to work in; without it, the place's usual one.
    pub workdir: Option<&'a str>,
}
