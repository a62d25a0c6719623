//! From values to what people and programs read. Everything here is pure: it takes a value and a [`Page`] and answers with
//! text; [`crate::output`] writes it.
//!
//! To show one more kind of value: implement [`Show`] for it beside the command that returns it.

pub(crate) mod board;
pub(crate) mod documents;
pub(crate) mod experiment;
pub(crate) mod log_lines;

pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod usage;

use anstyle::Style;
use mizzen_core::model::Timestamp;

use crate::report::Status;

/// What a stream can show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    /// Colours are wanted.
    pub(crate) color: bool,
    /// It is a terminal.
    pub(crate) terminal: bool,
    /// Columns; `None` for what has no width, such as a file.
    pub(crate) width: Option<usize>,
}

impl Page {
    /// A page without colours and without a width.
    #[cfg(test)]
    pub(crate) const PLAIN: Page = Page {
        color: false,
        terminal: false,
        width: None,
    };

    /// The text in a style, if colours are wanted.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        if self.color && style != Style::new() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

/// The styles, by meaning.
pub(crate) mod style {
    use anstyle::{AnsiColor, Style};
    use mizzen_core::model::JobState;

    /// `error:`.
    pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
    /// What works, but.
    pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
    /// `hint:`.
    pub(crate) const HINT: Style = AnsiColor::Cyan.on_default().bold();
    /// What is well.
    pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
    /// Names that stand out.
    pub(crate) const STRONG: Style = Style::new().bold();
    /// What may be overlooked.
    pub(crate) const FAINT: Style = Style::new().dimmed();

    /// The style of a state.
    pub(crate) const fn state(state: JobState) -> Style {
        match state {
            JobState::Unsubmitted => FAINT,
            JobState::Submitted | JobState::Pending => AnsiColor::Yellow.on_default(),
            JobState::Running => AnsiColor::Cyan.on_default(),
            JobState::Succeeded => GOOD,
            JobState::Failed => AnsiColor::Red.on_default(),
            JobState::Cancelled | JobState::Unknown => AnsiColor::Magenta.on_default(),
        }
    }
}

/// What a renderer may know beside the value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    /// Where the text goes.
    pub(crate) page: Page,
    /// Now.
    pub(crate) now: Timestamp,
}

/// A value that a command returns: shown as text or, under `--json`, as a document with a published schema.
pub(crate) trait Show {
    /// For people.
    fn text(&self, view: &View) -> String;
    /// For programs.
    fn json(&self, layout: documents::Layout) -> String;
}

/// What a command comes to: an exit status and, unless it has written everything already, a value to show.
pub(crate) struct Outcome {
    /// The exit status.
    pub(crate) status: Status,
    /// The value.
    pub(crate) value: Option<Box<dyn Show>>,
    /// It is shown as JSON.
    pub(crate) json: bool,
}

impl Outcome {
    /// Nothing is left to show.
    pub(crate) fn done(status: Status) -> Outcome {
        Outcome {
            status,
            value: None,
            json: false,
        }
    }

    /// A value.
    pub(crate) fn show(value: impl Show + 'static, json: bool) -> Outcome {
        Outcome {
            status: Status::Succeeded,
            value: Some(Box::new(value)),
            json,
        }
    }

    /// Another exit status.
    pub(crate) fn with_status(mut self, status: Status) -> Outcome {
        self.status = status;
        self
    }
}
