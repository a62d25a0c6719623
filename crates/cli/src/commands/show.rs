//! `mizzen show`: what an experiment was made from.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::Value;

use crate::render::documents::{JobFailureDocument, Layout, ShowDocument, json};
use crate::render::experiment::failure_of;
use crate::render::text::{bytes, count, printable, width};
use crate::render::time::date;
use crate::render::{Outcome, Show, View, style, usage};
use crate::report::Report;
use crate::select::{self, ExperimentOrLatest};
use crate::surroundings::Surroundings;
use mizzen_core::logs::add_usage;
use mizzen_core::model::{JobState, Timestamp, Usage};
use mizzen_core::store::ExperimentView;

/// Shows an experiment's configuration, and where each value was set
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    experiment: ExperimentOrLatest,
    /// Print JSON (schema: `mizzen schema show`)
    #[arg(long)]
    json: bool,
}

/// Shows what an experiment was made from.
///
/// # Errors
/// There is no such experiment, or the store can't be read.
pub(crate) fn run(args: ShowArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let store = select::open(surroundings)?;
    let id = select::experiment(&store, &args.experiment.experiment)?;
    let mut view = store.view(&id)?;
    add_usage(&store, &mut view)?;
    let record = store.document(&id)?;
    let text = |name: &str| {
        record
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let words = record
        .get("command")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let document = ShowDocument {
        id: id.to_string(),
        title: view.summary.title.clone(),
        created: view.summary.created.to_text(),
        dir: view.dir.to_string(),
        command: words
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        user: text("user"),
        host: text("host"),
        workdir: text("workdir"),
        version: text("version"),
        fingerprint: text("fingerprint"),
        code: record.get("code").cloned().unwrap_or_default(),
        surroundings: record.get("surroundings").cloned().unwrap_or_default(),
        nodes: nodes(&view),
        failures: failures(&view),
        usage: used(&view),
        document: record.get("document").cloned().unwrap_or_default(),
        provenance: record.get("provenance").cloned().unwrap_or_default(),
        repeats: record.get("repeats").filter(|id| !id.is_null()).cloned(),
        imported: record.get("imported").cloned(),
    };
    Ok(Outcome::show(
        Origins {
            document,
            created: view.summary.created,
        },
        args.json,
    ))
}

/// What the last attempts used.
fn used(view: &ExperimentView) -> BTreeMap<String, Usage> {
    let used = view.jobs.iter().filter_map(|job| {
        let usage = job.attempts.last()?.usage.as_deref()?;
        Some((job.name.clone(), usage.clone()))
    });
    used.collect()
}

/// Of so many jobs it is told what they used.
const MOST_USED: usize = 20;

/// What jobs used, in words. Of several jobs those that ran too short for samples are left out.
fn used_lines(usage: &BTreeMap<String, Usage>) -> Vec<String> {
    if let [usage] = usage.values().collect::<Vec<_>>()[..] {
        return usage::lines(usage);
    }
    let sampled: Vec<_> = usage
        .iter()
        .filter(|(_, usage)| usage.samples > 0)
        .collect();
    let mut lines = Vec::new();
    for (name, usage) in sampled.iter().take(MOST_USED) {
        let mut of_job = usage::lines(usage).into_iter();
        lines.extend(of_job.next().map(|first| format!("{name}: {first}")));
        lines.extend(of_job.map(|line| format!("  {line}")));
    }
    if sampled.len() > MOST_USED {
        lines.push(format!(
            "… and {}; `--json` has every one",
            count(sampled.len() - MOST_USED, "more job")
        ));
    }
    lines
}

/// So many jobs' records are read for the machines that they ran on.
const MOST_RECORDS: usize = 100;

/// The machines that the newest attempts ran on, each once.
fn nodes(view: &ExperimentView) -> Vec<Value> {
    let mut nodes: Vec<Value> = Vec::new();
    for job in view.jobs.iter().take(MOST_RECORDS) {
        let Some(attempt) = job.attempts.last() else {
            continue;
        };
        let record = format!("{}/attempts/{}/exit.json", job.name, attempt.number);
        let found = std::fs::read(view.dir.join(record))
            .ok()
            .and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        let found = found.and_then(|mut record| record.get_mut("nodes").map(Value::take));
        for node in found.iter().filter_map(Value::as_array).flatten() {
            if !nodes.contains(node) {
                nodes.push(node.clone());
            }
        }
    }
    nodes
}

/// So many failures are told to people.
const SHOWN_FAILURES: usize = 5;

/// Why jobs failed, as far as their agents have found out.
fn failures(view: &ExperimentView) -> Vec<JobFailureDocument> {
    let failed = view.jobs.iter().filter(|job| job.state == JobState::Failed);
    failed
        .filter_map(|job| {
            let attempt = job.attempts.last()?;
            Some(JobFailureDocument {
                job: job.name.clone(),
                attempt: attempt.number,
                failure: failure_of(attempt)?,
            })
        })
        .take(MOST_RECORDS)
        .collect()
}

/// `train: rank 5 on n2 failed first, 0.8 s before the rest: CUDA out of memory`, and what may be done about it.
fn failure_lines(failures: &[JobFailureDocument]) -> Vec<String> {
    let told = failures
        .iter()
        .filter(|failed| failed.failure.words.is_some());
    told.take(SHOWN_FAILURES)
        .flat_map(|failed| {
            let words = failed.failure.words.as_deref().unwrap_or_default();
            let mut lines = vec![printable(&format!("{}: {words}", failed.job))];
            let hint = failed.failure.hint.as_deref();
            lines.extend(hint.map(|hint| printable(&format!("({hint})"))));
            lines
        })
        .collect()
}

fn words<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// For each executor: what its jobs ran.
pub(crate) fn code_lines(code: &Value) -> Vec<String> {
    let number = |code: &Value, name: &str| code.get(name).and_then(Value::as_u64).unwrap_or(0);
    let mut lines: Vec<String> = Vec::new();
    for code in code.as_object().into_iter().flat_map(|all| all.values()) {
        let line = match (words(code, "remote"), words(code, "tree")) {
            ("", "") => format!(
                "in {}, not kept: {}",
                words(code, "root"),
                words(code, "not_kept")
            ),
            ("", tree) => format!(
                "tree {}: {}, {} of {}{}",
                &tree[..tree.len().min(12)],
                count(number(code, "files") as usize, "file"),
                bytes(number(code, "bytes")),
                words(code, "root"),
                if code.get("in_place") == Some(&Value::Bool(true)) {
                    "; jobs run in it"
                } else {
                    ""
                }
            ),
            (remote, _) => format!("{remote}, which was there"),
        };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// `1f2e3d4c5b6a on main, with 2 changes and 1 new file`.
fn commit_line(git: &Value) -> String {
    let commit = words(git, "commit");
    if commit.is_empty() {
        return String::new();
    }
    let branch = match words(git, "branch") {
        "" => String::new(),
        branch => format!(" on {branch}"),
    };
    let counted = |name: &str, word: &str| match git.get(name).and_then(Value::as_u64) {
        None | Some(0) => None,
        Some(number) => Some(count(number as usize, word)),
    };
    let dirty: Vec<String> = [
        counted("changed", "change"),
        counted("untracked", "new file"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let dirty = match dirty.is_empty() {
        true => String::new(),
        false => format!(", with {}", dirty.join(" and ")),
    };
    format!("{}{branch}{dirty}", &commit[..commit.len().min(12)])
}

fn python_line(python: &Value) -> String {
    match words(python, "program") {
        "" => String::new(),
        // Something that finds a Python when it is run.
        program if words(python, "version").is_empty() => program.to_owned(),
        program => format!(
            "{} ({program}), {}",
            words(python, "version"),
            count(
                python
                    .get("packages")
                    .and_then(Value::as_array)
                    .map_or(0, Vec::len),
                "package"
            )
        ),
    }
}

fn machine_line(machine: &Value) -> String {
    let number = |name: &str| machine.get(name).and_then(Value::as_u64);
    let mut parts: Vec<String> = [
        words(machine, "os"),
        words(machine, "kernel"),
        words(machine, "processor"),
    ]
    .into_iter()
    .filter(|part| !part.is_empty())
    .map(str::to_owned)
    .collect();
    if let Some(processors) = number("processors").filter(|count| *count > 0) {
        parts.push(count(processors as usize, "processor"));
    }
    if let Some(memory) = number("memory").filter(|memory| *memory > 0) {
        parts.push(bytes(memory));
    }
    if let Some(gpus) = machine.get("gpus").and_then(Value::as_array) {
        parts.push(format!(
            "{} {}",
            gpus.len(),
            gpus.first().and_then(Value::as_str).unwrap_or_default()
        ));
    }
    parts.join(", ")
}

struct Origins {
    document: ShowDocument,
    created: Timestamp,
}

impl Show for Origins {
    fn text(&self, view: &View) -> String {
        let document = &self.document;
        let page = &view.page;
        let mut text = format!(
            "{}  {}\n",
            page.paint(style::STRONG, &document.title),
            document.id
        );
        let by = |word: &str, whom: &str| match whom {
            "" => String::new(),
            whom => format!(" {word} {whom}"),
        };
        let facts = [
            (
                "created",
                format!(
                    "{}{}{}",
                    date(self.created),
                    by("by", &document.user),
                    by("on", &document.host)
                ),
            ),
            (
                "from",
                document
                    .imported
                    .as_ref()
                    .map_or(String::new(), origin_of_history),
            ),
            (
                "repeats",
                document
                    .repeats
                    .as_ref()
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned(),
            ),
            ("command", shell_line(&document.command)),
            ("in", document.workdir.clone()),
            ("code", code_lines(&document.code).join("\n         ")),
            ("commit", commit_line(&document.surroundings["git"])),
            (
                "python",
                python_line(&document.surroundings["machine"]["python"]),
            ),
            ("machine", machine_line(&document.surroundings["machine"])),
            (
                "nodes",
                document
                    .nodes
                    .iter()
                    .map(|node| format!("{}: {}", words(node, "host"), machine_line(node)))
                    .collect::<Vec<_>>()
                    .join("\n         "),
            ),
            (
                "failed",
                failure_lines(&document.failures).join("\n         "),
            ),
            ("used", used_lines(&document.usage).join("\n         ")),
            ("folder", document.dir.clone()),
            ("mizzen", document.version.clone()),
            ("plan", document.fingerprint.clone()),
        ];
        for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
            text.push_str(&format!(
                "{} {value}\n",
                page.paint(style::FAINT, &format!("{name:<8}"))
            ));
        }
        text.push('\n');
        text.push_str(&configuration(&document.document));
        if let Some(origins) = document
            .provenance
            .as_object()
            .filter(|origins| !origins.is_empty())
        {
            text.push_str(&format!(
                "\n{}\n",
                page.paint(style::STRONG, "where each value was set")
            ));
            let origins: Vec<(String, &Value)> = origins
                .iter()
                .map(|(pointer, origin)| (path(pointer), origin))
                .collect();
            let widest = origins
                .iter()
                .map(|(path, _)| width(path))
                .max()
                .unwrap_or(0)
                .min(48);
            for (path, origin) in origins {
                let origin = origin_words(origin);
                text.push_str(&format!(
                    "{path:<widest$}  {}\n",
                    page.paint(style::FAINT, &origin)
                ));
            }
        }
        text
    }

    fn json(&self, layout: Layout) -> String {
        json(layout, &self.document)
    }
}

/// `NeMo-Run 0.11.1, hello_1795370195353120769 in /home/me/.nemo_run/…`, and what could not be read.
fn origin_of_history(imported: &Value) -> String {
    let text = |name: &str| {
        imported
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let from = format!("{} {}", text("from"), text("version"));
    let mut words = format!("{}, {} in {}", from.trim_end(), text("id"), text("folder"));
    let notes = imported.get("notes").and_then(Value::as_array);
    for note in notes.into_iter().flatten().filter_map(Value::as_str) {
        words.push_str(&format!("\n         {note}"));
    }
    printable_lines(&words)
}

/// Text from files of another program, without control characters but line ends.
fn printable_lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(printable).collect();
    lines.join("\n")
}

/// A JSON pointer (RFC 6901) as `--set` takes it: `/tasks/0/env/A.B` is `tasks[0].env."A.B"`.
pub(crate) fn path(pointer: &str) -> String {
    let mut path = String::new();
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        let bare = step
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if !step.is_empty() && step.chars().all(|c| c.is_ascii_digit()) {
            path.push_str(&format!("[{step}]"));
            continue;
        }
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&if bare && !step.is_empty() {
            step
        } else {
            format!("\"{step}\"")
        });
    }
    path
}

/// `train.toml:3:1 (file)`, `--set (command line)`.
fn origin_words(place: &Value) -> String {
    let text = |name: &str| place.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| place.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (origin, source) = (text("origin"), text("source"));
    match origin {
        "built-in" => origin.to_owned(),
        "user" | "project" | "file" => format!(
            "{source}:{}:{} ({origin})",
            number("line"),
            number("column")
        ),
        _ => format!("{source} ({origin})"),
    }
}

/// The configuration as TOML, which people read best; as JSON where TOML has no words for it (null).
fn configuration(document: &Value) -> String {
    toml::to_string(document)
        .or_else(|_| serde_json::to_string_pretty(document).map(|text| text + "\n"))
        .unwrap_or_default()
}

/// Words as a line for a shell, without control characters but line ends: those would reach the reader's terminal.
pub(crate) fn shell_line(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        if word.chars().any(|c| c.is_control() && c != '\n') {
            return dollar_quoted(word);
        }
        shlex::try_quote(word).map_or_else(|_| word.clone(), |word| word.into_owned())
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// A word in POSIX's dollar-single-quotes (POSIX.1-2024, Shell Command Language, 2.2.4; bash, zsh and ksh have them too).
fn dollar_quoted(word: &str) -> String {
    let mut quoted = "$'".to_owned();
    for c in word.chars() {
        match c {
            '\'' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            // Octal has three digits at most, so that what follows is not taken for a part of it.
            c if c.is_control() => {
                for byte in c.to_string().bytes() {
                    quoted.push_str(&format!("\\{byte:03o}"));
                }
            }
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_reads_back_and_drives_no_terminal() {
        let words = ["a b", "\u{1b}[31m'red'\\\u{85}7", "tab\there", "two\nlines"];
        let line = shell_line(&words.map(str::to_owned));
        assert!(
            line.chars().all(|c| !c.is_control() || c == '\n'),
            "{line:?}"
        );
        let script = format!("printf '%s\\0' {line}");
        let output = std::process::Command::new("bash")
            .args(["-c", &script])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            words.map(|word| format!("{word}\0")).concat()
        );
    }
}
