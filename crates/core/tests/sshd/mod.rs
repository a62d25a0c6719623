//! A real sshd of a test's own: its keys, its port, its log, everything in one folder that goes with it.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests read their own surroundings"
)]
#![allow(
    clippy::allow_attributes,
    dead_code,
    unreachable_pub,
    reason = "shared by several test crates, each of which uses its part"
)]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// A test that waits longer than this has failed.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The server and what a client needs to reach it as `box`.
pub struct Sshd {
    pub folder: PathBuf,
    pub port: u16,
    program: PathBuf,
    server: Option<Child>,
    log: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl Sshd {
    /// A server that lets in this user with the key `key`. `None`, said aloud, where there is no sshd; in CI a failure.
    pub fn start(more: &str) -> Option<Sshd> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Some(program) = program() else {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "there is no sshd, and CI skips nothing"
            );
            // Not by a macro, whose words a test that passes does not show.
            let words = "skipped: there is no sshd (Debian's package is openssh-server)\n";
            std::io::stderr().write_all(words.as_bytes()).unwrap();
            return None;
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Short: sockets stand in it.
        let folder = std::env::temp_dir().join(format!("mz-{}-{number}", std::process::id()));
        std::fs::create_dir_all(folder.join("home")).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        if nix::unistd::geteuid().is_root() {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        for name in ["host_key", "other_host_key", "key", "other_key"] {
            keygen(&folder.join(name), "");
        }
        std::fs::copy(folder.join("key.pub"), folder.join("authorized_keys")).unwrap();
        let mut server = Sshd {
            folder,
            port: 0,
            program,
            server: None,
            log: Arc::default(),
        };
        server.begin(more);
        server.know("host_key");
        server.config("");
        Some(server)
    }

    /// Starts the server, again on its port once it has one.
    pub fn begin(&mut self, more: &str) {
        for _ in 0..20 {
            if self.port == 0 {
                let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                self.port = free.local_addr().unwrap().port();
            }
            let file = |name: &str| self.folder.join(name).display().to_string();
            // The first word counts: what a test wants stands before what is usual.
            let config = format!(
                "{more}\nListenAddress 127.0.0.1\nPort {}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
                 UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n\
                 LogLevel VERBOSE\nUseDNS no\nPrintMotd no\n",
                self.port,
                file("host_key"),
                file("authorized_keys")
            );
            std::fs::write(self.folder.join("sshd_config"), config).unwrap();
            let mut server = Command::new(&self.program)
                .args(["-D", "-e", "-f", &file("sshd_config")])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let stderr = BufReader::new(server.stderr.take().unwrap());
            let log = Arc::clone(&self.log);
            let before = log.0.lock().unwrap().len();
            std::thread::spawn(move || {
                for line in stderr.lines().map_while(Result::ok) {
                    log.0.lock().unwrap().push(line);
                    log.1.notify_all();
                }
            });
            let mut up = false;
            self.wait_for(before, |line| {
                up = line.starts_with("Server listening");
                up || line.contains("Cannot bind")
                    || line.contains("error")
                    || line.contains("Missing")
            });
            self.server = Some(server);
            if up {
                return;
            }
            // Somebody else took the port in between.
            self.stop();
            self.port = 0;
        }
        panic!("sshd does not start: {:?}", self.log.0.lock().unwrap());
    }

    /// It was started and not stopped.
    pub fn is_up(&self) -> bool {
        self.server.is_some()
    }

    /// Stops it with all connections, as a machine that goes down does.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let mine = i32::try_from(server.id()).unwrap();
            for process in descendants(mine) {
                kill(process);
            }
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Waits for a line of the log behind the first `from`.
    pub fn wait_for(&self, from: usize, mut wanted: impl FnMut(&str) -> bool) {
        let lines = self.log.0.lock().unwrap();
        let mut seen = from;
        let (lines, waited) = self
            .log
            .1
            .wait_timeout_while(lines, LIMIT, |lines| {
                let found = lines[seen..].iter().any(|line| wanted(line));
                seen = lines.len();
                !found
            })
            .unwrap();
        assert!(!waited.timed_out(), "sshd's log: {lines:#?}");
    }

    /// How many logins there were.
    pub fn logins(&self) -> usize {
        let lines = self.log.0.lock().unwrap();
        let login =
            |line: &&String| line.starts_with("Accepted ") && !line.starts_with("Accepted key ");
        lines.iter().filter(login).count()
    }

    /// Makes a host key the known one.
    pub fn know(&self, key: &str) {
        let public = std::fs::read_to_string(self.folder.join(format!("{key}.pub"))).unwrap();
        let line = format!("[127.0.0.1]:{} {public}", self.port);
        std::fs::write(self.folder.join("known_hosts"), line).unwrap();
    }

    /// Writes the client's configuration; `more` stands first, and the first word counts.
    pub fn config(&self, more: &str) -> PathBuf {
        let mut text = String::from("Host box\n");
        for line in more.lines() {
            writeln!(text, "  {line}").unwrap();
        }
        let folder = self.folder.display();
        if !more.contains("IdentityFile") {
            // Each that is named is offered: a test's own would only be added.
            writeln!(text, "  IdentityFile {folder}/key").unwrap();
        }
        writeln!(
            text,
            "  HostName 127.0.0.1\n  Port {}\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
             UserKnownHostsFile {folder}/known_hosts\n  GlobalKnownHostsFile /dev/null",
            self.port
        )
        .unwrap();
        let path = self.folder.join("ssh_config");
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // Masters end with their connections.
        self.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A new key.
pub fn keygen(path: &Path, passphrase: &str) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", passphrase, "-C", "test", "-f"])
        .arg(path)
        .status()
        .unwrap();
    assert!(made.success());
}

/// Kills a process at once.
pub fn kill(process: i32) {
    let _ = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(process),
        nix::sys::signal::Signal::SIGKILL,
    );
}

fn program() -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/usr/local/sbin"])
        .map(|folder| Path::new(folder).join("sshd"))
        .find(|file| file.is_absolute() && file.is_file())
}

/// The children of a process and theirs.
fn descendants(process: i32) -> Vec<i32> {
    let mut found = Vec::new();
    let mut next = vec![process];
    while let Some(parent) = next.pop() {
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            let child = child.parse().unwrap();
            found.push(child);
            next.push(child);
        }
    }
    found
}
