//! The event loop: one `ppoll` on the channel, the signals and the nearest timer; everything else is called from here.
//!
//! ```text
//!            ┌── children that ended ──▶ job.reap ── nothing left ──▶ records, Ended
//! ppoll ─────┼── other signals ────────▶ job.interrupt / forward
//!            ├── commands ─────────────▶ begin · cancel · signal
//!            └── time ─────────────────▶ job.tick · records to write again
//! ```
//!
//! The order is the rule that a job which ended before its cancel arrived has ended by itself: children first, then
//! signals, then commands. When the channel closes the agent goes on with the job in hand and ends after it.

use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use mizzen_agent::protocol::{Command, Identity, Job, Refusal, Report};
use mizzen_agent::record::ExitRecord;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signalfd::SignalFd;
use nix::sys::time::TimeSpec;

use crate::channel::{Commands, Incoming, Reports, say};
use crate::job::{Begun, JobInHand, Reaped, Tools};
use crate::oom::OomCounter;
use crate::orders::{Orders, tell_peers};
use crate::reap::children;
use crate::spawn::Spawner;
use crate::sys::{self, How, Waited};
use crate::verdict::Reason;
use crate::world::Farewell;
use crate::writer::Writer;

/// How long an agent without anything else to do goes on trying to write its records.
const LAST_TRIES: Duration = Duration::from_secs(60);
/// How long it waits for a supervisor that does not read its last reports.
const LAST_REPORTS: Duration = Duration::from_secs(5);

/// A shell's status for a child that SIGTERM ended, and a shell's own when it is asked to run nothing else.
const SHELL_TERMINATED: i32 = 128 + libc::SIGTERM;
/// How long a rank's bad end may be ahead of the signal that ended both: a launcher signals one process after the other.
const SIGNAL_LATE: Duration = Duration::from_millis(50);
/// And where the end looks like a signal's.
const SIGNAL_SURELY_LATE: Duration = Duration::from_millis(500);

/// Whom an agent works for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A supervisor at the other end of a channel.
    Channel,
    /// Whoever started it, for one job.
    OneJob,
    /// A launcher, for one task of a step. As Slurm does, it signals every process of the task at once, and hands
    /// descriptors to it.
    OneTask,
}

/// What came of the last job.
#[derive(Debug)]
pub(crate) enum JobEnd {
    Ended {
        reason: Option<Reason>,
        records: Vec<ExitRecord>,
        /// Another agent tells how all ended.
        follows: bool,
    },
    Taken {
        by: String,
    },
    Refused(Refusal),
}

/// The agent.
#[derive(Debug)]
pub(crate) struct Agent {
    tools: Tools,
    signals: SignalFd,
    /// `None` once the channel has closed, or if there never was one.
    commands: Option<Commands>,
    reports: Reports,
    job: Option<Box<JobInHand>>,
    writer: Writer,
    /// Children that are no job's: those that the agent was started with, and those that nobody can end.
    abandoned: HashSet<i32>,
    told_to_end: bool,
    /// Whoever signals the agent signals what it has started as well, before it or behind it.
    signalled_together: bool,
    last: Option<JobEnd>,
    /// Nodes of the last job's world that have not gone yet.
    farewell: Option<Farewell>,
    /// What others want of the job in hand, if its folder is where they say it.
    orders: Option<Orders>,
}

impl Agent {
    /// Makes this process an agent. With a channel it takes commands and reports; else it does what it is given.
    pub(crate) fn new(kind: Kind) -> io::Result<Agent> {
        let channel = kind == Kind::Channel;
        let signals = sys::become_agent(kind == Kind::OneTask)?;
        if channel {
            // Fails for the leader of a process group (started by hand from a shell), which then stays where it is.
            let _ = nix::unistd::setsid();
        }
        let identity = Identity::of_self()?;
        // A shell that had started something before it became this agent has left it as our child.
        let abandoned = match sys::wait_any() {
            Waited::NoChildren => HashSet::new(),
            Waited::Ended(_) | Waited::NoneEnded => children().into_iter().collect(),
        };
        let claim_text = identity.to_text();
        Ok(Agent {
            tools: Tools {
                identity,
                claim_text,
                spawner: Spawner::new()?,
                oom: OomCounter::find(),
            },
            signals,
            commands: channel.then(Commands::new),
            reports: Reports::new(channel),
            job: None,
            writer: Writer::default(),
            abandoned,
            told_to_end: false,
            signalled_together: kind == Kind::OneTask,
            last: None,
            farewell: None,
            orders: None,
        })
    }

    /// Does one job, whose orders come by its attempt's folder.
    pub(crate) fn run_by_orders(mut self, job: Job) -> io::Result<Option<JobEnd>> {
        self.orders = Orders::of(&job);
        self.run(job)
    }

    /// Takes jobs until the channel closes or a signal says to end.
    pub(crate) fn work(mut self) -> io::Result<()> {
        self.reports
            .send(&Report::Ready(self.tools.identity.clone()));
        self.turn_until_idle()
    }

    /// Does one job.
    pub(crate) fn run(mut self, job: Job) -> io::Result<Option<JobEnd>> {
        self.begin(job);
        self.turn_until_idle()?;
        Ok(self.last)
    }

    fn turn_until_idle(&mut self) -> io::Result<()> {
        while self.job.is_some() || (self.commands.is_some() && !self.told_to_end) {
            self.turn(None)?;
        }
        self.commands = None;
        while self.farewell.is_some() {
            self.turn(None)?;
        }
        let give_up_at = Instant::now() + LAST_TRIES;
        while self.writer.has_pending() && Instant::now() < give_up_at {
            self.turn(Some(give_up_at))?;
        }
        for folder in self.writer.unwritten() {
            say(&format!(
                "gave up writing the exit record of {}",
                folder.display()
            ));
        }
        let give_up_at = Instant::now() + LAST_REPORTS;
        while self.reports.are_waiting() && Instant::now() < give_up_at {
            self.turn(Some(give_up_at))?;
        }
        Ok(())
    }

    /// Waits for the next thing to happen, at most until `limit`, and does what it calls for.
    fn turn(&mut self, limit: Option<Instant>) -> io::Result<()> {
        let deadlines = [
            self.job.as_ref().and_then(|job| job.deadline()),
            self.writer.deadline(),
            self.reports.deadline(),
            self.farewell.as_ref().map(Farewell::deadline),
            limit,
        ];
        let deadline = deadlines.into_iter().flatten().min();
        let happened = self.wait(deadline)?;
        let children_ended = happened.signals && self.take_signals()?;
        if children_ended || self.job.as_ref().is_some_and(|job| job.is_sweeping()) {
            self.reap();
        }
        if happened.commands {
            self.take_commands();
        }
        if happened.output {
            self.reports.flush();
        }
        let now = Instant::now();
        let due = deadline.is_some_and(|deadline| deadline <= now);
        if happened.orders || due {
            self.take_orders();
        }
        if happened.worlds || due {
            self.turn_worlds(now);
        }
        if due {
            if let Some(job) = &mut self.job {
                job.tick(now);
                job.sample(now, &self.tools, &mut self.abandoned);
            }
            self.writer.retry(now);
            self.reports.tick(now);
        }
        if let Some((peers, how)) = self.job.as_mut().and_then(|job| job.last_words()) {
            tell_peers(&peers, how);
        }
        Ok(())
    }

    /// Hears what other nodes of the job's world say.
    fn turn_worlds(&mut self, now: Instant) {
        if let Some(farewell) = &mut self.farewell
            && farewell.turn(now)
        {
            self.farewell = None;
        }
        let Some(job) = &mut self.job else { return };
        job.turn_worlds(now, &self.tools);
        if job.is_sweeping() {
            self.reap();
        }
    }

    fn wait(&self, deadline: Option<Instant>) -> io::Result<Happened> {
        let output = io::stdout();
        let mut polled = Vec::with_capacity(3);
        polled.push(PollFd::new(self.signals.as_fd(), PollFlags::POLLIN));
        let commands = self.commands.as_ref().map(|commands| {
            polled.push(PollFd::new(commands.descriptor(), PollFlags::POLLIN));
            polled.len() - 1
        });
        let reports = self.reports.are_waiting().then(|| {
            polled.push(PollFd::new(output.as_fd(), PollFlags::POLLOUT));
            polled.len() - 1
        });
        let own = polled.len();
        if let Some(job) = &self.job {
            job.descriptors(&mut polled);
        }
        if let Some(farewell) = &self.farewell {
            farewell.descriptors(&mut polled);
        }
        let worlds = own..polled.len();
        let orders = self.orders.as_ref().and_then(Orders::descriptor);
        let orders = orders.map(|descriptor| {
            polled.push(PollFd::new(descriptor, PollFlags::POLLIN));
            polled.len() - 1
        });
        let left = deadline
            .map(|deadline| TimeSpec::from(deadline.saturating_duration_since(Instant::now())));
        match nix::poll::ppoll(&mut polled, left, None) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Happened::default()),
            Err(error) => return Err(error.into()),
        }
        // Anything at all, a hang-up or an error too: reading or writing then tells.
        let any = |index: usize| {
            polled[index]
                .revents()
                .is_none_or(|events| !events.is_empty())
        };
        Ok(Happened {
            signals: any(0),
            commands: commands.is_some_and(any),
            output: reports.is_some_and(any),
            orders: orders.is_some_and(any),
            worlds: worlds.into_iter().any(any),
        })
    }

    fn has_obeyed(&self) -> bool {
        self.orders.as_ref().is_some_and(Orders::was_obeyed)
    }

    /// Obeys an order in the attempt's folder; true if there was one.
    fn take_orders(&mut self) -> bool {
        let Some(orders) = &mut self.orders else {
            return false;
        };
        orders.drain();
        let (Some(order), Some(job)) = (orders.take(), &mut self.job) else {
            return false;
        };
        job.obey(order);
        true
    }

    /// True if a child has ended.
    fn take_signals(&mut self) -> io::Result<bool> {
        let mut others = Vec::new();
        let mut children_ended = false;
        while let Some(signal) = self.signals.read_signal()? {
            match i32::try_from(signal.ssi_signo) {
                Ok(libc::SIGCHLD) => children_ended = true,
                Ok(signal) => others.push(signal),
                Err(_) => {}
            }
            if children_ended && others.is_empty() {
                // The usual case: whatever else waits is found in the next turn.
                break;
            }
        }
        if self.signalled_together {
            // The signal first: who has ended of it has not ended by itself.
            let job = self.job.as_deref();
            let may_come = !self.told_to_end && job.is_some_and(|job| !job.ends_its_ranks());
            if children_ended && others.is_empty() && may_come {
                others.extend(self.late_signal()?);
            }
        } else if !others.is_empty() {
            // Children first: who had ended before the signal came has ended by itself.
            self.reap();
            children_ended = false;
        }
        for signal in others {
            match signal {
                libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT => {
                    self.told_to_end = true;
                    // Whoever has written down why wants just that. The order may have been seen before its signal: what its
                    // ranks were told already they are not told again.
                    let with_order = signal == libc::SIGTERM;
                    if self.take_orders() || (with_order && self.has_obeyed()) {
                        continue;
                    }
                    if let Some(job) = &mut self.job {
                        job.interrupt(signal);
                    }
                }
                signal => {
                    if let Some(job) = &mut self.job {
                        job.forward(signal);
                    }
                }
            }
        }
        Ok(children_ended)
    }

    /// The signal of which a child may have ended, if it comes within a moment.
    fn late_signal(&mut self) -> io::Result<Option<i32>> {
        let give_up_at = match sys::peek() {
            None | Some(How::Code(0)) => return Ok(None),
            Some(How::Signal(libc::SIGTERM | libc::SIGINT | libc::SIGHUP))
            | Some(How::Code(SHELL_TERMINATED)) => Instant::now() + SIGNAL_SURELY_LATE,
            Some(_) => Instant::now() + SIGNAL_LATE,
        };
        loop {
            while let Some(signal) = self.signals.read_signal()? {
                match i32::try_from(signal.ssi_signo) {
                    Ok(signal) if signal != libc::SIGCHLD => return Ok(Some(signal)),
                    _ => {}
                }
            }
            let left = give_up_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let mut polled = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            match nix::poll::ppoll(&mut polled, Some(TimeSpec::from(left)), None) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take_commands(&mut self) {
        let Some(channel) = &mut self.commands else {
            return;
        };
        match channel.read() {
            Incoming::Closed => self.commands = None,
            Incoming::Commands(commands) => {
                // What ended while they were on their way has ended before them.
                if self.job.is_some() && !commands.is_empty() {
                    self.reap();
                }
                for command in commands {
                    self.obey(command);
                }
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Run(job) => {
                if self.job.is_some() {
                    self.reports.send(&Report::Refused {
                        key: job.key,
                        reason: Refusal::Busy,
                    });
                } else if !self.told_to_end {
                    self.begin(*job);
                }
            }
            Command::Signal { key, signal } => {
                if let Some(job) = self.job_with_key(&key) {
                    job.forward(signal);
                }
            }
            Command::Cancel {
                key,
                signal,
                immediately,
            } => {
                if let Some(job) = self.job_with_key(&key) {
                    job.cancel(signal, immediately);
                    if job.is_sweeping() {
                        self.reap();
                    }
                }
            }
        }
    }

    fn job_with_key(&mut self, key: &str) -> Option<&mut JobInHand> {
        self.job.as_deref_mut().filter(|job| job.key() == key)
    }

    fn begin(&mut self, job: Job) {
        let key = job.key.clone();
        match JobInHand::begin(job, &self.tools) {
            Begun::Taken { by } => {
                self.reports.send(&Report::Taken {
                    key,
                    by: by.clone(),
                });
                self.last = Some(JobEnd::Taken { by });
            }
            Begun::Refused(reason) => {
                self.reports.send(&Report::Refused {
                    key,
                    reason: reason.clone(),
                });
                self.last = Some(JobEnd::Refused(reason));
            }
            Begun::InHand(job) => {
                if job.all_started() {
                    let report = Report::Started {
                        key,
                        time: job.started_at(),
                        devices: job.devices().to_vec(),
                    };
                    self.reports.send_later(report);
                }
                let nothing_runs = job.is_sweeping();
                self.job = Some(job);
                if nothing_runs {
                    self.reap();
                }
            }
        }
    }

    /// Takes the children that have ended, and ends the job if that was the last of it.
    fn reap(&mut self) {
        let Some(job) = &mut self.job else {
            while let Waited::Ended(ended) = sys::wait_any() {
                self.abandoned.remove(&ended.pid);
            }
            return;
        };
        match job.reap(&self.tools, &mut self.abandoned) {
            Reaped::NotYet => return,
            Reaped::Done => {}
            Reaped::GivenUp(pids) => {
                say(&format!(
                    "job {}: these processes could not be ended and are left alone: {pids:?}",
                    job.key()
                ));
            }
        }
        if let Some(mut job) = self.job.take() {
            if let Some((peers, how)) = job.last_words() {
                tell_peers(&peers, how);
            }
            self.finish(*job);
        }
    }

    fn finish(&mut self, job: JobInHand) {
        let finished = job.finish(&self.tools.identity);
        let mut records = Vec::with_capacity(finished.records.len());
        for (folder, record) in finished.records {
            if let Err(error) = self.writer.write(&folder, &record) {
                say(&format!(
                    "{}: can't write the exit record, will try again: {error}",
                    folder.display()
                ));
            }
            records.push(record);
        }
        // Free before the supervisor hears of the end and sends the next job.
        drop(finished.devices);
        self.reports.send(&Report::Ended {
            key: finished.key,
            records: records.clone(),
        });
        self.last = Some(JobEnd::Ended {
            reason: finished.reason,
            records,
            follows: finished.follows,
        });
        self.farewell = finished.farewell;
    }
}

/// What a wait was ended by.
#[derive(Debug, Default, Clone, Copy)]
struct Happened {
    signals: bool,
    commands: bool,
    output: bool,
    orders: bool,
    worlds: bool,
}
