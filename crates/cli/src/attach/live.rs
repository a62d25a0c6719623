//! What an attached client shows while an experiment goes on: one trait, with a view for logs, one for states, and none.

use mizzen_core::logs::Mirroring;
use mizzen_core::model::{Event, Timestamp};

use super::Shown;
use super::log::LogView;
use super::progress::ProgressView;
use crate::render::board::{Board, Change};
use crate::render::log_lines::Following;
use crate::report::Report;
use crate::surroundings::Surroundings;

/// A live view.
pub(super) trait Live {
    /// Before anything has happened.
    fn begin(&mut self, board: &Board) -> Result<(), Report>;

    /// The board has changed by an event.
    fn change(&mut self, board: &Board, event: &Event, change: Change) -> Result<(), Report>;

    /// Shows what the logs have gained; says whether they have.
    fn pump(&mut self, board: &Board) -> Result<bool, Report>;

    /// Time has passed.
    fn tick(&mut self, board: &Board, now: Timestamp);

    /// The logs that it shows, if it shows any: new bytes end a pause.
    fn following(&self) -> Option<&Following> {
        None
    }

    /// A line of talk between what is shown.
    fn say(&mut self, line: &str);

    /// Takes back what is drawn for the moment only.
    fn clear(&mut self) {}

    /// After the end.
    fn end(&mut self, board: &Board) -> Result<(), Report>;
}

/// The view that was asked for, and what brings the logs here that it shows.
pub(super) fn make<'a>(
    surroundings: &'a Surroundings,
    board: &Board,
    shown: Shown,
    json: bool,
    mirroring: Option<Mirroring>,
) -> Box<dyn Live + 'a> {
    match shown {
        _ if json => Box::new(Nothing { surroundings }),
        Shown::Log => Box::new(LogView::new(surroundings, board, mirroring)),
        Shown::Progress { logs } => {
            Box::new(ProgressView::new(surroundings, board, logs, mirroring))
        }
    }
}

/// Under `--json`: only the end counts.
struct Nothing<'a> {
    surroundings: &'a Surroundings,
}

impl Live for Nothing<'_> {
    fn begin(&mut self, _: &Board) -> Result<(), Report> {
        Ok(())
    }

    fn change(&mut self, _: &Board, _: &Event, _: Change) -> Result<(), Report> {
        Ok(())
    }

    fn pump(&mut self, _: &Board) -> Result<bool, Report> {
        Ok(false)
    }

    fn tick(&mut self, _: &Board, _: Timestamp) {}

    fn say(&mut self, line: &str) {
        self.surroundings.output.say(&format!("mizzen: {line}"));
    }

    fn end(&mut self, _: &Board) -> Result<(), Report> {
        Ok(())
    }
}
