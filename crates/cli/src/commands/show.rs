//! `mizzen show`: what an experiment was made from.

use clap::Args;
use serde_json::Value;

use crate::render::documents::{Layout, ShowDocument, json};
use crate::render::text::{printable, width};
use crate::render::time::date;
use crate::render::{Outcome, Show, View, style};
use crate::report::Report;
use crate::select::{self, ExperimentOrLatest};
use crate::surroundings::Surroundings;
use mizzen_core::model::Timestamp;

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
    let view = store.view(&id)?;
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
        document: record.get("document").cloned().unwrap_or_default(),
        provenance: record.get("provenance").cloned().unwrap_or_default(),
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
            ("command", shell_line(&document.command)),
            ("in", document.workdir.clone()),
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
fn path(pointer: &str) -> String {
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
