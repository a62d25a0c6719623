//! What the connection to an engine promises: on the fake engine, on Docker and on Podman, with faults on the way to each.

use std::collections::BTreeSet;

use mizzen_core::executor::docker::fake::Fault;
use mizzen_core::executor::{Observed, Request, Scheduler, SubmitError};
use mizzen_core::model::{CancelMode, Cause, Handle, JobState};
use serde_json::json;

use crate::place::{Answers, IMAGE, Place, WELL, failed, places, verdict};
use crate::support::LIMIT;

/// A job that has begun says so, and goes on until it is told to end.
const UNTIL_TOLD: &str = "echo up >>up; trap 'exit 3' TERM; while :; do sleep 0.05; done";
const CANCELLED: (JobState, Option<Cause>) = (JobState::Cancelled, Some(Cause::Cancelled));

#[tokio::test]
async fn a_job_is_sent_found_seen_and_ended() {
    for place in places() {
        let client = place.client();
        let request = place.request(0, "exit 0");
        assert_eq!(client.find(&request.key, &request).await.unwrap(), None);
        let handle = place.send(client.as_ref(), &request).await;
        let found = client.find(&request.key, &request).await.unwrap();
        assert_eq!(found.as_ref(), Some(&handle));
        let ended = |seen: &Observed| matches!(seen, Observed::Ended(_));
        let seen = place.until(client.as_ref(), &handle, ended).await;
        let [Observed::Running { nodes, .. }, Observed::Ended(ends)] = seen.as_slice() else {
            panic!("{seen:?}");
        };
        assert_eq!(nodes, &["here"]);
        assert_eq!(verdict(&ends[0]), WELL);
        assert!(ends[0].record.is_some());
        // Whoever comes later finds it, whether its container is there or not.
        for _ in 0..2 {
            let late = place.client();
            let found = late.find(&request.key, &request).await.unwrap();
            assert_eq!(found.as_ref(), Some(&handle));
            late.watch(&handle, &request);
            assert_eq!(place.end(late.as_ref(), &handle).await, WELL);
            client.forget(&handle).await;
            assert_eq!(place.left(), [""; 0]);
        }
        assert_eq!(place.ledger(), ["job-0-0"]);
        assert_eq!(place.told(), [""; 0].map(std::path::PathBuf::from));
    }
}

#[tokio::test]
async fn ends_have_their_causes() {
    for place in places() {
        let client = place.client();
        for (number, script, expected) in [
            (0, "exit 3", failed(Cause::AppFailure)),
            (1, "kill -9 $$", failed(Cause::AppFailure)),
            (2, "exec /no/such/program", failed(Cause::AppFailure)),
        ] {
            let request = place.request(number, script);
            let handle = place.send(client.as_ref(), &request).await;
            assert_eq!(place.end(client.as_ref(), &handle).await, expected);
            client.forget(&handle).await;
        }
        // Somebody else has claimed its attempt.
        let request = place.request(3, "exit 0");
        let at = place.experiment_dir().join("job-3-0/attempts/1");
        std::fs::create_dir_all(&at).unwrap();
        std::os::unix::fs::symlink("somebody-else", at.join("agent")).unwrap();
        let handle = place.send(client.as_ref(), &request).await;
        let expected = failed(Cause::NodeFailure);
        assert_eq!(place.end(client.as_ref(), &handle).await, expected);
        assert_eq!(place.ledger(), ["job-0-0", "job-1-0", "job-2-0"]);
    }
}

#[tokio::test]
async fn what_was_refused_leaves_nothing() {
    for place in places() {
        let place = place.with(json!({"pull": "never"}));
        let client = place.client();
        let missing = [("exit 0", json!({"container_image": "mizzen-test/no-such"}))];
        let refused = client.submit(&place.unit(0, &missing)).await;
        let Err(SubmitError::Rejected(words)) = refused else {
            panic!("{refused:?}");
        };
        assert!(words.contains("mizzen-test/no-such"), "{words}");
        // The second member's image is not there either: the first's container is taken back.
        let half = [
            ("exit 0", json!({})),
            ("exit 0", json!({"container_image": "mizzen-test/no-such"})),
        ];
        let refused = client.submit(&place.unit(1, &half)).await;
        assert!(
            matches!(refused, Err(SubmitError::Rejected(_))),
            "{refused:?}"
        );
        let source = [("exit 0", json!({"volumes": ["/no/such/folder:/data"]}))];
        let refused = client.submit(&place.unit(3, &source)).await;
        assert!(
            matches!(refused, Err(SubmitError::Rejected(_))),
            "{refused:?}"
        );
        assert_eq!(place.left(), [""; 0]);
        assert_eq!(place.ledger(), [""; 0]);
        assert_eq!(place.told(), [""; 0].map(std::path::PathBuf::from));
    }
}

#[tokio::test]
async fn a_name_that_is_taken_by_others_is_left_alone() {
    for place in places() {
        let client = place.client();
        let request = place.request(0, "exit 0");
        let name = format!("{}-job-0-0", request.key);
        let name_option = format!("--name={name}");
        place
            .engine
            .by_hand(&["create", &name_option, IMAGE, "true"]);
        let refused = client.submit(&request).await;
        let Err(SubmitError::Rejected(words)) = refused else {
            panic!("{refused:?}");
        };
        assert!(words.contains(&name), "{words}");
        place.engine.by_hand(&["rm", &name]);
        assert_eq!(place.ledger(), [""; 0]);
    }
}

#[tokio::test]
async fn two_who_send_the_same_run_it_once() {
    for place in places() {
        for (number, request) in [place.request(0, "exit 0"), pair(&place, 1)]
            .iter()
            .enumerate()
        {
            let clients: Vec<_> = (0..3).map(|_| place.client()).collect();
            let sent = async |client: &dyn Scheduler| loop {
                match client.submit(request).await {
                    Ok(handle) => return handle,
                    // One who got in another's way is told to come again.
                    Err(SubmitError::Later(_)) => tokio::task::yield_now().await,
                    Err(other) => panic!("{other:?}"),
                }
            };
            let handles = tokio::join!(
                sent(clients[0].as_ref()),
                sent(clients[1].as_ref()),
                sent(clients[2].as_ref()),
            );
            let handle = handles.0;
            assert_eq!((&handle, &handle), (&handles.1, &handles.2));
            for client in &clients {
                client.watch(&handle, request);
                let ends = place.ends(client.as_ref(), &handle).await;
                assert!(ends.iter().all(|end| verdict(end) == WELL), "{ends:?}");
            }
            clients[0].forget(&handle).await;
            let expected: &[&str] = match number {
                0 => &["job-0-0"],
                _ => &["job-0-0", "job-1-0", "job-1-1"],
            };
            assert_eq!(place.ledger(), expected);
        }
    }
}

/// A group whose members end when both have begun.
fn pair(place: &Place, number: u32) -> Request {
    let both = "until [ $(grep -c . ledger) -ge $N ]; do sleep 0.02; done";
    let both = both.replace("$N", &(number + 2).to_string());
    place.unit(number, &[(&both, json!({})), (&both, json!({}))])
}

/// Makes what is sent at a place.
type Make = fn(&Place) -> Request;

/// What is sent when clients are killed and connections break: a job alone, a group, and a job whose files go by the tunnel. Podman
/// is slow, and gets the group, which has the most steps.
fn units(place: Place) -> Vec<(Place, Make)> {
    let group: (Place, Make) = (place.anew(), |place| pair(place, 0));
    if matches!(place.engine, Answers::Podman(_)) {
        return vec![group];
    }
    let far: (Place, Make) = (place.anew().elsewhere(), |place| place.request(0, "exit 0"));
    vec![(place, |place| place.request(0, "exit 0")), group, far]
}

/// It ends well, has begun once, and leaves nothing.
async fn ends_well_once(place: &Place, client: &dyn Scheduler, handle: &Handle, step: &str) {
    let ends = place.ends(client, handle).await;
    assert!(
        ends.iter().all(|end| verdict(end) == WELL),
        "{step}: {ends:?}"
    );
    client.forget(handle).await;
    assert_eq!(place.left(), [""; 0], "{step}");
    assert_eq!(
        place.told(),
        [""; 0].map(std::path::PathBuf::from),
        "{step}"
    );
    let ledger = place.ledger();
    let once: BTreeSet<&String> = ledger.iter().collect();
    assert_eq!(once.len(), ledger.len(), "{step}: {ledger:?}");
    assert_eq!(ledger.len(), ends.len(), "{step}: {ledger:?}");
}

#[tokio::test]
async fn a_client_is_killed_at_every_step_of_a_submission() {
    for (first, request) in places().into_iter().flat_map(units) {
        for after in [false, true] {
            for step in 1.. {
                let place = match first.settings.get("tunnel") {
                    None => first.anew(),
                    Some(_) => first.anew().elsewhere(),
                };
                let request = request(&place);
                place.tunnel.fault(step, Fault::Hung { after });
                let client = place.client();
                let whole = tokio::select! {
                    sent = client.submit(&request) => { sent.unwrap(); true }
                    () = place.tunnel.hung() => false,
                };
                drop(client);
                place.tunnel.no_faults();
                let at = format!("{step} {after}: {:?}", place.tunnel.commands().last());
                let next = place.client();
                let handle = place.send_or_find(next.as_ref(), &request).await;
                ends_well_once(&place, next.as_ref(), &handle, &at).await;
                if whole {
                    assert!(step > 2, "{step}");
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn the_connection_breaks_at_every_step_of_a_submission() {
    for (first, request) in places().into_iter().flat_map(units) {
        for fault in [
            Fault::Interrupted { after: false },
            Fault::Interrupted { after: true },
            Fault::Unreachable,
        ] {
            for step in 1.. {
                let place = match first.settings.get("tunnel") {
                    None => first.anew(),
                    Some(_) => first.anew().elsewhere(),
                };
                let request = request(&place);
                place.tunnel.fault(step, fault);
                let client = place.client();
                let sent = client.submit(&request).await;
                let over = place.tunnel.is_over();
                place.tunnel.no_faults();
                let at = format!("{step} {fault:?}: {:?}", place.tunnel.commands());
                let handle = match sent {
                    Ok(handle) => {
                        client.watch(&handle, &request);
                        handle
                    }
                    Err(SubmitError::Uncertain(_)) => {
                        place.send_or_find(client.as_ref(), &request).await
                    }
                    Err(SubmitError::Unreachable(_) | SubmitError::Later(_)) => {
                        place.send(client.as_ref(), &request).await
                    }
                    Err(other) => panic!("{at}: {other:?}"),
                };
                ends_well_once(&place, client.as_ref(), &handle, &at).await;
                if !over {
                    assert!(step > 2, "{step}");
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn cancelling_ends_what_runs_also_by_another_client() {
    for place in places() {
        for (number, mode, other) in [
            (0, CancelMode::Terminate, false),
            (1, CancelMode::Kill, false),
            (2, CancelMode::Terminate, true),
            (3, CancelMode::Kill, true),
        ] {
            let mut client = place.client();
            let request = place.request(number, UNTIL_TOLD);
            let handle = place.send(client.as_ref(), &request).await;
            place.until_it_runs(client.as_ref(), &handle).await;
            if other {
                client = place.client();
                client.watch(&handle, &request);
            }
            client.cancel(&handle, mode).await.unwrap();
            // Saying so twice changes nothing.
            client.cancel(&handle, mode).await.unwrap();
            assert_eq!(place.end(client.as_ref(), &handle).await, CANCELLED);
            client.forget(&handle).await;
            assert_eq!(place.left(), [""; 0]);
        }
    }
}

#[tokio::test]
async fn the_members_of_a_group_end_together() {
    for place in places() {
        let client = place.client();
        // The leader has ended well: the others go.
        let request = place.unit(
            0,
            &[
                ("until [ -s up ]; do sleep 0.02; done", json!({})),
                (UNTIL_TOLD, json!({})),
            ],
        );
        let handle = place.send(client.as_ref(), &request).await;
        let ends = place.ends(client.as_ref(), &handle).await;
        assert_eq!(verdict(&ends[0]), WELL, "{ends:?}");
        assert_eq!(ends[1].state, JobState::Succeeded, "{ends:?}");
        client.forget(&handle).await;
        // A member has failed: the others go with it.
        let request = place.unit(2, &[(UNTIL_TOLD, json!({})), ("exit 7", json!({}))]);
        let handle = place.send(client.as_ref(), &request).await;
        let ends = place.ends(client.as_ref(), &handle).await;
        assert_eq!(verdict(&ends[1]), failed(Cause::AppFailure), "{ends:?}");
        assert_ne!(ends[0].state, JobState::Succeeded, "{ends:?}");
        client.forget(&handle).await;
        assert_eq!(place.left(), [""; 0]);
    }
}

#[tokio::test]
async fn a_container_that_somebody_removes_is_told_of() {
    for place in places() {
        let client = place.client();
        let request = place.request(0, UNTIL_TOLD);
        let handle = place.send(client.as_ref(), &request).await;
        place.until_it_runs(client.as_ref(), &handle).await;
        place.until_begun().await;
        let name = format!("{}-job-0-0", request.key);
        place.engine.by_hand(&["rm", "--force", &name]);
        let ends = place.ends(client.as_ref(), &handle).await;
        assert_ne!(ends[0].state, JobState::Succeeded, "{ends:?}");
        assert!(ends[0].message.is_some(), "{ends:?}");
        // It is not run again.
        let late = place.client();
        let found = late.find(&request.key, &request).await.unwrap();
        assert_eq!(found, Some(handle));
        assert_eq!(place.ledger(), ["job-0-0"]);
    }
}

#[tokio::test]
async fn forty_at_once_and_one_stream() {
    for place in places() {
        let client = place.client();
        let requests: Vec<Request> = (0..40)
            .map(|number| place.request(number, "exit 0"))
            .collect();
        let sent = client.submit_many(&requests).await;
        let handles: Vec<Handle> = sent.into_iter().map(Result::unwrap).collect();
        for (handle, request) in handles.iter().zip(&requests) {
            client.watch(handle, request);
        }
        for handle in &handles {
            assert_eq!(place.end(client.as_ref(), handle).await, WELL);
            client.forget(handle).await;
        }
        let ledger = place.ledger();
        let once: BTreeSet<&String> = ledger.iter().collect();
        assert_eq!((ledger.len(), once.len()), (40, 40), "{ledger:?}");
        assert_eq!(place.left(), [""; 0]);
        if let Answers::Fake(engine) = &place.engine {
            assert_eq!(engine.streams(), 1);
        }
    }
}

#[tokio::test]
async fn an_image_is_pulled_once_for_all_who_want_it() {
    let place = Place::fake();
    let Answers::Fake(engine) = &place.engine else {
        unreachable!("it was asked for");
    };
    engine.image_elsewhere("far");
    let client = place.client();
    let requests: Vec<Request> = (0..3)
        .map(|number| place.unit(number, &[("exit 0", json!({"container_image": "far"}))]))
        .collect();
    let again = async || {
        while !client.wants_again() {
            client.changed().await;
        }
    };
    let sent = client.submit_many(&requests).await;
    for one in &sent {
        assert!(matches!(one, Err(SubmitError::Later(_))), "{one:?}");
    }
    tokio::time::timeout(LIMIT, again()).await.unwrap();
    for (sent, request) in client
        .submit_many(&requests)
        .await
        .into_iter()
        .zip(&requests)
    {
        let handle = sent.unwrap();
        client.watch(&handle, request);
        assert_eq!(place.end(client.as_ref(), &handle).await, WELL);
    }
    assert_eq!(engine.pulls(), 1);
    // One that nobody has.
    let nowhere = [("exit 0", json!({"container_image": "nowhere"}))];
    let request = place.unit(9, &nowhere);
    let sent = client.submit(&request).await;
    assert!(matches!(sent, Err(SubmitError::Later(_))), "{sent:?}");
    tokio::time::timeout(LIMIT, again()).await.unwrap();
    let sent = client.submit(&request).await;
    let Err(SubmitError::Rejected(words)) = sent else {
        panic!("{sent:?}");
    };
    assert!(
        words.contains("nowhere") && words.contains("manifest unknown"),
        "{words}"
    );
}

#[tokio::test]
async fn silence_says_nothing_of_jobs() {
    let place = Place::fake();
    let Answers::Fake(engine) = &place.engine else {
        unreachable!("it was asked for");
    };
    let client = place.client();
    let request = place.request(0, "echo up >>up; until [ -e go ]; do sleep 0.02; done");
    let handle = place.send(client.as_ref(), &request).await;
    place.until_it_runs(client.as_ref(), &handle).await;
    engine.silent(true);
    let refused = client.submit(&place.request(1, "exit 0")).await;
    assert!(
        matches!(refused, Err(SubmitError::Unreachable(_))),
        "{refused:?}"
    );
    // It ends while nobody hears of it.
    std::fs::write(place.experiment_dir().join("go"), "").unwrap();
    let record = place.experiment_dir().join("job-0-0/attempts/1/exit.json");
    while !record.exists() {
        tokio::task::yield_now().await;
    }
    let seen = client.observe(std::slice::from_ref(&handle)).await;
    assert!(!matches!(&seen, Ok(seen) if !seen.is_empty()), "{seen:?}");
    engine.silent(false);
    assert_eq!(place.end(client.as_ref(), &handle).await, WELL);
    // What could not be sent can be now.
    assert!(client.wants_again());
}

#[tokio::test]
async fn a_gpu_is_one_containers_until_it_ends() {
    let place = Place::fake().with(json!({"gpus": ["0", "GPU-b"], "num_gpus": 1}));
    let given = || {
        let format = "--format={{.Label \"mizzen.gpus\"}}";
        let told = place.engine.by_hand(&["ps", "--all", format]);
        let mut names: Vec<String> = told.lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    let script = |number: u32| format!("until [ -e go-{number} ]; do sleep 0.02; done");
    let requests: Vec<Request> = (0..3)
        .map(|number| place.request(number, &script(number)))
        .collect();
    let client = place.client();
    let first = place.send(client.as_ref(), &requests[0]).await;
    assert_eq!(given(), ["0"]);
    place.send(client.as_ref(), &requests[1]).await;
    assert_eq!(given(), ["0", "GPU-b"]);
    // The engine keeps the book: whoever asks.
    for client in [client.as_ref(), place.client().as_ref()] {
        let waits = client.submit(&requests[2]).await;
        let Err(SubmitError::Later(words)) = waits else {
            panic!("{waits:?}");
        };
        assert!(words.contains("0 of 1 free"), "{words}");
    }
    std::fs::write(place.experiment_dir().join("go-0"), "").unwrap();
    assert_eq!(place.end(client.as_ref(), &first).await, WELL);
    assert!(client.wants_again());
    assert_eq!(given(), ["GPU-b"]);
    let third = place.send(client.as_ref(), &requests[2]).await;
    assert_eq!(given(), ["0", "GPU-b"]);
    std::fs::write(place.experiment_dir().join("go-2"), "").unwrap();
    assert_eq!(place.end(client.as_ref(), &third).await, WELL);
    // More than there are, and all of them beside somebody.
    let of = |number: u32, count: i32| {
        let settings = json!({"gpus": ["0", "GPU-b"], "num_gpus": count});
        place.unit(number, &[("exit 0", settings)])
    };
    let refused = client.submit(&of(3, 3)).await;
    assert!(
        matches!(&refused, Err(SubmitError::Rejected(words)) if words.contains("asks for 3")),
        "{refused:?}"
    );
    let waits = client.submit(&of(4, -1)).await;
    assert!(matches!(waits, Err(SubmitError::Later(_))), "{waits:?}");
    std::fs::write(place.experiment_dir().join("go-1"), "").unwrap();
    let all = async || loop {
        match client.submit(&of(4, -1)).await {
            Ok(handle) => return handle,
            Err(SubmitError::Later(_)) => client.changed().await,
            Err(other) => panic!("{other:?}"),
        }
    };
    let all = tokio::time::timeout(LIMIT, all()).await.unwrap();
    client.watch(&all, &of(4, -1));
    assert_eq!(place.end(client.as_ref(), &all).await, WELL);
}
