//! Many jobs: arrays, what comes before and after them, small limits.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::attempts::attempts;
use crate::desk::{Desk, own, shared, slurm_id, until_booked};
use crate::scene::{Scene, ends};
use crate::slurm::Variant;

/// How many jobs have ended in which way.
fn counted(status: &Value) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for end in ends(status).into_values() {
        *counted.entry(end).or_default() += 1;
    }
    counted
}

#[test]
fn a_hundred_in_one_array_between_others() {
    let Some((_, laptop)) = shared(Variant::Plain, "") else {
        return;
    };
    let session = &laptop.session;
    let never_before = "[ -s $BEFORE ] || exit 9";
    let before = session.workdir().join("before");
    let mut many = session.task("many", &format!("{never_before}; [ ${{NUMBER}} != 57 ]"));
    many["sweep"] = json!({ "number": (0..100).collect::<Vec<u32>>() });
    many["env"] = json!({ "NUMBER": "${number}", "BEFORE": before });
    many["after"] = json!("prepare");
    let mut document = json!({ "title": "hundred", "defaults": { "executor": "cluster" }, "tasks": [
        session.task("prepare", &format!("echo there >{}", before.display())),
        many,
        session.task("all-well", ""),
        session.task("whatever", ""),
        session.task("clean-up", ""),
        session.task("last", ""),
    ]});
    document["tasks"][2]["after"] = json!("many");
    document["tasks"][3]["after"] = json!([{ "task": "many", "when": "any" }]);
    document["tasks"][4]["after"] = json!([{ "task": "many", "when": "failed" }]);
    document["tasks"][5]["after"] = json!(["whatever", "clean-up"]);
    let id = laptop.launch(&document);
    assert_eq!(laptop.wait(&id), 1);
    let status = laptop.status(&id);
    let expected = [
        ("CANCELLED upstream-failed", 1),
        ("FAILED app-failure", 1),
        ("SUCCEEDED", 103),
    ];
    assert_eq!(
        counted(&status),
        expected.map(|(end, count)| (end.to_owned(), count)).into(),
        "{status:#}"
    );
    assert_eq!(ends(&status)["all-well"], "CANCELLED upstream-failed");
    session.ran_as_told(&json!({ "jobs": status["jobs"].as_array().unwrap().iter()
        .filter(|job| job["name"] != "all-well").collect::<Vec<_>>() }));
    // All of the sweep has one number in Slurm.
    let mut numbers: Vec<String> = status["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|job| job["name"].as_str().unwrap().starts_with("many"))
        .map(|job| {
            let id = slurm_id(&status, job["name"].as_str().unwrap());
            id.split_once('_').unwrap().0.to_owned()
        })
        .collect();
    numbers.dedup();
    assert_eq!(numbers.len(), 1, "{numbers:?}");
    let failed = status["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|job| job["state"] == "FAILED")
        .unwrap();
    assert!(failed["name"].as_str().unwrap().ends_with("57"), "{failed}");
    assert_eq!(failed["attempts"][0]["exit_code"], 1);
}

#[test]
fn small_limits_split_arrays_and_feed_slowly() {
    let Some((laptop, cluster)) = own(Variant::Small, "") else {
        return;
    };
    let mut task = laptop.session.task("many", "");
    task["sweep"] = json!({ "number": (0..60).collect::<Vec<u32>>() });
    task["executor"] = json!("cluster");
    let id = laptop.launch(&json!({ "title": "small", "tasks": [task] }));
    assert_eq!(laptop.wait(&id), 0, "{:?}", counted(&laptop.status(&id)));
    let status = laptop.status(&id);
    assert_eq!(counted(&status), [("SUCCEEDED".to_owned(), 60)].into());
    laptop.session.ran_as_told(&status);
    until_booked(&cluster, &id, 60);
    let largest = status["jobs"].as_array().unwrap().iter().map(|job| {
        let id = slurm_id(&status, job["name"].as_str().unwrap());
        id.split_once('_')
            .map_or(0, |(_, index)| index.parse::<u32>().unwrap())
    });
    assert!(largest.max().unwrap() <= 10);
}

#[test]
fn a_sweep_without_arrays() {
    let Some((cluster, laptop)) = shared(Variant::Plain, "arrays = false") else {
        return;
    };
    let mut task = laptop.session.task("each", "");
    task["sweep"] = json!({ "number": [1, 2, 3] });
    task["executor"] = json!("cluster");
    let id = laptop.launch(&json!({ "title": "singles", "tasks": [task] }));
    assert_eq!(laptop.wait(&id), 0);
    let status = laptop.status(&id);
    for one in status["jobs"].as_array().unwrap() {
        let name = one["name"].as_str().unwrap();
        assert!(!slurm_id(&status, name).contains('_'));
        assert_eq!(attempts(&status, name), ["1 SUCCEEDED -"]);
    }
    laptop.session.ran_as_told(&status);
    until_booked(cluster, &id, 3);
}

#[test]
fn a_failed_member_is_tried_again_alone() {
    let Some((cluster, laptop)) = shared(Variant::Plain, "") else {
        return;
    };
    let mut task = laptop
        .session
        .task("some", "[ $NUMBER != 2 ] || [ $MIZZEN_ATTEMPT = 2 ]");
    task["sweep"] = json!({ "number": [1, 2, 3] });
    task["env"] = json!({ "NUMBER": "${number}" });
    task["executor"] = json!("cluster");
    task["retries"] = json!({ "failure": 2, "backoff": "50ms" });
    let mut after = laptop.session.task("after", "");
    after["after"] = json!("some");
    after["executor"] = json!("cluster");
    let id = laptop.launch(&json!({ "title": "again", "tasks": [task, after] }));
    assert_eq!(laptop.wait(&id), 0, "{:#}", laptop.status(&id));
    let status = laptop.status(&id);
    assert_eq!(
        attempts(&status, "some-number=2"),
        ["1 FAILED app-failure", "2 SUCCEEDED -"]
    );
    assert_eq!(attempts(&status, "some-number=1"), ["1 SUCCEEDED -"]);
    laptop.session.ran_as_told(&status);
    until_booked(cluster, &id, 5);
}
