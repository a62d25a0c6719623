//! `mizzen diff`: how two experiments differ.

use std::io::ErrorKind;
use std::time::Duration;

use camino::Utf8Path;
use clap::Args;
use mizzen_core::packager::bundle::Bundles;
use mizzen_core::submit::compare::{self, Change, Comparison, FileChangeKind, Trees};
use serde_json::Value;
use similar::TextDiff;

use crate::commands::show::path;
use crate::complete;
use crate::render::documents::{ChangeDocument, DiffDocument, FileChangeDocument, Layout, json};
use crate::render::text::printable;
use crate::render::{Outcome, Show, View, style};
use crate::report::{Report, Status};
use crate::select;
use crate::surroundings::Surroundings;

/// After this time a file's changes are told more coarsely.
const PATIENCE: Duration = Duration::from_secs(2);
/// A larger file is not compared line by line.
const LARGEST: u64 = 1 << 20;

/// Compares two experiments: code, configuration, environment, outcome
///
/// The exit status is 0 if they are the same and 1 if they differ, as with diff(1).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mizzen diff iris latest
  mizzen diff 3f8k 9x2m --patch     the changed lines of the code as well")]
pub(crate) struct DiffArgs {
    /// The first experiment
    #[arg(value_name = "A", add = complete::experiments())]
    a: String,
    /// The second experiment
    #[arg(value_name = "B", add = complete::experiments())]
    b: String,
    /// Show the changed lines of text files
    #[arg(short, long)]
    patch: bool,
    /// Print JSON (schema: `mizzen schema diff`)
    #[arg(long)]
    json: bool,
}

/// Compares two experiments.
///
/// # Errors
/// There is no such experiment, or what is kept of it can't be read.
pub(crate) fn run(args: DiffArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let context = &surroundings.context;
    let store = select::open(surroundings)?;
    let a = select::experiment(&store, &args.a)?;
    let b = select::experiment(&store, &args.b)?;
    let (comparison, trees) = compare::compare(context, &store, &a, &b)?;
    let status = if comparison.is_same() {
        Status::Succeeded
    } else {
        Status::Failed
    };
    let patches = match (args.patch, trees.first()) {
        (true, Some(trees)) => patches(&context.home, &comparison, *trees)?,
        _ => Vec::new(),
    };
    let document = DiffDocument {
        a: a.to_string(),
        b: b.to_string(),
        same: comparison.is_same(),
        code: comparison
            .code
            .iter()
            .enumerate()
            .map(|(number, file)| FileChangeDocument {
                path: file.path.clone(),
                change: word(file.change).to_owned(),
                patch: patches.get(number).cloned().flatten(),
            })
            .collect(),
        code_unknown: comparison.code_unknown,
        config: comparison.config.into_iter().map(change).collect(),
        environment: comparison.environment.into_iter().map(change).collect(),
        outcome: comparison.outcome.into_iter().map(change).collect(),
    };
    Ok(Outcome::show(Differences(document), args.json).with_status(status))
}

fn change(change: Change) -> ChangeDocument {
    ChangeDocument {
        path: change.path,
        a: change.a,
        b: change.b,
    }
}

const fn word(change: FileChangeKind) -> &'static str {
    match change {
        FileChangeKind::Added => "added",
        FileChangeKind::Removed => "removed",
        FileChangeKind::Changed => "changed",
        FileChangeKind::Mode => "mode",
    }
}

/// For each changed file: its changed lines, where both sides are text.
fn patches(
    home: &Utf8Path,
    comparison: &Comparison,
    trees: Trees,
) -> Result<Vec<Option<String>>, Report> {
    let failed =
        |error: mizzen_core::packager::bundle::BundleError| Report::usage(error.to_string());
    let bundles = Bundles::open(home).map_err(failed)?;
    let (a, b) = (
        bundles.unpack(&trees.a).map_err(failed)?,
        bundles.unpack(&trees.b).map_err(failed)?,
    );
    Ok(comparison
        .code
        .iter()
        .map(|file| {
            let (old, new) = (text(&a.join(&file.path))?, text(&b.join(&file.path))?);
            let diff = TextDiff::configure()
                .timeout(PATIENCE)
                .diff_lines(&old, &new);
            let name = |side: &str, text: &str| match text.is_empty() {
                true => "/dev/null".to_owned(),
                false => format!("{side}/{}", file.path),
            };
            let mut unified = diff.unified_diff();
            let unified = unified
                .header(&name("a", &old), &name("b", &new))
                .to_string();
            Some(unified)
        })
        .collect())
}

/// A file's text; empty if it is not there, `None` if it is none.
fn text(path: &Utf8Path) -> Option<String> {
    let facts = match path.symlink_metadata() {
        Ok(facts) => facts,
        Err(error) if error.kind() == ErrorKind::NotFound => return Some(String::new()),
        Err(_) => return None,
    };
    if !facts.is_file() || facts.len() > LARGEST {
        return None;
    }
    std::fs::read_to_string(path)
        .ok()
        .filter(|text| !text.contains('\0'))
}

struct Differences(DiffDocument);

impl Show for Differences {
    fn text(&self, view: &View) -> String {
        let Differences(document) = self;
        let page = &view.page;
        if document.same {
            return format!("{} and {} are the same\n", document.a, document.b);
        }
        let mut text = String::new();
        let head = |text: &mut String, title: &str| {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&format!("{}\n", page.paint(style::STRONG, title)));
        };
        if !document.code.is_empty() || document.code_unknown.is_some() {
            head(&mut text, "code");
            if let Some(unknown) = &document.code_unknown {
                text.push_str(&format!("  {unknown}\n"));
            }
            for file in &document.code {
                text.push_str(&format!("  {:<8} {}\n", file.change, printable(&file.path)));
                for line in file.patch.iter().flat_map(|patch| patch.lines()) {
                    text.push_str(&format!("    {}\n", printable(line)));
                }
            }
        }
        let parts = [
            ("configuration", &document.config, true),
            ("environment", &document.environment, false),
            ("outcome", &document.outcome, false),
        ];
        for (title, changes, pointers) in parts {
            if changes.is_empty() {
                continue;
            }
            head(&mut text, title);
            for change in changes {
                let name = match pointers {
                    true => path(&change.path),
                    false => change.path.clone(),
                };
                text.push_str(&format!(
                    "  {}: {} → {}\n",
                    printable(&name),
                    shown(change.a.as_ref()),
                    shown(change.b.as_ref())
                ));
            }
        }
        text
    }

    fn json(&self, layout: Layout) -> String {
        json(layout, &self.0)
    }
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(Value::String(text)) => printable(text),
        Some(value) => printable(&value.to_string()),
    }
}
