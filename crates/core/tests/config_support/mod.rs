//! What the tests of `config` share: a vocabulary, and short ways to load.

use mizzen_core::config::{
    ExecutorKind, Failure, Format, Layer, Loaded, Origin, Override, Vocabulary, load,
};
use serde_json::json;

pub(crate) fn vocabulary() -> Vocabulary {
    let local = json!({ "type": "object", "properties": {} });
    let slurm = json!({
        "type": "object",
        "properties": {
            "account": { "type": "string" },
            "partition": { "type": ["string", "null"] },
            "nodes": { "type": "integer", "minimum": 1 },
            "share": { "type": "number" },
            "exclusive": { "type": "boolean" },
            "tags": { "type": "array", "items": { "type": "string" } },
            "tunnel": { "$ref": "#/$defs/Tunnel" },
        },
        "required": ["account"],
        "$defs": { "Tunnel": { "oneOf": [
            { "type": "object", "properties": { "kind": { "const": "local" } }, "required": ["kind"], "additionalProperties": false },
            { "type": "object", "properties": { "kind": { "const": "ssh" }, "host": { "type": "string" } }, "required": ["kind", "host"], "additionalProperties": false },
        ] } },
    });
    let kind = |name: &str, schema| ExecutorKind {
        mixed_groups: false,
        name: name.to_owned(),
        summary: format!("jobs by {name}"),
        schema,
    };
    Vocabulary {
        executor_kinds: vec![kind("local", local), kind("slurm", slurm)],
        launchers: vec!["none".to_owned(), "torchrun".to_owned()],
        macros: vec!["head_node_ip_var".to_owned()],
    }
}

pub(crate) fn environment(name: &str) -> Option<String> {
    (name == "HOME").then(|| "/home/me".to_owned())
}

pub(crate) fn layer(origin: Origin, name: &str, text: &str) -> Layer {
    let format = Format::from_path(name).expect("the test's file name has a known ending");
    Layer {
        origin,
        name: name.to_owned(),
        format,
        text: text.to_owned(),
    }
}

pub(crate) fn load_file(name: &str, text: &str, sets: &[&str]) -> Result<Loaded, Failure> {
    let sets: Vec<Override> = sets
        .iter()
        .map(|set| Override::parse(set, Origin::CommandLine))
        .collect::<Result<_, _>>()?;
    load(
        &[layer(Origin::File, name, text)],
        &sets,
        &environment,
        &vocabulary(),
    )
}
