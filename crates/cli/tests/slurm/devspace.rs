//! Sessions on nodes: a shell, a command, an allocation, and a devspace that ssh reaches through the login node.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::desk;
use crate::screen::Screen;
use crate::slurm::{Cluster, Laptop, Variant};

/// The configuration of ssh that the laptop's user has.
const CONFIG: &str = "# mine\nServerAliveInterval 7\nHost *\n\tPort 1\r\n  ProxyJump nowhere";

fn config(laptop: &Laptop) -> PathBuf {
    let path = laptop.session.home().parent().unwrap().join(".ssh/config");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, CONFIG).unwrap();
    path
}

/// Plain ssh, as a user types it. Only that the configuration's file is named: ssh does not look at HOME for it.
fn ssh(config: &Path, words: &[&str]) -> Output {
    Command::new("ssh")
        .arg("-F")
        .arg(config)
        .args(["-o", "BatchMode=yes"])
        .args(words)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Slurm has no job of this name any more.
fn until_gone(cluster: &Cluster, name: &str) {
    cluster.wait_until("job gone", || {
        cluster
            .ok(&["squeue", "--noheader", "--name", name])
            .trim()
            .is_empty()
    });
}

#[test]
fn a_devspace_is_reached_by_ssh_and_leaves_nothing() {
    let settings = "time = \"10\"\nnodes = 1\ngpus_per_node = 1\njob_name_prefix = \"up-\"\nenv_vars = { \
                    GREETING = \"it's 100% $me\" }\n";
    let Some((cluster, laptop)) = desk::shared(Variant::Plain, settings) else {
        return;
    };
    let config = config(&laptop);
    let up = laptop.session.run(&["devspace", "up", "-e", "cluster"]);
    assert_eq!(
        (up.status, up.stdout.as_str()),
        (0, "cluster-dev\n"),
        "{up:?}"
    );
    // HOME is another one than ssh's.
    let line = format!("\n  ssh -F {} cluster-dev\n", config.display());
    assert!(up.stderr.contains(&line), "{up:?}");
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.ends_with(CONFIG) && text.starts_with("# mizzen devspace cluster-dev begin\n"));

    // The user's own entries hold for no option that the entry says; it leads through the login node.
    let asked = ssh(
        &config,
        &[
            "cluster-dev",
            "echo $SLURMD_NODENAME $SLURM_JOB_NAME $GREETING $SLURM_GPUS_ON_NODE",
        ],
    );
    let said = String::from_utf8(asked.stdout.clone()).unwrap();
    let words: Vec<&str> = said.split_whitespace().collect();
    assert!(
        words.first().is_some_and(|node| node.starts_with('n')),
        "{asked:?}"
    );
    assert_eq!(words[1..], ["cluster-dev", "it's", "100%", "$me", "1"]);
    let proxy = text
        .lines()
        .find(|line| line.contains("ProxyCommand"))
        .unwrap();
    assert!(proxy.ends_with("-W '[%h]:%p' -- box"), "{proxy}");
    // Steps within the job, and files.
    let step = ssh(
        &config,
        &[
            "cluster-dev",
            "srun --overlap -n1 sh -c 'echo step $SLURM_STEP_ID'",
        ],
    );
    assert!(
        String::from_utf8_lossy(&step.stdout).starts_with("step "),
        "{step:?}"
    );
    let failed = ssh(&config, &["cluster-dev", "exit 7"]);
    assert_eq!(failed.status.code(), Some(7));
    let other = ssh(
        &config,
        &[
            "-o",
            "IdentityFile=none",
            "-o",
            "HostKeyAlias=x",
            "cluster-dev",
            "true",
        ],
    );
    assert!(
        !other.status.success(),
        "an unknown host key is refused: {other:?}"
    );

    let by_us = laptop
        .session
        .run(&["devspace", "ssh", "cluster-dev", "--", "echo here; exit 9"]);
    assert_eq!(
        (by_us.status, by_us.stdout.as_str()),
        (9, "here\n"),
        "{by_us:?}"
    );
    // Without a connection of ours ssh logs in by itself.
    let (before, after) = proxy.trim().split_once(" -S ").unwrap();
    let (_, after) = after.split_once(' ').unwrap();
    let alone = before.replace("ProxyCommand ", "ProxyCommand=") + " -S none " + after;
    let alone = ssh(&config, &["-o", &alone, "cluster-dev", "true"]);
    assert!(alone.status.success(), "{alone:?}");

    // Once more is the same one; the list knows it.
    let again = laptop
        .session
        .run(&["devspace", "up", "-e", "cluster", "--json"]);
    assert_eq!(again.status, 0, "{again:?}");
    assert!(again.stderr.contains("was asked for"), "{again:?}");
    let list = laptop.session.json(&["devspace", "ls", "--json"]);
    assert_eq!(list["devspaces"][0]["name"], "cluster-dev");
    assert_eq!(list["devspaces"][0]["state"], "up");

    laptop.session.ok(&["devspace", "down", "cluster-dev"]);
    assert_eq!(std::fs::read_to_string(&config).unwrap(), CONFIG);
    until_gone(cluster, "up-cluster-dev");
    let folders = laptop.session.home().join("devspaces");
    assert_eq!(std::fs::read_dir(folders).unwrap().count(), 0);
    let gone = laptop.session.run(&["devspace", "down", "cluster-dev"]);
    desk::refused(&gone, 2, &["there is no devspace `cluster-dev`"]);
}

#[test]
fn a_devspace_whose_job_ended_is_taken_out() {
    let Some((cluster, laptop)) = desk::shared(
        Variant::Plain,
        "job_name_prefix = \"over-\"\nnodes = 2\nntasks = 3\n",
    ) else {
        return;
    };
    let config = config(&laptop);
    laptop
        .session
        .ok(&["devspace", "up", "-e", "cluster", "--name", "short"]);
    assert_ne!(std::fs::read_to_string(&config).unwrap(), CONFIG);
    cluster.ok(&["scancel", "--name", "over-short"]);
    let latest = laptop.session.run(&["wait"]);
    assert_eq!(latest.status, 1, "{latest:?}");
    let listed = laptop.session.run(&["devspace", "ls"]);
    assert!(listed.stderr.contains("short has ended"), "{listed:?}");
    assert_eq!(std::fs::read_to_string(&config).unwrap(), CONFIG);
}

#[test]
fn what_keeps_a_devspace_from_starting_is_told() {
    let Some((_, laptop)) = desk::shared(Variant::Plain, "") else {
        return;
    };
    // A node with an sshd, but without the programs around it.
    let programs = laptop.sshd.folder.join("programs");
    std::fs::create_dir(&programs).unwrap();
    for name in ["uname", "mkdir", "rm"] {
        let found = ["/bin", "/usr/bin"].map(|folder| Path::new(folder).join(name));
        let found = found.iter().find(|path| path.is_file()).unwrap();
        std::os::unix::fs::symlink(found, programs.join(name)).unwrap();
    }
    desk::executors(
        &laptop,
        &[(
            "cluster",
            &format!("env_vars = {{ PATH = \"{}\" }}\n", programs.display()),
        )],
    );
    let config = config(&laptop);
    std::fs::write(&config, "Host mine\n").unwrap();
    let taken = laptop
        .session
        .run(&["devspace", "up", "-e", "cluster", "--name", "mine"]);
    desk::refused(&taken, 2, &["line 1 has an entry for mine", "--name"]);
    let odd = laptop.session.run(&["devspace", "up", "--name", "a b"]);
    desk::refused(&odd, 2, &["`a b` can't be"]);
    let missing = laptop.session.run(&["devspace", "up", "-e", "cluster"]);
    let words = [
        "there is no ssh-keygen on ",
        "install openssh-server",
        "hint: `mizzen logs ",
    ];
    desk::refused(&missing, 1, &words);
    assert_eq!(std::fs::read_to_string(&config).unwrap(), "Host mine\n");
}

#[test]
fn commands_run_on_nodes_with_the_executors_settings() {
    let settings =
        "ntasks = 3\nnodes = 2\njob_name_prefix = \"sh-\"\nenv_vars = { A = \"it's 'a' $b\" }\n";
    let Some((cluster, laptop)) = desk::shared(Variant::Plain, settings) else {
        return;
    };
    let run = |words: &[&str]| {
        laptop
            .session
            .run(&[&["shell", "-e", "cluster"][..], words].concat())
    };
    let said = run(&[
        "--env",
        "B=two words",
        "--",
        "sh",
        "-c",
        "echo \"$SLURM_PROCID $SLURM_NTASKS $SLURM_JOB_NAME $A $B $1\"",
        "sh",
        "c'd $e",
    ]);
    let mut lines: Vec<&str> = said.stdout.lines().collect();
    lines.sort_unstable();
    let expected: Vec<String> = (0..3)
        .map(|rank| format!("{rank} 3 sh-shell it's 'a' $b two words c'd $e"))
        .collect();
    assert_eq!(lines, expected, "{said:?}");
    let failed = run(&["--nproc", "1", "--", "sh", "-c", "exit 7"]);
    assert_eq!(failed.status, 7, "{failed:?}");
    let mut child = laptop
        .session
        .command(&[
            "shell",
            "-e",
            "cluster",
            "--set",
            "executors.cluster.ntasks=1",
            "--",
            "cat",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"\x00to the node\n")
        .unwrap();
    assert_eq!(
        child.wait_with_output().unwrap().stdout,
        b"\x00to the node\n"
    );
    let allocated = run(&[
        "--alloc",
        "--",
        "sh",
        "-c",
        "srun -n2 echo $SLURM_JOB_ID; hostname",
    ]);
    assert_eq!(allocated.status, 0, "{allocated:?}");
    assert_eq!(allocated.stdout.lines().count(), 3, "{allocated:?}");
    until_gone(cluster, "sh-shell");

    let refused = run(&["--retries", "3"]);
    desk::refused(&refused, 2, &["`--retries`"]);
    let here = laptop.session.run(&["shell", "--", "true"]);
    desk::refused(&here, 2, &["`local`", "`-e`"]);
    // No file of ours is left on the login node.
    let left = std::fs::read_dir(std::env::temp_dir())
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).ok()?;
            text.contains("sh-shell").then_some(path)
        });
    assert_eq!(left.collect::<Vec<_>>(), Vec::<PathBuf>::new());
}

#[test]
fn a_session_without_a_terminal_ends_with_its_client() {
    let Some((cluster, laptop)) = desk::shared(Variant::Plain, "job_name_prefix = \"int-\"\n")
    else {
        return;
    };
    let words = [
        "shell",
        "-e",
        "cluster",
        "--",
        "sh",
        "-c",
        "echo up; exec sleep 1000",
    ];
    let mut running = laptop.session.start(&words);
    running.until("up");
    running.signal(nix::sys::signal::Signal::SIGINT);
    let said = running.end();
    assert_ne!(said.status, 0, "{said:?}");
    until_gone(cluster, "int-shell");
}

#[test]
fn a_shell_is_at_home_on_a_terminal() {
    let Some((cluster, laptop)) = desk::shared(Variant::Plain, "job_name_prefix = \"pty-\"\n")
    else {
        return;
    };
    let (mut screen, mut child) = Screen::start(&laptop.session, &["shell", "-e", "cluster"], 93);
    // Not the words as they are typed.
    writeln!(
        screen.keyboard,
        "PS1=; echo no''de $SLURMD_NODENAME; stty size; tty"
    )
    .unwrap();
    screen.until("node n");
    screen.until("30 93");
    screen.until("/dev/pts/");
    // A Ctrl-C ends what runs there, not the shell.
    // What says so is what the Ctrl-C reaches.
    writeln!(screen.keyboard, "sh -c 'echo wai\"\"ting; exec sleep 1000'").unwrap();
    screen.until("waiting");
    screen.keyboard.write_all(b"\x03").unwrap();
    writeln!(screen.keyboard, "echo st''ill; exit 5").unwrap();
    screen.until("still");
    assert_eq!(child.wait().unwrap().code(), Some(5), "{}", screen.seen);
    until_gone(cluster, "pty-shell");
}
