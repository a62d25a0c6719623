//! `ft`: NVIDIA's `ft_launcher`, which is torchrun with heartbeats, one on each node.
//!
//! ```text
//! attempt ─▶ sh ft.sh FLAG RESULTS NODE ─ finished already? ─ yes ─▶ 0
//!                                          └─ no ─▶ ft_launcher … ─▶ its status     RESULTS: a line an attempt, X while it runs
//! ```
//!
//! The words are NeMo-Run's, but that 0 is a value. What NeMo-Run does with requeues are attempts of ours: they come after failures,
//! preemptions and lost nodes, as the task's `retries` say, and never after a success. The program may say by the flag file
//! (`FAULT_TOL_FINISHED_FLAG_FILE`) that all work is done: an attempt that comes after that ends well at once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::torchrun::{Id, Meeting, Program};
use super::{Command, Launched, LauncherError, SCRIPTS, Site, Starter, Starts};
use crate::plan::JobFile;

/// The launcher's program.
const FT_LAUNCHER: &str = "ft_launcher";
/// The same as a module.
const MODULE: &str = "nvidia_resiliency_ext.fault_tolerance.launcher";
/// What goes around it.
const SCRIPT: &str = include_str!("ft.sh");

/// The settings of `ft`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FaultTolerance {
    /// A YAML file with the launcher's parameters, as the job sees it.
    pub cfg_path: Option<String>,
    /// The file by which the program says that all work is done; one in the job's folder if not given.
    pub finished_flag_file: Option<String>,
    /// The file with a line for each attempt; one in the job's folder if not given.
    pub job_results_file: Option<String>,
    /// How the nodes find each other.
    pub rdzv_backend: String,
    /// The port on the first node at which several nodes meet; one that is free if not given.
    #[schemars(range(min = 1))]
    pub rdzv_port: Option<u16>,
    /// What names the meeting; the attempt's submission key if not given.
    pub rdzv_id: Option<Id>,
    /// Seconds between two checks of the processes.
    pub workload_check_interval: Option<f64>,
    /// Seconds to a process's first heartbeat.
    pub initial_rank_heartbeat_timeout: Option<f64>,
    /// Seconds between two heartbeats.
    pub rank_heartbeat_timeout: Option<f64>,
    /// The signal that ends a process without heartbeats, such as "SIGTERM".
    pub rank_termination_signal: Option<String>,
    /// How much the launcher says, such as "INFO".
    pub log_level: Option<String>,
    /// How often all processes are started again after a failure, inside the attempt.
    pub max_restarts: Option<u32>,
}

impl Default for FaultTolerance {
    fn default() -> FaultTolerance {
        FaultTolerance {
            cfg_path: None,
            finished_flag_file: None,
            job_results_file: None,
            rdzv_backend: "c10d".to_owned(),
            rdzv_port: None,
            rdzv_id: None,
            workload_check_interval: None,
            initial_rank_heartbeat_timeout: None,
            rank_heartbeat_timeout: None,
            rank_termination_signal: None,
            log_level: None,
            max_restarts: None,
        }
    }
}

impl FaultTolerance {
    fn parameters(&self) -> Vec<String> {
        // A whole number of seconds is written as NeMo-Run does: 60.0.
        let seconds = |value: Option<f64>| value.map(|value| format!("{value:?}"));
        let pairs = [
            (
                "--ft-workload_check_interval",
                seconds(self.workload_check_interval),
            ),
            (
                "--ft-initial_rank_heartbeat_timeout",
                seconds(self.initial_rank_heartbeat_timeout),
            ),
            (
                "--ft-rank_heartbeat_timeout",
                seconds(self.rank_heartbeat_timeout),
            ),
            (
                "--ft-rank_termination_signal",
                self.rank_termination_signal.clone(),
            ),
            ("--ft-log_level", self.log_level.clone()),
            (
                "--max-restarts",
                self.max_restarts.map(|count| count.to_string()),
            ),
        ];
        let mut words: Vec<String> = pairs
            .into_iter()
            .filter_map(|(flag, value)| Some([flag.to_owned(), value?]))
            .flatten()
            .collect();
        if words.is_empty() && self.cfg_path.is_none() {
            words.push("--ignore-missing-fault-tol-cfg".to_owned());
        }
        words
    }
}

impl Starts for FaultTolerance {
    fn launch(&self, command: &Command<'_>, site: &Site<'_>) -> Result<Launched, LauncherError> {
        let program = Program::of(&command.words);
        let mut argv = match &program.interpreter {
            Some(python) => vec![python.clone(), "-m".to_owned(), MODULE.to_owned()],
            None => vec![FT_LAUNCHER.to_owned()],
        };
        argv.extend(self.parameters());
        let meeting = Meeting {
            backend: &self.rdzv_backend,
            port: self.rdzv_port,
            id: self.rdzv_id.as_ref(),
        };
        argv.extend(meeting.words(site));
        let needs = match program.interpreter {
            Some(_) => Vec::new(),
            None => vec![FT_LAUNCHER.to_owned()],
        };
        argv.extend(program.words);
        let launched = command.profiled(argv, site, 1);
        let own = |given: &Option<String>, name: &str| {
            given
                .clone()
                .unwrap_or_else(|| format!("{}/{}_{name}", site.job_dir, site.job))
        };
        let flag = own(&self.finished_flag_file, "finished_flag");
        let results = own(&self.job_results_file, "job_results");
        let path = format!("{SCRIPTS}/ft.sh");
        let mut argv = vec!["sh".to_owned(), format!("{}/{path}", site.job_dir)];
        argv.extend([flag.clone(), results.clone(), site.node.to_owned()]);
        argv.extend(launched.argv);
        let mut env = vec![
            ("FAULT_TOL_FINISHED_FLAG_FILE".to_owned(), flag),
            ("JOB_RESULTS_FILE".to_owned(), results),
        ];
        if let Some(path) = &self.cfg_path {
            env.push(("FAULT_TOL_CFG_PATH".to_owned(), path.clone()));
        }
        Ok(Launched {
            argv,
            env,
            needs,
            files: vec![JobFile {
                path,
                contents: SCRIPT.to_owned(),
                executable: true,
            }],
            ..launched
        })
    }

    fn starter(&self) -> Starter {
        Starter::Itself
    }
}
