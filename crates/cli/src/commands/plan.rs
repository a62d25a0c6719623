//! `mizzen plan`: exactly what would be run. Nothing is submitted, nothing is written.

use std::ffi::OsString;
use std::sync::Arc;

use camino::Utf8PathBuf;
use clap::Args;
use mizzen_core::context::FixedId;
use mizzen_core::model::ExperimentId;
use mizzen_core::submit::{self, JobPreview};

use super::doctor::{self, check_place};
use super::launch::OnFailureArgs;
use super::show::{code_lines, shell_line};
use crate::prepare::{FileFormat, OrderedJobArgs, Source, prepare};
use crate::render::documents::{
    CheckStatus, FileDocument, Layout, PlanDocument, PlannedJobDocument, VariableDocument, json,
};
use crate::render::text::count;
use crate::render::time::duration;
use crate::render::{Outcome, Page, Show, View, style};
use crate::report::{Report, Status};
use crate::surroundings::Surroundings;

/// Shows exactly what would be run; submits and writes nothing
///
/// The command of each job is a line that can be pasted into a shell. Secrets are masked. Without --check no place is asked.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The experiment file (.toml, .yaml or .json), or - for standard input
    #[arg(value_name = "FILE", required_unless_present = "command", conflicts_with = "command", value_hint = clap::ValueHint::FilePath)]
    file: Option<Utf8PathBuf>,
    /// The file's notation, where its name does not tell: toml, yaml or json
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    format: Option<FileFormat>,
    #[command(flatten)]
    jobs: OrderedJobArgs,
    #[command(flatten)]
    on_failure: OnFailureArgs,
    /// The job's name, for a command [default: the program's or the script's]
    #[arg(long, value_name = "JOB", conflicts_with = "file")]
    name: Option<String>,
    /// Also look at the places that the jobs would run at: what would keep them from running, and when they could start
    #[arg(long)]
    check: bool,
    /// Print JSON (schema: `mizzen schema plan`)
    #[arg(long)]
    json: bool,
    /// A command and its arguments, as for `mizzen run`
    #[arg(last = true, value_name = "COMMAND", value_hint = clap::ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

/// Plans and previews.
///
/// # Errors
/// The file, the flags or the configuration are wrong.
pub(crate) fn run(args: PlanArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let source = match args.file {
        Some(path) => Source::File {
            path,
            format: args.format,
        },
        None => Source::Command {
            words: args.command,
            name: args.name,
        },
    };
    // No experiment is made, so there is no id: the same file gives the same preview.
    let mut surroundings = surroundings.clone();
    let id = ExperimentId::parse("preview").map_err(|error| Report::usage(error.to_string()))?;
    surroundings.context.ids = Arc::new(FixedId(id));
    let mut prepared = prepare(&source, &args.jobs, args.on_failure.word(), &surroundings)?;
    for note in prepared.package(&surroundings.context, false)? {
        surroundings.output.say(&format!("note: {}", note.text));
    }
    let jobs = submit::preview(&surroundings.context, &prepared.plan, &prepared.id)?;
    let checks = args.check.then(|| {
        let executors = prepared.plan.executors.iter();
        executors
            .flat_map(|(name, config)| check_place(name, config, &surroundings.context))
            .collect::<Vec<_>>()
    });
    let failed = checks
        .iter()
        .flatten()
        .any(|check| check.status == CheckStatus::Failed);
    let document = PlanDocument {
        title: prepared.plan.title.clone(),
        on_failure: serde_json::to_value(prepared.plan.on_failure)
            .ok()
            .and_then(|word| word.as_str().map(str::to_owned))
            .unwrap_or_default(),
        fingerprint: prepared.fingerprint.clone(),
        code: serde_json::to_value(&prepared.plan.code).unwrap_or_default(),
        jobs: jobs.into_iter().map(planned_job).collect(),
        checks,
    };
    let status = if failed {
        Status::Failed
    } else {
        Status::Succeeded
    };
    Ok(Outcome::show(Preview(document), args.json).with_status(status))
}

fn planned_job(job: JobPreview) -> PlannedJobDocument {
    PlannedJobDocument {
        name: job.name,
        executor: job.executor,
        kind: job.kind,
        argv: job.argv,
        env: job
            .env
            .into_iter()
            .map(|(name, value)| VariableDocument { name, value })
            .collect(),
        workdir: job.workdir,
        after: job.after,
        files: job
            .files
            .into_iter()
            .map(|file| FileDocument {
                path: file.path,
                contents: file.contents,
                executable: file.executable,
            })
            .collect(),
        timeout: job.timeout,
        retries: job.retries.failure,
        request: job.request,
        by_hand: job.by_hand,
    }
}

struct Preview(PlanDocument);

impl Show for Preview {
    fn text(&self, view: &View) -> String {
        let page = &view.page;
        let document = &self.0;
        let mut text = format!(
            "{}  {}, on failure: {}, plan {}\n",
            page.paint(style::STRONG, &document.title),
            count(document.jobs.len(), "job"),
            document.on_failure,
            document.fingerprint,
        );
        for line in code_lines(&document.code) {
            text.push_str(&format!("{} {line}\n", page.paint(style::FAINT, "code")));
        }
        let (mut last, mut requests) = (None, 0);
        for job in &document.jobs {
            text.push('\n');
            text.push_str(&job_text(job, page));
            // The members of a group are sent together, by one request.
            if last.replace(&job.request) != Some(&job.request) {
                requests += 1;
                text.push_str(&scripts_text(job, requests <= WHOLE_SCRIPTS, page));
            }
        }
        if let Some(checks) = &document.checks {
            text.push('\n');
            text.extend(checks.iter().map(|check| doctor::line(check, page)));
        }
        text
    }

    fn json(&self, layout: Layout) -> String {
        json(layout, &self.0)
    }
}

/// The scripts of so many requests are shown as a whole: those of a sweep are much alike.
const WHOLE_SCRIPTS: usize = 3;

/// The scripts of a request that has some, beside the job's own files.
fn scripts_text(job: &PlannedJobDocument, whole: bool, page: &Page) -> String {
    let files = job.request["files"].as_array().into_iter().flatten();
    let mut text = String::new();
    for file in files {
        let (Some(path), Some(contents)) = (file["path"].as_str(), file["contents"].as_str())
        else {
            continue;
        };
        let own = |file: &FileDocument| path.ends_with(&format!("/{}", file.path));
        if job.files.iter().any(own) {
            continue;
        }
        let length = if whole {
            String::new()
        } else {
            format!(" ({}, see --json)", count(contents.lines().count(), "line"))
        };
        text.push_str(&format!(
            "  {} {path}{length}\n",
            page.paint(style::FAINT, &format!("{:<8}", "script"))
        ));
        if !whole {
            continue;
        }
        for line in contents.lines() {
            text.push_str(&format!(
                "  {:<8} │ {}\n",
                "",
                crate::render::text::printable(line)
            ));
        }
    }
    text
}

fn job_text(job: &PlannedJobDocument, page: &Page) -> String {
    let place = if job.executor == job.kind {
        job.executor.clone()
    } else {
        format!("{} ({})", job.executor, job.kind)
    };
    let mut text = format!("{}  on {place}\n", page.paint(style::STRONG, &job.name));
    let mut line = |name: &str, value: &str| {
        text.push_str(&format!(
            "  {} {value}\n",
            page.paint(style::FAINT, &format!("{name:<8}"))
        ));
    };
    for (rank, argv) in job.argv.iter().enumerate() {
        let name = if job.argv.len() == 1 {
            "command".to_owned()
        } else {
            format!("rank {rank}")
        };
        line(&name, &shell_line(argv));
    }
    line("in", &shell_line(std::slice::from_ref(&job.workdir)));
    if let Some(by_hand) = &job.by_hand {
        line("by hand", by_hand);
    }
    if !job.after.is_empty() {
        line("after", &job.after.join(", "));
    }
    if let Some(timeout) = job.timeout {
        line("timeout", &duration(timeout));
    }
    if job.retries > 0 {
        line("retries", &job.retries.to_string());
    }
    for VariableDocument { name, value } in &job.env {
        line(
            "env",
            &format!("{name}={}", shell_line(std::slice::from_ref(value))),
        );
    }
    for file in &job.files {
        line(
            "file",
            &format!(
                "{}{}",
                file.path,
                if file.executable { " (executable)" } else { "" }
            ),
        );
        for content in file.contents.lines() {
            line(
                "",
                &format!("│ {}", crate::render::text::printable(content)),
            );
        }
    }
    text
}
