//! The lasting connection over a real sshd: many commands over one session, what breaks it, and how it heals.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "sshd/place.rs"]
mod place;
mod sshd;

use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use camino::Utf8Path;
use mizzen_core::tunnel::{
    Cmd, ConnectionState, SshTunnel, Tunnel, TunnelError, TunnelSettings, connection,
};
use place::{HOSTILE, Place, every_sign, futures, runs, sh, split, wait};
use sshd::{Sshd, kill};

/// The processes of `mizzen-agent serve` of a place.
fn serving(place: &Place) -> Vec<i32> {
    let folder = place.folder().join("jobs/.mizzen/agents");
    processes(|words| {
        words.len() == 2 && words[1] == "serve" && words[0].starts_with(folder.as_str())
    })
}

fn processes(wanted: impl Fn(&[String]) -> bool) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().map_while(Result::ok);
    entries
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let words: Vec<String> = line
                .split(|byte| *byte == 0)
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect();
            wanted(&words[..words.len() - 1]).then_some(id)
        })
        .collect()
}

/// Runs `true` until something changes. Each is an event of its own: nothing here sleeps.
async fn until_fails(tunnel: &dyn Tunnel) -> TunnelError {
    loop {
        if let Err(error) = tunnel.run(&Cmd::new(["true"])).await {
            return error;
        }
    }
}

#[test]
fn many_commands_share_one_session() {
    let Some(place) = Place::with("MaxSessions 2") else {
        return;
    };
    wait(async {
        let tunnel = place.open();
        assert_eq!(connection(&place.context(), &place.settings()), None);
        let agent = tunnel.agent().await.unwrap().unwrap();
        assert!(
            agent.starts_with(place.folder().join("jobs/.mizzen/agents")),
            "{agent}"
        );
        // Each waits for the next one: all of them run at once, over a connection that takes two sessions.
        let folder = place.folder();
        let many = (0..12).map(|number| {
            let script = "mkfifo \"$1\" 2>/dev/null; mkfifo \"$2\" 2>/dev/null; \
                          if [ \"$3\" = 11 ]; then echo go >\"$1\"; else read word <\"$2\"; \
                          [ \"$3\" = 0 ] || echo go >\"$1\"; fi; echo \"$3\"";
            let words = [
                folder.join(format!("gate-{number}")).into_string(),
                folder.join(format!("gate-{}", number + 1)).into_string(),
                number.to_string(),
            ];
            let tunnel = Arc::clone(&tunnel);
            async move { tunnel.run(&Cmd::script(script, words)).await }
        });
        for (number, finished) in futures(many).await.into_iter().enumerate() {
            assert_eq!(finished.unwrap().stdout, format!("{number}\n").into_bytes());
        }
        assert_eq!(serving(&place).len(), 1);
        assert_eq!(place.sshd.logins(), 1);
        let fact = connection(&place.context(), &place.settings()).unwrap();
        assert_eq!(
            (fact.state, fact.place.as_str()),
            (ConnectionState::Open, "box")
        );
        let file = place.folder().join("home/places/box/connection.json");
        assert_eq!(place::mode(&file), 0o600);
    });
}

#[test]
fn commands_are_as_they_are_elsewhere() {
    let Some(place) = Place::with("") else { return };
    wait(async {
        let tunnel = place.open();
        for (script, status) in [
            ("exit 0", 0),
            ("exit 1", 1),
            ("exit 255", 255),
            ("kill -KILL $$", 137),
            ("kill -TERM $$", 143),
        ] {
            let finished = tunnel.run(&sh(script)).await.unwrap();
            assert_eq!(
                (finished.status, finished.stdout, finished.stderr),
                (status, vec![], vec![]),
                "{script}"
            );
        }
        for words in [&["no-such-program"][..], &["exit", "3"]] {
            let missing = tunnel.run(&Cmd::new(words.iter().copied())).await.unwrap();
            assert_eq!(missing.status, 127);
            assert!(!missing.stderr.is_empty());
        }
        assert_eq!(tunnel.run(&Cmd::new(["/"])).await.unwrap().status, 126);
        let both = tunnel
            .run(&sh("cat; printf err >&2; exit 7").stdin("in"))
            .await
            .unwrap();
        assert_eq!(
            (both.status, &both.stdout[..], &both.stderr[..]),
            (7, &b"in"[..], &b"err"[..])
        );
        let nowhere = Cmd::new(["true"]).cwd("/no such folder");
        let error = tunnel.run(&nowhere).await.unwrap_err();
        assert!(
            matches!(&error, TunnelError::Path { path, words, .. }
                if path == "/no such folder" && words == "No such file or directory"),
            "{error}"
        );
        // Words, variables and folders arrive as they are, and so does what a command inherits.
        let signs = every_sign();
        let mut words = vec!["printf".to_owned(), "%s\\0".to_owned()];
        words.extend(HOSTILE.iter().map(|text| (*text).to_owned()));
        words.push(signs.clone());
        let printed = tunnel.run(&Cmd::new(words.clone())).await.unwrap();
        assert_eq!(split(&printed.stdout), &words[2..]);
        for text in HOSTILE.iter().copied().chain([signs.as_str()]) {
            let show = sh("printf %s \"$HOSTILE\"").env("HOSTILE", text);
            let shown = tunnel.run(&show).await.unwrap().stdout;
            assert_eq!(String::from_utf8(shown).unwrap(), text);
        }
        let inherited = sh("grep -E '^Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd; umask");
        let plain = place.connect().await.run(&inherited).await.unwrap().stdout;
        assert!(plain.starts_with(b"SigBlk:\t0000000000000000\n"));
        let here = tunnel.run(&inherited).await.unwrap().stdout;
        assert_eq!(
            String::from_utf8(here).unwrap(),
            String::from_utf8(plain).unwrap()
        );
        let home = place.open().run(&sh("[ \"$PWD\" -ef ~ ]")).await.unwrap();
        assert_eq!(home.status, 0);
    });
}

#[test]
fn what_is_long_goes_in_and_comes_out_beside_the_rest() {
    let Some(place) = Place::with("") else { return };
    wait(async {
        let tunnel = place.open();
        let bytes: Vec<u8> = (0..8u32 << 20)
            .map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let copy = Cmd::new(["cat"]).stdin(bytes.clone());
        // One whose output nobody takes must not be in the others' way.
        let (mut writer, reader) = tokio::io::duplex(1);
        let mut nothing = tokio::io::empty();
        let endless = Cmd::new(["yes"]);
        let stuck = tunnel.exec(&endless, &mut nothing, &mut writer);
        let others = async {
            for finished in futures((0..3).map(|_| tunnel.run(&copy))).await {
                assert!(finished.unwrap().stdout == bytes);
            }
            // What does not read its input ends all the same.
            let deaf = sh("exec <&-; echo deaf").stdin(bytes.clone());
            assert_eq!(tunnel.run(&deaf).await.unwrap().stdout, b"deaf\n");
            let much = sh("yes | head -c 1000000 >&2; echo end >&2");
            let said = tunnel.run(&much).await.unwrap().stderr;
            assert!(said.len() <= 64 << 10 && said.ends_with(b"y\nend\n"));
        };
        tokio::select! {
            ended = stuck => panic!("{ended:?}"),
            () = others => {}
        }
        drop(reader);
        // Dropping it has ended it there.
        while !processes(|words| words == ["yes"]).is_empty() {
            tunnel.run(&Cmd::new(["true"])).await.unwrap();
        }
    });
}

#[test]
fn a_command_is_ended_there_with_its_group() {
    let Some(place) = Place::with("") else { return };
    wait(async {
        let tunnel = place.open();
        let seconds = format!("3000{}", std::process::id());
        let stubborn = sh(&format!("trap '' TERM; sleep {seconds} & sleep {seconds}"));
        let error = tunnel
            .run(&stubborn.clone().timeout(Duration::from_millis(300)))
            .await
            .unwrap_err();
        assert!(
            matches!(error, TunnelError::TimedOut { ended: true, .. }),
            "{error}"
        );
        assert!(!runs(&seconds));
        // Dropped as soon as it says that it runs.
        let (mut writer, mut reader) = tokio::io::duplex(64);
        let mut nothing = tokio::io::empty();
        let script = sh(&format!("sleep {seconds} & echo up; wait"));
        tokio::select! {
            ended = tunnel.exec(&script, &mut nothing, &mut writer) => panic!("{ended:?}"),
            line = tokio::io::AsyncReadExt::read_u8(&mut reader) => assert_eq!(line.unwrap(), b'u'),
        }
        while runs(&seconds) {
            tunnel.run(&Cmd::new(["true"])).await.unwrap();
        }
        // With the tunnel goes serve, and what it ran: here at the latest when the test ends.
        drop(tunnel);
    });
    while !serving(&place).is_empty() {
        std::thread::yield_now();
    }
}

#[test]
fn it_heals() {
    let Some(place) = Place::with("") else { return };
    wait(async {
        let tunnel = place.open();
        let hello = Cmd::new(["echo", "hello"]);
        assert_eq!(tunnel.run(&hello).await.unwrap().stdout, b"hello\n");
        // Serve is killed in the middle of a command: nobody knows what became of that.
        let seconds = format!("4000{}", std::process::id());
        let sleep = Cmd::new(["sleep", seconds.as_str()]);
        let killed = async {
            while !runs(&seconds) {
                tunnel.run(&Cmd::new(["true"])).await.unwrap();
            }
            kill(serving(&place)[0]);
        };
        let (ended, ()) = tokio::join!(tunnel.run(&sleep), killed);
        let error = ended.unwrap_err();
        assert!(matches!(error, TunnelError::Interrupted { .. }), "{error}");
        let fact = connection(&place.context(), &place.settings()).unwrap();
        assert_eq!(fact.state, ConnectionState::Closed);
        for process in processes(|words| words == ["sleep", seconds.as_str()]) {
            kill(process);
        }
        // The next one finds a new session over the same login.
        assert_eq!(tunnel.run(&hello).await.unwrap().stdout, b"hello\n");
        assert_eq!(place.sshd.logins(), 1);
        let fact = connection(&place.context(), &place.settings()).unwrap();
        assert_eq!((fact.state, &*fact.words), (ConnectionState::Open, ""));

        // Serve is killed between two commands: the one that is sent before that is known is lost, and no more than one.
        kill(serving(&place)[0]);
        if let Err(error) = tunnel.run(&hello).await {
            assert!(matches!(error, TunnelError::Interrupted { .. }), "{error}");
        }
        assert_eq!(tunnel.run(&hello).await.unwrap().stdout, b"hello\n");
        assert_eq!(place.sshd.logins(), 1);

        // The master is killed: a new login, which needs nobody.
        kill(place.master().await);
        let error = until_fails_or_logs_in(&*tunnel, &place).await;
        assert!(error.is_none_or(|error| matches!(error, TunnelError::Interrupted { .. })),);
        assert_eq!(tunnel.run(&hello).await.unwrap().stdout, b"hello\n");
        assert_eq!(place.sshd.logins(), 2);
    });
}

/// Runs commands until the dead master is noticed.
async fn until_fails_or_logs_in(tunnel: &dyn Tunnel, place: &Place) -> Option<TunnelError> {
    while place.sshd.logins() < 2 {
        if let Err(error) = tunnel.run(&Cmd::new(["true"])).await {
            return Some(error);
        }
    }
    None
}

#[test]
fn a_server_that_is_down_is_tried_ever_more_rarely() {
    let Some(mut place) = Place::with("") else {
        return;
    };
    let runtime = place::runtime();
    let tunnel = place.open();
    runtime.block_on(async {
        assert_eq!(tunnel.run(&Cmd::new(["true"])).await.unwrap().status, 0);
    });
    place.sshd.stop();
    runtime.block_on(async {
        let limit = tokio::time::timeout(sshd::LIMIT, until_fails(&*tunnel));
        let mut error = limit.await.unwrap();
        // What was under way, at most once.
        if matches!(error, TunnelError::Interrupted { .. }) {
            error = until_fails(&*tunnel).await;
        }
        assert!(matches!(error, TunnelError::Unreachable { .. }), "{error}");
        let fact = connection(&place.context(), &place.settings()).unwrap();
        assert_eq!(fact.state, ConnectionState::Closed);
        assert_eq!(fact.words, error.to_string());
        // In between nothing is tried: a hundred calls take no time, and say the same.
        let began = Instant::now();
        for _ in 0..100 {
            assert_eq!(until_fails(&*tunnel).await, error);
        }
        assert!(began.elapsed() < Duration::from_secs(5));
    });
    place.sshd.begin("");
    runtime.block_on(async {
        let back = async {
            while tunnel.run(&Cmd::new(["true"])).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(sshd::LIMIT, back).await.unwrap();
        let fact = connection(&place.context(), &place.settings()).unwrap();
        assert_eq!(fact.state, ConnectionState::Open);
    });
    drop(tunnel);
}

#[test]
fn settings_prepare_once() {
    let Some(place) = Place::with("") else { return };
    let count = place.folder().join("count");
    let settings = |pre_command: String| {
        let TunnelSettings::Ssh(tunnel) = place.settings() else {
            unreachable!("it is ssh")
        };
        TunnelSettings::Ssh(SshTunnel {
            pre_command: Some(pre_command),
            shell: Some("bash".to_owned()),
            ..tunnel
        })
    };
    wait(async {
        let loading = settings(format!(
            "echo noise; echo noise >&2; export LOADED=\"a b\"; echo . >>{count}; cd /"
        ));
        let tunnel = loading.open(&place.context());
        assert!(tunnel.agent().await.unwrap().is_some());
        let before = std::fs::read(&count).unwrap().len();
        for _ in 0..3 {
            let shown = tunnel.run(&sh("echo \"$LOADED\"; pwd")).await.unwrap();
            assert_eq!(
                (&shown.stdout[..], &shown.stderr[..]),
                (&b"a b\n/\n"[..], &b""[..])
            );
        }
        assert_eq!(std::fs::read(&count).unwrap().len(), before);
        let failing = settings("echo why >&2; exit_status() { return 3; }; exit_status".to_owned());
        let error = until_fails(&*failing.open(&place.context())).await;
        assert!(
            matches!(&error, TunnelError::PreCommand { status: 3, words, .. } if words == "why"),
            "{error}"
        );
    });
}

#[test]
fn where_the_agent_cant_run_commands_do() {
    let Some(place) = Place::with("") else { return };
    // As if it were for another processor.
    let foreign = place.folder().join("foreign");
    std::fs::write(&foreign, b"\x7fELF and nothing that any kernel takes").unwrap();
    let mut context = place.context();
    context.agent = mizzen_core::context::Agent::File(foreign);
    wait(async {
        let tunnel = place.settings().open(&context);
        assert_eq!(tunnel.agent().await.unwrap(), None);
        let shown = tunnel.run(&sh("cat; exit 3").stdin("in")).await.unwrap();
        assert_eq!((shown.status, &shown.stdout[..]), (3, &b"in"[..]));
        kill(place.master().await);
        let error = until_fails_or_logs_in(&*tunnel, &place).await;
        assert!(error.is_none_or(|error| {
            matches!(
                error,
                TunnelError::Unreachable { .. } | TunnelError::Interrupted { .. }
            )
        }));
        let back = async {
            while tunnel.run(&Cmd::new(["true"])).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        back.await;
        assert_eq!(place.sshd.logins(), 2);
    });
}

#[test]
fn an_agent_that_did_not_arrive_whole_is_sent_again() {
    let Some(place) = Place::with("") else { return };
    wait(async {
        let path = place.open().agent().await.unwrap().unwrap();
        let whole = std::fs::read(&path).unwrap();
        // A file that is executed can't be written.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert_eq!(place.open().agent().await.unwrap().as_ref(), Some(&path));
        assert!(std::fs::read(&path).unwrap() == whole);
        assert_eq!(place::mode(&path), 0o700);
        let folder = path.parent().unwrap();
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);
        assert_eq!(place::mode(folder), 0o700);
        // Also on this machine, for jobs in a folder that nodes see.
        let local = mizzen_core::tunnel::LocalTunnel {
            job_dir: Some(place.folder().join("shared")),
        };
        let here = local.connect(&place.context());
        let path = here.agent().await.unwrap().unwrap();
        assert!(path.starts_with(place.folder().join("shared/.mizzen/agents")));
        assert!(std::fs::read(&path).unwrap() == whole);
    });
}

#[test]
fn files_go_over_it_too() {
    let Some(place) = Place::with("") else { return };
    wait(async {
        let tunnel = place.open();
        let from = place.folder().join("from");
        std::fs::create_dir_all(from.join("deep")).unwrap();
        std::fs::write(from.join("deep/file"), vec![7; 3 << 20]).unwrap();
        let there = place.folder().join("there/x");
        tunnel.put(&from, &there).await.unwrap();
        tunnel.get(&there, Utf8Path::new("back")).await.unwrap();
        let back = std::fs::read(place.folder().join("back/deep/file")).unwrap();
        assert!(back == vec![7; 3 << 20]);
        let gone = place.folder().join("gone");
        let error = tunnel.get(&gone, Utf8Path::new("back")).await.unwrap_err();
        assert!(matches!(error, TunnelError::Path { .. }), "{error}");
    });
}

#[test]
fn a_folder_that_cant_be_written_is_said_and_commands_go_on() {
    let Some(place) = Place::with("") else { return };
    let TunnelSettings::Ssh(tunnel) = place.settings() else {
        unreachable!("it is ssh")
    };
    let settings = TunnelSettings::Ssh(SshTunnel {
        job_dir: Some("/proc/jobs".into()),
        ..tunnel
    });
    wait(async {
        let tunnel = settings.open(&place.context());
        let error = tunnel.agent().await.unwrap_err();
        assert!(
            matches!(
                error,
                TunnelError::Path { .. } | TunnelError::NoPermission { .. }
            ),
            "{error}"
        );
        assert_eq!(tunnel.run(&Cmd::new(["true"])).await.unwrap().status, 0);
    });
}

#[test]
fn a_cut_network_is_noticed_and_healed() {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(mut sshd) = Sshd::prepare() else {
        return;
    };
    sshd.address = THERE.to_owned();
    sshd.port = 2222;
    network.there();
    sshd.begin("");
    network.connect(sshd.process());
    sshd.know("host_key");
    sshd.config("");
    let place = Place { sshd };
    wait(async {
        let tunnel = place.open();
        let seconds = format!("5000{}", std::process::id());
        let sleep = Cmd::new(["sleep", seconds.as_str()]);
        let began = async {
            while !runs(&seconds) {
                tunnel.run(&Cmd::new(["true"])).await.unwrap();
            }
            network.set("down");
            Instant::now()
        };
        let (ended, cut) = tokio::join!(tunnel.run(&sleep), began);
        let error = ended.unwrap_err();
        assert!(matches!(error, TunnelError::Interrupted { .. }), "{error}");
        assert!(
            cut.elapsed() < Duration::from_secs(16),
            "{:?}",
            cut.elapsed()
        );
        let fact = connection(&place.context(), &place.settings()).unwrap();
        assert_eq!(fact.state, ConnectionState::Closed);
        let error = until_fails(&*tunnel).await;
        assert!(matches!(error, TunnelError::Unreachable { .. }), "{error}");
        network.set("up");
        while tunnel.run(&Cmd::new(["true"])).await.is_err() {
            tokio::task::yield_now().await;
        }
        let fact = connection(&place.context(), &place.settings()).unwrap();
        assert_eq!(fact.state, ConnectionState::Open);
        for process in processes(|words| words == ["sleep", seconds.as_str()]) {
            kill(process);
        }
    });
}

/// The server's address on the other side of a cable.
const THERE: &str = "198.18.0.2";

/// Two networks that only this test's thread, its server and their children see, with a cable between them.
struct Network;

impl Network {
    /// `None`, said aloud, where no network can be made; in CI a failure.
    fn new() -> Option<Network> {
        let ip = Command::new("ip").arg("-V").output();
        if !nix::unistd::geteuid().is_root() || ip.is_err() {
            sshd::skip("a network needs root and Debian's package iproute2");
            return None;
        }
        Some(Network)
    }

    /// What is started from now on is on the other side.
    fn there(&self) {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        // The server listens before there is a cable.
        ip(&["addr", "add", &format!("{THERE}/32"), "dev", "lo"]);
        ip(&["link", "set", "lo", "up"]);
    }

    /// Comes to this side and lays a cable to the process on the other.
    fn connect(&self, process: u32) {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let process = process.to_string();
        ip(&["link", "set", "lo", "up"]);
        let cable = [
            "link", "add", "here", "type", "veth", "peer", "name", "there",
        ];
        ip(&[&cable[..], &["netns", &process]].concat());
        ip(&["addr", "add", "198.18.0.1/24", "dev", "here"]);
        ip(&["link", "set", "here", "up"]);
        let net = format!("--net=/proc/{process}/ns/net");
        for words in [
            &["addr", "add", "198.18.0.3/24", "dev", "there"][..],
            &["link", "set", "there", "up"],
        ] {
            let mut command = Command::new("nsenter");
            well(command.args([net.as_str(), "ip"]).args(words));
        }
    }

    /// Cuts the cable, or mends it.
    fn set(&self, state: &str) {
        ip(&["link", "set", "here", state]);
    }
}

fn ip(words: &[&str]) {
    well(Command::new("ip").args(words));
}

fn well(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

#[test]
fn a_warm_command_takes_milliseconds() {
    let Some(place) = Place::with("") else { return };
    wait(async {
        let tunnel = place.open();
        let connection = place.connect().await;
        let idle = Cmd::new(["true"]);
        let mut median = [Duration::ZERO; 2];
        for (over, median) in [&*tunnel, &connection as &dyn Tunnel]
            .iter()
            .zip(&mut median)
        {
            over.run(&idle).await.unwrap();
            let mut times = Vec::new();
            for _ in 0..200 {
                let began = Instant::now();
                assert_eq!(over.run(&idle).await.unwrap().status, 0);
                times.push(began.elapsed());
            }
            times.sort();
            *median = times[times.len() / 2];
        }
        let [warm, session] = median;
        let words = format!("true: {warm:?} over the channel, {session:?} by a session each\n");
        std::io::stderr().write_all(words.as_bytes()).unwrap();
        // Other tests may run meanwhile; both suffer the same.
        assert!(warm < session, "{words}");
        assert!(warm < Duration::from_millis(50), "{words}");
    });
}
