//! A failure as people and programs are told of it: who failed first, and why.

use schemars::JsonSchema;
use serde::Serialize;

use super::ExitRecord;

/// The failure that came first in an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Failure {
    /// The rank that failed first; of a launcher's own processes (torchrun's) the one that did.
    pub rank: u32,
    /// The machine that it ran on, where ranks ran on several; null where that is plain.
    pub host: Option<String>,
    /// Seconds before the next rank ended badly; null if no other did, or if it can't be told.
    pub ahead: Option<f64>,
    /// The kind of the reason, such as `gpu-out-of-memory`, `exception` or `segmentation-fault`; null if it is not known.
    pub kind: Option<String>,
    /// The reason in one line; null if it is not known.
    pub reason: Option<String>,
    /// What may be done about it; null where nothing can be said in general.
    pub hint: Option<String>,
    /// All of it in one line: `rank 5 on n2 failed first, 0.8 s before the rest: CUDA out of memory`; null where a single
    /// rank failed for a reason that is not known.
    pub words: Option<String>,
}

impl Failure {
    /// What a record says, if a rank failed.
    #[must_use]
    pub fn of(record: &ExitRecord) -> Option<Failure> {
        let first = record.first_failure.as_ref()?;
        let why = first.reason.as_ref();
        let kind = why.and_then(|why| serde_json::to_value(why.kind).ok());
        Some(Failure {
            rank: why.and_then(|why| why.rank).unwrap_or(first.rank),
            host: why
                .and_then(|why| why.host.clone())
                .or_else(|| first.host.clone()),
            ahead: first.ahead,
            kind: kind.and_then(|kind| kind.as_str().map(str::to_owned)),
            reason: why.map(|why| why.text.clone()),
            hint: why.and_then(|why| why.hint.clone()),
            words: first.words(record.ranks.len()),
        })
    }
}
