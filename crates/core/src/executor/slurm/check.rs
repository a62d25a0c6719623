//! What would keep a job from running on the cluster: looked at before anything is queued, for `mizzen doctor` and
//! `mizzen plan --check`. Nothing is changed there but an empty file that is made in the folder for jobs and removed again.
//!
//! ```text
//! login ─▶ Slurm's version ─▶ folder for jobs ─▶ agent ─▶ container runtime, image, mounts ─▶ sbatch --test-only ─▶ accounting
//! ```

use std::sync::Arc;
use std::time::Instant;

use super::container::RUN_DIR_MARK;
use super::directives::{self, Named};
use super::queue::LIMIT;
use super::settings::{ContainerRuntime, SlurmSettings};
use super::site::Site;
use crate::context::Context;
use crate::executor::{Check, CheckStatus};
use crate::tunnel::{Cmd, Login, Tunnel, TunnelError};

/// Makes and removes a file in the folder for jobs, and tells the free room there, in KiB.
const WRITE: &str = r#"umask 077
mkdir -p -- "$1" && probe=$(mktemp "$1/.mizzen-check-XXXXXX") && rm -f -- "$probe" && df -Pk -- "$1" | awk 'NR==2 { print $4 }'"#;

/// Prints those of the paths on standard input that are not there.
const PATHS: &str = r#"while IFS= read -r path; do [ -e "$path" ] || printf '%s\n' "$path"; done"#;

/// With less free room than this logs and checkpoints will soon not fit, in KiB.
const LITTLE_ROOM: u64 = 1 << 20;

/// Looks at the cluster.
pub(super) fn check(settings: &SlurmSettings, context: &Context) -> Vec<Check> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(look(settings, context)),
        Err(error) => vec![failed("place", error.to_string(), "try again")],
    }
}

fn fine(name: &str, detail: impl Into<String>) -> Check {
    Check {
        name: name.to_owned(),
        status: CheckStatus::Ok,
        detail: detail.into(),
        hint: None,
    }
}

fn warning(name: &str, detail: impl Into<String>, hint: impl Into<String>) -> Check {
    Check {
        status: CheckStatus::Warning,
        hint: Some(hint.into()),
        ..fine(name, detail)
    }
}

fn failed(name: &str, detail: impl Into<String>, hint: impl Into<String>) -> Check {
    Check {
        status: CheckStatus::Failed,
        hint: Some(hint.into()),
        ..fine(name, detail)
    }
}

async fn look(settings: &SlurmSettings, context: &Context) -> Vec<Check> {
    let place = settings.tunnel.place();
    let login = settings.tunnel.login(context, Login::Silent, &|_| {}).await;
    if let Err(error) = login {
        let hint = error.hint().map_or_else(
            || "`mizzen tunnel check` looks at the connection".to_owned(),
            |hint| hint.to_string(),
        );
        return vec![failed("place", error.to_string(), hint)];
    }
    let tunnel = settings.tunnel.open(context);
    let began = Instant::now();
    let version = said(&*tunnel, Cmd::new(["sinfo", "--version"])).await;
    let mut checks = Vec::new();
    match version {
        Ok(version) => checks.push(fine(
            "place",
            format!(
                "{place}: {}, answers in {} ms",
                version.trim(),
                began.elapsed().as_millis()
            ),
        )),
        Err(words) => {
            checks.push(failed(
                "place",
                format!("{place}: {words}"),
                "Slurm's commands must be on PATH there; `tunnel.pre_command` may load a module",
            ));
            return checks;
        }
    }
    if settings.account.is_none() {
        checks.push(warning(
            "account",
            "none is given: the cluster charges your default one",
            "write `account`, if the cluster has accounts",
        ));
    }
    checks.push(folder(settings, &*tunnel).await);
    checks.push(agent(&tunnel).await);
    checks.extend(container(settings, &*tunnel).await);
    checks.extend(test_only(settings, &*tunnel).await);
    let site = Site::new(&settings.tunnel.place_dir(context));
    match site.config(context, &*tunnel).await {
        Ok(config) => {
            let accounting = match config.accounting {
                true => "accounting is there",
                false => "no accounting: ends are known from records and the controller alone",
            };
            checks.push(fine(
                "controller",
                format!(
                    "arrays of up to {} jobs; {accounting}",
                    config.max_array_size
                ),
            ));
        }
        Err(error) => checks.push(failed(
            "controller",
            error.to_string(),
            "`scontrol ping` says whether it is up",
        )),
    }
    if let Some(nodes) = site.bad_nodes(context.clock.now()) {
        let file = site.folder.join("bad-nodes.json");
        checks.push(warning(
            "nodes",
            format!("{nodes} failed under a job within the last day and are left out"),
            format!("remove {file} to use them again, or set `exclude_bad_nodes = false`"),
        ));
    }
    checks
}

/// What a command prints, or its words of failure.
async fn said(tunnel: &dyn Tunnel, command: Cmd) -> Result<String, String> {
    let command = command.timeout(LIMIT);
    let words = |error: TunnelError| match error {
        TunnelError::Failed { words, .. } if !words.is_empty() => words,
        other => other.to_string(),
    };
    let finished = tunnel.run(&command).await.map_err(words)?;
    let finished = finished.ok(&command).map_err(words)?;
    Ok(String::from_utf8_lossy(&finished.stdout).into_owned())
}

async fn folder(settings: &SlurmSettings, tunnel: &dyn Tunnel) -> Check {
    let Some(folder) = settings.tunnel.job_dir() else {
        return fine(
            "job_dir",
            "the experiments' own folders, which the nodes must see",
        );
    };
    match said(tunnel, Cmd::script(WRITE, [folder.as_str()])).await {
        Ok(room) => {
            let room: u64 = room.trim().parse().unwrap_or(u64::MAX);
            let detail = format!("{folder}: {} GiB free", room >> 20);
            if room < LITTLE_ROOM {
                warning("job_dir", detail, "make room, or use another file system")
            } else {
                fine("job_dir", detail)
            }
        }
        Err(words) => failed(
            "job_dir",
            format!("{folder} can't be written: {words}"),
            "correct `tunnel.job_dir`: a folder of yours that the nodes see",
        ),
    }
}

async fn agent(tunnel: &Arc<dyn Tunnel>) -> Check {
    match tunnel.agent().await {
        Ok(Some(path)) => fine("agent", path.to_string()),
        Ok(None) => warning(
            "agent",
            "it does not run there (another kind of machine, or no programs may be started from that file system)",
            "jobs run without it: their ends are known from Slurm alone",
        ),
        Err(error) => failed("agent", error.to_string(), "see the checks above"),
    }
}

async fn container(settings: &SlurmSettings, tunnel: &dyn Tunnel) -> Vec<Check> {
    let mut checks = Vec::new();
    let Some(image) = &settings.container_image else {
        return checks;
    };
    let (program, help) = match settings.container_runtime {
        ContainerRuntime::Pyxis => (
            "srun --help | grep -q -- --container-image",
            "this cluster's srun has no `--container-image`: pyxis is not installed. `container_runtime = \"apptainer\"` may work",
        ),
        ContainerRuntime::Apptainer => (
            "command -v apptainer || command -v singularity",
            "apptainer is not on PATH on the login node; `setup_lines` may load it on the nodes",
        ),
    };
    match said(tunnel, Cmd::script(program, [""; 0])).await {
        Ok(_) => checks.push(fine("container", image.to_string())),
        Err(_) => checks.push(failed(
            "container",
            help,
            "ask the cluster's administrators",
        )),
    }
    let mut paths: Vec<&str> = settings
        .container_mounts
        .iter()
        .filter_map(|mount| mount.split(':').next())
        .filter(|source| source.starts_with('/') && !source.starts_with(RUN_DIR_MARK))
        .collect();
    if image.starts_with('/') {
        paths.push(image);
    }
    let list = paths.join("\n") + "\n";
    let missing = said(tunnel, Cmd::script(PATHS, [""; 0]).stdin(list.into_bytes()))
        .await
        .unwrap_or_default();
    for path in missing.lines().filter(|path| !path.is_empty()) {
        checks.push(failed(
            "container",
            format!("{path} is not there, seen from the login node"),
            "correct `container_image` or `container_mounts`",
        ));
    }
    checks
}

/// What the controller thinks of a job with these settings, and when it could start.
async fn test_only(settings: &SlurmSettings, tunnel: &dyn Tunnel) -> Vec<Check> {
    let named = Named {
        job_name: "mizzen-check",
        key: "mizzen-check",
        output: "/dev/null",
        error: None,
        size: settings.size(),
    };
    let options: String = directives::options(settings, &named)
        .iter()
        .map(|option| format!("#SBATCH {option}\n"))
        .collect();
    let script = format!("#!/bin/sh\n{options}true\n");
    let command = Cmd::new(["sbatch", "--test-only"])
        .stdin(script.into_bytes())
        .timeout(LIMIT);
    let finished = match tunnel.run(&command).await {
        Ok(finished) => finished,
        Err(error) => return vec![failed("job", error.to_string(), "try again")],
    };
    let words = String::from_utf8_lossy(&finished.stderr);
    let words: Vec<&str> = words
        .lines()
        .map(|line| {
            line.trim_start_matches("sbatch: ")
                .trim_start_matches("error: ")
                .trim_start_matches("allocation failure: ")
        })
        .collect();
    let words = words.join("; ");
    vec![if finished.status == 0 {
        // `Job 12 to start at 2026-11-22T21:40:00 using 2 processors on nodes n1 in partition main`
        let start = words
            .split_once(" to start at ")
            .map_or(&*words, |(_, rest)| rest);
        fine("job", format!("would start at {start}"))
    } else {
        failed(
            "job",
            format!("Slurm would refuse it: {words}"),
            "correct partition, account, qos, time or the resources that it asks for",
        )
    }]
}
