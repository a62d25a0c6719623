//! Ids as types of their own.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Letters of an id: no vowels (no words appear by chance), none that look alike.
const ALPHABET: &[u8; 32] = b"0123456789bcdfghjkmnpqrstvwxyzae";

/// The id of an experiment: ten random lower-case letters and digits. Users may type the shortest unique prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExperimentId(String);

/// The text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an experiment's id (lower-case letters and digits)")]
pub struct IdError(pub String);

impl ExperimentId {
    /// From random bytes: one letter a byte.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 10]) -> ExperimentId {
        ExperimentId(
            bytes
                .iter()
                .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
                .collect(),
        )
    }

    /// Reads an id that somebody wrote.
    ///
    /// # Errors
    /// The text holds something else than lower-case ASCII letters and digits, or is empty or over 40 characters.
    pub fn parse(text: &str) -> Result<ExperimentId, IdError> {
        let fits = (1..=40).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if fits {
            Ok(ExperimentId(text.to_owned()))
        } else {
            Err(IdError(text.to_owned()))
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ExperimentId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        ExperimentId::parse(&text)
    }
}

impl From<ExperimentId> for String {
    fn from(id: ExperimentId) -> String {
        id.0
    }
}

impl fmt::Display for ExperimentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The unique key that a request carries so that it can be found again: `mz-<experiment>-<job>-<attempt>`. It fits a
/// Slurm job name, a container name and a Kubernetes label (at most 63 of `[a-z0-9-]`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubmissionKey(String);

impl SubmissionKey {
    /// The key of one attempt of one job (of its first member's, for a job group).
    #[must_use]
    pub fn new(experiment: &ExperimentId, job: u32, attempt: u32) -> SubmissionKey {
        SubmissionKey(format!("mz-{experiment}-{job}-{attempt}"))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubmissionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What names a job at its place afterwards: `<kind>://<whatever the place needs>/<submission key>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Handle(pub String);

impl Handle {
    /// The attempt that it was submitted as, where the handle ends in `/<submission key>`.
    #[must_use]
    pub fn attempt(&self) -> Option<u32> {
        let (_, key) = self.0.rsplit_once('/')?;
        key.strip_prefix("mz-")?.rsplit_once('-')?.1.parse().ok()
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
