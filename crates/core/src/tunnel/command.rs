//! A command as a value: what is to run, with what, where.
//!
//! Text for a shell is made by [`quote`] alone. Any text without NUL arrives unchanged.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::time::Duration;

use camino::Utf8PathBuf;

use super::TunnelError;

/// A command. Its `Display` is the line that a shell would take; standard input is not shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cmd {
    /// The program and its arguments; a program without `/` is looked for on the other side's `PATH`.
    pub argv: Vec<String>,
    /// Variables on top of those that the other side gives.
    pub env: BTreeMap<String, String>,
    /// The working directory; `None` is the home folder on another machine, ours on this one.
    pub cwd: Option<Utf8PathBuf>,
    /// What it reads.
    pub stdin: Vec<u8>,
    /// It is ended after this time.
    pub timeout: Option<Duration>,
}

impl Cmd {
    /// A program and its arguments.
    pub fn new<T: Into<String>>(argv: impl IntoIterator<Item = T>) -> Cmd {
        Cmd {
            argv: argv.into_iter().map(Into::into).collect(),
            ..Cmd::default()
        }
    }

    /// A script for `sh`, with arguments that it finds as `$1` and so on. What varies belongs into the arguments.
    pub fn script<T: Into<String>>(script: &str, arguments: impl IntoIterator<Item = T>) -> Cmd {
        let head = ["sh", "-c", script, "sh"].map(str::to_owned);
        Cmd::new(
            head.into_iter()
                .chain(arguments.into_iter().map(Into::into)),
        )
    }

    /// With a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Cmd {
        self.env.insert(name.into(), value.into());
        self
    }

    /// In a folder.
    #[must_use]
    pub fn cwd(mut self, folder: impl Into<Utf8PathBuf>) -> Cmd {
        self.cwd = Some(folder.into());
        self
    }

    /// With something to read.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Cmd {
        self.stdin = bytes.into();
        self
    }

    /// For a time.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Cmd {
        self.timeout = Some(timeout);
        self
    }

    /// Whether it can be run at all.
    ///
    /// # Errors
    /// There is no program, a text holds NUL, the name of a variable is none for a shell, or the program's name would be
    /// taken for an option.
    pub(super) fn check(&self) -> Result<(), TunnelError> {
        let refuse = |reason: &str| Err(TunnelError::Unsendable(reason.to_owned()));
        let Some(program) = self.argv.first() else {
            return refuse("the command is empty");
        };
        if program.is_empty() || (program.starts_with('-') && !program.contains('/')) {
            return refuse("the program's name is empty or begins with `-`");
        }
        let texts = self.argv.iter().chain(self.env.values());
        let cwd = self.cwd.as_ref().map(|folder| folder.as_str());
        if texts
            .map(String::as_str)
            .chain(cwd)
            .any(|text| text.contains('\0'))
        {
            return refuse("a text holds a NUL byte");
        }
        if cwd == Some("") {
            return refuse("the working directory has no name");
        }
        match self.env.keys().find(|name| !is_variable(name)) {
            Some(name) => refuse(&format!("{name:?} is no name for a variable")),
            None => Ok(()),
        }
    }

    /// The command as texts that are no options: a relative path that begins with `-` gets `./` before it.
    pub(super) fn program(&self) -> Option<Cow<'_, str>> {
        self.argv.first().map(|program| plain_path(program))
    }
}

impl Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(folder) = &self.cwd {
            write!(f, "cd {} && ", quote(&plain_path(folder.as_str())))?;
        }
        for (name, value) in &self.env {
            write!(f, "{name}={} ", quote(value))?;
        }
        let words: Vec<String> = self.argv.iter().map(|word| quote(word)).collect();
        f.write_str(&words.join(" "))
    }
}

/// A text as one word of a POSIX shell. NUL, which no shell can hold, is left out: [`Cmd::check`] refuses it before.
#[must_use]
pub fn quote(text: &str) -> String {
    let text = if text.contains('\0') {
        Cow::Owned(text.replace('\0', ""))
    } else {
        Cow::Borrowed(text)
    };
    match shlex::try_quote(&text) {
        Ok(quoted) => quoted.into_owned(),
        Err(error) => unreachable!("only NUL can't be quoted: {error}"),
    }
}

/// A path that no program takes for an option.
pub(super) fn plain_path(path: &str) -> Cow<'_, str> {
    if path.starts_with('-') {
        Cow::Owned(format!("./{path}"))
    } else {
        Cow::Borrowed(path)
    }
}

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_a_shell_would_take_it() {
        let command = Cmd::new(["echo", "it's", "", "a b", "$x", "line\nline"])
            .env("NAME", "a value")
            .cwd("-odd folder");
        assert_eq!(
            command.to_string(),
            "cd './-odd folder' && NAME='a value' echo \"it's\" '' 'a b' '$x' 'line\nline'"
        );
    }

    #[test]
    fn what_cant_be_run_is_refused() {
        let refused = [
            Cmd::default(),
            Cmd::new([""]),
            Cmd::new(["-x"]),
            Cmd::new(["echo", "a\0b"]),
            Cmd::new(["echo"]).env("A", "\0"),
            Cmd::new(["echo"]).env("A-B", "x"),
            Cmd::new(["echo"]).env("", "x"),
            Cmd::new(["echo"]).cwd("\0"),
            Cmd::new(["echo"]).cwd(""),
        ];
        for command in refused {
            assert!(
                matches!(command.check(), Err(TunnelError::Unsendable(_))),
                "{command:?}"
            );
        }
        assert!(Cmd::new(["-dir/program"]).check().is_ok());
    }
}
