//! Log lines on standard output: as their bytes are, behind the name of their job, or as JSON.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use mizzen_core::logs::{Follower, LogLine};
use mizzen_core::store::ExperimentView;

use super::Page;
use super::documents::{LogLineDocument, json};
use crate::output::Output;
use crate::report::Report;
use crate::signals::Signals;

/// The colours that tell jobs apart.
const COLORS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Magenta,
    AnsiColor::Yellow,
    AnsiColor::Green,
    AnsiColor::Blue,
    AnsiColor::BrightRed,
];

/// How lines are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Their bytes.
    Unchanged,
    /// Behind the job's name and, with several, the rank's number.
    Prefixed,
    /// One JSON object a line.
    Json,
}

/// Shows log lines.
#[derive(Debug)]
pub(crate) struct LogLines {
    form: Form,
    /// Columns of the longest name so far: the lines behind it stand below each other.
    widest: usize,
}

impl LogLines {
    /// Bytes as they are; jobs of several ranks behind the rank's number.
    pub(crate) const fn unchanged() -> LogLines {
        LogLines { form: Form::Unchanged, widest: 0 }
    }

    /// Behind the job's name.
    pub(crate) const fn prefixed() -> LogLines {
        LogLines { form: Form::Prefixed, widest: 0 }
    }

    /// As JSON.
    pub(crate) const fn json() -> LogLines {
        LogLines { form: Form::Json, widest: 0 }
    }

    /// Shows everything new; says whether there was something.
    ///
    /// # Errors
    /// Nobody reads any longer, or a log can't be read.
    pub(crate) fn pump(
        &mut self,
        follower: &mut Follower,
        view: &ExperimentView,
        output: &Output,
    ) -> Result<bool, Report> {
        let mut buffer = Vec::new();
        let mut failed = None;
        let news = follower.poll(view, &mut |line: LogLine<'_>| {
            self.line(&line, &output.data, &mut buffer);
            if buffer.len() >= 1 << 16 {
                if let Err(report) = output.write(&buffer) {
                    failed = Some(report);
                    return Err(std::io::ErrorKind::BrokenPipe.into());
                }
                buffer.clear();
            }
            Ok(())
        });
        if let Some(report) = failed {
            return Err(report);
        }
        if !buffer.is_empty() {
            output.write(&buffer)?;
        }
        news.map_err(|error| Report::usage(format!("a log can't be read: {error}")))
    }

    /// Appends one line in its form.
    pub(crate) fn line(&mut self, line: &LogLine<'_>, page: &Page, into: &mut Vec<u8>) {
        let (text, ended) = match line.bytes.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (line.bytes, false),
        };
        match self.form {
            Form::Unchanged => into.extend_from_slice(line.bytes),
            Form::Prefixed => {
                let label = label(line);
                self.widest = self.widest.max(super::text::width(&label));
                let padded = format!("{label:<widest$} │ ", widest = self.widest);
                into.extend_from_slice(page.paint(color_of(line.job_index), &padded).as_bytes());
                into.extend_from_slice(text);
                into.push(b'\n');
            }
            Form::Json => {
                let document = LogLineDocument {
                    job: line.job.to_owned(),
                    attempt: line.attempt,
                    rank: line.rank,
                    line: String::from_utf8_lossy(text).into_owned(),
                };
                into.extend_from_slice(json(&document).to_string().as_bytes());
                into.push(b'\n');
            }
        }
        let _ = ended;
    }

    /// Waits for new bytes or a signal.
    pub(crate) fn wait(&mut self, follower: &mut Follower, signals: Option<&Signals>, pause: Duration) {
        let _ = signals;
        follower.wait(pause);
    }
}

/// `train`, `train[1]` for other ranks than the first.
fn label(line: &LogLine<'_>) -> String {
    if line.rank == 0 { line.job.to_owned() } else { format!("{}[{}]", line.job, line.rank) }
}

fn color_of(job: u32) -> Style {
    COLORS[job as usize % COLORS.len()].on_default()
}
