//! Turns a task's command into what is started on each node, so that its processes find each other.
//!
//! ```text
//! Role (entrypoint, args) ─┐                ┌─ argv, files        what is started; macros are the executor's to expand
//! Launcher (its settings) ─┼─ launch ─▶ Launched ─ processes      how many of it the executor starts on a node
//! Site (what a place says) ┘                └─ world              `ranks`: what the agents do by themselves
//! ```
//!
//! The table [`LAUNCHERS`] names them all; a launcher gets one file in this folder with its settings and its [`Starts`], and one
//! line there: validation, schemas and completions come from it. A launcher knows no executor: what differs from place to place
//! stands in the [`Site`], as numbers or as texts with the executor's macros. Every launcher can be wrapped in the profiler
//! (`nsys.rs`). Pitfall: words are words until the executor quotes them; where a launcher writes a script itself, each word goes
//! through [`Site::quote`], which knows the macros too.

mod command;
mod fault_tolerance;
mod nsys;
mod ranks;
mod slurm_ray;
mod slurm_template;
mod template;
mod torchrun;

use std::fmt::Debug;
use std::sync::Arc;

use mizzen_agent::protocol::World;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use command::Prefix;
pub use fault_tolerance::FaultTolerance;
pub use nsys::{Metrics, Profiler};
pub use ranks::Ranks;
pub use slurm_ray::SlurmRay;
pub use slurm_template::SlurmTemplate;
pub use torchrun::{Id, Torchrun};

use crate::model::{Env, Role};
use crate::plan::JobFile;

/// Every launcher: one line each.
pub static LAUNCHERS: &[Entry] = &[
    entry::<Plain>(NONE, "the command itself, once for each process"),
    entry::<Torchrun>("torchrun", "PyTorch's launcher, one on each node"),
    entry::<FaultTolerance>("ft", "NVIDIA's fault tolerance launcher, one on each node"),
    entry::<SlurmTemplate>(SLURM_TEMPLATE, "a script of your own around the command"),
    entry::<SlurmRay>(
        SLURM_RAY,
        "a Ray cluster over the nodes, with the command as its driver",
    ),
    entry::<Ranks>(
        RANKS,
        "processes that Mizzen's agents start, join and end together",
    ),
    entry::<Prefix>(COMMAND, "a command of your own before the task's"),
];

/// The launcher that adds nothing.
pub const NONE: &str = "none";
/// The launcher in which agents start the processes.
pub const RANKS: &str = "ranks";
/// The launcher with a script of the user's.
pub const SLURM_TEMPLATE: &str = "slurm_template";
/// The launcher that makes a Ray cluster.
pub const SLURM_RAY: &str = "slurm_ray";
/// The launcher that puts words of the user's before the command.
pub const COMMAND: &str = "command";

/// The folder in a job's own for scripts that launchers write.
const SCRIPTS: &str = "launcher";

/// A launcher of the table.
#[derive(Debug)]
pub struct Entry {
    /// Its name: the `kind` in documents.
    pub name: &'static str,
    /// One line about it.
    pub summary: &'static str,
    /// The JSON Schema of its own settings, without the profiler's.
    pub schema: fn() -> Value,
    build: fn(Value) -> Result<Arc<dyn Starts>, serde_json::Error>,
}

const fn entry<S: Starts + DeserializeOwned + JsonSchema + 'static>(
    name: &'static str,
    summary: &'static str,
) -> Entry {
    Entry {
        name,
        summary,
        schema: || schemars::schema_for!(S).to_value(),
        build: |settings| Ok(Arc::new(serde_json::from_value::<S>(settings)?)),
    }
}

impl Entry {
    /// The launcher with this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Entry> {
        LAUNCHERS.iter().find(|entry| entry.name == name)
    }

    /// The names of all.
    pub fn names() -> impl Iterator<Item = &'static str> {
        LAUNCHERS.iter().map(|entry| entry.name)
    }
}

/// What a place says of itself to launchers. Texts may hold the executor's macros.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// How many nodes.
    pub nodes: u32,
    /// How many processes of the task's on each node.
    pub per_node: u32,
    /// The job's name.
    pub job: &'a str,
    /// The job's folder, as the job sees it.
    pub job_dir: &'a str,
    /// Names the attempt: its submission key.
    pub run_id: &'a str,
    /// The first node's address.
    pub address: &'a str,
    /// A free port on the first node.
    pub port: &'a str,
    /// This node's number, from 0.
    pub node: &'a str,
    /// `all` for processes that sample the GPUs' metrics, `none` for the others ([`Launched::metrics`]).
    pub metrics: &'a str,
    /// The profiler's program.
    pub nsys: &'a str,
    /// How a text becomes one word of a shell there, its macros included; `None` where launchers can't replace the command by a
    /// script.
    pub quote: Option<fn(&str) -> String>,
    /// Agents of ours run on every node.
    pub agents: bool,
}

/// What is to be started.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Launched {
    /// The program and its arguments. The macros in them are for the executor to expand.
    pub argv: Vec<String>,
    /// How many of it the executor starts on each node. Of a world: its processes, which the agents start.
    pub processes: u32,
    /// Variables under the job's own.
    pub env: Vec<(String, String)>,
    /// Files for the job's folder.
    pub files: Vec<JobFile>,
    /// The agents join the processes, end and restart them together (the `ranks` launcher).
    pub world: Option<World>,
    /// Programs that must be there, on the job's own PATH.
    pub needs: Vec<String>,
    /// The site's `metrics` differ from process to process.
    pub metrics: Option<Metrics>,
}

/// A kind of launcher with its own settings.
pub trait Starts: Debug + Send + Sync {
    /// What is started for a command.
    ///
    /// # Errors
    /// The launcher can't work at this place, or not with this command.
    fn launch(&self, command: &Command<'_>, site: &Site<'_>) -> Result<Launched, LauncherError>;

    /// Who starts the task's processes.
    fn starter(&self) -> Starter;
}

/// Who starts a task's processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starter {
    /// The executor: the command once for each of them.
    Executor,
    /// What is started, once on each node.
    Itself,
    /// The agent of each node.
    Agents,
}

/// A task's command on its way through a launcher.
#[derive(Debug)]
pub struct Command<'a> {
    /// Its words.
    pub words: Vec<String>,
    profiler: &'a Profiler,
    env: &'a Env,
}

impl Command<'_> {
    /// `argv` in the profiler, if there is to be one.
    fn profiled(&self, argv: Vec<String>, site: &Site<'_>, processes: u32) -> Launched {
        let (mut words, metrics) = self.profiler.around(site, processes, self.env);
        words.extend(argv);
        Launched {
            argv: words,
            processes,
            metrics,
            ..Launched::default()
        }
    }
}

/// The command itself, once for each process.
#[derive(Debug, Clone, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Plain {}

impl Starts for Plain {
    fn launch(&self, command: &Command<'_>, site: &Site<'_>) -> Result<Launched, LauncherError> {
        Ok(command.profiled(command.words.clone(), site, site.per_node))
    }

    fn starter(&self) -> Starter {
        Starter::Executor
    }
}

/// A launcher with its settings (the seed's `Launcher`).
#[derive(Debug, Clone)]
pub struct Launcher {
    /// Its name.
    pub kind: &'static str,
    /// The profiler around what it starts.
    pub profiler: Profiler,
    starts: Arc<dyn Starts>,
}

impl Default for Launcher {
    fn default() -> Launcher {
        Launcher {
            kind: NONE,
            profiler: Profiler::default(),
            starts: Arc::new(Plain {}),
        }
    }
}

/// A launcher can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LauncherError {
    /// No launcher has this name.
    #[error("there is no launcher `{0}`; there are: {names}", names = Entry::names().collect::<Vec<_>>().join(", "))]
    Unknown(String),
    /// The settings have another form than a launcher's.
    #[error("the settings of the launcher `{launcher}` can't be read: {reason}")]
    Settings {
        /// Its name.
        launcher: String,
        /// What is wrong.
        reason: String,
    },
    /// A script can't be made from its template.
    #[error("the template of the launcher `{launcher}` is wrong: {reason}")]
    Template {
        /// Its name.
        launcher: String,
        /// Where and what, with the line shown.
        reason: String,
    },
    /// The place has not got what the launcher needs.
    #[error("the launcher `{launcher}` needs {lacks}, which this executor does not have")]
    Place {
        /// Its name.
        launcher: String,
        /// What is missing.
        lacks: String,
    },
}

impl Launcher {
    /// From a document's value: a name, or a table with `kind` and settings.
    ///
    /// # Errors
    /// The name is unknown or the settings are not a launcher's.
    pub fn from_value(value: &Value) -> Result<Launcher, LauncherError> {
        let (kind, mut own) = match value {
            Value::String(kind) => (kind.as_str(), Map::new()),
            Value::Object(table) => {
                let mut own = table.clone();
                own.shift_remove("kind");
                let kind = table.get("kind").and_then(Value::as_str);
                (kind.unwrap_or(NONE), own)
            }
            other => return Err(LauncherError::Unknown(other.to_string())),
        };
        let entry = Entry::find(kind).ok_or_else(|| LauncherError::Unknown(kind.to_owned()))?;
        let mut profiler = Map::new();
        for name in Profiler::NAMES {
            if let Some((name, value)) = own.shift_remove_entry(name) {
                profiler.insert(name, value);
            }
        }
        let unreadable = |error: serde_json::Error| LauncherError::Settings {
            launcher: kind.to_owned(),
            reason: error.to_string(),
        };
        Ok(Launcher {
            kind: entry.name,
            profiler: serde_json::from_value(Value::Object(profiler)).map_err(unreadable)?,
            starts: (entry.build)(Value::Object(own)).map_err(unreadable)?,
        })
    }

    /// What is started for a role. `env`: the variables that it will have.
    ///
    /// # Errors
    /// The launcher can't work at this place, or not with this command.
    pub fn launch(
        &self,
        role: &Role,
        site: &Site<'_>,
        env: &Env,
    ) -> Result<Launched, LauncherError> {
        let mut words = Vec::with_capacity(1 + role.args.len());
        words.push(role.entrypoint.clone());
        words.extend(role.args.iter().cloned());
        let command = Command {
            words,
            profiler: &self.profiler,
            env,
        };
        let mut launched = self.starts.launch(&command, site)?;
        if self.profiler.nsys_profile {
            launched.needs.push(site.nsys.to_owned());
            launched.files.push(self.profiler.folder(self.kind)?);
        }
        Ok(launched)
    }

    /// Who starts the task's processes.
    #[must_use]
    pub fn starter(&self) -> Starter {
        self.starts.starter()
    }

    /// The words to put before a rank's command to profile it (without the program: [`crate::executor::Executor::get_nsys_entrypoint`]);
    /// `None` when no profile is wanted.
    #[must_use]
    pub fn nsys_prefix(&self, profile_dir: &str) -> Option<Vec<String>> {
        self.profiler.prefix(profile_dir)
    }
}

/// The schema of a launcher's table: `kind`, its own settings and the profiler's.
#[must_use]
pub fn schema(entry: &Entry) -> Value {
    let mut schema = (entry.schema)();
    let mut profiler = schemars::schema_for!(Profiler).to_value();
    let properties = |schema: &mut Value| match schema.get_mut("properties").map(Value::take) {
        Some(Value::Object(properties)) => properties,
        _ => Map::new(),
    };
    let mut all = properties(&mut schema);
    all.extend(properties(&mut profiler));
    if let Some(object) = schema.as_object_mut() {
        object.insert("properties".to_owned(), Value::Object(all));
    }
    schema
}

#[cfg(test)]
mod tests;
