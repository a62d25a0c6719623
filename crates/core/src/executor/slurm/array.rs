//! Units as one array: the task with index i unpacks the files of unit i, and runs its script.
//!
//! ```text
//! units ─ array.sh.jinja ─▶ arrays/<key>/batch.sh
//!       ├ a line each ────▶ arrays/<key>/keys        key, where its files begin in units.tar, their length, its script
//!       └ a tar each ─────▶ arrays/<key>/units.tar   one after another
//! ```
//!
//! Three files for any number of jobs: file systems of clusters are slow at making files, and what never runs never needs
//! them. Secrets are not among them: those are removed when their job has ended.

use std::fmt::Write as _;

use serde::Serialize;

use super::archive::pack;
use super::directives;
use super::payload::{ARRAYS, ArraySubmission, Submission, SubmissionFile};
use super::script::{TemplateError, array as fill};

/// What an array's script is made from.
#[derive(Debug, Serialize)]
pub(super) struct Array {
    count: usize,
    options: Vec<String>,
    directory: String,
    /// Relative to E.
    folder: String,
}

/// The units as one array. `None` if there are none, or they may not share one ([`Submission::shares_array_with`]).
/// `time`: when the files were written, in seconds since the epoch.
#[must_use]
pub fn array(units: &[&Submission], time: u64) -> Option<ArraySubmission> {
    let first = units.first()?;
    if !units.iter().all(|unit| first.shares_array_with(unit)) {
        return None;
    }
    let folder = format!("{ARRAYS}/{}", first.key);
    let (mut keys, mut packed) = (String::new(), Vec::new());
    for unit in units {
        let files = pack(&unit.files, time).ok()?;
        let (key, script) = (&unit.key, &unit.script);
        // `tail -c` counts from one.
        let (offset, length) = (packed.len() + 1, files.len());
        let _ = writeln!(keys, "{key} {offset} {length} {script}");
        packed.extend(files);
    }
    let file = |name: &str, contents: String, executable| SubmissionFile {
        path: format!("{folder}/{name}"),
        contents,
        executable,
    };
    let script = script(units, &folder).ok()?;
    Some(ArraySubmission {
        directory: first.directory.clone(),
        script: format!("{folder}/batch.sh"),
        job_name: first.job_name.clone(),
        key: first.key.clone(),
        files: vec![file("batch.sh", script, true), file("keys", keys, false)],
        units: (format!("{folder}/units.tar"), packed),
    })
}

fn script(units: &[&Submission], folder: &str) -> Result<String, TemplateError> {
    let first = units[0];
    let place = format!("{}/{folder}", first.directory);
    let own = [
        format!("--job-name={}", first.job_name),
        format!("--comment={}", first.comment),
        format!("--output={}/batch_%A.out", directives::literal_path(&place)),
    ];
    let mut options: Vec<String> = first
        .needs()
        .map(str::to_owned)
        .chain(own.iter().map(|option| directives::word(option)))
        .collect();
    options.sort_by(|one, other| {
        one.trim_start_matches('"')
            .cmp(other.trim_start_matches('"'))
    });
    fill(&Array {
        count: units.len(),
        options,
        directory: first.directory.clone(),
        folder: folder.to_owned(),
    })
}
