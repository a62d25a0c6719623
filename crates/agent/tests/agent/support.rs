//! What the tests share: a folder that goes away, a FIFO to hear from ranks, an agent, and ways to write down a job.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use mizzen_agent::process_table::ProcessStat;
use mizzen_agent::protocol::{Command, EXIT_RECORD, Identity, Job, Member, Rank, Report};
use mizzen_agent::record::ExitRecord;

pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_mizzen-agent");
/// Only something broken takes so long.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A folder for one test.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the test");
        Scratch(folder)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.0
            .join(name)
            .to_str()
            .expect("paths of tests are UTF-8")
            .to_owned()
    }

    pub(crate) fn fifo(&self, name: &str) -> Fifo {
        let path = self.0.join(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
        // Open for both, so that neither opening waits for a writer nor the end of one looks like the end of all.
        let file = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .expect("an open FIFO");
        Fifo {
            path: path.to_str().expect("paths of tests are UTF-8").to_owned(),
            file,
        }
    }

    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.0.join(name);
        fs::write(&path, text).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))
            .expect("a script that may be run");
        self.text(name)
    }

    /// A job of one rank, run by sh.
    pub(crate) fn shell(&self, key: &str, script: &str) -> Job {
        self.job(key, vec![self.member(key, &[script])])
    }

    pub(crate) fn command(&self, key: &str, argv: &[&str]) -> Job {
        let mut job = self.shell(key, "");
        job.members[0].ranks[0].argv = argv.iter().map(|word| (*word).to_owned()).collect();
        job
    }

    /// One rank for each script.
    pub(crate) fn member(&self, name: &str, scripts: &[&str]) -> Member {
        let rank = |script: &&str| Rank {
            argv: vec!["sh".to_owned(), "-c".to_owned(), (*script).to_owned()],
            env: Vec::new(),
        };
        Member {
            name: name.to_owned(),
            attempt_dir: self.text(&format!("attempts/{name}")),
            log_dir: None,
            first_rank: 0,
            workdir: self.text(""),
            env: vec![("PATH".to_owned(), PATH.to_owned())],
            inherit: false,
            code: None,
            leader: false,
            world: None,
            of_node: false,
            ranks: scripts.iter().map(rank).collect(),
        }
    }

    /// The key is made unique: `find_by_key` sees all processes of this machine.
    pub(crate) fn job(&self, key: &str, members: Vec<Member>) -> Job {
        Job {
            key: self.key(key),
            members,
            timeout: None,
            grace: 20.0,
            devices: None,
            heartbeat: 60.0,
            peers: Vec::new(),
        }
    }

    pub(crate) fn key(&self, key: &str) -> String {
        format!(
            "{key}-{}",
            self.0.file_name().expect("a name").to_string_lossy()
        )
    }

    pub(crate) fn log(&self, member: &str, rank: usize) -> Vec<u8> {
        fs::read(self.0.join(format!("attempts/{member}/rank-{rank}.log"))).expect("a log")
    }

    pub(crate) fn record(&self, member: &str) -> Option<ExitRecord> {
        let text = fs::read(self.0.join(format!("attempts/{member}/{EXIT_RECORD}"))).ok()?;
        Some(serde_json::from_slice(&text).expect("a record that can be read"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What could not be removed lies in the build's folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How ranks tell a test that they have come so far.
pub(crate) struct Fifo {
    pub(crate) path: String,
    file: File,
}

impl Fifo {
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        loop {
            assert!(
                readable(self.file.as_fd()),
                "nothing came through {} in time",
                self.path
            );
            let mut byte = [0];
            self.file.read_exact(&mut byte).expect("a byte");
            if byte[0] == b'\n' {
                return String::from_utf8(line).expect("text");
            }
            line.push(byte[0]);
        }
    }

    pub(crate) fn pid(&mut self) -> i32 {
        self.line().trim().parse().expect("a pid")
    }

    pub(crate) fn write(&self, text: &str) {
        (&self.file)
            .write_all(text.as_bytes())
            .expect("a FIFO with room");
    }
}

pub(crate) fn readable(descriptor: std::os::fd::BorrowedFd<'_>) -> bool {
    let mut poll = [nix::poll::PollFd::new(
        descriptor,
        nix::poll::PollFlags::POLLIN,
    )];
    let limit =
        u16::try_from(LIMIT.as_millis()).expect("a limit of less than a minute and six seconds");
    nix::poll::poll(&mut poll, limit).expect("poll") == 1
}

/// An agent in the mode `work`. Killed if the test forgets it.
pub(crate) struct Agent {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    reports: OnceCell<mpsc::Receiver<Report>>,
    pub(crate) identity: Identity,
}

impl Agent {
    pub(crate) fn start() -> Agent {
        Agent::start_with(&mut std::process::Command::new(AGENT))
    }

    pub(crate) fn start_with(command: &mut std::process::Command) -> Agent {
        command
            .arg("work")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("an agent");
        let stdin = child.stdin.take();
        let mut ready = Vec::new();
        let output = child.stdout.as_mut().expect("its reports");
        while ready.last() != Some(&b'\n') {
            assert!(readable(output.as_fd()), "the agent says nothing");
            let mut byte = [0];
            output
                .read_exact(&mut byte)
                .expect("a byte of its first report");
            ready.push(byte[0]);
        }
        match serde_json::from_slice(&ready).expect("a report") {
            Report::Ready(identity) => Agent {
                child,
                stdin,
                reports: OnceCell::new(),
                identity,
            },
            other => panic!("the first report is {other:?}"),
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    pub(crate) fn send(&mut self, command: &Command) {
        let mut line = serde_json::to_vec(command).expect("JSON");
        line.push(b'\n');
        self.send_bytes(&line);
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stdin
            .as_mut()
            .expect("an open channel")
            .write_all(bytes)
            .expect("an agent that reads");
    }

    pub(crate) fn run(&mut self, job: &Job) {
        self.send(&Command::Run(Box::new(job.clone())));
    }

    pub(crate) fn cancel(&mut self, job: &Job, immediately: bool) {
        self.send(&Command::Cancel {
            key: job.key.clone(),
            signal: libc::SIGTERM,
            immediately,
        });
    }

    /// The next report. Nothing is read before this is called for the first time.
    pub(crate) fn report(&mut self) -> Report {
        if self.reports.get().is_none() {
            let output = BufReader::new(self.child.stdout.take().expect("its reports"));
            let (sender, receiver) = mpsc::channel();
            std::thread::spawn(move || {
                for line in output.lines().map_while(Result::ok) {
                    let report = serde_json::from_str(&line).expect("a report");
                    if sender.send(report).is_err() {
                        break;
                    }
                }
            });
            self.reports.set(receiver).expect("an empty place");
        }
        self.reports
            .get()
            .expect("the reports")
            .recv_timeout(LIMIT)
            .expect("a report in time")
    }

    /// The devices of a job that has started.
    pub(crate) fn started(&mut self) -> Vec<String> {
        match self.report() {
            Report::Started { devices, .. } => devices,
            other => panic!("not started, but {other:?}"),
        }
    }

    pub(crate) fn ended(&mut self) -> Vec<ExitRecord> {
        match self.report() {
            Report::Ended { records, .. } => records,
            other => panic!("not ended, but {other:?}"),
        }
    }

    /// Runs a job of one member to its end.
    pub(crate) fn finish(&mut self, job: &Job) -> ExitRecord {
        self.run(job);
        self.started();
        self.ended().remove(0)
    }

    pub(crate) fn close(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for_end(self.pid());
        self.child.wait().expect("its status")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both fail for an agent that has ended, as it should have.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a process has ended, whosever child it is.
pub(crate) fn wait_for_end(pid: i32) {
    // SAFETY: pidfd_open(2) takes two integers.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if descriptor < 0 {
        return;
    }
    let descriptor = i32::try_from(descriptor).expect("a descriptor");
    // SAFETY: the descriptor was just made for us.
    let handle = unsafe { OwnedFd::from_raw_fd(descriptor) };
    assert!(
        handle.as_raw_fd() >= 0 && readable(handle.as_fd()),
        "process {pid} does not end"
    );
}

pub(crate) fn is_gone(pid: i32) -> bool {
    ProcessStat::read(pid).is_none_or(|stat| stat.is_dead())
}

pub(crate) fn kill(pid: i32, signal: i32) {
    // SAFETY: kill(2) takes two integers.
    let answer = unsafe { libc::kill(pid, signal) };
    assert_eq!(answer, 0, "process {pid} can't be signalled");
}

/// A set of signals out of a line of `/proc/<pid>/status`, without the two that the C library keeps to itself.
pub(crate) fn signals(line: &str) -> u64 {
    let (_, set) = line
        .split_once('\t')
        .expect("a line `Name:<tab>hexadecimal`");
    u64::from_str_radix(set, 16).expect("a set of signals") & !(0b11 << 31)
}
