//! What a mirror says to `mizzen-agent follow` and hears from it: the growing files of jobs' attempts.
//!
//! ```text
//! mirror ── Ask ───▶ follow     follow · stop                    one JSON object a line
//!        ◀── News ── follow     bytes of a file · quiet          one JSON object a line, and `size` bytes behind it
//! ```
//!
//! Files are `<n>/rank-<r>.log`, `<n>/samples-<w>.jsonl` and `<n>/exit.json` below the folder that was asked for. Logs and samples
//! come in pieces, each with its offset; a record comes whole, after the logs of its attempt.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::EXIT_RECORD;

/// The most bytes of a log behind one line.
pub const PIECE: usize = 256 << 10;

/// From the mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Follow a folder.
    Follow(Follow),
    /// Follow it no more.
    Stop(u64),
}

/// A folder to follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Follow {
    /// Its name in the answers.
    pub id: u64,
    /// Where the attempts' folders are, or will be.
    pub folder: String,
    /// How much of which file the mirror has.
    #[serde(default)]
    pub known: BTreeMap<String, u64>,
}

/// To the mirror.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// The folder.
    pub id: u64,
    /// The file, below the folder.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// Where the bytes belong.
    #[serde(default)]
    pub offset: u64,
    /// How many bytes follow the line.
    #[serde(default)]
    pub size: u64,
    /// The file is another one, or became shorter: what the mirror has of it is void.
    #[serde(default, skip_serializing_if = "is_false")]
    pub restart: bool,
    /// All that was there when it was asked for has been sent. Told once.
    #[serde(default, skip_serializing_if = "is_false")]
    pub quiet: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// The number of an attempt that a folder's name stands for.
#[must_use]
pub fn attempt_number(name: &str) -> Option<u32> {
    number(name)
}

/// Whether a name in an attempt's folder is one that is followed: a rank's log, a file of samples, or the record.
#[must_use]
pub fn is_followed(name: &str) -> bool {
    let rank = name
        .strip_prefix("rank-")
        .and_then(|rest| rest.strip_suffix(".log"));
    name == EXIT_RECORD
        || crate::samples::is_file_name(name)
        || rank.is_some_and(|rank| number(rank).is_some())
}

/// Whether [`News::file`] is one that may be written: `<n>/rank-<r>.log`, `<n>/samples-<w>.jsonl` or `<n>/exit.json`, and nothing
/// else.
#[must_use]
pub fn is_file(path: &str) -> bool {
    path.split_once('/')
        .is_some_and(|(attempt, name)| number(attempt).is_some() && is_followed(name))
}

/// As it is written by machines: without a sign and without zeros before it.
fn number(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_attempts_are_taken() {
        for path in [
            "1/rank-0.log",
            "12/rank-345.log",
            "3/exit.json",
            "1/samples-0.jsonl",
            "1/samples-rank-12.jsonl",
        ] {
            assert!(is_file(path), "{path}");
        }
        for path in [
            "rank-0.log",
            "../rank-0.log",
            "1/../rank-0.log",
            "1/2/rank-0.log",
            "+1/rank-0.log",
            "01/rank-0.log",
            "1/rank-.log",
            "1/rank-/../x.log",
            "1/heartbeat",
            "1/samples-.jsonl",
            "1/samples-../x.jsonl",
            "1/samples-a b.jsonl",
            "1/",
            "",
        ] {
            assert!(!is_file(path), "{path}");
        }
    }
}
