//! The scheduler of Slurm's against a virtual cluster: what it promises, and that nothing is lost or doubled whatever goes
//! wrong on the way. Each random run prints its seed; `MIZZEN_SEED` repeats one.
#![expect(
    clippy::print_stdout,
    reason = "a seed is told so that a run can be repeated"
)]
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests read their own surroundings"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use camino::Utf8PathBuf;
use mizzen_core::context::{Agent, Context, RandomIds, SystemClock};
use mizzen_core::executor::slurm::fake::{
    Accounting, Dice, FakeSlurm, Fault, Kind, Settings, Work, WorkEnd, scheduler,
};
use mizzen_core::executor::slurm::{SlurmSettings, Submission, SubmissionFile};
use mizzen_core::executor::{MemberEnd, Observed, Request, Scheduler, SubmitError};
use mizzen_core::model::{CancelMode, Cause, ExperimentId, Handle, JobState, SubmissionKey};

/// A cluster, a home, and a client that may be killed.
struct Lab {
    folder: Utf8PathBuf,
    context: Context,
    settings: SlurmSettings,
    slurm: Arc<FakeSlurm>,
    client: Box<dyn Scheduler>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Lab {
    fn new(settings: Settings) -> Lab {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("mizzen-slurm-conformance-{}-{number}", std::process::id());
        let folder = Utf8PathBuf::from_path_buf(std::env::temp_dir().join(name)).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let context = Context {
            home: folder.join("home"),
            workdir: folder.clone(),
            environment: Arc::new([("PATH".to_owned(), path)].into()),
            host: "here".to_owned(),
            user: "me".to_owned(),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            program: "/nowhere/mizzen".into(),
            agent: Agent::File("/nowhere/mizzen-agent".into()),
        };
        let slurm = FakeSlurm::new(&context, settings);
        let context = slurm.context_of(&context);
        let settings =
            SlurmSettings::from_value(serde_json::json!({ "account": "research" })).unwrap();
        Lab {
            client: scheduler(&settings, &context, &slurm),
            folder,
            context,
            settings,
            slurm,
        }
    }

    /// The client is killed, and another takes over: all that it knows is what is written down.
    fn another_client(&mut self) {
        self.client = scheduler(&self.settings, &self.context, &self.slurm);
    }

    fn request(&self, experiment: &str, job: u32, array: bool) -> Request {
        let experiment = ExperimentId::parse(experiment).unwrap();
        let key = SubmissionKey::new(&experiment, job, 1);
        let folder = format!("job-{job}");
        let directory = self.folder.join("e").join(experiment.as_str());
        let comment = format!("--comment={key}");
        let submission = Submission {
            directory: directory.into_string(),
            script: format!("{folder}/submit/1.sh"),
            job_name: folder.clone(),
            key: key.to_string(),
            comment: key.to_string(),
            attempt: 1,
            options: vec![comment.clone()],
            files: vec![SubmissionFile {
                path: format!("{folder}/submit/1.sh"),
                contents: format!("#!/bin/bash\n#SBATCH {comment}\ntrue\n"),
                executable: true,
            }],
            folders: vec![folder],
            ranks: vec![1],
            array,
            dependencies: Vec::new(),
        };
        Request {
            key,
            payload: serde_json::to_string(&submission).unwrap(),
            secrets: Vec::new(),
            after: Vec::new(),
            members: Vec::new(),
        }
    }

    /// Sends one, and watches it.
    async fn send(&self, job: u32) -> (Handle, Request) {
        let request = self.request("abc", job, false);
        let handle = self.client.submit(&request).await.unwrap();
        self.client.watch(&handle, &request);
        (handle, request)
    }

    /// What is seen of a job last: nothing, if nothing is said of it.
    async fn see(&self, handle: &Handle) -> Option<Observed> {
        self.try_see(handle).await.unwrap().pop()
    }

    async fn try_see(&self, handle: &Handle) -> Result<Vec<Observed>, String> {
        // More than the longest pace, so that each look asks anew.
        self.slurm.advance(16.0);
        let seen = self.client.observe(std::slice::from_ref(handle)).await;
        let seen = seen.map_err(|error| error.to_string())?;
        Ok(seen.into_iter().map(|one| one.observed).collect())
    }

    /// How often each key was taken by sbatch.
    fn taken(&self) -> BTreeMap<String, u32> {
        let mut taken = BTreeMap::new();
        for accepted in self.slurm.accepted() {
            let script = self.folder.join("e/abc").join(&accepted.script);
            let keys = match accepted.tasks {
                None => accepted.comment,
                Some(_) => std::fs::read_to_string(script.with_file_name("keys")).unwrap(),
            };
            for key in keys.lines() {
                *taken.entry(key.to_owned()).or_insert(0) += 1;
            }
        }
        taken
    }
}

fn ended(seen: Option<Observed>) -> MemberEnd {
    match seen {
        Some(Observed::Ended(mut ends)) if ends.len() == 1 => ends.remove(0),
        other => panic!("{other:?}"),
    }
}

fn lasting(seconds: f64) -> impl Fn(&str, u32) -> Work {
    move |_, _| Work {
        seconds,
        ..Work::default()
    }
}

/// The seed of a random run, told so that the run can be repeated.
fn seed(name: &str) -> u64 {
    let seed = match std::env::var("MIZZEN_SEED") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => u64::from(std::process::id()) ^ RandomIdsSeed::draw(),
    };
    println!("{name}: MIZZEN_SEED={seed}");
    seed
}

/// Numbers that differ from run to run.
struct RandomIdsSeed;

impl RandomIdsSeed {
    fn draw() -> u64 {
        use std::hash::{BuildHasher, Hasher};
        std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish()
    }
}

/// Sends many jobs as a supervisor does, whatever goes wrong: what is uncertain is looked for before it is sent again, and a
/// client that hangs is killed wherever it is.
async fn send_all(
    lab: &mut Lab,
    count: u32,
    arrays: bool,
    batch: usize,
    seed: u64,
) -> BTreeMap<String, Handle> {
    let mut dice = Dice::new(seed);
    let mut open: Vec<(Request, bool)> = (0..count)
        .map(|job| (lab.request("abc", job, arrays), false))
        .collect();
    let mut handles = BTreeMap::new();
    let mut rounds = 0;
    while !open.is_empty() {
        rounds += 1;
        assert!(
            rounds < 20_000,
            "it does not come to an end: {} are open",
            open.len()
        );
        lab.slurm
            .advance(f64::from(u32::try_from(dice.below(20)).unwrap()));
        let size = batch.min(open.len());
        // Uncertain ones are looked for, all others are sent.
        let uncertain: Vec<usize> = (0..open.len())
            .filter(|one| open[*one].1)
            .take(size)
            .collect();
        let looks = !uncertain.is_empty();
        let chosen: Vec<usize> = if looks {
            uncertain
        } else {
            (0..size).collect()
        };
        let requests: Vec<Request> = chosen.iter().map(|one| open[*one].0.clone()).collect();
        let slurm = Arc::clone(&lab.slurm);
        let mut done = Vec::new();
        if looks {
            tokio::select! {
                found = lab.client.find_many(&requests) => {
                    for (one, found) in chosen.iter().zip(found.unwrap_or_else(|_| Vec::new())) {
                        open[*one].1 = false;
                        if let Some(handle) = found {
                            done.push((*one, handle));
                        }
                    }
                }
                () = slurm.hung() => lab.another_client(),
            }
        } else {
            let answers = tokio::select! {
                answers = lab.client.submit_many(&requests) => Some(answers),
                () = slurm.hung() => None,
            };
            match answers {
                // The intent was written down before: whoever takes over looks for all of them.
                None => {
                    lab.another_client();
                    chosen.iter().for_each(|one| open[*one].1 = true);
                }
                Some(answers) => {
                    for (one, answer) in chosen.iter().zip(answers) {
                        match answer {
                            Ok(handle) => done.push((*one, handle)),
                            Err(SubmitError::Unreachable(_) | SubmitError::Later(_)) => {}
                            Err(SubmitError::Uncertain(_)) => open[*one].1 = true,
                            Err(SubmitError::Rejected(words)) => panic!("rejected: {words}"),
                        }
                    }
                }
            }
        }
        done.sort_by_key(|(one, _)| std::cmp::Reverse(*one));
        for (one, handle) in done {
            let (request, _) = open.remove(one);
            handles.insert(request.key.to_string(), handle);
        }
    }
    handles
}

/// What may go wrong anywhere, each before and after the work.
fn everything() -> Vec<(Kind, f64, Fault)> {
    let mut faults = Vec::new();
    for kind in [Kind::Sbatch, Kind::Squeue, Kind::Scontrol, Kind::Other] {
        for after in [false, true] {
            faults.push((kind, 0.05, Fault::TimedOut { after }));
            faults.push((kind, 0.05, Fault::Interrupted { after }));
            faults.push((kind, 0.04, Fault::Hung { after }));
        }
        faults.push((kind, 0.05, Fault::Unreachable));
    }
    for after in [false, true] {
        faults.push((Kind::Sbatch, 0.05, Fault::SlowController { after }));
    }
    faults.push((Kind::Sbatch, 0.05, Fault::NoController));
    faults.push((Kind::Squeue, 0.05, Fault::NoController));
    faults
}

#[tokio::test]
async fn a_thousand_jobs_are_sent_once_whatever_goes_wrong() {
    let seed = seed("a_thousand_jobs");
    let mut lab = Lab::new(Settings::default());
    lab.slurm.work(lasting(30.0));
    lab.slurm.random_faults(seed, everything());
    let handles = send_all(&mut lab, 1000, false, 25, seed).await;
    lab.slurm.no_faults();
    assert_eq!(handles.len(), 1000);
    let taken = lab.taken();
    let doubled: Vec<_> = taken.iter().filter(|(_, count)| **count != 1).collect();
    assert!(doubled.is_empty(), "doubled: {doubled:?}");
    assert_eq!(taken.len(), 1000);
    for (key, handle) in &handles {
        assert!(
            handle.0.ends_with(&format!("/{key}")),
            "{handle:?} of {key}"
        );
    }
    // 16 run at once, 30 s each.
    lab.slurm.advance(1000.0 / 16.0 * 32.0);
    let runs = lab.slurm.runs();
    assert_eq!(runs.len(), 1000);
    assert!(runs.iter().all(|(_, count)| *count == 1));
}

#[tokio::test]
async fn a_thousand_jobs_in_arrays_are_sent_once() {
    let seed = seed("a_thousand_jobs_in_arrays");
    let mut lab = Lab::new(Settings {
        max_array_size: 11,
        ..Settings::default()
    });
    lab.slurm.work(lasting(30.0));
    lab.slurm.random_faults(seed, everything());
    let handles = send_all(&mut lab, 1000, true, 250, seed).await;
    lab.slurm.no_faults();
    assert_eq!(handles.len(), 1000);
    let accepted = lab.slurm.accepted();
    assert!(accepted.iter().any(|one| one.tasks == Some(11)));
    assert!(
        accepted
            .iter()
            .all(|one| one.tasks.is_none_or(|tasks| tasks <= 11))
    );
    let taken = lab.taken();
    let doubled: Vec<_> = taken.iter().filter(|(_, count)| **count != 1).collect();
    assert!(doubled.is_empty(), "doubled: {doubled:?}");
    assert_eq!(taken.len(), 1000);
    lab.slurm.advance(1000.0 / 16.0 * 32.0);
    let runs = lab.slurm.runs();
    assert_eq!(runs.len(), 1000);
    assert!(runs.iter().all(|(_, count)| *count == 1));
}

#[tokio::test]
async fn what_arrives_late_is_taken_twice_and_runs_once() {
    let lab = Lab::new(Settings::default());
    lab.slurm.fault(Kind::Sbatch, 1, Fault::Delayed(5));
    let request = lab.request("abc", 0, false);
    let error = lab.client.submit(&request).await.unwrap_err();
    assert!(matches!(error, SubmitError::Uncertain(_)), "{error}");
    assert_eq!(lab.client.find(&request.key, &request).await.unwrap(), None);
    let handle = lab.client.submit(&request).await.unwrap();
    lab.client.watch(&handle, &request);
    lab.slurm.advance(70.0);
    assert_eq!(lab.slurm.accepted().len(), 2);
    assert_eq!(lab.slurm.runs().len(), 1);
    assert_eq!(lab.slurm.runs()[0].1, 1);
    let end = ended(lab.see(&handle).await);
    assert_eq!(end.state, JobState::Succeeded);
}

#[tokio::test]
async fn a_job_from_its_beginning_to_its_end() {
    let lab = Lab::new(Settings::default());
    lab.slurm.work(lasting(100.0));
    let (handle, request) = lab.send(0).await;
    assert_eq!(
        lab.client
            .find(&request.key, &request)
            .await
            .unwrap()
            .as_ref(),
        Some(&handle)
    );
    let seen = lab.see(&handle).await;
    assert!(
        matches!(&seen, Some(Observed::Running { nodes, .. }) if nodes == &["n1"]),
        "{seen:?}"
    );
    lab.slurm.advance(100.0);
    let end = ended(lab.see(&handle).await);
    assert_eq!((end.state, end.cause), (JobState::Succeeded, None));
    assert!(end.record.is_some());
}

#[tokio::test]
async fn cancelling_may_be_repeated() {
    let lab = Lab::new(Settings::default());
    lab.slurm.work(lasting(1000.0));
    let (handle, _) = lab.send(0).await;
    lab.slurm.advance(5.0);
    for mode in [
        CancelMode::Terminate,
        CancelMode::Terminate,
        CancelMode::Kill,
    ] {
        lab.client.cancel(&handle, mode).await.unwrap();
        lab.slurm.advance(2.0);
    }
    let end = ended(lab.see(&handle).await);
    assert_eq!(
        (end.state, end.cause),
        (JobState::Cancelled, Some(Cause::Cancelled))
    );
    lab.slurm.settings(|settings| settings.controller = false);
    assert!(
        lab.client
            .cancel(&handle, CancelMode::Terminate)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn nothing_is_final_because_nobody_could_be_asked() {
    let lab = Lab::new(Settings::default());
    lab.slurm.work(lasting(10_000.0));
    let (handle, request) = lab.send(0).await;
    lab.slurm.advance(5.0);
    lab.slurm.settings(|settings| settings.controller = false);
    assert!(lab.try_see(&handle).await.is_err());
    assert!(lab.client.find(&request.key, &request).await.is_err());
    let error = lab
        .client
        .submit(&lab.request("abc", 1, false))
        .await
        .unwrap_err();
    assert!(
        matches!(error, SubmitError::Later(_) | SubmitError::Unreachable(_)),
        "{error}"
    );
    lab.slurm.settings(|settings| settings.controller = true);
    for fault in [Fault::Silent, Fault::Cut, Fault::Stale(60)] {
        lab.slurm.fault(Kind::Squeue, 1, fault.clone());
        for seen in lab.try_see(&handle).await.unwrap() {
            assert!(
                matches!(
                    seen,
                    Observed::Pending(_) | Observed::Running { .. } | Observed::Unknown(_)
                ),
                "{fault:?}: {seen:?}"
            );
        }
    }
    assert!(matches!(
        lab.see(&handle).await,
        Some(Observed::Running { .. })
    ));
}

#[tokio::test]
async fn unknown_words_are_no_end() {
    let lab = Lab::new(Settings::default());
    let (handle, _) = lab.send(0).await;
    lab.slurm.show_as("1", Some("HIBERNATED"));
    let seen = lab.see(&handle).await;
    assert!(
        matches!(&seen, Some(Observed::Unknown(words)) if words.contains("HIBERNATED")),
        "{seen:?}"
    );
    lab.slurm.show_as("1", None);
    assert_eq!(ended(lab.see(&handle).await).state, JobState::Succeeded);
}

#[tokio::test]
async fn a_job_that_the_controller_has_forgotten() {
    for accounting in [
        Accounting::None,
        Accounting::On,
        Accounting::Late(30.0),
        Accounting::Deaf,
    ] {
        let lab = Lab::new(Settings {
            accounting,
            ..Settings::default()
        });
        lab.slurm.work(|_, _| Work {
            end: WorkEnd::Exits(4),
            ..Work::default()
        });
        let (handle, _) = lab.send(0).await;
        lab.slurm.advance(400.0);
        assert!(lab.slurm.jobs().is_empty());
        let end = ended(lab.see(&handle).await);
        assert_eq!(
            (end.state, end.cause),
            (JobState::Failed, Some(Cause::AppFailure)),
            "{accounting:?}"
        );
    }
}

#[tokio::test]
async fn a_forgotten_job_without_a_record_is_asked_for() {
    let lab = Lab::new(Settings {
        accounting: Accounting::Late(1000.0),
        ..Settings::default()
    });
    lab.slurm.work(|_, _| Work {
        end: WorkEnd::Killed(9),
        ..Work::default()
    });
    let (handle, _) = lab.send(0).await;
    lab.slurm.advance(400.0);
    // The accounting has not heard of it yet, then it thinks that it runs, then it is down.
    assert!(matches!(lab.see(&handle).await, Some(Observed::Unknown(_))));
    lab.slurm
        .settings(|settings| settings.accounting = Accounting::Deaf);
    assert!(matches!(lab.see(&handle).await, Some(Observed::Unknown(_))));
    lab.slurm
        .settings(|settings| settings.accounting = Accounting::Down);
    assert!(matches!(lab.see(&handle).await, Some(Observed::Unknown(_))));
}

#[tokio::test]
async fn a_number_that_is_another_jobs_now() {
    let lab = Lab::new(Settings::default());
    lab.slurm.work(lasting(1000.0));
    let (handle, request) = lab.send(0).await;
    lab.slurm.advance(5.0);
    lab.slurm.forget_everything();
    let other = lab.request("other", 0, false);
    let second = lab.client.submit(&other).await.unwrap();
    lab.client.watch(&second, &other);
    lab.slurm.advance(5.0);
    assert_eq!(lab.slurm.jobs()[0].id, "1");
    let seen = lab.see(&handle).await;
    assert!(
        !matches!(seen, Some(Observed::Running { .. } | Observed::Ended(_))),
        "{seen:?}"
    );
    assert!(matches!(
        lab.see(&second).await,
        Some(Observed::Running { .. })
    ));
    let found = lab.client.find(&request.key, &request).await.unwrap();
    assert_eq!(found, Some(handle));
}

#[tokio::test]
async fn restarts_are_attempts() {
    for accounting in [Accounting::None, Accounting::On] {
        let lab = Lab::new(Settings {
            accounting,
            ..Settings::default()
        });
        lab.slurm.work(lasting(300.0));
        let (handle, _) = lab.send(0).await;
        lab.slurm.advance(5.0);
        assert!(lab.slurm.preempt("1", true));
        lab.slurm.advance(2.0);
        let seen = lab.try_see(&handle).await.unwrap();
        let Some(Observed::Restarted { count: 1, ends, .. }) = seen.first() else {
            panic!("{seen:?}");
        };
        assert_eq!(ends[0].cause, Some(Cause::Preempted));
        assert!(matches!(seen[1], Observed::Pending(_)), "{seen:?}");
        lab.slurm.advance(150.0);
        assert!(matches!(
            lab.see(&handle).await,
            Some(Observed::Running { .. })
        ));
        lab.slurm.break_node("n1");
        let seen = lab.try_see(&handle).await.unwrap();
        let causes: Vec<Option<Cause>> = seen
            .iter()
            .filter_map(|one| match one {
                Observed::Restarted { ends, .. } => Some(ends[0].cause),
                _ => None,
            })
            .collect();
        assert_eq!(
            causes,
            [Some(Cause::Preempted), Some(Cause::NodeFailure)],
            "{accounting:?}"
        );
        lab.slurm.advance(600.0);
        assert_eq!(ended(lab.see(&handle).await).state, JobState::Succeeded);
    }
}

#[tokio::test]
async fn limits_on_jobs_feed_slowly() {
    let seed = seed("limits_on_jobs");
    let mut lab = Lab::new(Settings {
        max_submit: Some(("AssocMaxSubmitJobLimit".to_owned(), 10)),
        ..Settings::default()
    });
    let handles = send_all(&mut lab, 60, false, 20, seed).await;
    assert_eq!(handles.len(), 60);
    assert!(lab.taken().values().all(|count| *count == 1));
    assert_eq!(lab.taken().len(), 60);
}

#[tokio::test]
async fn a_full_controller_is_not_sent_twice() {
    let seed = seed("a_full_controller");
    let mut lab = Lab::new(Settings {
        max_job_count: 8,
        min_job_age: 2.0,
        ..Settings::default()
    });
    let handles = send_all(&mut lab, 40, false, 10, seed).await;
    assert_eq!(handles.len(), 40);
    assert!(lab.taken().values().all(|count| *count == 1));
}
