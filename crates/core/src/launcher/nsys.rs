//! NVIDIA's profiler around what a launcher starts.
//!
//! ```text
//! Profiler ─ words ─▶ nsys profile … -o <folder>/<name> … ─ before ─▶ the command of each process
//! ```
//!
//! Names and defaults of the fields are NeMo-Run's, and so are the words of one process. Several processes that write into one
//! folder would overwrite each other's profiles (pids repeat from node to node), so that their rank is put into the name. Only
//! one profiler on a node can sample the GPUs' metrics: it is the first process of each chosen node.

use std::path::{Component, Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LauncherError, Site};
use crate::model::Env;
use crate::plan::JobFile;

/// The variable that names the nodes whose GPUs are sampled, where the settings don't (NeMo-Run's).
const METRICS_NODES: &str = "GPU_METRICS_NODES";

/// The profiler's settings: every launcher has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Profiler {
    /// Wrap what is started in NVIDIA's profiler.
    pub nsys_profile: bool,
    /// The profiles' folder inside the job's folder.
    pub nsys_folder: String,
    /// A profile's file name; `%p` is the process's id, `%q{NAME}` a variable. Of several processes it gets the rank too, unless it
    /// names a variable.
    pub nsys_filename: String,
    /// What is traced.
    pub nsys_trace: Vec<String>,
    /// Further arguments for `nsys profile`.
    pub nsys_extra_args: Vec<String>,
    /// Sample the GPUs' metrics too, by the first process of each node.
    pub nsys_gpu_metrics: bool,
    /// The nodes on which the GPUs' metrics are sampled, from 0; not given: those in the variable GPU_METRICS_NODES, else all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nsys_gpu_metrics_nodes: Option<Vec<u32>>,
}

impl Default for Profiler {
    fn default() -> Profiler {
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Profiler {
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
            nsys_gpu_metrics_nodes: None,
        }
    }
}

/// Which processes sample the GPUs' metrics: the first of each of these nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// The nodes; `None`: all of them.
    pub nodes: Option<Vec<u32>>,
}

impl Profiler {
    /// The names of the settings.
    pub(super) const NAMES: [&'static str; 7] = [
        "nsys_profile",
        "nsys_folder",
        "nsys_filename",
        "nsys_trace",
        "nsys_extra_args",
        "nsys_gpu_metrics",
        "nsys_gpu_metrics_nodes",
    ];

    /// The words to put before a command to profile it, without the program; `None` when no profile is wanted.
    #[must_use]
    pub fn prefix(&self, profile_dir: &str) -> Option<Vec<String>> {
        self.words(profile_dir, &self.nsys_filename, "all")
    }

    fn words(&self, profile_dir: &str, filename: &str, metrics: &str) -> Option<Vec<String>> {
        if !self.nsys_profile {
            return None;
        }
        let mut words: Vec<String> = ["profile", "-s", "none", "-t"].map(str::to_owned).into();
        words.push(self.nsys_trace.join(","));
        words.push("-o".to_owned());
        words.push(format!("{profile_dir}/{}/{filename}", self.nsys_folder));
        words.extend(self.nsys_extra_args.iter().cloned());
        if self.nsys_gpu_metrics {
            words.push(format!("--gpu-metrics-device={metrics}"));
        }
        Some(words)
    }

    /// The file that makes the profiles' folder: nsys makes none.
    pub(super) fn folder(&self, launcher: &str) -> Result<JobFile, LauncherError> {
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        let folder = Path::new(&self.nsys_folder);
        if self.nsys_folder.is_empty() || !folder.components().all(plain) {
            return Err(LauncherError::Settings {
                launcher: launcher.to_owned(),
                reason: format!(
                    "nsys_folder: `{}` is no folder inside of the job's",
                    self.nsys_folder
                ),
            });
        }
        Ok(JobFile {
            path: format!("{}/.profiles", self.nsys_folder),
            contents: String::new(),
            executable: false,
        })
    }

    /// The words for one of `processes` on each of the place's nodes, with the program, and whose metrics are sampled if that is
    /// not the same for all of them.
    pub(super) fn around(
        &self,
        site: &Site<'_>,
        processes: u32,
        env: &Env,
    ) -> (Vec<String>, Option<Metrics>) {
        let several = site.nodes.saturating_mul(processes) > 1;
        let filename = if several && !self.nsys_filename.contains("%q{") {
            format!("{}_rank%q{{RANK}}", self.nsys_filename)
        } else {
            self.nsys_filename.clone()
        };
        let nodes = self.nsys_gpu_metrics_nodes.clone().or_else(|| {
            let text = env.get(METRICS_NODES)?;
            let numbers = text.split([',', ' ', ';']).filter(|part| !part.is_empty());
            numbers.map(|number| number.parse().ok()).collect()
        });
        let differs = nodes.is_some() || processes > 1;
        let metrics =
            (self.nsys_profile && self.nsys_gpu_metrics && differs).then_some(Metrics { nodes });
        let all = if metrics.is_some() {
            site.metrics
        } else {
            "all"
        };
        match self.words(site.job_dir, &filename, all) {
            None => (Vec::new(), None),
            Some(words) => {
                let mut prefix = vec![site.nsys.to_owned()];
                prefix.extend(words);
                (prefix, metrics)
            }
        }
    }
}
