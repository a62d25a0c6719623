//! What can't be: wrong settings, a place that can't be reached or written to. Nothing is left of it.

use serde_json::json;

use crate::desk::{Desk, executors, refused, shared};
use crate::scene::{ends, job};
use crate::slurm::{Cluster, Laptop, Variant};

/// No experiment, no folder of one, nothing at the place.
fn nothing_was_made(laptop: &Laptop) {
    assert_eq!(laptop.session.json(&["ls", "--json"]), json!([]));
    assert!(!laptop.session.home().join("experiments").exists());
    assert_eq!(std::fs::read_dir(laptop.job_dir()).unwrap().count(), 0);
}

#[test]
fn a_partition_or_an_account_that_is_none() {
    let Some((cluster, laptop)) = shared(Variant::Plain, "partition = \"nowhere\"") else {
        return;
    };
    let said = laptop.session.run(&["run", "-e", "cluster", "--", "true"]);
    refused(&said, 4, &["partition"]);
    let status = laptop.session.json(&["status", "--json"]);
    assert_eq!(ends(&status)["true"], "FAILED launch-failure");
    let id = status["id"].as_str().unwrap();
    assert_eq!(crate::desk::books(cluster, id), [].into());

    let Some(cluster) = Cluster::shared(Variant::Accounting) else {
        return;
    };
    let laptop = crate::desk::laptop(cluster, "account = \"nobody\"").unwrap();
    let said = laptop.session.run(&["run", "-e", "cluster", "--", "true"]);
    refused(&said, 4, &["Invalid account"]);
    // With the right one it runs, and the accounting knows of it.
    executors(&laptop, &[("cluster", "account = \"research\"")]);
    let said = laptop.session.run(&["run", "-e", "cluster", "--", "true"]);
    assert_eq!(said.status, 0, "{said:?}");
}

#[test]
fn a_folder_for_jobs_that_cannot_be_written() {
    let Some((_, laptop)) = shared(Variant::Plain, "") else {
        return;
    };
    let config = std::fs::read_to_string(laptop.session.workdir().join("mizzen.toml")).unwrap();
    let jobs = format!("{}\"", laptop.job_dir().display());
    // Whoever is root may write anywhere but there.
    let config = config.replace(&jobs, "/proc/jobs\"");
    laptop.session.write("mizzen.toml", &config);
    let said = laptop.session.run(&["run", "-e", "cluster", "--", "true"]);
    assert_ne!(said.status, 0, "{said:?}");
    assert!(said.stderr.contains("/proc/jobs"), "{said:?}");
}

/// A small file system of its own, which goes with it.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn at(folder: &std::path::Path) -> SmallDisk {
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"])
            .arg(folder)
            .status()
            .unwrap();
        assert!(mounted.success());
        SmallDisk(folder.to_owned())
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.0.join("fill")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(&self.0)
            .status();
    }
}

#[test]
fn a_full_file_system() {
    let Some((cluster, laptop)) = shared(Variant::Plain, "") else {
        return;
    };
    let disk = SmallDisk::at(&laptop.job_dir());
    disk.fill();
    let said = laptop.session.run(&["run", "-e", "cluster", "--", "true"]);
    refused(&said, 4, &["No space left on device"]);
    let id = laptop.session.json(&["status", "--json"])["id"].clone();
    let id = id.as_str().unwrap();
    assert_eq!(crate::desk::books(cluster, id), [].into());
    // With room it runs, once.
    std::fs::remove_file(disk.0.join("fill")).unwrap();
    let said = laptop.session.run(&["retry", id]);
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(crate::desk::books(cluster, id).len(), 1);
}

#[test]
fn a_login_node_that_is_not_there() {
    let Some((_, mut laptop)) = shared(Variant::Plain, "") else {
        return;
    };
    laptop.cut();
    let said = laptop.session.run(&["run", "-e", "cluster", "--", "true"]);
    refused(&said, 3, &["box"]);
    nothing_was_made(&laptop);
    laptop.heal();
    assert_eq!(
        laptop
            .session
            .run(&["run", "-e", "cluster", "--", "true"])
            .status,
        0
    );
}

#[test]
fn keys_that_do_not_fit() {
    let Some((_, laptop)) = shared(Variant::Plain, "") else {
        return;
    };
    let folder = &laptop.sshd.folder;
    laptop.sshd.know("other_host_key");
    let said = laptop.session.run(&["run", "-e", "cluster", "--", "true"]);
    refused(&said, 3, &["box", "host key"]);
    nothing_was_made(&laptop);
    laptop.sshd.know("host_key");
    std::fs::copy(folder.join("other_key.pub"), folder.join("authorized_keys")).unwrap();
    let said = laptop.session.run(&["run", "-e", "cluster", "--", "true"]);
    refused(&said, 3, &["box"]);
    nothing_was_made(&laptop);
}

#[test]
fn on_the_login_node_itself() {
    let Some((cluster, laptop)) = shared(Variant::Plain, "") else {
        return;
    };
    let jobs = laptop.job_dir();
    let session = laptop
        .session
        .with("SLURM_CONF", &cluster.conf().display().to_string());
    for (name, tunnel) in [
        (
            "folder",
            format!(
                "tunnel = {{ kind = \"local\", job_dir = \"{}\" }}",
                jobs.display()
            ),
        ),
        ("home", String::new()),
    ] {
        session.write(
            "mizzen.toml",
            &format!("[executors.cluster]\nkind = \"slurm\"\n{tunnel}\n"),
        );
        let said = session.run(&[
            "run",
            "-e",
            "cluster",
            "--title",
            name,
            "--",
            "sh",
            "-c",
            "echo in $(hostname); exit 7",
        ]);
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.stdout.starts_with("in "), "{said:?}");
        let status = session.json(&["status", "--json"]);
        assert_eq!(ends(&status)["sh"], "FAILED app-failure");
        assert_eq!(job(&status, "sh")["attempts"][0]["exit_code"], 7);
        let id = status["id"].as_str().unwrap();
        assert_eq!(jobs.join(name).join(id).exists(), name == "folder");
    }
}

#[test]
fn lines_are_seen_while_they_are_written() {
    let Some((_, laptop)) = shared(Variant::Plain, "nodes = 2") else {
        return;
    };
    let gates = ["first", "second"].map(|name| laptop.session.gate(name));
    let script = format!(
        "[ $SLURM_PROCID = 0 ] || exit 0; echo one; read x <{}; echo two; read x <{}; echo three",
        gates[0].display(),
        gates[1].display()
    );
    let id = laptop.launch(&json!({ "title": "lines", "tasks": [
        { "name": "tells", "executor": "cluster", "run": ["sh", "-c", crate::desk::escaped(&script)] },
    ]}));
    let mut follows = laptop.session.start(&["logs", "-f", &id]);
    follows.until("one");
    laptop.session.release("first");
    follows.until("two");
    laptop.session.release("second");
    let said = follows.end();
    assert!(said.stdout.contains("three"), "{said:?}");
    assert_eq!(laptop.wait(&id), 0);
}

#[test]
fn nodes_that_failed_are_used_where_there_are_no_others() {
    let Some((_, laptop)) = shared(Variant::Plain, "") else {
        return;
    };
    let run = || laptop.session.run(&["run", "-e", "cluster", "--", "true"]);
    assert_eq!(run().status, 0);
    let places = laptop.session.home().join("places");
    let place = std::fs::read_dir(places).unwrap().next().unwrap().unwrap();
    // As after a night in which all of them were down.
    let later = i64::MAX / 2;
    let bad = json!({ "n1": later, "n2": later, "n3": later, "n4": later });
    std::fs::write(place.path().join("bad-nodes.json"), bad.to_string()).unwrap();
    let said = run();
    assert_eq!(said.status, 0, "{said:?}");
}
