//! What is sent for one unit: its containers, and the files that must be there before they start.
//!
//! ```text
//! <E>/<job>/scripts/…                     the job's files
//! <E>/<job>/submit/<a>[-<node>].json      what the agent in a container is to do; it holds secrets and goes when it was read
//! <E>/<job>/attempts/<a>[/nodes/<n>]/     claim, record; end.json: somebody wants it to end
//! <E>/<job>/code/                         the job's copy of the code
//! ```

use mizzen_agent::protocol::Job;
use serde::{Deserialize, Serialize};

use super::settings::{DockerSettings, Pull};

/// The agent's executable inside a container.
pub(super) const AGENT: &str = "/mizzen-agent";
/// Where a container finds its job's folder: NeMo-Run's name.
pub(super) const RUN_DIR: &str = "/nemo_run";
/// What a volume's source begins with that is in the job's folder.
pub(super) const RUN_DIR_MARK: &str = "/$nemo_run";
/// The variable part of every label.
pub(super) const LABEL: &str = "mizzen";

/// What is sent for one unit: the payload of a request, as one line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// The submission key.
    pub key: String,
    /// The experiment.
    pub experiment: String,
    /// The experiment's folder at each host, absolute: E.
    pub directories: Vec<String>,
    /// The attempt.
    pub attempt: u32,
    /// The members' folders, relative to E, in the unit's order.
    pub folders: Vec<String>,
    /// A network that is made for this unit alone, and removed with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_network: Option<String>,
    /// The containers, by member, then by node.
    pub containers: Vec<Container>,
    /// Seconds between the first signal and the last when the unit is ended.
    pub grace: f64,
}

/// One container.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// Its name for the engine.
    pub name: String,
    /// The number of its member in the unit.
    pub member: usize,
    /// Which of its job's nodes it is.
    pub node: u32,
    /// How many nodes its job has.
    pub nodes: u32,
    /// The number of its host.
    pub host: usize,
    /// Words for the engine's `run` and `create`: all but the name, the user, the GPUs and the agent.
    pub options: Vec<String>,
    /// The image.
    pub image: String,
    /// When the image is pulled.
    pub pull: Pull,
    /// The image's platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Who its processes are.
    pub user: User,
    /// What it gets of the machine's GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<Gpus>,
    /// The image's entry point is kept.
    pub keep_entrypoint: bool,
    /// Paths of the machine that must be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// A network that is made when it isn't there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The files that it needs in E.
    pub files: Vec<LaunchFile>,
    /// The code that it needs: the unpacked tree, and the job's own folder for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CodePlace>,
    /// What the agent does, without secrets.
    pub job: Job,
}

/// A file of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchFile {
    /// Its path, relative to E.
    pub path: String,
    /// Its text.
    pub contents: String,
    /// It gets the executable bits (0700, else 0600).
    pub executable: bool,
}

/// Where code is, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodePlace {
    /// The folder with the code.
    pub from: String,
    /// The job's own folder for it.
    pub to: String,
    /// `to` becomes a link to `from`: a folder of the user's.
    pub as_link: bool,
}

/// Who the processes of a container are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum User {
    /// Who launches, at the place.
    Me {
        /// The job has a HOME of its own.
        has_home: bool,
    },
    /// Whom the image says.
    Image,
    /// As it is written.
    Named(String),
}

/// What a container gets of the machine's GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpus {
    /// How many; none: all.
    pub count: Option<u32>,
    /// The GPUs that there are; none: those of the machine.
    pub pool: Option<Vec<String>>,
    /// Others may have the same.
    pub shared: bool,
}

impl Gpus {
    /// What the settings ask for.
    pub(super) fn of(settings: &DockerSettings) -> Option<Gpus> {
        settings.asks_for_gpus().then(|| Gpus {
            count: settings
                .num_gpus
                .or_else(|| i32::try_from(settings.gpus.as_ref()?.len()).ok())
                .and_then(|count| u32::try_from(count).ok()),
            pool: settings.gpus.clone(),
            shared: settings.share_gpus,
        })
    }
}

impl Launch {
    /// Reads a request's payload.
    ///
    /// # Errors
    /// It is none of this executor's.
    pub fn from_payload(payload: &str) -> serde_json::Result<Launch> {
        serde_json::from_str(payload)
    }
}

impl Container {
    /// The file that tells the agent what to do, relative to E.
    #[must_use]
    pub fn job_file(&self, launch: &Launch) -> String {
        let folder = launch.folders.get(self.member).map_or("", String::as_str);
        let node = match self.nodes {
            1 => String::new(),
            _ => format!("-{}", self.node),
        };
        format!("{folder}/submit/{}{node}.json", launch.attempt)
    }

    /// The folder of its claim and record, relative to E.
    #[must_use]
    pub fn record_dir(&self, launch: &Launch) -> String {
        let folder = launch.folders.get(self.member).map_or("", String::as_str);
        let attempt = format!("{folder}/attempts/{}", launch.attempt);
        match self.nodes {
            1 => attempt,
            _ => format!("{attempt}/nodes/{}", self.node),
        }
    }
}
