//! The published schemas under `docs/reference/` are what this build prints, and what it prints fits them.
//!
//! `MIZZEN_UPDATE_REFERENCE=1 cargo test -p mizzen --test reference` writes them anew.

mod support;

use support::{Session, misfits, repository};

const SCHEMAS: [&str; 15] = [
    "experiment",
    "status",
    "ls",
    "show",
    "plan",
    "logs",
    "executors",
    "doctor",
    "rm",
    "started",
    "diff",
    "gc",
    "import-nemo",
    "tunnel",
    "devspace",
];

#[test]
fn the_published_schemas_are_this_builds() {
    let session = Session::new();
    let update = support::update_reference();
    let folder = repository().join("docs/reference");
    for name in SCHEMAS {
        let path = folder.join(format!("{name}.schema.json"));
        let printed = session.ok(&["schema", name]);
        if update {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &printed).unwrap();
        }
        let published = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            published == printed,
            "{} is not up to date: MIZZEN_UPDATE_REFERENCE=1 writes it anew",
            path.display()
        );
    }
}

#[test]
fn what_is_printed_fits_the_schemas() {
    let session = Session::new();
    session.write("experiment.toml", EXPERIMENT);
    let launched = session.run(&["launch", "experiment.toml", "--json"]);
    assert_eq!(launched.status, 1, "{launched:?}");
    let cases: [(&str, &[&str]); 10] = [
        ("devspace", &["devspace", "ls", "--json"]),
        ("status", &["status", "--json"]),
        ("ls", &["ls", "--json"]),
        ("show", &["show", "--json"]),
        ("plan", &["plan", "experiment.toml", "--json"]),
        ("executors", &["executors", "--json"]),
        ("executors", &["executors", "local", "--json"]),
        ("doctor", &["doctor", "--json"]),
        ("status", &["wait", "--json"]),
        ("status", &["run", "--json", "--", "true"]),
    ];
    for (name, words) in cases {
        fits(&session, name, words);
    }
    fits(&session, "started", &["run", "-d", "--json", "--", "true"]);
    fits(&session, "status", &["wait", "--json"]);
    for line in session.ok(&["logs", "mixed", "--json"]).lines() {
        let schema = session.json(&["schema", "logs"]);
        assert_eq!(
            misfits(&schema, &serde_json::from_str(line).unwrap()),
            [""; 0]
        );
    }
    fits(&session, "tunnel", &["tunnel", "list", "--json"]);
    let config = session.write("empty", "");
    let config = ["--json", "-F", config.to_str().unwrap()];
    fits(
        &session,
        "tunnel",
        &[&["tunnel", "check", "nowhere.invalid"], &config[..]].concat(),
    );
    fits(&session, "rm", &["rm", "mixed", "--json"]);
    let nemo = repository().join("crates/core/tests/nemo-home");
    let nemo = nemo.to_str().unwrap();
    fits(&session, "gc", &["gc", "--json"]);
    fits(&session, "import-nemo", &["import-nemo", nemo, "--json"]);
    for (name, command) in [("show", "show"), ("status", "status")] {
        fits(&session, name, &[command, "cluster", "--json"]);
    }
    fits(&session, "ls", &["ls", "--json"]);
}

fn fits(session: &Session, name: &str, words: &[&str]) {
    let schema = session.json(&["schema", name]);
    let document = session.json(words);
    assert_eq!(
        misfits(&schema, &document),
        [""; 0],
        "mizzen {words:?}: {document:#}"
    );
}

#[test]
fn the_check_finds_what_does_not_fit() {
    let session = Session::new();
    let schema = session.json(&["schema", "status"]);
    let mut document = session.json(&["run", "--json", "--", "true"]);
    assert_eq!(misfits(&schema, &document), [""; 0]);
    document["jobs"][0]["state"] = "DONE".into();
    document["jobs"][0]["surprise"] = 1.into();
    document["jobs"][0]["attempts"][0]["number"] = "1".into();
    document.as_object_mut().unwrap().remove("title");
    assert_eq!(
        misfits(&schema, &document).len(),
        4,
        "{:?}",
        misfits(&schema, &document)
    );
}

const EXPERIMENT: &str = r#"
title = "mixed"
on_failure = "continue"

[[tasks]]
name = "good"
run = ["sh", "-c", "echo well; printf '\\377\\n'"]

[[tasks]]
name = "bad"
run = ["sh", "-c", "echo badly; exit 3"]

[[tasks]]
name = "skipped"
run = ["true"]
after = ["bad"]

[[tasks]]
name = "missing"
run = ["no-such-program-here"]
timeout = "1h"
retries = 1
env = { API_TOKEN = "x", PLAIN = "y" }
"#;
