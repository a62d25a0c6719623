//! Images of a registry.

use serde_json::{Value, json};

use crate::engine::Engine;
use crate::jobs::{file, run, task};
use crate::scene::ends;
use crate::support::Session;

const IMAGE: &str = "127.0.0.1:5000/far/busybox";

/// Runs two jobs with the image; how they end.
fn two(session: &Session, title: &str, settings: &str) -> Value {
    session.write(
        "mizzen.toml",
        &format!("[executors.box]\nkind = \"docker\"\ncontainer_image = \"{IMAGE}\"\n{settings}\n"),
    );
    run(
        session,
        &json!({ "title": title, "on_failure": "continue", "tasks": [
            task("one", "echo $FROM_IMAGE"), task("two", "echo $FROM_IMAGE"),
        ]}),
    )
}

#[test]
fn images_come_from_a_registry_as_the_settings_say() {
    let Some(engine) = Engine::own() else {
        return;
    };
    engine.registry();
    let docker = |words: &[&str]| engine.docker(words).unwrap();
    docker(&["tag", "mizzen-test/busybox", IMAGE]);
    docker(&["push", "--quiet", IMAGE]);
    docker(&["rmi", IMAGE]);
    let session = engine.session("");
    // Not there, and not to be fetched.
    let status = two(&session, "never", "pull = \"never\"");
    for name in ["one", "two"] {
        assert_eq!(ends(&status)[name], "FAILED launch-failure", "{status:#}");
    }
    let told = session.ok(&["status", "latest"]);
    assert!(told.contains(IMAGE) && told.contains("never"), "{told}");
    // Not there, and fetched.
    let status = two(&session, "missing", "");
    for name in ["one", "two"] {
        assert_eq!(ends(&status)[name], "SUCCEEDED", "{status:#}");
        let log = file(&session, &status, &format!("{name}/attempts/1/rank-0.log"));
        assert_eq!(log, "yes\n");
    }
    docker(&["image", "inspect", IMAGE]);
    // There, and newer elsewhere.
    let made = docker(&["create", "mizzen-test/busybox", "true"]);
    let change = "--change=ENV FROM_IMAGE=newer";
    docker(&["commit", change, made.trim(), IMAGE]);
    docker(&["rm", made.trim()]);
    docker(&["push", "--quiet", IMAGE]);
    docker(&["tag", "mizzen-test/busybox", IMAGE]);
    for (settings, expected) in [("", "yes\n"), ("pull = \"always\"", "newer\n")] {
        let status = two(&session, "there", settings);
        let log = file(&session, &status, "one/attempts/1/rank-0.log");
        assert_eq!(log, expected, "{settings}");
    }
    // Nowhere.
    session.write(
        "mizzen.toml",
        &format!("[executors.box]\nkind = \"docker\"\ncontainer_image = \"{IMAGE}:none\"\n"),
    );
    let status = run(
        &session,
        &json!({ "title": "nowhere", "tasks": [task("one", "true")] }),
    );
    assert_eq!(ends(&status)["one"], "FAILED launch-failure", "{status:#}");
    let told = session.ok(&["status", "latest"]);
    assert!(
        told.contains("can't be pulled") && told.contains("none"),
        "{told}"
    );
}
