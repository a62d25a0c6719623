//! Supervisors are killed at random moments of their submissions: jobs are found again by their names, and run once.

use std::time::Duration;

use serde_json::json;

use crate::attempts::attempts;
use crate::engine::Engine;
use crate::jobs::{file, task, until_gone};
use crate::scene::{Dice, Scene, kill_9, launch_detached, pause, status};

#[test]
fn supervisors_are_killed_at_random_moments_and_jobs_run_once() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let mut dice = Dice(7_2026);
    let session = engine.session("slots = 2");
    for round in 0..8 {
        let mut many = task(
            "many",
            "echo $MIZZEN_JOB_NAME >>$MIZZEN_EXPERIMENT_DIR/ledger",
        );
        many["sweep"] = json!({ "n": [1, 2, 3] });
        let mut pair = [
            task("left", "sleep 0.3"),
            task("right", "echo right >>$MIZZEN_EXPERIMENT_DIR/ledger"),
        ];
        for one in &mut pair {
            one["group"] = json!("pair");
        }
        let [left, right] = pair;
        let id = launch_detached(
            &session,
            &json!({ "title": "killed", "groups": { "pair": {} }, "tasks": [many, left, right] }),
        );
        // Making and starting a container takes a third of a second.
        for _ in 0..3 {
            pause(Duration::from_millis(dice.below(400)));
            for supervisor in session.supervisors(&id) {
                kill_9(supervisor);
            }
            // Whoever looks starts another.
            session.run(&["status", &id]);
        }
        assert_eq!(
            session.run(&["wait", &id]).status,
            0,
            "{round}: {:#}",
            status(&session, &id)
        );
        let status = status(&session, &id);
        for name in ["many-n=1", "many-n=2", "many-n=3", "left", "right"] {
            assert_eq!(
                attempts(&status, name),
                ["1 SUCCEEDED -"],
                "{round}: {status:#}"
            );
        }
        let mut lines: Vec<String> = file(&session, &status, "ledger")
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        assert_eq!(
            lines,
            ["many-n=1", "many-n=2", "many-n=3", "right"],
            "{round}"
        );
        until_gone(engine, &id);
    }
}
