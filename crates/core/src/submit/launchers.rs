//! What launchers need of this machine before anything is sent: the files of their templates, and the programs that jobs which run
//! here will look for.
//!
//! ```text
//! prepare ─ settle ─▶ templates read into the plan; every launcher tried once, without a place
//! create  ─ check_tools ─▶ torchrun, nsys … on the PATH that the job will have, where that is known here
//! ```
//!
//! A plan holds a template's text: what is tried again later is what was launched. A job that comes after others may use what they
//! install, so that only the first tasks' programs are looked for; elsewhere the job itself says what it misses (exit status 127).

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

use crate::context::Context;
use crate::executor::{self, Executor, RenderError};
use crate::launcher::{Launched, Launcher, LauncherError, Site};
use crate::plan::{Plan, PlannedJob};
use crate::tunnel::quote;

/// A task can't be started by its launcher.
#[derive(Debug, thiserror::Error)]
#[error("task `{task}`: {source}")]
pub struct TaskLauncherError {
    /// The task.
    task: String,
    /// Why.
    source: LauncherError,
}

/// Reads the templates of a plan's launchers into it, and tries every launcher. `base`: where relative paths start.
pub(super) fn settle(plan: &mut Plan, base: &Utf8Path) -> Result<(), TaskLauncherError> {
    let mut known = BTreeMap::new();
    for job in &mut plan.jobs {
        let Some(launcher) = &mut job.launcher else {
            continue;
        };
        read(launcher, base, &mut known).map_err(|source| TaskLauncherError {
            task: plan.tasks[job.task as usize].name.clone(),
            source,
        })?;
    }
    for (name, executor) in &mut plan.executors {
        if let Some(launcher) = executor.settings.get_mut("launcher") {
            read(launcher, base, &mut known).map_err(|source| TaskLauncherError {
                task: name.clone(),
                source,
            })?;
        }
    }
    for task in &plan.tasks {
        let job = &plan.jobs[task.first_job as usize];
        let Some(place) = plan.executors.get(&task.executor) else {
            continue;
        };
        // What can't be made is told of when it is to be used.
        let Ok(executor) = executor::build(&task.executor, place) else {
            continue;
        };
        tried(&*executor, job).map_err(|source| TaskLauncherError {
            task: task.name.clone(),
            source,
        })?;
    }
    Ok(())
}

/// Puts the text of a template's file beside its path.
fn read(
    launcher: &mut Value,
    base: &Utf8Path,
    known: &mut BTreeMap<Utf8PathBuf, String>,
) -> Result<(), LauncherError> {
    let Some(table) = launcher.as_object_mut() else {
        return Ok(());
    };
    let kind = table
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let refuse = |reason: String| LauncherError::Settings {
        launcher: kind.to_owned(),
        reason,
    };
    let Some(given) = table.get("template_path").and_then(Value::as_str) else {
        return Ok(());
    };
    if table
        .get("template_inline")
        .is_some_and(|text| !text.is_null())
    {
        return Err(refuse(
            "both `template_path` and `template_inline` are given: leave out one of them"
                .to_owned(),
        ));
    }
    let path = base.join(given);
    if !known.contains_key(&path) {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| refuse(format!("template_path: {path} can't be read: {error}")))?;
        known.insert(path.clone(), text);
    }
    if let Some(text) = known.get(&path) {
        table.insert("template_inline".to_owned(), Value::String(text.clone()));
    }
    Ok(())
}

/// What a job's launcher makes of it, where nothing is known of the place but what it can do. `None`: it has no launcher.
fn tried(executor: &dyn Executor, job: &PlannedJob) -> Result<Option<Launched>, LauncherError> {
    let launcher = match &job.launcher {
        Some(value) => Launcher::from_value(value)?,
        None if executor.base().launcher.is_none() => return Ok(None),
        None => executor.get_launcher()?,
    };
    let nsys = executor.get_nsys_entrypoint();
    let site = Site {
        nodes: executor.nnodes(),
        per_node: executor.nproc_per_node(),
        job: &job.name,
        job_dir: "",
        run_id: "",
        address: "",
        port: "",
        node: "",
        metrics: "",
        nsys: &nsys,
        quote: executor.supports_launcher_transform().then_some(quote),
        agents: true,
    };
    launcher.launch(&job.role, &site, &job.role.env).map(Some)
}

/// Looks for the programs that launchers need, of tasks that run on this machine and come first.
pub(super) fn check_tools(context: &Context, plan: &Plan) -> Result<(), RenderError> {
    for task in plan.tasks.iter().filter(|task| task.after.is_empty()) {
        let job = &plan.jobs[task.first_job as usize];
        let Some(place) = plan.executors.get(&task.executor) else {
            continue;
        };
        let Ok(executor) = executor::build(&task.executor, place) else {
            continue;
        };
        if !executor.runs_in_place() {
            continue;
        }
        let Some(launched) = tried(&*executor, job)? else {
            continue;
        };
        let env = [&job.role.env, &executor.base().env_vars];
        let path = { env.into_iter() }.find_map(|env| env.get("PATH"));
        let path = path
            .or_else(|| context.variable("PATH"))
            .unwrap_or_default();
        if let Some(program) = launched
            .needs
            .iter()
            .find(|program| !is_there(program, path, Utf8Path::new(&job.workdir)))
        {
            return Err(RenderError::Unsupported {
                job: job.name.clone(),
                reason: format!(
                    "its launcher needs `{program}`, which is not on its PATH: install it, or write the PATH that has it in the \
                     task's `env`"
                ),
            });
        }
    }
    Ok(())
}

/// Whether execvp(3) would find the program.
fn is_there(program: &str, path: &str, workdir: &Utf8Path) -> bool {
    let runs = |path: Utf8PathBuf| {
        std::fs::metadata(path)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return runs(workdir.join(program));
    }
    path.split(':')
        .any(|folder| runs(workdir.join(folder).join(program)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_is_read_once_and_stands_in_the_plan() {
        let folder = std::env::temp_dir().join(format!("mizzen-template-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let base = Utf8PathBuf::from_path_buf(folder).unwrap();
        std::fs::write(base.join("t.sh.j2"), "{{ command }}").unwrap();
        let mut known = BTreeMap::new();
        let mut launcher =
            json!({"kind": "slurm_template", "template_path": "t.sh.j2", "template_inline": null});
        read(&mut launcher, &base, &mut known).unwrap();
        assert_eq!(launcher["template_inline"], "{{ command }}");
        std::fs::remove_dir_all(&base).unwrap();
        let mut again = json!({"kind": "slurm_template", "template_path": "t.sh.j2"});
        read(&mut again, &base, &mut known).unwrap();
        assert_eq!(again["template_inline"], "{{ command }}");
        let both = read(&mut again, &base, &mut known).unwrap_err().to_string();
        assert!(both.contains("leave out one of them"), "{both}");
        let mut gone = json!({"kind": "slurm_template", "template_path": "other"});
        let gone = read(&mut gone, &base, &mut known).unwrap_err().to_string();
        assert!(gone.contains("other can't be read: No such file"), "{gone}");
    }

    #[test]
    fn programs_are_looked_for_as_the_job_will() {
        let root = Utf8Path::new("/");
        assert!(is_there("sh", "/nowhere:/bin", root));
        assert!(is_there("sh", "bin", root));
        assert!(is_there("bin/sh", "", root) && is_there("/bin/sh", "", root));
        assert!(
            !is_there("sh", "/nowhere", root)
                && !is_there("passwd", "/etc", root)
                && !is_there("bin", "/", root)
        );
    }
}
