//! Wrong documents: each is refused before anything starts or is written, and it is said what is wrong and where.

use serde_json::json;

use crate::scene::Scene;
use crate::support::Session;

/// A task in TOML.
fn task(name: &str) -> String {
    format!("[[tasks]]\nname = {name}\nrun = [\"true\"]\n")
}

/// A document and words of the message; a number is a line that must be named.
fn cases() -> Vec<(&'static str, String, Vec<&'static str>)> {
    let long = "x".repeat(300);
    vec![
        ("cycle", "[[tasks]]\nname=\"a\"\nrun=\"true\"\nafter=\"b\"\n[[tasks]]\nname=\"b\"\nrun=\"true\"\nafter=\"a\"\n".to_owned(), vec!["`a`", "`b`", ":4:"]),
        ("self", "[[tasks]]\nname=\"a\"\nrun=\"true\"\nafter=\"a\"\n".to_owned(), vec!["`a`", ":4:"]),
        ("nobody", "[[tasks]]\nname=\"prepare\"\nrun=\"true\"\n[[tasks]]\nname=\"a\"\nrun=\"true\"\nafter=\"prepair\"\n".to_owned(), vec!["`prepair`", "`prepare`", ":7:"]),
        ("twice", format!("{}{}", task("\"same\""), task("\"same\"")), vec!["`same`", ":5:"]),
        ("unknown-executor", "[[tasks]]\nname=\"a\"\nrun=\"true\"\nexecutor=\"gpu\"\n".to_owned(), vec!["`gpu`", ":4:"]),
        ("unknown-group", "[[tasks]]\nname=\"a\"\nrun=\"true\"\ngroup=\"pair\"\n".to_owned(), vec!["`pair`", ":4:"]),
        ("unknown-key", "[[tasks]]\nname=\"a\"\nrun=\"true\"\nretires=2\n".to_owned(), vec!["`retires`", "`retries`", ":4:"]),
        ("unknown-top-key", "tittle=\"x\"\n[[tasks]]\nname=\"a\"\nrun=\"true\"\n".to_owned(), vec!["`tittle`", "`title`", ":1:"]),
        ("unknown-kind", "[executors.x]\nkind=\"slorm\"\n[[tasks]]\nname=\"a\"\nrun=\"true\"\n".to_owned(), vec!["`slorm`", ":2:"]),
        ("unknown-setting", "[executors.x]\nkind=\"local\"\nslot=2\n[[tasks]]\nname=\"a\"\nrun=\"true\"\n".to_owned(), vec!["`slot`", "`slots`", ":3:"]),
        ("type-number", "[[tasks]]\nname=\"a\"\nrun=\"true\"\nretries=\"often\"\n".to_owned(), vec!["retries", ":4:"]),
        ("type-list", "[[tasks]]\nname=\"a\"\nrun=3\n".to_owned(), vec!["run", ":3:"]),
        ("type-table", "tasks=\"none\"\n".to_owned(), vec!["tasks", ":1:"]),
        ("type-negative", "[[tasks]]\nname=\"a\"\nrun=\"true\"\nretries=-1\n".to_owned(), vec!["-1", ":4:"]),
        ("type-time", "[[tasks]]\nname=\"a\"\nrun=\"true\"\ntimeout=\"soon\"\n".to_owned(), vec!["soon", ":4:"]),
        ("type-slots", "[executors.local]\nkind=\"local\"\nslots=0\n[[tasks]]\nname=\"a\"\nrun=\"true\"\n".to_owned(), vec!["0", ":3:"]),
        ("empty-sweep", "[[tasks]]\nname=\"a\"\nrun=[\"echo\",\"${x}\"]\nsweep={x=[]}\n".to_owned(), vec!["`x`", ":4:"]),
        ("empty-grid", "[[tasks]]\nname=\"a\"\nrun=\"true\"\nsweep={}\n".to_owned(), vec!["sweep", ":4:"]),
        ("unequal-zip", "[[tasks]]\nname=\"a\"\nrun=\"true\"\nsweep={zip={x=[1,2],y=[1]}}\n".to_owned(), vec!["zip", ":4:"]),
        ("unknown-variable", "[[tasks]]\nname=\"a\"\nrun=[\"echo\",\"${nope}\"]\n".to_owned(), vec!["nope", ":3:"]),
        ("no-command", "[[tasks]]\nname=\"a\"\n".to_owned(), vec!["`run`", ":2:"]),
        ("two-commands", "[[tasks]]\nname=\"a\"\nrun=\"true\"\nmodule=\"x\"\n".to_owned(), vec!["run", "module"]),
        ("no-name", "[[tasks]]\nrun=\"true\"\n".to_owned(), vec!["name", ":1:"]),
        ("no-tasks", "title=\"empty\"\n".to_owned(), vec!["task"]),
        ("empty-run", "[[tasks]]\nname=\"a\"\nrun=[]\n".to_owned(), vec!["run", ":3:"]),
        ("slash", task("\"a/b\""), vec!["slash", ":2:"]),
        ("dots", task("\"..\""), vec!["`..`", ":2:"]),
        ("dot", task("\".\""), vec!["`.`", ":2:"]),
        ("up", task("\"../../etc\""), vec![":2:"]),
        ("space", task("\"a b\""), vec!["a space", ":2:"]),
        ("newline", task("\"a\\nb\""), vec!["a line break", ":2:"]),
        ("emoji", task("\"a🚀\""), vec!["🚀", ":2:"]),
        ("nul", task("\"a\\u0000b\""), vec![":2:"]),
        ("long", task(&format!("\"{long}\"")), vec!["300", ":2:"]),
        ("empty-name", task("\"\""), vec!["empty", ":2:"]),
        ("title-slash", format!("title=\"a/b\"\n{}", task("\"a\"")), vec![":1:"]),
        ("title-up", format!("title=\"..\"\n{}", task("\"a\"")), vec![":1:"]),
        ("title-long", format!("title=\"{long}\"\n{}", task("\"a\"")), vec![":1:"]),
        ("title-latest", format!("title=\"latest\"\n{}", task("\"a\"")), vec!["latest", ":1:"]),
        ("syntax", "[[tasks]\n".to_owned(), vec![":1:"]),
        ("key-twice", "[[tasks]]\nname=\"a\"\nname=\"b\"\nrun=\"true\"\n".to_owned(), vec!["name", ":3:"]),
        ("environment", "[[tasks]]\nname=\"a\"\nrun=\"true\"\nenv={\"A=B\"=\"x\"}\n".to_owned(), vec!["A=B", ":4:"]),
        ("nul-in-argument", "[[tasks]]\nname=\"a\"\nrun=[\"echo\",\"x\\u0000y\"]\n".to_owned(), vec![":3:"]),
        ("nul-in-environment", "[[tasks]]\nname=\"a\"\nrun=\"true\"\nenv={A=\"x\\u0000y\"}\n".to_owned(), vec![":4:"]),
        ("binary", "\u{1}\u{2}\u{3}".to_owned(), vec![":1:"]),
    ]
}

#[test]
fn wrong_files_are_refused_before_anything_is_made() {
    let session = Session::new();
    let mut wrong = Vec::new();
    for (name, text, words) in cases() {
        let file = format!("{name}.toml");
        session.write(&file, &text);
        for command in ["launch", "plan"] {
            let said = session.run(&[command, &file]);
            let mut missing: Vec<&str> = words
                .iter()
                .copied()
                .filter(|word| !said.stderr.contains(word))
                .collect();
            missing.extend((!said.stderr.contains(&file)).then_some(&*file));
            if said.status != 2
                || !missing.is_empty()
                || !said.stdout.is_empty()
                || !said.stderr.contains("error")
            {
                wrong.push(format!(
                    "{command} {file}: status {}, without {missing:?}\n{}{}",
                    said.status, said.stdout, said.stderr
                ));
            }
            if session.home().exists() {
                wrong.push(format!("{command} {file} has made something"));
                std::fs::remove_dir_all(session.home()).unwrap();
            }
        }
    }
    session.nothing_is_left();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_that_are_none_are_refused() {
    let session = Session::new();
    std::fs::create_dir(session.workdir().join("folder.toml")).unwrap();
    std::fs::write(
        session.workdir().join("latin1.toml"),
        b"title = \"caf\xe9\"\n",
    )
    .unwrap();
    session.write("empty.toml", "");
    session.write("deep.json", &"[".repeat(100_000));
    for file in [
        "missing.toml",
        "folder.toml",
        "latin1.toml",
        "empty.toml",
        "deep.json",
        "/dev/null",
    ] {
        let said = session.run(&["launch", file]);
        assert_eq!(said.status, 2, "{file}: {said:?}");
        assert!(
            said.stderr.starts_with("error: ") && said.stderr.contains(file),
            "{file}: {}",
            said.stderr
        );
        assert!(
            said.stderr.len() < 5000,
            "{file}: {} bytes of talk",
            said.stderr.len()
        );
        assert!(!session.home().exists(), "{file}");
    }
    session.nothing_is_left();
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let session = Session::new();
    let document = json!({ "titel": "x", "tasks": [
        { "name": "a b", "run": ["true"] }, { "name": "b", "run": ["true"], "after": "c" }, { "name": "b", "retries": "x", "run": [] },
    ]});
    session.write(
        "experiment.json",
        &serde_json::to_string_pretty(&document).unwrap(),
    );
    let said = session.run(&["launch", "experiment.json"]);
    assert_eq!(said.status, 2);
    for word in ["titel", "a space", "`c`", "retries"] {
        assert!(said.stderr.contains(word), "{word}: {}", said.stderr);
    }
    assert!(!session.home().exists());
}
