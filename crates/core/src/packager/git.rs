//! The system's git, asked about a repository and never allowed to write into it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use camino::{Utf8Path, Utf8PathBuf};

use super::listing::PackError;
use crate::context::Context;

/// Variables that would lead git elsewhere than to the folder that it is told of.
const LEADING: [&str; 11] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY",
    "GIT_NAMESPACE",
    // These would give paths another meaning.
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
];

/// git in a folder of a repository.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Git<'a> {
    context: &'a Context,
    folder: &'a Path,
}

/// Whether a folder is the top of a repository, a worktree or a submodule: as git itself sees it.
pub(crate) fn is_top(folder: &Path) -> bool {
    let git = folder.join(".git");
    git.is_file() || git.join("HEAD").exists()
}

/// The top of the repository that a folder is in; asks nobody.
pub(crate) fn top(folder: &Utf8Path) -> Option<Utf8PathBuf> {
    folder
        .ancestors()
        .find(|folder| is_top(folder.as_std_path()))
        .map(Utf8Path::to_owned)
}

impl<'a> Git<'a> {
    pub(crate) fn new(context: &'a Context, folder: &'a Path) -> Git<'a> {
        Git { context, folder }
    }

    /// The folder that it is told of.
    pub(crate) fn folder(&self) -> &'a Path {
        self.folder
    }

    /// A command of git's that reads nothing and changes nothing.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command
            .env_clear()
            .envs(self.context.environment.iter())
            // The index is not written back after a look at it.
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C")
            .arg("-C")
            .arg(self.folder)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for name in LEADING {
            command.env_remove(name);
        }
        command
    }

    /// What a command prints.
    ///
    /// # Errors
    /// git is not there, or refuses.
    pub(crate) fn output(&self, arguments: &[&str]) -> Result<Vec<u8>, PackError> {
        let output = self
            .command(arguments)
            .output()
            .map_err(|error| self.absent(&error))?;
        self.answer(arguments, output)
    }

    /// What a command answers that reads its standard input while it writes.
    ///
    /// # Errors
    /// git is not there.
    pub(crate) fn answers(&self, arguments: &[&str], input: &[u8]) -> Result<Output, PackError> {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| self.absent(&error))?;
        let pipe = child.stdin.take();
        std::thread::scope(|scope| {
            // One that ends early is told of by its status.
            scope.spawn(move || pipe.map(|mut pipe| pipe.write_all(input)));
            child.wait_with_output()
        })
        .map_err(|error| PackError::Git(format!("git can't be waited for: {error}")))
    }

    /// What a command that has ended printed.
    ///
    /// # Errors
    /// git refused.
    pub(crate) fn answer(&self, arguments: &[&str], output: Output) -> Result<Vec<u8>, PackError> {
        if output.status.success() {
            return Ok(output.stdout);
        }
        let words = String::from_utf8_lossy(&output.stderr);
        let words: Vec<&str> = words
            .lines()
            .map(|line| line.trim_start_matches("fatal: ").trim())
            .filter(|line| !line.is_empty())
            .collect();
        Err(PackError::Git(format!(
            "git {} in {} ended with {}: {}",
            arguments.first().copied().unwrap_or_default(),
            self.folder.display(),
            output.status,
            words.join("; ")
        )))
    }

    /// git could not be started.
    pub(crate) fn absent(&self, error: &std::io::Error) -> PackError {
        PackError::Git(if error.kind() == std::io::ErrorKind::NotFound {
            format!(
                "{} is in a git repository and the program git is not installed: install it, or use `packager = \"none\"`",
                self.folder.display()
            )
        } else {
            format!("git can't be started: {error}")
        })
    }
}
