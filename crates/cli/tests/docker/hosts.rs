//! Jobs over two hosts that share no folder: two sshd, each with a folder of its own for jobs' files, before one engine.
//!
//! The engine is the same, so that ranks reach each other on its loopback; what is told apart is everything that goes by ssh.

use serde_json::{Value, json};

use crate::engine::Engine;
use crate::jobs::{file, task, until_gone, until_state};
use crate::scene::{ends, job, launch_detached, status, until};
use crate::sshd::Sshd;
use crate::support::Session;

/// Two machines, and a terminal whose executor `box` has both.
struct Hosts {
    first: Sshd,
    second: Sshd,
    session: Session,
}

impl Hosts {
    fn new(engine: &Engine, settings: &str) -> Option<Hosts> {
        let more = format!("SetEnv DOCKER_HOST={}", engine.host());
        let (first, second) = (Sshd::start(&more)?, Sshd::start(&more)?);
        let session = Session::new();
        let entry = |sshd: &Sshd, name: &str| {
            let folder = sshd.folder.display().to_string();
            let config = std::fs::read_to_string(sshd.folder.join("ssh_config")).unwrap();
            // Each by a name of its own, as people have them.
            let path = sshd.folder.join("hosts_config");
            std::fs::write(&path, config.replace("Host box", &format!("Host {name}"))).unwrap();
            format!(
                "{{ host = \"{name}\", job_dir = \"{folder}/jobs\", ssh_config = \"{}\" }}",
                path.display()
            )
        };
        session.write(
            "mizzen.toml",
            &format!(
                "[executors.box]\nkind = \"docker\"\ncontainer_image = \"mizzen-test/busybox\"\nhosts = [{}, {}]\n{settings}\n",
                entry(&first, "one"),
                entry(&second, "two"),
            ),
        );
        Some(Hosts {
            first,
            second,
            session,
        })
    }

    /// A file of a job at a host.
    fn there(&self, sshd: &Sshd, status: &Value, path: &str) -> Option<String> {
        let text = |name: &str| status[name].as_str().unwrap().to_owned();
        let folder = sshd.folder.join("jobs").join(text("title"));
        std::fs::read_to_string(folder.join(text("id")).join(path)).ok()
    }
}

/// Waits for both logs of a job to hold a word, at their own hosts.
fn until_up(hosts: &Hosts, id: &str, name: &str, word: &str) {
    for (rank, sshd) in [&hosts.first, &hosts.second].into_iter().enumerate() {
        until(&format!("rank {rank} is up"), || {
            let status = status(&hosts.session, id);
            let log = hosts.there(sshd, &status, &format!("{name}/attempts/1/rank-{rank}.log"));
            log.is_some_and(|text| text.contains(word)).then_some(())
        });
    }
}

#[test]
fn a_job_of_two_nodes_has_its_code_and_its_logs_at_both_hosts_and_here() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let Some(hosts) = Hosts::new(engine, "") else {
        return;
    };
    let session = &hosts.session;
    session.write("data.txt", "from the tree\n");
    // As torchrun is told where the others are.
    let mut wide = task(
        "wide",
        "cat data.txt; echo node $NODE at $HEAD; echo $MIZZEN_JOB_DIR",
    );
    wide["env"] = json!({ "NODE": "$$${node_rank_var}", "HEAD": "$$${head_node_ip_var}" });
    let id = launch_detached(session, &json!({ "title": "wide", "tasks": [wide] }));
    let said = session.run(&["wait", &id]);
    let status = status(session, &id);
    assert_eq!(ends(&status)["wide"], "SUCCEEDED", "{said:?} {status:#}");
    for (rank, sshd) in [&hosts.first, &hosts.second].into_iter().enumerate() {
        let log = format!("wide/attempts/1/rank-{rank}.log");
        let text = file(session, &status, &log);
        let folder = sshd.folder.display();
        assert_eq!(
            text,
            format!("from the tree\nnode {rank} at 127.0.0.1\n{folder}/jobs/wide/{id}/wide\n")
        );
        assert_eq!(hosts.there(sshd, &status, &log).unwrap(), text);
        assert!(hosts.there(sshd, &status, "wide/code/data.txt").is_some());
        let other = format!("wide/attempts/1/rank-{}.log", 1 - rank);
        assert!(hosts.there(sshd, &status, &other).is_none());
    }
    until_gone(engine, &id);
}

#[test]
fn ranks_over_two_hosts_meet_and_who_failed_first_is_told() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let Some(hosts) = Hosts::new(engine, "launcher = \"ranks\"") else {
        return;
    };
    let session = &hosts.session;
    let mut world = task(
        "world",
        // Who fails waits until the other one has begun.
        "echo rank $RANK of $WORLD_SIZE at $MASTER_ADDR
         [ $RANK = 0 ] || { until nc $MASTER_ADDR $MASTER_PORT </dev/null 2>/dev/null; do sleep 0.1; done; exit 5; }
         nc -l -p $MASTER_PORT; sleep 60",
    );
    world["grace"] = json!("1s");
    let id = launch_detached(session, &json!({ "title": "world", "tasks": [world] }));
    let said = session.run(&["wait", &id]);
    let status = status(session, &id);
    assert_eq!(
        ends(&status)["world"],
        "FAILED app-failure",
        "{said:?} {status:#}"
    );
    for rank in 0..2 {
        assert_eq!(
            file(
                session,
                &status,
                &format!("world/attempts/1/rank-{rank}.log")
            ),
            format!("rank {rank} of 2 at 127.0.0.1\n")
        );
    }
    let failure = &job(&status, "world")["attempts"][0];
    assert_eq!(failure["exit_code"], 5, "{failure:#}");
    assert_eq!(failure["failure"]["rank"], 1, "{failure:#}");
    until_gone(engine, &id);
}

#[test]
fn a_cancel_reaches_both_hosts() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let Some(hosts) = Hosts::new(engine, "") else {
        return;
    };
    let session = &hosts.session;
    let held = task(
        "held",
        "trap 'echo bye; exit 1' TERM; echo up; while :; do sleep 0.1; done",
    );
    let id = launch_detached(session, &json!({ "title": "held", "tasks": [held] }));
    until_up(&hosts, &id, "held", "up");
    session.ok(&["cancel", &id]);
    session.run(&["wait", &id]);
    let status = status(session, &id);
    assert_eq!(ends(&status)["held"], "CANCELLED cancelled", "{status:#}");
    for rank in 0..2 {
        // The shell may also say that its `sleep` was ended.
        let log = file(
            session,
            &status,
            &format!("held/attempts/1/rank-{rank}.log"),
        );
        assert!(log.starts_with("up\n") && log.ends_with("bye\n"), "{log}");
    }
    until_gone(engine, &id);
}

#[test]
fn a_host_that_is_not_reached_for_a_while_changes_no_verdict() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let Some(mut hosts) = Hosts::new(engine, "") else {
        return;
    };
    let held = task(
        "held",
        "echo up; until [ -e $MIZZEN_JOB_DIR/go ]; do sleep 0.1; done; echo end",
    );
    let id = launch_detached(&hosts.session, &json!({ "title": "cut", "tasks": [held] }));
    until_up(&hosts, &id, "held", "up");
    until_state(&hosts.session, &id, "held", "RUNNING");
    hosts.second.stop();
    for sshd in [&hosts.first, &hosts.second] {
        let go = sshd.folder.join(format!("jobs/cut/{id}/held/go"));
        std::fs::write(go, "").unwrap();
    }
    until("both containers have ended", || {
        let running = engine.docker(&[
            "ps",
            "--quiet",
            &format!("--filter=label=mizzen.experiment={id}"),
        ]);
        running.unwrap().is_empty().then_some(())
    });
    // Nobody knows how the second has ended.
    until_state(&hosts.session, &id, "held", "RUNNING");
    let more = format!("SetEnv DOCKER_HOST={}", engine.host());
    hosts.second.begin(&more);
    let said = hosts.session.run(&["wait", &id]);
    let status = status(&hosts.session, &id);
    assert_eq!(ends(&status)["held"], "SUCCEEDED", "{said:?} {status:#}");
    for rank in 0..2 {
        assert_eq!(
            file(
                &hosts.session,
                &status,
                &format!("held/attempts/1/rank-{rank}.log")
            ),
            "up\nend\n"
        );
    }
}

#[test]
fn a_job_waits_for_a_host_that_is_down() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let Some(mut hosts) = Hosts::new(engine, "") else {
        return;
    };
    let session = &hosts.session;
    let gate = session.gate("gate");
    let mut first = task("first", &format!("read line <'{}'", gate.display()));
    first["executor"] = json!("local");
    let mut wide = task("wide", "echo $RANK");
    wide["after"] = json!(["first"]);
    let id = launch_detached(session, &json!({ "title": "down", "tasks": [first, wide] }));
    until_state(session, &id, "first", "RUNNING");
    hosts.second.stop();
    hosts.session.release("gate");
    let words = hosts.session.home();
    let words = words.join(format!("experiments/down/{id}/not-sent.json"));
    until("it is told why nothing is sent", || {
        let said = std::fs::read_to_string(&words).unwrap_or_default();
        said.contains("two").then_some(())
    });
    assert_eq!(engine.containers(&id), [""; 0]);
    let more = format!("SetEnv DOCKER_HOST={}", engine.host());
    hosts.second.begin(&more);
    let said = hosts.session.run(&["wait", &id]);
    let status = status(&hosts.session, &id);
    assert_eq!(ends(&status)["wide"], "SUCCEEDED", "{said:?} {status:#}");
    for rank in 0..2 {
        let log = format!("wide/attempts/1/rank-{rank}.log");
        assert_eq!(file(&hosts.session, &status, &log), format!("{rank}\n"));
    }
}
