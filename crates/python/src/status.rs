//! Experiments as JSON for Python: what `mizzen status --json` says, and what a program wants beside it.

use mizzen_core::executor;
use mizzen_core::logs;
use mizzen_core::model::Failure;
use mizzen_core::plan::Plan;
use mizzen_core::store::{AttemptView, ExperimentSummary, ExperimentView, JobView};
use serde_json::{Value, json};

/// The line of a list.
pub(crate) fn summary(summary: &ExperimentSummary) -> Value {
    json!({
        "id": summary.id,
        "title": summary.title,
        "state": summary.state,
        "created": summary.created.to_text(),
        "ended": summary.ended.map(|time| time.to_text()),
        "jobs": summary.counts.total(),
    })
}

/// An experiment with its jobs and their attempts.
pub(crate) fn document(view: &ExperimentView, plan: &Plan) -> Value {
    let mut document = summary(&view.summary);
    document["dir"] = json!(view.dir);
    document["sequence"] = json!(view.sequence);
    document["jobs"] = view.jobs.iter().map(|one| job(view, plan, one)).collect();
    document
}

fn job(view: &ExperimentView, plan: &Plan, job: &JobView) -> Value {
    let config = plan.executors.get(&*job.executor);
    let here = config
        .and_then(|config| executor::build(&job.executor, config).ok())
        .is_some_and(|executor| executor.capabilities().attached);
    let last = job.attempts.last();
    json!({
        "index": job.index,
        "name": job.name,
        "task": &*job.task,
        "group": job.group.as_deref(),
        "state": job.state,
        "cause": job.cause,
        "message": job.message,
        "executor": &*job.executor,
        "kind": config.map(|config| config.kind.as_str()),
        "handle": last.and_then(|attempt| attempt.handle.as_ref()),
        "retry_at": job.retry_at.map(|time| time.to_text()),
        "local": here,
        "dir": view.dir.join(&job.name),
        "attempts": job.attempts.iter().map(|one| attempt(view, job, one)).collect::<Vec<_>>(),
    })
}

fn attempt(view: &ExperimentView, job: &JobView, attempt: &AttemptView) -> Value {
    let dir = logs::attempt_dir(view, job, attempt.number);
    let record = attempt.record.as_ref();
    let first = record.and_then(|record| record.first_failure.as_ref());
    let began = attempt.started.is_some() || record.is_some();
    let log = began.then(|| logs::rank_log(&dir, first.map_or(0, |failure| failure.rank)));
    json!({
        "number": attempt.number,
        "state": attempt.state,
        "cause": attempt.cause,
        "exit_code": attempt.exit_code,
        "handle": attempt.handle,
        "started": attempt.started.map(|time| time.to_text()),
        "ended": attempt.ended.map(|time| time.to_text()),
        "nodes": &*attempt.nodes,
        "dir": dir,
        "log": log,
        "record": record,
        "usage": attempt.usage,
        "failure": record.and_then(Failure::of),
    })
}
