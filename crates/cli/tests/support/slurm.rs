//! A real Slurm for tests (scripts/slurm.sh), and a laptop that reaches it by ssh.
//!
//! ```text
//! Laptop: HOME, MIZZEN_HOME, ssh_config ── sshd on loopback ──> login node: SLURM_CONF, job_dir ── sbatch ──> n1 … n4
//! ```
//!
//! [`Cluster::shared`] starts one cluster a variant and test binary; tests on it run at once, so none stops its parts, empties
//! its queue or counts what it holds. [`Cluster::own`] is for those that do. Both end with the test binary, however it ends:
//! the script holds the other end of a pipe.
//!
//! Slurm tells nobody when a state changes, so that tests must look again; they wait for a file or a line where there is one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::sshd::Sshd;
use crate::support::{LIMIT, Session, repository};

/// The pause between two questions to the controller.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What kind of cluster; scripts/slurm.sh says what each is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// No accounting.
    Plain,
    /// With slurmdbd; `stop("accounting")` makes it late.
    Accounting,
    /// Small limits; what ended is soon forgotten.
    Small,
    /// Jobs in `high` have those in `low` requeued.
    Preempt,
    /// Jobs in `high` have those in `low` cancelled.
    PreemptCancel,
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Variant::Plain => "plain",
            Variant::Accounting => "accounting",
            Variant::Small => "small",
            Variant::Preempt => "preempt",
            Variant::PreemptCancel => "preempt-cancel",
        }
    }
}

/// A cluster that runs.
pub struct Cluster {
    /// Everything of it.
    pub folder: PathBuf,
    /// The script, which takes the cluster down when its input ends. `None`: [`SHARED`] has it.
    script: Option<Child>,
}

/// The scripts of shared clusters, until the test binary ends.
static SHARED: Mutex<Vec<(PathBuf, Child)>> = Mutex::new(Vec::new());

impl Cluster {
    /// The cluster of this kind that tests of this binary share. `None`, said aloud, where there can be none; in CI a failure.
    pub fn shared(variant: Variant) -> Option<&'static Cluster> {
        static CLUSTERS: [OnceLock<Option<Cluster>>; 5] = [const { OnceLock::new() }; 5];
        CLUSTERS[variant as usize]
            .get_or_init(|| {
                let mut cluster = Cluster::own(variant)?;
                let script = cluster.script.take().unwrap();
                let mut shared = SHARED.lock().unwrap();
                if shared.is_empty() {
                    // SAFETY: the function takes nothing and does not unwind.
                    let kept = unsafe { libc::atexit(end_shared) };
                    assert_eq!(kept, 0);
                }
                shared.push((cluster.folder.clone(), script));
                Some(cluster)
            })
            .as_ref()
    }

    /// A cluster of a test's own.
    pub fn own(variant: Variant) -> Option<Cluster> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if let Some(missing) = missing(variant) {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "{missing}, and CI skips nothing"
            );
            // Not by a macro, whose words a test that passes does not show.
            let words = format!("skipped: {missing}\n");
            std::io::stderr().write_all(words.as_bytes()).unwrap();
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Short: sockets stand in it.
        let folder = std::env::temp_dir().join(format!("mz-slurm-{}-{number}", std::process::id()));
        let mut script = script()
            .args(["up", &folder.display().to_string(), "--variant"])
            .args([variant.name(), "--hold"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(script.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.contains("SLURM_CONF="), "the cluster does not start");
        Some(Cluster {
            folder,
            script: Some(script),
        })
    }

    /// The value of SLURM_CONF.
    pub fn conf(&self) -> PathBuf {
        self.folder.join("slurm.conf")
    }

    /// Stops a part: `controller`, `accounting`, `n1` …
    pub fn stop(&self, part: &str) {
        self.part("stop", part);
    }

    /// Starts a part again.
    pub fn start(&self, part: &str) {
        self.part("start", part);
    }

    fn part(&self, verb: &str, part: &str) {
        let folder = self.folder.display().to_string();
        let status = script().args([verb, &folder, part]).status().unwrap();
        assert!(status.success(), "{verb} {part}");
    }

    /// A command as on the cluster's own machine, in its folder.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.folder)
            .env("SLURM_CONF", self.conf())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs a command that must succeed; its standard output.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail; its standard error.
    pub fn fails(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(!output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Submits shell text as a batch job; its id.
    pub fn submit(&self, options: &[&str], text: &str) -> String {
        let mut child = self
            .command(&[&["sbatch", "--parsable", "--output=/dev/null"], options].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        write!(stdin, "#!/bin/bash\n{text}\n").unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "sbatch {options:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// What the controller knows of a job, by name; empty if it has forgotten it.
    pub fn job(&self, id: &str) -> BTreeMap<String, String> {
        let output = self.run(&["scontrol", "show", "job", "-o", id]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().next().unwrap_or_default();
        line.split(' ')
            .filter_map(|word| word.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Waits until a job is in a state.
    pub fn wait_for(&self, id: &str, state: &str) -> BTreeMap<String, String> {
        let mut seen = BTreeMap::new();
        let found = look_until(|| {
            seen = self.job(id);
            seen.get("JobState").is_some_and(|found| found == state)
        });
        assert!(found, "job {id} does not become {state}: {seen:#?}");
        seen
    }

    /// Waits until a condition holds.
    pub fn wait_until(&self, what: &str, condition: impl FnMut() -> bool) {
        assert!(look_until(condition), "not in time: {what}");
    }

    /// Waits until every node is idle.
    pub fn wait_idle(&self) {
        self.wait_until("all nodes idle", || {
            let states = self.run(&["sinfo", "--noheader", "--Node", "--format=%N %T"]);
            let states = String::from_utf8_lossy(&states.stdout).into_owned();
            let mut lines = states.lines().peekable();
            lines.peek().is_some() && lines.all(|line| line.ends_with(" idle"))
        });
    }

    /// How often the controller was asked what, since it started or since [`Cluster::forget_requests`].
    pub fn requests(&self) -> BTreeMap<String, u64> {
        let text = self.ok(&["sdiag"]);
        let mut requests = BTreeMap::new();
        let by_type = text
            .lines()
            .skip_while(|line| {
                !line.starts_with("Remote Procedure Call statistics by message type")
            })
            .skip(1)
            .take_while(|line| line.starts_with(char::is_whitespace));
        for line in by_type {
            let mut words = line.split_whitespace();
            let name = words.next().unwrap_or_default();
            let count = words.find_map(|word| word.strip_prefix("count:"));
            let count = count
                .filter(|count| !count.is_empty())
                .or_else(|| words.next());
            requests.insert(name.to_owned(), count.unwrap().parse().unwrap());
        }
        requests
    }

    /// Counts requests from now on.
    pub fn forget_requests(&self) {
        self.ok(&["sdiag", "--reset"]);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(script) = self.script.take() {
            if std::thread::panicking() {
                let log = std::fs::read_to_string(self.folder.join("log/slurmctld.log"));
                let words = format!("the controller's log:\n{}\n", log.unwrap_or_default());
                let _ = std::io::stderr().write_all(words.as_bytes());
            }
            end(&self.folder, script);
        }
    }
}

extern "C" fn end_shared() {
    let Ok(mut shared) = SHARED.lock() else {
        return;
    };
    for (folder, script) in shared.drain(..) {
        end(&folder, script);
    }
}

fn end(folder: &Path, mut script: Child) {
    drop(script.stdin.take());
    let _ = script.wait();
    let _ = std::fs::remove_dir_all(folder);
}

/// Outside of the group of processes that a terminal's Ctrl-C ends: it takes down what it started.
fn script() -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(repository().join("scripts/slurm.sh"));
    command.process_group(0);
    command
}

/// Why there can be no cluster here.
fn missing(variant: Variant) -> Option<String> {
    let mut wanted = vec!["slurmctld", "slurmd", "srun", "munged"];
    if variant == Variant::Accounting {
        wanted.extend(["slurmdbd", "mariadbd"]);
    }
    wanted.retain(|program| !is_program(program));
    if !wanted.is_empty() {
        return Some(format!(
            "there is no {} (Debian: slurm-wlm munge slurmdbd mariadb-server)",
            wanted.join(", ")
        ));
    }
    let root = nix::unistd::geteuid().is_root();
    (!root).then(|| "Slurm's nodes need root".to_owned())
}

fn is_program(name: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .any(|folder| Path::new(folder).join(name).is_file())
}

fn look_until(mut condition: impl FnMut() -> bool) -> bool {
    let give_up_at = Instant::now() + LIMIT;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= give_up_at {
            return false;
        }
        std::thread::park_timeout(LOOK_AGAIN);
    }
}

/// A machine of a user's own, from which a cluster's login node is reached by ssh as `box`.
pub struct Laptop {
    /// The terminal there; its home and MIZZEN_HOME are the laptop's.
    pub session: Session,
    /// The login node's ssh server.
    pub sshd: Sshd,
    /// What sessions on the login node are given.
    environment: String,
}

impl Laptop {
    /// A laptop of a user of this cluster. `None`, said aloud, where there is no sshd.
    pub fn new(cluster: &Cluster) -> Option<Laptop> {
        let path = std::env::var("PATH").unwrap_or_default();
        let conf = cluster.conf().display().to_string();
        // The home is another one than the laptop's, and than that of whoever runs the tests.
        let home = cluster.folder.join("login");
        std::fs::create_dir_all(&home).unwrap();
        let environment = format!(
            "SetEnv \"SLURM_CONF={conf}\" \"PATH={path}\" \"HOME={}\"",
            home.display()
        );
        let sshd = Sshd::start(&environment)?;
        std::fs::create_dir(sshd.folder.join("jobs")).unwrap();
        Some(Laptop {
            session: Session::new(),
            sshd,
            environment,
        })
    }

    /// The folder for jobs' files on the login node, which the nodes see.
    pub fn job_dir(&self) -> PathBuf {
        self.sshd.folder.join("jobs")
    }

    /// The tunnel to the login node, as a value in TOML.
    pub fn tunnel(&self) -> String {
        format!(
            "{{ kind = \"ssh\", host = \"box\", job_dir = \"{}\", ssh_config = \"{}\" }}",
            self.job_dir().display(),
            self.ssh_config().display()
        )
    }

    /// The laptop's configuration of ssh.
    pub fn ssh_config(&self) -> PathBuf {
        self.sshd.folder.join("ssh_config")
    }

    /// The login node is gone, with all connections.
    pub fn cut(&mut self) {
        self.sshd.stop();
    }

    /// It is there again.
    pub fn heal(&mut self) {
        self.sshd.begin(&self.environment);
    }

    /// Runs a command line on the login node by plain ssh.
    pub fn on_login_node(&self, line: &str) -> Output {
        Command::new("ssh")
            .arg("-F")
            .arg(self.ssh_config())
            .args(["-o", "BatchMode=yes", "box", line])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}
