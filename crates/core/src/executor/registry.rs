//! The table of executors. Everything that must know them all asks here.

use super::{Check, CheckStatus, Executor, ExecutorMacros};
use crate::config;
use crate::context::Context;
use crate::launcher;
use crate::plan::ExecutorConfig;

/// One kind of executor.
#[derive(Debug)]
pub struct Entry {
    /// Its name: the `kind` in documents.
    pub kind: &'static str,
    /// One line about it.
    pub summary: &'static str,
    /// The JSON Schema of its settings.
    pub schema: fn() -> serde_json::Value,
    /// The members of a group may have different settings.
    pub mixed_groups: bool,
    /// Makes one from settings that fit the schema.
    pub build: fn(serde_json::Value) -> Result<Box<dyn Executor>, serde_json::Error>,
}

/// Every kind there is: one line each.
static REGISTRY: &[Entry] = &[
    super::local::ENTRY,
    super::slurm::ENTRY,
    super::docker::ENTRY,
];

/// Every kind there is.
#[must_use]
pub fn registry() -> &'static [Entry] {
    REGISTRY
}

/// The kind with this name.
#[must_use]
pub fn find_kind(kind: &str) -> Option<&'static Entry> {
    REGISTRY.iter().find(|entry| entry.kind == kind)
}

/// What documents may say of executors, launchers and macros.
#[must_use]
pub fn vocabulary() -> config::Vocabulary {
    config::Vocabulary {
        executor_kinds: REGISTRY
            .iter()
            .map(|entry| config::ExecutorKind {
                name: entry.kind.to_owned(),
                summary: entry.summary.to_owned(),
                schema: (entry.schema)(),
                mixed_groups: entry.mixed_groups,
            })
            .collect(),
        launchers: launcher::Entry::names().map(str::to_owned).collect(),
        macros: ExecutorMacros::NAMES
            .iter()
            .map(|&name| name.to_owned())
            .collect(),
    }
}

/// An executor can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// No kind has this name.
    #[error("executor `{name}`: there is no kind `{kind}`; there are: {known}")]
    Kind {
        /// The executor.
        name: String,
        /// Its kind.
        kind: String,
        /// The kinds there are.
        known: String,
    },
    /// The settings are not this kind's.
    #[error("executor `{name}`: {source}")]
    Settings {
        /// The executor.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// Makes the executor that a plan names.
///
/// # Errors
/// Its kind is unknown, or its settings are not that kind's.
pub fn build(name: &str, config: &ExecutorConfig) -> Result<Box<dyn Executor>, ExecutorError> {
    let entry = find_kind(&config.kind).ok_or_else(|| ExecutorError::Kind {
        name: name.to_owned(),
        kind: config.kind.clone(),
        known: REGISTRY
            .iter()
            .map(|entry| entry.kind)
            .collect::<Vec<_>>()
            .join(", "),
    })?;
    (entry.build)(serde_json::Value::Object(config.settings.clone())).map_err(|source| {
        ExecutorError::Settings {
            name: name.to_owned(),
            source,
        }
    })
}

/// Looks whether jobs could run on the executor, for `mizzen doctor`.
#[must_use]
pub fn check(name: &str, config: &ExecutorConfig, context: &Context) -> Vec<Check> {
    match build(name, config) {
        Ok(executor) => executor.check(context),
        Err(error) => vec![Check {
            name: format!("executor {name}"),
            status: CheckStatus::Failed,
            detail: error.to_string(),
            hint: Some(format!("correct the settings of `{name}`")),
        }],
    }
}
