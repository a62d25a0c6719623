//! What breaks while containers run.

use serde_json::json;

use crate::attempts::attempts;
use crate::engine::Engine;
use crate::jobs::{run, task, until_gone, until_state};
use crate::scene::{ends, launch_detached, status, until};

#[test]
fn the_engine_is_stopped_and_started_again_during_a_job() {
    let Some(engine) = Engine::own() else {
        return;
    };
    let session = engine.session("");
    let mut held = task(
        "held",
        "echo run $MIZZEN_ATTEMPT; [ $MIZZEN_ATTEMPT = 2 ] || sleep 60",
    );
    held["retries"] = json!({ "preempted": 1 });
    let id = launch_detached(&session, &json!({ "title": "stopped", "tasks": [held] }));
    until_state(&session, &id, "held", "RUNNING");
    engine.stop();
    // What is launched meanwhile waits, and says for what.
    let second = launch_detached(
        &session,
        &json!({ "title": "second", "tasks": [task("second", "echo second")] }),
    );
    let words = session
        .home()
        .join(format!("experiments/second/{second}/supervisor.log"));
    until("the supervisor says why nothing is sent", || {
        let said = std::fs::read_to_string(&words).unwrap_or_default();
        said.contains("daemon").then_some(())
    });
    assert_eq!(ends(&status(&session, &second))["second"], "UNSUBMITTED");
    engine.start();
    for id in [&id, &second] {
        assert_eq!(
            session.run(&["wait", id]).status,
            0,
            "{:#}",
            status(&session, id)
        );
    }
    let status = status(&session, &id);
    assert_eq!(
        attempts(&status, "held"),
        ["1 FAILED preempted", "2 SUCCEEDED -"]
    );
    until_gone(&engine, &id);
}

#[test]
fn memory_that_is_used_up_is_told() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine.session("memory = \"32MiB\"");
    let status = run(
        &session,
        &json!({ "title": "memory", "tasks": [task("greedy", "tail /dev/zero")] }),
    );
    assert_eq!(
        ends(&status)["greedy"],
        "FAILED out-of-memory",
        "{status:#}"
    );
}

#[test]
fn a_container_that_somebody_removes_is_told() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine.session("");
    for (words, message) in [
        (&["rm", "--force"][..], "removed by somebody else"),
        (&["kill"][..], "killed or removed by somebody else"),
        (&["stop"][..], "stopped by somebody else"),
    ] {
        let id = launch_detached(
            &session,
            &json!({ "title": "removed", "tasks": [task("held", "sleep 60")] }),
        );
        until_state(&session, &id, "held", "RUNNING");
        let names = engine.containers(&id);
        engine
            .docker(&[words, &[names[0].as_str()]].concat())
            .unwrap();
        assert_eq!(session.run(&["wait", &id]).status, 1);
        let status = status(&session, &id);
        assert_eq!(ends(&status)["held"], "CANCELLED cancelled");
        let told = session.ok(&["status", &id]);
        assert!(told.contains(message), "{told}");
        let told = crate::scene::job(&status, "held")["message"].as_str();
        assert!(told.unwrap().contains(message), "{status:#}");
        until_gone(engine, &id);
    }
}

#[test]
fn a_container_that_vanished_while_nobody_looked_is_lost() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine.session("");
    let id = launch_detached(
        &session,
        &json!({ "title": "lost", "tasks": [task("held", "sleep 60")] }),
    );
    until_state(&session, &id, "held", "RUNNING");
    use crate::scene::Scene as _;
    for supervisor in session.supervisors(&id) {
        crate::scene::kill_9(supervisor);
    }
    let names = engine.containers(&id);
    engine.docker(&["rm", "--force", &names[0]]).unwrap();
    assert_eq!(session.run(&["wait", &id]).status, 1);
    assert_eq!(ends(&status(&session, &id))["held"], "FAILED lost");
}

/// A small disk at a folder; gone at the end, however that comes.
struct Disk(std::path::PathBuf);

impl Disk {
    fn new() -> Disk {
        let folder = std::env::temp_dir().join(format!("mizzen-disk-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
            .arg(&folder)
            .status();
        assert!(mounted.unwrap().success());
        Disk(folder)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(&self.0)
            .status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_full_disk_is_told_and_nothing_is_lost() {
    if Engine::shared().is_none() {
        return;
    }
    // Everything that mizzen keeps is on a disk of a few megabytes, which an engine that is started after it sees as well.
    let disk = Disk::new();
    let home = disk.0.join("home");
    let Some(engine) = Engine::own() else {
        return;
    };
    let session = engine
        .session("slots = 1")
        .with("MIZZEN_HOME", &home.display().to_string());
    let fill = "dd if=/dev/zero of=$MIZZEN_JOB_DIR/x bs=64k; echo full >&2";
    let id = launch_detached(
        &session,
        &json!({ "title": "full", "on_failure": "continue", "tasks": [
            task("freed", &format!("{fill}; rm $MIZZEN_JOB_DIR/x; exit 6")),
            task("next", "true"),
        ]}),
    );
    assert_eq!(session.run(&["wait", &id]).status, 1);
    let status = status(&session, &id);
    assert_eq!(ends(&status)["freed"], "FAILED app-failure", "{status:#}");
    assert_eq!(ends(&status)["next"], "SUCCEEDED", "{status:#}");
}
