//! From files, flags and the environment to a plan.
//!
//! ```text
//! built-in · $MIZZEN_HOME/executors.toml · mizzen.toml · the file · the flags ── layers ─┐
//! MIZZEN_SET · --set ─────────────────────────────────────────────────── overrides ──────┴→ config::load → plan::plan
//! ```
//!
//! A command line becomes a document too (`mizzen run -- COMMAND` is an experiment with one task), so that both pass the
//! same checks. What stands behind `--` is literal: every dollar is doubled but those of the executors' macros.

mod flags;

use std::ffi::OsString;
use std::io::Read;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use mizzen_core::config::{self, Format, Layer, Origin, Override, Vocabulary};
use mizzen_core::context::Context;
use mizzen_core::executor;
use mizzen_core::store::Store;
use mizzen_core::submit::repro::Reprise;
use mizzen_core::submit::{self, Preparation, PrepareError, Prepared};
use serde_json::{Value, json};

pub(crate) use flags::{OrderedJobArgs, SessionArgs};

use crate::report::Report;
use crate::surroundings::Surroundings;

/// Reads standard input instead of a file.
const STDIN: &str = "-";
/// The name of the layer that the flags make.
const COMMAND_LINE: &str = "command line";

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
    /// A document with one task that a command of ours has made.
    Document(Value),
    /// What was kept of a past experiment.
    Kept(Box<Reprise>),
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
        Source::Document(document) => {
            (context.workdir.clone(), command_layer(document), "tasks[0]")
        }
        Source::Kept(reprise) => (
            reprise.base.clone(),
            Layer {
                origin: Origin::File,
                name: format!("experiment {}", reprise.pinned.from),
                format: Format::Json,
                text: reprise.document.to_string(),
            },
            "defaults",
        ),
    };
    // What was kept is whole; only an executor that it does not know may come from elsewhere.
    let surroundings_of = match source {
        Source::Kept(reprise) => args
            .executor()
            .filter(|name| reprise.document["executors"].get(name).is_none())
            .map(|_| context.workdir.as_path()),
        _ => Some(base.as_path()),
    };
    let mut layers = match surroundings_of {
        Some(folder) => submit::surrounding_layers(&context.home, folder)
            .map_err(|error| Report::usage(error.to_string()))?,
        None => Vec::new(),
    };
    if let Some(path) = args.executors_file() {
        layers.push(file_layer(path, None, context)?);
    }
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
    submit::prepare(
        context,
        &Preparation {
            layers: &layers,
            overrides: &overrides,
            base: &base,
            default_title: &default_title(source, &base),
            pinned: match source {
                Source::Kept(reprise) => Some(&reprise.pinned),
                _ => None,
            },
        },
    )
    .map_err(|error| match error {
        PrepareError::Config(failure) => failed(*failure),
        other => Report::usage(other.to_string()),
    })
}

/// What takes longer is told of.
const SILENT: Duration = Duration::from_secs(1);

/// Packs the code of a prepared experiment, and says what people should know about it.
///
/// # Errors
/// Code that is to be sent can't be packed.
pub(crate) fn package(surroundings: &Surroundings, prepared: &mut Prepared) -> Result<(), Report> {
    let output = &surroundings.output;
    // Nothing is written beside a store that can't be used.
    drop(Store::open_existing(&surroundings.context.home)?);
    let packed = std::thread::scope(|scope| {
        let (done, waiting) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            if waiting.recv_timeout(SILENT) == Err(RecvTimeoutError::Timeout) {
                output.say("packing the code …");
            }
        });
        let packed = prepared.package(&surroundings.context, true);
        drop(done);
        packed
    });
    for note in packed? {
        output.say(&format!("note: {}", note.text));
        if let Some(hint) = &note.hint {
            output.hint(hint);
        }
    }
    Ok(())
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

/// The configured executors with their kinds, for completions: nothing where a file is wrong.
pub(crate) fn executor_names(home: &Utf8Path, workdir: &Utf8Path) -> Vec<(String, String)> {
    let Ok(layers) = submit::surrounding_layers(home, workdir) else {
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
pub(crate) fn clean_name(text: &str) -> String {
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
}
