//! The settings: names and defaults are NeMo-Run's `SlurmExecutor`'s where it has them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::config::duration::Timespan;
use crate::config::names::is_time_limit;
use crate::model::Env;
use crate::packager::Packager;
use crate::tunnel::TunnelSettings;

/// The settings of [`super::SlurmExecutor`]. What is left out is left to the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SlurmSettings {
    /// The account that is charged.
    pub account: Option<String>,
    /// The partition, or several with commas between them.
    pub partition: Option<String>,
    /// What stands before the job's name in Slurm's lists; without it `<account>-<the account's last part>.`.
    pub job_name_prefix: Option<String>,
    /// Slurm's time limit: "minutes", "minutes:seconds", "hours:minutes:seconds", "days-hours", "days-hours:minutes",
    /// "days-hours:minutes:seconds" or "UNLIMITED".
    #[schemars(extend("x-mizzen-format" = "time-limit"))]
    pub time: String,
    /// Nodes.
    #[schemars(range(min = 1, max = 65536))]
    pub nodes: u32,
    /// Tasks: processes that Slurm starts, over all nodes. Without it, `nodes` times `ntasks_per_node`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub ntasks: Option<u32>,
    /// Tasks a node.
    #[schemars(range(min = 1, max = 65536))]
    pub ntasks_per_node: u32,
    /// Processors a task.
    pub cpus_per_task: Option<u32>,
    /// Processors a GPU.
    pub cpus_per_gpu: Option<u32>,
    /// GPUs for the whole job, such as "8" or "h100:8".
    pub gpus: Option<Text>,
    /// GPUs a node, such as 8 or "h100:8".
    pub gpus_per_node: Option<Text>,
    /// GPUs a socket.
    pub gpus_per_socket: Option<Text>,
    /// GPUs a task.
    pub gpus_per_task: Option<Text>,
    /// The quality of service.
    pub qos: Option<String>,
    /// Memory a node, such as "64G"; "0" for all of it.
    pub mem: Option<Text>,
    /// Memory a GPU.
    pub mem_per_gpu: Option<Text>,
    /// Memory a processor.
    pub mem_per_cpu: Option<Text>,
    /// A comment. The submission key is put behind it.
    pub comment: Option<String>,
    /// Features that nodes must have.
    pub constraint: Option<String>,
    /// Features that nodes should have.
    pub prefer: Option<String>,
    /// Nodes that must not be used.
    pub exclude: Option<String>,
    /// Nodes that must be used.
    pub nodelist: Option<String>,
    /// Generic resources, such as "gpu:8".
    pub gres: Option<String>,
    /// Licenses.
    pub licenses: Option<String>,
    /// The reservation.
    pub reservation: Option<String>,
    /// A signal before the time limit, such as "USR1@120" for the tasks or "B:USR1@120" by way of the batch script.
    pub signal: Option<String>,
    /// Use nodes alone: true, or "user", "mcs" or "topo".
    #[serde(deserialize_with = "exclusive")]
    #[schemars(with = "Option<Flag>")]
    pub exclusive: Option<Flag>,
    /// Nodes a segment of a block topology.
    pub segment: Option<u32>,
    /// Properties of the network.
    pub network: Option<String>,
    /// The most leaf switches, such as "1" or "1@01:00:00".
    pub switches: Option<Text>,
    /// Not used, and refused: write the points as a task's `sweep`. Jobs with the same needs become an array by themselves.
    pub array: Option<Text>,
    /// "append" to or "truncate" the output files of a job that starts again.
    pub open_mode: String,
    /// May Slurm start the job again after a preemption or a node's failure? Without it, as the cluster has it.
    pub requeue: Option<bool>,
    /// Lowers the priority (raises it if negative).
    pub nice: Option<i64>,
    /// Keep the job waiting until somebody releases it.
    pub hold: bool,
    /// Start no sooner, such as "now+1hour" or "2026-01-20T12:34:00".
    pub begin: Option<String>,
    /// Remove the job if it can't end by then.
    pub deadline: Option<String>,
    /// The workload characterization key.
    pub wckey: Option<String>,
    /// The cluster, where there are several.
    pub clusters: Option<String>,
    /// When Slurm sends mail, such as "END,FAIL".
    pub mail_type: Option<String>,
    /// Who gets it.
    pub mail_user: Option<String>,
    /// The folder that the batch script starts in.
    pub chdir: Option<String>,
    /// Which variables of the submitting environment the job gets: "ALL", "NONE" or names.
    pub export: Option<String>,
    /// Further flags of sbatch by their names, such as `{"cpu-freq" = "high"}`; true for a flag without a value. They win
    /// over the settings above.
    pub additional_parameters: Option<BTreeMap<String, Flag>>,
    /// Further arguments of srun, one word each.
    pub srun_args: Option<Vec<String>>,
    /// The container image; without one, commands run on the nodes themselves.
    pub container_image: Option<String>,
    /// What runs the container: "pyxis" (srun's own `--container-image`) or "apptainer".
    pub container_runtime: ContainerRuntime,
    /// Folders in the container, `there:inside[:flags]`. A path that begins with `/$nemo_run` is in the job's folder.
    pub container_mounts: Vec<String>,
    /// Variables that win over the image's own.
    pub container_env: Option<Vec<String>>,
    /// The working directory inside the container; without it `workdir`, or else the job's folder.
    pub container_workdir: Option<String>,
    /// Shell text that runs in the batch script before anything is started.
    pub setup_lines: Option<String>,
    /// Write down the GPUs' memory once, before the job starts.
    pub memory_measure: bool,
    /// The port where ranks find each other (`MASTER_PORT`); without it, a free one.
    pub rendezvous_port: Option<u16>,
    /// Give each member of a group a component of its own of a heterogeneous job, with all of its own settings.
    pub heterogeneous: bool,
    /// Which component each member of a group belongs to; without it, each has its own.
    pub het_group_indices: Option<Vec<u32>>,
    /// Seconds between the starts of a group's members.
    pub wait_time_for_group_job: i64,
    /// A member's failure ends its group.
    pub monitor_group_job: bool,
    /// Taken for NeMo-Run's sake and not used: the end of a member is noticed when it happens.
    pub monitor_group_job_wait_time: i64,
    /// Processes that a launcher starts on a node.
    pub torchrun_nproc_per_node: Option<u32>,
    /// Names of the job and of its output files.
    pub job_details: SlurmJobDetails,
    /// Where sbatch runs: this machine, or another by ssh.
    pub tunnel: TunnelSettings,
    /// Jobs outside of the experiment that must come before: Slurm's numbers, or handles.
    pub dependencies: Vec<String>,
    /// What must have happened to them: Slurm's word.
    pub dependency_type: String,
    /// Leave out nodes on which jobs have failed lately.
    pub exclude_bad_nodes: bool,
    /// Send jobs with the same needs as one array.
    pub arrays: bool,
    /// Ask Slurm when waiting jobs will start.
    pub poll_estimated_start_time: bool,
    /// The template of Ray clusters.
    pub ray_template: String,
    /// How long one attempt may run, such as "2h", counted from its start by the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timespan>,
    /// The working directory of jobs that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// How code reaches the job.
    pub packager: Packager,
    /// The launcher: a name, or a table with `kind` and settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launcher: Option<serde_json::Value>,
    /// Variables for every job, under the task's own.
    #[schemars(with = "BTreeMap<String, String>")]
    pub env_vars: Env,
    /// How often a failed job is tried again, unless its task says so itself.
    pub retries: u32,
}

impl Default for SlurmSettings {
    fn default() -> SlurmSettings {
        SlurmSettings {
            account: None,
            partition: None,
            job_name_prefix: None,
            time: "00:10:00".to_owned(),
            nodes: 1,
            ntasks: None,
            ntasks_per_node: 1,
            cpus_per_task: None,
            cpus_per_gpu: None,
            gpus: None,
            gpus_per_node: None,
            gpus_per_socket: None,
            gpus_per_task: None,
            qos: None,
            mem: None,
            mem_per_gpu: None,
            mem_per_cpu: None,
            comment: None,
            constraint: None,
            prefer: None,
            exclude: None,
            nodelist: None,
            gres: None,
            licenses: None,
            reservation: None,
            signal: None,
            exclusive: None,
            segment: None,
            network: None,
            switches: None,
            array: None,
            open_mode: "append".to_owned(),
            requeue: None,
            nice: None,
            hold: false,
            begin: None,
            deadline: None,
            wckey: None,
            clusters: None,
            mail_type: None,
            mail_user: None,
            chdir: None,
            export: None,
            additional_parameters: None,
            srun_args: None,
            container_image: None,
            container_runtime: ContainerRuntime::Pyxis,
            container_mounts: Vec::new(),
            container_env: None,
            container_workdir: None,
            setup_lines: None,
            memory_measure: false,
            rendezvous_port: None,
            heterogeneous: false,
            het_group_indices: None,
            wait_time_for_group_job: 0,
            monitor_group_job: true,
            monitor_group_job_wait_time: 60,
            torchrun_nproc_per_node: None,
            job_details: SlurmJobDetails::default(),
            tunnel: TunnelSettings::default(),
            dependencies: Vec::new(),
            dependency_type: "afterok".to_owned(),
            exclude_bad_nodes: true,
            arrays: true,
            poll_estimated_start_time: true,
            ray_template: "ray.sub.j2".to_owned(),
            timeout: None,
            workdir: None,
            packager: Packager::default(),
            launcher: None,
            env_vars: Env::new(),
            retries: 0,
        }
    }
}

/// Names of a job and of its output files. In file names Slurm's `%j` and the like hold; relative ones are in `folder`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SlurmJobDetails {
    /// The job's name for Slurm.
    pub job_name: Option<String>,
    /// The folder of the output files; without it, the job's.
    pub folder: Option<String>,
    /// What the batch script says; without it `sbatch_<job name>_%j.out`.
    pub stdout: Option<String>,
    /// Its errors; without it, in the same file.
    pub stderr: Option<String>,
    /// What srun says; without it `log-<job name>_%j_<restart>.out`. The ranks' own output is in their logs.
    pub srun_stdout: Option<String>,
    /// Its errors; without it, in the same file.
    pub srun_stderr: Option<String>,
    /// What the logs of Ray clusters begin with.
    pub ray_log_prefix: Option<String>,
}

/// What runs a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContainerRuntime {
    /// Pyxis and enroot, by srun's own flags.
    #[default]
    Pyxis,
    /// Apptainer (or Singularity's successor of that name) around each rank.
    Apptainer,
}

/// A value of a flag: given, not given, or with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flag {
    /// `false` and null: the flag is not given.
    Off,
    /// `true`: the flag without a value.
    On,
    /// The flag with this value.
    Value(String),
}

/// A number or a text: Slurm has many values that are one or the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Flag, D::Error> {
        struct FlagVisitor;
        impl de::Visitor<'_> for FlagVisitor {
            type Value = Flag;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("true, false, a number or a text")
            }
            fn visit_bool<E>(self, on: bool) -> Result<Flag, E> {
                Ok(if on { Flag::On } else { Flag::Off })
            }
            fn visit_u64<E>(self, number: u64) -> Result<Flag, E> {
                Ok(Flag::Value(number.to_string()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Flag, E> {
                Ok(Flag::Value(number.to_string()))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Flag, E> {
                Ok(Flag::Value(number.to_string()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Flag, E> {
                Ok(Flag::Value(text.to_owned()))
            }
            fn visit_unit<E>(self) -> Result<Flag, E> {
                Ok(Flag::Off)
            }
        }
        deserializer.deserialize_any(FlagVisitor)
    }
}

impl Serialize for Flag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Flag::Off => serializer.serialize_bool(false),
            Flag::On => serializer.serialize_bool(true),
            Flag::Value(text) => serializer.serialize_str(text),
        }
    }
}

impl JsonSchema for Flag {
    fn schema_name() -> Cow<'static, str> {
        "Flag".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a flag: true for the flag alone, false for none, or its value",
            "type": ["boolean", "number", "string"],
        })
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        match Flag::deserialize(deserializer)? {
            Flag::Value(text) => Ok(Text(text)),
            Flag::On | Flag::Off => Err(de::Error::custom("a number or a text is needed")),
        }
    }
}

impl Text {
    /// The number in it: `8` and `h100:8` are 8.
    pub(super) fn count(&self) -> Option<u32> {
        self.0.rsplit(':').next()?.parse().ok()
    }

    /// The same kind of GPU, so many times as often.
    pub(super) fn times(&self, times: u32) -> Option<String> {
        let count = self.count()?.saturating_mul(times);
        Some(match self.0.rsplit_once(':') {
            Some((kind, _)) => format!("{kind}:{count}"),
            None => count.to_string(),
        })
    }
}

impl JsonSchema for Text {
    fn schema_name() -> Cow<'static, str> {
        "NumberOrText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"description": "a number or a text", "type": ["number", "string"]})
    }
}

/// `exclusive = false` is what is not given; `exclusive = true` is the flag alone.
fn exclusive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Flag>, D::Error> {
    let flag = Option::<Flag>::deserialize(deserializer)?;
    Ok(flag.filter(|flag| *flag != Flag::Off))
}

impl SlurmSettings {
    /// From a document's settings.
    ///
    /// # Errors
    /// A setting has another form than it must have, or Slurm can't take its value.
    pub fn from_value(value: serde_json::Value) -> Result<SlurmSettings, serde_json::Error> {
        use de::Error;
        let settings: SlurmSettings = serde_json::from_value(value)?;
        match settings.problem() {
            None => Ok(settings),
            Some(words) => Err(serde_json::Error::custom(words)),
        }
    }

    /// Nodes, tasks and tasks a node, after `additional_parameters` had their say.
    /// How many processes a launcher starts on a node: as many as it has GPUs where Slurm starts one task a node.
    pub(super) fn processes_per_node(&self) -> u32 {
        let count = |gpus: &Option<Text>| gpus.as_ref()?.count();
        let by_gpus = if self.ntasks_per_node == 1 {
            count(&self.gpus_per_node)
        } else {
            None
        };
        self.torchrun_nproc_per_node
            .or(by_gpus)
            .or_else(|| count(&self.gpus_per_task))
            .filter(|count| *count > 0)
            .unwrap_or_else(|| self.size().per_node)
    }

    /// How many processes are started on each node by what Slurm starts there once: what is said of torchrun, the tasks that Slurm
    /// would start, the GPUs.
    pub(super) fn started_per_node(&self) -> u32 {
        let tasks = self.size().per_node;
        if self.torchrun_nproc_per_node.is_none() && tasks > 1 {
            tasks
        } else {
            self.processes_per_node()
        }
    }

    pub(super) fn size(&self) -> Size {
        let given = |name: &str| {
            let parameters = self.additional_parameters.as_ref()?;
            let (_, flag) = parameters
                .iter()
                .find(|(key, _)| super::directives::flag_name(key) == name)?;
            match flag {
                Flag::Value(text) => text.parse::<u32>().ok().filter(|number| *number > 0),
                Flag::On | Flag::Off => None,
            }
        };
        let nodes = given("nodes").unwrap_or(self.nodes).max(1);
        let ntasks = given("ntasks").or(self.ntasks);
        let mut per_node = given("ntasks-per-node")
            .unwrap_or(self.ntasks_per_node)
            .max(1);
        if let Some(ntasks) = ntasks
            && per_node == 1
        {
            // One a node is the default; with a number of all tasks it means nothing.
            per_node = ntasks.div_ceil(nodes).max(1);
        }
        Size {
            nodes,
            per_node,
            ranks: ntasks.unwrap_or_else(|| nodes.saturating_mul(per_node)),
            by_ntasks: ntasks.is_some(),
        }
    }

    /// GPUs are asked for, in one way or another.
    pub(super) fn asks_for_gpus(&self) -> bool {
        let gres = self.gres.as_deref();
        self.gpus.is_some()
            || self.gpus_per_node.is_some()
            || self.gpus_per_task.is_some()
            || gres.is_some_and(|gres| gres.contains("gpu"))
    }

    /// What Slurm could not take, as a sentence.
    fn problem(&self) -> Option<String> {
        if self.array.is_some() {
            return Some(
                "array: write the points as the task's `sweep`; jobs with the same needs become an array by themselves"
                    .to_owned(),
            );
        }
        if let Some(words) = super::directives::problem(self) {
            return Some(words);
        }
        if !is_time_limit(&self.time) {
            return Some(format!(
                "time: `{}` is not one of Slurm's times: write minutes, minutes:seconds, hours:minutes:seconds, days-hours, \
                 days-hours:minutes or days-hours:minutes:seconds",
                self.time
            ));
        }
        if !["append", "truncate"].contains(&self.open_mode.as_str()) {
            return Some(format!(
                "open_mode: `{}` is neither `append` nor `truncate`",
                self.open_mode
            ));
        }
        if self.gpus_per_task.is_none()
            && self.cpus_per_gpu.is_some()
            && self.gpus_per_node.is_some()
        {
            return Some(
                "cpus_per_gpu: Slurm takes it together with `gpus_per_task`, not with `gpus_per_node`".to_owned(),
            );
        }
        let memories = [&self.mem, &self.mem_per_cpu, &self.mem_per_gpu];
        if memories.iter().filter(|memory| memory.is_some()).count() > 1 {
            return Some(
                "`mem`, `mem_per_cpu` and `mem_per_gpu` say the same in three ways: give one of them".to_owned(),
            );
        }
        if let Some(folder) = self.tunnel.job_dir()
            && !folder.is_absolute()
        {
            return Some(format!(
                "tunnel.job_dir: `{folder}` must begin with `/`: nodes know no working directory of yours"
            ));
        }
        if let Some(indices) = &self.het_group_indices {
            if !self.heterogeneous {
                return Some("het_group_indices: they need `heterogeneous = true`".to_owned());
            }
            let follows = indices.first().is_none_or(|first| *first == 0)
                && indices
                    .windows(2)
                    .all(|pair| pair[1] == pair[0] || pair[1] == pair[0] + 1);
            if !follows {
                return Some(
                    "het_group_indices: they begin with 0, and each is the one before it or the next".to_owned(),
                );
            }
        }
        let known = [
            "after",
            "afterany",
            "afterok",
            "afternotok",
            "aftercorr",
            "afterburstbuffer",
        ];
        if !known.contains(&self.dependency_type.as_str()) {
            return Some(format!(
                "dependency_type: `{}` is none of Slurm's: {}",
                self.dependency_type,
                known.join(", ")
            ));
        }
        let strange = |dependency: &&String| super::directives::job_number(dependency).is_none();
        if let Some(dependency) = self.dependencies.iter().find(strange) {
            return Some(format!(
                "dependencies: `{dependency}` names no job: write Slurm's number of it, or the handle that `mizzen status` shows"
            ));
        }
        self.texts_problem()
    }

    fn texts_problem(&self) -> Option<String> {
        let folders = self
            .container_mounts
            .iter()
            .find(|mount| mount.contains([',', '\n', '\0']) || !mount.contains(':'))
            .map(|mount| {
                format!("container_mounts: `{mount}` is not of the form `there:inside`, or has a comma in it")
            });
        let lists = [
            ("srun_args", self.srun_args.as_deref().unwrap_or_default()),
            (
                "container_env",
                self.container_env.as_deref().unwrap_or_default(),
            ),
        ];
        let nul = lists
            .iter()
            .flat_map(|(name, list)| list.iter().map(move |text| (*name, text.as_str())))
            .chain(
                [
                    ("setup_lines", &self.setup_lines),
                    ("container_image", &self.container_image),
                    ("container_workdir", &self.container_workdir),
                    ("workdir", &self.workdir),
                ]
                .into_iter()
                .filter_map(|(name, text)| Some((name, text.as_deref()?))),
            )
            .find(|(_, text)| text.contains('\0'))
            .map(|(name, _)| {
                format!("{name}: a text holds a NUL byte, which no program can be given")
            });
        let variable = self
            .env_vars
            .iter()
            .map(|(name, _)| name)
            .find(|name| !super::script::is_variable(name))
            .map(|name| format!("env_vars: `{name}` is no name that a shell can give a variable"));
        folders.or(nul).or(variable)
    }
}

/// How large a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) nodes: u32,
    pub(super) per_node: u32,
    pub(super) ranks: u32,
    /// The number of all tasks was given, so nodes may have different numbers of them.
    pub(super) by_ntasks: bool,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(settings: serde_json::Value) -> String {
        SlurmSettings::from_value(settings).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_nemo_runs() {
        let settings = SlurmSettings::from_value(json!({})).unwrap();
        assert_eq!(settings, SlurmSettings::default());
        assert_eq!(settings.time, "00:10:00");
        assert_eq!(settings.dependency_type, "afterok");
        let again = SlurmSettings::from_value(serde_json::to_value(&settings).unwrap()).unwrap();
        assert_eq!(again, settings);
    }

    #[test]
    fn numbers_and_texts_are_taken_alike() {
        let settings = SlurmSettings::from_value(json!({
            "gpus_per_node": 8, "gpus": "h100:8", "mem": 0, "exclusive": false, "additional_parameters": {"cpu_freq": "high", "x": true, "y": null, "z": 3},
        }))
        .unwrap();
        assert_eq!(settings.gpus_per_node, Some(Text("8".to_owned())));
        assert_eq!(settings.mem, Some(Text("0".to_owned())));
        assert_eq!(settings.exclusive, None);
        let parameters = settings.additional_parameters.unwrap();
        assert_eq!(parameters["x"], Flag::On);
        assert_eq!(parameters["y"], Flag::Off);
        assert_eq!(parameters["z"], Flag::Value("3".to_owned()));
    }

    #[test]
    fn what_slurm_cant_take_is_refused_in_words() {
        let table = [
            (json!({"array": "0-9"}), "sweep"),
            (json!({"time": "2h"}), "time: `2h`"),
            (json!({"partition": "a\nb"}), "partition"),
            (json!({"comment": "a\u{0}b"}), "comment"),
            (json!({"account": ""}), "account"),
            (json!({"open_mode": "over"}), "open_mode"),
            (json!({"mem": "1G", "mem_per_cpu": "1G"}), "three ways"),
            (json!({"het_group_indices": [0, 1]}), "heterogeneous = true"),
            (
                json!({"het_group_indices": [0, 2], "heterogeneous": true}),
                "the next",
            ),
            (json!({"dependency_type": "before"}), "dependency_type"),
            (json!({"dependencies": ["later"]}), "names no job"),
            (json!({"container_mounts": ["a,b:c"]}), "container_mounts"),
            (
                json!({"additional_parameters": {"a b": "c"}}),
                "additional_parameters",
            ),
            (
                json!({"additional_parameters": {"array": "0-9"}}),
                "additional_parameters",
            ),
            (json!({"env_vars": {"A-B": "c"}}), "env_vars"),
            (json!({"nodes": "two"}), "invalid type"),
            (json!({"nods": 2}), "unknown field"),
        ];
        for (settings, words) in table {
            let message = refused(settings.clone());
            assert!(message.contains(words), "{settings}: {message}");
        }
    }

    #[test]
    fn sizes() {
        let size = |settings| SlurmSettings::from_value(settings).unwrap().size();
        assert_eq!(size(json!({"nodes": 2, "ntasks_per_node": 8})).ranks, 16);
        let by_ntasks = size(json!({"nodes": 2, "ntasks": 5}));
        assert_eq!((by_ntasks.ranks, by_ntasks.per_node), (5, 3));
        let parameters = size(
            json!({"nodes": 1, "additional_parameters": {"nodes": 3, "ntasks_per_node": "2"}}),
        );
        assert_eq!((parameters.nodes, parameters.ranks), (3, 6));
    }
}
