//! `mizzen tunnel` with a real sshd.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "../../core/tests/sshd/mod.rs"]
mod sshd;
mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use nix::pty::openpty;
use sshd::{PASSWORD, Sshd, keygen};
use support::Session;

struct Place {
    session: Session,
    sshd: Sshd,
    config: String,
}

impl Place {
    fn start() -> Option<Place> {
        // The agent is sent to the home there, which must not be the tester's own.
        Place::with(Sshd::start("SetEnv HOME={folder}/there")?)
    }

    fn with(sshd: Sshd) -> Option<Place> {
        let config = sshd.folder.join("ssh_config").display().to_string();
        let session = Session::new();
        Some(Place {
            session,
            sshd,
            config,
        })
    }

    fn open(&self) -> Vec<&str> {
        vec!["tunnel", "open", "box", "-F", &self.config]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.session.run(&["tunnel", "close", "--all"]);
    }
}

#[test]
fn a_connection_is_opened_listed_checked_and_closed() {
    let Some(place) = Place::start() else { return };
    let session = &place.session;
    assert_eq!(session.ok(&["tunnel", "list"]), "no connection is open\n");
    assert!(!session.home().exists());
    let opened = session.run(&place.open());
    assert_eq!(opened.status, 0, "{opened:?}");
    assert!(opened.stderr.contains("connected to box"), "{opened:?}");
    let again = session.run(&place.open());
    assert!(again.stderr.contains("connected already"), "{again:?}");
    let listed = session.json(&["tunnel", "list", "--json"]);
    assert_eq!(listed["tunnels"][0]["name"], "box");
    assert_eq!(listed["tunnels"][0]["state"], "open");
    for words in [&["tunnel", "check"][..], &["tunnel", "check", "box"]] {
        let checked = session.ok(words);
        assert!(
            checked.contains("open") && checked.contains("ROUND TRIP"),
            "{checked}"
        );
        assert!(checked.contains("runs"), "{checked}");
    }
    let checked = session.json(&["tunnel", "check", "--json"]);
    assert_eq!(checked["tunnels"][0]["agent"], true);
    assert!(checked["tunnels"][0]["round_trip"].as_f64().unwrap() < 5.0);
    assert_eq!(place.sshd.logins(), 1);
    assert!(session.ok(&["tunnel", "close", "box"]).contains("closed"));
    let checked = session.run(&["tunnel", "check", "box", "-F", &place.config]);
    assert_eq!(checked.status, 3, "{checked:?}");
    assert!(
        checked.stdout.contains("hint: `mizzen tunnel open box`"),
        "{checked:?}"
    );
    let closed = session.run(&["tunnel", "close", "box", "-F", &place.config]);
    assert_eq!(closed.status, 0);
    assert!(closed.stderr.contains("no connection"), "{closed:?}");
    assert_eq!(place.sshd.logins(), 1);
}

#[test]
fn what_cant_be_reached_ends_with_3_and_leaves_nothing() {
    let Some(place) = Place::start() else { return };
    let session = &place.session;
    let fails = |words: &[&str], status: i32, said: &str| {
        let failed = session.run(words);
        assert_eq!(failed.status, status, "{failed:?}");
        assert!(
            failed.stderr.starts_with("error: ") && failed.stderr.contains(said),
            "{failed:?}"
        );
        assert!(failed.stderr.contains("\nhint: "), "{failed:?}");
        assert_eq!(session.ok(&["tunnel", "list"]), "no connection is open\n");
    };
    place.sshd.know("other_host_key");
    fails(&place.open(), 3, "another host key");
    std::fs::write(place.sshd.folder.join("known_hosts"), "").unwrap();
    fails(&place.open(), 3, "is not known");
    place.sshd.know("host_key");
    let other = place.sshd.folder.join("other_key").display().to_string();
    place.sshd.config(&format!("IdentityFile {other}"));
    fails(&place.open(), 3, "refused the login");
    fails(
        &["tunnel", "open", "box:1", "-F", &place.config],
        3,
        "can't be reached",
    );
    fails(
        &[
            "tunnel",
            "open",
            "box",
            "-i",
            "no such key",
            "-F",
            &place.config,
        ],
        2,
        "no such key",
    );
    fails(
        &["tunnel", "open", "--", "-oProxyCommand=x"],
        2,
        "is no host",
    );
    fails(&["tunnel", "open", "box:many"], 2, "is no port");
    fails(&["tunnel", "close"], 2, "which connection");
    assert_eq!(place.sshd.logins(), 0);
}

#[test]
fn a_terminal_is_asked_once() {
    let Some(place) = Place::start() else { return };
    let locked = place.sshd.folder.join("locked");
    keygen(&locked, "a passphrase");
    let public = std::fs::read(place.sshd.folder.join("locked.pub")).unwrap();
    std::fs::write(place.sshd.folder.join("authorized_keys"), public).unwrap();
    place
        .sshd
        .config(&format!("IdentityFile {}", locked.display()));
    // Nobody knows the host yet either: ssh asks that too.
    std::fs::write(place.sshd.folder.join("known_hosts"), "").unwrap();

    let (status, shown) = on_terminal(
        &place,
        &[
            ("fingerprint])?", "yes\n"),
            ("passphrase for key", "a passphrase\n"),
        ],
    );
    assert_eq!(status, Some(0), "{shown}");
    assert_eq!(shown.matches("passphrase for key").count(), 1, "{shown}");
    assert!(shown.contains("connected to box"), "{shown}");
    // The terminal is gone, the connection is not, and nobody is asked again.
    assert!(
        place
            .session
            .ok(&["tunnel", "check", "box"])
            .contains("open")
    );
    let again = place.session.run(&place.open());
    assert!(again.stderr.contains("connected already"), "{again:?}");
    assert_eq!(place.sshd.logins(), 1);

    place.session.ok(&["tunnel", "close", "box"]);
    let (status, shown) = on_terminal(&place, &[("passphrase for key", "wrong\n")]);
    assert_eq!(status, Some(3), "{shown}");
    assert_eq!(shown.matches("passphrase for key").count(), 1, "{shown}");
    assert!(shown.contains("box refused the login"), "{shown}");
    assert_eq!(place.sshd.logins(), 1);
}

#[test]
fn a_password_and_a_code_are_asked_for_once() {
    let Some(place) = Sshd::start_with_codes().and_then(Place::with) else {
        return;
    };
    let password = format!("{PASSWORD}\n");
    let code = |seconds| format!("{}\n", Sshd::code(seconds));
    let refused = |answers: &[(&str, &str)]| {
        let (status, shown) = on_terminal(&place, answers);
        assert_eq!(status, Some(3), "{shown}");
        assert!(shown.contains("box refused the login"), "{shown}");
        assert!(!shown.contains(PASSWORD), "{shown}");
        let listed = place.session.ok(&["tunnel", "list"]);
        assert_eq!(listed, "no connection is open\n");
    };
    refused(&[("Password:", "battery staple\n")]);
    refused(&[
        ("Password:", &password),
        ("Verification code:", &code(-3600)),
    ]);
    // Without a terminal nobody is asked, and it is said what would help.
    let silent = place.session.run(&place.open());
    assert_eq!(silent.status, 3, "{silent:?}");
    assert!(
        silent.stderr.contains("hint: `mizzen tunnel open box`"),
        "{silent:?}"
    );
    assert_eq!(place.sshd.logins(), 0);

    let answers = [("Password:", &*password), ("Verification code:", &code(0))];
    let (status, shown) = on_terminal(&place, &answers);
    assert_eq!(status, Some(0), "{shown}");
    assert_eq!(shown.matches("Verification code:").count(), 1, "{shown}");
    assert!(!shown.contains(PASSWORD), "{shown}");
    // From now on nobody is asked, terminal or not.
    for _ in 0..2 {
        let checked = place.session.json(&["tunnel", "check", "box", "--json"]);
        assert_eq!(checked["tunnels"][0]["agent"], true, "{checked}");
    }
    let (status, shown) = on_terminal(&place, &[]);
    assert_eq!(status, Some(0), "{shown}");
    assert_eq!(place.sshd.logins(), 1);
}

/// Opens the connection on a terminal of its own and answers what it asks; the exit status and what was shown.
fn on_terminal(place: &Place, answers: &[(&str, &str)]) -> (Option<i32>, String) {
    let pty = openpty(None, None).unwrap();
    let end = || Stdio::from(pty.slave.try_clone().unwrap());
    let mut command = place.session.command(&place.open());
    command.stdin(end()).stdout(end()).stderr(end());
    // SAFETY: setsid(2) and ioctl(2) are async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            if libc::ioctl(0, libc::TIOCSCTTY, 0) == -1 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let mut child = command.spawn().unwrap();
    drop(command);
    drop(pty.slave);
    let mut terminal = File::from(pty.master);
    let mut shown = String::new();
    let mut answers = answers.iter().peekable();
    let mut part = [0; 1024];
    // It ends with EIO when nobody has the other side open.
    while let Ok(length @ 1..) = terminal.read(&mut part) {
        shown.push_str(&String::from_utf8_lossy(&part[..length]));
        if let Some((_, answer)) = answers.next_if(|(question, _)| shown.contains(question)) {
            terminal.write_all(answer.as_bytes()).unwrap();
        }
    }
    (child.wait().unwrap().code(), shown)
}
