//! What every job does, in a container: it runs, fails, is cancelled, tried again, found again.

use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::attempts::attempts;
use crate::engine::Engine;
use crate::scene::{Scene, ends, job, launch_detached, status, until};
use crate::support::Session;

/// A task for the image's own shell.
pub(crate) fn task(name: &str, text: &str) -> Value {
    json!({ "name": name, "run": ["sh", "-c", text], "executor": "box" })
}

/// Runs a document to its end; the status.
pub(crate) fn run(session: &Session, document: &Value) -> Value {
    let id = launch_detached(session, document);
    let said = session.run(&["wait", &id]);
    assert!([0, 1, 4].contains(&said.status), "{said:?}");
    status(session, &id)
}

/// A file of an experiment's folder.
pub(crate) fn file(session: &Session, status: &Value, path: &str) -> String {
    let path = folder(session, status).join(path);
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error} {}", path.display(), session.home().display()))
}

/// The experiment's folder.
fn folder(session: &Session, status: &Value) -> std::path::PathBuf {
    let text = |name: &str| status[name].as_str().unwrap().to_owned();
    session
        .home()
        .join("experiments")
        .join(text("title"))
        .join(text("id"))
}

/// Waits until nothing of an experiment is left at the engine.
pub(crate) fn until_gone(engine: &Engine, id: &str) {
    until("the containers are removed", || {
        engine.containers(id).is_empty().then_some(())
    });
    let filter = format!("--filter=label=mizzen.experiment={id}");
    until("the networks are removed", || {
        let left = engine.docker(&["network", "ls", "--quiet", &filter]);
        left.unwrap().is_empty().then_some(())
    });
}

/// Waits until a job has the state.
pub(crate) fn until_state(session: &Session, id: &str, name: &str, state: &str) {
    until(&format!("{name} is {state}"), || {
        (job(&status(session, id), name)["state"] == state).then_some(())
    });
}

#[test]
fn jobs_end_as_their_commands_do() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine.session("");
    let mut later = task("later", "test $MIZZEN_ATTEMPT = 2");
    later["retries"] = json!(1);
    let mut slow = task("slow", "sleep 60");
    slow["timeout"] = json!("1s");
    slow["grace"] = json!("1s");
    let status = run(
        &session,
        &json!({ "title": "ends", "on_failure": "continue", "tasks": [
            task("good", "echo out; echo err >&2"),
            task("bad", "exit 7"),
            task("signal", "kill -9 $$"),
            { "name": "none", "run": ["no-such-program"], "executor": "box" },
            later,
            slow,
        ]}),
    );
    assert_eq!(
        ends(&status),
        [
            ("bad", "FAILED app-failure"),
            ("good", "SUCCEEDED"),
            ("later", "SUCCEEDED"),
            ("none", "FAILED launch-failure"),
            ("signal", "FAILED app-failure"),
            ("slow", "FAILED timeout"),
        ]
        .map(|(name, end)| (name.to_owned(), end.to_owned()))
        .into()
    );
    assert_eq!(attempts(&status, "later").len(), 2);
    assert_eq!(
        file(&session, &status, "good/attempts/1/rank-0.log"),
        "out\nerr\n"
    );
    assert_eq!(job(&status, "bad")["attempts"][0]["exit_code"], 7);
    until_gone(engine, status["id"].as_str().unwrap());
}

#[test]
fn a_job_sees_its_image_its_code_and_its_variables() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine
        .session("env_vars = { SHARED = \"yes\" }\nvolumes = [\"/$nemo_run/out:/out\"]")
        .with("TOKEN_OF_MINE", "not for everybody");
    session.write("data.txt", "from the tree\n");
    let mut seen = task(
        "seen",
        "cat data.txt; echo $FROM_IMAGE $SHARED $MINE; hostname; echo $TOKEN >/nemo_run/token; echo x >/out/y; \
         echo $MIZZEN_JOB_DIR; cat /proc/1/cmdline | tr '\\0' ' ' | cut -d' ' -f1,2",
    );
    seen["env"] = json!({ "MINE": "a b\nc" });
    seen["secrets"] = json!({ "TOKEN": "env:TOKEN_OF_MINE" });
    let status = run(&session, &json!({ "title": "seen", "tasks": [seen] }));
    assert_eq!(ends(&status)["seen"], "SUCCEEDED", "{status:#}");
    let folder = folder(&session, &status).display().to_string();
    assert_eq!(
        file(&session, &status, "seen/attempts/1/rank-0.log"),
        format!("from the tree\nyes yes a b c\nseen\n{folder}/seen\n/mizzen-agent run\n")
    );
    assert_eq!(file(&session, &status, "seen/token"), "not for everybody\n");
    assert_eq!(file(&session, &status, "seen/out/y"), "x\n");
    // The file that told the agent what to do is gone: the secret stood in it.
    let left = std::fs::read_dir(format!("{folder}/seen/submit")).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn secrets_are_not_in_what_the_engine_tells() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine
        .session("")
        .with("TOKEN_OF_MINE", "hidden-from-inspect");
    let gate = session.gate("gate");
    engine.executor(
        &session,
        "busybox",
        &format!("volumes = [\"{0}:{0}\"]", session.workdir().display()),
    );
    let mut held = task(
        "held",
        &format!("echo $(printf $TOKEN | wc -c); read x <{}", gate.display()),
    );
    held["secrets"] = json!({ "TOKEN": "env:TOKEN_OF_MINE" });
    let id = launch_detached(&session, &json!({ "title": "held", "tasks": [held] }));
    until_state(&session, &id, "held", "RUNNING");
    let names = engine.containers(&id);
    let told = engine.docker(&["inspect", &names[0]]).unwrap();
    assert!(told.contains("MIZZEN_EXPERIMENT_ID"), "{told}");
    assert!(!told.contains("hidden-from-inspect"), "{told}");
    session.release("gate");
    assert_eq!(session.run(&["wait", &id]).status, 0);
    let log = file(
        &session,
        &status(&session, &id),
        "held/attempts/1/rank-0.log",
    );
    assert_eq!(log, "19\n");
}

#[test]
fn cancelled_is_cancelled_and_stops() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine.session("");
    // One that listens, one that does not.
    let polite = task(
        "polite",
        "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done",
    );
    let mut deaf = task("deaf", "trap '' TERM; echo up; while :; do sleep 0.1; done");
    deaf["grace"] = json!("1s");
    let id = launch_detached(
        &session,
        &json!({ "title": "cancel", "tasks": [polite, deaf] }),
    );
    for name in ["polite", "deaf"] {
        until(&format!("{name} is up"), || {
            let log = session.home().join(format!(
                "experiments/cancel/{id}/{name}/attempts/1/rank-0.log"
            ));
            std::fs::read_to_string(log)
                .is_ok_and(|text| text.contains("up"))
                .then_some(())
        });
    }
    session.ok(&["cancel", &id]);
    let status = status(&session, &id);
    for name in ["polite", "deaf"] {
        assert_eq!(ends(&status)[name], "CANCELLED cancelled", "{status:#}");
    }
    assert!(file(&session, &status, "polite/attempts/1/rank-0.log").ends_with("bye\n"));
    until_gone(engine, &id);
}

#[test]
fn a_job_outlives_everybody_and_is_found_again() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine.session("");
    let gate = session.gate("gate");
    engine.executor(
        &session,
        "busybox",
        &format!("volumes = [\"{0}:{0}\"]", session.workdir().display()),
    );
    let task = task(
        "long",
        &format!(
            "echo ran >>$MIZZEN_EXPERIMENT_DIR/ledger; read x <{}",
            gate.display()
        ),
    );
    let id = launch_detached(&session, &json!({ "title": "found", "tasks": [task] }));
    until_state(&session, &id, "long", "RUNNING");
    for supervisor in session.supervisors(&id) {
        crate::scene::kill_9(supervisor);
    }
    let before = engine.containers(&id);
    session.release("gate");
    assert_eq!(session.run(&["wait", &id]).status, 0);
    let status = status(&session, &id);
    assert_eq!(attempts(&status, "long"), ["1 SUCCEEDED -"]);
    assert_eq!(file(&session, &status, "ledger"), "ran\n");
    assert_eq!(before.len(), 1);
    until_gone(engine, &id);
    // The stream of events has ended with whoever heard it.
    let filter = format!("label=mizzen.experiment={id}");
    until("nobody hears any more", || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let hears = processes.into_iter().any(|process| {
            std::fs::read_to_string(process.path().join("cmdline"))
                .is_ok_and(|words| words.contains("events") && words.contains(&filter))
        });
        (!hears).then_some(())
    });
}

#[test]
fn ranks_have_logs_of_their_own_and_fail_together() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine.session("ntasks_per_node = 2");
    let mut world = task(
        "world",
        "echo $RANK/$WORLD_SIZE; [ $RANK = 0 ] && sleep 60; exit 5",
    );
    world["launcher"] = json!("ranks");
    let plain = task("plain", "echo $LOCAL_RANK");
    let status = run(
        &session,
        &json!({ "title": "ranks", "on_failure": "continue", "tasks": [world, plain] }),
    );
    assert_eq!(ends(&status)["world"], "FAILED app-failure");
    assert_eq!(ends(&status)["plain"], "SUCCEEDED");
    assert_eq!(
        file(&session, &status, "world/attempts/1/rank-1.log"),
        "1/2\n"
    );
    assert_eq!(
        file(&session, &status, "plain/attempts/1/rank-1.log"),
        "1\n"
    );
    assert_eq!(
        job(&status, "world")["attempts"][0]["failure"]["rank"],
        1,
        "{status:#}"
    );
}

#[test]
fn several_nodes_are_several_containers() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine.session("nodes = 2\nntasks_per_node = 2");
    let mut world = task(
        "world",
        "ping -c 1 -W 5 $MASTER_ADDR >/dev/null && echo $RANK/$WORLD_SIZE on $NODE_RANK",
    );
    world["launcher"] = json!("ranks");
    let plain = task("plain", "[ $RANK != 3 ] || exit 4; sleep 60");
    let status = run(
        &session,
        &json!({ "title": "nodes", "on_failure": "continue", "tasks": [world, plain] }),
    );
    assert_eq!(ends(&status)["world"], "SUCCEEDED", "{status:#}");
    for rank in 0..4 {
        assert_eq!(
            file(
                &session,
                &status,
                &format!("world/attempts/1/rank-{rank}.log")
            ),
            format!("{rank}/4 on {}\n", rank / 2)
        );
    }
    assert_eq!(ends(&status)["plain"], "FAILED app-failure");
    assert_eq!(
        job(&status, "plain")["attempts"][0]["failure"]["rank"],
        3,
        "{status:#}"
    );
    until_gone(engine, status["id"].as_str().unwrap());
}

#[test]
fn files_belong_to_whoever_launches() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine.session("");
    let text = "id -u; echo $USER $HOME; touch /nemo_run/mine";
    let mine = task("mine", text);
    let mut other = task("other", "id -u");
    other["executor"] = json!("other");
    session.write(
        "mizzen.toml",
        "[executors.box]\nkind = \"docker\"\ncontainer_image = \"mizzen-test/busybox\"\n\
         [executors.other]\nkind = \"docker\"\ncontainer_image = \"mizzen-test/busybox\"\nuser = \"1234\"\n",
    );
    // Whoever may use the engine's socket need not be root.
    let (uid, gid) = (4321, 4321);
    let folder = session.workdir().parent().unwrap().to_owned();
    let socket = engine.folder.join("docker.sock");
    chown(&folder, uid, gid);
    std::os::unix::fs::chown(&socket, None, Some(gid)).unwrap();
    std::fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    session.write(
        "experiment.json",
        &json!({ "title": "mine", "tasks": [mine] }).to_string(),
    );
    use std::os::unix::process::CommandExt;
    let said = session
        .command(&["launch", "experiment.json"])
        .uid(uid)
        .gid(gid)
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success(), "{said:?}");
    let titles = session.home().join("experiments/mine");
    let id = std::fs::read_dir(titles)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let made = id.join("mine/mine");
    assert_eq!(std::fs::metadata(&made).unwrap().uid(), uid, "{log}");
    let rank = std::fs::read_to_string(id.join("mine/attempts/1/rank-0.log")).unwrap();
    assert!(
        rank.starts_with("4321\n") && rank.ends_with(" /tmp\n"),
        "{rank}"
    );
}

fn chown(folder: &std::path::Path, uid: u32, gid: u32) {
    std::os::unix::fs::chown(folder, Some(uid), Some(gid)).unwrap();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.path().is_dir() {
            true => chown(&entry.path(), uid, gid),
            false => std::os::unix::fs::chown(entry.path(), Some(uid), Some(gid)).unwrap(),
        }
    }
}

#[test]
fn an_entry_point_is_replaced_or_kept() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    for (settings, expected) in [
        ("user = \"root\"", "0\n"),
        ("user = \"root\"\nentrypoint = \"keep\"", "0 yes\n"),
    ] {
        let session = engine.session("");
        engine.executor(&session, "entry", settings);
        let text = "echo $(id -u) $FROM_ENTRY_POINT";
        let status = run(
            &session,
            &json!({ "title": "entry", "tasks": [task("entry", text)] }),
        );
        assert_eq!(
            file(&session, &status, "entry/attempts/1/rank-0.log"),
            expected
        );
    }
}

#[test]
fn an_image_without_a_shell_runs() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine.session("");
    engine.executor(&session, "empty", "");
    let said = session.run(&["run", "-e", "box", "--", "/bin/true"]);
    assert_eq!(said.status, 0, "{said:?}");
}

#[test]
fn podman_runs_the_same() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine.session("");
    engine.executor(
        &session,
        "busybox",
        &format!("engine = \"{}\"\nntasks_per_node = 2", engine.podman()),
    );
    let mut later = task("later", "test $MIZZEN_ATTEMPT = 2");
    later["retries"] = json!(1);
    let status = run(
        &session,
        &json!({ "title": "podman", "on_failure": "continue", "tasks": [
            task("good", "echo $RANK"), task("bad", "exit 3"), later,
        ]}),
    );
    assert_eq!(ends(&status)["good"], "SUCCEEDED", "{status:#}");
    assert_eq!(ends(&status)["bad"], "FAILED app-failure");
    assert_eq!(ends(&status)["later"], "SUCCEEDED");
    assert_eq!(file(&session, &status, "good/attempts/1/rank-1.log"), "1\n");
    let id = launch_detached(
        &session,
        &json!({ "title": "held", "tasks": [task("held", "echo up; sleep 60")] }),
    );
    until_state(&session, &id, "held", "RUNNING");
    session.ok(&["cancel", &id]);
    assert_eq!(
        ends(&crate::scene::status(&session, &id))["held"],
        "CANCELLED cancelled"
    );
    let filter = format!("--filter=label=mizzen.experiment={id}");
    let podman = || {
        let listed = engine.podman_says(&["ps", "--all", "--quiet", &filter]);
        listed.unwrap().is_empty().then_some(())
    };
    until("podman's containers are removed", podman);
}

#[test]
fn forty_jobs_start_at_once() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine.session("slots = 40");
    let mut many = task("many", "echo $N >>$MIZZEN_EXPERIMENT_DIR/ledger");
    many["sweep"] = json!({ "n": (0..40).collect::<Vec<_>>() });
    many["env"] = json!({ "N": "${n}" });
    let status = run(&session, &json!({ "title": "forty", "tasks": [many] }));
    assert!(
        ends(&status).values().all(|end| end == "SUCCEEDED"),
        "{status:#}"
    );
    let mut lines: Vec<u32> = file(&session, &status, "ledger")
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    lines.sort_unstable();
    assert_eq!(lines, (0..40).collect::<Vec<_>>());
    until_gone(engine, status["id"].as_str().unwrap());
}

#[test]
fn hostile_texts_arrive_as_they_are() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let texts = [
        "", " ", "a b", "$HOME", "$(id)", "`id`", "'", "\"", "\\", "a\nb", "-x", "--", "*", "~",
        "é√", "a=b", "${x}", "#", ";ls", "%s",
    ];
    let folder = std::env::temp_dir().join(format!("mizzen vol $(x) 'y'-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("f"), "volume\n").unwrap();
    let session = engine.session(&format!(
        "volumes = ['''{}:/a vol $y:ro''']",
        folder.display()
    ));
    let mut run_words = vec![
        "sh".to_owned(),
        "-c".to_owned(),
        "for a in \"$@\"; do printf '<%s>' \"$a\"; done; printf '|'; i=0; while [ $i -lt $COUNT ]; do eval \"printf '<%s>' \\\"\\$V$i\\\"\"; i=$((i+1)); done; cat '/a vol $y/f'".to_owned(),
        "sh".to_owned(),
    ];
    // What looks like an interpolation is written as one that stands for itself.
    let plain = |text: &str| text.replace("${", "$${");
    run_words.extend(texts.iter().map(|text| plain(text)));
    let env: serde_json::Map<String, Value> = texts
        .iter()
        .enumerate()
        .map(|(number, text)| (format!("V{number}"), json!(plain(text))))
        .chain([("COUNT".to_owned(), json!(texts.len().to_string()))])
        .collect();
    let status = run(
        &session,
        &json!({ "title": "hostile", "tasks": [
            { "name": "a.b-c_d", "run": run_words, "env": env, "executor": "box" }
        ]}),
    );
    let all: String = texts.iter().map(|text| format!("<{text}>")).collect();
    assert_eq!(
        file(&session, &status, "a.b-c_d/attempts/1/rank-0.log"),
        format!("{all}|{all}volume\n"),
        "{status:#}"
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_context_names_the_engine() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = Session::new();
    let config = session.home().with_file_name("docker-config");
    let session = session.with("DOCKER_CONFIG", &config.display().to_string());
    let made = std::process::Command::new("docker")
        .args(["context", "create", "strong"])
        .arg(format!("--docker=host={}", engine.host()))
        .env("DOCKER_CONFIG", &config)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    engine.executor(&session, "busybox", "context = \"strong\"");
    let status = run(
        &session,
        &json!({ "title": "context", "tasks": [task("one", "echo one")] }),
    );
    assert_eq!(ends(&status)["one"], "SUCCEEDED", "{status:#}");
    assert_eq!(
        file(&session, &status, "one/attempts/1/rank-0.log"),
        "one\n"
    );
    // Another one is another place.
    engine.executor(&session, "busybox", "context = \"no-such\"");
    let said = session.run(&["run", "-e", "box", "--", "true"]);
    assert_eq!(said.status, 4, "{said:?}");
    assert!(said.stderr.contains("no-such"), "{said:?}");
}
