//! An experiment's jobs as people read them: the header line, the table of jobs, the report about a failure.

use mizzen_core::logs::add_usage;
use mizzen_core::model::{Cause, Failure, JobState, Timestamp, Usage};
use mizzen_core::store::{AttemptView, ExperimentView, JobView, StateCounts, Store, StoreError};

use super::documents::{Layout, StatusDocument, json};
use super::table::{Cell, Column, Table};
use super::text::{count, cut, printable};
use super::time::{ago, duration};
use super::{Page, Show, View, style, usage};

/// With more jobs than this, a terminal is shown the ones that need attention.
const MANY_JOBS: usize = 50;
/// The reasons of at most so many failures are told below the table.
const REASONS: usize = 3;
/// At most so many of the ones that need attention.
const SHOWN_OF_MANY: usize = 40;

/// An experiment and what is shown of it.
#[derive(Debug)]
pub(crate) struct ExperimentStatus {
    /// What the store says.
    pub(crate) view: ExperimentView,
    /// How many attempts each job may make, where that was looked up.
    pub(crate) budgets: Option<Vec<u32>>,
    /// Every job is shown, however many there are.
    pub(crate) all: bool,
}

impl ExperimentStatus {
    /// Without attempt budgets, and with what each attempt used.
    ///
    /// # Errors
    /// The store can't be read.
    pub(crate) fn of(
        store: &Store,
        mut view: ExperimentView,
    ) -> Result<ExperimentStatus, StoreError> {
        add_usage(store, &mut view)?;
        Ok(ExperimentStatus {
            view,
            budgets: None,
            all: false,
        })
    }
}

impl Show for ExperimentStatus {
    fn text(&self, view: &View) -> String {
        let page = &view.page;
        let mut text = header(&self.view, page, view.now);
        text.push('\n');
        let counts = &self.view.summary.counts;
        let some = page.terminal && !self.all && self.view.jobs.len() > MANY_JOBS;
        let jobs: Vec<&JobView> = if some {
            text.push_str(&tally(counts, page));
            text.push('\n');
            interesting(&self.view.jobs)
        } else {
            self.view.jobs.iter().collect()
        };
        text.push_str(&self.table(&jobs, view).render(page));
        let left_out = self.view.jobs.len() - jobs.len();
        if left_out > 0 {
            let note = format!(
                "… and {}; `--all` shows every one",
                count(left_out, "more job")
            );
            text.push_str(&page.paint(style::FAINT, &note));
            text.push('\n');
        }
        text.push_str(&self.reasons(&jobs, page));
        text
    }

    fn json(&self, layout: Layout) -> String {
        json(layout, &StatusDocument::of(&self.view))
    }
}

impl ExperimentStatus {
    /// On a terminal, below the table: the reasons of failures, which hardly ever fit into it.
    fn reasons(&self, jobs: &[&JobView], page: &Page) -> String {
        let mut text = String::new();
        if page.width.is_none() {
            return text;
        }
        let failed = jobs.iter().filter(|job| job.state == JobState::Failed);
        let reasons = failed.filter_map(|job| {
            let failure = failure_of(job.attempts.last()?)?;
            failure.reason.as_ref()?;
            Some((job, failure))
        });
        for (job, failure) in reasons.take(REASONS) {
            let words = printable(failure.words.as_deref().unwrap_or_default());
            let name = page.paint(style::STRONG, &job.name);
            text.push_str(&format!("{name}: {words}\n"));
        }
        text
    }

    fn table(&self, jobs: &[&JobView], view: &View) -> Table {
        let mut table = Table::new([
            Column::new("JOB").may_be_cut(),
            Column::new("STATE"),
            Column::new("CAUSE"),
            Column::new("EXIT").right(),
            Column::new("ATTEMPT"),
            Column::new("EXECUTOR").may_be_cut(),
            Column::new("TIME").right(),
            Column::new("CPU (PEAK)").right(),
            Column::new("MEMORY (PEAK)").right(),
            Column::new("GPU (PEAK)").right(),
            Column::new("DETAIL").may_be_cut(),
        ]);
        for job in jobs {
            let last = job.attempts.last();
            let exit = last
                .filter(|_| job.state.is_final())
                .and_then(|attempt| attempt.exit_code);
            let usage = last.and_then(|attempt| attempt.usage.as_deref());
            let used = |cell: fn(&Usage) -> String| usage.map_or(String::new(), cell).into();
            let budget = self
                .budgets
                .as_ref()
                .and_then(|budgets| budgets.get(job.index as usize));
            table.row([
                job.name.as_str().into(),
                Cell::styled(job.state.as_str(), style::state(job.state)),
                job.cause.map_or("", Cause::as_str).into(),
                exit.filter(|code| *code != 0)
                    .map_or(String::new(), |code| code.to_string())
                    .into(),
                attempts(job, budget.copied()).into(),
                (&*job.executor).into(),
                last.and_then(|attempt| run_time(attempt, view.now))
                    .map_or(String::new(), duration)
                    .into(),
                used(usage::processors),
                used(usage::memory),
                used(usage::gpus),
                detail(job, view.now).into(),
            ]);
        }
        table
    }
}

/// `iris  k3f9x2b7qd  RUNNING  created 3m ago, running for 2m 10s`.
pub(crate) fn header(view: &ExperimentView, page: &Page, now: Timestamp) -> String {
    let summary = &view.summary;
    let lasted = summary.ended.unwrap_or(now).seconds_since(summary.created);
    let how_long = if summary.is_over() {
        "took"
    } else {
        "going on for"
    };
    // When the end is not known, nothing is known of how long it took.
    let time = if summary.state == JobState::Unknown && summary.is_over() {
        String::new()
    } else {
        format!(", {how_long} {}", duration(lasted))
    };
    format!(
        "{}  {}  {}  created {}{time}",
        page.paint(style::STRONG, &summary.title),
        summary.id,
        page.paint(style::state(summary.state), summary.state.as_str()),
        ago(summary.created, now),
    )
}

/// `3 RUNNING · 2 SUCCEEDED · 1 FAILED`.
pub(crate) fn tally(counts: &StateCounts, page: &Page) -> String {
    let order = [
        JobState::Running,
        JobState::Submitted,
        JobState::Pending,
        JobState::Unsubmitted,
        JobState::Succeeded,
        JobState::Failed,
        JobState::Cancelled,
        JobState::Unknown,
    ];
    let parts: Vec<String> = order
        .into_iter()
        .filter(|state| counts.of(*state) > 0)
        .map(|state| {
            page.paint(
                style::state(state),
                &format!("{} {state}", counts.of(state)),
            )
        })
        .collect();
    parts.join(" · ")
}

/// Of many jobs, those that need attention: failed first, then running, then waiting, in the order of the file.
fn interesting(jobs: &[JobView]) -> Vec<&JobView> {
    let urgency = |job: &JobView| match job.state {
        JobState::Failed | JobState::Unknown => Some(0),
        JobState::Running => Some(1),
        JobState::Submitted | JobState::Pending => Some(2),
        JobState::Cancelled => Some(3),
        JobState::Unsubmitted | JobState::Succeeded => None,
    };
    let mut chosen: Vec<(i32, &JobView)> = jobs
        .iter()
        .filter_map(|job| urgency(job).map(|urgency| (urgency, job)))
        .collect();
    chosen.sort_by_key(|(urgency, _)| *urgency);
    chosen.truncate(SHOWN_OF_MANY);
    chosen.into_iter().map(|(_, job)| job).collect()
}

/// `2/3`, or `2` where the budget is not known; empty before the first attempt.
fn attempts(job: &JobView, budget: Option<u32>) -> String {
    match (job.attempts.last(), budget) {
        (None, _) => String::new(),
        (Some(last), Some(budget)) if budget > 1 => {
            format!("{}/{}", last.number, budget.max(last.number))
        }
        (Some(last), _) => last.number.to_string(),
    }
}

/// Seconds that an attempt ran, or has run until now.
fn run_time(attempt: &AttemptView, now: Timestamp) -> Option<f64> {
    let started = attempt.started?;
    let ended = match attempt.ended {
        Some(ended) => ended,
        None if attempt.state.is_final() => return None,
        None => now,
    };
    Some(ended.seconds_since(started))
}

/// What the job's row says at its end: a message, the time of the next attempt, the last line of a failure.
fn detail(job: &JobView, now: Timestamp) -> String {
    if let Some(at) = job.retry_at.filter(|_| !job.state.is_final()) {
        let seconds = at.seconds_since(now);
        return if seconds > 0.0 {
            format!("next attempt in {}", duration(seconds))
        } else {
            "next attempt now".into()
        };
    }
    if let Some(message) = &job.message {
        return printable(message);
    }
    if job.state != JobState::Failed {
        return String::new();
    }
    let attempt = job.attempts.last();
    let failure = attempt.and_then(failure_of);
    let words = failure
        .as_ref()
        .and_then(|failure| failure.words.as_deref());
    let said = || {
        let lines = attempt.map(last_lines).unwrap_or_default();
        lines.into_iter().next_back().unwrap_or_default()
    };
    match words.map(printable) {
        Some(words) if failure.is_some_and(|failure| failure.reason.is_some()) => words,
        Some(words) => match said() {
            line if line.is_empty() => words,
            line => format!("{words}: {line}"),
        },
        None => said(),
    }
}

/// Who failed first in an attempt, and why, if it failed.
pub(crate) fn failure_of(attempt: &AttemptView) -> Option<Failure> {
    attempt.record.as_ref().and_then(Failure::of)
}

/// What may be done about an attempt's failure.
pub(crate) fn failure_hint(attempt: &AttemptView) -> Option<String> {
    failure_of(attempt)?.hint.map(|hint| printable(&hint))
}

/// `app-failure, exit code 3`; with what is known of the reason: `rank 5 on n2 failed first, 0.8 s before the rest: CUDA out of
/// memory, exit code 1`.
pub(crate) fn ending(attempt: &AttemptView) -> String {
    let mut parts = Vec::new();
    let failure = failure_of(attempt);
    let words = failure
        .and_then(|failure| failure.words)
        .map(|words| printable(&words));
    // A failure of the program's own is what the words tell of.
    let plain = words.is_some() && attempt.cause == Some(Cause::AppFailure);
    if let Some(cause) = attempt.cause.filter(|_| !plain) {
        parts.push(cause.as_str().to_owned());
    }
    let first = attempt.record.as_ref().and_then(|record| {
        let first = record.first_failure.as_ref()?;
        record.ranks.get(first.rank as usize)
    });
    let error = first.and_then(|exit| exit.error.as_deref()).map(printable);
    let code = first.and_then(|exit| exit.code);
    let signal = first.and_then(|exit| exit.signal);
    let told = words.is_some();
    parts.extend(words);
    let told_already = |words: &str| parts.iter().any(|part| part.contains(words));
    let end = match (error, code, signal) {
        (Some(error), ..) => Some(error),
        (None, Some(code), _) => Some(format!("exit code {code}")),
        (None, None, Some(signal)) if told => Some(short_signal_name(signal)),
        (None, None, Some(signal)) => Some(signal_name(signal)),
        (None, None, None) => None,
    };
    let end = end.filter(|end| !told_already(end));
    parts.extend(end);
    parts.join(", ")
}

/// `SIGKILL`.
fn short_signal_name(number: i32) -> String {
    match nix::sys::signal::Signal::try_from(number) {
        Ok(signal) => signal.to_string(),
        Err(_) => format!("signal {number}"),
    }
}

/// `signal 9 (SIGKILL)`.
fn signal_name(number: i32) -> String {
    match nix::sys::signal::Signal::try_from(number) {
        Ok(signal) => format!("signal {number} ({signal})"),
        Err(_) => format!("signal {number}"),
    }
}

/// A failed job for people: which, why, and the last lines of its log, indented.
pub(crate) fn failure(job: &JobView, attempt: &AttemptView, page: &Page) -> String {
    let mut text = failure_words(job, attempt);
    for line in last_lines(attempt) {
        text.push('\n');
        let line = cut(&line, page.width.unwrap_or(usize::MAX).saturating_sub(6));
        text.push_str(&format!("    {} {line}", page.paint(style::FAINT, "│")));
    }
    if let Some(hint) = failure_hint(attempt) {
        text.push_str(&format!(
            "\n    {} {hint}",
            page.paint(style::HINT, "hint:")
        ));
    }
    text
}

/// A failed job in one line: how its attempt ended, and what else is known.
pub(crate) fn failure_words(job: &JobView, attempt: &AttemptView) -> String {
    let mut text = ending(attempt);
    if let Some(message) = job
        .message
        .as_deref()
        .map(printable)
        .filter(|message| !text.contains(message.as_str()))
    {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&message);
    }
    text
}

/// The last lines of the rank that failed first, without blank lines at the end.
fn last_lines(attempt: &AttemptView) -> Vec<String> {
    let failure = attempt
        .record
        .as_ref()
        .and_then(|record| record.first_failure.as_ref());
    let mut lines: Vec<String> = failure.map_or_else(Vec::new, |failure| {
        failure
            .last_lines
            .iter()
            .map(|line| printable(line))
            .collect()
    });
    while lines.last().is_some_and(|line| line.trim().is_empty()) {
        lines.pop();
    }
    lines
}
