//! Why a rank failed, in words for people: from how it ended, what it left in its error file and what it wrote last.
//!
//! ```text
//! not started · ended by the kernel · a fault ─▶ error file ─▶ torchrun's summary ─▶ tracebacks ─▶ messages ─▶ signal · status
//!                                                    └────────── messages: what libraries say ──────┘             │
//! several ranks: blame ◀──────────────────────────────────────── Why { kind, text, hint } ◀───────────────────────┘
//! ```
//!
//! The first of these that knows something counts. `lines` takes logs apart, `traceback` finds Python's exceptions, `messages` is
//! the table of what programs say, `blame` chooses among ranks. Pitfall: a log is full of errors that were handled. What a
//! program wrote counts only near its end, and a traceback only if nobody seems to have caught it.
//! To add a kind: `kind`, a line of the table in `messages`, a real message in its tests.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::record::{Outcome, RankExit};

mod blame;
mod error_file;
mod kind;
mod lines;
mod log;
mod messages;
mod sentence;
mod signals;
#[cfg(test)]
mod tests;
mod torchrun;
mod traceback;

pub use blame::{CLOSE_TOGETHER, Suspect, ahead, choose};
pub use kind::WhyKind;

use log::Log;
use messages::shortened;
use traceback::Raised;

/// The reason of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// What kind of failure it is.
    pub kind: WhyKind,
    /// One line for people.
    pub text: String,
    /// What they may do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where the rank was itself a launcher: the rank of its process that failed, counted over all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// And the machine that this one ran on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

impl Why {
    /// A reason with the hint of its kind.
    #[must_use]
    pub fn new(kind: WhyKind, text: impl Into<String>) -> Why {
        Why {
            kind,
            text: text.into(),
            hint: kind.hint().map(str::to_owned),
            rank: None,
            host: None,
        }
    }

    fn is_own(&self) -> bool {
        !self.kind.is_follower() && !self.kind.is_told()
    }
}

/// What is known of a rank that failed.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// How it ended.
    pub exit: &'a RankExit,
    /// What its agent made of that.
    pub outcome: Outcome,
    /// Its log's last lines; the more, the more can be told.
    pub last_lines: &'a [String],
    /// Where it may have left an error file (`TORCHELASTIC_ERROR_FILE`).
    pub error_file: Option<&'a Path>,
}

/// A program that is started again in the same log begins behind a line like this.
const RESTART: &str = "mizzen: restart ";
/// Messages count only in so many last lines.
const NEAR_END: usize = 300;
/// Of a program that somebody ended, and where others may have caught the trouble.
const VERY_NEAR_END: usize = 40;

/// The reason, if it can be told.
#[must_use]
pub fn explain(facts: &Facts<'_>) -> Option<Why> {
    let begin = facts
        .last_lines
        .iter()
        .rposition(|line| line.starts_with(RESTART))
        .map_or(0, |line| line + 1);
    let log = Log::new(&facts.last_lines[begin..]);
    let signal = facts
        .exit
        .signal
        .or_else(|| facts.exit.code.and_then(signals::of_status));
    // What was written before a program was ended by somebody counts only if it was the last that happened.
    let near = match signal {
        Some(signal) if signals::is_told(signal) => VERY_NEAR_END,
        _ => NEAR_END,
    };
    not_run(facts, &log)
        .or_else(|| fault(signal, &log))
        .or_else(|| {
            facts
                .error_file
                .and_then(error_file::read)
                .and_then(|file| recorded(&file))
        })
        .or_else(|| log.summary())
        .or_else(|| log.uncaught(near))
        .or_else(|| log.said(near))
        .or_else(|| by_signal(signal))
        .or_else(|| by_status(facts.exit.code, &log))
        .map(tidy)
}

/// Not started, ended by the kernel, or silent: its own words explain nothing.
fn not_run(facts: &Facts<'_>, log: &Log) -> Option<Why> {
    match (facts.outcome, &facts.exit.error) {
        (Outcome::OutOfMemory, _) => Some(Why::new(
            WhyKind::OutOfMemory,
            "out of memory: the kernel ended it",
        )),
        (Outcome::Hung, _) => Some(Why::new(
            WhyKind::Hung,
            "it showed no sign of life for too long",
        )),
        (Outcome::LaunchFailed, Some(error)) => log.said(NEAR_END).or_else(|| {
            let kind = [
                ("not executable", WhyKind::PermissionDenied),
                ("Permission denied", WhyKind::PermissionDenied),
                ("Exec format", WhyKind::NotExecutable),
                ("not found", WhyKind::NotFound),
                ("no such", WhyKind::NotFound),
                ("No such", WhyKind::NotFound),
            ];
            let kind = kind.iter().find(|(words, _)| error.contains(words))?.1;
            Some(Why::new(kind, error.clone()))
        }),
        _ => None,
    }
}

/// A fault of the program's own.
fn fault(signal: Option<i32>, log: &Log) -> Option<Why> {
    let signal = signal.filter(|signal| signals::is_fault(*signal))?;
    let (kind, words) = signals::meaning(signal);
    Some(Why::new(kind, with_place(words, log.place_of_fault())))
}

/// What PyTorch wrote into the error file.
fn recorded(file: &error_file::ErrorFile) -> Option<Why> {
    let lines: Vec<&str> = file.traceback.lines().collect();
    let chains = traceback::chains(&lines);
    if let Some(chain) = chains.last() {
        return Some(of_chain(chain));
    }
    if file.message.is_empty() {
        return None;
    }
    Some(
        of_words(&file.message)
            .unwrap_or_else(|| Why::new(WhyKind::Exception, shortened(&file.message))),
    )
}

fn by_signal(signal: Option<i32>) -> Option<Why> {
    let signal = signal?;
    let (kind, words) = signals::meaning(signal);
    if words == "ended by a signal" {
        return Some(Why::new(kind, format!("ended by signal {signal}")));
    }
    Some(Why::new(kind, words))
}

/// What shells and argument parsers mean by their statuses.
fn by_status(code: Option<i32>, log: &Log) -> Option<Why> {
    let last = |words: &[&str]| {
        let lines = log.lines.iter().rev().take(10);
        lines
            .map(|line| line.text.as_str())
            .find(|line| words.iter().any(|word| line.contains(word)))
            .map(shortened)
    };
    match code? {
        127 => {
            let line = last(&["not found", "No such file"])?;
            Some(Why::new(WhyKind::NotFound, line))
        }
        126 => {
            let line = last(&["ermission denied", "cannot execute", "Is a directory"])?;
            Some(Why::new(WhyKind::PermissionDenied, line))
        }
        2 => {
            let line = log
                .lines
                .iter()
                .rev()
                .find(|line| !line.text.trim().is_empty())?;
            let says = line.text.contains(": error: ") || line.text.starts_with("Error: ");
            says.then(|| Why::new(WhyKind::Usage, shortened(&line.text)))
        }
        _ => None,
    }
}

/// One line, and not an endless one.
fn tidy(why: Why) -> Why {
    Why {
        text: shortened(&why.text),
        ..why
    }
}

fn with_place(words: &str, place: Option<String>) -> String {
    place.map_or_else(|| words.to_owned(), |place| format!("{words} ({place})"))
}

/// What a message means by the table.
fn of_words(message: &str) -> Option<Why> {
    let meaning = messages::meaning(message)?;
    Some(Why {
        hint: meaning.hint.map(str::to_owned),
        ..Why::new(
            meaning.kind,
            meaning.text.unwrap_or_else(|| shortened(message)),
        )
    })
}

/// What an exception means.
fn of_exception(raised: &Raised) -> Why {
    let whole = format!("{}: {}", raised.class, raised.message);
    if let Some(meaning) = messages::meaning(&whole) {
        return Why {
            hint: meaning.hint.map(str::to_owned),
            ..Why::new(meaning.kind, meaning.text.unwrap_or_else(|| raised.words()))
        };
    }
    match raised.name() {
        "KeyboardInterrupt" => Why::new(WhyKind::Interrupted, "interrupted (KeyboardInterrupt)"),
        "SignalException" => Why::new(WhyKind::Terminated, raised.words()),
        "PermissionError" => Why::new(WhyKind::PermissionDenied, raised.words()),
        _ => Why::new(
            WhyKind::Exception,
            with_place(&shortened(&raised.words()), raised.place()),
        ),
    }
}

/// What a chain of exceptions means. Where something was used up or broken, that is the reason, whatever came of it.
fn of_chain(chain: &[Raised]) -> Why {
    let scarce = chain
        .iter()
        .map(of_exception)
        .find(|why| why.kind.is_about_resources());
    if let Some(why) = scarce {
        return why;
    }
    let Some((raised, because)) = traceback::that_matters(chain) else {
        return Why::new(WhyKind::Exception, "an exception");
    };
    let mut why = of_exception(raised);
    if let Some(because) = because.filter(|_| why.kind == WhyKind::Exception) {
        why.text = format!("{}, because of {}", why.text, shortened(&because.words()));
    }
    why
}
