//! `mizzen doctor`: what would keep jobs from running, and what to do about it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;
use mizzen_core::context::Context;
use mizzen_core::executor;
use mizzen_core::plan::ExecutorConfig;
use mizzen_core::store::Store;

use super::executors::configured;
use crate::complete;
use crate::render::documents::{
    CheckDocument, CheckStatus, ConfiguredExecutor, DoctorDocument, Layout, json,
};
use crate::render::text::{bytes, printable};
use crate::render::{Outcome, Page, Show, View, style};
use crate::report::{Report, Status};
use crate::surroundings::Surroundings;

/// With less free space than this in the home, logs will soon not fit.
const LITTLE_SPACE: u64 = 1 << 30;

/// The programs that mizzen runs, and what for.
const TOOLS: [(&str, &str); 6] = [
    (
        "git",
        "to find what code a job ran, and for the git packager",
    ),
    (
        "python3",
        "for tasks with `module`, and for Python callables",
    ),
    ("bash", "for inline scripts without a `#!` line"),
    ("ssh", "for executors on other machines"),
    ("rsync", "for executors on other machines"),
    ("nvidia-smi", "to count this machine's GPUs"),
];

/// Checks the home, the tools and the executors, and says what to do
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Check this executor only
    #[arg(value_name = "EXECUTOR", add = complete::executors())]
    executor: Option<String>,
    /// Print JSON (schema: `mizzen schema doctor`)
    #[arg(long)]
    json: bool,
}

/// Checks; fails if a check failed.
///
/// # Errors
/// There is no such executor.
pub(crate) fn run(args: DoctorArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let context = &surroundings.context;
    let mut checks = Vec::new();
    if args.executor.is_none() {
        checks.extend(home(context));
        checks.push(database(context));
        checks.push(agent(context));
        checks.extend(
            TOOLS
                .iter()
                .map(|(program, purpose)| tool(program, purpose, context)),
        );
    }
    match (configured(surroundings), &args.executor) {
        (Ok(document), None) => checks.extend(
            document
                .configured
                .iter()
                .flat_map(|found| place(found, context)),
        ),
        (Ok(document), Some(name)) => {
            let found = document
                .configured
                .iter()
                .find(|executor| executor.name == *name);
            let found = found.ok_or_else(|| {
                Report::usage(format!("there is no executor `{name}`"))
                    .hint("`mizzen executors` lists them")
            })?;
            checks.extend(place(found, context));
        }
        (Err(report), Some(_)) => return Err(report),
        (Err(report), None) => {
            report.show(&surroundings.output);
            checks.push(failed(
                "executors",
                "their configuration is wrong",
                "correct the files named above",
            ));
        }
    }
    let ok = checks
        .iter()
        .all(|check| check.status != CheckStatus::Failed);
    let status = if ok {
        Status::Succeeded
    } else {
        Status::Failed
    };
    Ok(Outcome::show(Findings(DoctorDocument { ok, checks }), args.json).with_status(status))
}

fn fine(name: &str, detail: impl Into<String>) -> CheckDocument {
    CheckDocument {
        name: name.to_owned(),
        status: CheckStatus::Ok,
        detail: detail.into(),
        hint: None,
    }
}

fn warning(name: &str, detail: impl Into<String>, hint: impl Into<String>) -> CheckDocument {
    CheckDocument {
        status: CheckStatus::Warning,
        hint: Some(hint.into()),
        ..fine(name, detail)
    }
}

fn failed(name: &str, detail: impl Into<String>, hint: impl Into<String>) -> CheckDocument {
    CheckDocument {
        status: CheckStatus::Failed,
        hint: Some(hint.into()),
        ..fine(name, detail)
    }
}

fn home(context: &Context) -> Vec<CheckDocument> {
    let home = &context.home;
    let Ok(found) = fs_err::metadata(home) else {
        let parent = home
            .ancestors()
            .find(|folder| folder.exists())
            .unwrap_or(Utf8Path::new("/"));
        return vec![match writable(parent) {
            Ok(()) => fine(
                "home",
                format!("{home} will be made by the first experiment"),
            ),
            Err(error) => failed(
                "home",
                format!("{home} can't be made: {error}"),
                "set MIZZEN_HOME to a folder of yours",
            ),
        }];
    };
    if !found.is_dir() {
        return vec![failed(
            "home",
            format!("{home} is no folder"),
            "move it away, or set MIZZEN_HOME",
        )];
    }
    let mut checks = Vec::new();
    let mode = found.permissions().mode() & 0o777;
    let mine = found.uid() == nix::unistd::geteuid().as_raw();
    checks.push(match writable(home) {
        Err(error) => failed(
            "home",
            format!("{home} can't be written: {error}"),
            "give yourself the right to write there, or set MIZZEN_HOME",
        ),
        Ok(()) if !mine => warning(
            "home",
            format!("{home} belongs to somebody else"),
            "set MIZZEN_HOME to a folder of yours",
        ),
        Ok(()) if mode & 0o077 != 0 => warning(
            "home",
            format!("{home} is open to others (mode {mode:o})"),
            format!("chmod 700 {}", super::show::shell_line(&[home.to_string()])),
        ),
        Ok(()) => fine("home", home.as_str()),
    });
    checks.push(match nix::sys::statvfs::statvfs(home.as_std_path()) {
        Ok(space) => {
            let free = space.blocks_available() * space.fragment_size();
            let detail = format!("{} free", bytes(free));
            if free < LITTLE_SPACE {
                warning("disk", detail, "logs may soon not fit: `mizzen rm EXPERIMENT` frees space, or set MIZZEN_HOME to another disk")
            } else {
                fine("disk", detail)
            }
        }
        Err(error) => warning("disk", format!("its free space can't be read: {error}"), "look with `df`"),
    });
    checks
}

/// Whether a file can be made there: permissions alone don't tell of read-only disks and quotas.
fn writable(folder: &Utf8Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".mizzen-doctor-{}", std::process::id()));
    fs_err::write(&probe, b"x")
        .and_then(|()| fs_err::remove_file(&probe))
        .map_err(|error| {
            std::error::Error::source(&error).map_or_else(
                || error.kind().into(),
                |source| std::io::Error::other(source.to_string()),
            )
        })
}

fn database(context: &Context) -> CheckDocument {
    let checked = Store::open_existing(&context.home).and_then(|store| match store {
        None => Ok(None),
        Some(store) => store.check().map(|()| Some(store)),
    });
    match checked {
        Ok(None) => fine("database", "none yet; the first experiment makes it"),
        Ok(Some(store)) => fine("database", format!("{} is sound", store.path())),
        Err(error) => {
            let hint = error
                .hint()
                .unwrap_or_else(|| "use another home: MIZZEN_HOME".to_owned());
            failed("database", error.to_string(), hint)
        }
    }
}

fn agent(context: &Context) -> CheckDocument {
    let hint = "the agent must run on this machine; MIZZEN_AGENT names another executable of it";
    // It is written into a folder of its own if the home is not there yet: a check leaves nothing behind.
    let temporary = (!context.home.exists())
        .then(|| std::env::temp_dir().join(format!("mizzen-doctor-{}", std::process::id())));
    let home = match temporary
        .as_ref()
        .and_then(|path| Utf8PathBuf::from_path_buf(path.clone()).ok())
    {
        Some(temporary) => temporary,
        None => context.home.clone(),
    };
    let answer = context.agent.path(&home).and_then(|path| {
        let output = Command::new(&path)
            .arg("--version")
            .stdin(Stdio::null())
            .output()?;
        Ok((path, output))
    });
    if let Some(temporary) = temporary {
        let _ = fs_err::remove_dir_all(temporary);
    }
    match answer {
        Ok((_, output)) if output.status.success() => fine(
            "agent",
            printable(String::from_utf8_lossy(&output.stdout).trim()),
        ),
        Ok((path, output)) => failed(
            "agent",
            format!("{path} ended with {}", output.status),
            hint,
        ),
        Err(error) => failed("agent", format!("it can't be started: {error}"), hint),
    }
}

fn tool(program: &str, purpose: &str, context: &Context) -> CheckDocument {
    let path = context.variable("PATH").unwrap_or_default();
    let executable = |file: &Utf8PathBuf| {
        fs_err::metadata(file)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let found = path
        .split(':')
        .filter(|folder| !folder.is_empty())
        .map(|folder| Utf8Path::new(folder).join(program))
        .find(executable);
    match found {
        Some(file) => fine(program, file.as_str()),
        None => CheckDocument {
            status: CheckStatus::Warning,
            ..fine(program, format!("not found; needed only {purpose}"))
        },
    }
}

fn place(found: &ConfiguredExecutor, context: &Context) -> Vec<CheckDocument> {
    let settings = found.settings.as_object().cloned().unwrap_or_default();
    let config = ExecutorConfig {
        kind: found.kind.clone(),
        settings,
    };
    check_place(&found.name, &config, context)
}

/// Looks at the place of one executor.
pub(super) fn check_place(
    name: &str,
    config: &ExecutorConfig,
    context: &Context,
) -> Vec<CheckDocument> {
    let checks = executor::check(name, config, context);
    if checks.is_empty() {
        return vec![fine(
            &format!("executor {name}"),
            format!("{}, nothing to check", config.kind),
        )];
    }
    checks
        .into_iter()
        .map(|check| CheckDocument {
            name: if check.name.contains(name) {
                check.name
            } else {
                format!("executor {name}: {}", check.name)
            },
            status: match check.status {
                executor::CheckStatus::Ok => CheckStatus::Ok,
                executor::CheckStatus::Warning => CheckStatus::Warning,
                executor::CheckStatus::Failed => CheckStatus::Failed,
            },
            detail: check.detail,
            hint: check.hint,
        })
        .collect()
}

struct Findings(DoctorDocument);

impl Show for Findings {
    fn text(&self, view: &View) -> String {
        let page = &view.page;
        let mut text: String = self
            .0
            .checks
            .iter()
            .map(|check| line(check, page))
            .collect();
        let number = |status| {
            self.0
                .checks
                .iter()
                .filter(|check| check.status == status)
                .count()
        };
        let (failed, warnings) = (number(CheckStatus::Failed), number(CheckStatus::Warning));
        text.push_str(&match (failed, warnings) {
            (0, 0) => "all is well\n".to_owned(),
            (0, _) => format!("all that is needed works; {warnings} to know about\n"),
            _ => format!("{failed} failed\n"),
        });
        text
    }

    fn json(&self, layout: Layout) -> String {
        json(layout, &self.0)
    }
}

/// A check for people.
pub(super) fn line(check: &CheckDocument, page: &Page) -> String {
    let (sign, style) = match check.status {
        CheckStatus::Ok => ("✓", style::GOOD),
        CheckStatus::Warning => ("!", style::WARNING),
        CheckStatus::Failed => ("✗", style::ERROR),
    };
    let mut text = format!(
        "{} {}: {}\n",
        page.paint(style, sign),
        check.name,
        check.detail
    );
    if let Some(hint) = &check.hint {
        text.push_str(&format!("  {} {hint}\n", page.paint(style::HINT, "hint:")));
    }
    text
}
