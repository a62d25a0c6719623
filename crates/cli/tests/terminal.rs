//! What a terminal is shown: colours, bars that move, tables that fit.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "support/screen.rs"]
mod screen;
mod support;

use std::io::Write;

use screen::Screen;
use support::Session;

#[test]
fn a_launch_shows_what_runs_and_cleans_up() {
    let session = Session::new();
    session.gate("gate");
    session.write("one.toml", "title = \"one\"\n[[tasks]]\nname = \"slow\"\nrun = [\"sh\", \"-c\", \"read x < gate\"]\n[[tasks]]\nname = \"bad\"\nrun = [\"sh\", \"-c\", \"echo broken; exit 4\"]\n");
    let (mut screen, mut child) = Screen::start(
        &session,
        &["launch", "one.toml", "--on-failure", "continue"],
        80,
    );
    screen.until("━");
    screen.until("slow  \u{1b}[36mRUNNING");
    assert!(
        screen.seen.contains("\u{1b}[31mFAILED"),
        "{:?}",
        screen.seen
    );
    assert!(
        screen.seen.contains("│\u{1b}[0m broken"),
        "{:?}",
        screen.seen
    );
    session.release("gate");
    screen.until("hint:");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let after = screen.seen.rsplit("\u{1b}[2K").next().unwrap();
    assert!(
        after.starts_with("mizzen: ") && !after.contains('━'),
        "the bar is gone at the end: {after:?}"
    );
}

#[test]
fn an_interrupted_run_on_a_terminal_says_how_it_ended() {
    let session = Session::new();
    let (mut screen, mut child) = Screen::start(
        &session,
        &["run", "--", "sh", "-c", "echo up; exec sleep 1000"],
        80,
    );
    screen.until("up");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id() as i32),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    screen.until("CANCELLED");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn tables_fit_the_terminal() {
    let session = Session::new();
    let title = "a-title-that-is-much-longer-than-what-a-narrow-terminal-can-show-in-a-table";
    session.ok(&["run", "-q", "--title", title, "--", "true"]);
    let (mut screen, mut child) = Screen::start(&session, &["ls"], 60);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    screen.until("SUCCEEDED");
    screen.until("\n");
    let plain = anstream::adapter::strip_str(&screen.seen).to_string();
    for line in plain.lines() {
        assert!(line.chars().count() <= 60, "{line:?}");
    }
    assert!(plain.contains('…'), "{plain}");
}

#[test]
fn a_reason_that_does_not_fit_into_the_table_stands_below_it() {
    let session = Session::new();
    let script = "echo \"OSError: [Errno 28] No space left on device: '/data/checkpoints/step-100.pt'\"; exit 1";
    session.run(&["run", "-q", "--", "sh", "-c", script]);
    let (mut screen, mut child) = Screen::start(&session, &["status"], 80);
    screen.until("no space left on the disk: /data/checkpoints/step-100.pt");
    assert!(child.wait().unwrap().success());
}

#[test]
fn removing_asks_first() {
    let session = Session::new();
    session.ok(&["run", "-q", "--title", "dear", "--", "true"]);
    let (mut screen, mut child) = Screen::start(&session, &["rm", "dear"], 80);
    screen.until("[y/N]");
    screen.keyboard.write_all(b"n\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(session.json(&["ls", "--json"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_status_that_is_watched_is_drawn_again() {
    let session = Session::new();
    session.gate("gate");
    session.ok(&["run", "-d", "--", "sh", "-c", "read x < gate"]);
    let (mut screen, mut child) = Screen::start(&session, &["status", "--watch"], 80);
    screen.until("RUNNING");
    session.release("gate");
    screen.until("SUCCEEDED");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(
        screen.seen.contains("\u{1b}[3A\u{1b}[J"),
        "{:?}",
        screen.seen
    );
}
