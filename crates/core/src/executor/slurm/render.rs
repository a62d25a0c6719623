//! A unit as a submission.
//!
//! ```text
//! Unit ─ members, each with its settings ─ layout ─▶ components (options of sbatch) and steps (arguments of srun)
//!                                                      └─ script.rs ─▶ files of the submission
//! ```
//!
//! How the members of a group share an allocation: those with the same settings have all of its nodes together; with
//! settings of their own they get nodes of their own, one after another; with `heterogeneous` each has a component of a
//! heterogeneous job.

use std::collections::BTreeSet;

use camino::Utf8Path;

use super::container::container;
use super::directives::{self, Named, flag_name, literal_path};
use super::payload::{Submission, SubmissionFile, secrets_path};
use super::script::{self, Batch, BatchMember, Command, is_variable, word};
use super::settings::{ContainerRuntime, Flag, Size, SlurmSettings};
use super::step::{launched, run_dir, step_arguments, world};
use super::{KIND, SlurmExecutor};
use crate::executor::{
    Executor as _, ExecutorMacros, RenderError, RenderedCode, RenderedMember, Request, SecretUse,
    Unit, UnitMember,
};
use crate::launcher::{Launched, Starter};
use crate::model::Env;
use crate::plan::{CODE, JobFile};
use crate::tunnel::quote;

/// What to do where a tunnel has no folder for jobs.
pub(super) const JOB_DIR_HINT: &str = "write `tunnel.job_dir`: a folder on the cluster that its nodes see, such as \"/scratch/me/jobs\"";

/// How the members share the job's nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// One member, or several on the same nodes.
    Shared,
    /// Each on nodes of its own, in one allocation.
    Side,
    /// Components of a heterogeneous job.
    Components,
}

/// A member with what was found out about it.
pub(super) struct Member<'a> {
    pub(super) unit: &'a UnitMember<'a>,
    pub(super) settings: SlurmSettings,
    pub(super) size: Size,
    /// The number of its component.
    pub(super) component: u32,
    /// Its first node's place among all nodes.
    pub(super) first_node: u32,
    /// Its name for Slurm.
    job_name: String,
    /// Its folder at the place.
    pub(super) folder: String,
    /// The code that is put there.
    pub(super) code: Option<RenderedCode>,
    /// What its launcher makes of its command.
    pub(super) launched: Launched,
    /// Who starts its processes.
    pub(super) starter: Starter,
}

impl Member<'_> {
    /// Its step has one task on each node, which starts that node's processes.
    pub(super) fn one_a_node(&self) -> bool {
        self.starter != Starter::Executor
    }

    /// How many ranks it has: each has a log of its own.
    fn ranks(&self) -> u32 {
        if self.one_a_node() {
            self.size.nodes.saturating_mul(self.launched.processes)
        } else {
            self.size.ranks
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.unit.job.name
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> RenderError {
        RenderError::Unsupported {
            job: self.name().to_owned(),
            reason: reason.into(),
        }
    }
}

pub(super) fn request(executor: &SlurmExecutor, unit: &Unit<'_>) -> Result<Request, RenderError> {
    let directory = executor.place_dir(unit).into_string();
    let refuse = |reason: String| RenderError::Unsupported {
        job: unit.members[0].job.name.clone(),
        reason,
    };
    let tunnel = &executor.settings().tunnel;
    if tunnel.job_dir().is_none() && !executor.shares_files() {
        return Err(refuse(format!(
            "there is no folder for its files on {}: {JOB_DIR_HINT}",
            tunnel.place()
        )));
    }
    if directory.contains(['\n', '\r', '\0', '\\']) {
        return Err(refuse(format!(
            "the folder {} can't stand in a batch script: it holds a line end or a backslash",
            directory.escape_debug()
        )));
    }
    let bundles = executor.bundles_dir(unit.home());
    let mut members = unit
        .members
        .iter()
        .map(|member| {
            let mut found = settings_of(executor, member)?;
            // Slurm's own default differs from site to site.
            let retries = member.job.retries;
            found
                .requeue
                .get_or_insert(retries.preempted > 0 || retries.node > 0);
            let folder = format!("{directory}/{}", member.job.name);
            Ok(Member {
                unit: member,
                code: RenderedCode::of(member, &bundles, Utf8Path::new(&folder)),
                size: found.size(),
                component: 0,
                first_node: 0,
                job_name: job_name(&found, &member.job.name),
                folder,
                settings: found,
                launched: Launched::default(),
                starter: Starter::Executor,
            })
        })
        .collect::<Result<Vec<_>, RenderError>>()?;
    let layout = lay_out(&mut members)?;
    for member in &mut members {
        (member.starter, member.launched) = launched(unit, member)?;
    }
    let submission = submission(unit, &members, layout, directory)?;
    let secrets = members
        .iter()
        .enumerate()
        .flat_map(|(number, member)| {
            member
                .unit
                .job
                .secrets
                .iter()
                .map(move |(variable, reference)| SecretUse {
                    member: number,
                    variable: variable.clone(),
                    reference: reference.clone(),
                })
        })
        .collect();
    let shown = members
        .iter()
        .map(|member| rendered(unit, member, &submission.directory))
        .collect::<Result<Vec<_>, RenderError>>()?;
    let payload = serde_json::to_string(&submission).map_err(|error| refuse(error.to_string()))?;
    Ok(Request {
        key: unit.key.clone(),
        payload,
        secrets,
        after: Vec::new(),
        members: shown,
    })
}

/// A member's settings: its own executor's.
fn settings_of(
    executor: &SlurmExecutor,
    member: &UnitMember<'_>,
) -> Result<SlurmSettings, RenderError> {
    let refuse = |reason: String| RenderError::Unsupported {
        job: member.job.name.clone(),
        reason,
    };
    if member.executor.kind != KIND {
        return Err(refuse(format!(
            "a group on {KIND} can't have a member on `{}`",
            member.executor.kind
        )));
    }
    let mut settings =
        SlurmSettings::from_value(serde_json::Value::Object(member.executor.settings.clone()))
            .map_err(|error| refuse(error.to_string()))?;
    if settings.tunnel != executor.settings().tunnel {
        return Err(refuse(
            "the members of a group must be on the same cluster: their `tunnel` differs".to_owned(),
        ));
    }
    // A folder of output files belongs to the job as a whole.
    settings.arrays &= executor.settings().arrays;
    Ok(settings)
}

/// The job's name for Slurm.
pub(super) fn job_name(settings: &SlurmSettings, job: &str) -> String {
    let given = settings.additional_parameters.iter().flatten();
    for (name, flag) in given {
        if let (true, Flag::Value(name)) = (flag_name(name) == "job-name", flag) {
            return name.clone();
        }
    }
    if let Some(name) = &settings.job_details.job_name {
        return name.clone();
    }
    match (&settings.job_name_prefix, &settings.account) {
        (Some(prefix), _) => format!("{prefix}{job}"),
        (None, Some(account)) => {
            let last = account.rsplit('_').next().unwrap_or(account);
            format!("{account}-{last}.{job}")
        }
        (None, None) => job.to_owned(),
    }
}

/// Gives each member its component and its first node.
fn lay_out(members: &mut [Member<'_>]) -> Result<Layout, RenderError> {
    let heterogeneous = members.iter().any(|member| member.settings.heterogeneous);
    let same = members
        .windows(2)
        .all(|pair| pair[0].unit.executor == pair[1].unit.executor);
    if members.len() == 1 || (same && !heterogeneous) {
        return Ok(Layout::Shared);
    }
    if !heterogeneous {
        let mut next = 0;
        for number in 0..members.len() {
            if let Some(other) = members[..number]
                .iter()
                .find_map(|earlier| difference(&earlier.settings, &members[number].settings))
            {
                return Err(members[number].error(format!(
                    "its executor's `{other}` differs from another member's of its group, and one allocation has one of it: \
                     set `heterogeneous = true` to give each member a component of its own"
                )));
            }
            members[number].component = number as u32;
            members[number].first_node = next;
            next += members[number].size.nodes;
        }
        return Ok(Layout::Side);
    }
    let indices = members[0].settings.het_group_indices.clone();
    if let Some(indices) = &indices
        && indices.len() != members.len()
    {
        return Err(members[0].error(format!(
            "`het_group_indices` has {} number(s) for {} members",
            indices.len(),
            members.len()
        )));
    }
    let (mut next, mut first_node) = (0, 0);
    for number in 0..members.len() {
        let component = indices
            .as_ref()
            .map_or(number as u32, |indices| indices[number]);
        let continues = number > 0 && members[number - 1].component == component;
        if !continues {
            first_node = next;
            next += members[number].size.nodes;
        }
        members[number].component = component;
        members[number].first_node = first_node;
    }
    Ok(Layout::Components)
}

/// An option that one allocation can't have twice, if the two differ in one.
fn difference(one: &SlurmSettings, other: &SlurmSettings) -> Option<String> {
    // What is a step's own business, or is added up.
    let of_steps = |settings: &SlurmSettings| SlurmSettings {
        nodes: 1,
        ntasks: None,
        ntasks_per_node: 1,
        cpus_per_task: None,
        gpus_per_node: None,
        gpus_per_task: None,
        ..settings.clone()
    };
    let options = |settings: &SlurmSettings| {
        let settings = of_steps(settings);
        let named = Named {
            job_name: "",
            key: "",
            output: "",
            error: None,
            size: settings.size(),
        };
        directives::options(&settings, &named)
            .into_iter()
            .collect::<BTreeSet<_>>()
    };
    let (one, other) = (options(one), options(other));
    let differs = one.symmetric_difference(&other).next()?;
    let name = differs.trim_start_matches(['"', '-']);
    let name = name.split('=').next().unwrap_or(name);
    Some(name.trim_end_matches('"').replace('-', "_"))
}

fn submission(
    unit: &Unit<'_>,
    members: &[Member<'_>],
    layout: Layout,
    directory: String,
) -> Result<Submission, RenderError> {
    let first = &members[0];
    let (attempt, key) = (unit.attempt, unit.key.as_str());
    let options = all_options(members, layout, key);
    let script = format!("{}/submit/{attempt}.sh", first.name());
    let nodes = allocated(members, layout);
    let same_setup = members
        .iter()
        .all(|member| member.settings.setup_lines == first.settings.setup_lines);
    let batch = Batch {
        names: script::comment(
            &members
                .iter()
                .map(Member::name)
                .collect::<Vec<_>>()
                .join(", "),
        ),
        key,
        attempt,
        path: format!("{directory}/{script}"),
        options: &options,
        retries: first.unit.job.retries.failure,
        directory: &directory,
        array_output: script::pattern(&output(first), &first.job_name)
            .unwrap_or_else(|| "/dev/null".to_owned()),
        nodes,
        nodelists: match layout {
            Layout::Components => (0..components(members))
                .map(|number| format!("${{SLURM_JOB_NODELIST_HET_GROUP_{number}}}"))
                .collect(),
            Layout::Shared | Layout::Side => vec!["${SLURM_JOB_NODELIST}".to_owned()],
        },
        hosts: hosts(members, layout),
        port: first.settings.rendezvous_port,
        work_folders: work_folders(members),
        setup: first.settings.setup_lines.as_deref().filter(|_| same_setup),
        // Without further words srun means the first component.
        measured_nodes: first.settings.memory_measure.then_some(match layout {
            Layout::Components => first.size.nodes,
            Layout::Shared | Layout::Side => nodes,
        }),
        first: first.name(),
        group: members.len() > 1,
        worlds: members.iter().any(|member| member.launched.world.is_some()),
        shipped: members
            .iter()
            .filter_map(|member| member.code.as_ref())
            .any(|code| code.tree.is_some()),
        members: members
            .iter()
            .map(|member| batch_member(member, members, layout, &directory, same_setup))
            .collect::<Result<_, _>>()?,
        pause: first.settings.wait_time_for_group_job.max(0),
        monitor: first.settings.monitor_group_job,
        leader: members
            .iter()
            .position(|member| member.unit.leader)
            .map_or(-1, |leader| leader as i64),
        grace: members
            .iter()
            .map(|member| member.unit.job.grace.ceil() as u64)
            .max()
            .unwrap_or(0),
        signal: first
            .settings
            .signal
            .as_deref()
            .and_then(batch_signal)
            .map(str::to_owned),
        signal_setting: first.settings.signal.as_deref().unwrap_or_default(),
    };
    let mut files = vec![SubmissionFile {
        path: script.clone(),
        contents: script::batch(&batch).map_err(|error| first.error(error.to_string()))?,
        executable: true,
    }];
    for member in members {
        files.push(SubmissionFile {
            path: format!("{}/submit/{attempt}.command.sh", member.name()),
            contents: command(unit, member, &directory)?,
            executable: true,
        });
        files.extend(self::files(member).map(|file| SubmissionFile {
            path: format!("{}/{}", member.name(), file.path),
            contents: file.contents.clone(),
            executable: file.executable,
        }));
    }
    let kind = &first.settings.dependency_type;
    Ok(Submission {
        directory,
        script,
        job_name: first.job_name.clone(),
        key: key.to_owned(),
        comment: directives::comment(&first.settings, key),
        attempt,
        options,
        files,
        folders: members
            .iter()
            .map(|member| member.name().to_owned())
            .collect(),
        ranks: members.iter().map(Member::ranks).collect(),
        array: layout != Layout::Components && first.settings.arrays,
        dependencies: first
            .settings
            .dependencies
            .iter()
            .filter_map(|dependency| directives::job_number(dependency))
            .map(|number| format!("{kind}:{number}"))
            .collect(),
    })
}

fn components(members: &[Member<'_>]) -> u32 {
    members.last().map_or(1, |member| member.component + 1)
}

/// How many nodes the job has.
fn allocated(members: &[Member<'_>], layout: Layout) -> u32 {
    match layout {
        Layout::Shared => members[0].size.nodes,
        Layout::Side => members.iter().map(|member| member.size.nodes).sum(),
        Layout::Components => (0..components(members))
            .filter_map(|number| first_of(members, number))
            .map(|member| member.size.nodes)
            .sum(),
    }
}

/// The member whose settings a component has.
fn first_of<'a, 'm>(members: &'a [Member<'m>], component: u32) -> Option<&'a Member<'m>> {
    members.iter().find(|member| member.component == component)
}

/// For each component, or each member of a group: its first node's place among all.
fn hosts(members: &[Member<'_>], layout: Layout) -> Vec<u32> {
    match layout {
        Layout::Components => (0..components(members))
            .filter_map(|number| Some(first_of(members, number)?.first_node))
            .collect(),
        Layout::Shared | Layout::Side => members.iter().map(|member| member.first_node).collect(),
    }
}

fn all_options(members: &[Member<'_>], layout: Layout, key: &str) -> Vec<String> {
    let of = |member: &Member<'_>, settings: &SlurmSettings, size: Size| {
        let details = &settings.job_details;
        directives::options(
            settings,
            &Named {
                job_name: &member.job_name,
                key,
                output: &output(member),
                error: details
                    .stderr
                    .as_deref()
                    .map(|name| named_file(member, name))
                    .as_deref(),
                size,
            },
        )
    };
    let first = &members[0];
    match layout {
        Layout::Shared => of(first, &first.settings, first.size),
        Layout::Side => {
            let per_node = members
                .iter()
                .map(|member| member.size.per_node)
                .max()
                .unwrap_or(1);
            let nodes = allocated(members, layout);
            let most = |value: &dyn Fn(&SlurmSettings) -> Option<u32>| {
                members
                    .iter()
                    .filter_map(|member| value(&member.settings))
                    .max()
            };
            let mut settings = first.settings.clone();
            settings.cpus_per_task = most(&|settings| settings.cpus_per_task);
            // The most of what is counted; a type of GPU is the first's.
            if let Some(most) = members
                .iter()
                .filter_map(|member| member.settings.gpus_per_node.as_ref())
                .max_by_key(|gpus| gpus.count())
            {
                settings.gpus_per_node = Some(most.clone());
            }
            let size = Size {
                nodes,
                per_node,
                ranks: nodes.saturating_mul(per_node),
                by_ntasks: false,
            };
            of(first, &settings, size)
        }
        Layout::Components => {
            let mut options = Vec::new();
            for number in 0..components(members) {
                let Some(member) = first_of(members, number) else {
                    continue;
                };
                if number > 0 {
                    options.push("hetjob".to_owned());
                }
                options.extend(of(member, &member.settings, member.size));
            }
            options
        }
    }
}

/// The folder of a member's output files, as one of Slurm's patterns.
fn output_folder(member: &Member<'_>) -> String {
    match &member.settings.job_details.folder {
        Some(folder) => folder.trim_end_matches('/').to_owned(),
        None => literal_path(&member.folder),
    }
}

/// A name in the name of a file.
fn file_name(name: &str) -> String {
    // A file's name has at most 255 bytes, and more is put around it.
    let mut name = literal_path(&name.replace('/', "_"));
    let mut end = name.len().min(180);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    name
}

/// A file that the settings name: relative ones are in the folder of output files.
fn named_file(member: &Member<'_>, name: &str) -> String {
    if name.starts_with('/') {
        name.to_owned()
    } else {
        format!("{}/{name}", output_folder(member))
    }
}

/// Where the batch script's output goes, as one of Slurm's patterns.
fn output(member: &Member<'_>) -> String {
    match &member.settings.job_details.stdout {
        Some(name) => named_file(member, name),
        None => named_file(
            member,
            &format!("sbatch_{}_%j.out", file_name(&member.job_name)),
        ),
    }
}

/// Where srun's words go, as one of Slurm's patterns.
fn step_output(member: &Member<'_>) -> String {
    match &member.settings.job_details.srun_stdout {
        Some(name) => named_file(member, name),
        None => named_file(
            member,
            &format!("log-{}_%j_%r.out", file_name(&member.job_name)),
        ),
    }
}

/// The signal that reaches the batch script alone and is passed on to the steps: `B:USR1@90` is USR1.
fn batch_signal(setting: &str) -> Option<&str> {
    let (flags, rest) = setting.split_once(':')?;
    if !flags.contains('B') {
        return None;
    }
    let name = rest.split('@').next().unwrap_or(rest);
    let name = name.strip_prefix("SIG").unwrap_or(name);
    let plain = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-".contains(&byte));
    // Nothing can be done about SIGKILL.
    (plain && !["KILL", "9"].contains(&name)).then_some(name)
}

/// The working directory is inside of the job's folder: nobody else makes it.
fn own_workdir<'a>(member: &'a Member<'_>) -> Option<&'a String> {
    let workdir = &member.unit.job.workdir;
    let below = workdir.strip_prefix(&member.folder)?;
    below.starts_with('/').then_some(workdir)
}

/// The folders of jobs whose code nobody sends.
fn work_folders(members: &[Member<'_>]) -> Vec<String> {
    let mut folders: Vec<String> = Vec::new();
    for member in members.iter().filter(|member| member.code.is_none()) {
        let code = format!("{}/{CODE}", member.folder);
        for folder in [Some(&code), own_workdir(member)].into_iter().flatten() {
            if !folders.contains(folder) {
                folders.push(folder.clone());
            }
        }
    }
    folders
}

/// The lines that put the code into a job's folder, before its step.
fn code_lines(number: usize, member: &Member<'_>) -> Vec<String> {
    let Some(code) = &member.code else {
        return Vec::new();
    };
    let put = match &code.tree {
        Some(_) => format!("code {number} {}", quote(&code.from)),
        None => format!(
            "[ -e \"$folder\"/{CODE} ] || ln -sfn -- {} \"$folder\"/{CODE}",
            quote(&code.from)
        ),
    };
    let made = own_workdir(member).filter(|_| code.tree.is_some());
    [
        Some(put),
        made.map(|workdir| format!("(umask 077 && mkdir -p -- {})", quote(workdir))),
    ]
    .into_iter()
    .flatten()
    .map(|line| format!("{line} || return 78"))
    .collect()
}

fn batch_member<'a>(
    member: &'a Member<'_>,
    members: &[Member<'_>],
    layout: Layout,
    directory: &str,
    same_setup: bool,
) -> Result<BatchMember<'a>, RenderError> {
    let job = member.unit.job;
    let pattern = step_output(member);
    let log = script::pattern(&pattern, &member.job_name).ok_or_else(|| {
        member.error(format!(
            "job_details.srun_stdout: in `{pattern}` only %j, %A, %a, %x, %u, %N and %r can be used"
        ))
    })?;
    let mut arguments = step_arguments(member, members, layout);
    if let Some(name) = &member.settings.job_details.srun_stderr {
        let file = script::pattern(&named_file(member, name), &member.job_name);
        arguments.push(format!(
            "--error={}",
            file.unwrap_or_else(|| quote(&named_file(member, name)))
        ));
    }
    let (container, further) = container(member, directory)?;
    let number = members
        .iter()
        .position(|other| std::ptr::eq(other, member))
        .unwrap_or(0);
    let mut prepare = code_lines(number, member);
    prepare.extend(further);
    let of_srun = member.settings.container_runtime == ContainerRuntime::Pyxis;
    if of_srun {
        arguments.extend(container.iter().cloned());
    }
    let further = member.settings.srun_args.iter().flatten();
    arguments.extend(further.map(|argument| quote(argument)));
    if !of_srun {
        arguments.extend(container);
    }
    let nodes = allocated(members, layout);
    Ok(BatchMember {
        name: &job.name,
        comment: script::comment(&format!("{}: {} rank(s)", job.name, member.ranks())),
        ranks: member.ranks(),
        world: world(member, number)?,
        log,
        master: if member.first_node == 0 || nodes == 1 {
            "\"$head_node_ip\"".to_owned()
        } else {
            format!(
                "\"$(address \"$het_group_host_{}\")\"",
                if layout == Layout::Components {
                    member.component
                } else {
                    number as u32
                }
            )
        },
        setup: member
            .settings
            .setup_lines
            .as_deref()
            .filter(|_| !same_setup),
        prepare,
        arguments,
        grace: seconds(job.grace),
        timeout: job.timeout.map(seconds),
    })
}

/// Seconds as short as they can be written.
fn seconds(seconds: f64) -> String {
    format!("{seconds}")
}

/// What is added to a member's environment, in order.
fn environment(unit: &Unit<'_>, member: &Member<'_>, directory: &str) -> Env {
    let mut env: Env = member.launched.env.iter().cloned().collect();
    env.extend(&member.settings.env_vars);
    env.extend(&member.unit.job.role.env);
    env.insert("MIZZEN_EXPERIMENT_ID", unit.experiment.as_str());
    env.insert("MIZZEN_EXPERIMENT_DIR", directory);
    env.insert("MIZZEN_JOB_NAME", member.name());
    env.insert("MIZZEN_JOB_DIR", &*member.folder);
    env.insert("NEMO_RUN_DIR", run_dir(member));
    env
}

/// The working directory as the job sees it.
fn workdir<'a>(member: &'a Member<'_>) -> &'a str {
    match (
        &member.settings.container_image,
        &member.settings.container_workdir,
    ) {
        (Some(_), Some(workdir)) => workdir,
        _ => &member.unit.job.workdir,
    }
}

fn command(unit: &Unit<'_>, member: &Member<'_>, directory: &str) -> Result<String, RenderError> {
    let env = environment(unit, member, directory);
    let words = &member.launched.argv;
    let nul = "holds a NUL byte, which no program can be given";
    if words.iter().any(|word| word.contains('\0')) {
        return Err(member.error(format!("a word of its command {nul}")));
    }
    if words.first().is_none_or(String::is_empty) {
        return Err(member.error("its program has no name"));
    }
    for (name, value) in env.iter() {
        if !is_variable(name) {
            return Err(member.error(format!(
                "its variable `{}` has a name that no shell can give a variable",
                name.escape_debug()
            )));
        }
        if value.contains('\0') {
            return Err(member.error(format!("its variable `{name}` {nul}")));
        }
    }
    if let Some(name) = member
        .unit
        .job
        .secrets
        .keys()
        .find(|name| !is_variable(name))
    {
        return Err(member.error(format!(
            "its secret `{}` has a name that no shell can give a variable",
            name.escape_debug()
        )));
    }
    let text = Command {
        job: &script::comment(member.name()),
        attempt: unit.attempt,
        env: env
            .iter()
            .map(|(name, value)| (name.to_owned(), word(value)))
            .collect(),
        nproc_per_node: match &member.launched.world {
            Some(world) => world.per_node,
            None if member.one_a_node() => member.settings.started_per_node(),
            None => member.size.per_node,
        },
        one_a_node: member.one_a_node(),
        needs: member
            .launched
            .needs
            .iter()
            .map(|name| word(name))
            .collect(),
        metrics: member.launched.metrics.as_ref().map(|metrics| {
            let nodes = metrics.nodes.as_ref();
            nodes.map_or_else(
                || "*/0".to_owned(),
                |nodes| {
                    let nodes = nodes.iter().map(|node| format!("{node}/0"));
                    nodes.collect::<Vec<_>>().join("|")
                },
            )
        }),
        secrets: (!member.unit.job.secrets.is_empty())
            .then(|| format!("{directory}/{}", secrets_path(member.name(), unit.attempt))),
        workdir: workdir(member),
        command: words
            .iter()
            .map(|text| word(text))
            .collect::<Vec<_>>()
            .join(" "),
    };
    script::command(&text).map_err(|error| member.error(error.to_string()))
}

/// The member for people, and for the files that are kept here.
fn rendered(
    unit: &Unit<'_>,
    member: &Member<'_>,
    directory: &str,
) -> Result<RenderedMember, RenderError> {
    let job = member.unit.job;
    let here = unit.experiment_dir.join(&job.name);
    let macros = script::macros();
    let shown = |text: &str| {
        if ExecutorMacros::is_used_in(text) {
            macros.substitute(text)
        } else {
            text.to_owned()
        }
    };
    Ok(RenderedMember {
        name: job.name.clone(),
        job_dir: here.to_string(),
        attempt_dir: format!("{here}/attempts/{}", unit.attempt),
        argv: vec![
            member
                .launched
                .argv
                .iter()
                .map(|text| shown(text))
                .collect(),
        ],
        ranks: member.ranks(),
        env: environment(unit, member, directory)
            .iter()
            .map(|(name, value)| (name.to_owned(), shown(value)))
            .collect(),
        workdir: workdir(member).to_owned(),
        files: files(member).cloned().collect(),
        code: member.code.clone(),
        by_hand: None,
    })
}

/// The files of a member's folder.
fn files<'a>(member: &'a Member<'_>) -> impl Iterator<Item = &'a JobFile> {
    member.unit.job.files.iter().chain(&member.launched.files)
}
