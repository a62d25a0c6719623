//! How a unit's containers have ended: what their agents left, and where they left nothing, what the engine says.

use mizzen_agent::protocol::{EXIT_RECORD, EndHow};
use mizzen_agent::record::{ExitRecord, Outcome};

use super::super::engine::{LIMIT, Refusal, State, read_state, refusal, words};
use super::host::Left;
use super::{Part, Seen, Shared, Watched};
use crate::executor::{MemberEnd, ObserveError, end_from_record};
use crate::model::{Cause, JobState};
use crate::tunnel::Cmd;

/// The statuses of an agent that took nothing on (`mizzen-agent --help`).
const NOT_TAKEN: i32 = 75;

impl Shared {
    /// What agents have left of each container.
    async fn records(&self, job: &Watched) -> Result<Vec<Left>, ObserveError> {
        let mut left = vec![Left::Nothing; job.parts.len()];
        for (host, at) in self.hosts.iter().enumerate() {
            let here: Vec<usize> = (0..job.parts.len())
                .filter(|part| job.parts[*part].host == host)
                .collect();
            if here.is_empty() {
                continue;
            }
            let paths: Vec<String> = here
                .iter()
                .map(|part| format!("{}/{EXIT_RECORD}", job.parts[*part].record_dir))
                .collect();
            let found = at.left(&paths).await;
            let found = found.map_err(|error| ObserveError(error.to_string()))?;
            for (part, one) in here.into_iter().zip(found) {
                left[part] = one;
            }
        }
        Ok(left)
    }

    /// Which of its containers have left a claim or a record.
    pub(super) async fn left_something(&self, job: &Watched) -> Result<Vec<bool>, ObserveError> {
        let left = self.records(job).await?;
        Ok(left.iter().map(|one| *one != Left::Nothing).collect())
    }

    /// How each member of a unit has ended whose containers have all ended.
    pub(super) async fn conclude(&self, job: &Watched) -> Result<Vec<MemberEnd>, ObserveError> {
        let left = self.records(job).await?;
        let mut ends = Vec::with_capacity(job.members);
        for member in 0..job.members {
            let parts: Vec<(&Part, &Left)> = job
                .parts
                .iter()
                .zip(&left)
                .filter(|(part, _)| part.member == member)
                .collect();
            ends.push(self.member(job, &parts).await?);
        }
        Ok(ends)
    }

    async fn member(
        &self,
        job: &Watched,
        parts: &[(&Part, &Left)],
    ) -> Result<MemberEnd, ObserveError> {
        let records: Vec<Option<ExitRecord>> = parts
            .iter()
            .map(|(_, left)| record_of(left, &job.key))
            .collect();
        if let [(part, left)] = parts {
            return match records.into_iter().next().flatten() {
                Some(record) => {
                    let killed = part.killed
                        && record.outcome == Outcome::Interrupted
                        && self.goes_on(part.host).await;
                    let part = Part {
                        killed,
                        ..(*part).clone()
                    };
                    Ok(with_record(job, &part, record))
                }
                None => self.without_record(job, part, left).await,
            };
        }
        if records.iter().any(Option::is_some)
            && let Some(merged) = self.merged(job, parts, &records).await?
        {
            let first = parts[0].0;
            let part = Part {
                out_of_memory: parts.iter().any(|(part, _)| part.out_of_memory),
                killed: parts.iter().any(|(part, _)| part.killed) && self.goes_on(first.host).await,
                ..parts[0].0.clone()
            };
            let lost = records.iter().position(Option::is_none);
            if let (Some(lost), Outcome::Succeeded | Outcome::Interrupted) = (lost, merged.outcome)
            {
                let (part, left) = parts[lost];
                let end = self.without_record(job, part, left).await?;
                return Ok(MemberEnd {
                    record: Some(merged),
                    ..end
                });
            }
            return Ok(with_record(job, &part, merged));
        }
        let (part, left) = parts[0];
        self.without_record(job, part, left).await
    }

    /// One record of a member's nodes: the agent at the first one's host makes it, from all of theirs.
    async fn merged(
        &self,
        job: &Watched,
        parts: &[(&Part, &Left)],
        records: &[Option<ExitRecord>],
    ) -> Result<Option<ExitRecord>, ObserveError> {
        let first = parts[0].0;
        let host = &self.hosts[first.host];
        let facts = host.facts(&self.engine).await;
        let facts = facts.map_err(|error| ObserveError(error.to_string()))?;
        let (Some(agent), Some((attempt, _))) =
            (&facts.agent, first.record_dir.rsplit_once("/nodes/"))
        else {
            return Ok(None);
        };
        for (part, left) in parts.iter().filter(|(part, _)| part.host != first.host) {
            if let Left::Line(line) = left {
                let path = format!("nodes/{}/{EXIT_RECORD}", part.node);
                let written =
                    host.write(attempt, vec![(path, line.clone().into_bytes(), 0o600)], 0);
                written
                    .await
                    .map_err(|error| ObserveError(error.to_string()))?;
            }
        }
        let status = parts.iter().find_map(|(part, _)| match part.seen {
            Seen::Exited(Some(0)) => None,
            Seen::Exited(code) => code.or(Some(1)),
            _ => Some(1),
        });
        let name = records.iter().flatten().next().map(|one| one.name.clone());
        let ranks: u32 = parts.iter().map(|(part, _)| part.ranks).sum();
        let (ranks, per_node) = (ranks.to_string(), first.ranks.to_string());
        let (name, status) = (name.unwrap_or_default(), status.unwrap_or(0).to_string());
        let mut words = vec![agent.as_str(), "conclude"];
        words.extend(["--attempt", attempt, "--key", &job.key, "--name", &name]);
        words.extend([
            "--ranks",
            &ranks,
            "--per-node",
            &per_node,
            "--status",
            &status,
        ]);
        if job.cancelled {
            words.extend(["--end", "cancelled"]);
        }
        let command = Cmd::new(words).timeout(LIMIT);
        let concluded = host.tunnel.run(&command).await;
        concluded
            .and_then(|finished| finished.ok(&command))
            .map_err(|error| ObserveError(error.to_string()))?;
        let left = host.left(&[format!("{attempt}/{EXIT_RECORD}")]).await;
        let left = left.map_err(|error| ObserveError(error.to_string()))?;
        Ok(left.first().and_then(|left| record_of(left, &job.key)))
    }

    /// What the engine says of a container that left no record.
    async fn without_record(
        &self,
        job: &Watched,
        part: &Part,
        left: &Left,
    ) -> Result<MemberEnd, ObserveError> {
        let failed = |cause, words: String| end(JobState::Failed, cause, words);
        let cancelled = |words: &str| end(JobState::Cancelled, Cause::Cancelled, words.to_owned());
        let host = &self.hosts[part.host];
        let command = self.engine.inspect(&part.name);
        let finished = host.tunnel.run(&command).await;
        let finished = finished.map_err(|error| ObserveError(error.to_string()))?;
        let said = words(&finished.stderr);
        let answer = String::from_utf8_lossy(&finished.stdout);
        let state = read_state(&answer).map(|(_, state)| state);
        let Some(state) = state else {
            if refusal(&said) != Refusal::NoContainer {
                // An engine that is being stopped has sent the signals itself.
                self.forget_signals(part.host);
                return Err(ObserveError(said));
            }
            return Ok(
                match (job.cancelled, part.killed || part.seen == Seen::Gone) {
                    (true, _) => cancelled("it was ended before it began"),
                    (false, true) if !job.found => {
                        cancelled("its container was removed by somebody else")
                    }
                    (false, _) => failed(
                        Cause::Lost,
                        format!(
                            "its container {} is gone from {}, and it left no record",
                            part.name, host.name
                        ),
                    ),
                },
            );
        };
        Ok(match left {
            _ if job.cancelled => cancelled("it was ended before it wrote a record"),
            _ if part.out_of_memory || state.out_of_memory => failed(
                Cause::OutOfMemory,
                "it used more memory than its container may have".to_owned(),
            ),
            _ if part.killed => cancelled("its container was killed or removed by somebody else"),
            _ if !state.error.is_empty() => failed(Cause::LaunchFailure, state.error),
            Left::Claim if self.has_agent(part.host).await => failed(
                Cause::NodeFailure,
                format!(
                    "its container was ended with all that was in it (status {}): the engine or the machine was stopped",
                    state.exit_code
                ),
            ),
            Left::Claim => by_status(&state),
            Left::Nothing | Left::Line(_) => {
                let logs = self.last_words(part).await;
                let words = match (state.exit_code, logs.as_str()) {
                    (NOT_TAKEN, "") => "its folder was claimed by another".to_owned(),
                    (code, "") => format!("its container ended with status {code} before it began"),
                    (_, words) => words.to_owned(),
                };
                failed(Cause::LaunchFailure, words)
            }
        })
    }

    /// The engine takes questions. One that is being stopped ends its containers as anybody would who tells it to, but takes no
    /// new connections meanwhile.
    async fn goes_on(&self, host: usize) -> bool {
        let command = self
            .engine
            .command(["version", "--format={{.Server.Version}}"]);
        let answer = self.hosts[host].tunnel.run(&command).await;
        let goes_on = answer.is_ok_and(|finished| finished.status == 0);
        if !goes_on {
            self.forget_signals(host);
        }
        goes_on
    }

    fn forget_signals(&self, host: usize) {
        let mut state = self.lock();
        let parts = state.jobs.values_mut().flat_map(|job| &mut job.parts);
        for part in parts.filter(|part| part.host == host) {
            part.killed = false;
        }
    }

    async fn has_agent(&self, host: usize) -> bool {
        let facts = self.hosts[host].facts(&self.engine).await;
        facts.is_ok_and(|facts| facts.agent.is_some())
    }

    /// What a container has said itself: the agent's words, or those of an entry point that did not start it.
    async fn last_words(&self, part: &Part) -> String {
        let command = self.engine.command(["logs", "--tail=5", &part.name]);
        match self.hosts[part.host].tunnel.run(&command).await {
            Ok(finished) => {
                let mut text = finished.stdout;
                text.extend_from_slice(&finished.stderr);
                words(&text)
            }
            Err(_) => String::new(),
        }
    }

    /// What follows for the others from those containers that have ended; `None`: nothing.
    pub(super) async fn follows(&self, job: &Watched) -> Result<Option<EndHow>, ObserveError> {
        let left = self.records(job).await?;
        let mut follows = None;
        for (part, left) in job.parts.iter().zip(&left) {
            if !part.has_ended() {
                continue;
            }
            let well = match record_of(left, &job.key) {
                Some(record) => matches!(record.outcome, Outcome::Succeeded | Outcome::GroupEnded),
                None => part.seen == Seen::Exited(Some(0)),
            };
            match (well, part.leader) {
                (false, _) => return Ok(Some(EndHow::GroupFailed)),
                (true, true) => follows = Some(EndHow::GroupEnded),
                (true, false) => {}
            }
        }
        Ok(follows)
    }
}

fn record_of(left: &Left, key: &str) -> Option<ExitRecord> {
    let Left::Line(line) = left else {
        return None;
    };
    let record: ExitRecord = serde_json::from_str(line).ok()?;
    (record.key == key).then_some(record)
}

fn end(state: JobState, cause: Cause, words: String) -> MemberEnd {
    MemberEnd {
        state,
        cause: Some(cause),
        message: Some(words),
        record: None,
    }
}

/// What the record means, with what the engine knows beside it.
fn with_record(job: &Watched, part: &Part, record: ExitRecord) -> MemberEnd {
    let outcome = record.outcome;
    let signal = record
        .first_failure
        .as_ref()
        .and_then(|first| record.ranks.get(first.rank as usize))
        .and_then(|rank| rank.signal);
    let mut told = end_from_record(record);
    match outcome {
        Outcome::Interrupted if job.cancelled => {
            told.state = JobState::Cancelled;
            told.cause = Some(Cause::Cancelled);
            told.message = None;
        }
        Outcome::Interrupted if part.killed => {
            told.state = JobState::Cancelled;
            told.cause = Some(Cause::Cancelled);
            told.message = Some("its container was stopped by somebody else".to_owned());
        }
        Outcome::Interrupted => {
            told.message = Some("the engine, or its machine, was stopped".to_owned());
        }
        Outcome::Failed if part.out_of_memory && signal == Some(libc::SIGKILL) => {
            told.cause = Some(Cause::OutOfMemory);
            told.message = Some("it used more memory than its container may have".to_owned());
        }
        Outcome::LaunchFailed => {
            if let Some(words) = &mut told.message
                && words.contains("not a program of this machine's kind")
            {
                words.push_str("; the image may be for another kind of processor: see `platform`");
            }
        }
        _ => {}
    }
    told
}

/// A container without the agent: its status is all there is.
fn by_status(state: &State) -> MemberEnd {
    match state.exit_code {
        0 => MemberEnd {
            state: JobState::Succeeded,
            cause: None,
            message: Some("the engine says that it has ended well; it left no record".to_owned()),
            record: None,
        },
        code => end(
            JobState::Failed,
            Cause::AppFailure,
            format!("it ended with status {code} and left no record"),
        ),
    }
}
