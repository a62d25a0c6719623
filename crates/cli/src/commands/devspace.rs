//! `mizzen devspace`: an sshd in a job, and the entry in ~/.ssh/config that leads to it.
//!
//! ```text
//! up: key ─▶ experiment ─▶ wait for the job's word ─▶ enter         ssh: the last two, then ssh        ls, down: leave
//! ```
//!
//! `up` may be stopped at any point and called again: what is written down is found and gone on with.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, Subcommand};
use mizzen_core::executor::{self, Executor};
use mizzen_core::model::{CancelMode, JobState, Timestamp};
use mizzen_core::store::{ExperimentView, ResolveError, Store};
use mizzen_core::submit;
use mizzen_core::submit::devspace::{self, Address, Devspace, DevspaceError};
use mizzen_core::tunnel::{SshConfigFile, Tunnel, TunnelSettings, quote};
use mizzen_core::watch::ensure_supervised;

use crate::attach::{SUPERVISION_CHECK, wait_for_change};
use crate::prepare::{OrderedJobArgs, Source, clean_name, package, prepare};
use crate::reach::{login, reach, report};
use crate::render::documents::{DevspaceDocument, DevspaceState, DevspacesDocument, Layout, json};
use crate::render::table::{Cell, Column, Table};
use crate::render::time::ago;
use crate::render::{Outcome, Show, View, style};
use crate::report::{Report, Status};
use crate::surroundings::{Surroundings, user_home};

/// The name where neither it nor an executor is given.
const USUAL_NAME: &str = "devspace";

/// Gives you a node to work on: an ssh server in a job, and an entry in ~/.ssh/config
///
/// The job runs an ssh server of your own, for a key that is made for it. `ssh NAME`, scp, rsync and editors with a remote
/// mode (VS Code) then lead to the node, through the tunnel's connection where there is one. Sessions have the job's
/// environment. The node needs OpenSSH's server (in the container's image, if there is one).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mizzen devspace up -e gpu                starts one and says how to use it
  ssh gpu-dev
  code --remote ssh-remote+gpu-dev /scratch/me/project
  mizzen devspace down gpu-dev")]
pub(crate) struct DevspaceArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Starts a devspace and waits until it can be used; goes on with one that is starting
    Up(Box<UpArgs>),
    /// Lists devspaces; removes those whose jobs have ended
    #[command(visible_alias = "list")]
    Ls {
        #[command(flatten)]
        shape: Shape,
    },
    /// Opens a shell in a devspace, or runs a command there, by ssh
    Ssh {
        /// The devspace
        #[arg(value_name = "NAME")]
        name: String,
        /// The command, as ssh takes it
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Ends a devspace and removes its entry from ~/.ssh/config
    Down {
        /// The devspaces
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
        #[command(flatten)]
        shape: Shape,
    },
}

#[derive(Debug, Args)]
struct UpArgs {
    #[command(flatten)]
    jobs: OrderedJobArgs,
    /// The devspace's name, which is the host for ssh [default: the executor's with `-dev`]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    config: Config,
    #[command(flatten)]
    shape: Shape,
}

#[derive(Debug, Args)]
struct Shape {
    /// Print JSON (schema: `mizzen schema devspace`)
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Config {
    /// Another file than ~/.ssh/config
    #[arg(short = 'F', long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    ssh_config: Option<Utf8PathBuf>,
}

/// Does what is asked with devspaces.
///
/// # Errors
/// The flags or the configuration are wrong, a place can't be reached, the job failed, or a file can't be written.
pub(crate) fn run(args: DevspaceArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    match args.action {
        Action::Up(args) => up(*args, surroundings),
        Action::Ls { shape } => ls(&shape, surroundings),
        Action::Ssh { name, command } => ssh(&name, &command, surroundings),
        Action::Down { names, shape } => down(&names, &shape, surroundings),
    }
}

fn up(args: UpArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let UpArgs {
        jobs,
        name,
        config,
        shape,
    } = args;
    let output = &surroundings.output;
    let name = name.unwrap_or_else(|| match jobs.executor() {
        Some(executor) => format!("{}-dev", clean_name(executor)),
        None => USUAL_NAME.to_owned(),
    });
    devspace::check_name(&name)
        .map_err(|words| Report::usage(words).hint("`--name NAME` gives it another one"))?;
    let known = devspace::find(&surroundings.context, &name).map_err(files)?;
    let alive = match known {
        Some(known) if is_over(surroundings, &known)? => {
            forget(surroundings, &known)?;
            None
        }
        known => known,
    };
    let mut devspace = match alive {
        Some(known) => {
            output.say(&format!(
                "{name} was asked for {}, as experiment {}",
                ago(known.created, surroundings.now()),
                known.experiment
            ));
            known
        }
        None => begin(&jobs, &name, &config, surroundings)?,
    };
    settle(&mut devspace, true, surroundings)?;
    output.say(&advice(&devspace));
    if shape.json {
        let document = document(&devspace, DevspaceState::Up);
        return Ok(Outcome::show(Devspaces::of(vec![document]), true));
    }
    output.print(&format!("{name}\n"))?;
    Ok(Outcome::done(Status::Succeeded))
}

/// Creates the experiment.
fn begin(
    jobs: &OrderedJobArgs,
    name: &str,
    config: &Config,
    surroundings: &Surroundings,
) -> Result<Devspace, Report> {
    let context = &surroundings.context;
    let ssh_config = match &config.ssh_config {
        Some(path) => context.workdir.join(path),
        None => user_home(&context.environment)?.join(".ssh/config"),
    };
    let file = SshConfigFile::new(&ssh_config);
    if let Some(line) = file.foreign_entry(name).map_err(files)? {
        return Err(Report::usage(format!(
            "{ssh_config}: line {line} has an entry for {name} already"
        ))
        .hint("`--name NAME` gives the devspace another name"));
    }
    let key = devspace::make_key(context, name).map_err(failed)?;
    let begun = || {
        let document = devspace::document(name, &key);
        let mut prepared = prepare(&Source::Document(document), jobs, None, surroundings)?;
        package(surroundings, &mut prepared)?;
        reach(surroundings, &prepared.plan)?;
        let devspace = Devspace {
            name: name.to_owned(),
            experiment: prepared.id.clone(),
            executor: prepared.plan.tasks[0].executor.clone(),
            created: surroundings.now(),
            ssh_config: ssh_config.clone(),
            address: None,
        };
        devspace.save(context).map_err(files)?;
        let mut store = Store::open(&context.home)?;
        submit::create(context, &mut store, &prepared, &surroundings.command_line)?;
        ensure_supervised(context, &store, &prepared.id)?;
        surroundings.output.say(&format!(
            "{name} is experiment {} on {}",
            prepared.id, devspace.executor
        ));
        Ok(devspace)
    };
    let begun: Result<Devspace, Report> = begun();
    if begun.is_err() {
        let known = devspace::find(context, name).ok().flatten();
        let created =
            known.is_some_and(|known| is_over(surroundings, &known).is_ok_and(|over| !over));
        if !created {
            let _ = std::fs::remove_dir_all(context.home.join("devspaces").join(name));
        }
    }
    begun
}

/// Waits until the job says where it is, and makes the entry right. With `waits` false one look must do.
fn settle(devspace: &mut Devspace, waits: bool, surroundings: &Surroundings) -> Result<(), Report> {
    let context = &surroundings.context;
    let output = &surroundings.output;
    let store = open(surroundings)?.ok_or_else(|| gone(devspace))?;
    let place = Place::of(&store, devspace, surroundings)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Report::usage(format!("can't wait for programs: {error}")))?;
    runtime.block_on(async {
        let say = |words: &[u8]| output.relay(words);
        place
            .tunnel
            .login(context, login(output), &say)
            .await
            .map_err(report)?;
        let connection: Arc<dyn Tunnel> = place.tunnel.open(context);
        let mut told: Option<JobState> = None;
        let address: Address = loop {
            let view = store.view(&devspace.experiment)?;
            if view.summary.is_over() {
                return Err(ended(devspace, &view));
            }
            let state = view.jobs[0].state;
            if waits && told != Some(state) {
                told = Some(state);
                output.say(&format!("{}: {}", devspace.name, waiting_for(state)));
            }
            ensure_supervised(context, &store, &devspace.experiment)?;
            // It waits there for a moment; what ended meanwhile may have left its word, so the state is asked first.
            let found = devspace::look(&*connection, &place.file).await;
            match found.map_err(failed)? {
                Some(address) => break address,
                None if !waits => {
                    return Err(Report::usage(format!(
                        "{} is still starting: {}",
                        devspace.name,
                        waiting_for(state)
                    ))
                    .with_status(Status::StillRunning)
                    .hint(format!(
                        "`mizzen devspace up --name {}` waits for it",
                        devspace.name
                    )));
                }
                None => {}
            }
        };
        devspace
            .enter(context, &place.tunnel, &address)
            .await
            .map_err(failed)
    })
}

fn waiting_for(state: JobState) -> &'static str {
    match state {
        JobState::Running => "its job runs; waiting for its ssh server",
        JobState::Unsubmitted => "to be submitted",
        _ => "waiting for a node (Ctrl-C leaves it starting)",
    }
}

/// Where a devspace's job writes, and the way there.
struct Place {
    tunnel: TunnelSettings,
    file: Utf8PathBuf,
}

impl Place {
    fn of(
        store: &Store,
        devspace: &Devspace,
        surroundings: &Surroundings,
    ) -> Result<Place, Report> {
        let plan = store.plan(&devspace.experiment)?;
        let config = plan
            .executors
            .get(&devspace.executor)
            .ok_or_else(|| gone(devspace))?;
        let executor: Box<dyn Executor> = executor::build(&devspace.executor, config)
            .map_err(|error| Report::usage(error.to_string()))?;
        let here = surroundings
            .context
            .experiment_dir(&plan.title, &devspace.experiment);
        let there: Utf8PathBuf = executor.experiment_dir(&here);
        let job = plan.jobs.first().ok_or_else(|| gone(devspace))?;
        Ok(Place {
            tunnel: executor.tunnel().cloned().unwrap_or_default(),
            file: devspace::where_file(Utf8Path::new(&there), &job.name),
        })
    }
}

fn ls(shape: &Shape, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let mut documents = Vec::new();
    for devspace in devspace::all(&surroundings.context).map_err(files)? {
        let state = if is_over(surroundings, &devspace)? {
            forget(surroundings, &devspace)?;
            surroundings.output.say(&format!(
                "{} has ended; its entry in {} is removed",
                devspace.name, devspace.ssh_config
            ));
            continue;
        } else if devspace.address.is_some() {
            DevspaceState::Up
        } else {
            DevspaceState::Starting
        };
        documents.push(document(&devspace, state));
    }
    Ok(Outcome::show(Devspaces::of(documents), shape.json))
}

fn ssh(name: &str, command: &[OsString], surroundings: &Surroundings) -> Result<Outcome, Report> {
    let mut devspace = known(name, surroundings)?;
    settle(&mut devspace, false, surroundings)?;
    let mut ssh = std::process::Command::new("ssh");
    if !is_usual(&devspace) {
        ssh.args(["-F", devspace.ssh_config.as_str()]);
    }
    let error = ssh.args(["--", name]).args(command).exec();
    Err(Report::usage(format!("can't run `ssh`: {error}"))
        .hint("Debian's package is openssh-client"))
}

fn down(names: &[String], shape: &Shape, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let devspaces: Vec<Devspace> = names
        .iter()
        .map(|name| known(name, surroundings))
        .collect::<Result<_, _>>()?;
    let mut documents = Vec::new();
    for devspace in devspaces {
        // First, so that nothing leads to a node that will be somebody else's.
        devspace.leave().map_err(files)?;
        if !is_over(surroundings, &devspace)? {
            cancel(&devspace, surroundings)?;
        }
        devspace.forget(&surroundings.context).map_err(files)?;
        surroundings
            .output
            .say(&format!("{} has ended", devspace.name));
        documents.push(document(&devspace, DevspaceState::Ended));
    }
    Ok(if shape.json {
        Outcome::show(Devspaces::of(documents), true)
    } else {
        Outcome::done(Status::Succeeded)
    })
}

/// Cancels the job and waits for its end.
fn cancel(devspace: &Devspace, surroundings: &Surroundings) -> Result<(), Report> {
    let context = &surroundings.context;
    let Some(mut store) = open(surroundings)? else {
        return Ok(());
    };
    let id = &devspace.experiment;
    submit::cancel(context, &mut store, id, &[], CancelMode::Terminate)?;
    let mut version = store.data_version()?;
    while !store.summary(id)?.is_over() {
        ensure_supervised(context, &store, id)?;
        wait_for_change(&store, &mut version, SUPERVISION_CHECK)?;
    }
    Ok(())
}

fn known(name: &str, surroundings: &Surroundings) -> Result<Devspace, Report> {
    devspace::find(&surroundings.context, name)
        .map_err(files)?
        .ok_or_else(|| {
            Report::usage(format!("there is no devspace `{name}`"))
                .hint("`mizzen devspace ls` lists devspaces, `mizzen devspace up` starts one")
        })
}

fn open(surroundings: &Surroundings) -> Result<Option<Store>, Report> {
    Ok(Store::open_existing(&surroundings.context.home)?)
}

/// Its job has ended, or its experiment is gone.
fn is_over(surroundings: &Surroundings, devspace: &Devspace) -> Result<bool, Report> {
    let Some(store) = open(surroundings)? else {
        return Ok(true);
    };
    match store.resolve(devspace.experiment.as_str()) {
        Ok(id) => Ok(store.summary(&id)?.is_over()),
        Err(ResolveError::Store(error)) => Err(error.into()),
        Err(_) => Ok(true),
    }
}

fn forget(surroundings: &Surroundings, devspace: &Devspace) -> Result<(), Report> {
    devspace.leave().map_err(files)?;
    devspace.forget(&surroundings.context).map_err(files)
}

fn files(error: std::io::Error) -> Report {
    Report::usage(error.to_string())
}

fn failed(error: DevspaceError) -> Report {
    match error {
        DevspaceError::Tunnel(error) => report(error),
        DevspaceError::Unreachable { .. } => Report::usage(error.to_string())
            .with_status(Status::Unreachable)
            .hint(
                "the machine where jobs are submitted must reach the node's ports, and its ssh server must allow forwarding",
            ),
        other => Report::usage(other.to_string()),
    }
}

fn gone(devspace: &Devspace) -> Report {
    Report::usage(format!(
        "the experiment {} of the devspace {} is gone",
        devspace.experiment, devspace.name
    ))
    .hint(format!(
        "`mizzen devspace down {}` removes what is left of it",
        devspace.name
    ))
}

/// Why there is no devspace: the job's last words.
fn ended(devspace: &Devspace, view: &ExperimentView) -> Report {
    let job = &view.jobs[0];
    let record = job
        .attempts
        .last()
        .and_then(|attempt| attempt.record.as_ref());
    let words: Vec<&str> = record
        .and_then(|record| record.first_failure.as_ref())
        .map(|failure| match &failure.reason {
            Some(why) => vec![why.text.as_str()],
            None => failure.last_lines.iter().map(String::as_str).collect(),
        })
        .unwrap_or_default();
    let why = match (words.is_empty(), &job.message) {
        (false, _) => format!(": {}", words.join("; ")),
        (true, Some(message)) => format!(": {message}"),
        (true, None) => String::new(),
    };
    Report::usage(format!(
        "the job of the devspace {} is {}{why}",
        devspace.name, job.state
    ))
    .with_status(Status::Failed)
    .hint(format!(
        "`mizzen logs {}` shows its log",
        devspace.experiment
    ))
}

/// The configuration is the one that ssh reads by itself: it asks for the user's home, not for `HOME`.
fn is_usual(devspace: &Devspace) -> bool {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid());
    let home = user.ok().flatten().map(|user| user.dir);
    home.is_some_and(|home| devspace.ssh_config == home.join(".ssh/config"))
}

/// What to type now.
fn advice(devspace: &Devspace) -> String {
    let name = &devspace.name;
    let host = devspace
        .address
        .as_ref()
        .and_then(|address| address.hosts.first())
        .map_or_else(String::new, |host| format!(" on {host}"));
    let ssh = if is_usual(devspace) {
        "ssh".to_owned()
    } else {
        format!("ssh -F {}", quote(devspace.ssh_config.as_str()))
    };
    format!(
        "{name} is up{host}; its entry is in {}\n  {ssh} {name}\n  code --remote ssh-remote+{name} FOLDER\n  mizzen devspace down {name}",
        devspace.ssh_config
    )
}

fn document(devspace: &Devspace, state: DevspaceState) -> DevspaceDocument {
    let address = devspace.address.as_ref();
    DevspaceDocument {
        name: devspace.name.clone(),
        state,
        executor: devspace.executor.clone(),
        experiment: devspace.experiment.to_string(),
        host: address.and_then(|address| address.hosts.first().cloned()),
        port: address.map(|address| address.port),
        created: devspace.created.to_text(),
        ssh_config: devspace.ssh_config.to_string(),
    }
}

struct Devspaces(DevspacesDocument);

impl Devspaces {
    fn of(devspaces: Vec<DevspaceDocument>) -> Devspaces {
        Devspaces(DevspacesDocument { devspaces })
    }
}

impl Show for Devspaces {
    fn text(&self, view: &View) -> String {
        if self.0.devspaces.is_empty() {
            return "there is no devspace\n".to_owned();
        }
        let mut table = Table::new([
            Column::new("NAME"),
            Column::new("STATE"),
            Column::new("HOST"),
            Column::new("PORT").right(),
            Column::new("EXECUTOR"),
            Column::new("EXPERIMENT"),
            Column::new("CREATED"),
        ]);
        for devspace in &self.0.devspaces {
            let (word, style) = match devspace.state {
                DevspaceState::Up => ("up", style::GOOD),
                DevspaceState::Starting => ("starting", style::WARNING),
                DevspaceState::Ended => ("ended", style::FAINT),
            };
            let created: Option<jiff::Timestamp> = devspace.created.parse().ok();
            let created = created.map(Timestamp::from_jiff);
            table.row([
                Cell::styled(&devspace.name, style::STRONG),
                Cell::styled(word, style),
                Cell::from(devspace.host.clone().unwrap_or_default()),
                Cell::from(
                    devspace
                        .port
                        .map(|port| port.to_string())
                        .unwrap_or_default(),
                ),
                Cell::from(devspace.executor.clone()),
                Cell::from(devspace.experiment.clone()),
                created
                    .map(|time| ago(time, view.now))
                    .unwrap_or_default()
                    .into(),
            ]);
        }
        table.render(&view.page)
    }

    fn json(&self, layout: Layout) -> String {
        json(layout, &self.0)
    }
}
