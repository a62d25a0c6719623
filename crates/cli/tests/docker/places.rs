//! An engine on another machine, by ssh: files go there, logs come home.

use serde_json::json;

use crate::engine::Engine;
use crate::jobs::{file, task, until_gone};
use crate::scene::{ends, launch_detached, status, until};
use crate::sshd::Sshd;
use crate::support::Session;

#[test]
fn jobs_run_on_a_machine_that_shares_no_files() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let path = std::env::var("PATH").unwrap();
    let home = engine.folder.join("login");
    std::fs::create_dir_all(&home).unwrap();
    let environment = format!(
        "SetEnv \"DOCKER_HOST={}\" \"PATH={path}\" \"HOME={}\"",
        engine.host(),
        home.display()
    );
    let Some(sshd) = Sshd::start(&environment) else {
        return;
    };
    let jobs = sshd.folder.join("jobs");
    std::fs::create_dir(&jobs).unwrap();
    // Nothing here leads to the engine.
    let session = Session::new().with("TOKEN_OF_MINE", "from afar");
    session.write(
        "mizzen.toml",
        &format!(
            "[executors.box]\nkind = \"docker\"\ncontainer_image = \"mizzen-test/busybox\"\n\
             tunnel = {{ kind = \"ssh\", host = \"box\", job_dir = \"{}\", ssh_config = \"{}\" }}\n",
            jobs.display(),
            sshd.folder.join("ssh_config").display()
        ),
    );
    session.write("data.txt", "sent along\n");
    let mut good = task("good", "cat data.txt; echo $TOKEN; pwd");
    good["secrets"] = json!({ "TOKEN": "env:TOKEN_OF_MINE" });
    let id = launch_detached(
        &session,
        &json!({ "title": "afar", "on_failure": "continue", "tasks": [
            good, task("bad", "exit 3"), task("held", "echo up; sleep 60"),
        ]}),
    );
    let said = session.run(&["logs", "-f", &id, "good"]);
    assert!(said.stdout.contains("sent along\nfrom afar\n"), "{said:?}");
    until("the second has failed, and the third runs", || {
        let jobs = &status(&session, &id)["jobs"];
        (jobs[1]["state"] == "FAILED" && jobs[2]["state"] == "RUNNING").then_some(())
    });
    session.ok(&["cancel", &id]);
    let status = status(&session, &id);
    assert_eq!(
        ends(&status).into_values().collect::<Vec<_>>(),
        ["FAILED app-failure", "SUCCEEDED", "CANCELLED cancelled"]
    );
    let log = file(&session, &status, "good/attempts/1/rank-0.log");
    let there = jobs.join("afar").join(&id).join("good/code");
    assert_eq!(log, format!("sent along\nfrom afar\n{}\n", there.display()));
    // The file with the secret is gone there too.
    let left = std::fs::read_dir(jobs.join("afar").join(&id).join("good/submit")).unwrap();
    assert_eq!(left.count(), 0);
    until_gone(engine, &id);
    // A session goes the same way; the folder here means nothing there.
    let words = [
        "shell",
        "-e",
        "box",
        "--",
        "sh",
        "-c",
        "echo it\\'s $(id -u) at $PWD; exit 5",
    ];
    let said = session.run(&words);
    assert_eq!(
        (said.status, said.stdout.as_str()),
        (5, "it's 0 at /\n"),
        "{said:?}"
    );
}
