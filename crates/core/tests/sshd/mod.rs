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

/// What [`Sshd::start_with_codes`] asks for first.
pub const PASSWORD: &str = "correct horse";
/// Its hash, as crypt(3) makes it.
const HASH: &str = "$6$mizzen$iGZ0eBeWEmTH.FQojOW8LY7KZiFk8SQugh5jL9SpneWGAWU9nbhloSHvo03E.r5NPqc8wCKgf3eubqI8FyRBv0";
/// What its codes come from.
const SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DP";

/// The server and what a client needs to reach it as `box`.
pub struct Sshd {
    pub folder: PathBuf,
    pub port: u16,
    /// Where clients find it.
    pub address: String,
    program: PathBuf,
    /// The words before the server's own.
    wrapper: Vec<String>,
    server: Option<Child>,
    log: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl Sshd {
    /// A server that lets in this user with the key `key`. `None`, said aloud, where there is no sshd; in CI a failure.
    ///
    /// In `more`, `{folder}` is the server's folder.
    pub fn start(more: &str) -> Option<Sshd> {
        let mut server = Sshd::prepare()?;
        server.begin(more);
        server.know("host_key");
        server.config("");
        Some(server)
    }

    /// A server that asks for a password and a one-time code ([`PASSWORD`], [`Sshd::code`]), by PAM. Its files of PAM and
    /// its passwords are its own: nobody else sees them. `None`, said aloud, where that can't be; in CI a failure.
    pub fn start_with_codes() -> Option<Sshd> {
        let module = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"]
            .iter()
            .any(|folder| {
                let found = Command::new("find")
                    .args([folder, "-name", "pam_google_authenticator.so"])
                    .output();
                found.is_ok_and(|found| !found.stdout.is_empty())
            });
        if !nix::unistd::geteuid().is_root() || !module {
            skip("that needs root and Debian's package libpam-google-authenticator");
            return None;
        }
        let mut server = Sshd::prepare()?;
        let file = |name: &str| server.folder.join(name);
        std::fs::create_dir(file("pam.d")).unwrap();
        let secret = file("secret");
        std::fs::write(&secret, format!("{SECRET}\n\" TOTP_AUTH\n")).unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let pam = format!(
            "auth requisite pam_unix.so nodelay\n\
             auth required pam_google_authenticator.so secret={} user=root no_strict_owner\n\
             account required pam_permit.so\nsession required pam_permit.so\n",
            secret.display()
        );
        std::fs::write(file("pam.d/sshd"), pam).unwrap();
        std::fs::write(file("shadow"), format!("root:{HASH}:20000:0:99999:7:::\n")).unwrap();
        let bind = r#"mount --make-rprivate / && mount --bind "$1/pam.d" /etc/pam.d && \
            mount --bind "$1/shadow" /etc/shadow && shift && exec "$@""#;
        let folder = server.folder.display().to_string();
        server.wrapper = ["unshare", "-m", "sh", "-c", bind, "sh", &folder]
            .map(str::to_owned)
            .to_vec();
        server.begin(
            "UsePAM yes\nKbdInteractiveAuthentication yes\nPubkeyAuthentication no\n\
             AuthenticationMethods keyboard-interactive\nSetEnv HOME={folder}/there",
        );
        server.know("host_key");
        server.config("");
        Some(server)
    }

    /// A one-time code as a telephone shows it, `seconds` from now.
    pub fn code(seconds: i64) -> String {
        let script = "import base64,hashlib,hmac,struct,sys,time\n\
            t=int(time.time()+int(sys.argv[2]))//30\n\
            d=hmac.new(base64.b32decode(sys.argv[1]),struct.pack('>Q',t),hashlib.sha1).digest()\n\
            o=d[-1]&15\nprint('%06d'%((struct.unpack('>I',d[o:o+4])[0]&0x7fffffff)%1000000))";
        let printed = Command::new("python3")
            .args(["-c", script, SECRET, &seconds.to_string()])
            .output()
            .unwrap();
        assert!(printed.status.success(), "{printed:?}");
        String::from_utf8(printed.stdout).unwrap().trim().to_owned()
    }

    /// The files of a server that is not started. `None`, said aloud, where there is no sshd; in CI a failure.
    pub fn prepare() -> Option<Sshd> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Some(program) = program() else {
            skip("there is no sshd (Debian's package is openssh-server)");
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
        Some(Sshd {
            folder,
            port: 0,
            address: "127.0.0.1".to_owned(),
            program,
            wrapper: Vec::new(),
            server: None,
            log: Arc::default(),
        })
    }

    /// The server's process.
    pub fn process(&self) -> u32 {
        self.server.as_ref().unwrap().id()
    }

    /// Starts the server, again on its port once it has one.
    pub fn begin(&mut self, more: &str) {
        for _ in 0..20 {
            if self.port == 0 {
                let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                self.port = free.local_addr().unwrap().port();
            }
            let file = |name: &str| self.folder.join(name).display().to_string();
            let more = more.replace("{folder}", &self.folder.display().to_string());
            // The first word counts: what a test wants stands before what is usual.
            let config = format!(
                "{more}\nListenAddress {}\nPort {}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
                 UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n\
                 LogLevel VERBOSE\nUseDNS no\nPrintMotd no\n",
                self.address,
                self.port,
                file("host_key"),
                file("authorized_keys")
            );
            std::fs::write(self.folder.join("sshd_config"), config).unwrap();
            let program = self.program.to_str().unwrap().to_owned();
            let words: Vec<&String> = self.wrapper.iter().chain([&program]).collect();
            let mut server = Command::new(words[0])
                .args(&words[1..])
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
        let line = format!("[{}]:{} {public}", self.address, self.port);
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
            "  HostName {}\n  Port {}\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
             UserKnownHostsFile {folder}/known_hosts\n  GlobalKnownHostsFile /dev/null",
            self.address, self.port
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

/// Says that a test can't be done here; in CI that is a failure.
pub fn skip(why: &str) {
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{why}, and CI skips nothing"
    );
    // Not by a macro, whose words a test that passes does not show.
    let words = format!("skipped: {why}\n");
    std::io::stderr().write_all(words.as_bytes()).unwrap();
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
