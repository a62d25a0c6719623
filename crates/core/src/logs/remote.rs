//! Logs of jobs whose files are at another place: copied into the experiment's folder here, where everything reads them.
//!
//! ```text
//! plan, view, chosen jobs ─▶ Place (tunnel, folder there, jobs) ─ fetch ────────▶ what is there now
//!                                                               └ follow_places ▶ as it is written ◀─ Mirroring: a thread
//! ```
//!
//! A place that can't be reached fails nothing: what is here can be read, and the reader is told once why there may be
//! more.

use std::sync::{Arc, mpsc as words};
use std::thread::JoinHandle;
use std::time::Duration;

use camino::Utf8PathBuf;
use mizzen_agent::protocol::EXIT_RECORD;
use tokio::sync::{mpsc, oneshot, watch};

use super::attempt_dir;
use crate::context::Context;
use crate::executor;
use crate::plan::Plan;
use crate::store::ExperimentView;
use crate::tunnel::{Tunnel, TunnelError, mirror, mirror_once};

/// How long the last bytes may take once nobody follows any more.
const LAST_LIMIT: Duration = Duration::from_secs(10);

/// A place of some jobs, with files that are not ours.
struct Place {
    tunnel: Arc<dyn Tunnel>,
    there: Utf8PathBuf,
    here: Utf8PathBuf,
    jobs: Vec<String>,
}

/// The places of the chosen jobs (none: all) that don't see our files, and what is wrong with others.
fn places(
    context: &Context,
    plan: &Plan,
    view: &ExperimentView,
    jobs: &[u32],
) -> (Vec<Place>, Vec<String>) {
    let (mut places, mut wrong) = (Vec::new(), Vec::new());
    for (name, config) in &plan.executors {
        let chosen = view.jobs.iter().filter(|job| {
            *job.executor == **name && (jobs.is_empty() || jobs.contains(&job.index))
        });
        let chosen: Vec<String> = chosen.map(|job| job.name.clone()).collect();
        if chosen.is_empty() {
            continue;
        }
        let executor = match executor::build(name, config) {
            Ok(executor) => executor,
            Err(error) => {
                wrong.push(error.to_string());
                continue;
            }
        };
        let folders = executor.experiment_dirs(&view.dir);
        if folders.iter().all(|there| *there == view.dir) {
            continue;
        }
        match executor.scheduler(context) {
            Ok(scheduler) => {
                let machines = scheduler.tunnels().into_iter().zip(folders);
                places.extend(machines.filter(|(_, there)| *there != view.dir).map(
                    |(tunnel, there)| Place {
                        tunnel,
                        there,
                        here: view.dir.clone(),
                        jobs: chosen.clone(),
                    },
                ));
            }
            Err(error) => wrong.push(error.to_string()),
        }
    }
    (places, wrong)
}

/// Whether some of the chosen jobs (none: all) run where our files are not seen.
#[must_use]
pub fn are_elsewhere(plan: &Plan, view: &ExperimentView, jobs: &[u32]) -> bool {
    plan.executors.iter().any(|(name, config)| {
        executor::build(name, config).is_ok_and(|executor| {
            let folders = executor.experiment_dirs(&view.dir);
            folders.iter().any(|there| *there != view.dir)
        }) && view
            .jobs
            .iter()
            .any(|job| *job.executor == **name && (jobs.is_empty() || jobs.contains(&job.index)))
    })
}

/// Of the chosen jobs (none: all), those that may have written what is not here if they run elsewhere: they go on, or an
/// attempt's record is not here, which comes after its logs.
#[must_use]
pub fn may_be_incomplete(view: &ExperimentView, jobs: &[u32]) -> Vec<u32> {
    let chosen = view
        .jobs
        .iter()
        .filter(|job| jobs.is_empty() || jobs.contains(&job.index));
    let incomplete = chosen.filter(|job| {
        let mut attempts = job.attempts.iter();
        let recorded = |number| attempt_dir(view, job, number).join(EXIT_RECORD).exists();
        !job.attempts.is_empty()
            && (!job.state.is_final() || !attempts.all(|attempt| recorded(attempt.number)))
    });
    incomplete.map(|job| job.index).collect()
}

/// Copies what the chosen jobs (none: all) have written elsewhere by now. Blocks; a place that can't be reached costs one
/// sentence of the answer. `plan` may be one without jobs.
#[must_use]
pub fn fetch(context: &Context, plan: &Plan, view: &ExperimentView, jobs: &[u32]) -> Vec<String> {
    let (places, mut wrong) = places(context, plan, view, jobs);
    if places.is_empty() {
        return wrong;
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return vec![error.to_string()],
    };
    let failed = runtime.block_on(async {
        let mut copies = tokio::task::JoinSet::new();
        for place in places {
            copies.spawn(async move {
                mirror_once(&*place.tunnel, &place.there, &place.here, &place.jobs).await
            });
        }
        copies.join_all().await
    });
    let errors = failed.into_iter().filter_map(Result::err);
    wrong.extend(errors.map(|error| format!("{error}; what it has written since is not here")));
    wrong
}

/// Copies what the chosen jobs (none: all) write elsewhere, until `stop` resolves. `say` is given a sentence when a place
/// can't be reached, once until it is. `plan` may be one without jobs.
pub async fn follow_places(
    context: &Context,
    plan: &Plan,
    view: &ExperimentView,
    jobs: &[u32],
    stop: impl Future,
    say: &mut (dyn FnMut(String) + Send),
) {
    let (places, wrong) = places(context, plan, view, jobs);
    wrong.into_iter().for_each(&mut *say);
    let (told, mut telling) = mpsc::unbounded_channel();
    let (stopping, stopped) = watch::channel(false);
    let mut copies = tokio::task::JoinSet::new();
    for place in places {
        copies.spawn(place.follow(stopped.clone(), told.clone()));
    }
    drop(told);
    let ended = async {
        stop.await;
        let _ = stopping.send(true);
        tokio::time::sleep(LAST_LIMIT).await;
    };
    tokio::pin!(ended);
    loop {
        tokio::select! {
            words = telling.recv() => match words {
                Some(words) => say(words),
                // Each has ended.
                None => break,
            },
            () = &mut ended => break,
        }
    }
}

impl Place {
    async fn follow(self, mut stopped: watch::Receiver<bool>, told: mpsc::UnboundedSender<String>) {
        let broken = std::sync::atomic::AtomicBool::new(false);
        let say = |error: Option<&TunnelError>| {
            use std::sync::atomic::Ordering::Relaxed;
            let before = broken.swap(error.is_some(), Relaxed);
            if let (Some(error), false) = (error, before) {
                let _ = told.send(format!("{error}; logs go on when it is reached"));
            }
        };
        let until = async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        let ended = mirror(
            &*self.tunnel,
            &self.there,
            &self.here,
            &self.jobs,
            until,
            &say,
        );
        if let Err(error) = ended.await
            && !broken.load(std::sync::atomic::Ordering::Relaxed)
        {
            let _ = told.send(format!("{error}; what it has written since is not here"));
        }
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// A thread that copies what jobs write elsewhere, beside whoever shows it.
#[derive(Debug)]
pub struct Mirroring {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    words: words::Receiver<String>,
}

impl Mirroring {
    /// For the chosen jobs (none: all) of an experiment. `None`: all of them write here. `plan` may be one without jobs.
    #[must_use]
    pub fn start(
        context: &Context,
        plan: Plan,
        view: &ExperimentView,
        jobs: &[u32],
    ) -> Option<Mirroring> {
        if !are_elsewhere(&plan, view, jobs) {
            return None;
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let (told, words) = words::channel();
        let (context, view, jobs) = (context.clone(), view.clone(), jobs.to_vec());
        let work = move || {
            let mut say = |text: String| {
                let _ = told.send(text);
            };
            match runtime() {
                Ok(runtime) => runtime.block_on(follow_places(
                    &context, &plan, &view, &jobs, stopped, &mut say,
                )),
                Err(error) => say(error.to_string()),
            }
        };
        let name = "logs".to_owned();
        let thread = std::thread::Builder::new().name(name).spawn(work).ok()?;
        Some(Mirroring {
            stop: Some(stop),
            thread: Some(thread),
            words,
        })
    }

    /// What the reader should be told and has not been.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        self.words.try_iter().collect()
    }

    /// Copies what is there now and ends.
    pub fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
