//! Logs of another place, copied while they grow: by the agent, and by `sh` where the agent does not run.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests read their own surroundings"
)]

mod agent;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::agent;
use camino::{Utf8Path, Utf8PathBuf};
use mizzen_core::context::{Agent, Context, RandomIds, SystemClock};
use mizzen_core::logs;
use mizzen_core::model::{ExperimentId, JobState, Timestamp};
use mizzen_core::plan::Plan;
use mizzen_core::store::{ExperimentSummary, ExperimentView, JobView, StateCounts};
use mizzen_core::tunnel::{LocalTunnel, Tunnel, TunnelError, mirror, mirror_once};
use tokio::sync::oneshot;

/// Only something broken takes so long.
const LIMIT: Duration = Duration::from_secs(60);

/// Two folders, and a way from one to the other.
struct Scene {
    folder: Utf8PathBuf,
    tunnel: Arc<dyn Tunnel>,
}

impl Scene {
    /// With the agent, under a path of the scene's own.
    fn with_agent() -> Scene {
        Scene::new(|folder| {
            let program = folder.join("mizzen-agent");
            fs::copy(agent(), &program).unwrap();
            program
        })
    }

    /// Where the agent is nothing that this machine runs.
    fn without_agent() -> Scene {
        Scene::new(|folder| {
            let program = folder.join("mizzen-agent");
            fs::write(&program, "\u{7f}ELF of another machine").unwrap();
            program
        })
    }

    /// With a shell script in the agent's place.
    fn with_script(text: &str) -> Scene {
        Scene::new(|folder| {
            let program = folder.join("mizzen-agent");
            fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
            program
        })
    }

    fn new(agent: impl FnOnce(&Utf8Path) -> Utf8PathBuf) -> Scene {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("mirror-{}-{number}", std::process::id());
        let folder = Utf8Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).unwrap();
        let environment = [("PATH".to_owned(), std::env::var("PATH").unwrap())];
        let context = Context {
            home: folder.join("home"),
            workdir: folder.clone(),
            environment: Arc::new(BTreeMap::from(environment)),
            host: "here".to_owned(),
            user: "me".to_owned(),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            program: "/nowhere/mizzen".into(),
            agent: Agent::File(agent(&folder)),
        };
        let settings = LocalTunnel {
            job_dir: Some(folder.join("place")),
        };
        Scene {
            tunnel: settings.connect(&context),
            folder,
        }
    }

    fn there(&self) -> Utf8PathBuf {
        self.folder.join("it's there")
    }

    fn here(&self) -> Utf8PathBuf {
        self.folder.join("here")
    }

    /// Adds to a file there.
    fn write(&self, file: &str, bytes: &[u8]) {
        let path = self.there().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        file.write_all(bytes).unwrap();
    }

    /// Replaces a file there.
    fn rename(&self, file: &str, bytes: &[u8]) {
        self.write(&format!("{file}.tmp"), bytes);
        let path = self.there().join(file);
        fs::rename(format!("{path}.tmp"), path).unwrap();
    }

    fn read(&self, file: &str) -> Option<Vec<u8>> {
        fs::read(self.here().join(file)).ok()
    }

    async fn arrives(&self, file: &str, bytes: &[u8]) {
        let came = wait(|| self.read(file).as_deref() == Some(bytes)).await;
        assert!(
            came,
            "{file}: {:?} bytes here, {} there",
            self.read(file).map(|bytes| bytes.len()),
            bytes.len()
        );
    }

    /// Mirrors these jobs until the answer is dropped or used.
    fn mirror(&self, jobs: &[&str]) -> Mirroring {
        let (stop, stopped) = oneshot::channel::<()>();
        let (tunnel, there, here) = (self.tunnel.clone(), self.there(), self.here());
        let jobs: Vec<String> = jobs.iter().map(|job| (*job).to_owned()).collect();
        let said = Arc::new(Mutex::new(Vec::new()));
        let words = said.clone();
        let task = tokio::spawn(async move {
            let say = |error: Option<&TunnelError>| {
                words.lock().unwrap().push(error.map(ToString::to_string));
            };
            mirror(&*tunnel, &there, &here, &jobs, stopped, &say).await
        });
        Mirroring { stop, task, said }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

struct Mirroring {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), TunnelError>>,
    said: Arc<Mutex<Vec<Option<String>>>>,
}

impl Mirroring {
    async fn end(self) -> Result<(), TunnelError> {
        self.stop.send(()).unwrap();
        tokio::time::timeout(LIMIT, self.task)
            .await
            .unwrap()
            .unwrap()
    }
}

/// Whether something becomes true.
async fn wait(true_now: impl Fn() -> bool) -> bool {
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let until = async {
        while !true_now() {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, until).await.is_ok()
}

/// Every byte, line ends and none, more than one piece.
fn binary(length: usize) -> Vec<u8> {
    (0..length)
        .map(|place| (place * 7 + place / 251) as u8)
        .collect()
}

/// The agents that follow for a scene.
fn followers(scene: &Scene) -> Vec<i32> {
    let place = scene.folder.join("place");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(place.as_str().as_bytes()) && line.ends_with(b"\0follow\0")
    })
    .collect()
}

async fn grows(scene: Scene) {
    scene.write("early/attempts/1/rank-0.log", b"before\n");
    let mirroring = scene.mirror(&["early", "late", "never"]);
    scene
        .arrives("early/attempts/1/rank-0.log", b"before\n")
        .await;
    // Files and folders that come later, in any order.
    let bytes = binary(700_000);
    scene.write("late/attempts/1/rank-0.log", &bytes);
    scene.write("early/attempts/1/rank-0.log", b"and no end");
    scene.write("early/attempts/1/rank-1.log", b"\0\xff\r");
    scene.write("early/attempts/12/rank-7.log", b"next\n");
    scene.write("early/attempts/1/samples-rank-0.jsonl", b"{}\n");
    scene.write("early/attempts/1/samples-of mine.jsonl", b"is not copied");
    scene.write("early/attempts/1/heartbeat", b"is not copied");
    scene.write("early/attempts/odd/rank-0.log", b"is not copied");
    scene.arrives("late/attempts/1/rank-0.log", &bytes).await;
    scene
        .arrives("early/attempts/1/rank-0.log", b"before\nand no end")
        .await;
    scene
        .arrives("early/attempts/1/rank-1.log", b"\0\xff\r")
        .await;
    scene
        .arrives("early/attempts/12/rank-7.log", b"next\n")
        .await;
    scene
        .arrives("early/attempts/1/samples-rank-0.jsonl", b"{}\n")
        .await;
    scene.rename("early/attempts/1/exit.json", b"{\"a\":1}\n");
    scene
        .arrives("early/attempts/1/exit.json", b"{\"a\":1}\n")
        .await;
    scene.rename("early/attempts/1/exit.json", b"{\"a\":1,\"b\":2}\n");
    scene
        .arrives("early/attempts/1/exit.json", b"{\"a\":1,\"b\":2}\n")
        .await;
    // What was written before the end is here at the end.
    scene.write("early/attempts/1/rank-1.log", &bytes);
    mirroring.end().await.unwrap();
    let mut whole = b"\0\xff\r".to_vec();
    whole.extend(&bytes);
    assert_eq!(scene.read("early/attempts/1/rank-1.log"), Some(whole));
    let mut names: Vec<String> = fs::read_dir(scene.here().join("early/attempts/1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "exit.json",
            "rank-0.log",
            "rank-1.log",
            "samples-rank-0.jsonl"
        ]
    );
    assert!(!scene.here().join("early/attempts/odd").exists());
    let mode = |path: &str| {
        fs::metadata(scene.here().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode("early/attempts/1"), 0o700);
    assert_eq!(mode("early/attempts/1/rank-0.log"), 0o600);
    assert_eq!(mode("early/attempts/1/exit.json"), 0o600);
}

#[tokio::test]
async fn files_are_copied_as_they_grow() {
    grows(Scene::with_agent()).await;
}

#[tokio::test]
async fn files_are_copied_where_no_agent_runs() {
    let scene = Scene::without_agent();
    assert_eq!(scene.tunnel.agent().await, Ok(None));
    grows(scene).await;
}

#[tokio::test]
async fn an_agent_that_fails_is_done_without() {
    grows(Scene::with_script("[ $1 = --version ] || exit 70")).await;
}

async fn becomes_shorter(scene: Scene) {
    scene.write("job/attempts/1/rank-0.log", b"a long beginning\n");
    scene.write("job/attempts/1/rank-1.log", b"another\n");
    let mirroring = scene.mirror(&["job"]);
    scene
        .arrives("job/attempts/1/rank-1.log", b"another\n")
        .await;
    fs::write(scene.there().join("job/attempts/1/rank-0.log"), b"short\n").unwrap();
    scene.arrives("job/attempts/1/rank-0.log", b"short\n").await;
    fs::write(scene.there().join("job/attempts/1/rank-1.log"), b"").unwrap();
    scene.arrives("job/attempts/1/rank-1.log", b"").await;
    mirroring.end().await.unwrap();
}

#[tokio::test]
async fn a_file_that_became_shorter_is_copied_anew() {
    becomes_shorter(Scene::with_agent()).await;
    becomes_shorter(Scene::without_agent()).await;
}

#[tokio::test]
async fn a_file_in_anothers_place_is_copied_anew() {
    let scene = Scene::with_agent();
    scene.write("job/attempts/1/rank-0.log", b"one\n");
    let mirroring = scene.mirror(&["job"]);
    scene.arrives("job/attempts/1/rank-0.log", b"one\n").await;
    scene.rename("job/attempts/1/rank-0.log", b"a longer one\n");
    scene
        .arrives("job/attempts/1/rank-0.log", b"a longer one\n")
        .await;
    mirroring.end().await.unwrap();
}

#[tokio::test]
async fn a_mirror_goes_on_when_what_follows_is_killed() {
    let scene = Scene::with_agent();
    scene.write("job/attempts/1/rank-0.log", b"1\n");
    let mirroring = scene.mirror(&["job"]);
    scene.arrives("job/attempts/1/rank-0.log", b"1\n").await;
    let agents = followers(&scene);
    assert_eq!(agents.len(), 1);
    let pid = nix::unistd::Pid::from_raw(agents[0]);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    scene.write("job/attempts/1/rank-0.log", b"2\n");
    scene.arrives("job/attempts/1/rank-0.log", b"1\n2\n").await;
    let said = mirroring.said.clone();
    mirroring.end().await.unwrap();
    assert!(
        matches!(said.lock().unwrap()[..], [Some(_), None, ..]),
        "{said:?}"
    );
    assert!(wait(|| followers(&scene).is_empty()).await);
}

#[tokio::test]
async fn a_mirror_that_is_dropped_leaves_nothing_behind() {
    let scene = Scene::with_agent();
    scene.write("job/attempts/1/rank-0.log", b"1\n");
    let mirroring = scene.mirror(&["job"]);
    scene.arrives("job/attempts/1/rank-0.log", b"1\n").await;
    mirroring.task.abort();
    assert!(wait(|| followers(&scene).is_empty()).await);
}

#[tokio::test]
async fn two_mirrors_of_a_hundred_files_agree() {
    let scene = Scene::with_agent();
    let file = |rank: usize| format!("job-{}/attempts/1/rank-{rank}.log", rank % 10);
    let jobs: Vec<String> = (0..10).map(|job| format!("job-{job}")).collect();
    let jobs: Vec<&str> = jobs.iter().map(String::as_str).collect();
    let one = scene.mirror(&jobs);
    for rank in 0..100 {
        scene.write(&file(rank), &binary(20_000));
    }
    scene.arrives(&file(42), &binary(20_000)).await;
    let other = scene.mirror(&jobs);
    let bytes = binary(50_000);
    for (start, end) in [(20_000, 30_001), (30_001, 50_000)] {
        for rank in 0..100 {
            scene.write(&file(rank), &bytes[start..end]);
        }
        tokio::task::yield_now().await;
    }
    for rank in 0..100 {
        scene.arrives(&file(rank), &bytes).await;
    }
    one.end().await.unwrap();
    other.end().await.unwrap();
    for rank in 0..100 {
        assert!(scene.read(&file(rank)).unwrap() == bytes);
    }
}

#[tokio::test]
async fn one_look_brings_what_is_there() {
    for scene in [Scene::with_agent(), Scene::without_agent()] {
        let jobs = ["a".to_owned(), "none".to_owned(), "b c".to_owned()];
        let once = || async {
            mirror_once(&*scene.tunnel, &scene.there(), &scene.here(), &jobs)
                .await
                .unwrap();
        };
        once().await;
        assert!(!scene.here().exists());
        let bytes = binary(600_000);
        scene.write("a/attempts/1/rank-0.log", &bytes[..300_001]);
        scene.write("b c/attempts/2/rank-0.log", b"x");
        scene.write("b c/attempts/2/exit.json", b"{}\n");
        once().await;
        scene.write("a/attempts/1/rank-0.log", &bytes[300_001..]);
        once().await;
        assert!(scene.read("a/attempts/1/rank-0.log").unwrap() == bytes);
        assert_eq!(scene.read("b c/attempts/2/rank-0.log").unwrap(), b"x");
        assert_eq!(scene.read("b c/attempts/2/exit.json").unwrap(), b"{}\n");
    }
}

#[tokio::test]
async fn only_files_of_attempts_are_written() {
    for answer in [
        r#"{"id":0,"file":"../../escaped","offset":0,"size":1}\nx"#,
        r#"{"id":0,"file":"1/../../rank-0.log","offset":0,"size":1}\nx"#,
        r#"{"id":9,"file":"1/rank-0.log","offset":0,"size":1}\nx"#,
        r#"{"id":0,"file":"1/rank-0.log","offset":0,"size":9}\nx"#,
        r"welcome\n",
    ] {
        let scene = Scene::with_script(&format!("printf '{answer}'"));
        let jobs = ["job".to_owned()];
        let error = mirror_once(&*scene.tunnel, &scene.there(), &scene.here(), &jobs)
            .await
            .unwrap_err();
        assert!(matches!(error, TunnelError::Interrupted { .. }), "{error}");
        assert!(!scene.folder.join("escaped").exists());
        assert!(!scene.here().join("escaped").exists());
    }
}

/// A plan and a view of an experiment whose one job runs where this scene's files are.
fn experiment(scene: &Scene) -> (Plan, ExperimentView) {
    let id = ExperimentId::parse("km5xdtc3s9").unwrap();
    let settings = serde_json::json!({
        "account": "a",
        "tunnel": {"kind": "local", "job_dir": scene.folder.join("place")},
    });
    let plan = serde_json::json!({
        "title": "t", "on_failure": "continue", "tasks": [],
        "executors": {"cluster": {"kind": "slurm", "settings": settings}},
    });
    let view = ExperimentView {
        dir: scene.folder.join("home/experiments/t").join(id.as_str()),
        summary: ExperimentSummary {
            id,
            title: "t".to_owned(),
            state: JobState::Running,
            created: Timestamp(0),
            ended: None,
            counts: StateCounts::default(),
        },
        sequence: 0,
        jobs: vec![JobView {
            index: 0,
            name: "job".to_owned(),
            task: "job".into(),
            group: None,
            state: JobState::Running,
            cause: None,
            message: None,
            executor: "cluster".into(),
            ranks: 2,
            retry_at: None,
            attempts: Vec::new(),
        }],
    };
    (serde_json::from_value(plan).unwrap(), view)
}

/// Logs of a plan's jobs come from where their executor runs them.
#[test]
fn logs_of_jobs_elsewhere_come_here() {
    let scene = Scene::with_agent();
    let (plan, view) = experiment(&scene);
    let context = scene.tunnel.context();
    let there = format!("../place/t/{}/job/attempts/1/rank-0.log", view.summary.id);
    fs::create_dir_all(scene.there()).unwrap();
    let here = logs::rank_log(&view.dir.join("job/attempts/1"), 0);
    scene.write(&there, b"one\n");
    assert!(logs::are_elsewhere(&plan, &view, &[0]));
    assert!(!logs::are_elsewhere(&plan, &view, &[7]));
    assert_eq!(
        logs::fetch(context, &plan, &view, &[]),
        Vec::<String>::new()
    );
    assert_eq!(fs::read(&here).unwrap(), b"one\n");
    let mut mirroring = logs::Mirroring::start(context, plan, &view, &[0]).unwrap();
    scene.write(&there, b"two\n");
    mirroring.end();
    assert_eq!(fs::read(&here).unwrap(), b"one\ntwo\n");
    assert_eq!(mirroring.words(), Vec::<String>::new());
}

/// A place that can't be reached fails nothing, and is told of once.
#[test]
fn a_place_that_cant_be_reached_is_told_of() {
    let scene = Scene::with_agent();
    let (mut plan, view) = experiment(&scene);
    let settings = &mut plan.executors.get_mut("cluster").unwrap().settings;
    settings["tunnel"] = serde_json::json!({
        "kind": "ssh", "host": "127.0.0.1", "port": 1, "user": "me", "job_dir": "/scratch",
        "ssh_config": "/dev/null",
    });
    let context = scene.tunnel.context();
    let said = logs::fetch(context, &plan, &view, &[]);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("127.0.0.1"), "{said:?}");
    let mut mirroring = logs::Mirroring::start(context, plan, &view, &[]).unwrap();
    mirroring.end();
    assert!(mirroring.words().len() <= 1);
}
