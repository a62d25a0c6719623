//! Any text without NUL arrives unchanged: in arguments, in the environment, in paths.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::scene::{Dice, Scene, status};
use crate::support::Session;

/// What has been trouble somewhere.
const NASTY: [&str; 34] = [
    "",
    " ",
    "  two  spaces  ",
    "\t",
    "\n",
    "\r\n",
    "a\nb\n",
    "\n\n\n",
    "'",
    "\"",
    "''",
    "\"\"",
    "'\"'\"'",
    "\\",
    "\\\\",
    "\\n",
    "$HOME",
    "${HOME}",
    "$$",
    "$",
    "$(id)",
    "`id`",
    "${lr}",
    "%s%n",
    "*",
    "~",
    "-",
    "--",
    "-n",
    "; rm -rf /",
    "#!&|<>()[]{}",
    "🚀👩‍👩‍👧‍👦 ñ 漢字",
    "\u{202e}right to left\u{200f}\u{2066}",
    "\u{1b}[31mred\u{7}\u{8}\u{7f}\u{85}\u{feff}\u{fffd}\u{10ffff}",
];

/// Texts made by chance from difficult pieces.
fn texts(count: usize, dice: &mut Dice) -> Vec<String> {
    let mut texts: Vec<String> = NASTY.iter().map(|text| (*text).to_owned()).collect();
    while texts.len() < count {
        let mut text = String::new();
        for _ in 0..=dice.below(8) {
            match dice.below(3) {
                0 => text.push_str(NASTY[dice.below(NASTY.len() as u64) as usize]),
                1 => text.push(char::from(1 + dice.below(126) as u8)),
                _ => text.extend(char::from_u32(1 + dice.below(0x11_0000 - 1) as u32)),
            }
        }
        texts.push(text);
    }
    texts
}

/// Writes what it was given, each text ended by NUL: arguments, the variable, the working directory.
const WRITER: &str = r#"import os, sys
with open(os.environb[b"WRITER_OUT"], "wb") as out:
    for text in [os.fsencode(word) for word in sys.argv[1:]] + [os.environb.get(b"VALUE", b"(none)"), os.getcwdb()]:
        out.write(text + b"\0")
"#;

fn read(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let text = String::from_utf8(bytes).unwrap();
    text.strip_suffix('\0')
        .unwrap()
        .split('\0')
        .map(str::to_owned)
        .collect()
}

/// A folder's name made of a text: without slashes, not too long, not `.` or `..`.
fn folder_name(text: &str) -> String {
    let mut name = format!("_{}", text.replace('/', "-"));
    while name.len() > 250 {
        name.pop();
    }
    name
}

#[test]
fn texts_of_a_file_arrive_unchanged() {
    let session = Session::new();
    let writer = session.write("writer.py", WRITER);
    let mut dice = Dice(0x7E57);
    let mut texts = texts(64, &mut dice);
    texts.push(format!("{}é\n'$\"", "x".repeat(100_000)));
    let escaped = |text: &str| text.replace('$', "$$");
    let out = |number: usize| session.folder().join(format!("out-{number}"));
    let mut tasks = Vec::new();
    let mut workdirs: Vec<PathBuf> = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let workdir = session.workdir().join(folder_name(text));
        std::fs::create_dir_all(&workdir).unwrap();
        tasks.push(json!({
            "name": format!("text-{number}"),
            "run": ["python3", "-SE", writer, escaped(text), "between", escaped(text)],
            "env": { "VALUE": escaped(text), "WRITER_OUT": out(number) },
            "workdir": escaped(workdir.to_str().unwrap()),
        }));
        workdirs.push(workdir);
    }
    let document: Value = json!({ "title": "texts", "tasks": tasks });
    session.write("experiment.json", &document.to_string());
    let said = session.run(&["launch", "experiment.json"]);
    assert_eq!(said.status, 0, "{said:?}");
    for (number, text) in texts.iter().enumerate() {
        let workdir = workdirs[number].to_str().unwrap().to_owned();
        assert_eq!(
            read(&out(number)),
            [
                text.clone(),
                "between".to_owned(),
                text.clone(),
                text.clone(),
                workdir
            ],
            "{text:?}"
        );
    }
    // What was run is also what is shown, and stays readable.
    assert_eq!(status(&session, "texts")["state"], "SUCCEEDED");
    for words in [
        &["show", "texts"][..],
        &["show", "--json", "texts"],
        &["plan", "experiment.json"],
        &["status"],
    ] {
        let said = session.run(words);
        assert_eq!(said.status, 0, "{words:?}");
        assert!(
            !said.stdout.contains('\u{1b}'),
            "{words:?}: an escape sequence of a job's text reaches the terminal"
        );
    }
    session.nothing_is_left();
}

#[test]
fn texts_behind_two_dashes_arrive_unchanged() {
    let session = Session::new();
    let writer = session.write("writer.py", WRITER);
    let mut dice = Dice(0xDA5);
    let mut texts = texts(64, &mut dice);
    // One experiment for many: each text is an argument, four of them a variable and a folder as well.
    texts.push("y".repeat(100_000));
    let out = session.folder().join("out");
    for chosen in [6, 17, 31, 45] {
        let text = &texts[chosen];
        let workdir = session.workdir().join(folder_name(text));
        std::fs::create_dir_all(&workdir).unwrap();
        let mut command = session.command(&["run", "--env", &format!("VALUE={text}"), "--env"]);
        command
            .arg(format!("WRITER_OUT={}", out.display()))
            .args(["--", "python3", "-SE"])
            .arg(&writer)
            .args(&texts);
        let said = command.current_dir(&workdir).output().unwrap();
        assert_eq!(said.status.code(), Some(0), "{said:?}");
        let mut expected = texts.clone();
        expected.extend([text.clone(), workdir.to_str().unwrap().to_owned()]);
        assert_eq!(read(&out), expected);
        std::fs::remove_file(&out).unwrap();
    }
    session.nothing_is_left();
}

#[test]
fn a_home_and_a_program_with_a_difficult_path_work() {
    let session = Session::new();
    let place = session.workdir().join("it's \"here\" $HOME\n🚀 %n");
    std::fs::create_dir(&place).unwrap();
    let program = place.join("a 'program'\n$x");
    std::fs::write(
        &program,
        "#!/bin/sh\nprintf '%s\\0' \"$0\" \"$MIZZEN_JOB_DIR\"\n",
    )
    .unwrap();
    std::fs::set_permissions(
        &program,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let home = place.join("home");
    let output = session
        .command(&["run", "--"])
        .arg(&program)
        .env("MIZZEN_HOME", &home)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let shown: Vec<&[u8]> = output.stdout.split(|byte| *byte == 0).collect();
    assert_eq!(shown[0], program.as_os_str().as_bytes());
    assert!(shown[1].starts_with(home.as_os_str().as_bytes()));
    session.nothing_is_left();
}

#[test]
fn what_is_not_utf8_is_refused() {
    let session = Session::new();
    let odd = OsStr::from_bytes(b"caf\xe9");
    let arguments: [&[&OsStr]; 3] = [
        &[OsStr::new("run"), OsStr::new("--"), OsStr::new("echo"), odd],
        &[OsStr::new("run"), OsStr::new("--"), odd],
        &[
            OsStr::new("plan"),
            OsStr::new("--"),
            OsStr::new("echo"),
            odd,
        ],
    ];
    for words in arguments {
        let output = session.command(&[]).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        assert!(
            said.starts_with("error: ") && said.contains("UTF-8") && said.contains("caf"),
            "{words:?}: {said}"
        );
    }
    let folder = session
        .workdir()
        .join(std::ffi::OsString::from_vec(b"caf\xe9".to_vec()));
    std::fs::create_dir(&folder).unwrap();
    let output = session
        .command(&["run", "--", "true"])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("not UTF-8"),
        "{output:?}"
    );
    assert!(!session.home().exists(), "nothing was made");
    session.nothing_is_left();
}
