//! Turns a task's command into the command that starts its ranks, wrapped in a profiler where that is asked for.
//!
//! ```text
//! Role (entrypoint, args) ─ launcher ─▶ Role ─ nsys prefix ─▶ argv
//! ```
//!
//! The table [`LAUNCHERS`] names them all; a launcher gets one file in this folder and one line there. `none` starts the
//! command itself, once for each rank. Names and defaults of the profiler's fields are NeMo-Run's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Every launcher by name.
pub const LAUNCHERS: &[&str] = &[NONE];

/// The launcher that adds nothing.
pub const NONE: &str = "none";

/// A launcher with its settings (the seed's `Launcher`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Launcher {
    /// Its name.
    pub kind: String,
    /// Wrap every rank in NVIDIA's profiler.
    pub nsys_profile: bool,
    /// The profiles' folder inside the job's folder.
    pub nsys_folder: String,
    /// A profile's file name; `%p` is the process's id.
    pub nsys_filename: String,
    /// What is traced.
    pub nsys_trace: Vec<String>,
    /// Further arguments for `nsys profile`.
    pub nsys_extra_args: Vec<String>,
    /// Sample the GPUs' metrics too.
    pub nsys_gpu_metrics: bool,
}

impl Default for Launcher {
    fn default() -> Launcher {
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Launcher {
            kind: NONE.to_owned(),
            nsys_profile: false,
            nsys_folder: "nsys_profile".to_owned(),
            nsys_filename: "profile_%p".to_owned(),
            nsys_trace: texts(&["nvtx", "cuda"]),
            nsys_extra_args: texts(&[
                "--force-overwrite=true",
                "--capture-range=cudaProfilerApi",
                "--capture-range-end=stop",
                "--cuda-graph-trace=node",
                "--cuda-event-trace=false",
            ]),
            nsys_gpu_metrics: false,
        }
    }
}

/// A launcher's setting can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LauncherError {
    /// No launcher has this name.
    #[error("there is no launcher `{0}`; there are: {names}", names = LAUNCHERS.join(", "))]
    Unknown(String),
    /// The settings have another form than a launcher's.
    #[error("the launcher's settings can't be read: {0}")]
    Settings(String),
}

impl Launcher {
    /// From a document's value: a name, or a table with `kind` and settings.
    ///
    /// # Errors
    /// The name is unknown or the settings are not a launcher's.
    pub fn from_value(value: &serde_json::Value) -> Result<Launcher, LauncherError> {
        let launcher = match value {
            serde_json::Value::String(kind) => Launcher {
                kind: kind.clone(),
                ..Launcher::default()
            },
            other => Launcher::deserialize(other)
                .map_err(|error| LauncherError::Settings(error.to_string()))?,
        };
        if LAUNCHERS.contains(&launcher.kind.as_str()) {
            Ok(launcher)
        } else {
            Err(LauncherError::Unknown(launcher.kind))
        }
    }

    /// The words to put before a rank's command to profile it (without the program: [`crate::executor::Executor::get_nsys_entrypoint`]);
    /// `None` when no profile is wanted.
    #[must_use]
    pub fn nsys_prefix(&self, profile_dir: &str) -> Option<Vec<String>> {
        if !self.nsys_profile {
            return None;
        }
        let mut words: Vec<String> = ["profile", "-s", "none", "-t"].map(str::to_owned).into();
        words.push(self.nsys_trace.join(","));
        words.push("-o".to_owned());
        words.push(format!(
            "{profile_dir}/{}/{}",
            self.nsys_folder, self.nsys_filename
        ));
        words.extend(self.nsys_extra_args.iter().cloned());
        if self.nsys_gpu_metrics {
            words.push("--gpu-metrics-device=all".to_owned());
        }
        Some(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profilers_words_are_nemo_runs() {
        let launcher = Launcher {
            nsys_profile: true,
            ..Launcher::default()
        };
        assert_eq!(
            launcher.nsys_prefix("/nemo_run").unwrap().join(" "),
            "profile -s none -t nvtx,cuda -o /nemo_run/nsys_profile/profile_%p --force-overwrite=true \
             --capture-range=cudaProfilerApi --capture-range-end=stop --cuda-graph-trace=node --cuda-event-trace=false"
        );
        assert_eq!(Launcher::default().nsys_prefix("/x"), None);
    }

    #[test]
    fn an_unknown_launcher_is_named() {
        let error = Launcher::from_value(&serde_json::json!("torchrum")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no launcher `torchrum`; there are: none"
        );
    }
}
