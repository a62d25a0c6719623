//! What the connection to Slurm promises, against a virtual cluster on which everything goes wrong.
//!
//! No test sleeps: time is the cluster's own. Tests with random faults print their seed.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod slurm_place;

use std::collections::{BTreeMap, BTreeSet};

use mizzen_core::executor::slurm::fake::{Accounting, Dice, Fault, Kind, Settings, WorkEnd};
use mizzen_core::executor::{Observed, Request, SubmitError};
use mizzen_core::model::{CancelMode, Cause, Handle, JobState, Timestamp};
use serde_json::json;
use slurm_place::{LOOKS, ON_ITS_WAY, Place, WELL, failed, single, verdict, work};

#[tokio::test]
async fn a_job_is_sent_found_seen_and_ended() {
    let place = Place::new(Settings::default());
    let client = place.client();
    let request = place.request(0, single());
    assert_eq!(client.find(&request.key, &request).await.unwrap(), None);
    let handle = place.send(client.as_ref(), &request).await;
    let found = client.find(&request.key, &request).await.unwrap();
    assert_eq!(found.as_ref(), Some(&handle));
    let seen = place.look(client.as_ref(), &handle).await;
    assert!(matches!(seen[..], [Observed::Pending(_)]), "{seen:?}");
    let seen = place.after(3.0, client.as_ref(), &handle).await;
    let Observed::Running { nodes, .. } = seen else {
        panic!("{seen:?}");
    };
    assert_eq!(nodes, ["n1"]);
    assert_eq!(place.end(client.as_ref(), &handle).await, WELL);
    // When Slurm has forgotten it, its claim is still there.
    place.slurm.advance(1000.0);
    let found = place.client().find(&request.key, &request).await.unwrap();
    assert_eq!(found, Some(handle));
}

#[tokio::test]
async fn ends_have_their_causes() {
    for (end, expected) in [
        (WorkEnd::Exits(3), failed(Cause::AppFailure)),
        (WorkEnd::Killed(9), failed(Cause::AppFailure)),
        (WorkEnd::OutOfMemory, failed(Cause::OutOfMemory)),
    ] {
        let place = Place::new(Settings::default());
        place.slurm.work(move |_, _| work(5.0, end, Some(0.0)));
        let client = place.client();
        let handle = place
            .send(client.as_ref(), &place.request(0, single()))
            .await;
        assert_eq!(place.end(client.as_ref(), &handle).await, expected);
    }
    let place = Place::new(Settings::default());
    place
        .slurm
        .work(|_, _| work(1e6, WorkEnd::Exits(0), Some(0.0)));
    let client = place.client();
    let request = place.request(0, json!({"arrays": false, "time": "00:01:00"}));
    let handle = place.send(client.as_ref(), &request).await;
    assert_eq!(
        place.end(client.as_ref(), &handle).await,
        failed(Cause::Timeout)
    );
}

#[tokio::test]
async fn cancelling_ends_what_waits_and_what_runs() {
    for mode in [CancelMode::Terminate, CancelMode::Kill] {
        for arrays in [false, true] {
            let place = Place::new(Settings {
                max_running: Some(1),
                ..Settings::default()
            });
            place
                .slurm
                .work(|_, _| work(50.0, WorkEnd::Exits(0), Some(0.0)));
            let client = place.client();
            let requests = place.requests(0..4, &json!({"arrays": arrays}));
            let handles: Vec<Handle> = client
                .submit_many(&requests)
                .await
                .into_iter()
                .map(Result::unwrap)
                .collect();
            for (handle, request) in handles.iter().zip(&requests) {
                client.watch(handle, request);
            }
            place.slurm.advance(5.0);
            let states: Vec<_> = place
                .slurm
                .jobs()
                .into_iter()
                .map(|job| job.state)
                .collect();
            assert_eq!(states.iter().filter(|state| *state == "RUNNING").count(), 1);
            // One that runs and one that waits; twice, since asking twice is no error.
            for _ in 0..2 {
                let some = [handles[0].clone(), handles[2].clone()];
                client.cancel_many(&some, mode).await.unwrap();
            }
            let stories = place.until_ended(client.as_ref(), &handles).await;
            let states: Vec<JobState> = stories
                .iter()
                .map(|story| verdict(story.end.as_ref().unwrap()).0)
                .collect();
            let well = JobState::Succeeded;
            assert_eq!((states[1], states[3]), (well, well), "{stories:?}");
            assert_eq!(states[2], JobState::Cancelled, "{stories:?}");
            assert_ne!(states[0], well, "{stories:?}");
        }
    }
}

/// Somebody has removed the experiment's folder while a job ran: what Slurm says of it is all that is left.
#[tokio::test]
async fn a_folder_that_is_gone_keeps_no_job_from_ending() {
    let place = Place::new(Settings::default());
    place
        .slurm
        .work(|_, _| work(50.0, WorkEnd::Exits(3), Some(0.0)));
    let client = place.client();
    let handle = place
        .send(client.as_ref(), &place.request(0, single()))
        .await;
    place.slurm.advance(5.0);
    std::fs::remove_dir_all(place.at.join("title/x1")).unwrap();
    let end = place.end(client.as_ref(), &handle).await;
    assert_eq!(end, failed(Cause::AppFailure));
    // Where the file system itself is gone, nobody knows.
    let jobs = place.at.join("jobs");
    let settings = json!({"arrays": false, "tunnel": {"kind": "local", "job_dir": jobs}});
    let request = place.request(1, settings);
    let handle = place.send(client.as_ref(), &request).await;
    place.slurm.advance(5.0);
    std::fs::rename(&jobs, place.at.join("aside")).unwrap();
    place.slurm.advance(100.0);
    let seen = client.observe(std::slice::from_ref(&handle)).await;
    assert!(seen.is_err(), "{seen:?}");
}

/// A waiting task of an array leaves no trace when it is cancelled. That it was seen to wait is enough, as long as the
/// controller would still know of it if it had begun since.
#[tokio::test]
async fn a_cancelled_task_that_was_seen_to_wait_has_ended_at_once() {
    for (min_job_age, at_once) in [(300.0, true), (2.0, false)] {
        let place = Place::new(Settings {
            max_running: Some(1),
            min_job_age,
            ..Settings::default()
        });
        place
            .slurm
            .work(|_, _| work(50.0, WorkEnd::Exits(0), Some(0.0)));
        let client = place.client();
        let requests = place.requests(0..3, &json!({}));
        let mut handles = Vec::new();
        for (answer, request) in client.submit_many(&requests).await.iter().zip(&requests) {
            let handle = answer.clone().unwrap();
            client.watch(&handle, request);
            handles.push(handle);
        }
        place.slurm.advance(5.0);
        client.observe(&handles).await.unwrap();
        place.slurm.advance(1.5);
        let cancelled = &handles[1..];
        client
            .cancel_many(cancelled, CancelMode::Terminate)
            .await
            .unwrap();
        let seen = client.observe(&handles).await.unwrap();
        let ended = seen
            .iter()
            .filter(|one| cancelled.contains(&one.handle))
            .all(|one| matches!(&one.observed, Observed::Ended(ends) if ends[0].cause == Some(Cause::Cancelled)));
        assert_eq!(ended, at_once, "{seen:?}");
        for story in place.until_ended(client.as_ref(), cancelled).await {
            assert_eq!(verdict(story.end.as_ref().unwrap()).0, JobState::Cancelled);
        }
    }
}

#[tokio::test]
async fn arrays_are_split_under_the_limit() {
    let place = Place::new(Settings {
        max_array_size: 3,
        ..Settings::default()
    });
    place.slurm.work(|key, _| {
        let job: i32 = key.split('-').nth(2).unwrap().parse().unwrap();
        work(5.0, WorkEnd::Exits(job % 2), Some(0.0))
    });
    let client = place.client();
    let requests = place.requests(0..7, &json!({}));
    let answers = client.submit_many(&requests).await;
    let tasks: BTreeSet<Option<usize>> =
        place.slurm.accepted().iter().map(|one| one.tasks).collect();
    assert_eq!(place.slurm.accepted().len(), 3);
    assert_eq!(tasks, [None, Some(3)].into());
    let handles: Vec<Handle> = answers.into_iter().map(Result::unwrap).collect();
    let found = place.client().find_many(&requests).await.unwrap();
    let found: Vec<Handle> = found.into_iter().map(Option::unwrap).collect();
    assert_eq!(found, handles);
    for (handle, request) in handles.iter().zip(&requests) {
        client.watch(handle, request);
    }
    let stories = place.until_ended(client.as_ref(), &handles).await;
    for (number, story) in stories.iter().enumerate() {
        let expected = match number % 2 {
            0 => WELL,
            _ => failed(Cause::AppFailure),
        };
        assert_eq!(verdict(story.end.as_ref().unwrap()), expected, "{number}");
    }
}

/// A key stands in the list of an array that was never accepted, and in that of one that was.
#[tokio::test]
async fn lists_of_arrays_that_were_never_accepted_hide_nothing() {
    let place = Place::new(Settings::default());
    let client = place.client();
    let requests = place.requests(0..8, &json!({}));
    place.slurm.fault(Kind::Sbatch, 1, Fault::Unreachable);
    let refused = client.submit_many(&requests[5..]).await;
    assert!(refused.iter().all(Result::is_err));
    let handles: Vec<Handle> = client
        .submit_many(&requests)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let found = place.client().find_many(&requests).await.unwrap();
    let found: Vec<Handle> = found.into_iter().flatten().collect();
    assert_eq!(found, handles);
}

/// Sends all as the supervisor does, whatever goes wrong: what was not found counts as not sent after a while.
async fn deliver(place: &Place, requests: &[Request], dice: &mut Dice) -> BTreeMap<usize, Handle> {
    let mut client = place.client();
    let mut handles: BTreeMap<usize, Handle> = BTreeMap::new();
    let mut unsure: BTreeMap<usize, Timestamp> = BTreeMap::new();
    for _ in 0..LOOKS {
        let ready: Vec<usize> = (0..requests.len())
            .filter(|number| !handles.contains_key(number) && !unsure.contains_key(number))
            .take(1 + dice.below(60))
            .collect();
        if ready.is_empty() && unsure.is_empty() {
            return handles;
        }
        if !ready.is_empty() {
            let batch: Vec<Request> = ready.iter().map(|one| requests[*one].clone()).collect();
            let answers = tokio::select! {
                biased;
                answers = client.submit_many(&batch) => Some(answers),
                () = place.slurm.hung() => None,
            };
            // Killed while it waited, or before it has written down what it was told.
            let answers = answers.filter(|_| !dice.chance(0.1));
            if answers.is_none() {
                client = place.client();
            }
            for (position, number) in ready.into_iter().enumerate() {
                match answers.as_ref().map(|answers| &answers[position]) {
                    Some(Ok(handle)) => {
                        handles.insert(number, handle.clone());
                    }
                    Some(Err(SubmitError::Later(_) | SubmitError::Unreachable(_))) => {}
                    Some(Err(SubmitError::Rejected(words))) => panic!("refused: {words}"),
                    Some(Err(SubmitError::Uncertain(_))) | None => {
                        unsure.insert(number, place.now());
                    }
                }
            }
        }
        place.slurm.advance(5.0);
        let looked: Vec<usize> = unsure.keys().copied().collect();
        let batch: Vec<Request> = looked.iter().map(|one| requests[*one].clone()).collect();
        let began = place.now();
        let found = tokio::select! {
            biased;
            found = client.find_many(&batch) => found.ok(),
            () = place.slurm.hung() => {
                client = place.client();
                None
            }
        };
        for (number, handle) in looked.into_iter().zip(found.into_iter().flatten()) {
            match handle {
                Some(handle) => {
                    unsure.remove(&number);
                    handles.insert(number, handle);
                }
                None if began.seconds_since(unsure[&number]) >= ON_ITS_WAY => {
                    unsure.remove(&number);
                }
                None => {}
            }
        }
    }
    panic!("{} of {} were sent", handles.len(), requests.len());
}

fn faults() -> Vec<(Kind, f64, Fault)> {
    let mut faults = Vec::new();
    for after in [false, true] {
        faults.extend([
            (Kind::Sbatch, 0.06, Fault::TimedOut { after }),
            (Kind::Sbatch, 0.06, Fault::Interrupted { after }),
            (Kind::Sbatch, 0.06, Fault::SlowController { after }),
            (Kind::Sbatch, 0.04, Fault::Hung { after }),
            (Kind::Other, 0.03, Fault::Interrupted { after }),
            (Kind::Other, 0.03, Fault::Hung { after }),
            (Kind::Squeue, 0.03, Fault::Hung { after }),
        ]);
    }
    let limit = "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates \
                 accounting/QOS policy (job submit limit, user's size and/or time limits)\n";
    let slow = "slurm_load_jobs error: Socket timed out on send/recv operation\n";
    faults.extend([
        (Kind::Sbatch, 0.05, Fault::Unreachable),
        (Kind::Sbatch, 0.05, Fault::NoController),
        (Kind::Sbatch, 0.05, Fault::Says(1, limit.to_owned())),
        (Kind::Squeue, 0.05, Fault::Unreachable),
        (Kind::Squeue, 0.05, Fault::Says(1, slow.to_owned())),
        (Kind::Scontrol, 0.1, Fault::NoController),
    ]);
    faults
}

/// 1,000 submissions, half of them in arrays: none is lost, none is there twice.
#[tokio::test]
async fn of_a_thousand_none_is_lost_and_none_is_doubled() {
    let mut sent = 0;
    for seed in 1..=10_u64 {
        println!("seed {seed}");
        let place = Place::new(Settings {
            nodes: 64,
            // Most wait, so that they are found by their keys; some run, so that they are found by their claims.
            max_running: Some(4),
            max_array_size: 1 + seed as usize * 7,
            ..Settings::default()
        });
        let mut dice = Dice::new(seed);
        let arrays = json!({"arrays": seed % 2 == 0});
        let requests = place.requests(0..100, &arrays);
        place.slurm.random_faults(seed, faults());
        let handles = deliver(&place, &requests, &mut dice).await;
        place.slurm.no_faults();
        place.slurm.settings(|all| all.max_running = None);
        place.slurm.advance(2000.0);
        sent += requests.len();
        let accepted: usize = place
            .slurm
            .accepted()
            .iter()
            .map(|one| one.tasks.unwrap_or(1))
            .sum();
        assert_eq!(accepted, requests.len(), "seed {seed}");
        let ids: BTreeSet<String> = handles.values().map(Place::id).collect();
        assert_eq!(ids.len(), requests.len(), "seed {seed}");
        let runs = place.slurm.runs();
        assert_eq!(runs.len(), requests.len(), "seed {seed}");
        assert!(runs.iter().all(|(_, count)| *count == 1), "seed {seed}");
        // Each handle is its request's own: the claim says so, and the record is there.
        let client = place.client();
        let some: Vec<Handle> = (0..100)
            .step_by(10)
            .map(|number| {
                client.watch(&handles[&number], &requests[number]);
                handles[&number].clone()
            })
            .collect();
        for story in place.until_ended(client.as_ref(), &some).await {
            assert_eq!(verdict(story.end.as_ref().unwrap()), WELL, "seed {seed}");
        }
    }
    assert_eq!(sent, 1000);
}

/// The controller has forgotten the job: what is known of its end, with each kind of accounting, with and without records.
#[tokio::test]
async fn a_forgotten_job() {
    let lost = failed(Cause::Lost);
    let app = failed(Cause::AppFailure);
    for (accounting, record, expected) in [
        (Accounting::None, Some(0.0), app),
        (Accounting::None, None, lost),
        (Accounting::On, Some(0.0), app),
        (Accounting::On, None, app),
        (Accounting::Late(900.0), Some(0.0), app),
        (Accounting::Late(900.0), None, app),
        (Accounting::Deaf, Some(0.0), app),
        (Accounting::Deaf, None, lost),
        (Accounting::Down, Some(0.0), app),
    ] {
        let place = Place::new(Settings {
            accounting,
            ..Settings::default()
        });
        place
            .slurm
            .work(move |_, _| work(5.0, WorkEnd::Exits(3), record));
        let first = place.client();
        let request = place.request(0, single());
        let handle = place.send(first.as_ref(), &request).await;
        drop(first);
        place.slurm.advance(800.0);
        assert!(place.slurm.jobs().is_empty());
        let client = place.client();
        client.watch(&handle, &request);
        let end = place.end(client.as_ref(), &handle).await;
        assert_eq!(end, expected, "{accounting:?}, record {record:?}");
    }
}

/// Nothing is made of silence: the accounting can't be asked, so nobody says that the job is lost.
#[tokio::test]
async fn a_job_is_not_lost_while_the_accounting_is_down() {
    let place = Place::new(Settings {
        accounting: Accounting::Down,
        ..Settings::default()
    });
    place.slurm.work(|_, _| work(5.0, WorkEnd::Exits(3), None));
    let client = place.client();
    let handle = place
        .send(client.as_ref(), &place.request(0, single()))
        .await;
    place.slurm.advance(800.0);
    for _ in 0..10 {
        let seen = place.after(100.0, client.as_ref(), &handle).await;
        assert!(matches!(seen, Observed::Unknown(_)), "{seen:?}");
    }
    place.slurm.settings(|all| all.accounting = Accounting::On);
    let end = place.end(client.as_ref(), &handle).await;
    assert_eq!(end, failed(Cause::AppFailure));
}

#[tokio::test]
async fn a_controller_that_is_down_ends_nothing() {
    let place = Place::new(Settings::default());
    let client = place.client();
    let handle = place
        .send(client.as_ref(), &place.request(0, single()))
        .await;
    place.slurm.settings(|all| all.controller = false);
    place.slurm.advance(60.0);
    assert!(client.observe(std::slice::from_ref(&handle)).await.is_err());
    let second = place.request(1, single());
    assert!(client.find(&second.key, &second).await.is_err());
    let answer = client.submit(&second).await;
    assert!(matches!(answer, Err(SubmitError::Later(_))), "{answer:?}");
    assert!(client.cancel(&handle, CancelMode::Terminate).await.is_err());
    place.slurm.settings(|all| all.controller = true);
    assert_eq!(place.end(client.as_ref(), &handle).await, WELL);
}

/// A queue that is empty for a moment, and one that is cut off, say nothing of a job's end.
#[tokio::test]
async fn a_queue_that_lies_ends_nothing() {
    let place = Place::new(Settings::default());
    place
        .slurm
        .work(|_, _| work(500.0, WorkEnd::Exits(0), Some(0.0)));
    let client = place.client();
    let handle = place
        .send(client.as_ref(), &place.request(0, single()))
        .await;
    for fault in [Fault::Silent, Fault::Cut, Fault::Silent] {
        place.slurm.fault(Kind::Squeue, 1, fault);
        let seen = place.after(20.0, client.as_ref(), &handle).await;
        assert!(matches!(seen, Observed::Unknown(_)), "{seen:?}");
    }
    let seen = place.after(20.0, client.as_ref(), &handle).await;
    assert!(matches!(seen, Observed::Running { .. }), "{seen:?}");
    assert_eq!(place.end(client.as_ref(), &handle).await, WELL);
}

/// The number of a job that was forgotten is given to another of the same experiment, which runs.
#[tokio::test]
async fn numbers_are_used_again() {
    for accounting in [Accounting::None, Accounting::On] {
        let place = Place::new(Settings {
            accounting,
            keeps_comments: true,
            ..Settings::default()
        });
        place.slurm.work(|key, _| match key {
            "mz-x1-0-1" => work(5.0, WorkEnd::Exits(3), Some(0.0)),
            _ => work(5000.0, WorkEnd::Exits(0), Some(0.0)),
        });
        let client = place.client();
        let (first, second) = (place.request(0, single()), place.request(1, single()));
        let one = place.send(client.as_ref(), &first).await;
        place.slurm.advance(1000.0);
        place.slurm.forget_everything();
        let two = place.send(client.as_ref(), &second).await;
        assert_eq!(Place::id(&one), Place::id(&two));
        place.slurm.advance(5.0);
        let end = place.end(client.as_ref(), &one).await;
        assert_eq!(end, failed(Cause::AppFailure), "{accounting:?}");
        let seen = place.after(1.0, client.as_ref(), &two).await;
        assert!(matches!(seen, Observed::Running { .. }), "{seen:?}");
    }
}

#[tokio::test]
async fn unknown_words_are_told_and_end_nothing() {
    let place = Place::new(Settings::default());
    let client = place.client();
    let handle = place
        .send(client.as_ref(), &place.request(0, single()))
        .await;
    place.slurm.show_as(&Place::id(&handle), Some("HIBERNATED"));
    for _ in 0..3 {
        let seen = place.after(100.0, client.as_ref(), &handle).await;
        assert_eq!(seen, Observed::Unknown("Slurm says HIBERNATED".to_owned()));
    }
    place.slurm.show_as(&Place::id(&handle), None);
    assert_eq!(place.end(client.as_ref(), &handle).await, WELL);
}

/// What makes a job run anew, and what its first run is said to have died of.
#[tokio::test]
async fn restarts_have_their_causes() {
    for (what, cause) in [
        ("requeue", Cause::Preempted),
        ("preempt", Cause::Preempted),
        ("node", Cause::NodeFailure),
    ] {
        for away in [false, true] {
            let place = Place::new(Settings::default());
            place
                .slurm
                .work(|_, _| work(60.0, WorkEnd::Exits(0), Some(0.0)));
            let mut client = place.client();
            let request = place.request(0, json!({"arrays": false, "requeue": true}));
            let handle = place.send(client.as_ref(), &request).await;
            let seen = place.after(5.0, client.as_ref(), &handle).await;
            assert!(matches!(seen, Observed::Running { .. }), "{seen:?}");
            let id = Place::id(&handle);
            match what {
                "requeue" => assert!(place.slurm.requeue(&id)),
                "preempt" => assert!(place.slurm.preempt(&id, true)),
                _ => place.slurm.break_node("n1"),
            }
            if away {
                // Nobody looks until Slurm has forgotten all of it.
                place.slurm.advance(2000.0);
                assert!(place.slurm.jobs().is_empty());
                client = place.client();
                client.watch(&handle, &request);
            }
            let stories = place
                .until_ended(client.as_ref(), std::slice::from_ref(&handle))
                .await;
            let story = &stories[0];
            assert_eq!(story.restarts.len(), 1, "{what}, away: {away}");
            let first = verdict(&story.restarts[&1]);
            // Without accounting nobody can tell afterwards what took the first run.
            if !away {
                assert_eq!(first, failed(cause), "{what}");
            }
            assert_eq!(first.0, JobState::Failed);
            assert_eq!(verdict(story.end.as_ref().unwrap()), WELL, "{what}");
        }
    }
}

#[tokio::test]
async fn ends_from_outside_have_their_causes() {
    for (what, expected) in [
        ("preempt", failed(Cause::Preempted)),
        ("node", failed(Cause::NodeFailure)),
        ("cancel", (JobState::Cancelled, Some(Cause::Cancelled))),
    ] {
        let place = Place::new(Settings::default());
        place
            .slurm
            .work(|_, _| work(60.0, WorkEnd::Exits(0), Some(0.0)));
        let client = place.client();
        let request = place.request(0, json!({"arrays": false, "requeue": false}));
        let handle = place.send(client.as_ref(), &request).await;
        place.slurm.advance(5.0);
        let id = Place::id(&handle);
        match what {
            "preempt" => assert!(place.slurm.preempt(&id, false)),
            "cancel" => assert!(place.slurm.cancel(&id)),
            _ => place.slurm.break_node("n1"),
        }
        assert_eq!(
            place.end(client.as_ref(), &handle).await,
            expected,
            "{what}"
        );
        if what == "node" {
            // What is sent afterwards stays away from it.
            place.slurm.mend_node("n1");
            let next = place
                .send(client.as_ref(), &place.request(1, single()))
                .await;
            let seen = place.after(5.0, client.as_ref(), &next).await;
            let Observed::Running { nodes, .. } = seen else {
                panic!("{seen:?}");
            };
            assert_eq!(nodes, ["n2"]);
        }
    }
}

#[tokio::test]
async fn limits_say_later_and_mistakes_are_refused() {
    let place = Place::new(Settings {
        max_submit: Some(("AssocMaxSubmitJobLimit".to_owned(), 1)),
        ..Settings::default()
    });
    let client = place.client();
    let handle = place
        .send(client.as_ref(), &place.request(0, single()))
        .await;
    let second = place.request(1, single());
    let answer = client.submit(&second).await;
    assert!(matches!(answer, Err(SubmitError::Later(_))), "{answer:?}");
    assert_eq!(place.end(client.as_ref(), &handle).await, WELL);
    assert!(client.submit(&second).await.is_ok());

    let place = Place::new(Settings {
        accounting: Accounting::On,
        ..Settings::default()
    });
    let client = place.client();
    for wrong in [
        json!({"arrays": false, "partition": "nowhere"}),
        json!({"arrays": false, "account": "nobody"}),
    ] {
        let answer = client.submit(&place.request(0, wrong)).await;
        assert!(
            matches!(answer, Err(SubmitError::Rejected(_))),
            "{answer:?}"
        );
    }
    assert!(place.slurm.accepted().is_empty());
}

/// Whatever a comment says, its job is found by its key.
#[tokio::test]
async fn comments_hide_no_job() {
    let two_bytes = "ä".repeat(17);
    let long = "long ".repeat(100);
    let wide = "日本".repeat(60);
    for comment in [
        "plain",
        "a|b | |",
        "mz-x1-7-1",
        "mz-x1-7-1 ",
        "N/A",
        "(null)",
        "'\"\\$(date)`date`#",
        "--comment=x",
        "  ",
        "\t",
        &two_bytes,
        &long,
        &wide,
    ] {
        // It waits: once it runs, its claim would tell.
        let place = Place::new(Settings {
            max_running: Some(0),
            ..Settings::default()
        });
        let client = place.client();
        let request = place.request(0, json!({"arrays": false, "comment": comment}));
        place
            .slurm
            .fault(Kind::Sbatch, 1, Fault::TimedOut { after: true });
        let answer = client.submit(&request).await;
        assert!(
            matches!(answer, Err(SubmitError::Uncertain(_))),
            "{answer:?}"
        );
        let found = client.find(&request.key, &request).await.unwrap();
        let handle = found.unwrap_or_else(|| panic!("{comment:?}: {:?}", place.slurm.jobs()));
        let other = place.request(7, single());
        assert_eq!(client.find(&other.key, &other).await.unwrap(), None);
        client.watch(&handle, &request);
        place.slurm.settings(|all| all.max_running = None);
        let end = place.end(client.as_ref(), &handle).await;
        assert_eq!(end, WELL, "{comment:?}");
    }
}

/// Two jobs of Slurm's for one attempt: only one runs it, and that one is watched and cancelled.
#[tokio::test]
async fn the_job_that_runs_the_attempt_counts() {
    let place = Place::new(Settings::default());
    place
        .slurm
        .work(|_, _| work(5000.0, WorkEnd::Exits(0), Some(0.0)));
    let client = place.client();
    let request = place.request(0, single());
    let first = client.submit(&request).await.unwrap();
    place.slurm.advance(5.0);
    let second = client.submit(&request).await.unwrap();
    assert_ne!(first, second);
    client.watch(&second, &request);
    place.slurm.advance(5.0);
    for _ in 0..5 {
        let seen = place.look(client.as_ref(), &second).await;
        assert!(
            seen.iter()
                .all(|one| matches!(one, Observed::Running { .. })),
            "{seen:?}"
        );
        place.slurm.advance(5.0);
    }
    client.cancel(&second, CancelMode::Terminate).await.unwrap();
    place.slurm.advance(5.0);
    assert_eq!(
        place.slurm.job(&Place::id(&first)).unwrap().state,
        "CANCELLED"
    );
    let end = place.end(client.as_ref(), &second).await;
    assert_eq!(end.0, JobState::Cancelled);
    assert!(place.slurm.runs().iter().all(|(_, count)| *count == 1));
}
