//! The only place that reads the environment, the working directory and the clock: everything else is told by
//! [`Surroundings`].
#![expect(
    clippy::disallowed_methods,
    reason = "the library is told its surroundings; they are read here, once"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use mizzen_core::context::{Agent, Context, RandomIds, SystemClock};
use mizzen_core::model::Timestamp;

use crate::cli::{ColorChoice, GlobalArgs};
use crate::output::Output;
use crate::render::{Page, View};
use crate::report::Report;

/// The agent that this executable carries (`build.rs`).
static AGENT: &[u8] = include_bytes!(env!("MIZZEN_AGENT_EXECUTABLE"));

/// Everything a command may know beside its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// What the library is told.
    pub(crate) context: Context,
    /// Where text goes.
    pub(crate) output: Output,
    /// The whole command line, for the record.
    pub(crate) command_line: Vec<String>,
}

impl Surroundings {
    /// Reads them.
    ///
    /// # Errors
    /// There is no home, no working directory, or one of them is not UTF-8.
    pub(crate) fn read(global: &GlobalArgs, output: Output) -> Result<Surroundings, Report> {
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let workdir = working_directory()?;
        let home = match (
            &global.home,
            environment
                .get("MIZZEN_HOME")
                .filter(|home| !home.is_empty()),
        ) {
            (Some(home), _) => home.clone(),
            (None, Some(home)) => Utf8PathBuf::from(home),
            (None, None) => user_home(&environment)?.join(".mizzen"),
        };
        let agent = match environment
            .get("MIZZEN_AGENT")
            .filter(|path| !path.is_empty())
        {
            Some(path) => Agent::File(workdir.join(path)),
            None => Agent::Embedded(AGENT),
        };
        let context = Context {
            home: clean(&workdir.join(home)),
            host: nix::unistd::gethostname().map_or_else(
                |_| "localhost".to_owned(),
                |name| name.to_string_lossy().into_owned(),
            ),
            user: user_name(&environment),
            workdir,
            environment: Arc::new(environment),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            program: this_program()?,
            agent,
        };
        let command_line = std::env::args_os()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        Ok(Surroundings {
            context,
            output,
            command_line,
        })
    }

    /// Now.
    pub(crate) fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    /// How standard output shows values.
    pub(crate) fn data_view(&self) -> View {
        View {
            page: self.output.data,
            now: self.now(),
        }
    }
}

/// The shell that asks for completions (`COMPLETE=bash mizzen …`), if one does.
pub(crate) fn completion_shell() -> Option<OsString> {
    std::env::var_os("COMPLETE").filter(|shell| !shell.is_empty() && shell != "0")
}

/// The home for completions: as [`Surroundings::read`] finds it, without complaining. `--home` on the line being
/// completed is not known.
pub(crate) fn home_for_completion() -> Option<Utf8PathBuf> {
    let environment: BTreeMap<String, String> = ["MIZZEN_HOME", "HOME"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .collect();
    match environment
        .get("MIZZEN_HOME")
        .filter(|home| !home.is_empty())
    {
        Some(home) => Some(working_directory().ok()?.join(home)),
        None => Some(user_home(&environment).ok()?.join(".mizzen")),
    }
}

/// The working directory.
///
/// # Errors
/// It is gone, or its path is not UTF-8.
pub(crate) fn working_directory() -> Result<Utf8PathBuf, Report> {
    let path = std::env::current_dir().map_err(|error| {
        Report::usage(format!("the working directory can't be read: {error}"))
            .hint("change to a folder that is there")
    })?;
    utf8(path.into_os_string(), "the working directory")
}

/// Now, where no [`Surroundings`] are there yet.
pub(crate) fn now() -> Timestamp {
    use mizzen_core::context::Clock;
    SystemClock.now()
}

/// What the streams can show, from the flags, the environment and the terminals.
pub(crate) fn output(color: ColorChoice, quiet: bool) -> Output {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is = |name: &str, text: &str| std::env::var_os(name).is_some_and(|value| value == text);
    let page = |terminal: bool, width: Option<usize>| Page {
        terminal,
        width: if terminal { width.or(Some(80)) } else { None },
        color: match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            // https://no-color.org, https://bixense.com/clicolors
            ColorChoice::Auto if set("NO_COLOR") => false,
            ColorChoice::Auto if set("CLICOLOR_FORCE") && !is("CLICOLOR_FORCE", "0") => true,
            ColorChoice::Auto => terminal && !is("TERM", "dumb") && !is("CLICOLOR", "0"),
        },
    };
    let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
    Output {
        data: page(stdout.is_terminal(), columns(stdout.as_raw_fd())),
        talk: page(stderr.is_terminal(), columns(stderr.as_raw_fd())),
        quiet,
    }
}

/// The terminal's width.
fn columns(descriptor: i32) -> Option<usize> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one winsize to the pointer that is given, which is valid for the call; on failure it
    // writes nothing (ioctl_tty(2)).
    let answer = unsafe { libc::ioctl(descriptor, libc::TIOCGWINSZ, &raw mut size) };
    (answer == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// The user's home folder.
///
/// # Errors
/// There is none.
pub(crate) fn user_home(environment: &BTreeMap<String, String>) -> Result<Utf8PathBuf, Report> {
    if let Some(home) = environment.get("HOME").filter(|home| !home.is_empty()) {
        return Ok(Utf8PathBuf::from(home));
    }
    let entry = nix::unistd::User::from_uid(nix::unistd::getuid())
        .ok()
        .flatten();
    match entry {
        Some(entry) => utf8(entry.dir.into_os_string(), "the home folder"),
        None => Err(Report::usage(
            "there is no home folder: neither `HOME` nor `MIZZEN_HOME` is set",
        )
        .hint("set MIZZEN_HOME, or use `--home PATH`")),
    }
}

fn user_name(environment: &BTreeMap<String, String>) -> String {
    match nix::unistd::User::from_uid(nix::unistd::getuid()) {
        Ok(Some(entry)) => entry.name,
        _ => environment
            .get("USER")
            .cloned()
            .unwrap_or_else(|| nix::unistd::getuid().to_string()),
    }
}

/// This executable; a package manager may have replaced its file while it runs.
fn this_program() -> Result<Utf8PathBuf, Report> {
    let path = std::env::current_exe().map_err(|error| {
        Report::usage(format!(
            "the path of the `mizzen` executable can't be read: {error}"
        ))
    })?;
    let path = utf8(path.into_os_string(), "the path of the `mizzen` executable")?;
    Ok(path
        .as_str()
        .strip_suffix(" (deleted)")
        .map_or_else(|| path.clone(), Utf8PathBuf::from))
}

fn utf8(text: OsString, what: &str) -> Result<Utf8PathBuf, Report> {
    text.into_string()
        .map(Utf8PathBuf::from)
        .map_err(|text| Report::usage(format!("{what} is not UTF-8: {}", text.to_string_lossy())))
}

/// A path without `.` and with `..` taken back by name. Links are left alone: the home may be reached through one.
fn clean(path: &Utf8Path) -> Utf8PathBuf {
    let mut cleaned = Utf8PathBuf::new();
    for part in path.components() {
        match part {
            camino::Utf8Component::CurDir => {}
            camino::Utf8Component::ParentDir => {
                cleaned.pop();
            }
            other => cleaned.push(other),
        }
    }
    cleaned
}
