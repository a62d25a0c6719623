//! What others ask for, cancels and retries, and what the writer tells.

use super::super::writer::News;
use super::Supervisor;
use crate::model::{CancelMode, EventKind};
use crate::plan::OnFailure;

impl Supervisor<'_> {
    pub(super) async fn hear(&mut self, news: News) -> Result<(), String> {
        match news {
            News::Stalled(reason) => {
                self.stalled = true;
                self.say(&format!(
                    "nothing new is started while the store can't be written: {reason}"
                ));
            }
            News::Recovered => {
                self.stalled = false;
                self.say("the store can be written again");
            }
            News::Lost(reason) => return Err(reason),
            News::Requests(requests) => {
                if requests
                    .iter()
                    .any(|(_, request)| matches!(request, EventKind::Reset { .. }))
                {
                    self.reopen().await?;
                }
                for (_, request) in requests {
                    if let EventKind::CancelRequested { jobs, mode } = request {
                        self.cancel(&jobs, mode).await;
                    }
                }
            }
        }
        Ok(())
    }

    /// Jobs were set back in the store: the graph is made again from there. What runs goes on.
    pub(super) async fn reopen(&mut self) -> Result<(), String> {
        self.writer.events(std::mem::take(&mut self.pending));
        self.writer.flush().await;
        (_, self.engine) =
            crate::watch::reopen(&self.reader, self.id).map_err(|error| error.to_string())?;
        self.cancelled_all = false;
        self.drained = false;
        for active in self.active.values().filter(|active| !active.started) {
            // Sent already, and not seen to start yet.
            self.engine.handed(active.unit);
        }
        for unit in self.handing.keys() {
            self.engine.handed(*unit);
        }
        self.engine.begin();
        Ok(())
    }

    /// After a failure for good, if the experiment asks for it: what runs is ended, once.
    pub(super) async fn cancel_after_failure(&mut self) {
        let wanted = self.plan.on_failure == OnFailure::Cancel && self.engine.draining().is_some();
        if wanted && !std::mem::replace(&mut self.drained, true) {
            let running: Vec<u32> = self.active.values().map(|active| active.unit).collect();
            if !running.is_empty() {
                self.cancel(&running, CancelMode::Terminate).await;
            }
        }
    }

    /// Ends jobs: those that wait at once, those that run through their place. No jobs means all.
    pub(super) async fn cancel(&mut self, jobs: &[u32], mode: CancelMode) {
        let all: Vec<u32> = (0..self.engine.len() as u32).collect();
        self.cancelled_all |= jobs.is_empty();
        let jobs = if jobs.is_empty() { &all[..] } else { jobs };
        let waiting: Vec<u32> = jobs
            .iter()
            .flat_map(|job| self.engine.members(*job))
            .collect();
        for event in self.engine.cancel_waiting(&waiting) {
            self.record(event);
        }
        let mut running = Vec::new();
        for (handle, active) in &mut self.active {
            let wanted = jobs.len() == all.len()
                || self
                    .engine
                    .members(active.unit)
                    .iter()
                    .any(|job| jobs.contains(job));
            if wanted && (active.cancelled.is_none() || mode == CancelMode::Kill) {
                active.cancelled = Some(mode);
                running.push((handle.clone(), active.place));
            }
        }
        for (unit, handing) in &mut self.handing {
            let wanted = jobs.len() == all.len()
                || self
                    .engine
                    .members(*unit)
                    .iter()
                    .any(|job| jobs.contains(job));
            if wanted {
                handing.cancelled = Some(mode);
            }
        }
        for (handle, place) in running {
            if self.is_elsewhere(place) {
                self.cancel_elsewhere(place, handle, mode);
                continue;
            }
            if let Some(scheduler) = self.places[place].scheduler.clone()
                && let Err(error) = scheduler.cancel(&handle, mode).await
            {
                self.say(&format!("{handle}: {error}"));
            }
        }
    }
}
