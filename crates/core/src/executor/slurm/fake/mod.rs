//! A Slurm for tests: a virtual cluster behind a tunnel, with a time of its own and faults on demand.
//!
//! ```text
//! scheduler ─▶ FakeSlurm (a Tunnel) ─┬ sbatch, squeue, sacct, scancel, scontrol, sinfo ─▶ virtual cluster
//!                   │                └ everything else ─▶ this machine (files in the test's folder)
//!                   └ faults: before the command, after it, instead of it
//! test ─▶ advance, break_node, preempt, settings, work … ─▶ virtual cluster ─▶ claims and records in attempts' folders
//! ```
//!
//! A test drives it like this:
//!
//! ```no_run
//! # use mizzen_core::context::Context;
//! # use mizzen_core::executor::slurm::fake::{FakeSlurm, Fault, Kind, Settings, Work, WorkEnd, scheduler};
//! # use mizzen_core::executor::slurm::SlurmSettings;
//! # fn f(context: &Context, settings: &SlurmSettings) {
//! let slurm = FakeSlurm::new(context, Settings::default());
//! let context = slurm.context_of(context);               // the same, with the cluster's clock
//! slurm.work(|key, attempt| Work { seconds: 60.0, end: WorkEnd::Exits(attempt as i32 - 1), ..Work::default() });
//! slurm.fault(Kind::Sbatch, 1, Fault::TimedOut { after: true });     // the next sbatch arrives, its answer does not
//! let connection = scheduler(settings, &context, &slurm);            // drop it and make a new one: the client was killed
//! slurm.advance(90.0);                                   // seconds; nothing sleeps
//! # }
//! ```
//!
//! - Time moves by [`FakeSlurm::advance`], by [`Settings::latency`] for each command, and by a command's limit when it times
//!   out. The scheduler of the cluster looks a second after something has changed.
//! - A job that begins claims its attempts as a batch script does (`attempts/<n>/job`), and writes signs of life; when it
//!   ends, its members' `exit.json`. Members and ranks come from [`FakeSlurm::members`]; a script of one member needs nothing
//!   to be told. A claim that is taken lets the job end with status 75.
//! - [`FakeSlurm::accepted`] is what sbatch has taken, [`FakeSlurm::runs`] how often each attempt has begun: the two that
//!   tell a lost job from a doubled one.
//! - With [`Fault::Hung`] a command never answers; [`FakeSlurm::hung`] resolves then, and the test drops the client.
//!
//! Words, states, statuses and orders are those of Slurm 22.05, tried with it. Among what surprises: a dependency on a job
//! that the controller has forgotten holds nobody up, however that job ended; a waiting task of an array that is cancelled by
//! its index leaves no trace anywhere; a job that is requeued counts its restart while its nodes are still cleaned; `squeue`
//! of one unknown id fails, of several it does not; sbatch waits up to two minutes by itself when MaxJobCount is reached.
//!
//! One more command: its [`Kind`], a function that takes the cluster and gives an [`Answer`], a line in `FakeSlurm::answer`.

mod cluster;
mod control;
mod faults;
mod files;
mod ground;
mod job;
mod print;
mod sbatch;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

pub use cluster::{Accepted, FakeClock};
pub use faults::{Dice, Fault, Kind};
pub use files::Member;
pub use ground::Ground;
pub use job::{Work, WorkEnd};

use cluster::{Cluster, SECOND};
use faults::Faults;

use super::SlurmSettings;
use crate::context::Context;
use crate::executor::Scheduler;
use crate::tunnel::{Cmd, Ended, Input, LocalTunnel, Output, Tunnel, TunnelError};

/// How the cluster is set up. It may be changed while it runs ([`FakeSlurm::settings`]).
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many nodes there are: `n1`, `n2`, …
    pub nodes: u32,
    /// How many jobs a node takes at once.
    pub jobs_per_node: u32,
    /// `MaxArraySize`: an array's indexes are below it.
    pub max_array_size: usize,
    /// `MaxJobCount`: the controller keeps so many, those that ended lately included.
    pub max_job_count: usize,
    /// A limit on jobs that wait or run, with the word that sbatch says, such as `AssocMaxSubmitJobLimit`.
    pub max_submit: Option<(String, usize)>,
    /// So many jobs may run at once.
    pub max_running: Option<usize>,
    /// `MinJobAge`, in seconds: for so long the controller remembers jobs that have ended.
    pub min_job_age: f64,
    /// Seconds between a requeue and the time when the job may begin again.
    pub requeue_delay: f64,
    /// The accounting.
    pub accounting: Accounting,
    /// The accounting keeps comments (`AccountingStoreFlags=job_comment`); by default it does not.
    pub keeps_comments: bool,
    /// The accounts that there are, where accounting is.
    pub accounts: Vec<String>,
    /// The partitions.
    pub partitions: Vec<String>,
    /// sbatch names the cluster behind the number.
    pub cluster_name: Option<String>,
    /// The first job's number.
    pub first_id: u32,
    /// The controller answers.
    pub controller: bool,
    /// Seconds that each command takes.
    pub latency: f64,
    /// The agent's executable at the place.
    pub agent: Option<Utf8PathBuf>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            nodes: 4,
            jobs_per_node: 4,
            max_array_size: 1001,
            max_job_count: 10_000,
            max_submit: None,
            max_running: None,
            min_job_age: 300.0,
            requeue_delay: 120.0,
            accounting: Accounting::None,
            keeps_comments: false,
            accounts: vec!["research".to_owned()],
            partitions: vec!["main".to_owned(), "low".to_owned(), "high".to_owned()],
            cluster_name: None,
            first_id: 1,
            controller: true,
            latency: 0.01,
            agent: None,
        }
    }
}

/// What sacct knows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Accounting {
    /// There is none: sacct fails and says so.
    None,
    /// It knows everything at once.
    On,
    /// It hears of everything so many seconds later.
    Late(f64),
    /// It has not heard of any end: jobs that are long over are `RUNNING` there ("runaway jobs").
    Deaf,
    /// There is one, and it does not answer.
    Down,
}

/// What a command prints, and how it ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Answer {
    status: i32,
    stdout: String,
    stderr: String,
    /// It did not end within its limit.
    late: bool,
}

impl Answer {
    fn says(stdout: &str) -> Answer {
        Answer {
            stdout: stdout.to_owned(),
            ..Answer::default()
        }
    }

    fn says_beside(stderr: &str) -> Answer {
        Answer {
            stderr: stderr.to_owned(),
            ..Answer::default()
        }
    }

    fn fails(status: i32, stderr: &str) -> Answer {
        Answer {
            status,
            stderr: stderr.to_owned(),
            ..Answer::default()
        }
    }

    fn late() -> Answer {
        Answer {
            late: true,
            ..Answer::default()
        }
    }
}

/// A job as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobView {
    /// `12`, `12_3` or `12+1`.
    pub id: String,
    /// Its state in Slurm's word.
    pub state: String,
    /// Its reason in Slurm's word.
    pub reason: String,
    /// How many times it was put back into the queue.
    pub restarts: u32,
    /// Its comment.
    pub comment: String,
    /// Its nodes.
    pub nodes: Vec<String>,
}

struct State {
    cluster: Cluster,
    faults: Faults,
    commands: Vec<String>,
    /// Commands that are on their way: when they arrive, and the folder that they are run in.
    delayed: Vec<(i64, Cmd, Utf8PathBuf)>,
}

impl State {
    /// Time passes, and what was on its way arrives.
    fn advance(&mut self, by: i64) {
        let end = self.cluster.now() + by;
        self.delayed.sort_by_key(|(at, ..)| *at);
        while let Some((at, ..)) = self.delayed.first()
            && *at <= end
        {
            let (at, command, folder) = self.delayed.remove(0);
            self.cluster.advance((at - self.cluster.now()).max(0));
            let kind = Kind::of(&command.argv[0]);
            FakeSlurm::answer(&mut self.cluster, kind, &command, &folder);
        }
        self.cluster.advance((end - self.cluster.now()).max(0));
    }
}

/// A Slurm for tests.
pub struct FakeSlurm {
    context: Context,
    local: Arc<dyn Tunnel>,
    clock: Arc<FakeClock>,
    state: Mutex<State>,
    hung: Notify,
}

/// A scheduler whose tunnel leads to this cluster. Each has its own memory, and shares files with others as processes of one
/// home do.
#[must_use]
pub fn scheduler(
    settings: &SlurmSettings,
    context: &Context,
    slurm: &Arc<FakeSlurm>,
) -> Box<dyn Scheduler> {
    let tunnel: Arc<dyn Tunnel> = Arc::clone(slurm) as Arc<dyn Tunnel>;
    Box::new(super::scheduler::SlurmScheduler::new(
        settings, context, tunnel,
    ))
}

impl FakeSlurm {
    /// A cluster without jobs. Other commands run on this machine with the context's environment.
    #[must_use]
    pub fn new(context: &Context, settings: Settings) -> Arc<FakeSlurm> {
        let cluster = Cluster::new(settings);
        let clock = Arc::clone(&cluster.clock);
        let context = Context {
            clock: clock.clone(),
            ..context.clone()
        };
        Arc::new(FakeSlurm {
            local: LocalTunnel::default().connect(&context),
            context,
            clock,
            state: Mutex::new(State {
                cluster,
                faults: Faults::default(),
                commands: Vec::new(),
                delayed: Vec::new(),
            }),
            hung: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A context with the cluster's clock.
    #[must_use]
    pub fn context_of(&self, context: &Context) -> Context {
        Context {
            clock: self.clock.clone(),
            ..context.clone()
        }
    }

    /// Lets seconds pass.
    pub fn advance(&self, seconds: f64) {
        self.lock().advance((seconds * SECOND as f64) as i64);
    }

    /// Changes how the cluster is set up.
    pub fn settings(&self, change: impl FnOnce(&mut Settings)) {
        let mut state = self.lock();
        change(&mut state.cluster.settings);
        state.cluster.wake();
    }

    /// What jobs do when they run, by their unit's key and attempt. It holds for runs that begin from now on.
    pub fn work(&self, plan: impl Fn(&str, u32) -> Work + Send + 'static) {
        self.lock().cluster.plan = Box::new(plan);
    }

    /// The members of the unit with a key, where it has several or several ranks.
    pub fn members(&self, key: &str, members: Vec<Member>) {
        self.lock().cluster.units.insert(key.to_owned(), members);
    }

    /// The call of a command that goes wrong: 1 is the next one.
    pub fn fault(&self, kind: Kind, ahead: u64, fault: Fault) {
        self.lock().faults.plan(kind, ahead, fault);
    }

    /// Each call goes wrong with these probabilities; the same seed gives the same faults for the same calls.
    pub fn random_faults(&self, seed: u64, faults: Vec<(Kind, f64, Fault)>) {
        self.lock().faults.random(seed, faults);
    }

    /// Nothing goes wrong any more.
    pub fn no_faults(&self) {
        self.lock().faults.clear();
    }

    /// Resolves when a command hangs by [`Fault::Hung`].
    pub async fn hung(&self) {
        self.hung.notified().await;
    }

    /// How often a command was called.
    #[must_use]
    pub fn calls(&self, kind: Kind) -> u64 {
        self.lock().faults.calls(kind)
    }

    /// The commands that were called, as a shell would take them.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        self.lock().commands.clone()
    }

    /// What sbatch has taken, in order; also what the controller has forgotten.
    #[must_use]
    pub fn accepted(&self) -> Vec<Accepted> {
        self.lock().cluster.accepted.clone()
    }

    /// How often each attempt's folder was begun with.
    #[must_use]
    pub fn runs(&self) -> Vec<(String, u32)> {
        let state = self.lock();
        let runs = &state.cluster.runs;
        runs.iter()
            .map(|(folder, count)| (folder.clone(), *count))
            .collect()
    }

    /// The jobs that the controller knows.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobView> {
        let state = self.lock();
        state
            .cluster
            .jobs
            .iter()
            .map(|job| JobView {
                id: job.id(),
                state: job.state().to_owned(),
                reason: job.reason.clone(),
                restarts: job.restarts,
                comment: job.comment.clone(),
                nodes: job.nodes.clone(),
            })
            .collect()
    }

    /// A job that the controller knows.
    #[must_use]
    pub fn job(&self, id: &str) -> Option<JobView> {
        self.jobs().into_iter().find(|job| job.id == id)
    }

    fn with_job<T>(&self, id: &str, act: impl FnOnce(&mut Cluster, usize) -> T) -> Option<T> {
        let mut state = self.lock();
        let cluster = &mut state.cluster;
        let number = cluster.jobs.iter().position(|job| job.id() == id)?;
        Some(act(cluster, number))
    }

    /// Somebody puts a job back into the queue. False: there is no such job, or it can't be put back.
    pub fn requeue(&self, id: &str) -> bool {
        self.with_job(id, |cluster, number| cluster.requeue(number, false).is_ok())
            .unwrap_or(false)
    }

    /// A job of higher priority takes the nodes: the job is put back, or cancelled. False: there is no such job.
    pub fn preempt(&self, id: &str, requeue: bool) -> bool {
        self.with_job(id, |cluster, number| cluster.preempt(number, requeue))
            .is_some()
    }

    /// An administrator cancels a job. False: there is no such job.
    pub fn cancel(&self, id: &str) -> bool {
        self.with_job(id, |cluster, number| cluster.cancel(number, true))
            .is_some()
    }

    /// A job shows this word as its state, whatever it does; `None`: its own again. False: there is no such job.
    pub fn show_as(&self, id: &str, word: Option<&str>) -> bool {
        let word = word.map(str::to_owned);
        self.with_job(id, |cluster, number| cluster.jobs[number].shown = word)
            .is_some()
    }

    /// A node breaks.
    pub fn break_node(&self, name: &str) {
        self.lock().cluster.break_node(name);
    }

    /// A node works again.
    pub fn mend_node(&self, name: &str) {
        let mut state = self.lock();
        state.cluster.down.remove(name);
        state.cluster.wake();
    }

    /// The controller has lost its state: it knows no job, and numbers begin again. Jobs that ran are gone with it.
    pub fn forget_everything(&self) {
        let mut state = self.lock();
        let cluster = &mut state.cluster;
        cluster.jobs.clear();
        cluster.next = cluster.settings.first_id;
    }

    /// The next job's number.
    pub fn next_id(&self, number: u32) {
        self.lock().cluster.next = number;
    }

    /// The answer of one of Slurm's commands.
    fn answer(cluster: &mut Cluster, kind: Kind, command: &Cmd, cwd: &Utf8Path) -> Answer {
        if !cluster.settings.controller && kind != Kind::Sacct {
            return no_controller(kind, &command.argv);
        }
        let argv = &command.argv;
        match kind {
            Kind::Sbatch => {
                let patience = command.timeout.map(|limit| limit.as_secs_f64());
                sbatch::sbatch(cluster, cwd, argv, patience)
            }
            Kind::Squeue => print::squeue(cluster, argv),
            Kind::Sacct => print::sacct(cluster, argv),
            Kind::Scancel => control::scancel(cluster, argv),
            Kind::Scontrol => control::scontrol(cluster, argv),
            Kind::Sinfo => control::sinfo(cluster, argv),
            Kind::Other => Answer::default(),
        }
    }

    /// Does a command of Slurm's, unless its fault keeps it from that, and says what is seen of it.
    fn slurm(&self, kind: Kind, command: &Cmd, fault: Option<&Fault>) -> Answer {
        let mut state = self.lock();
        let folder = match &command.cwd {
            Some(folder) => self.context.workdir.join(folder),
            None => self.context.workdir.clone(),
        };
        let latency = (state.cluster.settings.latency * SECOND as f64) as i64;
        state.advance(latency);
        if let Some(Fault::Delayed(seconds)) = fault {
            let limit = command.timeout.unwrap_or_default().as_secs_f64();
            let after = ((limit + f64::from(*seconds)) * SECOND as f64) as i64;
            let at = state.cluster.now() + after;
            state.delayed.push((at, command.clone(), folder));
            return Answer::default();
        }
        let cluster = &mut state.cluster;
        if let Some(Fault::Stale(seconds)) = fault {
            return stale(cluster, kind, command, *seconds);
        }
        let answer = match fault.is_none_or(Fault::works) {
            true => FakeSlurm::answer(cluster, kind, command, &folder),
            false => Answer::default(),
        };
        match fault {
            Some(Fault::Silent) => Answer::default(),
            Some(Fault::Cut) => Answer {
                stdout: answer
                    .stdout
                    .chars()
                    .take(answer.stdout.chars().count() / 2)
                    .collect(),
                ..answer
            },
            Some(Fault::Says(status, words)) => Answer::fails(*status, words),
            Some(Fault::NoController) => no_controller(kind, &command.argv),
            Some(Fault::SlowController { .. }) => {
                // MessageTimeout, and as long again for the second try.
                cluster.advance(20 * SECOND);
                slow_controller(kind, &command.argv)
            }
            _ => answer,
        }
    }

    fn timed_out(&self, command: &Cmd) -> TunnelError {
        let after = command.timeout.unwrap_or_default();
        self.advance(after.as_secs_f64());
        TunnelError::TimedOut {
            name: self.name(),
            command: command.to_string(),
            after,
            ended: true,
        }
    }
}

/// An answer from before: what was the case then, of those jobs that there were then.
fn stale(cluster: &Cluster, kind: Kind, command: &Cmd, seconds: u32) -> Answer {
    let then = cluster.now() - i64::from(seconds) * SECOND;
    let mut old = Cluster::new(cluster.settings.clone());
    old.jobs = cluster
        .jobs
        .iter()
        .filter_map(|job| job.as_of(then))
        .collect();
    old.archive.clone_from(&cluster.archive);
    match kind {
        Kind::Squeue => print::squeue(&old, &command.argv),
        Kind::Sacct => print::sacct(&old, &command.argv),
        _ => Answer::default(),
    }
}

/// What stands before the words of a failed question.
fn beginning(kind: Kind, argv: &[String]) -> String {
    match kind {
        Kind::Sbatch => "sbatch: error: Batch job submission failed".to_owned(),
        Kind::Scancel => {
            let id = argv.iter().skip(1).find(|word| !word.starts_with('-'));
            format!(
                "scancel: error: Kill job error on job id {}",
                id.map_or("", String::as_str)
            )
        }
        Kind::Scontrol if argv.iter().any(|word| word == "config") => {
            "slurm_load_ctl_conf error".to_owned()
        }
        Kind::Sinfo => "slurm_load_partitions".to_owned(),
        _ => "slurm_load_jobs error".to_owned(),
    }
}

fn no_controller(kind: Kind, argv: &[String]) -> Answer {
    let words = "Unable to contact slurm controller (connect failure)";
    let status = if kind == Kind::Scancel { 8 } else { 1 };
    Answer::fails(status, &format!("{}: {words}\n", beginning(kind, argv)))
}

fn slow_controller(kind: Kind, argv: &[String]) -> Answer {
    let words = "Socket timed out on send/recv operation";
    Answer::fails(1, &format!("{}: {words}\n", beginning(kind, argv)))
}

/// Numbers as `1-3,7`.
fn ranges(numbers: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => parts.push((*number, *number)),
        }
    }
    let texts: Vec<String> = parts
        .into_iter()
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        })
        .collect();
    texts.join(",")
}

#[async_trait]
impl Tunnel for FakeSlurm {
    fn name(&self) -> String {
        "a virtual cluster".to_owned()
    }

    fn context(&self) -> &Context {
        &self.context
    }

    async fn agent(&self) -> Result<Option<Utf8PathBuf>, TunnelError> {
        Ok(self.lock().cluster.settings.agent.clone())
    }

    async fn exec(
        &self,
        command: &Cmd,
        input: Input<'_>,
        output: Output<'_>,
    ) -> Result<Ended, TunnelError> {
        let kind = Kind::of(command.argv.first().map_or("", String::as_str));
        let fault = {
            let mut state = self.lock();
            state.commands.push(command.to_string());
            state.faults.next(kind)
        };
        let works = fault.as_ref().is_none_or(Fault::works);
        if fault == Some(Fault::Unreachable) {
            return Err(TunnelError::Unreachable {
                name: self.name(),
                words: "Connection refused".to_owned(),
            });
        }
        let (answer, bytes) = match kind {
            Kind::Other => {
                let mut bytes = Vec::new();
                let ended = match works {
                    true => self.local.exec(command, input, &mut bytes).await?,
                    false => Ended {
                        status: 0,
                        stderr: Vec::new(),
                    },
                };
                let said = String::from_utf8_lossy(&ended.stderr);
                let answer = Answer::fails(ended.status, &said);
                match &fault {
                    Some(Fault::Says(status, words)) => (Answer::fails(*status, words), Vec::new()),
                    Some(Fault::Silent) => (Answer::default(), Vec::new()),
                    Some(Fault::Cut) => {
                        bytes.truncate(bytes.len() / 2);
                        (answer, bytes)
                    }
                    _ => (answer, bytes),
                }
            }
            _ => {
                let answer = self.slurm(kind, command, fault.as_ref());
                let bytes = answer.stdout.clone().into_bytes();
                (answer, bytes)
            }
        };
        match fault {
            Some(Fault::TimedOut { .. } | Fault::Delayed(_)) => return Err(self.timed_out(command)),
            Some(Fault::Interrupted { .. }) => {
                return Err(TunnelError::Interrupted {
                    name: self.name(),
                    words: "Broken pipe".to_owned(),
                });
            }
            Some(Fault::Hung { .. }) => {
                self.hung.notify_one();
                std::future::pending::<()>().await;
            }
            _ => {}
        }
        if answer.late {
            let after = command.timeout.unwrap_or_default();
            return Err(TunnelError::TimedOut {
                name: self.name(),
                command: command.to_string(),
                after,
                ended: true,
            });
        }
        output
            .write_all(&bytes)
            .await
            .map_err(|error| TunnelError::Here(error.to_string()))?;
        Ok(Ended {
            status: answer.status,
            stderr: answer.stderr.into_bytes(),
        })
    }
}
