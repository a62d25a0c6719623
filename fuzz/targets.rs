//! What fuzzing feeds, and what must hold for every input. `crates/core/tests/config_corpus.rs` runs the kept corpus through the same
//! two functions, so that no nightly toolchain is needed to keep what was found fixed.

use std::collections::HashSet;

use mizzen_core::config::{
    ExecutorKind, ExperimentSpec, Format, Layer, Loaded, Origin, Override, Vocabulary, interpolate,
    load, overrides as sets, sweep,
};
use serde_json::json;

fn vocabulary() -> Vocabulary {
    let local =
        json!({ "type": "object", "properties": { "slots": { "type": "integer", "minimum": 1 } } });
    let cluster = json!({
        "type": "object",
        "$defs": { "Tunnel": { "oneOf": [
            { "type": "object", "properties": { "kind": { "const": "local" } }, "required": ["kind"], "additionalProperties": false },
            { "type": "object", "properties": { "kind": { "const": "ssh" }, "host": { "type": "string" } }, "required": ["kind", "host"], "additionalProperties": false },
        ] } },
        "properties": {
            "account": { "type": "string" },
            "nodes": { "type": "integer", "minimum": 1, "maximum": 10000 },
            "share": { "type": "number", "exclusiveMinimum": 0 },
            "tags": { "type": "array", "items": { "type": "string" } },
            "time": { "type": ["string", "number"], "x-mizzen-format": "timespan" },
            "tunnel": { "$ref": "#/$defs/Tunnel" },
        },
        "required": ["account"],
    });
    let kind = |name: &str, schema| ExecutorKind {
        mixed_groups: false,
        name: name.to_owned(),
        summary: format!("the kind {name}"),
        schema,
    };
    Vocabulary {
        executor_kinds: vec![kind("local", local), kind("cluster", cluster)],
        launchers: vec!["none".to_owned(), "torchrun".to_owned()],
        macros: vec!["head_node_ip_var".to_owned(), "nnodes".to_owned()],
    }
}

fn environment(name: &str) -> Option<String> {
    (name == "HOME").then(|| "/home/me".to_owned())
}

fn layer(format: Format, text: &str) -> Layer {
    Layer {
        origin: Origin::File,
        name: "experiment".to_owned(),
        format,
        text: text.to_owned(),
    }
}

/// What must hold for everything that was accepted.
fn accepted(loaded: &Loaded) {
    let again: ExperimentSpec =
        serde_json::from_value(loaded.document.clone()).expect("the document reads again");
    assert_eq!(
        again, loaded.spec,
        "the document gives the same experiment again"
    );
    let written = serde_json::to_value(&loaded.spec).expect("the experiment is written");
    let again: ExperimentSpec =
        serde_json::from_value(written).expect("the written experiment reads again");
    assert_eq!(
        again, loaded.spec,
        "writing and reading gives the same experiment"
    );
    let text = serde_json::to_string(&loaded.document).expect("the document is written");
    let reloaded = load(
        &[layer(Format::Json, &text)],
        &[],
        &environment,
        &vocabulary(),
    )
    .expect("the document is a valid file");
    assert_eq!(
        reloaded.spec, loaded.spec,
        "the document as a file gives the same experiment"
    );
    assert!(
        loaded
            .provenance
            .iter(&loaded.sources)
            .all(|(_, place)| place.line > 0)
    );
    let macros = vocabulary().macros;
    for task in &loaded.spec.tasks {
        let task = loaded.spec.with_defaults(task);
        assert!(task.command().is_some());
        for word in task
            .run
            .iter()
            .flat_map(|words| words.iter())
            .chain(task.args.iter().map(|text| &text.0))
        {
            interpolate::parse(word, &macros).expect("checked texts can be taken apart");
        }
        if let Some(swept) = task
            .sweep
            .as_ref()
            .filter(|swept| sweep::combinations(swept).is_some_and(|count| count < 2000))
        {
            let jobs = sweep::expand(swept);
            assert_eq!(Some(jobs.len()), sweep::combinations(swept));
            assert_eq!(sweep::first_duplicate(&jobs), None);
            let names = sweep::job_names(&task.name, &jobs);
            assert!(names.iter().all(|name| name.len() <= sweep::NAME_LIMIT));
            assert_eq!(names.iter().collect::<HashSet<_>>().len(), jobs.len());
        }
    }
}

fn run(layers: &[Layer], overrides: &[Override]) {
    match load(layers, overrides, &environment, &vocabulary()) {
        Ok(loaded) => accepted(&loaded),
        Err(failure) => {
            assert!(!failure.diagnostics.is_empty());
            for diagnostic in &failure.diagnostics {
                assert!(
                    !diagnostic
                        .message
                        .starts_with("the experiment cannot be read"),
                    "checks must find what serde would: {}",
                    diagnostic.message
                );
            }
            assert!(
                failure
                    .render(false)
                    .chars()
                    .all(|character| character == '\n' || !character.is_control())
            );
            assert!(failure.render(true).contains("error"));
        }
    }
}

/// Any text in all three notations.
pub(crate) fn document(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for format in [Format::Toml, Format::Yaml, Format::Json] {
        run(&[layer(format, text)], &[]);
    }
}

const BASE: &str = r#"
title = "base"
[executors.gpu]
kind = "cluster"
account = "ml"
nodes = 2
tunnel = { kind = "ssh", host = "h" }
[defaults]
env = { A = 1 }
[[tasks]]
name = "prepare"
run = "python3 prepare.py"
timeout = "1h"
[[tasks]]
name = "train"
run = ["python3", "train.py", "${lr}", 3]
sweep = { lr = [0.01, 1e-3] }
after = ["prepare"]
executor = "gpu"
retries = 2
"#;

/// Each line an override, applied in order to a fixed document; and the whole as shell words.
pub(crate) fn overrides(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut parsed = Vec::new();
    for line in text.lines().take(32) {
        match Override::parse(line, Origin::CommandLine) {
            Ok(one) => parsed.push(one),
            Err(failure) => assert!(!failure.render(false).is_empty()),
        }
    }
    run(&[layer(Format::Toml, BASE)], &parsed);
    match sets::parse_words(text, Origin::Environment) {
        Ok(words) => run(&[layer(Format::Toml, BASE)], &words),
        Err(failure) => assert!(!failure.render(false).is_empty()),
    }
}
