//! `mizzen run`: the job's log on standard output, byte for byte, and a line of talk at its start, at each further
//! attempt and at its end.

use mizzen_core::logs::Mirroring;
use mizzen_core::model::{Cause, Event, EventKind, JobState, Timestamp};

use super::live::Live;
use crate::render::board::{Board, Change};
use crate::render::experiment::{ending, failure_hint, failure_words};
use crate::render::log_lines::{Following, Form};
use crate::render::style;
use crate::render::time::duration;
use crate::report::Report;
use crate::surroundings::Surroundings;

/// The log of the one job of an experiment.
pub(super) struct LogView<'a> {
    surroundings: &'a Surroundings,
    following: Following,
}

impl<'a> LogView<'a> {
    /// From the job's beginning.
    pub(super) fn new(
        surroundings: &'a Surroundings,
        board: &Board,
        mirroring: Option<Mirroring>,
    ) -> LogView<'a> {
        let following = Following::of_all_that_comes(&board.view, Form::Unchanged, mirroring);
        LogView {
            surroundings,
            following,
        }
    }
}

impl Live for LogView<'_> {
    fn begin(&mut self, board: &Board) -> Result<(), Report> {
        let name = board.view.jobs.first().map_or("", |job| &job.name);
        self.say(&format!("experiment {}, job {name}", board.view.summary.id));
        Ok(())
    }

    fn change(&mut self, board: &Board, event: &Event, change: Change) -> Result<(), Report> {
        if let Change::Job(job) = change {
            self.following.look_again(job);
        }
        // What the attempt has written stands before what is said about its end.
        if let EventKind::Ended {
            job,
            retry: Some(retry),
            ..
        } = &event.kind
        {
            self.pump(board)?;
            let job = &board.view.jobs[*job as usize];
            if let Some(attempt) = job.attempts.last() {
                let wait = duration(retry.at.seconds_since(event.time));
                self.say(&format!(
                    "attempt {} of {}: {}; next one in {wait}",
                    attempt.number,
                    job.name,
                    ending(attempt)
                ));
            }
        }
        Ok(())
    }

    fn pump(&mut self, board: &Board) -> Result<bool, Report> {
        self.following.pump(&board.view, &self.surroundings.output)
    }

    fn tick(&mut self, _: &Board, _: Timestamp) {}

    fn following(&self) -> Option<&Following> {
        Some(&self.following)
    }

    fn say(&mut self, line: &str) {
        if self.following.is_open()
            && self.surroundings.output.talk.terminal
            && !self.surroundings.output.quiet
        {
            self.surroundings.output.complain("");
        }
        self.surroundings.output.say(&format!("mizzen: {line}"));
    }

    fn end(&mut self, board: &Board) -> Result<(), Report> {
        self.following
            .finish(&board.view, &self.surroundings.output)?;
        let Some(job) = board.view.jobs.first() else {
            return Ok(());
        };
        let page = &self.surroundings.output.talk;
        let state = page.paint(style::state(job.state), job.state.as_str());
        let lasted = job
            .attempts
            .last()
            .and_then(|attempt| Some(attempt.ended?.seconds_since(attempt.started?)));
        let after = lasted.map_or(String::new(), |seconds| {
            format!(" after {}", duration(seconds))
        });
        let words = job.attempts.last().map_or_else(
            || job.message.clone().unwrap_or_default(),
            |attempt| {
                if job.state == JobState::Succeeded {
                    String::new()
                } else {
                    failure_words(job, attempt)
                }
            },
        );
        let why = if words.is_empty() {
            String::new()
        } else {
            format!(": {words}")
        };
        self.say(&format!("{} {state}{after}{why}", job.name));
        let attempt = job.attempts.last();
        if let Some(hint) = attempt.and_then(failure_hint) {
            self.surroundings.output.hint(&hint);
        }
        let id = &board.view.summary.id;
        let logs = format!("`mizzen logs {id}` shows this output again");
        let retry = format!("`mizzen retry {id}` runs it again");
        let hint = match (job.state, job.cause) {
            (JobState::Succeeded, _) => logs,
            // It has put nothing out.
            (_, Some(Cause::LaunchFailure)) => retry,
            _ => format!("{logs}, {retry}"),
        };
        self.surroundings.output.hint(&hint);
        Ok(())
    }
}
