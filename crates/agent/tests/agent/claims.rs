//! Who may start what: claims, devices, folders.

use mizzen_agent::protocol::{Devices, Identity, Refusal, Report};
use mizzen_agent::record::Outcome;

use crate::support::{Agent, LIMIT, Scratch};

#[test]
fn of_two_agents_one_starts_the_job() {
    let scratch = Scratch::new();
    let mut agents = [Agent::start(), Agent::start()];
    for round in 0..50 {
        let job = scratch.shell(&format!("job{round}"), "echo ran");
        for agent in &mut agents {
            agent.run(&job);
        }
        let mut starts = 0;
        let mut takers = Vec::new();
        for agent in &mut agents {
            match agent.report() {
                Report::Started { .. } => {
                    starts += 1;
                    assert_eq!(agent.ended()[0].outcome, Outcome::Succeeded);
                }
                Report::Taken { by, .. } => takers.push(Identity::from_text(&by).unwrap()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((starts, takers.len()), (1, 1));
        assert!(agents.iter().any(|agent| agent.identity == takers[0]));
        assert_eq!(scratch.log(&format!("job{round}"), 0), b"ran\n");
    }
}

#[test]
fn a_folder_that_can_not_be_made_is_no_claim() {
    let scratch = Scratch::new();
    std::fs::write(scratch.text("attempts"), "a file where a folder should be").unwrap();
    let mut agent = Agent::start();
    agent.run(&scratch.shell("job", "true"));
    match agent.report() {
        Report::Refused {
            reason: Refusal::Storage(why),
            ..
        } => assert!(why.contains("attempts/job"), "{why}"),
        other => panic!("{other:?}"),
    }
    // Nothing was claimed: with the folder made the same job runs.
    std::fs::remove_file(scratch.text("attempts")).unwrap();
    assert_eq!(
        agent.finish(&scratch.shell("job", "true")).outcome,
        Outcome::Succeeded
    );
}

#[test]
fn a_log_that_can_not_be_made_gives_the_claim_back() {
    let scratch = Scratch::new();
    std::fs::create_dir_all(scratch.text("attempts/job/rank-0.log")).unwrap();
    let mut agent = Agent::start();
    agent.run(&scratch.shell("job", "true"));
    assert!(matches!(
        agent.report(),
        Report::Refused {
            reason: Refusal::Storage(_),
            ..
        }
    ));
    std::fs::remove_dir(scratch.text("attempts/job/rank-0.log")).unwrap();
    assert_eq!(
        agent.finish(&scratch.shell("job", "true")).outcome,
        Outcome::Succeeded
    );
}

#[test]
fn two_agents_never_share_a_device() {
    let scratch = Scratch::new();
    let go = scratch.fifo("go");
    let devices = |count| Devices {
        count,
        pool: ["0", "1", "GPU-a/b", "3"].map(str::to_owned).to_vec(),
        locks: scratch.text("locks"),
        shared: false,
    };
    let asking = |name: &str, count| {
        let mut job = scratch.shell(
            name,
            &format!("echo $CUDA_VISIBLE_DEVICES; read line < {}", go.path),
        );
        job.devices = Some(devices(count));
        job
    };
    let (mut first, mut second) = (Agent::start(), Agent::start());
    first.run(&asking("first", 2));
    let held = first.started();
    second.run(&asking("second", 1));
    let mut all = held.clone();
    all.extend(second.started());
    assert_eq!(all, ["0", "1", "GPU-a/b"]);
    let mut third = Agent::start();
    third.run(&asking("third", 2));
    match third.report() {
        Report::Refused { reason, .. } => assert_eq!(reason, Refusal::DevicesBusy { free: 1 }),
        other => panic!("{other:?}"),
    }
    assert!(
        !scratch.0.join("attempts/third").exists(),
        "no claim is kept"
    );
    let mut shared = asking("shared", 0);
    shared.devices.as_mut().unwrap().shared = true;
    third.run(&shared);
    assert_eq!(third.started().len(), 4);
    go.write("now\nnow\nnow\n");
    assert_eq!(first.ended()[0].devices, held);
    second.ended();
    third.ended();
    // Free at once, and free at once as well when an agent is killed.
    // (The rank must have come so far that the kernel has closed what it closes on exec.)
    let mut ready = scratch.fifo("ready");
    let mut killed = scratch.shell("third", &format!("echo up > {}; sleep 1000", ready.path));
    killed.devices = Some(devices(4));
    third.run(&killed);
    assert_eq!(third.started().len(), 4);
    ready.line();
    third.child.kill().unwrap();
    third.wait();
    // What the killed rank had started holds no device, but is still there.
    assert!(
        mizzen_agent::identity::sweep(&killed.key, LIMIT)
            .left
            .is_empty()
    );
    first.run(&asking("fourth", 4));
    assert_eq!(first.started().len(), 4);
    go.write("now\n");
    first.ended();
    assert_eq!(scratch.log("first", 0), b"0,1\n");
}

#[test]
fn the_heartbeat_comes_after_its_first_period() {
    let scratch = Scratch::new();
    let heartbeat = scratch.0.join("attempts/job/heartbeat");
    let mut job = scratch.shell(
        "job",
        &format!("until [ -e {} ]; do sleep 0.01; done", heartbeat.display()),
    );
    job.heartbeat = 0.1;
    job.timeout = Some(60.0);
    assert_eq!(Agent::start().finish(&job).outcome, Outcome::Succeeded);
    let short = scratch.shell("short", "true");
    Agent::start().finish(&short);
    assert!(
        !scratch.0.join("attempts/short/heartbeat").exists(),
        "short jobs cost nothing"
    );
}
