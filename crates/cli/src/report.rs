//! What went wrong, for people: `error: …`, then `hint: …` lines, then an exit status.
//!
//! Library errors are lower-case fragments; here they become sentences about a job or an experiment, with what to do next.

use std::io;
use std::process::ExitCode;

use crate::output::Output;
use crate::render::style;

/// How the process ends. These are all the exit statuses there are (docs: `mizzen --help`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    /// All went well.
    Succeeded = 0,
    /// A job failed or was cancelled; for `doctor`: a check failed.
    Failed = 1,
    /// Wrong usage or configuration, a home that can't be used.
    Usage = 2,
    /// The place could not be reached.
    Unreachable = 3,
    /// The place refused the job.
    Refused = 4,
    /// `wait --timeout` ran out; as timeout(1) has it.
    StillRunning = 124,
    /// Interrupted from the keyboard.
    Interrupted = 130,
    /// Nobody reads the log that an attached command shows.
    OutputClosed = 141,
    /// Ended by SIGTERM or SIGHUP; the jobs go on.
    Terminated = 143,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(status as u8)
    }
}

/// A command's failure.
#[derive(Debug)]
pub(crate) struct Report {
    /// The exit status.
    pub(crate) status: Status,
    /// What is shown.
    body: Body,
    /// What to do next, one line each.
    hints: Vec<String>,
}

#[derive(Debug)]
enum Body {
    /// Nothing: all was said already, or nobody listens.
    Silent,
    /// A sentence, shown behind `error: `.
    Sentence(String),
    /// Whole lines with their own `error: `.
    Rendered(String),
}

impl Report {
    /// A mistake in what the user asked for or configured.
    pub(crate) fn usage(sentence: impl Into<String>) -> Report {
        Report {
            status: Status::Usage,
            body: Body::Sentence(sentence.into()),
            hints: Vec::new(),
        }
    }

    /// Diagnostics that are laid out already.
    pub(crate) fn rendered(text: impl Into<String>) -> Report {
        Report {
            status: Status::Usage,
            body: Body::Rendered(text.into()),
            hints: Vec::new(),
        }
    }

    /// Ends with a status and without a word.
    pub(crate) fn silent(status: Status) -> Report {
        Report {
            status,
            body: Body::Silent,
            hints: Vec::new(),
        }
    }

    /// Another exit status.
    pub(crate) fn with_status(mut self, status: Status) -> Report {
        self.status = status;
        self
    }

    /// One more hint.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Report {
        self.hints.push(hint.into());
        self
    }

    /// A failed write to standard output.
    pub(crate) fn from_output(error: io::Error) -> Report {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Report::silent(Status::OutputClosed)
        } else {
            Report::usage(format!("can't write to standard output: {error}"))
        }
    }

    /// Whoever read standard output has gone away.
    pub(crate) fn nobody_reads(&self) -> bool {
        self.status == Status::OutputClosed
    }

    /// Shows it on standard error.
    pub(crate) fn show(&self, output: &Output) {
        let label = output.talk.paint(style::ERROR, "error:");
        match &self.body {
            Body::Silent => {}
            Body::Sentence(sentence) => output.complain(&format!("{label} {sentence}")),
            Body::Rendered(text) => output.complain(text.trim_end()),
        }
        for hint in &self.hints {
            output.complain(&output.hint_line(hint));
        }
    }
}
