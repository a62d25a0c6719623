//! The examples that can run in containers do.

use crate::engine::Engine;
use crate::jobs::file;
use crate::scene::{ends, status};
use crate::support::repository;

#[test]
fn iris_runs_unchanged_in_containers_of_the_image_that_it_builds() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine.session("");
    let source = repository().join("examples/iris");
    for entry in std::fs::read_dir(&source).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, session.workdir().join(path.file_name().unwrap())).unwrap();
    }
    // The example's own base is in a registry, which tests can't reach.
    engine
        .docker(&[
            "build",
            "--quiet",
            "--build-arg=BASE=mizzen-test/python",
            "--tag=mizzen-iris",
            &session.workdir().display().to_string(),
        ])
        .unwrap();
    let said = session.run(&["launch", "experiment.toml", "-e", "docker", "-d"]);
    assert_eq!(said.status, 0, "{said:?}");
    let id = said.stdout.trim();
    assert_eq!(session.run(&["wait", id]).status, 0);
    let status = status(&session, id);
    assert_eq!(ends(&status).len(), 6);
    let log = file(&session, &status, "evaluate/attempts/1/rank-0.log");
    assert!(log.contains("Best learning rate: 1."), "{log}");
    let root = session
        .home()
        .join(format!("experiments/iris/{id}/evaluate/report.md"));
    assert!(root.is_file());
}

#[test]
fn a_line_of_a_plan_can_be_pasted() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine.session("env_vars = { GREETING = \"it's $HOME\" }\nmemory = \"64MiB\"");
    session.write("data.txt", "as it stands\n");
    let text = "echo \"$GREETING\"; cat data.txt; id -u; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null";
    session.write(
        "experiment.json",
        &serde_json::json!({ "title": "paste", "tasks": [crate::jobs::task("paste", text)] })
            .to_string(),
    );
    let plan = session.json(&["plan", "experiment.json", "--json"]);
    let line = plan["jobs"][0]["by_hand"].as_str().unwrap().to_owned();
    let shown = session.ok(&["plan", "experiment.json"]);
    assert!(shown.contains(&line), "{shown}");
    let mut shell = std::process::Command::new("sh");
    let said = shell
        .args(["-c", &line])
        .env("DOCKER_HOST", engine.host())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert_eq!(said, "it's $HOME\nas it stands\n0\n67108864\n", "{line}");
}
