//! From files, flags and the environment to a plan.
//!
//! ```text
//! built-in · $MIZZEN_HOME/executors.toml · mizzen.toml · the file · the flags ── layers ─┐
//! MIZZEN_SET · --set ─────────────────────────────────────────────────── overrides ──────┴→ config::load → plan::plan
//! ```
//!
//! A command line becomes a document too (`mizzen run -- COMMAND` is an experiment with one task), so that both pass the
//! same checks. What stands behind `--` is literal: every dollar is doubled but those of the executors' macros.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;

use camino::{Utf8Path, Utf8PathBuf};
use clap::{ArgMatches, Args, FromArgMatches};
use mizzen_core::config::{self, Format, Layer, Loaded, Origin, Override, Vocabulary};
use mizzen_core::context::Context;
use mizzen_core::executor;
use mizzen_core::model::ExperimentId;
use mizzen_core::plan::{self, Plan, PlanInputs};
use serde_json::{Map, Value, json};

use crate::complete;
use crate::render::time::parse_duration;
use crate::report::Report;
use crate::surroundings::Surroundings;

/// Reads standard input instead of a file.
const STDIN: &str = "-";
/// The name of the layer that the flags make.
const COMMAND_LINE: &str = "command line";

/// What `run`, `launch` and `plan` can set for the jobs.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct JobArgs {
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
    /// Set any value by its path, such as tasks.NAME.retries=3 or executors.gpu.nodes*=2; may be repeated
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
}

/// [`JobArgs`] with the places of their words on the command line: what is set later wins.
#[derive(Debug, Clone, Default)]
pub(crate) struct OrderedJobArgs {
    /// The arguments.
    pub(crate) jobs: JobArgs,
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

/// What is to be run.
#[derive(Debug)]
pub(crate) enum Source {
    /// An experiment file, or `-` for standard input.
    File {
        /// Its path.
        path: Utf8PathBuf,
        /// Its notation, where the name does not tell.
        format: Option<FileFormat>,
    },
    /// One command.
    Command {
        /// Its words.
        words: Vec<OsString>,
        /// The name of its job.
        name: Option<String>,
    },
}

/// The notations of experiment files.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum FileFormat {
    /// TOML.
    Toml,
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// A plan and the record of what it was made from.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The experiment's new id.
    pub(crate) id: ExperimentId,
    /// The plan.
    pub(crate) plan: Plan,
    /// The plan's fingerprint.
    pub(crate) fingerprint: String,
    /// What is stored beside it: document, provenance, who and where.
    pub(crate) record: Value,
}

/// Reads all layers and plans.
///
/// # Errors
/// What is wrong in the files, the flags or the environment: every mistake at once.
pub(crate) fn prepare(
    source: &Source,
    args: &OrderedJobArgs,
    on_failure: Option<&str>,
    surroundings: &Surroundings,
) -> Result<Prepared, Report> {
    let context = &surroundings.context;
    let vocabulary = executor::vocabulary();
    let color = surroundings.output.talk.color;
    let (base, layer, prefix) = match source {
        Source::File { path, format } => {
            let base = if path == STDIN {
                context.workdir.clone()
            } else {
                folder_of(&context.workdir.join(path))
            };
            (base, file_layer(path, *format, context)?, "defaults")
        }
        Source::Command { words, name } => {
            let document = command_document(words, name.as_deref(), &vocabulary)?;
            (
                context.workdir.clone(),
                command_layer(&document),
                "tasks[0]",
            )
        }
    };
    let mut layers = surrounding_layers(&context.home, &base)?;
    layers.push(layer);
    let failed = |failure: config::Failure| Report::rendered(failure.render(color));
    let mut overrides = match context.variable("MIZZEN_SET") {
        Some(words) => {
            config::overrides::parse_words(words, Origin::Environment).map_err(failed)?
        }
        None => Vec::new(),
    };
    let environment = |name: &str| context.variable(name).map(str::to_owned);
    let default_executor = || default_executor(&layers, &environment, &vocabulary);
    let mut flags = args.overrides(prefix, context, &default_executor)?;
    flags.extend(on_failure.map(|word| ("--on-failure".to_owned(), format!("on_failure={word}"))));
    for (flag, text) in flags {
        overrides.push(
            Override::parse(&text, Origin::CommandLine)
                .map_err(failed)?
                .called(flag),
        );
    }
    let loaded = config::load(&layers, &overrides, &environment, &vocabulary).map_err(failed)?;

    let id = context.ids.experiment();
    let title = loaded
        .spec
        .title
        .clone()
        .unwrap_or_else(|| default_title(source, &base));
    let inputs = PlanInputs {
        title: &title,
        experiment_dir: &context.experiment_dir(&title, &id),
        base: &base,
        environment: &environment,
        macros: &vocabulary.macros,
    };
    let plan =
        plan::plan(&loaded.spec, &inputs).map_err(|error| Report::usage(error.to_string()))?;
    let fingerprint = plan.fingerprint(inputs.experiment_dir);
    let record = record(&loaded, &fingerprint, surroundings);
    Ok(Prepared {
        id,
        plan,
        fingerprint,
        record,
    })
}

/// The executor of tasks that name none, by its name. What is wrong with the layers is found when they are loaded whole.
fn default_executor(
    layers: &[Layer],
    environment: &dyn Fn(&str) -> Option<String>,
    vocabulary: &config::Vocabulary,
) -> String {
    let loaded = config::load(layers, &[], environment, vocabulary).ok();
    match loaded.and_then(|loaded| loaded.spec.defaults.executor) {
        Some(config::shorthand::ExecutorReference::Name(name)) => name,
        _ => executor::registry()[0].kind.to_owned(),
    }
}

/// What is stored beside the plan.
fn record(loaded: &Loaded, fingerprint: &str, surroundings: &Surroundings) -> Value {
    let context = &surroundings.context;
    let place = |place: config::Place| {
        json!({
            "origin": place.origin.to_string(),
            "source": place.source,
            "line": place.line,
            "column": place.column,
        })
    };
    let provenance: Map<String, Value> = loaded
        .provenance
        .iter(&loaded.sources)
        .map(|(pointer, found)| (pointer.to_owned(), place(found)))
        .collect();
    json!({
        "document": loaded.document,
        "provenance": provenance,
        "command": surroundings.command_line,
        "user": context.user,
        "host": context.host,
        "workdir": context.workdir,
        "version": env!("CARGO_PKG_VERSION"),
        "fingerprint": fingerprint,
    })
}

/// The configured executors with their kinds, for completions: nothing where a file is wrong.
pub(crate) fn executor_names(home: &Utf8Path, workdir: &Utf8Path) -> Vec<(String, String)> {
    let Ok(layers) = surrounding_layers(home, workdir) else {
        return Vec::new();
    };
    let executors = config::load(&layers, &[], &|_| None, &executor::vocabulary());
    executors.map_or_else(
        |_| Vec::new(),
        |loaded| {
            loaded
                .spec
                .executors
                .into_iter()
                .map(|(name, spec)| (name, spec.kind))
                .collect()
        },
    )
}

/// The layers below the experiment: the user's and the project's.
///
/// # Errors
/// A file is there and can't be read.
pub(crate) fn surrounding_layers(home: &Utf8Path, base: &Utf8Path) -> Result<Vec<Layer>, Report> {
    let mut layers = Vec::new();
    let mut add = |origin, path: Utf8PathBuf| -> Result<bool, Report> {
        match std::fs::read_to_string(&path) {
            Ok(text) => layers.push(Layer {
                origin,
                name: path.into_string(),
                format: Format::Toml,
                text,
            }),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(Report::usage(format!("{path} can't be read: {error}"))),
        }
        Ok(true)
    };
    add(Origin::User, home.join("executors.toml"))?;
    for folder in base.ancestors() {
        if add(Origin::Project, folder.join("mizzen.toml"))? || folder.join(".git").exists() {
            break;
        }
    }
    Ok(layers)
}

fn file_layer(
    path: &Utf8Path,
    format: Option<FileFormat>,
    context: &Context,
) -> Result<Layer, Report> {
    let told = format.map(|format| match format {
        FileFormat::Toml => Format::Toml,
        FileFormat::Yaml => Format::Yaml,
        FileFormat::Json => Format::Json,
    });
    let format = told.or_else(|| Format::from_path(path.as_str())).ok_or_else(|| {
        if path == STDIN {
            Report::usage("the notation of standard input is not known").hint("say `--format toml`, `yaml` or `json`")
        } else {
            Report::usage(format!("{path} is no experiment file: its name ends neither with .toml, .yaml nor .json"))
                .hint("`--format toml` reads it all the same; `mizzen run -- COMMAND` runs a program")
        }
    })?;
    let (name, bytes) = if path == STDIN {
        let mut bytes = Vec::new();
        std::io::stdin()
            .read_to_end(&mut bytes)
            .map_err(|error| Report::usage(format!("standard input can't be read: {error}")))?;
        ("standard input".to_owned(), bytes)
    } else {
        let bytes = std::fs::read(context.workdir.join(path)).map_err(|error| {
            let report = Report::usage(format!("{path} can't be read: {error}"));
            if error.kind() == std::io::ErrorKind::NotFound {
                report.hint("paths are looked for from the working directory")
            } else {
                report
            }
        })?;
        (path.to_string(), bytes)
    };
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        Report::usage(format!(
            "{name} is not UTF-8 text: line {line} holds other bytes"
        ))
    })?;
    Ok(Layer {
        origin: Origin::File,
        name,
        format,
        text,
    })
}

fn command_layer(document: &Value) -> Layer {
    Layer {
        origin: Origin::File,
        name: COMMAND_LINE.to_owned(),
        format: Format::Json,
        text: document.to_string(),
    }
}

impl OrderedJobArgs {
    /// All flags as overrides, in the user's order. `prefix` is the table that the jobs' flags are set in: the one task
    /// of a command, or a file's defaults, which hold for the tasks that don't say otherwise.
    /// Each comes with the flag that it was given with; `default_executor` is asked only where a flag needs it.
    fn overrides(
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

/// One command as an experiment with one task.
fn command_document(
    words: &[OsString],
    name: Option<&str>,
    vocabulary: &Vocabulary,
) -> Result<Value, Report> {
    let mut command = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let word = word.to_str().ok_or_else(|| {
            let shown = word.to_string_lossy();
            Report::usage(format!(
                "argument {} of the command is not UTF-8: `{shown}`",
                index + 1
            ))
            .hint(
                "every place must get the same bytes; rename the file, or pass the bytes in a file",
            )
        })?;
        command.push(word);
    }
    let called = name.map_or_else(|| command_name(&command), str::to_owned);
    let run: Vec<String> = command
        .iter()
        .map(|word| escaped(word, &vocabulary.macros))
        .collect();
    Ok(json!({ "title": called, "tasks": [{ "name": called, "run": run }] }))
}

/// Text that interpolation leaves as it is. Text with a macro is a template as Python has them, in which `$$` is one
/// dollar (`$$${head_node_ip_var}` asks for the address); in text without one every dollar stands for itself.
fn escaped(text: &str, macros: &[String]) -> String {
    let is_macro = |from: &str| {
        let inner = from
            .strip_prefix("${")
            .and_then(|inner| inner.split_once('}'));
        inner.is_some_and(|(name, _)| macros.iter().any(|known| known == name))
    };
    let is_template = text
        .match_indices('$')
        .any(|(position, _)| is_macro(&text[position..]));
    if !is_template {
        return text.replace('$', "$$");
    }
    let mut escaped = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find('$') {
        let (before, from) = rest.split_at(position);
        escaped.push_str(before);
        let doubled = from.starts_with("$$");
        escaped.push_str(if is_macro(from) { "$" } else { "$$" });
        rest = &from[if doubled { 2 } else { 1 }..];
    }
    escaped.push_str(rest);
    escaped
}

/// The name of a command's job: its script's, else its program's, in letters that names may have.
fn command_name(words: &[&str]) -> String {
    const SCRIPTS: [&str; 7] = ["py", "sh", "R", "jl", "pl", "rb", "js"];
    let program = words.first().copied().unwrap_or_default();
    let options = words
        .iter()
        .skip(1)
        .take_while(|word| !word.contains(' '))
        .take(4);
    let script = options.into_iter().find(|word| {
        !word.starts_with('-')
            && Utf8Path::new(word)
                .extension()
                .is_some_and(|extension| SCRIPTS.contains(&extension))
    });
    let stem = match script {
        Some(script) => Utf8Path::new(script).file_stem(),
        None => Utf8Path::new(program).file_name(),
    };
    clean_name(stem.unwrap_or_default())
}

/// Letters, digits, `.`, `_` and `-`; everything else becomes `-`. At most 40 of them, and never nothing.
fn clean_name(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = text
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .take(40)
        .collect();
    let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if name.is_empty() {
        "command".to_owned()
    } else {
        name.to_owned()
    }
}

/// The title of a file without one: the file's name, or its folder's where the name says nothing.
fn default_title(source: &Source, base: &Utf8Path) -> String {
    let stem = match source {
        Source::File { path, .. } if path != STDIN => path
            .file_stem()
            .filter(|stem| *stem != "experiment" && *stem != "mizzen"),
        _ => None,
    };
    clean_name(stem.or_else(|| base.file_name()).unwrap_or("experiment"))
}

fn folder_of(path: &Utf8Path) -> Utf8PathBuf {
    path.parent()
        .map_or_else(|| path.to_owned(), Utf8Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_the_dashes_stays_literal() {
        let macros = ["head_node_ip_var".to_owned()];
        assert_eq!(escaped("no dollar", &macros), "no dollar");
        let nemo_runs = "$$${head_node_ip_var}:$PORT";
        assert_eq!(escaped(nemo_runs, &macros), "$$${head_node_ip_var}:$$PORT");
        assert_eq!(
            escaped("$${head_node_ip_var}", &macros),
            "$${head_node_ip_var}"
        );
        assert_eq!(escaped("${lr} $x $$ $", &macros), "$${lr} $$x $$$$ $$");
        assert_eq!(
            escaped("--at=${head_node_ip_var}:${port}", &macros),
            "--at=${head_node_ip_var}:$${port}"
        );
        assert_eq!(
            escaped("${head_node_ip_var", &macros),
            "$${head_node_ip_var"
        );
    }

    #[test]
    fn commands_are_called_by_their_script() {
        for (words, name) in [
            (&["python3", "src/train.py", "--lr", "1"][..], "train"),
            (&["torchrun", "--nproc-per-node", "2", "main.py"], "main"),
            (&["/usr/bin/env", "true"], "env"),
            (&["sh", "-c", "exit 3"], "sh"),
            (&["./my program"], "my-program"),
            (&["→"], "command"),
            (&[], "command"),
        ] {
            assert_eq!(command_name(words), name, "{words:?}");
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
}
