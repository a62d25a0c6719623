//! What documents that are right become: layers, overrides, notations, sweeps, `${…}`, provenance, the schema.

mod config_support;

use std::collections::BTreeMap;

use config_support::{environment, layer, load_file, vocabulary};
use mizzen_core::config::interpolate::{self, ExpandError, Expanded, Piece, Resolver, Text};
use mizzen_core::config::spec::{Command, OnFailure, SecretReference, When};
use mizzen_core::config::sweep::{self, Sweep};
use mizzen_core::config::{ExperimentSpec, Loaded, Origin, Override, json_schema, load, overrides};
use proptest::prelude::*;
use serde_json::json;

#[track_caller]
fn accept(name: &str, text: &str, sets: &[&str]) -> Loaded {
    load_file(name, text, sets).unwrap_or_else(|failure| panic!("{failure}"))
}

const BASE: &str = r#"
[executors.gpu]
kind = "slurm"
account = "ml"
nodes = 2
tags = ["a"]
tunnel = { kind = "ssh", host = "h" }
[[tasks]]
name = "prepare"
run = "python3 'a b.py'"
timeout = "1h"
[[tasks]]
name = "train"
run = ["python3", "train.py", "${lr}", 1e-3]
sweep = { lr = [1e-3, 0.1] }
after = "prepare"
executor = "gpu"
retries = 2
"#;

/// The value at a JSON pointer after overrides; null where there is none.
#[track_caller]
fn after(sets: &[&str], pointer: &str) -> serde_json::Value {
    accept("e.toml", BASE, sets)
        .document
        .pointer(pointer)
        .cloned()
        .unwrap_or_default()
}

#[test]
fn shorthands_become_the_long_form() {
    let spec = accept("e.toml", BASE, &[]).spec;
    let [prepare, train] = spec.tasks.as_slice() else {
        panic!("two tasks")
    };
    assert_eq!(
        prepare.command(),
        Some(Command::Run(&["python3".to_owned(), "a b.py".to_owned()]))
    );
    assert_eq!(prepare.timeout.map(|span| span.seconds()), Some(3600));
    assert_eq!(
        train.run.as_ref().map(|words| words[3].clone()),
        Some("1e-3".to_owned())
    );
    assert_eq!(
        (train.after[0].task.as_str(), train.after[0].when),
        ("prepare", When::Ok)
    );
    assert_eq!(train.retries.and_then(|retries| retries.failure), Some(2));
    assert_eq!(
        spec.executor_of(train)
            .map(|(name, executor)| (name, executor.kind.as_str())),
        Some((Some("gpu"), "slurm"))
    );
    assert_eq!(
        spec.executor_of(prepare)
            .map(|(name, executor)| (name, executor.kind.as_str())),
        Some((Some("local"), "local"))
    );
    assert_eq!(spec.on_failure, OnFailure::Continue);
}

#[test]
fn numbers_keep_their_notation_in_texts_and_names() {
    let loaded = accept(
        "e.toml",
        BASE,
        &[
            "tasks.train.env.LR=1e-5",
            "tasks.prepare.env={ N = 7.50, B = true }",
        ],
    );
    let train = loaded.spec.task("train").expect("it is there");
    let swept = train.sweep.as_ref().expect("it is swept");
    assert_eq!(
        sweep::job_names("train", &sweep::expand(swept)),
        ["train-lr=1e-3", "train-lr=0.1"]
    );
    assert_eq!(&*train.env["LR"], "1e-5");
    let prepare = loaded.spec.task("prepare").expect("it is there");
    assert_eq!((&*prepare.env["N"], &*prepare.env["B"]), ("7.50", "true"));
    let again: ExperimentSpec =
        serde_json::from_value(loaded.document).expect("the document reads again");
    assert_eq!(again, loaded.spec);
}

#[test]
fn later_layers_win_and_another_kind_replaces() {
    let user = layer(
        Origin::User,
        "executors.toml",
        "[executors.gpu]\nkind = \"slurm\"\naccount = \"user\"\nnodes = 1\n[executors.cpu]\nkind = \"slurm\"\naccount = \"u\"\n[defaults.env]\nA = 1\nB = 2\n",
    );
    let project = layer(
        Origin::Project,
        "mizzen.yaml",
        "executors:\n  gpu: {account: project}\n  cpu: {kind: local}\ndefaults:\n  env: {A: null}\n",
    );
    let file = layer(
        Origin::File,
        "e.json",
        r#"{"tasks": [{"name": "a", "run": ["x"], "executor": "gpu"}]}"#,
    );
    let sets = overrides::parse_words(
        "executors.gpu.nodes=4 'title=from-env'",
        Origin::Environment,
    )
    .expect("they parse");
    let loaded = load(&[user, project, file], &sets, &environment, &vocabulary())
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(
        loaded.document.pointer("/executors/gpu"),
        Some(&json!({ "kind": "slurm", "account": "project", "nodes": 4 }))
    );
    assert_eq!(
        loaded.document.pointer("/executors/cpu"),
        Some(&json!({ "kind": "local" }))
    );
    assert_eq!(
        loaded.document.pointer("/defaults/env"),
        Some(&json!({ "B": "2" }))
    );
    let place = |pointer: &str| {
        let place = loaded
            .provenance
            .place(pointer, &loaded.sources)
            .expect("the leaf has a place");
        (place.origin, place.source, place.line, place.column)
    };
    assert_eq!(
        place("/executors/gpu/kind"),
        (Origin::User, "executors.toml".to_owned(), 2, 8)
    );
    assert_eq!(
        place("/executors/gpu/account"),
        (Origin::Project, "mizzen.yaml".to_owned(), 2, 18)
    );
    assert_eq!(
        place("/tasks/0/run/0"),
        (Origin::File, "e.json".to_owned(), 1, 34)
    );
    assert_eq!(
        place("/executors/gpu/nodes"),
        (Origin::Environment, "MIZZEN_SET".to_owned(), 1, 21)
    );
    assert_eq!(place("/executors/local/kind").0, Origin::BuiltIn);
}

#[test]
fn executors_extend_each_other_deeply() {
    let text = format!(
        "{BASE}[executors.big]\nextends = \"gpu\"\nnodes = 8\ntunnel = {{ host = \"other\" }}\n[executors.near]\nextends = \"big\"\ntunnel = {{ kind = \"local\" }}\n[[tasks]]\nname = \"c\"\nrun = \"x\"\nexecutor = {{ extends = \"near\", nodes = 1 }}\n"
    );
    let loaded = accept("e.toml", &text, &[]);
    assert_eq!(
        loaded.document.pointer("/executors/big/tunnel"),
        Some(&json!({ "kind": "ssh", "host": "other" }))
    );
    assert_eq!(
        loaded.document.pointer("/executors/near"),
        Some(
            &json!({ "kind": "slurm", "account": "ml", "nodes": 8, "tags": ["a"], "tunnel": { "kind": "local" } })
        )
    );
    assert_eq!(
        loaded.document.pointer("/tasks/2/executor/nodes"),
        Some(&json!(1))
    );
}

#[test]
fn overrides_are_typed_by_their_target() {
    for (sets, pointer, expected) in [
        (vec!["title=12"], "/title", json!("12")),
        (vec!["title=\"q\""], "/title", json!("q")),
        (vec!["tasks.train.retries=5"], "/tasks/1/retries", json!(5)),
        (
            vec!["tasks.train.retries={ failure = 1, node = 2 }"],
            "/tasks/1/retries",
            json!({ "failure": 1, "node": 2 }),
        ),
        (
            vec!["tasks[1].retries=null"],
            "/tasks/1/retries",
            json!(null),
        ),
        (
            vec!["tasks.train.launcher=none"],
            "/tasks/1/launcher",
            json!("none"),
        ),
        (
            vec!["executors.gpu.nodes=none"],
            "/executors/gpu/nodes",
            json!(null),
        ),
        (
            vec!["executors.gpu.partition=a100"],
            "/executors/gpu/partition",
            json!("a100"),
        ),
        (
            vec!["executors.gpu.partition=100"],
            "/executors/gpu/partition",
            json!("100"),
        ),
        (
            vec!["executors.gpu.exclusive=yes"],
            "/executors/gpu/exclusive",
            json!(true),
        ),
        (
            vec!["executors.gpu.share=1"],
            "/executors/gpu/share",
            json!(1),
        ),
        (
            vec!["tasks.prepare.run=python3 x.py --a=b"],
            "/tasks/0/run",
            json!("python3 x.py --a=b"),
        ),
        (
            vec!["tasks.prepare.run=[\"x\", 1]"],
            "/tasks/0/run",
            json!(["x", "1"]),
        ),
        (
            vec!["tasks.prepare.env.X=007"],
            "/tasks/0/env/X",
            json!("007"),
        ),
        (
            vec!["tasks.prepare.env.X={a}"],
            "/tasks/0/env/X",
            json!("{a}"),
        ),
        (
            vec!["tasks.prepare.env.\"X\"='a b'"],
            "/tasks/0/env/X",
            json!("a b"),
        ),
        (
            vec!["tasks.train.run[0]=python"],
            "/tasks/1/run/0",
            json!("python"),
        ),
        (
            vec!["tasks.train.after=null"],
            "/tasks/1/after",
            json!(null),
        ),
        (
            vec![
                "tasks.train.launcher={ kind = \"torchrun\", deep = { x = 1 } }",
                "tasks.train.launcher.deep.y=hello",
            ],
            "/tasks/1/launcher/deep",
            json!({ "x": 1, "y": "hello" }),
        ),
        (
            vec!["executors.new={ extends = \"gpu\" }"],
            "/executors/new/account",
            json!("ml"),
        ),
        (
            vec!["executors.new.kind=local"],
            "/executors/new",
            json!({ "kind": "local" }),
        ),
    ] {
        assert_eq!(after(&sets, pointer), expected, "{sets:?}");
    }
}

#[test]
fn operators_work_in_the_order_given() {
    for (sets, pointer, expected) in [
        (
            vec![
                "tasks.train.retries=1",
                "tasks.train.retries*=10",
                "tasks.train.retries+=2",
            ],
            "/tasks/1/retries",
            json!(12),
        ),
        (
            vec!["tasks.train.retries+=4", "tasks.train.retries/=3"],
            "/tasks/1/retries",
            json!(2),
        ),
        (vec!["tasks.train.retries-=1"], "/tasks/1/retries", json!(1)),
        (
            vec!["tasks.train.retries|=5", "tasks.train.retries&=6"],
            "/tasks/1/retries",
            json!(6),
        ),
        (
            vec!["executors.gpu.share=7", "executors.gpu.share/=2"],
            "/executors/gpu/share",
            json!(3.5),
        ),
        (
            vec![
                "executors.gpu.exclusive=true",
                "executors.gpu.exclusive&=false",
            ],
            "/executors/gpu/exclusive",
            json!(false),
        ),
        (
            vec!["tasks.train.run+=--fast"],
            "/tasks/1/run/4",
            json!("--fast"),
        ),
        (
            vec!["tasks.train.run+=[\"--a\", 1]"],
            "/tasks/1/run/5",
            json!("1"),
        ),
        (
            vec!["tasks.train.run-=train.py"],
            "/tasks/1/run",
            json!(["python3", "${lr}", "1e-3"]),
        ),
        (
            vec!["executors.gpu.tags|=[\"a\", \"b\"]"],
            "/executors/gpu/tags",
            json!(["a", "b"]),
        ),
        (
            vec!["executors.gpu.tags+=a"],
            "/executors/gpu/tags",
            json!(["a", "a"]),
        ),
        (
            vec!["executors.gpu.tags&=[\"b\"]"],
            "/executors/gpu/tags",
            json!([]),
        ),
        (
            vec![
                "tasks.train.env+={ A = 1 }",
                "tasks.train.env|={ B = 2 }",
                "tasks.train.env-=A",
            ],
            "/tasks/1/env",
            json!({ "B": "2" }),
        ),
        (
            vec!["tasks.prepare.timeout*=2", "tasks.prepare.timeout+=30s"],
            "/tasks/0/timeout",
            json!(7230),
        ),
        (
            vec!["executors.gpu.account+=-big"],
            "/executors/gpu/account",
            json!("ml-big"),
        ),
        (
            vec!["tasks.train.args+=[\"x\"]", "tasks.train.args=null"],
            "/tasks/1/args",
            json!(null),
        ),
    ] {
        assert_eq!(after(&sets, pointer), expected, "{sets:?}");
    }
    for (set, message) in [
        ("executors.gpu.nodes/=3", "2 / 3 is not a whole number"),
        (
            "tasks.train.retries=9000000000",
            "the number must be at most 4294967295",
        ),
        ("executors.gpu.nodes/=0", "a number cannot be divided by 0"),
        (
            "executors.gpu.nodes*=99999999999999999999",
            "does not fit in 64 bits",
        ),
        (
            "executors.gpu.nodes=abc",
            "expected an integer, found a string",
        ),
        ("executors.gpu.nodes.x=1", "so it has no key `x`"),
        ("executors.gpu.account*=2", "`*=` does not work on a string"),
        ("executors.gpu.partition+=x", "is not set"),
        ("executors.gpu.tags=[1", "not valid TOML"),
        ("executors.gpu.tags[3]=x", "there is no element 3"),
        ("tasks.train.run=[1", "not valid TOML"),
        ("tasks.trian.run=x", "did you mean `train`?"),
        ("executors.gpu-=nope", "has no key `nope` to take away"),
    ] {
        let report = load_file("e.toml", BASE, &[set])
            .map(|loaded| loaded.document.to_string())
            .unwrap_or_else(|failure| failure.to_string());
        assert!(report.contains(message), "{set}: {report}");
    }
}

#[test]
fn sweeps_expand_in_the_order_of_the_document() {
    let names = |text: &str| {
        let document = format!("[[tasks]]\nname = \"t\"\nrun = \"x\"\nsweep = {text}\n");
        let spec = accept("e.toml", &document, &[]).spec;
        sweep::job_names(
            "t",
            &sweep::expand(spec.tasks[0].sweep.as_ref().expect("it is swept")),
        )
    };
    assert_eq!(
        names("{ b = [1, 2], a = [\"x\", true] }"),
        ["t-b=1,a=x", "t-b=1,a=true", "t-b=2,a=x", "t-b=2,a=true"]
    );
    assert_eq!(
        names("{ grid = { g = [1, 2] }, zip = { y = [1, 2], x = [3, 4] } }"),
        [
            "t-g=1,y=1,x=3",
            "t-g=1,y=2,x=4",
            "t-g=2,y=1,x=3",
            "t-g=2,y=2,x=4"
        ]
    );
    assert_eq!(
        names("[{ b = 1, a = \"p/q r\" }, { b = 2, a = \"\" }]"),
        ["t-b=1,a=p_q_r", "t-b=2,a="]
    );
    assert_eq!(
        names("{ a = [\"x y\", \"x_y\", \"x/y\"] }"),
        ["t-a=x_y", "t-a=x_y~2", "t-a=x_y~3"]
    );
    let long = names(&format!(
        "{{ a = [\"{0}1\", \"{0}2\", \"s\"] }}",
        "z".repeat(200)
    ));
    assert!(
        long[0].len() == 100
            && long[1].ends_with("~2")
            && long[1].len() <= 100
            && long[2] == "t-a=s",
        "{long:?}"
    );
}

#[test]
fn a_hundred_thousand_jobs_are_fine_and_one_more_is_not() {
    let values = |count: usize| {
        (0..count)
            .map(|value| value.to_string())
            .collect::<Vec<_>>()
            .join(",")
    };
    let document = |a: usize, b: usize| {
        format!(
            "[[tasks]]\nname = \"t\"\nrun = \"x ${{a}}\"\nsweep = {{ a = [{}], b = [{}] }}\n",
            values(a),
            values(b)
        )
    };
    let spec = accept("e.toml", &document(1000, 100), &[]).spec;
    let jobs = sweep::expand(spec.tasks[0].sweep.as_ref().expect("it is swept"));
    assert_eq!(jobs.len(), 100_000);
    assert_eq!(sweep::job_names("t", &jobs)[99_999], "t-a=999,b=99");
    let failure = load_file("e.toml", &document(1000, 101), &[]).expect_err("too many");
    assert!(
        failure
            .to_string()
            .contains("the sweep gives 101000 jobs, and 100000 are allowed"),
        "{failure}"
    );
    let rows = (0..100_000)
        .map(|row| format!("{{a: {row}}}"))
        .collect::<Vec<_>>()
        .join(",");
    accept(
        "e.yaml",
        &format!("tasks: [{{name: t, run: x, sweep: [{rows}]}}]"),
        &[],
    );
}

#[test]
fn defaults_are_filled_in_by_key() {
    let text = "[defaults]\nenv = { A = \"1\", B = \"2\", C = \"3\" }\nretries = { failure = 1, node = 3 }\ntimeout = 60\n[[tasks]]\nname = \"a\"\nrun = \"x\"\nenv = { B = \"own\" }\nsecrets = { C = \"file:/x\" }\nretries = 7\n";
    let spec = accept("e.toml", text, &[]).spec;
    let task = spec.with_defaults(&spec.tasks[0]);
    let env: BTreeMap<&str, &str> = task
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), &**value))
        .collect();
    assert_eq!(env, BTreeMap::from([("A", "1"), ("B", "own")]));
    assert_eq!(task.secrets["C"], SecretReference::File("/x".to_owned()));
    let retries = task.retries.expect("they are given");
    assert_eq!(
        (retries.failure, retries.node, retries.preempted),
        (Some(7), Some(3), None)
    );
    assert_eq!(task.timeout.map(|span| span.seconds()), Some(60));
}

#[test]
fn yaml_merges_tables_and_follows_aliases() {
    let text = "defaults:\n  env: &e {A: 1, B: x}\ntasks:\n  - name: a\n    run: &r [echo, \"é\"]\n    env:\n      <<: *e\n      B: y\n  - {name: b, run: *r, env: *e, after: a}\n";
    let loaded = accept("e.yaml", text, &[]);
    assert_eq!(
        loaded.document.pointer("/tasks/0/env"),
        Some(&json!({ "B": "y", "A": "1" }))
    );
    assert_eq!(loaded.document.pointer("/tasks/1/run/1"), Some(&json!("é")));
}

#[test]
fn byte_order_marks_and_carriage_returns_are_taken() {
    for (name, text) in [
        (
            "e.toml",
            "\u{feff}[[tasks]]\r\nname = \"a\"\r\nrun = \"x\"\r\n",
        ),
        ("e.yaml", "\u{feff}tasks:\r\n  - name: a\r\n    run: x\r\n"),
        (
            "e.json",
            "\u{feff}{\"tasks\": [\r\n{\"name\": \"a\", \"run\": \"x\"}]}\r\n",
        ),
    ] {
        let loaded = accept(name, text, &[]);
        assert_eq!(loaded.spec.tasks[0].name, "a", "{name}");
        let line = loaded
            .provenance
            .place("/tasks/0/name", &loaded.sources)
            .expect("it has a place")
            .line;
        assert_eq!(line, 2, "{name}");
    }
}

#[test]
fn a_circle_free_chain_of_many_tasks_is_read() {
    let tasks: Vec<serde_json::Value> = (0..5000)
        .map(|at| {
            if at == 0 {
                json!({ "name": "t0", "run": ["x"] })
            } else {
                json!({ "name": format!("t{at}"), "run": ["x"], "after": [format!("t{}", at - 1)] })
            }
        })
        .collect();
    assert_eq!(
        accept("e.json", &json!({ "tasks": tasks }).to_string(), &[])
            .spec
            .tasks
            .len(),
        5000
    );
}

#[test]
fn the_schema_has_every_kind_and_every_reference_leads_somewhere() {
    let schema = json_schema(&vocabulary());
    assert_eq!(
        schema["$schema"],
        json!("https://json-schema.org/draft/2020-12/schema")
    );
    let variants = schema
        .pointer("/$defs/Executor/oneOf")
        .and_then(|variants| variants.as_array())
        .expect("kinds");
    let kinds: Vec<_> = variants
        .iter()
        .filter_map(|variant| variant.pointer("/properties/kind/const")?.as_str())
        .collect();
    assert_eq!(kinds, ["local", "slurm"]);
    fn references(schema: &serde_json::Value, out: &mut Vec<String>) {
        match schema {
            serde_json::Value::Object(object) => {
                object.iter().for_each(|(key, value)| match value {
                    serde_json::Value::String(target) if key == "$ref" => out.push(target.clone()),
                    _ => references(value, out),
                })
            }
            serde_json::Value::Array(list) => list.iter().for_each(|value| references(value, out)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    references(&schema, &mut all);
    assert!(all.contains(&"#/$defs/slurm.Tunnel".to_owned()), "{all:?}");
    for reference in all {
        assert!(
            schema.pointer(reference.trim_start_matches('#')).is_some(),
            "{reference} leads nowhere"
        );
    }
    for field in schema["properties"]
        .as_object()
        .expect("properties")
        .values()
    {
        assert!(field.get("description").is_some(), "{field}");
    }
}

struct Fixed;

impl Resolver for Fixed {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "lr").then(|| "$5 ${head_node_ip_var}".to_owned())
    }

    fn environment(&self, name: &str) -> Option<String> {
        match name {
            "HOME" => Some("/home/me".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn directories(&self, task: &str) -> Option<Vec<String>> {
        match task {
            "one" => Some(vec!["/d/1".to_owned()]),
            "two" => Some(vec!["/d/1".to_owned(), "/d/2".to_owned()]),
            _ => None,
        }
    }

    fn macros(&self) -> &[String] {
        static MACROS: std::sync::LazyLock<Vec<String>> =
            std::sync::LazyLock::new(|| vec!["head_node_ip_var".to_owned()]);
        &MACROS
    }
}

fn expand(text: &str) -> Result<Expanded, ExpandError> {
    interpolate::expand(
        &interpolate::parse(text, Fixed.macros()).expect("it parses"),
        &Fixed,
    )
}

/// Python's `string.Template(text).safe_substitute(values)`.
fn safe_substitute(text: &str, values: &BTreeMap<&str, &str>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        let name_end = |text: &str| {
            text.find(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
                .unwrap_or(text.len())
        };
        if let Some(after) = tail.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let (name, after) = match tail.strip_prefix('{') {
            Some(inner) => match inner[name_end(inner)..].strip_prefix('}') {
                Some(after) => (&inner[..name_end(inner)], after),
                None => ("", tail),
            },
            None => (&tail[..name_end(tail)], &tail[name_end(tail)..]),
        };
        match values.get(name) {
            Some(value) => out.push_str(value),
            None => {
                out.push('$');
                out.push_str(&tail[..tail.len() - after.len()]);
            }
        }
        rest = after;
    }
    out + rest
}

#[test]
fn texts_expand() {
    let text = |text: &str| {
        expand(text)
            .expect("it expands")
            .single()
            .expect("one text")
    };
    let plain = |text: &str| Text {
        text: text.to_owned(),
        template: false,
    };
    assert_eq!(
        text("a $$ $HOME $(x) ${env:HOME} ${env:NO:-d e} ${env:EMPTY:-f}"),
        plain("a $ $HOME $(x) /home/me d e f")
    );
    assert_eq!(text("-o${dir:one}/x"), plain("-o/d/1/x"));
    assert_eq!(
        text("$${head_node_ip_var}"),
        Text {
            text: "$${head_node_ip_var}".to_owned(),
            template: true
        }
    );
    assert_eq!(
        text("${lr}"),
        Text {
            text: "$$5 $${head_node_ip_var}".to_owned(),
            template: true
        }
    );
    assert_eq!(
        text("$1:${head_node_ip_var}"),
        Text {
            text: "$$1:${head_node_ip_var}".to_owned(),
            template: true
        }
    );
    assert_eq!(
        expand("${dir:two}").expect("it expands").texts,
        [plain("/d/1"), plain("/d/2")]
    );
    assert_eq!(
        expand("x${dir:two}"),
        Err(ExpandError::SeveralDirectories("two".to_owned()))
    );
    assert_eq!(expand("${no}"), Err(ExpandError::Variable("no".to_owned())));
    assert_eq!(
        expand("${env:NO}"),
        Err(ExpandError::Environment("NO".to_owned()))
    );
    assert_eq!(
        interpolate::parse("${env:A:-}", &[]),
        Ok(vec![Piece::Env {
            name: "A".to_owned(),
            default: Some(String::new())
        }])
    );
}

/// A value of a free-form table, without what a notation lacks (null in TOML).
fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        (-1e9..1e9f64).prop_map(|value| json!(value)),
        "[^\\x00]{0,12}".prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|list| json!(list)),
            prop::collection::btree_map("[^\\x00]{1,6}", inner, 0..4)
                .prop_map(|table| json!(table)),
        ]
    })
}

/// A JSON value in TOML's inline notation; YAML takes JSON as it is.
fn to_toml(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(table) => format!(
            "{{ {} }}",
            table
                .iter()
                .map(|(key, value)| format!("{} = {}", quoted(key), to_toml(value)))
                .collect::<Vec<_>>()
                .join(", ")
        ),
        serde_json::Value::Array(list) => format!(
            "[{}]",
            list.iter().map(to_toml).collect::<Vec<_>>().join(", ")
        ),
        serde_json::Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() {
                character.to_string()
            } else {
                format!("\\U{:08x}", u32::from(character))
            }
        })
        .collect();
    format!("\"{escaped}\"")
}

/// JSON with everything but letters escaped, so that YAML's line folding has nothing to fold.
fn to_yaml(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(table) => format!(
            "{{ {} }}",
            table
                .iter()
                .map(|(key, value)| format!("{}: {}", quoted(key), to_yaml(value)))
                .collect::<Vec<_>>()
                .join(", ")
        ),
        serde_json::Value::Array(list) => format!(
            "[{}]",
            list.iter().map(to_yaml).collect::<Vec<_>>().join(", ")
        ),
        serde_json::Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn overrides_never_panic(text in "\\PC{0,40}", value in "[\\x00-\\x7f]{0,20}", path in "[a-z.\\[\\]0-9\"']{0,12}", operator in "[-+*/|&]?=") {
        let tried = [text.clone(), format!("{path}{operator}{value}"), format!("tasks.train.{path}{operator}{value}"), format!("tasks.train.run{operator}{text}")];
        for set in tried {
            if let Ok(parsed) = Override::parse(&set, Origin::CommandLine) {
                prop_assert_eq!(parsed.text(), set.as_str());
                let _ = load_file("e.toml", BASE, &[&set]).map_err(|failure| failure.render(true));
            }
        }
        let _ = overrides::parse_words(&text, Origin::Environment).map_err(|failure| failure.render(true));
    }

    #[test]
    fn the_notations_agree(extra in prop::collection::btree_map("[^\\x00]{1,6}", value(), 0..4), words in prop::collection::vec("[^\\x00$]{0,10}", 1..4), env in "[^\\x00$]{0,20}") {
        let mut launcher = serde_json::Map::new();
        launcher.extend(extra.into_iter().filter(|(key, _)| key != "kind"));
        launcher.insert("kind".to_owned(), json!("torchrun"));
        let document = json!({ "tasks": [{ "name": "a", "run": words, "env": { "A": env }, "launcher": launcher }] });
        let json = accept("e.json", &document.to_string(), &[]);
        let toml = accept("e.toml", &format!("tasks = {}", to_toml(&document["tasks"])), &[]);
        let yaml = accept("e.yaml", &to_yaml(&document), &[]);
        prop_assert_eq!(&toml.spec, &json.spec);
        prop_assert_eq!(&yaml.spec, &json.spec);
        prop_assert_eq!(&json.spec.tasks[0].run.as_ref().expect("it runs").0, &words);
    }

    #[test]
    fn doubled_dollars_come_back(text in "[^\\x00]{0,40}") {
        let expanded = expand(&text.replace('$', "$$")).expect("it expands").single().expect("one text");
        prop_assert_eq!(if expanded.template { safe_substitute(&expanded.text, &BTreeMap::new()) } else { expanded.text }, text);
    }

    #[test]
    fn templates_substitute_to_what_was_meant(parts in prop::collection::vec(prop_oneof![Just(None), "([^\\x00]|[${}]|head_node_ip_var){0,12}".prop_map(Some)], 0..6)) {
        let source: String = parts.iter().map(|part| part.as_ref().map_or("${head_node_ip_var}".to_owned(), |text| text.replace('$', "$$"))).collect();
        let meant: String = parts.iter().map(|part| part.as_deref().unwrap_or("10.0.0.1")).collect();
        let expanded = expand(&source).expect("it expands").single().expect("one text");
        let values = BTreeMap::from([("head_node_ip_var", "10.0.0.1")]);
        prop_assert_eq!(if expanded.template { safe_substitute(&expanded.text, &values) } else { expanded.text }, meant);
    }

    #[test]
    fn sweeps_give_as_many_jobs_as_they_say(grid in prop::collection::vec(1..5usize, 0..4), zip in prop::option::of((1..3usize, 1..5usize)), names in any::<bool>()) {
        prop_assume!(!grid.is_empty() || zip.is_some());
        let list = |length: usize| (0..length).map(|value| json!(value)).collect::<Vec<_>>();
        let grids: serde_json::Map<_, _> = grid.iter().enumerate().map(|(at, length)| (format!("g{at}"), json!(list(*length)))).collect();
        let zips: serde_json::Map<_, _> = zip.into_iter().flat_map(|(width, length)| (0..width).map(move |at| (format!("z{at}"), length))).map(|(name, length)| (name, json!(list(length)))).collect();
        let expected = grid.iter().product::<usize>() * zip.map_or(1, |(_, length)| length);
        let swept: Sweep = serde_json::from_value(json!({ "grid": grids, "zip": zips })).expect("it reads");
        let jobs = sweep::expand(&swept);
        prop_assert_eq!(jobs.len(), expected);
        prop_assert_eq!(sweep::combinations(&swept), Some(expected));
        prop_assert_eq!(sweep::first_duplicate(&jobs), None);
        let name = if names { "t".to_owned() } else { "t".repeat(100) };
        let unique: std::collections::HashSet<_> = sweep::job_names(&name, &jobs).into_iter().collect();
        prop_assert_eq!(unique.len(), expected);
    }
}

#[test]
fn columns_are_found_in_lines_of_megabytes() {
    let rows = (0..20_000)
        .map(|row| format!("{{\"é{row}\": {row}}}"))
        .collect::<Vec<_>>()
        .join(",");
    let text = format!(
        "{{\"tasks\": [{{\"name\": \"t\", \"run\": [\"x\"], \"launcher\": {{\"kind\": \"none\", \"x\": [{rows}]}}}}]}}"
    );
    let loaded = accept("e.json", &text, &[]);
    for (pointer, place) in loaded
        .provenance
        .iter(&loaded.sources)
        .filter(|(_, place)| place.origin == Origin::File)
    {
        let span = loaded.provenance.span(pointer).expect("it has a place");
        assert!(span.start > 100_000 || text[..span.start].chars().count() + 1 == place.column);
    }
}
