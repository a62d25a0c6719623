//! The live connection to the place where jobs run, and what it tells.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Request;
use crate::model::{
    CancelMode, Cause, ExitRecord, ExperimentId, Handle, JobState, Outcome, SubmissionKey,
    Timestamp,
};
use crate::tunnel::{Tunnel, TunnelError};

/// A live connection to the place where jobs run.
#[async_trait]
pub trait Scheduler: Send + Sync {
    /// Something will soon be sent: makes the way there ready, as far as that takes time. What goes wrong shows when it is
    /// used.
    async fn prepare(&self) {}

    /// Sends a request.
    async fn submit(&self, request: &Request) -> Result<Handle, SubmitError>;

    /// Sends several requests, for places where that is cheaper than one after the other; one answer for each.
    async fn submit_many(&self, requests: &[Request]) -> Vec<Result<Handle, SubmitError>> {
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            answers.push(self.submit(request).await);
        }
        answers
    }

    /// Is told of a job that is watched from now on: one that was submitted, found, or known from before. Told of each
    /// handle before it is observed.
    fn watch(&self, handle: &Handle, request: &Request) {
        let _ = (handle, request);
    }

    /// Looks for what was submitted under a key. `None`: the place was asked and has nothing under it.
    async fn find(
        &self,
        key: &SubmissionKey,
        request: &Request,
    ) -> Result<Option<Handle>, ObserveError>;

    /// Looks for several at once; one answer for each.
    async fn find_many(&self, requests: &[Request]) -> Result<Vec<Option<Handle>>, ObserveError> {
        let mut found = Vec::with_capacity(requests.len());
        for request in requests {
            found.push(self.find(&request.key, request).await?);
        }
        Ok(found)
    }

    /// Asks for many jobs at once. A handle that the place says nothing about has no observation: that is not an end.
    async fn observe(&self, handles: &[Handle]) -> Result<Vec<Observation>, ObserveError>;

    /// Resolves when asking again is worth it before the usual time. A place that can't tell never resolves.
    async fn changed(&self) {
        std::future::pending::<()>().await;
    }

    /// What kept requests from being taken ([`SubmitError::Later`]) is over: asked when something has changed, answered once.
    fn wants_again(&self) -> bool {
        false
    }

    /// A submission whose answer was lost may still be on its way for so long: not finding it counts as an answer only after
    /// that. Nothing at a place where a key can be used once only.
    fn settles_after(&self) -> Duration {
        // Slurm's MessageTimeout is 10 s.
        Duration::from_secs(20)
    }

    /// A job that was watched is over for good: what must not stay at its place is removed there, as far as possible.
    async fn forget(&self, handle: &Handle) {
        let _ = handle;
    }

    /// All jobs of an experiment are over: what is left of any of them, and must not stay, is removed, as far as possible.
    async fn leave(&self, experiment: &ExperimentId) {
        let _ = experiment;
    }

    /// The way to the place's files, where they are not ours.
    fn tunnel(&self) -> Option<Arc<dyn Tunnel>> {
        None
    }

    /// The ways to all machines that keep the place's files, where they are not ours; in the order of
    /// [`super::Executor::experiment_dirs`].
    fn tunnels(&self) -> Vec<Arc<dyn Tunnel>> {
        self.tunnel().into_iter().collect()
    }

    /// Seconds between two observations, if nothing changes before.
    fn pace(&self) -> f64;

    /// Asks a job to end. Asking twice, or for one that has ended, is no error.
    async fn cancel(&self, handle: &Handle, mode: CancelMode) -> Result<(), CancelError>;

    /// Asks several to end.
    async fn cancel_many(&self, handles: &[Handle], mode: CancelMode) -> Result<(), CancelError> {
        for handle in handles {
            self.cancel(handle, mode).await?;
        }
        Ok(())
    }
}

/// What was seen of one job.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The job.
    pub handle: Handle,
    /// What was seen.
    pub observed: Observed,
}

/// What can be seen of a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Observed {
    /// It waits; the place's own words say for what.
    Pending(String),
    /// It runs.
    Running {
        /// The machines.
        nodes: Vec<String>,
        /// Since when.
        since: Timestamp,
    },
    /// Its place has started it anew by itself, or is about to: the attempt before has ended, and the job goes on under
    /// the same handle as the next attempt.
    Restarted {
        /// How many times that has happened to the job. It is told for each, and may be told again.
        count: u32,
        /// How the attempt before ended: one end for each member of the unit, in order.
        ends: Vec<MemberEnd>,
        /// The place's own restarts cost no budget.
        free: bool,
    },
    /// Its place has given it up before it began: what it waits for there can't happen any more.
    NeverSatisfied,
    /// It has ended: one end for each member of the unit, in order.
    Ended(Vec<MemberEnd>),
    /// The place could not take it now; it is as if it had never been sent.
    Bounced(String),
    /// The place says a word that is not known here.
    Unknown(String),
}

/// How one member of a unit ended.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberEnd {
    /// `SUCCEEDED`, `FAILED` or `CANCELLED`.
    pub state: JobState,
    /// Why, unless it succeeded.
    pub cause: Option<Cause>,
    /// A sentence for people, where the record does not say enough.
    pub message: Option<String>,
    /// The agent's record, where there is one.
    pub record: Option<ExitRecord>,
}

/// What the agent's record means for the job.
#[must_use]
pub fn end_from_record(record: ExitRecord) -> MemberEnd {
    let (state, cause) = match record.outcome {
        Outcome::Succeeded | Outcome::GroupEnded => (JobState::Succeeded, None),
        Outcome::Failed => (JobState::Failed, Some(Cause::AppFailure)),
        Outcome::LaunchFailed => (JobState::Failed, Some(Cause::LaunchFailure)),
        Outcome::OutOfMemory => (JobState::Failed, Some(Cause::OutOfMemory)),
        Outcome::Hung => (JobState::Failed, Some(Cause::Hung)),
        Outcome::TimedOut => (JobState::Failed, Some(Cause::Timeout)),
        Outcome::Interrupted => (JobState::Failed, Some(Cause::Preempted)),
        Outcome::Cancelled => (JobState::Cancelled, Some(Cause::Cancelled)),
        Outcome::GroupFailed => (JobState::Cancelled, Some(Cause::UpstreamFailed)),
    };
    let message = match record.outcome {
        Outcome::GroupEnded => Some("ended with its group's leader".to_owned()),
        Outcome::GroupFailed => Some("ended because another job of its group failed".to_owned()),
        Outcome::LaunchFailed => record.ranks.iter().find_map(|rank| rank.error.clone()),
        Outcome::Interrupted => {
            Some("the agent beside the job was told to end by a signal".to_owned())
        }
        _ => None,
    };
    MemberEnd {
        state,
        cause,
        message,
        record: Some(record),
    }
}

/// A request could not be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The place looked at it and does not want it.
    #[error("refused: {0}")]
    Rejected(String),
    /// The place could not be reached; nothing was sent.
    #[error("not reached: {0}")]
    Unreachable(String),
    /// The place takes no more for now (a limit, an overload); nothing was sent.
    #[error("not now: {0}")]
    Later(String),
    /// It was sent, and whether it arrived is not known: look for the key before sending it again.
    #[error("uncertain: {0}")]
    Uncertain(String),
}

/// What a tunnel's error means for a command that may have been run.
impl From<TunnelError> for SubmitError {
    fn from(error: TunnelError) -> SubmitError {
        let words = error.to_string();
        match error {
            TunnelError::Interrupted { .. } | TunnelError::TimedOut { .. } => {
                SubmitError::Uncertain(words)
            }
            TunnelError::Unsendable(_)
            | TunnelError::Path { .. }
            | TunnelError::PreCommand { .. }
            | TunnelError::Failed { .. } => SubmitError::Rejected(words),
            _ => SubmitError::Unreachable(words),
        }
    }
}

/// The place could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("can't ask: {0}")]
pub struct ObserveError(pub String);

/// The place could not be told to end a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("can't cancel: {0}")]
pub struct CancelError(pub String);

/// The place can't be connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConnectError(pub String);
