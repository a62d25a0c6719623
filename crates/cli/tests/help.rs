//! The help is part of the interface: every page is pinned.

mod support;

use support::Session;

const COMMANDS: [&str; 25] = [
    "run",
    "launch",
    "plan",
    "ls",
    "status",
    "show",
    "wait",
    "logs",
    "get",
    "cancel",
    "retry",
    "diff",
    "repro",
    "rm",
    "gc",
    "shell",
    "devspace",
    "executors",
    "doctor",
    "tunnel",
    "export",
    "import",
    "import-nemo",
    "schema",
    "completions",
];

#[test]
fn the_short_and_the_long_help() {
    let session = Session::new();
    insta::assert_snapshot!("short", session.ok(&["-h"]));
    insta::assert_snapshot!("long", session.ok(&["--help"]));
}

#[test]
fn each_commands_help() {
    let session = Session::new();
    for command in COMMANDS {
        insta::assert_snapshot!(
            format!("command-{command}"),
            session.ok(&[command, "--help"])
        );
    }
}

#[test]
fn the_help_of_what_tunnel_does() {
    let session = Session::new();
    for action in ["list", "open", "close", "check"] {
        insta::assert_snapshot!(
            format!("command-tunnel-{action}"),
            session.ok(&["tunnel", action, "--help"])
        );
    }
}

#[test]
fn the_help_of_what_devspace_does() {
    let session = Session::new();
    for action in ["up", "ls", "ssh", "down"] {
        insta::assert_snapshot!(
            format!("command-devspace-{action}"),
            session.ok(&["devspace", action, "--help"])
        );
    }
}

#[test]
fn every_command_is_pinned() {
    let help = Session::new().ok(&["-h"]);
    let listed = help
        .split("Commands:")
        .nth(1)
        .and_then(|rest| rest.split("Options:").next())
        .unwrap()
        .to_owned();
    let listed = listed
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let listed: Vec<&str> = listed
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(listed, COMMANDS);
}

#[test]
fn mistakes_are_explained() {
    let session = Session::new();
    let cases: [&[&str]; 8] = [
        &[],
        &["lanch", "x.toml"],
        &["experiment.toml"],
        &["run", "python3", "train.py"],
        &["run"],
        &["ls", "--state", "sleeping"],
        &["logs", "--grep", "("],
        &["wait", "--timeout", "soon"],
    ];
    let pages: Vec<String> = cases
        .iter()
        .map(|case| {
            format!(
                "$ mizzen {}\n{}",
                case.join(" "),
                support::page(&session, &session.run(case))
            )
        })
        .collect();
    insta::assert_snapshot!(pages.join("\n"));
}

#[test]
fn the_version() {
    let session = Session::new();
    let expected = concat!("mizzen ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(session.ok(&["--version"]), expected);
    assert_eq!(session.ok(&["-V"]), expected);
    assert_eq!(session.ok(&["-q", "--version"]), expected);
}

#[test]
fn neither_help_nor_version_nor_a_listing_makes_a_home() {
    let session = Session::new();
    for words in [
        &["--help"][..],
        &["--version"],
        &["ls"],
        &["executors"],
        &["plan", "--", "true"],
        &["doctor"],
    ] {
        session.ok(words);
    }
    assert!(!session.home().exists());
}
