//! The flags that `run`, `launch` and `plan` have in common, as overrides in the user's order.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use clap::{ArgMatches, Args, FromArgMatches};
use mizzen_core::context::Context;

use super::escaped;
use crate::complete;
use crate::render::time::parse_duration;
use crate::report::Report;

/// What `run`, `launch` and `plan` can set for the jobs.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct JobArgs {
    /// The executor: a configured name (`mizzen executors` lists them) [default: this machine]
    #[arg(short, long, value_name = "EXECUTOR", add = complete::executors())]
    pub(crate) executor: Option<String>,
    /// The experiment's title
    #[arg(short, long)]
    pub(crate) title: Option<String>,
    /// How many machines
    #[arg(long, value_name = "N")]
    pub(crate) nodes: Option<u32>,
    /// How many processes on each machine
    #[arg(long, value_name = "N")]
    pub(crate) nproc: Option<u32>,
    /// What starts the processes of a distributed job, such as torchrun
    #[arg(long, value_name = "LAUNCHER")]
    pub(crate) launcher: Option<String>,
    /// A variable for the jobs' environment; without `=VALUE` it is taken from the environment of this command
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// A secret for the jobs' environment, by reference: env:NAME, file:PATH or cmd:COMMAND
    #[arg(long, value_name = "NAME=REFERENCE")]
    pub(crate) secret: Vec<String>,
    /// How often a job is tried again after it failed
    #[arg(long, value_name = "N")]
    pub(crate) retries: Option<u32>,
    /// How long one attempt may take, such as 90s or 2h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Option<f64>,
    /// The folder that jobs start in
    #[arg(long, value_name = "FOLDER", value_hint = clap::ValueHint::DirPath)]
    pub(crate) workdir: Option<Utf8PathBuf>,
    /// One more file with executors, as mizzen.toml has them; for programs that have made one
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) executors_file: Option<Utf8PathBuf>,
    /// Set any value by its path, such as tasks.NAME.retries=3 or executors.gpu.nodes*=2; may be repeated
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
}

/// [`JobArgs`] with the places of their words on the command line: what is set later wins.
#[derive(Debug, Clone, Default)]
pub(crate) struct OrderedJobArgs {
    /// The arguments.
    pub(super) jobs: JobArgs,
    /// For each argument's id, where its values stand.
    places: BTreeMap<String, Vec<usize>>,
}

impl FromArgMatches for OrderedJobArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<OrderedJobArgs, clap::Error> {
        let mut ordered = OrderedJobArgs::default();
        ordered.update_from_arg_matches(matches)?;
        Ok(ordered)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.jobs = JobArgs::from_arg_matches(matches)?;
        let command = JobArgs::augment_args(clap::Command::new("jobs"));
        self.places = command
            .get_arguments()
            .filter_map(|argument| {
                let id = argument.get_id().as_str();
                Some((id.to_owned(), matches.indices_of(id)?.collect()))
            })
            .collect();
        Ok(())
    }
}

impl Args for OrderedJobArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        JobArgs::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        JobArgs::augment_args_for_update(command)
    }
}

/// [`OrderedJobArgs`] for one session at a terminal, for which some of them have no meaning: those are not shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct SessionArgs(OrderedJobArgs);

/// The flags that are for jobs alone, by their ids.
const FOR_JOBS: [&str; 4] = ["title", "launcher", "retries", "timeout"];

impl FromArgMatches for SessionArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<SessionArgs, clap::Error> {
        OrderedJobArgs::from_arg_matches(matches).map(SessionArgs)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl Args for SessionArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        without_those_for_jobs(OrderedJobArgs::augment_args(command))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        without_those_for_jobs(OrderedJobArgs::augment_args_for_update(command))
    }
}

fn without_those_for_jobs(command: clap::Command) -> clap::Command {
    command.mut_args(|argument| {
        let hidden = FOR_JOBS.contains(&argument.get_id().as_str());
        argument.hide(hidden)
    })
}

impl SessionArgs {
    /// The arguments.
    ///
    /// # Errors
    /// One was given that has no meaning for a session.
    pub(crate) fn checked(&self) -> Result<&OrderedJobArgs, Report> {
        let given = |id: &&&str| {
            self.0
                .places
                .get(**id)
                .is_some_and(|places| !places.is_empty())
        };
        match FOR_JOBS.iter().find(given) {
            None => Ok(&self.0),
            Some(id) => Err(Report::usage(format!("`--{id}` is not for sessions"))
                .hint("it is for jobs: `mizzen run` runs a command as one")),
        }
    }
}

impl OrderedJobArgs {
    /// The same as arguments of a Python function's command line.
    ///
    /// # Errors
    /// A flag was given that such a command line has no word for.
    pub(crate) fn for_function(&self) -> Result<Vec<String>, Report> {
        let jobs = &self.jobs;
        let mut words = Vec::new();
        let mut add = |path: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("{path}={value}")));
        };
        add("run.executor", jobs.executor.clone());
        add("run.executor.nodes", jobs.nodes.map(|n| n.to_string()));
        add(
            "run.executor.ntasks_per_node",
            jobs.nproc.map(|n| n.to_string()),
        );
        add("run.executor.launcher", jobs.launcher.clone());
        add("run.executor.retries", jobs.retries.map(|n| n.to_string()));
        let others = [
            ("--title", jobs.title.is_some()),
            ("--env", !jobs.env.is_empty()),
            ("--secret", !jobs.secret.is_empty()),
            ("--timeout", jobs.timeout.is_some()),
            ("--workdir", jobs.workdir.is_some()),
            ("--executors-file", jobs.executors_file.is_some()),
            ("--set", !jobs.set.is_empty()),
        ];
        match others.iter().find(|(_, given)| *given) {
            None => Ok(words),
            Some((flag, _)) => Err(Report::usage(format!("`{flag}` is not for functions"))
                .hint("a function's executor is set by `run.executor.SETTING=VALUE` behind it")),
        }
    }

    /// The executor that was named.
    pub(crate) fn executor(&self) -> Option<&str> {
        self.jobs.executor.as_deref()
    }

    /// A file with executors.
    pub(super) fn executors_file(&self) -> Option<&Utf8PathBuf> {
        self.jobs.executors_file.as_ref()
    }

    /// All flags as overrides, in the user's order. `prefix` is the table that the jobs' flags are set in: the one task
    /// of a command, or a file's defaults, which hold for the tasks that don't say otherwise.
    /// Each comes with the flag that it was given with; `default_executor` is asked only where a flag needs it.
    pub(super) fn overrides(
        &self,
        prefix: &str,
        context: &Context,
        default_executor: &dyn Fn() -> String,
    ) -> Result<Vec<(String, String)>, Report> {
        let jobs = &self.jobs;
        let mut placed: Vec<(usize, (String, String))> = Vec::new();
        let mut add = |id: &str, number: usize, text: String| {
            let places = self.places.get(id).map(Vec::as_slice).unwrap_or_default();
            let flag = format!("--{id}");
            placed.push((
                places.get(number).copied().unwrap_or_default(),
                (flag, text),
            ));
        };
        // A text in quotes reaches its place as it is, whatever it holds (config::overrides).
        let mut text = |id: &str, path: &str, value: Option<&str>| {
            if let Some(value) = value {
                add(id, 0, format!("{path}=\"{value}\""));
            }
        };
        let workdir = jobs
            .workdir
            .as_ref()
            .map(|path| escaped(context.workdir.join(path).as_str(), &[]));
        text("title", "title", jobs.title.as_deref());
        text(
            "executor",
            &format!("{prefix}.executor"),
            jobs.executor.as_deref(),
        );
        text(
            "launcher",
            &format!("{prefix}.launcher"),
            jobs.launcher.as_deref(),
        );
        text("workdir", &format!("{prefix}.workdir"), workdir.as_deref());
        if let Some(number) = jobs.retries {
            add("retries", 0, format!("{prefix}.retries={number}"));
        }
        if let Some(seconds) = jobs.timeout {
            add("timeout", 0, format!("{prefix}.timeout={seconds}"));
        }
        // How many nodes and processes are settings of the executor that is used.
        let executor = || jobs.executor.clone().unwrap_or_else(default_executor);
        for (id, setting, number) in [
            ("nodes", "nodes", jobs.nodes),
            ("nproc", "ntasks_per_node", jobs.nproc),
        ] {
            if let Some(number) = number {
                add(
                    id,
                    0,
                    format!("executors.\"{}\".{setting}={number}", executor()),
                );
            }
        }
        for (number, given) in jobs.env.iter().enumerate() {
            let (name, value) = variable(given, context)?;
            add(
                "env",
                number,
                format!("{prefix}.env.\"{name}\"=\"{}\"", escaped(&value, &[])),
            );
        }
        for (number, given) in jobs.secret.iter().enumerate() {
            let (name, reference) = secret(given)?;
            add(
                "secret",
                number,
                format!("{prefix}.secrets.\"{name}\"=\"{reference}\""),
            );
        }
        for (number, set) in jobs.set.iter().enumerate() {
            add("set", number, set.clone());
        }
        placed.sort_by_key(|(place, _)| *place);
        Ok(placed.into_iter().map(|(_, flag)| flag).collect())
    }
}

/// `NAME=VALUE`, or `NAME` alone for the value that it has here.
fn variable<'a>(given: &'a str, context: &Context) -> Result<(&'a str, String), Report> {
    match given.split_once('=') {
        Some((name, value)) => Ok((name, value.to_owned())),
        None => match context.variable(given) {
            Some(value) => Ok((given, value.to_owned())),
            None => Err(
                Report::usage(format!("`--env {given}`: this variable is not set here"))
                    .hint(format!("`--env {given}=VALUE` gives it a value")),
            ),
        },
    }
}

/// `NAME=REFERENCE`. The text after `=` may be the secret itself, given by mistake: it is not repeated in the message.
fn secret(given: &str) -> Result<(&str, &str), Report> {
    let hint = "a reference is env:NAME, file:PATH or cmd:COMMAND; the secret itself is never written down";
    let Some((name, reference)) = given.split_once('=') else {
        return Err(Report::usage("`--secret` takes NAME=REFERENCE").hint(hint));
    };
    if !["env:", "file:", "cmd:"]
        .iter()
        .any(|scheme| reference.starts_with(scheme))
    {
        return Err(
            Report::usage(format!("`--secret {name}=…` is no reference to a secret")).hint(hint),
        );
    }
    Ok((name, reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        use mizzen_core::context::{Agent, RandomIds, SystemClock};
        Context {
            home: "/home/me/.mizzen".into(),
            workdir: "/work".into(),
            environment: std::sync::Arc::default(),
            host: "here".to_owned(),
            user: "me".to_owned(),
            clock: std::sync::Arc::new(SystemClock),
            ids: std::sync::Arc::new(RandomIds),
            program: "/bin/mizzen".into(),
            agent: Agent::File("/bin/mizzen-agent".into()),
        }
    }

    #[test]
    fn what_is_set_later_wins() {
        let line = [
            "mizzen",
            "--set",
            "a=1",
            "-e",
            "gpu",
            "--env",
            "X=$1 \"y\"",
            "--nodes",
            "2",
            "--set",
            "b=2",
            "--env",
            "Y==",
        ];
        let command = OrderedJobArgs::augment_args(clap::Command::new("mizzen"));
        let args = OrderedJobArgs::from_arg_matches(&command.get_matches_from(line)).unwrap();
        let context = context();
        let flags = args
            .overrides("tasks[0]", &context, &|| "here".to_owned())
            .unwrap();
        assert_eq!(
            flags.into_iter().map(|(_, text)| text).collect::<Vec<_>>(),
            [
                "a=1",
                "tasks[0].executor=\"gpu\"",
                "tasks[0].env.\"X\"=\"$$1 \"y\"\"",
                "executors.\"gpu\".nodes=2",
                "b=2",
                "tasks[0].env.\"Y\"=\"=\"",
            ]
        );
    }

    #[test]
    fn a_secret_given_by_mistake_is_not_repeated() {
        let report = secret("TOKEN=hunter2").unwrap_err();
        assert!(!format!("{report:?}").contains("hunter2"));
        assert_eq!(
            secret("TOKEN=env:MY_TOKEN").unwrap(),
            ("TOKEN", "env:MY_TOKEN")
        );
    }
}
