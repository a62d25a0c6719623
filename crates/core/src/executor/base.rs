//! The attributes that every executor has. Names, types and defaults are the seed's.

use serde::{Deserialize, Serialize};

use crate::context::{create_private_dir, write_file};
use crate::model::Env;
use crate::packager::Packager;

/// The seed's attributes of `Executor`. The first four are settings; the last three say which job it is for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Base {
    /// How code reaches the job.
    pub packager: Packager,
    /// The launcher: a name, or a table with `kind` and settings.
    pub launcher: Option<serde_json::Value>,
    /// Variables for every job, under the task's own.
    pub env_vars: Env,
    /// How often a failed job is tried again, unless its task says so itself.
    pub retries: u32,
    /// The experiment.
    pub experiment_id: Option<String>,
    /// The job's folder.
    pub job_dir: String,
    /// The experiment's folder.
    pub experiment_dir: String,
}

pub(super) fn write_configs(
    base: &Base,
    cfgs: &[(String, String)],
) -> std::io::Result<Vec<String>> {
    let folder = camino::Utf8Path::new(&base.job_dir).join("configs");
    create_private_dir(&folder)?;
    cfgs.iter()
        .map(|(name, text)| {
            let path = folder.join(name);
            if let Some(parent) = path.parent() {
                create_private_dir(parent)?;
            }
            write_file(&path, text.as_bytes(), 0o600)?;
            Ok(path.into_string())
        })
        .collect()
}
