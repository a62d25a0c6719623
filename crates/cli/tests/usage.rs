//! What jobs used, as `status` and `show` tell it: while they run, and afterwards.

mod support;

use support::Session;

#[test]
fn use_is_told_while_a_job_runs_and_afterwards() {
    let session = Session::new();
    let gate = session.gate("go");
    let script = format!(
        "head -c 3M /dev/zero >data; echo written; timeout 2.2 sh -c 'while :; do :; done'; echo burned; cat {} >/dev/null",
        gate.display()
    );
    let mut running = session.start(&["run", "--name", "burner", "--", "sh", "-c", &script]);
    running.until("burned");
    let status = session.json(&["status", "--json"]);
    let so_far = &status["jobs"][0]["attempts"][0]["usage"];
    assert!(so_far["samples"].as_u64().unwrap() >= 1, "{status}");
    assert!(so_far["written"].as_u64().unwrap() >= 3 << 20, "{status}");
    let table = session.ok(&["status"]);
    for title in ["CPU (PEAK)", "MEMORY (PEAK)"] {
        assert!(table.contains(title), "{table}");
    }
    assert!(!table.contains("GPU (PEAK)"), "{table}");
    session.release("go");
    assert_eq!(running.end().status, 0);

    let status = session.json(&["status", "--json"]);
    let usage = &status["jobs"][0]["attempts"][0]["usage"];
    let number = |name: &str| usage[name].as_f64().unwrap();
    assert!(
        number("samples") >= so_far["samples"].as_f64().unwrap(),
        "{usage}"
    );
    assert!(number("cpu_seconds") > 0.3, "{usage}");
    assert!(number("cpu_peak") >= number("cpu_mean"), "{usage}");
    assert!(number("memory_peak") >= number("memory_mean"), "{usage}");
    assert_eq!(usage["memory_of"], "processes");
    let shown = session.ok(&["show"]);
    let line = shown.lines().find(|line| line.starts_with("used")).unwrap();
    for words in [" processors (peak ", "memory ", "wrote 3.0 MiB"] {
        assert!(line.contains(words), "{line}");
    }
    assert_eq!(session.json(&["show", "--json"])["usage"]["burner"], *usage);
}

#[test]
fn of_a_short_job_the_kernels_words_are_told() {
    let session = Session::new();
    session.ok(&["run", "--name", "short", "--", "true"]);
    let status = session.json(&["status", "--json"]);
    let usage = &status["jobs"][0]["attempts"][0]["usage"];
    assert_eq!(usage["samples"], 0);
    assert!(usage["memory_peak"].as_u64().unwrap() > 0, "{usage}");
    assert!(usage["memory_mean"].is_null(), "{usage}");
    assert!(!session.ok(&["status"]).contains("PEAK"));
    let shown = session.ok(&["show"]);
    assert!(
        shown.contains(" of processor time, memory peak "),
        "{shown}"
    );
}
