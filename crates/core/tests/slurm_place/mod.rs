//! A virtual cluster, what is submitted to it, and what became of that.

use std::collections::BTreeMap;

use mizzen_core::executor::slurm::fake::{Ground, Settings, Work, WorkEnd, scheduler};
use mizzen_core::executor::slurm::{SlurmExecutor, SlurmSettings};
use mizzen_core::executor::{Executor, MemberEnd, Observed, Request, Scheduler, Unit, UnitMember};
use mizzen_core::model::{Cause, ExperimentId, Handle, JobState, Role, SubmissionKey, Timestamp};
use mizzen_core::plan::{ExecutorConfig, PlannedJob, Retries};
use serde_json::{Value, json};

/// Looks at a job until it has ended: no more than so many.
pub(crate) const LOOKS: usize = 400;
/// Seconds for which a submission may be on its way (the supervisor's `ON_ITS_WAY`).
pub(crate) const ON_ITS_WAY: f64 = 20.0;

/// A cluster, and the folder of whoever uses it.
pub(crate) struct Place(Ground);

impl std::ops::Deref for Place {
    type Target = Ground;

    fn deref(&self) -> &Ground {
        &self.0
    }
}

impl Place {
    pub(crate) fn new(settings: Settings) -> Place {
        Place(Ground::new(settings).unwrap())
    }

    /// A client as it is after its start: without any memory.
    pub(crate) fn client(&self) -> Box<dyn Scheduler> {
        scheduler(&settings(json!({})), &self.context, &self.slurm)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    /// The first attempt of job `number`.
    pub(crate) fn request(&self, number: u32, more: Value) -> Request {
        let value = values(more);
        let config = ExecutorConfig {
            kind: "slurm".to_owned(),
            settings: value.as_object().unwrap().clone(),
        };
        let job = PlannedJob {
            name: format!("job-{number}"),
            task: 0,
            role: Role {
                name: format!("job-{number}"),
                entrypoint: "true".to_owned(),
                ..Role::default()
            },
            secrets: Default::default(),
            workdir: "/".to_owned(),
            files: Vec::new(),
            variables: Vec::new(),
            launcher: None,
            retries: Retries::NONE,
            timeout: None,
            grace: 30.0,
        };
        let experiment = ExperimentId::parse("x1").unwrap();
        let here = self.at.join("title").join("x1");
        let unit = Unit {
            experiment: &experiment,
            experiment_dir: &here,
            key: SubmissionKey::new(&experiment, number, 1),
            attempt: 1,
            members: vec![UnitMember {
                code: None,
                index: number,
                job: &job,
                executor: &config,
                leader: false,
            }],
        };
        SlurmExecutor::new(SlurmSettings::from_value(value).unwrap())
            .render(&unit)
            .unwrap()
    }

    pub(crate) fn requests(&self, numbers: std::ops::Range<u32>, more: &Value) -> Vec<Request> {
        numbers
            .map(|number| self.request(number, more.clone()))
            .collect()
    }

    /// Sends one, and watches it.
    pub(crate) async fn send(&self, client: &dyn Scheduler, request: &Request) -> Handle {
        let handle = client.submit(request).await.unwrap();
        client.watch(&handle, request);
        handle
    }

    /// What is seen of one job now.
    pub(crate) async fn look(&self, client: &dyn Scheduler, handle: &Handle) -> Vec<Observed> {
        let seen = client.observe(std::slice::from_ref(handle)).await.unwrap();
        seen.into_iter().map(|one| one.observed).collect()
    }

    /// What is seen of a job last, after some seconds.
    pub(crate) async fn after(
        &self,
        seconds: f64,
        client: &dyn Scheduler,
        handle: &Handle,
    ) -> Observed {
        self.slurm.advance(seconds);
        self.look(client, handle).await.pop().unwrap()
    }

    /// Looks until all have ended: for each its ends, and how the runs before have ended.
    pub(crate) async fn until_ended(
        &self,
        client: &dyn Scheduler,
        handles: &[Handle],
    ) -> Vec<Story> {
        let mut stories: BTreeMap<&Handle, Story> = BTreeMap::new();
        for _ in 0..LOOKS {
            let open: Vec<Handle> = handles
                .iter()
                .filter(|handle| stories.get(handle).is_none_or(|story| story.end.is_none()))
                .cloned()
                .collect();
            if open.is_empty() {
                return handles.iter().map(|one| stories[one].clone()).collect();
            }
            if let Ok(seen) = client.observe(&open).await {
                for one in seen {
                    let handle = handles.iter().find(|it| **it == one.handle).unwrap();
                    let story = stories.entry(handle).or_default();
                    match one.observed {
                        Observed::Restarted { count, ends, .. } => {
                            story.restarts.insert(count, ends);
                        }
                        Observed::Ended(ends) => story.end = Some(ends),
                        _ => {}
                    }
                }
            }
            self.slurm.advance(client.pace().max(2.0));
        }
        panic!("not ended: {:?}\n{:?}", stories, self.slurm.jobs());
    }

    pub(crate) async fn end(&self, client: &dyn Scheduler, handle: &Handle) -> Verdict {
        let story = self.until_ended(client, std::slice::from_ref(handle)).await;
        verdict(story[0].end.as_ref().unwrap())
    }

    pub(crate) fn id(handle: &Handle) -> String {
        handle.0.rsplit('/').nth(1).unwrap().to_owned()
    }
}

/// How a job went.
#[derive(Debug, Clone, Default)]
pub(crate) struct Story {
    pub(crate) restarts: BTreeMap<u32, Vec<MemberEnd>>,
    pub(crate) end: Option<Vec<MemberEnd>>,
}

pub(crate) type Verdict = (JobState, Option<Cause>);

pub(crate) const WELL: Verdict = (JobState::Succeeded, None);

pub(crate) fn failed(cause: Cause) -> Verdict {
    (JobState::Failed, Some(cause))
}

pub(crate) fn verdict(ends: &[MemberEnd]) -> Verdict {
    assert_eq!(ends.len(), 1);
    (ends[0].state, ends[0].cause)
}

pub(crate) fn values(more: Value) -> Value {
    let mut value = json!({"account": "research", "partition": "main", "time": "01:00:00"});
    let all = value.as_object_mut().unwrap();
    all.extend(more.as_object().unwrap().clone());
    value
}

pub(crate) fn settings(more: Value) -> SlurmSettings {
    SlurmSettings::from_value(values(more)).unwrap()
}

pub(crate) fn single() -> Value {
    json!({"arrays": false})
}

pub(crate) fn work(seconds: f64, end: WorkEnd, record: Option<f64>) -> Work {
    Work {
        seconds,
        end,
        record,
        ..Work::default()
    }
}
