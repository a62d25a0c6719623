//! The graph against its own rules: random graphs, random outcomes, cut and taken over anywhere.

use std::collections::BTreeSet;

use mizzen_core::model::{Cause, EventKind, FailureClass, Handle, JobState, Retry, Timestamp};
use mizzen_core::plan::{
    Dependency, ExecutorConfig, OnFailure, Plan, PlannedGroup, PlannedTask, When,
};
use mizzen_core::store::JobRow;
use mizzen_core::watch::Engine;
use proptest::prelude::*;

fn when() -> impl Strategy<Value = When> {
    prop_oneof![4 => Just(When::Ok), 1 => Just(When::Any), 1 => Just(When::Failed), 1 => Just(When::Start)]
}

/// Tasks of some jobs, each after some of the tasks before it; sometimes the last two are a group.
fn plans() -> impl Strategy<Value = Plan> {
    let task = (
        1u32..4,
        proptest::collection::vec((any::<u16>(), when()), 0..3),
    );
    (
        proptest::collection::vec(task, 1..12),
        0..3u8,
        any::<bool>(),
    )
        .prop_map(|(tasks, on_failure, grouped)| {
            let mut planned: Vec<PlannedTask> = Vec::new();
            let mut first_job = 0;
            for (number, (jobs, after)) in tasks.into_iter().enumerate() {
                let mut seen = BTreeSet::new();
                let after = after
                    .into_iter()
                    .filter(|_| number > 0)
                    .map(|(task, when)| Dependency {
                        task: u32::from(task) % number as u32,
                        when,
                    })
                    .filter(|dependency| seen.insert((dependency.task, dependency.when as u8)))
                    .collect();
                let (name, executor) = (format!("t{number}"), "here".to_owned());
                planned.push(PlannedTask {
                    name,
                    first_job,
                    jobs,
                    executor,
                    after,
                    group: None,
                });
                first_job += jobs;
            }
            let mut groups = Vec::new();
            let count = planned.len() as u32;
            if let ([.., left, right], true) = (planned.as_mut_slice(), grouped)
                && left.jobs == 1
                && right.jobs == 1
                && right
                    .after
                    .iter()
                    .all(|dependency| dependency.task + 2 != count)
            {
                left.group = Some(0);
                right.group = Some(0);
                let jobs = vec![left.first_job, right.first_job];
                groups.push(PlannedGroup {
                    name: "g".to_owned(),
                    jobs,
                    leader: None,
                });
            }
            let config = ExecutorConfig {
                kind: "none".to_owned(),
                settings: Default::default(),
            };
            Plan {
                code: Default::default(),
                title: "t".to_owned(),
                description: String::new(),
                on_failure: [OnFailure::Continue, OnFailure::Finish, OnFailure::Cancel]
                    [usize::from(on_failure)],
                executors: [("here".to_owned(), config)].into(),
                tasks: planned,
                groups,
                jobs: Vec::new(),
                files: Vec::new(),
            }
        })
}

fn name(job: u32) -> String {
    format!("job {job}")
}

/// What the store would have of the jobs.
struct Rows(Vec<JobRow>);

impl Rows {
    fn new(plan: &Plan) -> Rows {
        let jobs = plan.tasks.iter().map(|task| task.jobs as usize).sum();
        let row = JobRow {
            state: JobState::Unsubmitted,
            cause: None,
            attempts: 0,
            retry_at: None,
            spent: [0; 4],
        };
        Rows(vec![row; jobs])
    }

    fn apply(&mut self, event: &EventKind) {
        match event {
            EventKind::Started { job, attempt, .. } => {
                let row = &mut self.0[*job as usize];
                (row.state, row.attempts, row.cause, row.retry_at) =
                    (JobState::Running, *attempt, None, None);
            }
            EventKind::Ended {
                job,
                attempt,
                state,
                cause,
                retry,
                ..
            } => {
                let row = &mut self.0[*job as usize];
                (row.attempts, row.cause, row.state) = (*attempt, *cause, *state);
                if let Some(retry) = retry {
                    row.state = JobState::Pending;
                    row.retry_at = Some(retry.at);
                    row.spent[retry.class as usize] += 1;
                }
            }
            EventKind::Skipped { job, cause, .. } => {
                let row = &mut self.0[*job as usize];
                (row.state, row.cause) = (JobState::Cancelled, Some(*cause));
            }
            other => panic!("{other:?} is not used here"),
        }
    }
}

struct Run {
    rows: Vec<JobRow>,
    begun: Vec<(u32, u32)>,
    state: JobState,
}

/// Runs a plan to its end; `succeeds(job, attempt)` says how attempts end, and a failed one is tried again up to three
/// times if it ever succeeds. After `cut` steps the graph is thrown away and made again, as a take-over does.
fn run(plan: &Plan, succeeds: &dyn Fn(u32, u32) -> bool, cut: Option<usize>) -> Run {
    let mut rows = Rows::new(plan);
    let mut engine = Engine::new(plan);
    engine.restore(&rows.0);
    engine.begin();
    let mut begun = Vec::new();
    let mut waiting: Vec<u32> = Vec::new();
    for step in 0.. {
        if cut == Some(step) {
            engine = Engine::new(plan);
            engine.restore(&rows.0);
            engine.begin();
            let first = |job: &u32| {
                plan.groups
                    .iter()
                    .all(|group| !group.jobs[1..].contains(job))
            };
            waiting = (0..rows.0.len() as u32)
                .filter(|job| rows.0[*job as usize].retry_at.is_some())
                .filter(first)
                .collect();
        }
        for event in engine.settle(&name) {
            rows.apply(&event);
        }
        if let Some(state) = engine.outcome() {
            return Run {
                rows: rows.0,
                begun,
                state,
            };
        }
        let unit = engine.next_ready(0).or_else(|| {
            engine.retry_due(waiting.pop()?);
            engine.next_ready(0)
        });
        let Some(unit) = unit else {
            panic!(
                "nothing can start and it is not over: {plan:?} {:?}",
                rows.0
            )
        };
        let attempt = engine.attempts(unit) + 1;
        let members = engine.members(unit);
        for &job in &members {
            // At this very moment, not only in the end.
            let task = plan
                .tasks
                .iter()
                .rfind(|task| task.first_job <= job)
                .expect("a task");
            for dependency in &task.after {
                assert!(
                    holds(plan, &rows.0, *dependency),
                    "job {job} is started without {dependency:?}"
                );
            }
            begun.push((job, attempt));
            engine.started(job, attempt).expect("a legal change");
            let handle = Handle("none://x".to_owned());
            rows.apply(&EventKind::Started {
                job,
                attempt,
                handle,
                nodes: vec![],
                time: Timestamp(0),
            });
        }
        let succeeded = members.iter().all(|job| succeeds(*job, attempt));
        let again = !succeeded && attempt < 3;
        let retry = again.then_some(Retry {
            class: FailureClass::Failure,
            at: Timestamp(0),
        });
        let (state, cause) = if succeeded {
            (JobState::Succeeded, None)
        } else {
            (JobState::Failed, Some(Cause::AppFailure))
        };
        for &job in &members {
            engine
                .ended(job, attempt, state, cause, retry)
                .expect("a legal change");
            rows.apply(&EventKind::Ended {
                job,
                attempt,
                state,
                cause,
                message: None,
                record: None,
                retry,
            });
        }
        if retry.is_some() {
            waiting.push(unit);
        }
    }
    unreachable!("the loop ends with an outcome")
}

fn failed(row: &JobRow) -> bool {
    row.state == JobState::Failed || row.cause == Some(Cause::UpstreamFailed)
}

fn holds(plan: &Plan, rows: &[JobRow], dependency: Dependency) -> bool {
    let task = &plan.tasks[dependency.task as usize];
    let mut jobs = rows[task.first_job as usize..(task.first_job + task.jobs) as usize].iter();
    match dependency.when {
        When::Ok => jobs.all(|row| row.state == JobState::Succeeded),
        When::Any => jobs.all(|row| row.state.is_final()),
        When::Failed => jobs.any(failed),
        When::Start => jobs.all(|row| row.attempts > 0),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn every_graph_ends_and_keeps_its_conditions(plan in plans(), fates in proptest::collection::vec(0u8..8, 40)) {
        let succeeds = |job: u32, attempt: u32| match fates[job as usize % fates.len()] {
            0 => false,
            1 => attempt >= 2,
            _ => true,
        };
        let run = run(&plan, &succeeds, None);
        prop_assert!(run.rows.iter().all(|row| row.state.is_final()));
        let distinct: BTreeSet<_> = run.begun.iter().collect();
        prop_assert_eq!(distinct.len(), run.begun.len(), "an attempt was begun twice");
        for task in &plan.tasks {
            let grouped = task.group.is_some();
            for job in task.first_job..task.first_job + task.jobs {
                let ran = run.begun.iter().any(|(begun, _)| *begun == job);
                let all_hold = task.after.iter().all(|dependency| holds(&plan, &run.rows, *dependency));
                if plan.on_failure == OnFailure::Continue && !grouped {
                    prop_assert!(ran || !all_hold, "job {} did not run for no reason", job);
                }
            }
        }
        prop_assert_eq!(run.state == JobState::Failed, run.rows.iter().any(failed));
    }

    /// Which waiting jobs a failure still finds depends on the order when the rest is to drain, so this goes on regardless.
    #[test]
    fn a_take_over_anywhere_changes_nothing(
        plan in plans(), fates in proptest::collection::vec(0u8..8, 40), cut in 0usize..40,
    ) {
        let succeeds = |job: u32, attempt: u32| match fates[job as usize % fates.len()] {
            0 => false,
            1 => attempt >= 2,
            _ => true,
        };
        let plan = Plan { on_failure: OnFailure::Continue, ..plan };
        let whole = run(&plan, &succeeds, None);
        let cut = run(&plan, &succeeds, Some(cut));
        prop_assert_eq!(whole.rows, cut.rows);
        prop_assert_eq!(whole.state, cut.state);
        let (whole, cut): (BTreeSet<_>, BTreeSet<_>) = (whole.begun.into_iter().collect(), cut.begun.into_iter().collect());
        prop_assert_eq!(whole, cut);
    }
}
