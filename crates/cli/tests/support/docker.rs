//! A real engine for tests (scripts/docker.sh): Docker's, and Podman's with storage of its own.
//!
//! [`Engine::shared`] starts one for a test binary; tests on it run at once, so none stops it, and each looks at containers of its own
//! experiments only. [`Engine::own`] is for those that stop it. Both end with the test binary, however it ends: the script holds
//! the other end of a pipe.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use crate::support::{Session, repository};

/// An engine that runs.
pub struct Engine {
    /// Everything of it.
    pub folder: PathBuf,
    /// The script, which takes the engine down when its input ends. `None`: [`SHARED`] has it.
    script: Option<Child>,
}

/// The script of the shared engine, until the test binary ends.
static SHARED: Mutex<Option<Child>> = Mutex::new(None);

impl Engine {
    /// The engine that tests of this binary share. `None`, said aloud, where there can be none; in CI a failure.
    pub fn shared() -> Option<&'static Engine> {
        static ENGINE: OnceLock<Option<Engine>> = OnceLock::new();
        ENGINE
            .get_or_init(|| {
                let mut engine = Engine::own()?;
                // SAFETY: the function takes nothing and does not unwind.
                let kept = unsafe { libc::atexit(end_shared) };
                assert_eq!(kept, 0);
                *SHARED.lock().unwrap() = engine.script.take();
                Some(engine)
            })
            .as_ref()
    }

    /// An engine of a test's own.
    pub fn own() -> Option<Engine> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if let Some(missing) = missing() {
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
        let folder =
            std::env::temp_dir().join(format!("mz-docker-{}-{number}", std::process::id()));
        let mut script = script(&["up", &folder.display().to_string(), "--hold"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(script.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.contains("DOCKER_HOST="), "the engine does not start");
        Some(Engine {
            folder,
            script: Some(script),
        })
    }

    /// The value of DOCKER_HOST.
    pub fn host(&self) -> String {
        format!("unix://{}/docker.sock", self.folder.display())
    }

    /// Podman's program, with storage of its own.
    pub fn podman(&self) -> String {
        format!("{}/podman", self.folder.display())
    }

    /// Stops the engine, as an administrator would.
    pub fn stop(&self) {
        self.part("stop");
    }

    /// Starts it again.
    pub fn start(&self) {
        self.part("start");
    }

    /// Starts a registry that the engine reaches at `127.0.0.1:5000`.
    pub fn registry(&self) {
        self.part("registry");
    }

    fn part(&self, verb: &str) {
        let folder = self.folder.display().to_string();
        assert!(script(&[verb, &folder]).status().unwrap().success());
    }

    /// Runs `docker` on it; what it printed, if it succeeded.
    pub fn docker(&self, words: &[&str]) -> Result<String, String> {
        self.says("docker", words)
    }

    /// Runs its `podman`; what it printed, if it succeeded.
    pub fn podman_says(&self, words: &[&str]) -> Result<String, String> {
        self.says(&self.podman(), words)
    }

    fn says(&self, program: &str, words: &[&str]) -> Result<String, String> {
        let output = Command::new(program)
            .args(words)
            .env("DOCKER_HOST", self.host())
            .output()
            .unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// The names of all containers of an experiment.
    pub fn containers(&self, id: &str) -> Vec<String> {
        let filter = format!("--filter=label=mizzen.experiment={id}");
        let listed = self.docker(&["ps", "--all", &filter, "--format={{.Names}}"]);
        listed.unwrap().lines().map(str::to_owned).collect()
    }

    /// A terminal whose project has an executor `box` with the image of BusyBox and these settings.
    pub fn session(&self, settings: &str) -> Session {
        let session = Session::new().with("DOCKER_HOST", &self.host());
        self.executor(&session, "busybox", settings);
        session
    }

    /// Writes the executor `box`.
    pub fn executor(&self, session: &Session, image: &str, settings: &str) {
        session.write(
            "mizzen.toml",
            &format!(
                "[executors.box]\nkind = \"docker\"\ncontainer_image = \"mizzen-test/{image}\"\n{settings}\n"
            ),
        );
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(script) = self.script.take() {
            if std::thread::panicking() {
                let log = std::fs::read_to_string(self.folder.join("dockerd.log"));
                let words = format!("the engine's log:\n{}\n", log.unwrap_or_default());
                let _ = std::io::stderr().write_all(words.as_bytes());
            }
            end(script);
        }
    }
}

extern "C" fn end_shared() {
    if let Ok(mut shared) = SHARED.lock()
        && let Some(script) = shared.take()
    {
        end(script);
    }
}

fn end(mut script: Child) {
    drop(script.stdin.take());
    let _ = script.wait();
}

/// Outside of the group of processes that a terminal's Ctrl-C ends: it takes down what it started.
fn script(words: &[&str]) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(repository().join("scripts/docker.sh"));
    command.args(words).process_group(0);
    command
}

/// Why there can be no engine here.
fn missing() -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let there = |name: &&str| {
        path.split(':')
            .chain(["/usr/sbin", "/sbin"])
            .any(|folder| Path::new(folder).join(name).is_file())
    };
    let wanted: Vec<&str> = ["dockerd", "docker", "podman", "runc", "busybox", "ip"]
        .into_iter()
        .filter(|name| !there(name))
        .collect();
    if !wanted.is_empty() {
        return Some(format!(
            "there is no {} (Debian: docker.io podman runc busybox-static iproute2)",
            wanted.join(", ")
        ));
    }
    let root = nix::unistd::geteuid().is_root();
    (!root).then(|| "an engine of one's own needs root".to_owned())
}
