//! What an engine does not take: said at once, in its own words, and nothing stays.

use serde_json::json;

use crate::engine::Engine;
use crate::jobs::{run, task};
use crate::scene::ends;
use crate::support::Session;

/// Runs `true` with these settings, which must fail to start; the words.
fn refused(engine: &Engine, image: &str, settings: &str) -> String {
    let session = engine.session("");
    engine.executor(&session, image, settings);
    told(&session)
}

fn told(session: &Session) -> String {
    let said = session.run(&["run", "-e", "box", "--", "true"]);
    assert_eq!(said.status, 4, "{said:?}");
    said.stderr
}

#[test]
fn what_is_not_there_is_named() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    for (image, settings, words) in [
        ("no-such", "pull = \"never\"", "No such image"),
        ("no-such", "", "can't be pulled"),
        (
            "busybox",
            "engine = \"no-such-engine\"",
            "there is no program `no-such-engine`",
        ),
        (
            "busybox",
            "volumes = [\"/no/such/folder:/x\"]",
            "/no/such/folder is not there",
        ),
        (
            "busybox",
            "volumes = [\"data:x\"]",
            "must begin with a slash",
        ),
        ("busybox", "runtime = \"no-such\"", "no-such"),
        ("busybox", "user = \"nobody-here\"", "nobody-here"),
        (
            "busybox",
            "additional_kwargs = { cap_add = [\"NO_SUCH\"] }",
            "NO_SUCH",
        ),
        (
            "busybox",
            "additional_kwargs = { restart_policy = \"always\" }",
            "retries",
        ),
    ] {
        let said = refused(engine, image, settings);
        assert!(said.contains(words), "{settings}: {said}");
    }
    let session = engine
        .session("")
        .with("DOCKER_HOST", "unix:///no/such/docker.sock");
    let id = crate::scene::launch_detached(
        &session,
        &json!({ "title": "none", "tasks": [task("none", "true")] }),
    );
    let words = session
        .home()
        .join(format!("experiments/none/{id}/not-sent.json"));
    crate::scene::until("it is told why nothing is sent", || {
        let said = std::fs::read_to_string(&words).unwrap_or_default();
        said.contains("/no/such/docker.sock").then_some(())
    });
    session.ok(&["cancel", &id]);
}

#[test]
fn an_image_for_another_processor_is_told() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine.session("");
    engine.executor(&session, "arm64", "");
    let status = run(
        &session,
        &json!({ "title": "arm", "tasks": [task("arm", "true")] }),
    );
    assert_eq!(ends(&status)["arm"], "FAILED launch-failure");
    let told = session.ok(&["status", status["id"].as_str().unwrap()]);
    assert!(told.contains("another kind of processor"), "{told}");
}

#[test]
fn a_name_or_a_port_that_is_taken_is_told() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    // The port of a container that is not ours.
    engine
        .docker(&[
            "run",
            "--detach",
            "--name=mizzen-test-port",
            "--publish=127.0.0.1:18080:80",
            "mizzen-test/busybox",
            "sleep",
            "600",
        ])
        .unwrap();
    let said = refused(engine, "busybox", "ports = [\"127.0.0.1:18080:80\"]");
    engine
        .docker(&["rm", "--force", "mizzen-test-port"])
        .unwrap();
    assert!(
        said.contains("address already in use") || said.contains("already allocated"),
        "{said}"
    );

    // A container that has the name which the second attempt will get.
    let session = engine.session("");
    let gate = session.gate("gate");
    engine.executor(
        &session,
        "busybox",
        &format!("volumes = [\"{0}:{0}\"]", session.workdir().display()),
    );
    let mut twice = task("twice", &format!("read x <{}; exit 1", gate.display()));
    twice["retries"] = json!(1);
    let id =
        crate::scene::launch_detached(&session, &json!({ "title": "twice", "tasks": [twice] }));
    crate::jobs::until_state(&session, &id, "twice", "RUNNING");
    let name = format!("--name=mz-{id}-0-2-twice");
    engine
        .docker(&["create", &name, "mizzen-test/busybox", "true"])
        .unwrap();
    session.release("gate");
    assert_eq!(session.run(&["wait", &id]).status, 4);
    let told = session.ok(&["status", &id]);
    assert!(told.contains("is taken"), "{told}");
    // It is not ours to remove.
    engine
        .docker(&["rm", &format!("mz-{id}-0-2-twice")])
        .unwrap();
}

#[test]
fn doctor_tells_what_would_be_refused() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine.session("volumes = [\"/tmp:/data\", \"/$nemo_run/x:/x\", \"named:/y\"]");
    let well = session.run(&["doctor", "box"]);
    assert_eq!(well.status, 0, "{well:?}");
    for words in ["docker ", "mizzen-test/busybox (linux/", "/tmp on"] {
        assert!(well.stdout.contains(words), "{words}: {well:?}");
    }
    for (image, settings, words) in [
        ("no-such", "pull = \"never\"", "no-such is not on"),
        ("busybox", "volumes = [\"/no/such:/x\"]", "/no/such"),
        ("busybox", "volumes = [\"x\"]", "source:there"),
        ("busybox", "num_gpus = 99", "of NVIDIA's on"),
        ("busybox", "cpus = -1.0", "over 0"),
        ("busybox", "engine = \"no-such-engine\"", "no-such-engine"),
    ] {
        engine.executor(&session, image, settings);
        let said = session.run(&["doctor", "box"]);
        assert_ne!(said.status, 0, "{settings}: {said:?}");
        assert!(said.stdout.contains(words), "{settings}: {said:?}");
    }
    // What is only not there yet is no failure.
    engine.executor(&session, "no-such", "");
    let said = session.run(&["doctor", "box"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.stdout.contains("is not on"), "{said:?}");
}
