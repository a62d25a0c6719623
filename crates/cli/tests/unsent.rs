//! Jobs that can't be handed to a cluster: refused where there is none, told of where it does not take them now. The cluster's
//! programs are a few lines of sh here.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests read their own surroundings"
)]

mod support;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::Instant;

use support::{LIMIT, Session};

/// A session in which these programs are all that Slurm has, beside some of the system's own.
fn session(programs: &[(&str, &str)]) -> Session {
    let session = Session::new();
    let folder = session.workdir().join("programs");
    std::fs::create_dir_all(&folder).unwrap();
    let systems = [
        "sh", "cat", "dirname", "find", "gzip", "head", "ln", "mkdir", "readlink", "tar", "tr",
    ];
    for name in systems {
        let found = std::env::var("PATH").unwrap();
        let path = found
            .split(':')
            .map(|folder| PathBuf::from(folder).join(name));
        symlink(
            path.into_iter().find(|path| path.exists()).unwrap(),
            folder.join(name),
        )
        .unwrap();
    }
    for (name, text) in programs {
        let path = session.write(&format!("programs/{name}"), &format!("#!/bin/sh\n{text}\n"));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    session.write("mizzen.toml", "[executors.cluster]\nkind = \"slurm\"\n");
    session.with("PATH", folder.to_str().unwrap())
}

#[test]
fn without_slurm_jobs_are_refused() {
    let no_source =
        "echo 'scontrol: fatal: Could not establish a configuration source' >&2; exit 1";
    for (programs, words) in [
        (&[][..], "no `scontrol` was found"),
        (
            &[("scontrol", no_source)],
            "its programs find no slurm.conf",
        ),
        (
            &[("scontrol", "echo 'MaxArraySize = 11'")],
            "there is no `sbatch`",
        ),
    ] {
        let session = session(programs);
        let said = session.run(&["run", "-e", "cluster", "--", "true"]);
        assert_eq!(said.status, 4, "{said:?}");
        assert!(said.stderr.contains(words), "{words}: {said:?}");
        let status = session.json(&["status", "--json"]);
        assert_eq!(status["jobs"][0]["cause"], "launch-failure");
    }
}

#[test]
fn why_jobs_wait_is_told_until_they_are_sent() {
    let session = session(&[
        ("scontrol", "echo 'MaxArraySize = 11'"),
        (
            "sbatch",
            "if [ -e \"$HOME/down\" ]; then\n\
             echo 'sbatch: error: Unable to contact slurm controller (connect failure)' >&2; exit 1; fi\n\
             echo 'sbatch: error: Invalid partition name specified' >&2; exit 1",
        ),
    ]);
    let down = session.home().with_file_name("down");
    std::fs::write(&down, "").unwrap();
    session.ok(&["run", "-d", "-e", "cluster", "--", "true"]);
    let began = Instant::now();
    let told = loop {
        let said = session.run(&["status"]);
        assert!(began.elapsed() < LIMIT, "it is not told: {said:?}");
        if said.stderr.contains("not sent to cluster") {
            break said.stderr;
        }
    };
    assert!(
        told.contains("Unable to contact slurm controller"),
        "{told}"
    );
    // Neither the supervisor's other words nor its end make it another fact.
    let view = session.json(&["status", "--json"]);
    let folder = session
        .home()
        .join("experiments/true")
        .join(view["id"].as_str().unwrap());
    let fact: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("not-sent.json")).unwrap()).unwrap();
    assert_eq!(fact[0]["executor"], "cluster");
    assert!(fact[0]["again"].as_i64() > fact[0]["since"].as_i64());
    std::fs::remove_file(&down).unwrap();
    let said = session.run(&["wait"]);
    assert_eq!(said.status, 4, "{said:?}");
    assert!(!folder.join("not-sent.json").exists());
    let said = session.run(&["status"]);
    assert!(!said.stderr.contains("not sent"), "{said:?}");
}
