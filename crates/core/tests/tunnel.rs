//! Tunnels over a real sshd: one login, hostile text, files, and everything that goes wrong on the way.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "sshd/place.rs"]
mod place;
mod sshd;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8Path;
use mizzen_core::tunnel::{Cmd, Login, SshTunnel, Tunnel, TunnelError, open_masters, quote};
use place::{HOSTILE, Place, every_sign, futures, mode, runs, sh, split, wait};
use proptest::prelude::*;
use sshd::{keygen, kill};

#[test]
fn one_login_serves_all() {
    let Some(place) = Place::with("") else { return };
    wait(async {
        assert_eq!(
            place.try_connect(&place.tunnel(), Login::Never).await.err(),
            Some(TunnelError::NotOpen {
                name: "box".to_owned()
            })
        );
        // Three that want a connection at once.
        let (a, b, c) = tokio::join!(place.connect(), place.connect(), place.connect());
        assert_eq!(
            [&a, &b, &c]
                .into_iter()
                .filter(|one| one.is_fresh())
                .count(),
            1
        );
        assert!(a.is_ours());
        let echo = Cmd::new(["echo", "well"]);
        let many = (0..12).map(|_| a.run(&echo));
        for finished in futures(many).await {
            assert_eq!(finished.unwrap().stdout, b"well\n");
        }
        assert_eq!(b.run(&echo).await.unwrap().status, 0);
        let masters = open_masters(&place.context()).await.unwrap();
        assert_eq!(masters.len(), 1);
        assert_eq!(masters[0].tunnel, place.tunnel());
        let process = masters[0].process.unwrap();
        // It outlives whoever made it, and their terminal.
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        assert_ne!(
            fields[3],
            nix::unistd::getsid(None).unwrap().to_string(),
            "its session"
        );
        assert_eq!(place.sshd.logins(), 1);
        let folder = place.folder().join("home/ssh");
        assert_eq!(
            std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert!(place.tunnel().close(&place.context()).await.unwrap());
        assert!(!place.tunnel().close(&place.context()).await.unwrap());
        assert_eq!(open_masters(&place.context()).await.unwrap(), []);
    });
}

#[test]
fn the_users_own_master_is_used() {
    let Some(place) = Place::with("") else { return };
    let socket = place.folder().join("own");
    place.sshd.config(&format!("ControlPath {socket}"));
    let config = place.folder().join("ssh_config");
    let opened = Command::new("ssh")
        .args([
            "-F",
            config.as_str(),
            "-fNM",
            "-o",
            "ControlPersist=1m",
            "box",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(opened.success());
    wait(async {
        let connection = place
            .try_connect(&place.tunnel(), Login::Never)
            .await
            .unwrap();
        assert!(!connection.is_ours());
        assert_eq!(connection.run(&Cmd::new(["true"])).await.unwrap().status, 0);
        assert_eq!(open_masters(&place.context()).await.unwrap(), []);
        assert!(!place.tunnel().close(&place.context()).await.unwrap());
        assert_eq!(place.sshd.logins(), 1);
    });
}

#[test]
fn a_commands_end_is_its_own() {
    let Some(place) = Place::with("") else { return };
    wait(async {
        let connection = place.connect().await;
        for (script, status) in [
            ("exit 0", 0),
            ("exit 1", 1),
            ("exit 255", 255),
            ("kill -KILL $$", 137),
            ("kill -TERM $$", 143),
        ] {
            let finished = connection.run(&sh(script)).await.unwrap();
            assert_eq!(
                (finished.status, finished.stdout, finished.stderr),
                (status, vec![], vec![]),
                "{script}"
            );
        }
        assert_eq!(
            connection
                .run(&Cmd::new(["no-such-program"]))
                .await
                .unwrap()
                .status,
            127
        );
        // No built-in of the shell is run: it would end the shell.
        assert_eq!(
            connection
                .run(&Cmd::new(["exit", "3"]))
                .await
                .unwrap()
                .status,
            127
        );
        let both = connection
            .run(&sh("printf out; printf err >&2; exit 7"))
            .await
            .unwrap();
        assert_eq!(
            (both.status, &both.stdout[..], &both.stderr[..]),
            (7, &b"out"[..], &b"err"[..])
        );
        let failed = both.ok(&sh("x")).unwrap_err();
        assert!(
            matches!(failed, TunnelError::Failed { status: 7, .. }),
            "{failed}"
        );
        let nowhere = connection
            .run(&Cmd::new(["true"]).cwd("/no such folder"))
            .await
            .unwrap_err();
        assert!(
            matches!(&nowhere, TunnelError::Path { path, .. } if path == "/no such folder"),
            "{nowhere}"
        );
    });
}

#[test]
fn a_command_that_takes_too_long_is_ended_there() {
    let Some(place) = Place::with("") else { return };
    wait(async {
        let connection = place.connect().await;
        let seconds = format!("1000{}", std::process::id());
        let sleep = Cmd::new(["sleep", &seconds]).timeout(Duration::from_secs(4));
        let error = connection.run(&sleep).await.unwrap_err();
        assert!(
            matches!(error, TunnelError::TimedOut { ended: true, .. }),
            "{error}"
        );
        assert!(!runs(&seconds));
        assert_eq!(connection.run(&Cmd::new(["true"])).await.unwrap().status, 0);
    });
}

#[test]
fn any_text_arrives_as_it_is() {
    let Some(place) = Place::with("") else { return };
    wait(async {
        let connection = place.connect().await;
        let signs = every_sign();
        let mut words = vec!["printf".to_owned(), "%s\\0".to_owned()];
        words.extend(HOSTILE.iter().map(|text| (*text).to_owned()));
        words.push(signs.clone());
        let printed = connection.run(&Cmd::new(words.clone())).await.unwrap();
        assert_eq!(split(&printed.stdout), &words[2..]);
        for text in HOSTILE.iter().copied().chain([signs.as_str()]) {
            let show = sh("printf %s \"$HOSTILE\"").env("HOSTILE", text);
            assert_eq!(
                String::from_utf8(connection.run(&show).await.unwrap().stdout).unwrap(),
                text
            );
        }
        for text in HOSTILE.iter().filter(|text| !text.is_empty()) {
            let folder = place.folder().join(text.replace('/', "_"));
            std::fs::create_dir_all(&folder).unwrap();
            let here = connection
                .run(&sh("pwd -P; printf .").cwd(&folder))
                .await
                .unwrap();
            assert_eq!(
                String::from_utf8(here.stdout).unwrap(),
                format!("{folder}\n.")
            );
        }
    });
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    let sign = prop_oneof![
        Just('\''),
        Just('"'),
        Just('\\'),
        Just('$'),
        Just('`'),
        Just('!'),
        Just('\n'),
        Just('~'),
        Just(' '),
        (1u8..127).prop_map(char::from),
        any::<char>().prop_filter("NUL", |c| *c != '\0'),
    ];
    let text =
        prop::collection::vec(sign, 0..24).prop_map(|signs| signs.into_iter().collect::<String>());
    prop::collection::vec(text, 1..40)
}

#[test]
fn quoted_texts_pass_any_number_of_shells() {
    let config = ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    // The same over ssh is below; this goes through three shells.
    proptest!(config, |(texts in texts())| {
        let mut line = Cmd::new(["printf".to_owned(), "%s\\0".to_owned()].into_iter().chain(texts.clone())).to_string();
        for _ in 0..2 {
            line = format!("sh -c {}", quote(&line));
        }
        let said = Command::new("sh").args(["-c", &line]).output().unwrap();
        prop_assert_eq!(split(&said.stdout), texts);
    });
}

#[test]
fn any_text_passes_the_remote_shell() {
    let Some(place) = Place::with("") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let connection = runtime.block_on(place.connect());
    let config = ProptestConfig {
        cases: 12,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(texts in texts())| {
        let print = "printf '%s\\0' \"$@\" \"$LAST\"";
        let print = Cmd::script(print, texts[1..].to_vec()).env("LAST", &texts[0]);
        let said = runtime.block_on(connection.run(&print)).unwrap();
        let mut expected = texts[1..].to_vec();
        expected.push(texts[0].clone());
        prop_assert_eq!(split(&said.stdout), expected);
    });
}

#[test]
fn eight_mebibytes_go_in_and_come_out() {
    let Some(place) = Place::with("") else { return };
    wait(async {
        let connection = place.connect().await;
        let bytes: Vec<u8> = (0..8u32 << 20)
            .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let cat = Cmd::new(["cat"]).stdin(bytes.clone());
        assert!(connection.run(&cat).await.unwrap().stdout == bytes);
        // Who does not read its input has ended all the same.
        let deaf = Cmd::new(["true"]).stdin(bytes);
        assert_eq!(connection.run(&deaf).await.unwrap().status, 0);
        let long = "x".repeat(100_000);
        let echo = Cmd::new(["printf", "%s", &long]);
        assert_eq!(connection.run(&echo).await.unwrap().stdout, long.as_bytes());
    });
}

#[test]
fn what_refuses_a_login_is_told_apart() {
    let Some(place) = Place::with("") else { return };
    wait(async {
        let connect = async |change: &dyn Fn(&mut SshTunnel)| {
            let mut tunnel = place.tunnel();
            change(&mut tunnel);
            let error = place.try_connect(&tunnel, Login::Silent).await.unwrap_err();
            assert!(!error.is_uncertain());
            error
        };
        place.sshd.know("other_host_key");
        let error = connect(&|_| {}).await;
        assert!(matches!(error, TunnelError::WrongHostKey { .. }), "{error}");
        std::fs::write(place.folder().join("known_hosts"), "").unwrap();
        let error = connect(&|_| {}).await;
        assert!(matches!(error, TunnelError::UnknownHost { .. }), "{error}");
        assert_eq!(
            std::fs::read(place.folder().join("known_hosts")).unwrap(),
            b"",
            "nobody was trusted"
        );
        place.sshd.know("host_key");
        place.sshd.config(&format!(
            "IdentityFile {}",
            place.folder().join("other_key")
        ));
        let error = connect(&|_| {}).await;
        assert!(
            matches!(
                error,
                TunnelError::Authentication {
                    could_prompt: true,
                    ..
                }
            ),
            "{error}"
        );
        let error = connect(&|tunnel| tunnel.identity = Some("no such key".into())).await;
        assert!(
            matches!(error, TunnelError::Configuration { .. }),
            "{error}"
        );
        let error = connect(&|tunnel| tunnel.port = Some(1)).await;
        assert!(matches!(error, TunnelError::Unreachable { .. }), "{error}");
        let error = connect(&|tunnel| tunnel.host = "no-such-host.invalid".to_owned()).await;
        assert!(matches!(error, TunnelError::Unreachable { .. }), "{error}");
        let error = connect(&|tunnel| tunnel.host = "-oProxyCommand=touch x".to_owned()).await;
        assert!(
            matches!(error, TunnelError::Configuration { .. }),
            "{error}"
        );
        assert_eq!(place.sshd.logins(), 0);
        place.sshd.config("NoSuchOption yes");
        let error = connect(&|_| {}).await;
        assert!(
            matches!(error, TunnelError::Configuration { .. }),
            "{error}"
        );
        assert_eq!(open_masters(&place.context()).await.unwrap(), []);
    });
}

#[test]
fn a_key_with_an_odd_name_is_offered() {
    let Some(place) = Place::with("") else { return };
    wait(async {
        for name in [
            "a key",
            "100%h",
            "quo\"te",
            "it's",
            "-i",
            "b\\ack",
            "Schl\u{fc}ssel",
        ] {
            let path = place.folder().join(format!("keys/{name}"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::copy(place.folder().join("key"), &path).unwrap();
            place.sshd.config(&format!(
                "IdentityFile {}",
                place.folder().join("other_key")
            ));
            let tunnel = SshTunnel {
                identity: Some(path),
                ..place.tunnel()
            };
            let connection = place.try_connect(&tunnel, Login::Silent).await;
            assert_eq!(
                connection
                    .unwrap()
                    .run(&Cmd::new(["true"]))
                    .await
                    .unwrap()
                    .status,
                0,
                "{name}"
            );
            assert!(tunnel.close(&place.context()).await.unwrap());
        }
    });
}

#[test]
fn nobody_is_asked_without_a_terminal() {
    let Some(place) = Place::with("PasswordAuthentication yes\nKbdInteractiveAuthentication yes")
    else {
        return;
    };
    let locked = place.folder().join("locked");
    keygen(locked.as_std_path(), "a passphrase");
    let public = std::fs::read(place.folder().join("locked.pub")).unwrap();
    std::fs::write(place.folder().join("authorized_keys"), public).unwrap();
    wait(async {
        for identity in ["other_key", "locked"] {
            place
                .sshd
                .config(&format!("IdentityFile {}", place.folder().join(identity)));
            let error = place
                .try_connect(&place.tunnel(), Login::Silent)
                .await
                .unwrap_err();
            assert!(
                matches!(
                    error,
                    TunnelError::Authentication {
                        could_prompt: true,
                        ..
                    }
                ),
                "{error}"
            );
            assert!(error.hint().unwrap().contains("terminal"));
        }
        assert_eq!(place.sshd.logins(), 0);
    });
}

#[test]
fn a_jump_host_is_passed_and_asks_nobody_either() {
    let Some(place) = Place::with("") else { return };
    let folder = place.folder();
    keygen(folder.join("locked").as_std_path(), "a passphrase");
    let both =
        ["key.pub", "locked.pub"].map(|name| std::fs::read_to_string(folder.join(name)).unwrap());
    std::fs::write(folder.join("authorized_keys"), both.concat()).unwrap();
    let by = |key: &str| {
        let config = place.sshd.config("ProxyJump jump");
        let text = std::fs::read_to_string(&config).unwrap();
        let jump = text
            .replace("Host box", "Host jump")
            .replace("ProxyJump jump", "")
            .replace(&format!("{folder}/key"), &format!("{folder}/{key}"));
        std::fs::write(config, format!("{text}{jump}")).unwrap();
    };
    wait(async {
        by("locked");
        let error = place
            .try_connect(&place.tunnel(), Login::Silent)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, TunnelError::Unreachable { words, .. } if words.contains("jump host")),
            "{error}"
        );
        assert_eq!(place.sshd.logins(), 0);
        by("key");
        let connection = place.connect().await;
        for _ in 0..2 {
            assert_eq!(connection.run(&Cmd::new(["true"])).await.unwrap().status, 0);
        }
        assert_eq!(place.sshd.logins(), 2, "one there, one on the way");
    });
}

#[test]
fn two_names_of_one_account_share_a_login() {
    let Some(place) = Place::with("") else { return };
    wait(async {
        assert!(place.connect().await.is_fresh());
        let other = SshTunnel {
            user: Some(
                nix::unistd::User::from_uid(nix::unistd::geteuid())
                    .unwrap()
                    .unwrap()
                    .name,
            ),
            port: Some(place.sshd.port),
            identity: Some(place.folder().join("key")),
            ..place.tunnel()
        };
        assert!(
            !place
                .try_connect(&other, Login::Never)
                .await
                .unwrap()
                .is_fresh()
        );
        assert_eq!(place.sshd.logins(), 1);
    });
}

#[test]
fn a_dead_master_logs_nobody_in() {
    let Some(place) = Place::with("") else { return };
    wait(async {
        let connection = place.connect().await;
        kill(place.master().await);
        let error = loop {
            // The kernel may need a moment to end it.
            match connection.run(&Cmd::new(["true"])).await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(
            matches!(
                error,
                TunnelError::Unreachable { .. } | TunnelError::Interrupted { .. }
            ),
            "{error}"
        );
        let error = connection.run(&Cmd::new(["true"])).await.unwrap_err();
        assert!(matches!(error, TunnelError::Unreachable { .. }), "{error}");
        assert_eq!(
            open_masters(&place.context()).await.unwrap()[0].process,
            None
        );
        let error = place
            .try_connect(&place.tunnel(), Login::Never)
            .await
            .unwrap_err();
        assert!(matches!(error, TunnelError::NotOpen { .. }), "{error}");
        assert_eq!(place.sshd.logins(), 1);
        // Only who says so logs in again, over what the dead one left.
        assert!(place.connect().await.is_fresh());
        assert_eq!(connection.run(&Cmd::new(["true"])).await.unwrap().status, 0);
        assert_eq!(place.sshd.logins(), 2);
    });
}

#[test]
fn a_server_goes_down_and_comes_back() {
    let Some(mut place) = Place::with("") else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let gate = place.folder().join("gate");
    nix::unistd::mkfifo(
        gate.as_std_path(),
        nix::sys::stat::Mode::from_bits_truncate(0o600),
    )
    .unwrap();
    let connection = runtime.block_on(place.connect());
    // A command that has begun: it says so through the pipe, and waits.
    let begun = sh("echo begun >\"$GATE\"; exec sleep 600").env("GATE", gate.as_str());
    let told = std::thread::spawn(move || std::fs::read_to_string(gate).unwrap());
    let error = runtime.block_on(async {
        let running = connection.run(&begun);
        tokio::pin!(running);
        loop {
            tokio::select! {
                ended = &mut running => break ended.unwrap_err(),
                () = tokio::time::sleep(Duration::from_millis(20)), if !told.is_finished() => {}
                () = std::future::ready(()), if told.is_finished() && place.sshd.is_up() => place.sshd.stop(),
            }
        }
    });
    assert!(
        matches!(error, TunnelError::Interrupted { .. }) && error.is_uncertain(),
        "{error}"
    );
    let error = runtime
        .block_on(connection.run(&Cmd::new(["true"])))
        .unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    let tunnel = place.tunnel();
    let error = runtime
        .block_on(place.try_connect(&tunnel, Login::Silent))
        .unwrap_err();
    assert!(matches!(error, TunnelError::Unreachable { .. }), "{error}");
    place.sshd.begin("");
    let again = runtime.block_on(place.connect());
    assert_eq!(
        runtime
            .block_on(again.run(&Cmd::new(["true"])))
            .unwrap()
            .status,
        0
    );
    assert_eq!(place.sshd.logins(), 2);
}

#[test]
fn taken_sessions_are_waited_for() {
    let Some(place) = Place::with("MaxSessions 2") else {
        return;
    };
    wait(async {
        let connection = place.connect().await;
        let command = sh("sleep 0.2; cat").stdin("read once");
        for finished in futures((0..6).map(|_| connection.run(&command))).await {
            assert_eq!(finished.unwrap().stdout, b"read once");
        }
        assert_eq!(place.sshd.logins(), 1);
    });
}

#[test]
fn login_files_may_talk_and_settings_prepare() {
    let Some(place) = Place::with("") else { return };
    let key = std::fs::read_to_string(place.folder().join("key.pub")).unwrap();
    let talk = "command=\"echo welcome; echo careful >&2; eval \\\"$SSH_ORIGINAL_COMMAND\\\"\"";
    std::fs::write(
        place.folder().join("authorized_keys"),
        format!("{talk} {key}"),
    )
    .unwrap();
    wait(async {
        let tunnel = SshTunnel {
            shell: Some("bash --norc".to_owned()),
            pre_command: Some("echo loading\nexport READY='it is'".to_owned()),
            ..place.tunnel()
        };
        let connection = place.try_connect(&tunnel, Login::Silent).await.unwrap();
        let said = connection
            .run(&sh("printf '%s' \"$READY\"; printf x >&2"))
            .await
            .unwrap();
        assert_eq!(
            (&said.stdout[..], &said.stderr[..]),
            (&b"it is"[..], &b"x"[..])
        );
        let tunnel = SshTunnel {
            pre_command: Some("echo no >&2; false".to_owned()),
            ..tunnel
        };
        let connection = place.try_connect(&tunnel, Login::Silent).await.unwrap();
        let error = connection.run(&Cmd::new(["true"])).await.unwrap_err();
        assert!(
            matches!(&error, TunnelError::PreCommand { status: 1, words, .. } if words.contains("no")),
            "{error}"
        );
        assert_eq!(place.sshd.logins(), 1);
    });
}

#[test]
fn files_and_folders_go_there_and_back() {
    let Some(place) = Place::with("") else { return };
    wait(async {
        let connection = place.connect().await;
        let folder = place.folder();
        let name = "-it's a\n\"file\" $x \u{fc}";
        let bytes: Vec<u8> = (0..300_000u32).map(|number| number as u8).collect();
        let tree = folder.join("tree");
        std::fs::create_dir_all(tree.join("sub/empty")).unwrap();
        std::fs::write(tree.join(name), &bytes).unwrap();
        std::fs::write(tree.join("run.sh"), "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(tree.join("run.sh"), std::fs::Permissions::from_mode(0o751))
            .unwrap();
        symlink("run.sh", tree.join("sub/link")).unwrap();

        let there = folder.join("new parent").join(format!("there{name}"));
        connection.put(&tree, &there).await.unwrap();
        let back = folder.join("back");
        connection.get(&there, &back).await.unwrap();
        for copy in [&there, &back] {
            assert!(std::fs::read(copy.join(name)).unwrap() == bytes);
            assert!(copy.join("sub/empty").is_dir());
            assert_eq!(
                std::fs::read_link(copy.join("sub/link")).unwrap(),
                Path::new("run.sh")
            );
            assert_eq!(mode(&copy.join("run.sh")), 0o751);
        }
        assert_eq!(mode(&folder.join("new parent")), 0o700);

        // What is there is replaced: a folder whole, a file by a file.
        std::fs::remove_file(tree.join("run.sh")).unwrap();
        connection.put(&tree, &there).await.unwrap();
        assert!(!there.join("run.sh").exists());
        connection
            .put(&tree.join(name), &folder.join(name))
            .await
            .unwrap();
        std::fs::write(tree.join(name), "newer").unwrap();
        connection
            .put(&tree.join(name), &folder.join(name))
            .await
            .unwrap();
        assert_eq!(std::fs::read(folder.join(name)).unwrap(), b"newer");
        connection
            .get(&folder.join(name), Utf8Path::new("-relative"))
            .await
            .unwrap();
        assert_eq!(std::fs::read(folder.join("-relative")).unwrap(), b"newer");
        assert_eq!(leftovers(&folder), 0);
    });
}

/// Staging folders that were left behind.
fn leftovers(folder: &Utf8Path) -> usize {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(".mizzen-"))
        .count()
}

#[test]
fn a_copy_that_fails_changes_nothing() {
    let Some(place) = Place::with("") else { return };
    wait(async {
        let connection = place.connect().await;
        let folder = place.folder();
        let tree = folder.join("tree");
        std::fs::create_dir_all(&tree).unwrap();
        std::fs::write(tree.join("a"), vec![1; 100_000]).unwrap();
        let old = folder.join("old");
        std::fs::create_dir_all(&old).unwrap();
        std::fs::write(old.join("kept"), "kept").unwrap();

        let error = connection
            .put(&folder.join("missing"), &old)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, TunnelError::Path { name, .. } if name == "this machine"),
            "{error}"
        );
        let error = connection
            .get(&folder.join("missing"), &old)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, TunnelError::Path { name, .. } if name == "box"),
            "{error}"
        );
        let error = connection.put(&tree.join("a"), &old).await.unwrap_err();
        assert!(error.to_string().contains("is a folder"), "{error}");
        let error = connection
            .put(&tree, &folder.join("key/below a file"))
            .await
            .unwrap_err();
        assert!(matches!(error, TunnelError::Path { .. }), "{error}");
        for target in ["/", "..", "a/..", ""] {
            let error = connection
                .put(&tree, Utf8Path::new(target))
                .await
                .unwrap_err();
            assert!(
                matches!(error, TunnelError::Path { .. }),
                "{target}: {error}"
            );
        }

        // A sender that dies in the middle, with an archive that ends between two blocks.
        let tools = folder.join("tools");
        std::fs::create_dir_all(&tools).unwrap();
        let tar = tools.join("tar");
        std::fs::write(
            &tar,
            "#!/bin/sh\nPATH=${PATH#*:}\ntar \"$@\" | dd bs=512 count=30 2>/dev/null\nexit 2\n",
        )
        .unwrap();
        std::fs::set_permissions(&tar, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut context = place.context();
        let mut environment = (*context.environment).clone();
        let path = format!("{tools}:{}", environment["PATH"]);
        environment.insert("PATH".to_owned(), path);
        context.environment = Arc::new(environment);
        let dying = place
            .tunnel()
            .connect(&context, Login::Never, &|_| {})
            .await
            .unwrap();
        dying.put(&tree, &old).await.unwrap_err();

        assert_eq!(std::fs::read(old.join("kept")).unwrap(), b"kept");
        assert_eq!(std::fs::read_dir(&old).unwrap().count(), 1);
        assert_eq!(leftovers(&folder), 0);
    });
}

#[test]
fn no_permission_is_said() {
    let Some(place) = Place::with("") else { return };
    let folder = place.folder();
    let closed = folder.join("closed");
    std::fs::create_dir_all(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o500)).unwrap();
    // Root may do anything: somebody else is asked then.
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups sh";
    let tunnel = SshTunnel {
        shell: nix::unistd::geteuid().is_root().then(|| nobody.to_owned()),
        ..place.tunnel()
    };
    wait(async {
        let connection = place.try_connect(&tunnel, Login::Silent).await.unwrap();
        let file = folder.join("key.pub");
        let error = connection
            .put(&file, &closed.join("x/y"))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, TunnelError::NoPermission { name, .. } if name == "box"),
            "{error}"
        );
        assert!(!error.is_unreachable());
    });
}

#[test]
fn this_machine_is_a_tunnel_too() {
    let Some(place) = Place::with("") else { return };
    let here = mizzen_core::tunnel::LocalTunnel::default().connect(&place.context());
    wait(async {
        let signs = every_sign();
        let mut words = vec!["printf".to_owned(), "%s\\0".to_owned()];
        words.extend(HOSTILE.iter().map(|text| (*text).to_owned()).chain([signs]));
        let printed = here.run(&Cmd::new(words.clone())).await.unwrap();
        assert_eq!(split(&printed.stdout), &words[2..]);
        let ended = here.run(&sh("cat; exit 255").stdin("in")).await.unwrap();
        assert_eq!((ended.status, &ended.stdout[..]), (255, &b"in"[..]));
        assert_eq!(here.run(&sh("kill -KILL $$")).await.unwrap().status, 137);
        assert_eq!(
            here.run(&Cmd::new(["no-such-program"]))
                .await
                .unwrap()
                .status,
            127
        );
        let seconds = format!("2000{}", std::process::id());
        let script = format!("trap '' TERM; sleep {seconds} & sleep {seconds}");
        let error = here
            .run(&sh(&script).timeout(Duration::from_millis(200)))
            .await
            .unwrap_err();
        assert!(
            matches!(error, TunnelError::TimedOut { ended: true, .. }),
            "{error}"
        );
        // What was killed may take a moment to be gone.
        let begun = std::time::Instant::now();
        while runs(&seconds) {
            assert!(begun.elapsed() < Duration::from_secs(20), "it still runs");
            tokio::task::yield_now().await;
        }
        let error = here
            .run(&Cmd::new(["true"]).cwd("no such folder"))
            .await
            .unwrap_err();
        assert!(matches!(error, TunnelError::Path { .. }), "{error}");
        here.put(&place.folder().join("key"), Utf8Path::new("copy"))
            .await
            .unwrap();
        assert_eq!(mode(&place.folder().join("copy")), 0o600);
    });
}
