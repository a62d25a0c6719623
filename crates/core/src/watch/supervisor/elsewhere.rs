//! Places that have a queue of their own and are asked over a connection, which may be slow, or gone.
//!
//! ```text
//! ready units ─▶ intents on disk ─▶ submit_many ─▶ Sent ─┬ handle ─▶ tracked
//!                    ▲                                   ├ refused ─▶ ended: launch-failure
//!                    └── later, nothing was sent ────────┤
//!                        looked for, and not there ◀─────┴ uncertain ─▶ find_many ─▶ Found ─▶ tracked
//! ```
//!
//! What is said to a place and heard from it happens beside the supervisor's own work; the answers come back as words.
//! Pitfall: a unit is in the engine's hands, in `handing`, or in `active`, and in one of them only. What is in `handing`
//! may run already: it is neither skipped nor sent again before its place has been asked for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Active, GivenUp, Supervisor};
use crate::executor::{
    CancelError, MemberEnd, Observation, ObserveError, Observed, Request, Scheduler, SubmitError,
};
use crate::model::{CancelMode, Cause, EventKind, Handle, JobState};
use crate::tunnel::mirror_once;

/// So many units are handed over at once.
const BATCH: usize = 256;
/// So many single ones are on their way at once.
const LINES: usize = 16;
/// So many are rendered before others have their turn.
const AT_A_TIME: usize = 16;
/// The wait after a place could not be reached or takes no more, at first; doubled each time.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Between two looks for what may have been submitted.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How long the logs of a job that has ended may take to come here before its end is told.
const KEEP_LIMIT: Duration = Duration::from_secs(30);

/// What a place has answered.
pub(super) enum Word {
    Sent {
        place: usize,
        units: Vec<(u32, Request)>,
        answers: Vec<Result<Handle, SubmitError>>,
    },
    Found {
        place: usize,
        units: Vec<(u32, Request)>,
        answers: Result<Vec<Option<Handle>>, ObserveError>,
    },
    Seen {
        place: usize,
        answer: Result<Vec<Observation>, ObserveError>,
    },
    Cancelled {
        place: usize,
        handles: Vec<Handle>,
        mode: CancelMode,
        answer: Result<(), CancelError>,
    },
    /// The logs of an attempt are here, as far as they could be had.
    Kept { handle: Handle, observed: Observed },
    /// What must not stay at a place is removed.
    Forgotten,
}

/// What is going on between the supervisor and one such place.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Jobs were handed over before this process was there, and nothing has been heard of them yet.
    unheard: bool,
    /// So many batches are on their way.
    sending: usize,
    asking: bool,
    /// Something has changed since the question was sent that is under way.
    ask_again: bool,
    finding: bool,
    /// Nothing is sent before this time.
    send_at: Option<Instant>,
    pause: Duration,
    /// When to look for the unsure.
    find_at: Option<Instant>,
    find_pause: Duration,
    /// Units that may have been submitted, and since when that is so.
    unsure: Vec<(u32, Instant)>,
    /// Ends that the place has not been told of yet.
    cancels: Vec<(Handle, CancelMode)>,
    cancel_at: Option<Instant>,
    cancel_pause: Duration,
    cancelling: bool,
}

fn longer(pause: &mut Duration) -> Duration {
    *pause = (*pause * 2).clamp(PAUSE, LONGEST_PAUSE);
    *pause
}

/// A unit on its way to its place.
#[derive(Debug)]
pub(super) struct Handing {
    pub(super) attempt: u32,
    pub(super) cancelled: Option<CancelMode>,
}

impl Line {
    /// What is known of the jobs there is as old as the last process that drove them.
    pub(super) fn is_unheard(&self) -> bool {
        self.unheard
    }

    pub(super) fn is_asking(&self) -> bool {
        self.asking
    }

    /// When something is due.
    pub(super) fn next_time(&self, something_ready: bool) -> Option<Instant> {
        let send = self
            .send_at
            .filter(|_| something_ready && self.sending == 0);
        let find = self.find_at.filter(|_| !self.finding);
        let cancel = self.cancel_at.filter(|_| !self.cancelling);
        [send, find, cancel].into_iter().flatten().min()
    }

    /// What has been sent may have arrived.
    fn is_unsure(&mut self, unit: u32, now: Instant) {
        if !self.unsure.iter().any(|(known, _)| *known == unit) {
            self.unsure.push((unit, now));
        }
        self.find_at = self.find_at.or(Some(now));
    }
}

impl Supervisor<'_> {
    pub(super) fn is_elsewhere(&self, place: usize) -> bool {
        !self.places[place].executor.capabilities().idempotent
    }

    /// A place has said that asking is worth it, or sending.
    pub(super) fn changed_elsewhere(&mut self, place: usize) {
        let at = &mut self.places[place];
        let Some(scheduler) = at
            .scheduler
            .as_ref()
            .filter(|_| at.changed.swap(false, Ordering::Relaxed))
        else {
            return;
        };
        if scheduler.wants_again() {
            at.line.send_at = None;
        }
        at.line.ask_again = at.line.asking;
        at.next_look = Instant::now();
    }

    /// How many batches may be on their way to a place at once. Where jobs are counted here, each goes by itself: what is slow
    /// to start holds no other up.
    fn lines(&self, place: usize) -> usize {
        match self.places[place].slots {
            Some(_) => LINES,
            None => 1,
        }
    }

    /// How many units may be sent to a place now.
    fn room(&self, place: usize) -> usize {
        let Some(slots) = self.places[place].slots else {
            return BATCH;
        };
        let on_their_way = self.handing.keys().filter(|unit| {
            let members = self.engine.members(**unit);
            members
                .first()
                .is_some_and(|job| self.engine.executor_of(*job) == place)
        });
        let taken = self.places[place].in_flight as usize + on_their_way.count();
        usize::from(taken < slots as usize)
    }

    /// Begins to connect to the places of the experiment, while it is read what is to be done there.
    pub(super) async fn make_ready(&mut self) {
        for place in 0..self.places.len() {
            // An executor whose scheduler can't be made is told of with the jobs that need it.
            if self.is_elsewhere(place)
                && let Ok(scheduler) = self.scheduler(place)
            {
                tokio::spawn(async move { scheduler.prepare().await });
            }
        }
        tokio::task::yield_now().await;
    }

    /// Hands over what is ready, all that goes with one journey; false if nothing does.
    pub(super) async fn start_elsewhere(&mut self, place: usize) -> Result<bool, String> {
        let now = Instant::now();
        if !self.unsent.is_empty() && !self.engine.has_ready(place) {
            // What waited was cancelled.
            let executor = self.executor_name(place);
            self.unsent.clear(&executor);
        }
        let line = &self.places[place].line;
        if line.sending >= self.lines(place) || line.send_at.is_some_and(|at| at > now) {
            return Ok(false);
        }
        self.places[place].line.send_at = None;
        let room = self.room(place);
        let mut ready = Vec::new();
        while ready.len() < room
            && let Some(unit) = self.engine.next_ready(place)
        {
            ready.push(unit);
        }
        if ready.is_empty() {
            return Ok(false);
        }
        let scheduler = self.scheduler(place);
        let mut units = Vec::with_capacity(ready.len());
        for (number, unit) in ready.into_iter().enumerate() {
            if number % AT_A_TIME == 0 {
                // The connection to the place is being made meanwhile.
                tokio::task::yield_now().await;
            }
            let attempt = self.engine.attempts(unit) + 1;
            let rendered = match &scheduler {
                Ok(_) => self.render(unit, attempt),
                Err(reason) => Err(reason.clone()),
            };
            let after = match self.after(unit)? {
                Some(after) => after,
                None => {
                    self.engine.wait_here(unit);
                    continue;
                }
            };
            let written = rendered.and_then(|(_, mut request)| {
                request.after = after;
                self.requests
                    .write_down(&request)
                    .map(|()| request)
                    .map_err(|error| error.to_string())
            });
            match written {
                Ok(request) => {
                    self.intend(unit, attempt, &request);
                    let handing = Handing {
                        attempt,
                        cancelled: None,
                    };
                    self.handing.insert(unit, handing);
                    units.push((unit, request));
                }
                Err(reason) => self.not_launched(unit, attempt, reason, None)?,
            }
        }
        let Ok(scheduler) = scheduler else {
            return Ok(false);
        };
        if units.is_empty() {
            return Ok(false);
        }
        self.writer.events(std::mem::take(&mut self.pending));
        if !self.writer.flush().await {
            // Without the intents on disk, perhaps under somebody else's lease, nothing is sent.
            for (unit, _) in units {
                self.take_back(unit);
            }
            return Ok(false);
        }
        self.places[place].line.sending += 1;
        let words = self.words.clone();
        let courier = self.places[place].courier.clone();
        tokio::spawn(async move {
            let requests: Vec<Request> = units.iter().map(|(_, request)| request.clone()).collect();
            let answers = courier.submit(scheduler.as_ref(), &requests).await;
            let _ = words.send(Word::Sent {
                place,
                units,
                answers,
            });
        });
        Ok(true)
    }

    fn intend(&mut self, unit: u32, attempt: u32, request: &Request) {
        for job in self.engine.members(unit) {
            self.record(EventKind::Intended {
                job,
                attempt,
                key: request.key.clone(),
            });
        }
    }

    fn not_launched(
        &mut self,
        unit: u32,
        attempt: u32,
        reason: String,
        cancelled: Option<CancelMode>,
    ) -> Result<(), String> {
        let end = MemberEnd {
            state: JobState::Failed,
            cause: Some(Cause::LaunchFailure),
            message: Some(reason),
            record: None,
        };
        let members = self.engine.members(unit).len();
        self.end(unit, attempt, vec![end; members], cancelled)
    }

    /// A unit that was not sent is the engine's again.
    fn take_back(&mut self, unit: u32) {
        let Some(handing) = self.handing.remove(&unit) else {
            return;
        };
        self.engine.bounced(unit);
        if handing.cancelled.is_some() {
            let members = self.engine.members(unit);
            for event in self.engine.cancel_waiting(&members) {
                self.record(event);
            }
        } else {
            self.engine.retry_due(unit);
        }
    }

    /// Looks for what may have been submitted, asks for what is watched, tells of ends: all that is due.
    pub(super) fn speak(&mut self, place: usize, due: Instant) -> Result<(), String> {
        self.find_unsure(place, due)?;
        self.tell_cancels(place, due);
        let line = &self.places[place].line;
        if self.places[place].in_flight == 0 || line.asking || self.places[place].next_look > due {
            return Ok(());
        }
        let Some(scheduler) = self.places[place].scheduler.clone() else {
            return Ok(());
        };
        let handles = self.handles_at(place);
        if handles.is_empty() {
            return Ok(());
        }
        self.places[place].line.asking = true;
        let words = self.words.clone();
        tokio::spawn(async move {
            let answer = scheduler.observe(&handles).await;
            let _ = words.send(Word::Seen { place, answer });
        });
        Ok(())
    }

    fn handles_at(&self, place: usize) -> Vec<Handle> {
        self.active
            .iter()
            .filter(|(_, active)| active.place == place && !active.keeping)
            .map(|(handle, _)| handle.clone())
            .collect()
    }

    fn find_unsure(&mut self, place: usize, due: Instant) -> Result<(), String> {
        let line = &self.places[place].line;
        if line.finding || line.unsure.is_empty() || line.find_at.is_none_or(|at| at > due) {
            return Ok(());
        }
        let scheduler = self.scheduler(place)?;
        let unsure = self.places[place].line.unsure.clone();
        let mut units = Vec::with_capacity(unsure.len());
        for (unit, _) in unsure {
            let Some(handing) = self.handing.get(&unit) else {
                continue;
            };
            let (_, request) = self.render(unit, handing.attempt)?;
            units.push((unit, request));
        }
        self.places[place].line.finding = true;
        let words = self.words.clone();
        tokio::spawn(async move {
            let requests: Vec<Request> = units.iter().map(|(_, request)| request.clone()).collect();
            let answers = scheduler.find_many(&requests).await;
            let _ = words.send(Word::Found {
                place,
                units,
                answers,
            });
        });
        Ok(())
    }

    fn tell_cancels(&mut self, place: usize, due: Instant) {
        let line = &mut self.places[place].line;
        if line.cancelling || line.cancels.is_empty() || line.cancel_at.is_some_and(|at| at > due) {
            return;
        }
        let mode = line.cancels[0].1;
        let (now, later): (Vec<_>, Vec<_>) = line
            .cancels
            .drain(..)
            .partition(|(_, other)| *other == mode);
        line.cancels = later;
        let Some(scheduler) = self.places[place].scheduler.clone() else {
            return;
        };
        self.places[place].line.cancelling = true;
        let handles: Vec<Handle> = now.into_iter().map(|(handle, _)| handle).collect();
        let words = self.words.clone();
        tokio::spawn(async move {
            let answer = scheduler.cancel_many(&handles, mode).await;
            let _ = words.send(Word::Cancelled {
                place,
                handles,
                mode,
                answer,
            });
        });
    }

    /// The place is to be told that a job shall end.
    pub(super) fn cancel_elsewhere(&mut self, place: usize, handle: Handle, mode: CancelMode) {
        let line = &mut self.places[place].line;
        line.cancels.push((handle, mode));
        line.cancel_at = None;
    }

    /// What a place has answered.
    pub(super) async fn heard_from(&mut self, word: Word) -> Result<(), String> {
        let now = Instant::now();
        match word {
            Word::Sent {
                place,
                units,
                answers,
            } => {
                self.places[place].line.sending -= 1;
                let mut later = None;
                for ((unit, request), answer) in units.into_iter().zip(answers) {
                    match answer {
                        Ok(handle) => self.handed_over(place, unit, handle, &request)?,
                        Err(SubmitError::Rejected(reason)) => {
                            if let Some(handing) = self.handing.remove(&unit) {
                                let cancelled = handing.cancelled;
                                self.not_launched(unit, handing.attempt, reason, cancelled)?;
                            }
                        }
                        Err(SubmitError::Later(reason) | SubmitError::Unreachable(reason)) => {
                            later = Some(reason);
                            self.take_back(unit);
                        }
                        Err(SubmitError::Uncertain(reason)) => {
                            self.say(&format!("{}: {reason}", request.key));
                            self.places[place].line.is_unsure(unit, now);
                        }
                    }
                }
                self.sent(place, now, later);
            }
            Word::Found {
                place,
                units,
                answers,
            } => {
                self.places[place].line.finding = false;
                match answers {
                    Ok(found) => {
                        let settles = self.places[place]
                            .scheduler
                            .as_ref()
                            .map_or(Duration::ZERO, |scheduler| scheduler.settles_after());
                        for ((unit, request), handle) in units.into_iter().zip(found) {
                            let line = &mut self.places[place].line;
                            let since = line
                                .unsure
                                .iter()
                                .find(|(known, _)| *known == unit)
                                .map_or(now, |(_, since)| *since);
                            match handle {
                                Some(handle) => {
                                    line.unsure.retain(|(known, _)| *known != unit);
                                    self.handed_over(place, unit, handle, &request)?;
                                }
                                None if now.duration_since(since) >= settles => {
                                    line.unsure.retain(|(known, _)| *known != unit);
                                    self.take_back(unit);
                                }
                                None => {}
                            }
                        }
                        let line = &mut self.places[place].line;
                        line.find_pause = Duration::ZERO;
                        line.find_at = (!line.unsure.is_empty()).then(|| now + LOOK_AGAIN);
                    }
                    Err(error) => {
                        let line = &mut self.places[place].line;
                        line.find_at = Some(now + longer(&mut line.find_pause));
                        self.say(&error.to_string());
                    }
                }
            }
            Word::Seen { place, answer } => {
                self.places[place].line.asking = false;
                let pace = self.places[place]
                    .scheduler
                    .as_ref()
                    .map_or(1.0, |scheduler| scheduler.pace());
                let again = std::mem::take(&mut self.places[place].line.ask_again);
                let pause = if again { 0.0 } else { pace };
                self.places[place].next_look = now + Duration::from_secs_f64(pause);
                if answer.is_ok() && std::mem::take(&mut self.places[place].line.unheard) {
                    self.look_for_early = true;
                }
                // Not being able to ask says nothing about the jobs.
                let mut answer = answer.unwrap_or_default();
                // In the jobs' order: what one reads in a log should not depend on a table's.
                answer.sort_by_key(|seen| self.active.get(&seen.handle).map(|one| one.unit));
                for seen in answer {
                    self.seen_elsewhere(place, seen).await?;
                }
            }
            Word::Cancelled {
                place,
                handles,
                mode,
                answer,
            } => {
                let line = &mut self.places[place].line;
                line.cancelling = false;
                match answer {
                    Ok(()) => {
                        line.cancel_pause = Duration::ZERO;
                        for handle in &handles {
                            if let Some(active) = self.active.get_mut(handle)
                                && active.given_up == GivenUp::Told
                            {
                                active.given_up = GivenUp::Heard;
                            }
                        }
                        // What follows is worth a look at once.
                        self.places[place].next_look = now;
                    }
                    Err(error) => {
                        line.cancel_at = Some(now + longer(&mut line.cancel_pause));
                        let known = &self.active;
                        let open = handles
                            .into_iter()
                            .filter(|handle| known.contains_key(handle))
                            .map(|handle| (handle, mode));
                        self.places[place].line.cancels.extend(open);
                        self.say(&error.to_string());
                    }
                }
            }
            Word::Forgotten => self.forgetting -= 1,
            Word::Kept { handle, observed } => {
                if let Some(active) = self.active.get_mut(&handle) {
                    active.keeping = false;
                    self.observed(&handle, observed).await?;
                }
            }
        }
        Ok(())
    }

    /// A batch was sent, or could not be and why.
    fn sent(&mut self, place: usize, now: Instant, later: Option<String>) {
        let executor = self.executor_name(place);
        let line = &mut self.places[place].line;
        let Some(reason) = later else {
            line.pause = Duration::ZERO;
            line.send_at = None;
            if self.unsent.clear(&executor) {
                self.say(&format!("{executor}: sent again"));
            }
            return;
        };
        if line.send_at.is_some_and(|at| at > now) {
            // Another that was on its way has heard the same.
            return;
        }
        let pause = longer(&mut line.pause);
        line.send_at = Some(now + pause);
        let clock = self.context.clock.now();
        let again = clock.plus_seconds(pause.as_secs_f64());
        self.unsent.set(&executor, &reason, clock, again);
        let seconds = pause.as_secs_f64();
        self.say(&format!(
            "{executor}: not sent, tried again in {seconds} s: {reason}"
        ));
    }

    fn executor_name(&self, place: usize) -> String {
        let name = self.plan.executors.keys().nth(place);
        name.cloned().unwrap_or_default()
    }

    /// What a job must not leave at its place is removed there.
    pub(super) fn forget_elsewhere(&mut self, place: usize, handle: &Handle) {
        if let Some(scheduler) = self.places[place].scheduler.clone()
            && self.is_elsewhere(place)
        {
            self.forgetting += 1;
            let (handle, words) = (handle.clone(), self.words.clone());
            tokio::spawn(async move {
                scheduler.forget(&handle).await;
                let _ = words.send(Word::Forgotten);
            });
        }
    }

    /// The experiment is over: what whoever died before could not take away goes now.
    pub(super) async fn leave_places(&mut self) {
        for place in 0..self.places.len() {
            if self.is_elsewhere(place)
                && let Ok(scheduler) = self.scheduler(place)
            {
                let left = scheduler.leave(self.id);
                let _ = tokio::time::timeout(KEEP_LIMIT, left).await;
            }
        }
    }

    /// An end is told once the logs are here, so that whoever hears of it finds them.
    async fn seen_elsewhere(&mut self, place: usize, seen: Observation) -> Result<(), String> {
        let over = matches!(
            seen.observed,
            Observed::Ended(_) | Observed::Restarted { .. }
        );
        let at = &self.places[place];
        let tunnels = at.scheduler.as_ref().map(|scheduler| scheduler.tunnels());
        let folders = at.executor.experiment_dirs(&self.dir);
        let machines: Vec<_> = tunnels
            .into_iter()
            .flatten()
            .zip(folders)
            .filter(|(_, there)| *there != self.dir)
            .collect();
        if self
            .active
            .get(&seen.handle)
            .is_none_or(|active| active.keeping)
        {
            // It is looked at again when its logs are here.
            return Ok(());
        }
        let active = self.active.get_mut(&seen.handle);
        let (true, false, Some(active)) = (over, machines.is_empty(), active) else {
            return self.observed(&seen.handle, seen.observed).await;
        };
        let first = seen.handle.attempt().unwrap_or(active.attempt);
        let known = matches!(seen.observed, Observed::Restarted { count, .. } if first + count <= active.attempt);
        if known || std::mem::replace(&mut active.keeping, true) {
            return Ok(());
        }
        let unit = active.unit;
        let mut jobs = Vec::new();
        for job in self.engine.members(unit) {
            jobs.push(self.planned(job)?.name);
        }
        let (here, words) = (self.dir.clone(), self.words.clone());
        tokio::spawn(async move {
            let mut copies = tokio::task::JoinSet::new();
            for (tunnel, there) in machines {
                let (here, jobs) = (here.clone(), jobs.clone());
                copies.spawn(async move {
                    // What did not come is fetched when somebody asks for it.
                    let _ = mirror_once(tunnel.as_ref(), &there, &here, &jobs).await;
                });
            }
            let _ = tokio::time::timeout(KEEP_LIMIT, copies.join_all()).await;
            let _ = words.send(Word::Kept {
                handle: seen.handle,
                observed: seen.observed,
            });
        });
        Ok(())
    }

    /// A unit has arrived at its place.
    fn handed_over(
        &mut self,
        place: usize,
        unit: u32,
        handle: Handle,
        request: &Request,
    ) -> Result<(), String> {
        let Some(handing) = self.handing.remove(&unit) else {
            return Ok(());
        };
        for job in self.engine.members(unit) {
            self.engine
                .submitted(job, handing.attempt)
                .map_err(|error| error.to_string())?;
            self.record(EventKind::Submitted {
                job,
                attempt: handing.attempt,
                handle: handle.clone(),
            });
        }
        self.watch_elsewhere(place, handle.clone(), unit, handing.attempt, request);
        if let (Some(mode), Some(active)) = (handing.cancelled, self.active.get_mut(&handle)) {
            active.cancelled = Some(mode);
            self.cancel_elsewhere(place, handle, mode);
        }
        self.places[place].next_look = Instant::now();
        self.look_for_early = true;
        Ok(())
    }

    fn watch_elsewhere(
        &mut self,
        place: usize,
        handle: Handle,
        unit: u32,
        attempt: u32,
        request: &Request,
    ) {
        if let Some(scheduler) = &self.places[place].scheduler {
            scheduler.watch(&handle, request);
        }
        self.track(handle, unit, attempt, place, false);
    }

    /// What was handed over before this process was there: with its handle, or perhaps handed over.
    pub(super) fn recover_elsewhere(&mut self) -> Result<(), String> {
        let open = self
            .reader
            .open_attempts(self.number)
            .map_err(|error| error.to_string())?;
        let now = Instant::now();
        for row in open {
            let unit = self.engine.members(row.job)[0];
            let place = self.engine.executor_of(unit);
            if unit != row.job
                || !self.is_elsewhere(place)
                || self.engine.has_ended(unit, row.attempt)
            {
                continue;
            }
            self.engine.handed(unit);
            let scheduler: Result<Arc<dyn Scheduler>, String> = self.scheduler(place);
            scheduler?;
            match row.handle {
                Some(handle) => {
                    // A restarted job keeps the key, and so the request, of its first attempt.
                    let first = handle.attempt().unwrap_or(row.attempt);
                    let (_, request) = self.render(unit, first)?;
                    self.watch_elsewhere(place, handle, unit, row.attempt, &request);
                    self.places[place].line.unheard = true;
                }
                None => {
                    let handing = Handing {
                        attempt: row.attempt,
                        cancelled: None,
                    };
                    self.handing.insert(unit, handing);
                    self.places[place].line.is_unsure(unit, now);
                }
            }
        }
        Ok(())
    }

    /// The place has started a job anew by itself: the attempt before is over, the next one is under way.
    pub(super) fn restarted(
        &mut self,
        handle: &Handle,
        count: u32,
        ends: Vec<MemberEnd>,
        free: bool,
    ) -> Result<(), String> {
        let Some(&Active {
            unit,
            attempt,
            place,
            cancelled,
            given_up,
            ..
        }) = self.active.get(handle)
        else {
            return Ok(());
        };
        let first = handle.attempt().unwrap_or(attempt);
        // They are told in order, and again.
        if first + count != attempt + 1 {
            return Ok(());
        }
        let goes_on = self.may_go_on(unit, attempt, &ends, cancelled, free)?;
        if !goes_on && given_up != GivenUp::Heard {
            // Its end is told once its place will not start it again: who takes over before that finds it, and does the same.
            if given_up == GivenUp::No {
                if let Some(active) = self.active.get_mut(handle) {
                    active.given_up = GivenUp::Told;
                }
                self.cancel_elsewhere(place, handle.clone(), CancelMode::Terminate);
            }
            return Ok(());
        }
        self.end_restarted(unit, attempt, ends, cancelled, free)?;
        if !goes_on {
            self.active.remove(handle);
            self.places[place].in_flight -= 1;
            return Ok(());
        }
        self.engine.handed(unit);
        for job in self.engine.members(unit) {
            self.engine
                .submitted(job, attempt + 1)
                .map_err(|error| error.to_string())?;
            self.record(EventKind::Submitted {
                job,
                attempt: attempt + 1,
                handle: handle.clone(),
            });
        }
        if let Some(active) = self.active.get_mut(handle) {
            active.attempt = attempt + 1;
            active.started = false;
            active.told = None;
        }
        Ok(())
    }
}
