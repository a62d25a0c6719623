//! `mizzen-agent bundle …`, as whoever sends code to a place uses it.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use mizzen_agent::bundle::{Entry, Kind, MAGIC, Manifest, ObjectHash};

use crate::support::{AGENT, Scratch};

fn agent(words: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(AGENT)
        .arg("bundle")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the agent starts");
    // It may end before it has read everything.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("its output")
}

/// What it says when all is well.
fn says(words: &[&str], input: &[u8]) -> String {
    let output = agent(words, input);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// The one line that it says when it is not.
fn fails(words: &[&str], input: &[u8], status: i32) -> String {
    let output = agent(words, input);
    assert_eq!(output.status.code(), Some(status), "{words:?}");
    assert!(output.stdout.is_empty());
    let errors = String::from_utf8(output.stderr).expect("text");
    assert!(errors.starts_with("mizzen-agent: "), "{errors}");
    errors
}

/// A tree of one file, and the bundle of it.
fn bundle(content: &str) -> (Manifest, Vec<u8>) {
    let object = ObjectHash::of(content.as_bytes());
    let size = content.len() as u64;
    let kind = Kind::File {
        executable: false,
        size,
        object,
    };
    let path = b"src/main.py".to_vec();
    let manifest = Manifest::new(vec![Entry { path, kind }]).expect("a tree");
    let number = |number: usize| u32::try_from(number).expect("small").to_le_bytes();
    let mut stream = [MAGIC.as_slice(), &manifest.hash().0, &number(0), &number(0)].concat();
    for part in [manifest.as_bytes(), content.as_bytes()] {
        let compressed = zstd::bulk::compress(part, 1).expect("compressed");
        stream.extend(number(part.len()));
        stream.extend(number(compressed.len()));
        stream.extend(compressed);
    }
    stream.extend(number(0));
    (manifest, stream)
}

#[test]
fn code_is_received_kept_given_and_taken_away() {
    let scratch = Scratch::new();
    let place = scratch.text("place/bundles");
    let (one, stream) = bundle("print(1)\n");
    let (other, other_stream) = bundle("print(2)\n");
    assert_eq!(says(&["list", &place], b""), "", "a place without any");
    assert_eq!(
        says(&["receive", &place], &stream),
        format!("{}\n", one.hash())
    );
    assert_eq!(
        says(&["receive", &place], &other_stream),
        format!("{}\n", other.hash())
    );
    let listed = says(&["list", &place], b"");
    let mut known: Vec<&str> = listed
        .lines()
        .map(|line| line.split_once(' ').unwrap().0)
        .collect();
    known.sort_unstable();
    let mut expected = [one.hash().to_string(), other.hash().to_string()];
    expected.sort();
    assert_eq!(known, expected);

    let asked = format!("{}\n{}\n", "0".repeat(64), one.hash());
    assert_eq!(
        says(&["have", &place], asked.as_bytes()),
        format!("{}\n", one.hash())
    );
    let tree = format!("{place}/{}/tree", one.hash());
    let into = scratch.text("code");
    assert_eq!(says(&["link", &tree, &into], b""), "");
    assert_eq!(
        fs::read_to_string(Path::new(&into).join("src/main.py")).unwrap(),
        "print(1)\n"
    );

    assert_eq!(
        says(&["remove", &place], format!("{}\n", one.hash()).as_bytes()),
        ""
    );
    assert_eq!(says(&["have", &place], asked.as_bytes()), "");
    assert!(says(&["list", &place], b"").starts_with(&other.hash().to_string()));
    let error = fails(&["link", &tree, &scratch.text("again")], b"", 1);
    assert!(error.contains("no code is kept in"), "{error}");
}

#[test]
fn what_can_not_be_taken_is_said_in_a_line() {
    let scratch = Scratch::new();
    let place = scratch.text("bundles");
    let (_, stream) = bundle("print(1)\n");
    let error = fails(&["receive", &place], &stream[..stream.len() - 1], 1);
    assert!(error.contains("ends too early"), "{error}");
    let error = fails(
        &["receive", &place],
        b"#!/bin/sh\necho a welcome message\n",
        1,
    );
    assert!(error.contains("this is no bundle"), "{error}");
    let error = fails(&["have", &place], b"nonsense\n", 1);
    assert!(error.contains("a hash is 64"), "{error}");
    let file = scratch.text("file");
    fs::write(&file, "text").unwrap();
    let error = fails(&["receive", &file], &stream, 1);
    assert!(error.contains(&file), "{error}");
    for words in [&["receive"][..], &[], &["dance", "x"], &["link", "x"]] {
        fails(words, b"", 2);
    }
}
