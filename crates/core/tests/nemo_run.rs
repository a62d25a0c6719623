//! History from NeMo-Run: `nemo-home` is a home that NeMo-Run 0.11.1 made (see its README), with paths and names of no
//! machine in it.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use camino::{Utf8Path, Utf8PathBuf};
use mizzen_core::context::{Agent, Context, RandomIds, SystemClock};
use mizzen_core::model::{CancelMode, Cause, JobState};
use mizzen_core::store::{ExperimentView, Filter, Store};
use mizzen_core::submit::nemo_run::{self, ImportError, Logs, Past, PastExperiment};
use mizzen_core::submit::{self, SubmitError};

/// When the last file of the fixture is said to have been written.
const WRITTEN: u64 = 1_795_370_300;

/// A temporary folder with a copy of the fixture in it, and a home for Mizzen beside it.
struct Homes(Utf8PathBuf);

impl Homes {
    fn new() -> Homes {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("mizzen-nemo-{}-{number}", std::process::id()));
        let homes = Homes(Utf8PathBuf::from_path_buf(folder).unwrap());
        let fixture = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nemo-home");
        copy(&fixture, &homes.nemo());
        homes
    }

    fn nemo(&self) -> Utf8PathBuf {
        self.0.join("nemo")
    }

    fn experiment(&self, title: &str) -> Utf8PathBuf {
        let folders = self.nemo().join("experiments").join(title).read_dir_utf8();
        folders.unwrap().next().unwrap().unwrap().into_path()
    }

    fn context(&self) -> Context {
        Context {
            home: self.0.join("mizzen"),
            workdir: "/".into(),
            environment: Arc::new(BTreeMap::new()),
            host: "here".to_owned(),
            user: "me".to_owned(),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            program: "/nowhere/mizzen".into(),
            agent: Agent::File("/nowhere/mizzen-agent".into()),
        }
    }

    fn read(&self) -> Past {
        nemo_run::read(&self.nemo()).unwrap()
    }

    fn store(&self) -> Store {
        Store::open(&self.context().home).unwrap()
    }

    fn import(&self, logs: Logs) -> (Store, u32) {
        let mut store = self.store();
        let past = self.read();
        let added = past.experiments.iter();
        let added = added
            .filter(|one| nemo_run::import(&self.context(), &mut store, one, logs).unwrap())
            .count();
        (store, added as u32)
    }
}

impl Drop for Homes {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy(from: &Utf8Path, to: &Utf8Path) {
    fs::create_dir_all(to).unwrap();
    for entry in from.read_dir_utf8().unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
            date(&target, WRITTEN);
        }
    }
}

fn date(path: &Utf8Path, seconds: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds))
        .unwrap();
}

/// Every path below a folder, with its size and its time.
fn listing(folder: &Utf8Path) -> Vec<(Utf8PathBuf, u64, std::time::SystemTime)> {
    let mut found = Vec::new();
    for entry in folder.read_dir_utf8().unwrap() {
        let path = entry.unwrap().into_path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            found.extend(listing(&path));
        }
        found.push((path, metadata.len(), metadata.modified().unwrap()));
    }
    found.sort();
    found
}

fn titled<'a>(past: &'a Past, title: &str) -> &'a PastExperiment {
    let mut found = past
        .experiments
        .iter()
        .filter(|one| one.original_title == title);
    found.next_back().unwrap()
}

/// Name, state, cause and message of each job.
fn ends(past: &PastExperiment) -> Vec<(&str, JobState, Option<Cause>, &str)> {
    let jobs = past.jobs.iter();
    jobs.map(|job| {
        (
            &*job.name,
            job.state,
            job.cause,
            job.message.as_deref().unwrap_or_default(),
        )
    })
    .collect()
}

fn log(view: &ExperimentView, job: usize, attempt: u32) -> String {
    let dir = mizzen_core::logs::attempt_dir(view, &view.jobs[job], attempt);
    fs::read_to_string(dir.join("rank-0.log")).unwrap()
}

#[test]
fn states_are_those_that_nemo_run_wrote_down() {
    use JobState::{Failed, Succeeded, Unknown};
    let homes = Homes::new();
    let past = homes.read();
    assert_eq!(past.unreadable, []);
    assert!(past.experiments.iter().all(|one| one.notes.is_empty()));
    let titles: Vec<(&str, JobState)> = past
        .experiments
        .iter()
        .map(|one| (&*one.title, one.state))
        .collect();
    assert_eq!(
        titles,
        [
            ("hello", Succeeded),
            ("hello", Failed),
            ("sweep", Failed),
            ("pair", Failed),
            ("direct", Succeeded),
            ("prepared", Unknown),
            ("night-run", Unknown),
            ("cluster", Unknown),
        ]
    );
    let app = Some(Cause::AppFailure);
    assert_eq!(
        ends(titled(&past, "hello")),
        [
            ("bad", Failed, app, "exit code 3"),
            ("worse", Failed, app, "exit code 127")
        ]
    );
    assert_eq!(
        ends(titled(&past, "sweep")),
        [
            ("prepare", Succeeded, None, ""),
            ("train", Succeeded, None, ""),
            ("train_2", Failed, app, "exit code 1"),
        ]
    );
    // Whoever sent the signal is not known, and so neither is the cause.
    assert_eq!(
        ends(titled(&past, "pair")),
        [
            ("both-0", Failed, None, "ended by signal 15"),
            ("both-1", Succeeded, None, "")
        ]
    );
    assert_eq!(
        ends(titled(&past, "prepared")),
        [(
            "never",
            Unknown,
            None,
            "NeMo-Run wrote down no launch of it"
        )]
    );
    assert_eq!(
        ends(titled(&past, "night run")),
        [(
            "long-one",
            Unknown,
            None,
            "NeMo-Run wrote RUNNING last and did not see its end"
        )]
    );
    assert_eq!(
        ends(titled(&past, "cluster"))[1],
        (
            "second",
            Unknown,
            None,
            "NeMo-Run keeps no state of it, last written SUBMITTED; `sacct -j 1011` may know"
        )
    );
}

#[test]
fn what_is_imported_can_be_listed_shown_and_read() {
    let homes = Homes::new();
    let before = listing(&homes.nemo());
    let (mut store, added) = homes.import(Logs::Copy);
    assert_eq!(added, 8);
    assert_eq!(listing(&homes.nemo()), before, "the home is only read");

    let id = store.resolve("sweep").unwrap();
    let view = store.view(&id).unwrap();
    assert_eq!(view.summary.created.to_text(), "2026-11-22T17:56:41.090Z");
    assert_eq!(
        view.summary.ended.unwrap().to_text(),
        "2026-11-22T17:58:20.000Z"
    );
    assert!(log(&view, 2, 1).ends_with("ValueError: the learning rate is too large\n"));
    let attempt = &view.jobs[2].attempts[0];
    assert_eq!(
        (attempt.started, attempt.exit_code),
        (None, None),
        "not known"
    );
    assert_eq!(
        attempt.handle.as_ref().unwrap().0,
        "local_persistent://nemo_run/train_2-lcbs0b7l29pl5"
    );
    assert_eq!(&*view.jobs[2].executor, "LocalExecutor");
    let document = store.document(&id).unwrap();
    let task = &document["document"]["tasks"][2];
    assert_eq!(task["after"][0], "prepare");
    let expected =
        serde_json::json!({ "_target_": "__main__.train", "_partial_": true, "lr": 2.0 });
    assert_eq!(task["metadata"]["nemo_run"]["task"], expected);
    assert_eq!(document["imported"]["id"], "sweep_1795370201090160039");

    let pair = store.view(&store.resolve("pair").unwrap()).unwrap();
    assert_eq!(pair.jobs[1].group.as_deref(), Some("both"));
    // A job of Slurm's has a log for each time that Slurm started it.
    let cluster = store.view(&store.resolve("cluster").unwrap()).unwrap();
    assert_eq!(cluster.jobs[0].attempts.len(), 2);
    assert_eq!(log(&cluster, 0, 1), "epoch 1\n");
    assert_eq!(log(&cluster, 0, 2), "resumed\nepoch 2\n");

    // The rows are what the events make them.
    for summary in store.experiments(&Filter::default()).unwrap() {
        let view = store.view(&summary.id).unwrap();
        store.rebuild(&summary.id).unwrap();
        assert_eq!(store.view(&summary.id).unwrap(), view);
    }
}

#[test]
fn secrets_stay_where_they_are() {
    let homes = Homes::new();
    homes.import(Logs::Copy);
    for (path, ..) in listing(&homes.context().home) {
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        assert!(!text.contains("very-secret"), "{path}");
        if path.file_name() == Some("experiment.json") && text.contains("WANDB_API_KEY") {
            assert!(text.contains("\"WANDB_API_KEY\": \"********\""), "{path}");
        }
    }
}

#[test]
fn importing_again_adds_what_is_new_and_nothing_else() {
    let homes = Homes::new();
    let (mut store, _) = homes.import(Logs::Copy);
    let hello = store.resolve("hello").unwrap();
    let before = store.experiments(&Filter::default()).unwrap();
    submit::remove(&homes.context(), &mut store, &hello).unwrap();
    let cluster = homes.experiment("cluster");
    copy(
        &cluster,
        &cluster.with_file_name("cluster_1795370299000000000"),
    );
    fs::remove_file(
        cluster
            .with_file_name("cluster_1795370299000000000")
            .join("_CONFIG"),
    )
    .unwrap();
    let (store, added) = homes.import(Logs::Copy);
    assert_eq!(added, 2, "what was removed comes back, what is new comes");
    let after = store.experiments(&Filter::default()).unwrap();
    assert_eq!(after[0].created.to_text(), "2026-11-22T17:58:19.000Z");
    assert_eq!(after[1..], before, "in the order of their times");
    let (_, added) = homes.import(Logs::Copy);
    assert_eq!(added, 0);
}

#[test]
fn two_that_began_together_both_come() {
    let homes = Homes::new();
    let title = homes.nemo().join("experiments/twin");
    for id in ["twin_1795370201090160039", "twin_1795370201090160001"] {
        copy(&homes.experiment("sweep"), &title.join(id));
        fs::remove_file(title.join(id).join("_CONFIG")).unwrap();
    }
    let (_, added) = homes.import(Logs::Copy);
    assert_eq!(added, 10);
}

#[test]
fn history_is_not_driven() {
    let homes = Homes::new();
    let context = homes.context();
    let (mut store, _) = homes.import(Logs::Link);
    for title in ["hello", "cluster"] {
        let id = store.resolve(title).unwrap();
        assert!(store.summary(&id).unwrap().is_over(), "{title}");
        let refused = [
            submit::retry(&context, &mut store, &id, &[]).unwrap_err(),
            submit::cancel(&context, &mut store, &id, &[], CancelMode::Kill).unwrap_err(),
        ];
        for error in refused {
            assert!(matches!(error, SubmitError::Imported { .. }), "{error}");
        }
        let started = mizzen_core::watch::ensure_supervised(&context, &store, &id).unwrap();
        assert!(!started, "{title}");
        submit::remove(&context, &mut store, &id).unwrap();
    }
    // What was linked to is still there.
    assert!(
        homes
            .experiment("cluster")
            .join("first/log-ml-ml.first_1010_0.out")
            .exists()
    );
}

#[test]
fn linked_logs_are_read_where_they_are() {
    let homes = Homes::new();
    let (store, _) = homes.import(Logs::Link);
    let view = store.view(&store.resolve("night-run").unwrap()).unwrap();
    assert_eq!(log(&view, 0, 1), "started\n");
    let dir = mizzen_core::logs::attempt_dir(&view, &view.jobs[0], 1);
    assert!(dir.join("rank-0.log").is_symlink());
}

#[test]
fn a_torn_list_of_jobs_leaves_the_folders() {
    let homes = Homes::new();
    for (title, tear) in [("night run", 500), ("sweep", 0)] {
        let path = homes.experiment(title).join("_TASKS");
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..tear]).unwrap();
    }
    let past = homes.read();
    let night = titled(&past, "night run");
    assert!(
        night.notes[0].starts_with("`_TASKS`: EOF while parsing"),
        "{:?}",
        night.notes
    );
    // Its configuration names it, its log's folder gives the handle, and that gives the state.
    assert_eq!(night.jobs[0].original_id, "long one");
    assert_eq!(
        night.jobs[0].handle.as_deref(),
        Some("local_persistent://nemo_run/long one-bgtc9zdwgkj3t")
    );
    assert_eq!(night.jobs[0].state, JobState::Unknown);
    let sweep = titled(&past, "sweep");
    let states: Vec<(&str, JobState)> = sweep
        .jobs
        .iter()
        .map(|job| (&*job.name, job.state))
        .collect();
    assert_eq!(
        states,
        [
            ("prepare", JobState::Succeeded),
            ("train", JobState::Succeeded),
            ("train_2", JobState::Failed)
        ]
    );
    homes.import(Logs::Copy);
}

#[test]
fn damaged_files_are_named() {
    let homes = Homes::new();
    let nemo = homes.nemo();
    fs::write(nemo.join(".local_jobs.json"), "{\"greet").unwrap();
    fs::write(homes.experiment("direct").join("_CONFIG"), "not base64!").unwrap();
    fs::write(homes.experiment("pair").join("_TASKS"), b"[[\"eJ\xff").unwrap();
    let success = homes
        .experiment("sweep")
        .join("train/nemo_run/train_2-lcbs0b7l29pl5/SUCCESS");
    fs::write(success, "{").unwrap();
    let odd = nemo.join("experiments/odd/odd_1795370200000000000");
    fs::create_dir_all(&odd).unwrap();
    fs::write(odd.join("_VERSION"), "").unwrap();
    fs::create_dir_all(nemo.join("experiments/no/experiment/here")).unwrap();
    fs::write(nemo.join("experiments/a file"), "").unwrap();

    let past = homes.read();
    assert_eq!(past.unreadable.len(), 1, "{:?}", past.unreadable);
    assert_eq!(past.unreadable[0].path, nemo.join(".local_jobs.json"));
    let direct = titled(&past, "direct");
    assert_eq!(direct.original_id, "direct_1795370210176615703");
    assert!(
        direct.notes[0].contains("it is not base64"),
        "{:?}",
        direct.notes
    );
    assert_eq!(direct.state, JobState::Succeeded, "`_TASKS` has it");
    assert_eq!(titled(&past, "pair").jobs.len(), 2);
    // `SUCCESS` is torn and `.local_jobs.json` too: the state in `_TASKS` is left.
    assert_eq!(
        ends(titled(&past, "sweep"))[2],
        ("train_2", JobState::Failed, None, "")
    );
    let odd = titled(&past, "odd");
    assert_eq!((odd.jobs.len(), odd.state), (0, JobState::Unknown));
    let (_, added) = homes.import(Logs::Copy);
    assert_eq!(added, 9);
}

/// A launcher that ends between sending and writing down leaves handles out of `_TASKS`; `.slurm_jobs` has the numbers.
#[test]
fn a_job_that_was_sent_and_not_written_down_is_found() {
    let homes = Homes::new();
    let experiment = homes.experiment("cluster");
    fs::remove_file(experiment.join("_TASKS")).unwrap();
    for job in ["first", "second"] {
        let configs = experiment.join(job).join("configs");
        fs::create_dir_all(&configs).unwrap();
        fs::write(configs.join(format!("{job}_executor.yaml")), "").unwrap();
    }
    // The second one's logs are in a folder of the tunnel's.
    let elsewhere = homes.0.join("scratch");
    fs::create_dir_all(&elsewhere).unwrap();
    fs::write(elsewhere.join("log-ml-ml.second_1011_0.out"), "far away\n").unwrap();
    let path = homes.nemo().join(".slurm_jobs");
    let lines = fs::read_to_string(&path).unwrap();
    let (first, second) = lines.split_once('\n').unwrap();
    let (_, rest) = second.split_once("log*").unwrap();
    fs::write(
        &path,
        format!("{first}\n1011 = {elsewhere}/log*{rest}1012 = /torn"),
    )
    .unwrap();

    let past = homes.read();
    assert_eq!(past.unreadable, []);
    let cluster = titled(&past, "cluster");
    let handles: Vec<Option<&str>> = cluster
        .jobs
        .iter()
        .map(|job| job.handle.as_deref())
        .collect();
    assert_eq!(
        handles,
        [
            Some("slurm_tunnel://nemo_run/1010"),
            Some("slurm_tunnel://nemo_run/1011")
        ]
    );
    assert_eq!(cluster.jobs[0].attempts.len(), 2);
    assert_eq!(
        ends(cluster)[1],
        (
            "second",
            JobState::Unknown,
            None,
            "NeMo-Run keeps no state of it; `sacct -j 1011` may know"
        )
    );
    let (store, _) = homes.import(Logs::Copy);
    let view = store.view(&store.resolve("cluster").unwrap()).unwrap();
    assert_eq!(log(&view, 1, 1), "far away\n");
}

#[test]
fn a_container_leaves_its_exit_code() {
    let homes = Homes::new();
    let folder = homes.experiment("cluster").join("first");
    fs::write(
        folder.join("status_first.out"),
        "{\"id\": \"first\", \"exit_code\": \"137\"}\n",
    )
    .unwrap();
    let past = homes.read();
    let first = &titled(&past, "cluster").jobs[0];
    assert_eq!(
        (first.state, first.message.as_deref()),
        (JobState::Failed, Some("exit code 137"))
    );
}

#[test]
fn titles_with_slashes_and_reserved_ones() {
    let homes = Homes::new();
    let source = homes.experiment("direct");
    for title in ["team/a/b", "latest"] {
        let folder = homes
            .nemo()
            .join("experiments")
            .join(title)
            .join("x_1795370210000000000");
        copy(&source, &folder);
        fs::remove_file(folder.join("_CONFIG")).unwrap();
    }
    let past = homes.read();
    assert_eq!(titled(&past, "team/a/b").title, "team-a-b");
    assert_eq!(titled(&past, "latest").title, "latest-");
}

#[test]
fn logs_that_are_gone_or_locked_are_noted() {
    let homes = Homes::new();
    let past = homes.read();
    let night = titled(&past, "night run").clone();
    fs::remove_file(&night.jobs[0].attempts[0][0]).unwrap();
    let mut store = homes.store();
    assert!(nemo_run::import(&homes.context(), &mut store, &night, Logs::Copy).unwrap());
    let document = store.document(&night.id).unwrap();
    let note = document["imported"]["notes"][0].as_str().unwrap();
    assert!(note.contains("can't be read: No such file"), "{note}");
}

#[test]
fn what_a_killed_import_left_is_no_hindrance() {
    let homes = Homes::new();
    let past = homes.read();
    let night = titled(&past, "night run");
    let dir = homes.context().experiment_dir(&night.title, &night.id);
    fs::create_dir_all(dir.join("long-one/attempts/1")).unwrap();
    let mut file = fs::File::create(dir.join("long-one/attempts/1/rank-0.log")).unwrap();
    file.write_all(b"half of a log").unwrap();
    let (store, added) = homes.import(Logs::Copy);
    assert_eq!(added, 8);
    assert_eq!(log(&store.view(&night.id).unwrap(), 0, 1), "started\n");
}

#[test]
fn a_folder_that_is_no_home_is_refused() {
    let homes = Homes::new();
    let error = nemo_run::read(&homes.0).unwrap_err();
    assert!(matches!(error, ImportError::NoHome(_)), "{error}");
}

/// Whatever a disk or an editor does to the files: what is left is read, and nothing panics.
#[test]
fn files_with_changed_bytes_are_read_or_named() {
    let homes = Homes::new();
    let mut files: Vec<Utf8PathBuf> = vec![
        homes.nemo().join(".local_jobs.json"),
        homes.nemo().join(".slurm_jobs"),
    ];
    for title in ["cluster", "sweep", "pair"] {
        files.extend(["_TASKS", "_CONFIG"].map(|name| homes.experiment(title).join(name)));
    }
    files.push(
        homes
            .experiment("sweep")
            .join("train/nemo_run/train_2-lcbs0b7l29pl5/SUCCESS"),
    );
    let whole: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    let mut random = 88_172_645_463_325_252_u64;
    let mut below = |limit: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % limit.max(1) as u64) as usize
    };
    for _ in 0..150 {
        for (path, bytes) in files.iter().zip(&whole) {
            let mut bytes = bytes.clone();
            match below(4) {
                0 => bytes.truncate(below(bytes.len())),
                1 => bytes.extend_from_within(..below(bytes.len())),
                _ => {
                    for _ in 0..=below(3) {
                        let at = below(bytes.len());
                        bytes[at] = below(256) as u8;
                    }
                }
            }
            fs::write(path, bytes).unwrap();
        }
        assert_eq!(homes.read().experiments.len(), 8);
    }
    homes.import(Logs::Copy);
}
