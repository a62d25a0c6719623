//! The attached client: shows an experiment while its supervisor drives it.
//!
//! ```text
//! store ── events ──▶ Board ──▶ Live: progress (launch, retry) or log (run) ──▶ stderr, stdout
//! signals ─▶ cancel or leave                     logs ──▶ Live
//! ```
//!
//! The client holds nothing that the experiment needs: it may be killed at any point. It looks whether a supervisor is
//! there, too, so that one that was killed is replaced at once. Pitfall: it never waits for one thing alone; a pass looks
//! at signals, events and logs, then pauses for a few hundredths of a second at most.

mod live;
mod log;
mod progress;

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use mizzen_core::executor;
use mizzen_core::logs::Mirroring;
use mizzen_core::model::{CancelMode, Cause, ExperimentId, JobState};
use mizzen_core::store::{ExperimentView, Store};
use mizzen_core::submit;
use mizzen_core::watch::{ensure_supervised, last_words};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::reach::{Connections, not_sent_lines};
use crate::render::Outcome;
use crate::render::board::{Board, Change};
use crate::render::documents::{self, StartedDocument};
use crate::render::experiment::ExperimentStatus;
use crate::render::text::count;
use crate::report::{Report, Status};
use crate::signals::Signals;
use crate::surroundings::Surroundings;
use live::Live;

/// After so many supervisors that ended without anything happening, the user is told.
const MANY_RESTARTS: u32 = 3;
/// How often it is looked whether the supervisor still lives.
pub(crate) const SUPERVISION_CHECK: Duration = Duration::from_secs(1);
/// The shortest and the longest pause between two looks at the store.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(100));

/// What commands that start jobs have in common.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AttachArgs {
    /// Start it and return at once; the id goes to standard output
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// What a Ctrl-C does: `cancel` ends the jobs, `detach` leaves them running [default: cancel for jobs on this machine]
    #[arg(long, value_name = "WHAT", hide_possible_values = true)]
    pub(crate) on_interrupt: Option<OnInterrupt>,
    /// Print nothing but the final status, as JSON (schema: `mizzen schema status`)
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a Ctrl-C does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnInterrupt {
    /// End the jobs.
    Cancel,
    /// Leave the jobs running.
    Detach,
}

/// What an attached client shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The log of the one job, as its bytes are.
    Log,
    /// The states of all jobs.
    Progress {
        /// All logs too, each line behind its job's name.
        logs: bool,
    },
}

/// Starts (or finds) the supervisor, then stays until the end, or returns at once under `--detach`.
///
/// # Errors
/// The supervisor can't be started, or the store can't be read.
pub(crate) fn attach_or_detach(
    surroundings: &Surroundings,
    store: Store,
    id: ExperimentId,
    args: &AttachArgs,
    shown: Shown,
) -> Result<Outcome, Report> {
    // Before anything could be waited for: from here on a Ctrl-C is ours to interpret.
    let signals = if args.detach {
        None
    } else {
        Some(
            Signals::watch()
                .map_err(|error| Report::usage(format!("signals can't be watched: {error}")))?,
        )
    };
    match signals {
        None => {
            ensure_supervised(&surroundings.context, &store, &id)?;
            detached(surroundings, &store, &id, args.json)
        }
        Some(signals) => {
            // The board is read before anything starts: what is over within milliseconds is told of as well.
            let attached = Attached::new(surroundings, store, id, args, shown, signals)?;
            ensure_supervised(&surroundings.context, &attached.store, &attached.id)?;
            attached.stay()
        }
    }
}

fn detached(
    surroundings: &Surroundings,
    store: &Store,
    id: &ExperimentId,
    json: bool,
) -> Result<Outcome, Report> {
    let output = &surroundings.output;
    if json {
        let title = store.summary(id)?.title;
        let started = StartedDocument {
            id: id.to_string(),
            title,
        };
        output.print(&documents::json(output.layout(), &started))?;
    } else {
        output.print(&format!("{id}\n"))?;
    }
    output.hint(&format!("`mizzen status {id}` shows it, `mizzen logs -f {id}` its output, `mizzen wait {id}` waits for its end"));
    Ok(Outcome::done(Status::Succeeded))
}

/// The exit status that an experiment's end stands for.
pub(crate) fn outcome_status(view: &ExperimentView) -> Status {
    if view.summary.state == JobState::Succeeded {
        return Status::Succeeded;
    }
    // A job that its place refused has left no trace there: neither a handle nor a record of an agent.
    let refused = view.jobs.iter().any(|job| {
        job.cause == Some(Cause::LaunchFailure)
            && job
                .attempts
                .last()
                .is_some_and(|attempt| attempt.handle.is_none() && attempt.record.is_none())
    });
    if refused {
        Status::Refused
    } else {
        Status::Failed
    }
}

/// Pauses until another process has written to the store, for `longest` at most.
///
/// # Errors
/// The store can't be read.
pub(crate) fn wait_for_change(
    store: &Store,
    version: &mut i64,
    longest: Duration,
) -> Result<(), Report> {
    let began = Instant::now();
    let mut pause = PAUSES.0;
    loop {
        let now = store.data_version()?;
        if now != *version {
            *version = now;
            return Ok(());
        }
        let left = longest.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        rest([], pause.min(left));
        pause = (pause * 5 / 4).min(PAUSES.1);
    }
}

/// Pauses; a descriptor that becomes readable ends the pause.
pub(crate) fn rest<'a>(descriptors: impl IntoIterator<Item = BorrowedFd<'a>>, pause: Duration) {
    let milliseconds =
        PollTimeout::try_from(pause.max(Duration::from_millis(1))).unwrap_or(PollTimeout::MAX);
    let mut watched: Vec<PollFd<'_>> = descriptors
        .into_iter()
        .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN))
        .collect();
    // An interrupted pause is a short pause.
    let _ = poll(&mut watched, milliseconds);
}

struct Attached<'a> {
    surroundings: &'a Surroundings,
    store: Store,
    id: ExperimentId,
    args: &'a AttachArgs,
    signals: Signals,
    board: Board,
    live: Box<dyn Live + 'a>,
    connections: Connections,
    /// It was said why jobs are not handed to their place.
    told_not_sent: bool,
    /// What a Ctrl-C has led to.
    interrupted: Option<Interruption>,
}

/// After the first Ctrl-C.
struct Interruption {
    /// The jobs that are asked to end; empty for all.
    jobs: Vec<u32>,
    /// How many there were.
    times: u32,
}

impl<'a> Attached<'a> {
    fn new(
        surroundings: &'a Surroundings,
        store: Store,
        id: ExperimentId,
        args: &'a AttachArgs,
        shown: Shown,
        signals: Signals,
    ) -> Result<Attached<'a>, Report> {
        let board = Board::new(store.view(&id)?);
        let shows_logs = !args.json && shown != Shown::Progress { logs: false };
        let plan = store.plan_without_jobs(&id)?;
        let connections = Connections::of(&plan);
        let mirroring = if shows_logs {
            Mirroring::start(&surroundings.context, plan, &board.view, &[])
        } else {
            None
        };
        let live = live::make(surroundings, &board, shown, args.json, mirroring);
        Ok(Attached {
            surroundings,
            store,
            id,
            args,
            signals,
            board,
            live,
            connections,
            told_not_sent: false,
            interrupted: None,
        })
    }

    fn stay(mut self) -> Result<Outcome, Report> {
        match self.watch() {
            Ok(status) => self.close(status),
            Err(report) if report.nobody_reads() => {
                self.live.clear();
                if !self.board.is_over() {
                    self.say_goes_on("nobody reads the output any longer");
                }
                Ok(Outcome::done(Status::OutputClosed))
            }
            Err(report) => {
                self.live.clear();
                Err(report.hint(format!(
                    "the jobs go on without this command; `mizzen status {}` shows them",
                    self.id
                )))
            }
        }
    }

    /// Until the end (`None`), or until the client leaves with a status of its own.
    fn watch(&mut self) -> Result<Option<Status>, Report> {
        let mut version = self.store.data_version()?;
        let mut pause = PAUSES.0;
        let mut supervised = Instant::now();
        let mut restarts = 0;
        self.live.begin(&self.board)?;
        loop {
            while let Some(signal) = self.signals.next() {
                if let Some(status) = self.on_signal(signal)? {
                    return Ok(Some(status));
                }
            }
            let mut news = self.read_events()?;
            news |= self.live.pump(&self.board)?;
            if self.board.is_over() {
                return Ok(None);
            }
            if self.has_ended_interrupted() {
                self.live.clear();
                self.say_goes_on("the jobs on this machine have ended");
                return Ok(Some(Status::Interrupted));
            }
            self.live.tick(&self.board, self.surroundings.now());
            if supervised.elapsed() >= SUPERVISION_CHECK {
                supervised = Instant::now();
                for line in self.connections.news(self.surroundings) {
                    self.live.say(&line);
                }
                let unsent = not_sent_lines(&self.board.view.dir, self.surroundings);
                if !self.told_not_sent {
                    for line in &unsent {
                        self.live.say(line);
                    }
                }
                self.told_not_sent = !unsent.is_empty();
                if ensure_supervised(&self.surroundings.context, &self.store, &self.id)? {
                    restarts += 1;
                    if restarts == MANY_RESTARTS {
                        self.say_nobody_drives();
                    }
                }
            }
            if news {
                restarts = 0;
            }
            pause = if news {
                PAUSES.0
            } else {
                (pause * 5 / 4).min(PAUSES.1)
            };
            self.pause(&mut version, pause)?;
        }
    }

    /// Supervisors are started and end again, and nothing happens: the reason is in their log.
    fn say_nobody_drives(&mut self) {
        let dir = self.board.view.dir.clone();
        let reason = last_words(&dir).unwrap_or_else(|| "it says nothing".to_owned());
        self.live.clear();
        self.surroundings.output.say(&format!(
            "mizzen: the supervisor of {} keeps ending: {reason}\nhint: {dir}/supervisor.log has all that it said; this command goes on trying",
            self.id
        ));
    }

    /// Waits for a signal, new log bytes or a written store.
    fn pause(&mut self, version: &mut i64, pause: Duration) -> Result<(), Report> {
        let now = self.store.data_version()?;
        if now == *version {
            let following = self.live.following();
            let log = following.and_then(|following| following.descriptor());
            rest(
                [Some(self.signals.as_fd()), log].into_iter().flatten(),
                pause,
            );
            if let Some(following) = following {
                following.seen();
            }
        }
        *version = now;
        Ok(())
    }

    fn read_events(&mut self) -> Result<bool, Report> {
        let events = self
            .store
            .events_since(&self.id, self.board.view.sequence)?;
        for event in &events {
            let change = self.board.apply(event);
            if change != Change::Nothing {
                self.live.change(&self.board, event, change)?;
            }
        }
        Ok(!events.is_empty())
    }

    fn close(mut self, left: Option<Status>) -> Result<Outcome, Report> {
        if let Some(status) = left {
            self.live.clear();
            return Ok(Outcome::done(status));
        }
        // The store's own words at the end: the board has been told everything, the store knows everything.
        self.board = Board::new(self.store.view(&self.id)?);
        self.live.end(&self.board)?;
        let status = if self.interrupted.is_some() {
            Status::Interrupted
        } else {
            outcome_status(&self.board.view)
        };
        if self.args.json {
            return Ok(
                Outcome::show(ExperimentStatus::of(&self.store, self.board.view)?, true)
                    .with_status(status),
            );
        }
        Ok(Outcome::done(status))
    }

    /// What a signal leads to: leaving with a status, or going on.
    fn on_signal(&mut self, signal: Signal) -> Result<Option<Status>, Report> {
        match signal {
            Signal::SIGINT => self.on_interrupt(),
            Signal::SIGTERM => {
                self.live.clear();
                self.say_goes_on("this command was told to end");
                Ok(Some(Status::Terminated))
            }
            _ => Ok(Some(Status::Terminated)),
        }
    }

    fn on_interrupt(&mut self) -> Result<Option<Status>, Report> {
        if let Some(interruption) = &mut self.interrupted {
            interruption.times += 1;
            if interruption.times > 2 {
                self.live.clear();
                self.say_goes_on("interrupted");
                return Ok(Some(Status::Interrupted));
            }
            let jobs = interruption.jobs.clone();
            self.live.say("interrupted again: killing the jobs at once");
            submit::cancel(
                &self.surroundings.context,
                &mut self.store,
                &self.id,
                &jobs,
                CancelMode::Kill,
            )?;
            return Ok(None);
        }
        let unfinished: Vec<u32> = self
            .board
            .view
            .jobs
            .iter()
            .filter(|job| !job.state.is_final())
            .map(|job| job.index)
            .collect();
        let chosen = match self.args.on_interrupt {
            Some(OnInterrupt::Cancel) => unfinished.clone(),
            Some(OnInterrupt::Detach) => Vec::new(),
            None => self.on_this_machine(&unfinished)?,
        };
        if chosen.is_empty() {
            self.live.clear();
            self.say_goes_on("interrupted");
            return Ok(Some(Status::Interrupted));
        }
        self.live.say(&format!(
            "interrupted: ending {}; once more kills {} at once",
            count(chosen.len(), "job"),
            if chosen.len() == 1 { "it" } else { "them" }
        ));
        let jobs = if chosen.len() == unfinished.len() {
            Vec::new()
        } else {
            chosen
        };
        submit::cancel(
            &self.surroundings.context,
            &mut self.store,
            &self.id,
            &jobs,
            CancelMode::Interrupt,
        )?;
        self.interrupted = Some(Interruption { jobs, times: 1 });
        Ok(None)
    }

    /// Of some jobs, those that run on this machine, as a shell's children would.
    fn on_this_machine(&self, jobs: &[u32]) -> Result<Vec<u32>, Report> {
        let plan = self.store.plan(&self.id)?;
        let mut here = Vec::new();
        for &job in jobs {
            let Some(config) = self
                .board
                .view
                .jobs
                .get(job as usize)
                .and_then(|job| plan.executors.get(&*job.executor))
            else {
                continue;
            };
            if executor::build(&config.kind, config)
                .is_ok_and(|executor| executor.capabilities().attached)
            {
                here.push(job);
            }
        }
        Ok(here)
    }

    /// Some jobs were asked to end, and have; others go on elsewhere.
    fn has_ended_interrupted(&self) -> bool {
        let Some(Interruption { jobs, .. }) = &self.interrupted else {
            return false;
        };
        let over = |index: &u32| {
            self.board
                .view
                .jobs
                .get(*index as usize)
                .is_some_and(|job| job.state.is_final())
        };
        !jobs.is_empty() && jobs.iter().all(over)
    }

    fn say_goes_on(&self, why: &str) {
        let id = &self.id;
        let output = &self.surroundings.output;
        let unfinished = self
            .board
            .view
            .jobs
            .iter()
            .filter(|job| !job.state.is_final())
            .count();
        let goes = if unfinished == 1 { "goes" } else { "go" };
        output.say(&format!(
            "mizzen: {why}; {} of {id} {goes} on",
            count(unfinished, "job")
        ));
        output.hint(&format!("`mizzen status {id}` shows it, `mizzen logs -f {id}` its output, `mizzen cancel {id}` ends it"));
    }
}
