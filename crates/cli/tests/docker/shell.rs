//! `mizzen shell` with containers.

use std::io::Write as _;

use crate::engine::Engine;
use crate::screen::Screen;
use crate::support::Session;

/// Containers that are no job's.
fn sessions(engine: &Engine, name: &str) -> String {
    let filter = format!("--filter=label=of={name}");
    engine.docker(&["ps", "--all", "--quiet", &filter]).unwrap()
}

fn session(engine: &Engine, name: &str) -> Session {
    engine
        .session(&format!(
            "additional_kwargs = {{ labels = {{ of = \"{name}\" }} }}\n\
             env_vars = {{ GREETING = \"it's $HOME\", DOCKER_HOST = \"mine\" }}\nvolumes = [\"/$nemo_run/x:/x\"]"
        ))
        .with("TOKEN_OF_MINE", "hush")
}

#[test]
fn a_command_runs_in_the_container_of_an_executor() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = session(engine, "command");
    session.write("data.txt", "as it stands\n");
    let text = "echo \"$GREETING $DOCKER_HOST $TOKEN\"; cat data.txt; cat >out.txt; exit 5";
    let mut client = session.command(&[
        "shell",
        "-e",
        "box",
        "--secret",
        "TOKEN=env:TOKEN_OF_MINE",
        "--",
        "sh",
        "-c",
        text,
    ]);
    client.stdin(std::process::Stdio::piped());
    client.stdout(std::process::Stdio::piped());
    let mut child = client.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"written\n").unwrap();
    let said = child.wait_with_output().unwrap();
    assert_eq!(said.status.code(), Some(5));
    let told = String::from_utf8(said.stdout).unwrap();
    assert_eq!(told, "it's $HOME mine hush\nas it stands\n");
    let written = std::fs::read_to_string(session.workdir().join("out.txt")).unwrap();
    assert_eq!(written, "written\n");
    assert_eq!(sessions(engine, "command"), "");
    let refused = session.run(&["shell", "-e", "box", "--alloc"]);
    assert_eq!(refused.status, 2, "{refused:?}");
    assert!(refused.stderr.contains("--alloc"), "{refused:?}");
}

#[test]
fn a_shell_in_a_container_is_at_home_on_a_terminal() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = session(engine, "terminal");
    let (mut screen, mut child) = Screen::start(&session, &["shell", "-e", "box"], 93);
    // Not the words as they are typed.
    // The engine tells of the terminal's size when the container runs.
    let size = "until [ \"$(stty size 2>&1)\" = \"30 93\" ]; do sleep 0.1; done";
    writeln!(
        screen.keyboard,
        "PS1=; echo ho''st $(hostname); {size}; echo si''zed"
    )
    .unwrap();
    screen.until("host shell");
    screen.until("sized");
    // A Ctrl-C ends what runs there, not the shell.
    writeln!(screen.keyboard, "sh -c 'echo wai\"\"ting; exec sleep 1000'").unwrap();
    screen.until("waiting");
    screen.keyboard.write_all(b"\x03").unwrap();
    writeln!(screen.keyboard, "echo st''ill; exit 5").unwrap();
    screen.until("still");
    assert_eq!(child.wait().unwrap().code(), Some(5), "{}", screen.seen);
    assert_eq!(sessions(engine, "terminal"), "");
}

#[test]
fn a_session_in_a_container_ends_with_its_client() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = session(engine, "signal");
    let words = [
        "shell",
        "-e",
        "box",
        "--",
        "sh",
        "-c",
        "echo up; exec sleep 1000",
    ];
    let mut running = session.start(&words);
    running.until("up");
    running.signal(nix::sys::signal::Signal::SIGINT);
    let said = running.end();
    assert_ne!(said.status, 0, "{said:?}");
    assert_eq!(sessions(engine, "signal"), "");
}
