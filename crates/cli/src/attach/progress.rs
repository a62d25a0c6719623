//! `mizzen launch`, `mizzen retry`: the states of all jobs on standard error. On a terminal, bars that are redrawn for
//! what goes on, below lines for what has happened; elsewhere only the lines.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use mizzen_core::logs::Mirroring;
use mizzen_core::model::{Event, EventKind, JobState, Timestamp};
use mizzen_core::store::JobView;

use super::live::Live;
use crate::render::board::{Board, Change};
use crate::render::experiment::{failure, failure_words, tally};
use crate::render::log_lines::{Following, Form};
use crate::render::text::count;
use crate::render::time::{clock, duration};
use crate::render::{Page, style};
use crate::report::Report;
use crate::surroundings::Surroundings;

/// What takes less long than this shows no bars.
const PATIENCE: Duration = Duration::from_secs(1);
/// At most so many running jobs have a bar.
const ROWS: usize = 8;
/// The time between two drawings.
const REDRAW: Duration = Duration::from_millis(100);
/// With more jobs than this, a terminal is told of those only that do not go well.
const MANY_JOBS: usize = 50;

/// The states of all jobs.
pub(super) struct ProgressView<'a> {
    surroundings: &'a Surroundings,
    began: Instant,
    bars: Option<Bars>,
    drawn: Instant,
    logs: Option<Following>,
}

/// What is redrawn.
struct Bars {
    all: MultiProgress,
    rows: Vec<ProgressBar>,
    total: ProgressBar,
}

impl<'a> ProgressView<'a> {
    /// A view of an experiment that has just been started.
    pub(super) fn new(
        surroundings: &'a Surroundings,
        board: &Board,
        logs: bool,
        mirroring: Option<Mirroring>,
    ) -> ProgressView<'a> {
        let logs = logs.then(|| {
            let form = if board.view.jobs.len() > 1 {
                Form::Named
            } else {
                Form::Unchanged
            };
            Following::of_all_that_comes(&board.view, form, mirroring)
        });
        let now = Instant::now();
        ProgressView {
            surroundings,
            began: now,
            bars: None,
            drawn: now,
            logs,
        }
    }

    fn page(&self) -> &Page {
        &self.surroundings.output.talk
    }

    /// A line above the bars.
    fn line(&self, line: &str) {
        match &self.bars {
            Some(bars) => bars.all.suspend(|| self.surroundings.output.say(line)),
            None => self.surroundings.output.say(line),
        }
    }

    /// Whether a job's new state is worth a line.
    fn is_told(&self, board: &Board, job: &JobView) -> bool {
        if self.page().terminal {
            // The bars show what runs; of many jobs only what fails deserves a line.
            match job.state {
                JobState::Succeeded => board.view.jobs.len() <= MANY_JOBS,
                JobState::Failed | JobState::Cancelled | JobState::Unknown => true,
                JobState::Pending => job.retry_at.is_some(),
                _ => false,
            }
        } else {
            matches!(job.state, JobState::Running | JobState::Unknown)
                || job.state.is_final()
                || (job.state == JobState::Pending
                    && (job.retry_at.is_some() || job.message.is_some()))
        }
    }

    fn draw(&mut self, board: &Board, now: Timestamp) {
        let page = *self.page();
        let bars = self.bars.get_or_insert_with(Bars::new);
        let width = page.width.unwrap_or(80).saturating_sub(1);
        let running: Vec<&JobView> = board.running().take(ROWS).collect();
        while bars.rows.len() > running.len() {
            if let Some(row) = bars.rows.pop() {
                row.finish_and_clear();
                bars.all.remove(&row);
            }
        }
        while bars.rows.len() < running.len() {
            let row = bars.all.insert_before(&bars.total, plain_bar());
            bars.rows.push(row);
        }
        for (row, job) in bars.rows.iter().zip(running) {
            let started = job.attempts.last().and_then(|attempt| attempt.started);
            let elapsed = started.map_or(String::new(), |started| {
                duration(now.seconds_since(started))
            });
            let name = crate::render::text::cut(&job.name, width.saturating_sub(24));
            let number = job.attempts.last().map_or(1, |attempt| attempt.number);
            let again = if number > 1 {
                format!(", attempt {number}")
            } else {
                String::new()
            };
            let state = page.paint(style::state(job.state), job.state.as_str());
            row.set_message(format!("  {name}  {state}  {elapsed}{again}"));
            row.tick();
        }
        let counts = &board.view.summary.counts;
        let ended: u32 = JobState::ALL
            .iter()
            .filter(|state| state.is_final())
            .map(|state| counts.of(*state))
            .sum();
        let bar = drawn_bar(ended, counts.total(), 20);
        let elapsed = duration(now.seconds_since(board.view.summary.created));
        let tally = tally(counts, &page);
        bars.total.set_message(format!(
            "{bar} {ended}/{}  {tally}  {elapsed}",
            counts.total()
        ));
        bars.total.tick();
    }
}

impl Bars {
    fn new() -> Bars {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let total = all.add(plain_bar());
        Bars {
            all,
            rows: Vec::new(),
            total,
        }
    }
}

fn plain_bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{msg}") {
        bar.set_style(style);
    }
    bar
}

/// `━━━━━━━╸───`, `part` of `whole` in so many columns.
fn drawn_bar(part: u32, whole: u32, columns: usize) -> String {
    let filled = (part as usize * columns)
        .checked_div(whole as usize)
        .unwrap_or(columns);
    format!("{}{}", "━".repeat(filled), "─".repeat(columns - filled))
}

impl Live for ProgressView<'_> {
    fn begin(&mut self, board: &Board) -> Result<(), Report> {
        let summary = &board.view.summary;
        let title = self.page().paint(style::STRONG, &summary.title);
        self.line(&format!(
            "mizzen: experiment {} ({title}), {}",
            summary.id,
            count(board.view.jobs.len(), "job")
        ));
        Ok(())
    }

    fn change(&mut self, board: &Board, event: &Event, change: Change) -> Result<(), Report> {
        let Change::Job(index) = change else {
            return Ok(());
        };
        if let Some(logs) = &mut self.logs {
            logs.look_again(index);
            // What a job has written stands before what is said about it.
            self.pump(board)?;
        }
        let job = &board.view.jobs[index as usize];
        if self.is_told(board, job) {
            let words = job_line(job, event, self.page());
            self.line(&words);
        }
        Ok(())
    }

    fn pump(&mut self, board: &Board) -> Result<bool, Report> {
        let Some(logs) = &mut self.logs else {
            return Ok(false);
        };
        match &self.bars {
            Some(bars) => bars
                .all
                .suspend(|| logs.pump(&board.view, &self.surroundings.output)),
            None => logs.pump(&board.view, &self.surroundings.output),
        }
    }

    fn tick(&mut self, board: &Board, now: Timestamp) {
        let output = &self.surroundings.output;
        if output.talk.terminal
            && !output.quiet
            && self.began.elapsed() >= PATIENCE
            && self.drawn.elapsed() >= REDRAW
        {
            self.drawn = Instant::now();
            self.draw(board, now);
        }
    }

    fn following(&self) -> Option<&Following> {
        self.logs.as_ref()
    }

    fn say(&mut self, line: &str) {
        self.line(&format!("mizzen: {line}"));
    }

    fn clear(&mut self) {
        if let Some(bars) = self.bars.take() {
            let _ = bars.all.clear();
        }
    }

    fn end(&mut self, board: &Board) -> Result<(), Report> {
        self.clear();
        if let Some(logs) = &mut self.logs {
            logs.finish(&board.view, &self.surroundings.output)?;
        }
        let summary = &board.view.summary;
        let output = &self.surroundings.output;
        let page = &output.talk;
        let lasted = summary
            .ended
            .map_or(0.0, |ended| ended.seconds_since(summary.created));
        output.say(&format!(
            "mizzen: {} {} after {}: {}",
            page.paint(style::STRONG, &summary.title),
            page.paint(style::state(summary.state), summary.state.as_str()),
            duration(lasted),
            tally(&summary.counts, page),
        ));
        let id = &summary.id;
        let failed = board
            .view
            .jobs
            .iter()
            .find(|job| job.state == JobState::Failed);
        match failed {
            Some(job) => output.hint(&format!(
                "`mizzen logs {id} {}` shows its whole output, `mizzen retry {id}` runs again what did not succeed",
                crate::commands::show::shell_line(std::slice::from_ref(&job.name))
            )),
            None => output.hint(&format!("`mizzen logs {id}` shows the output, `mizzen status {id}` all jobs")),
        }
        Ok(())
    }
}

/// `12:03:04 train-lr=0.1 FAILED after 1.2s: app-failure, exit code 1`, and for a failure the last lines of its log.
fn job_line(job: &JobView, event: &Event, page: &Page) -> String {
    let time = page.paint(style::FAINT, &clock(event.time));
    let state = page.paint(style::state(job.state), job.state.as_str());
    let head = format!("{time} {} {state}", job.name);
    let attempt = job.attempts.last();
    match (&event.kind, attempt) {
        (
            EventKind::Ended {
                state: ended,
                retry,
                ..
            },
            Some(attempt),
        ) => {
            let lasted = attempt
                .ended
                .zip(attempt.started)
                .map(|(ended, started)| ended.seconds_since(started));
            let after = lasted.map_or(String::new(), |seconds| {
                format!(" after {}", duration(seconds))
            });
            match (retry, ended) {
                (Some(retry), _) => {
                    let wait = duration(retry.at.seconds_since(event.time));
                    let why = failure(job, attempt, page);
                    format!(
                        "{head} for attempt {} in {wait}; attempt {}{after}: {why}",
                        attempt.number + 1,
                        attempt.number
                    )
                }
                (None, JobState::Succeeded) => format!("{head}{after}"),
                (None, JobState::Failed) => {
                    format!("{head}{after}: {}", failure(job, attempt, page))
                }
                (None, _) => format!("{head}{after}: {}", failure_words(job, attempt)),
            }
        }
        (
            EventKind::Started {
                attempt: number, ..
            },
            _,
        ) if *number > 1 => format!("{head} attempt {number}"),
        (EventKind::Skipped { message, .. }, _) => {
            format!("{head}: {}", crate::render::text::printable(message))
        }
        (EventKind::Observed { detail, .. }, _) if !detail.is_empty() => {
            format!("{head}: {}", crate::render::text::printable(detail))
        }
        _ => head,
    }
}
