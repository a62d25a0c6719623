//! Every example runs to the end that its README tells of, from a copy of its folder as it stands in the repository.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::Session;

/// A session with a copy of an example in its working directory.
fn session(example: &str) -> Session {
    let session = Session::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(example);
    for entry in
        std::fs::read_dir(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()))
    {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, session.workdir().join(path.file_name().unwrap())).unwrap();
        }
    }
    session
}

/// The states of an experiment's jobs, and how many attempts each had.
fn jobs(session: &Session, experiment: &str) -> Vec<(String, String, usize)> {
    let status = session.json(&["status", experiment, "--json"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let jobs = status["jobs"].as_array().unwrap().iter();
    jobs.map(|job| {
        (
            text(&job["name"]),
            text(&job["state"]),
            job["attempts"].as_array().unwrap().len(),
        )
    })
    .collect()
}

fn folder(session: &Session, title: &str) -> PathBuf {
    let titles = session.home().join("experiments").join(title);
    let mut ids = std::fs::read_dir(titles).unwrap();
    let folder = ids.next().unwrap().unwrap().path();
    assert!(ids.next().is_none(), "one experiment was launched");
    folder
}

#[test]
fn iris_trains_a_sweep_and_reports_the_best() {
    let session = session("iris");
    let said = session.run(&["launch", "experiment.toml"]);
    assert_eq!(said.status, 0, "{said:?}");
    let jobs = jobs(&session, "iris");
    assert!(
        jobs.iter()
            .all(|(_, state, attempts)| state == "SUCCEEDED" && *attempts == 1),
        "{jobs:?}"
    );
    let trained = jobs
        .iter()
        .filter(|(name, ..)| name.starts_with("train-lr="))
        .count();
    assert_eq!((trained, jobs.len()), (4, 6), "{jobs:?}");
    let report =
        std::fs::read_to_string(folder(&session, "iris").join("evaluate/report.md")).unwrap();
    assert!(report.contains("Best learning rate: 1."), "{report}");
    let output = session.ok(&["logs", "iris", "evaluate"]);
    assert!(output.contains("Best learning rate: 1."), "{output}");
    let progress = session.ok(&["logs", "iris", "train-lr=0.1", "--grep", "^epoch"]);
    assert!(
        progress.lines().count() > 3 && progress.lines().all(|line| line.contains("loss")),
        "{progress}"
    );
}

#[test]
fn iris_can_be_swept_over_other_rates() {
    let session = session("iris");
    let said = session.run(&[
        "launch",
        "experiment.toml",
        "--set",
        "tasks.train.sweep.lr=[0.3, 3]",
    ]);
    assert_eq!(said.status, 0, "{said:?}");
    let names: Vec<String> = jobs(&session, "iris")
        .into_iter()
        .map(|(name, ..)| name)
        .collect();
    assert_eq!(names, ["prepare", "train-lr=0.3", "train-lr=3", "evaluate"]);
}

#[test]
fn retry_succeeds_at_the_third_attempt() {
    let session = session("retry");
    let said = session.run(&["launch", "experiment.toml"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(
        jobs(&session, "retry"),
        [("flaky".to_owned(), "SUCCEEDED".to_owned(), 3)]
    );
    let first = session.ok(&["logs", "retry", "flaky", "--attempt", "1"]);
    assert!(first.contains("attempt 1"), "{first}");
}

#[test]
fn retry_fails_when_the_budget_is_too_small() {
    let session = session("retry");
    let said = session.run(&[
        "launch",
        "experiment.toml",
        "--set",
        "tasks.flaky.retries.failure=1",
    ]);
    assert_eq!(said.status, 1, "{said:?}");
    assert_eq!(
        jobs(&session, "retry"),
        [("flaky".to_owned(), "FAILED".to_owned(), 2)]
    );
}

#[test]
fn the_server_ends_with_its_client() {
    let session = session("server-client");
    let said = session.run(&["launch", "experiment.toml"]);
    assert_eq!(said.status, 0, "{said:?}");
    let jobs = jobs(&session, "latest");
    assert_eq!(jobs.len(), 2);
    assert!(
        jobs.iter()
            .all(|(_, state, attempts)| state == "SUCCEEDED" && *attempts == 1),
        "{jobs:?}"
    );
    let answers = session.ok(&["logs", "latest", "client"]);
    assert!(!answers.trim().is_empty());
}
