//! The one way to standard output and standard error.
//!
//! ```text
//! data ──▶ stdout    what was asked for: tables, JSON, log bytes
//! talk ──▶ stderr    what happens meanwhile, warnings, errors, hints; silent under --quiet but for errors
//! ```
//!
//! Pitfall: whoever reads standard output may go away (`mizzen ls | head`). Every write of data can answer with
//! [`Report::nobody_reads`], which ends the command without a word.

use std::io::Write;

use crate::render::Page;
use crate::render::documents::Layout;
use crate::render::style;
use crate::report::Report;

/// Both streams and what they can show.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// How standard output shows text.
    pub(crate) data: Page,
    /// How standard error shows text.
    pub(crate) talk: Page,
    /// Only errors are talked about.
    pub(crate) quiet: bool,
}

impl Output {
    /// Writes bytes to standard output at once.
    ///
    /// # Errors
    /// Nobody reads any longer, or the write failed (a full disk behind a redirection).
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), Report> {
        let mut stdout = std::io::stdout().lock();
        stdout
            .write_all(bytes)
            .and_then(|()| stdout.flush())
            .map_err(Report::from_output)
    }

    /// Writes text to standard output.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub(crate) fn print(&self, text: &str) -> Result<(), Report> {
        self.write(text.as_bytes())
    }

    /// How JSON is laid out on standard output: indented for a terminal, on one line otherwise.
    pub(crate) fn layout(&self) -> Layout {
        if self.data.terminal {
            Layout::Indented
        } else {
            Layout::Line
        }
    }

    /// A line of talk.
    pub(crate) fn say(&self, line: &str) {
        if !self.quiet {
            self.complain(line);
        }
    }

    /// A hint on a line of its own.
    pub(crate) fn hint(&self, line: &str) {
        self.say(&self.hint_line(line));
    }

    /// The text of a hint.
    pub(crate) fn hint_line(&self, line: &str) -> String {
        format!("{} {line}", self.talk.paint(style::HINT, "hint:"))
    }

    /// The words of a program that asks on the terminal, to standard error as they come.
    pub(crate) fn relay(&self, bytes: &[u8]) {
        let mut stderr = std::io::stderr().lock();
        let _ = stderr.write_all(bytes).and_then(|()| stderr.flush());
    }

    /// A line to standard error, `--quiet` or not. A standard error that is gone is nobody's concern.
    pub(crate) fn complain(&self, text: &str) {
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(stderr, "{text}");
    }
}
