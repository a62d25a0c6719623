//! What is sent for one unit, and what many of them need to be sent as one array.
//!
//! ```text
//! <E>/<job>/scripts/…                the job's files
//! <E>/<job>/submit/<a>.sh            the batch script, in the first member's folder
//! <E>/<job>/submit/<a>.command.sh    each member's command
//! <E>/<job>/submit/<a>.secrets       each member's secrets, if it has any: written when the job is sent, never rendered
//! <E>/arrays/<key>/…                 an array's script, and its units' keys and files: each task unpacks its own (array.rs)
//! <E>/.agent                         links to the agent's executable; made by whoever sends, if it runs there
//! ```

use serde::{Deserialize, Serialize};

use crate::tunnel::quote;

/// The link in E to the agent's executable. Without it (or where it does not run) jobs run without the agent.
pub const AGENT_LINK: &str = ".agent";

/// The folder in E of all arrays.
pub const ARRAYS: &str = "arrays";

/// Options that differ between the units of an array without keeping them apart.
const OWN_OPTIONS: [&str; 4] = ["--job-name=", "--comment=", "--output=", "--error="];

/// What is sent for one unit: the payload of a request, as one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// The experiment's folder at the place, absolute: E.
    pub directory: String,
    /// The batch script's path, relative to E.
    pub script: String,
    /// The job's name for Slurm.
    pub job_name: String,
    /// The submission key.
    pub key: String,
    /// The job's comment: the key, with the user's words before it.
    pub comment: String,
    /// The attempt of the unit; a requeue by Slurm counts on from it.
    pub attempt: u32,
    /// What stands behind `#SBATCH` in the script, in canonical order; `hetjob` stands between components.
    pub options: Vec<String>,
    /// The files that must be in E before the script is sent.
    pub files: Vec<SubmissionFile>,
    /// The members' folders, relative to E, in the unit's order.
    pub folders: Vec<String>,
    /// How many ranks each member has.
    pub ranks: Vec<u32>,
    /// The unit may be one of an array's.
    pub array: bool,
    /// Dependencies as sbatch takes them, such as `afterok:12`: those that the settings name, and those that the scheduler
    /// adds when it sends the unit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<String>,
}

/// A file of a submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmissionFile {
    /// Its path, relative to E.
    pub path: String,
    /// Its text.
    pub contents: String,
    /// It gets the executable bits (0700, else 0600).
    pub executable: bool,
}

/// Units that are sent as one array: the task with index i unpacks unit i and runs its script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArraySubmission {
    /// The experiment's folder at the place.
    pub directory: String,
    /// The array's script, relative to E.
    pub script: String,
    /// The array's name for Slurm.
    pub job_name: String,
    /// The key of the first unit, which is the array's.
    pub key: String,
    /// The files that must be in E before the script is sent, beside the units' own.
    pub files: Vec<SubmissionFile>,
    /// The file with the units' files: its path, relative to E, and what it holds.
    pub units: (String, Vec<u8>),
}

impl Submission {
    /// Reads a request's payload.
    ///
    /// # Errors
    /// It is none of this executor's.
    pub fn from_payload(payload: &str) -> serde_json::Result<Submission> {
        serde_json::from_str(payload)
    }

    /// What it asks of Slurm. Units whose needs are equal may share an array if [`Submission::array`] allows it and
    /// their dependencies are the same.
    pub fn needs(&self) -> impl Iterator<Item = &str> {
        self.options
            .iter()
            .map(String::as_str)
            .filter(|option| !OWN_OPTIONS.iter().any(|own| option_is(option, own)))
    }

    /// Both may be in one array.
    #[must_use]
    pub fn shares_array_with(&self, other: &Submission) -> bool {
        self.array
            && other.array
            && self.directory == other.directory
            && self.dependencies == other.dependencies
            && self.needs().eq(other.needs())
    }

    /// The path of a member's secrets, relative to E. Its text comes from [`secrets_text`], its mode is 0600.
    #[must_use]
    pub fn secrets_path(&self, member: usize) -> Option<String> {
        let folder = self.folders.get(member)?;
        Some(secrets_path(folder, self.attempt))
    }
}

/// An option is quoted as a whole, so its name stands behind the quote.
fn option_is(option: &str, name: &str) -> bool {
    option.strip_prefix('"').unwrap_or(option).starts_with(name)
}

/// The path of a job's secrets, relative to E.
pub(super) fn secrets_path(folder: &str, attempt: u32) -> String {
    format!("{folder}/submit/{attempt}.secrets")
}

/// What a file of secrets holds: it is read by the member's command before the command itself is started.
#[must_use]
pub fn secrets_text<'a>(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    values
        .into_iter()
        .map(|(name, value)| format!("export {name}={}\n", quote(value)))
        .collect()
}
