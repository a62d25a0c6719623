//! Why a rank failed, in words for people: from how it ended, what it left in its error file and what it wrote last.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::record::{Outcome, RankExit};

mod blame;
mod kind;

pub use blame::{CLOSE_TOGETHER, Suspect, ahead, choose};
pub use kind::WhyKind;

/// The reason of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// What kind of failure it is.
    pub kind: WhyKind,
    /// One line for people.
    pub text: String,
}

/// What is known of a rank that failed.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// How it ended.
    pub exit: &'a RankExit,
    /// What its agent made of that.
    pub outcome: Outcome,
    /// Its log's last lines.
    pub last_lines: &'a [String],
    /// Where it may have left an error file (`TORCHELASTIC_ERROR_FILE`).
    pub error_file: Option<&'a Path>,
}

/// The reason, if it can be told.
#[must_use]
pub fn explain(facts: &Facts<'_>) -> Option<Why> {
    let _ = facts;
    None
}
