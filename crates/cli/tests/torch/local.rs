//! `examples/ddp` on this machine.

use serde_json::Value;

use crate::frameworks::{copy_example, path_with};
use crate::scene::{exit_record, job};
use crate::support::{Said, Session};

/// Few epochs, and the last rank is killed at the fourth of them, once.
pub(crate) const DIES: &str =
    r#"tasks.train.run=["python3", "train.py", "--epochs", "10", "--dies-at", "3"]"#;

fn session() -> Option<Session> {
    let session = Session::new().with("PATH", &path_with("torch")?);
    copy_example(&session, "ddp");
    Some(session)
}

/// What whoever watches is told of the rank that was killed, and what the attempt's record says.
pub(crate) fn says_why(told: &Said, attempt: &Value) {
    for words in ["rank 1 ", " failed first", "killed by SIGKILL"] {
        assert!(told.stderr.contains(words), "no `{words}`: {told:?}");
    }
    let first = exit_record(attempt)["first_failure"].clone();
    assert_eq!(first["reason"]["kind"], "killed", "{first:#}");
    // A launcher that is one process itself names the rank in the reason.
    let rank = [&first["reason"]["rank"], &first["rank"]]
        .into_iter()
        .find(|rank| rank.is_number());
    assert_eq!(rank, Some(&Value::from(1)), "{first:#}");
}

/// Runs the example with more settings; what was told meanwhile, and the job's attempts.
fn train(session: &Session, settings: &[&str]) -> (Said, Value) {
    let mut words = vec!["launch", "experiment.toml", "--set", DIES];
    for setting in settings {
        words.extend(["--set", setting]);
    }
    let said = session.run(&words);
    let status = session.json(&["status", "--json"]);
    assert_eq!(said.status, 0, "{said:?}\n{status:#}");
    (said, job(&status, "train")["attempts"].clone())
}

/// Some of what an attempt has written, by `mizzen logs`.
fn log(session: &Session, attempt: &str) -> String {
    session.ok(&["logs", "latest", "train", "--attempt", attempt])
}

#[test]
fn ranks_train_and_go_on_after_one_was_killed() {
    let Some(session) = session() else { return };
    let (told, attempts) = train(&session, &[]);
    assert_eq!(attempts.as_array().unwrap().len(), 2, "{attempts:#}");
    assert_eq!(attempts[0]["cause"], "app-failure", "{attempts:#}");
    says_why(&told, &attempts[0]);
    let before = log(&session, "1");
    assert!(before.contains("rank 1 of 2: from epoch 0"), "{before}");
    let after = log(&session, "2");
    assert!(after.contains("rank 1 of 2: from epoch 3"), "{after}");
    assert!(after.contains("epoch 10: loss"), "{after}");
}

#[test]
fn ranks_are_started_again_inside_the_attempt() {
    let Some(session) = session() else { return };
    let launcher = r#"tasks.train.launcher={ kind = "ranks", max_restarts = 1 }"#;
    let (_, attempts) = train(&session, &[launcher]);
    assert_eq!(attempts.as_array().unwrap().len(), 1, "{attempts:#}");
    let restarts = exit_record(&attempts[0])["restarts"].clone();
    assert_eq!(restarts.as_array().unwrap().len(), 1, "{restarts:#}");
    assert_eq!(restarts[0]["first_failure"]["rank"], 1, "{restarts:#}");
    let log = log(&session, "1");
    assert!(log.contains("rank 1 of 2: from epoch 3"), "{log}");
}

#[test]
fn torchrun_trains_and_goes_on_after_a_rank_was_killed() {
    let Some(session) = session() else { return };
    let (told, attempts) = train(&session, &["tasks.train.launcher=torchrun"]);
    assert_eq!(attempts.as_array().unwrap().len(), 2, "{attempts:#}");
    assert_eq!(attempts[0]["cause"], "app-failure", "{attempts:#}");
    says_why(&told, &attempts[0]);
    let after = log(&session, "2");
    assert!(after.contains("rank 1 of 2: from epoch 3"), "{after}");
}
