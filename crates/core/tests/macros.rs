//! `safe_substitute` against Python's own, on texts made of everything that matters to it.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use mizzen_core::executor::safe_substitute;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

const PYTHON: &str = r#"
import json, string, sys
texts, values = json.load(sys.stdin)
json.dump([string.Template(text).safe_substitute(values) for text in texts], sys.stdout)
"#;

#[test]
fn texts_are_substituted_as_python_does_it() {
    let values = BTreeMap::from([
        ("head_node_ip_var", "$head_node_ip"),
        ("num_nodes_var", "SLURM_NNODES"),
        ("a", "${a}"),
        ("_", "under"),
        ("empty", ""),
    ]);
    let piece = proptest::sample::select(vec![
        "$",
        "$$",
        "{",
        "}",
        "${",
        "a",
        "_",
        "num_nodes_var",
        "head_node_ip_var",
        "empty",
        "${a}",
        "$a",
        "${num_nodes_var}",
        "$num_nodes_var",
        "A",
        "1",
        "é",
        "ı",
        "K",
        "ſ",
        "İ",
        " ",
        "\n",
        "-",
        ".",
        "${ a}",
        "${a",
        "${1}",
        "${é}",
        "🙂",
        "\u{0}",
        "\"",
    ]);
    let text = proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat());
    let mut runner = TestRunner::deterministic();
    let texts: Vec<String> = (0..20_000)
        .map(|_| text.new_tree(&mut runner).unwrap().current())
        .collect();
    assert!(
        texts.iter().filter(|text| text.contains("${a}")).count() > 100,
        "the texts are too plain to tell anything"
    );

    let mut python = Command::new("python3")
        .args(["-c", PYTHON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed to compare with it");
    let mut stdin = python.stdin.take().unwrap();
    stdin
        .write_all(&serde_json::to_vec(&(&texts, &values)).unwrap())
        .unwrap();
    drop(stdin);
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    let expected: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(expected.len(), texts.len());
    for (text, expected) in texts.iter().zip(expected) {
        assert_eq!(safe_substitute(text, &values), expected, "{text:?}");
    }
}
