//! A rank in a container: pyxis by srun's own flags, Apptainer around the command.
//!
//! The job's folder is at `/nemo_run`; the experiment's folder and the agent's are where they are outside as well, so that
//! every path of ours means the same on both sides.

use super::render::Member;
use super::script::is_variable;
use super::settings::ContainerRuntime;
use crate::executor::RenderError;
use crate::tunnel::quote;

/// Where a container finds its job's folder: NeMo-Run's name.
pub(super) const RUN_DIR: &str = "/nemo_run";
/// What a mount begins with that is in the job's folder.
pub(super) const RUN_DIR_MARK: &str = "/$nemo_run";

/// The words that put a rank into its container, and the lines before the step.
pub(super) fn container(
    member: &Member<'_>,
    directory: &str,
) -> Result<(Vec<String>, Vec<String>), RenderError> {
    let settings = &member.settings;
    let Some(image) = &settings.container_image else {
        return Ok((Vec::new(), Vec::new()));
    };
    let job_dir = &member.folder;
    if directory.contains([',', ':']) {
        return Err(member.error(format!(
            "the folder {directory} can't be mounted into a container: it holds a comma or a colon"
        )));
    }
    let mut mounts: Vec<String> = settings
        .container_mounts
        .iter()
        .map(|mount| match mount.strip_prefix(RUN_DIR_MARK) {
            Some(rest) => format!("{job_dir}{rest}"),
            None => mount.clone(),
        })
        .collect();
    mounts.push(format!("{job_dir}:{RUN_DIR}"));
    mounts.push(format!("{directory}:{directory}"));
    if let Some(code) = member.code.as_ref().filter(|code| code.tree.is_none()) {
        mounts.push(format!("{0}:{0}", code.from));
    }
    let workdir = &member.unit.job.workdir;
    let inside = workdir.starts_with(directory)
        || workdir == "/"
        || settings.container_workdir.is_some()
        || settings.container_mounts.iter().any(|mount| {
            let there = mount.split(':').nth(1).unwrap_or_default();
            !there.is_empty() && workdir.starts_with(there)
        });
    if !inside {
        if workdir.contains([',', ':']) {
            return Err(member.error(format!(
                "its working directory {workdir} can't be mounted into a container: it holds a comma or a colon"
            )));
        }
        mounts.push(format!("{workdir}:{workdir}"));
    }
    let agent = "\"${agent:+,${agent%/*}:${agent%/*}}\"";
    let names = settings.container_env.clone().unwrap_or_default();
    Ok(match settings.container_runtime {
        ContainerRuntime::Pyxis => {
            let mut words = vec![
                format!("--container-image={}", quote(image)),
                format!("--container-mounts={}{agent}", quote(&mounts.join(","))),
            ];
            if !names.is_empty() {
                words.push(format!("--container-env={}", quote(&names.join(","))));
            }
            (words, Vec::new())
        }
        ContainerRuntime::Apptainer => {
            if let Some(name) = names.iter().find(|name| !is_variable(name)) {
                return Err(member.error(format!(
                    "container_env: `{name}` is no name that a shell can give a variable"
                )));
            }
            let mut words = vec!["apptainer exec".to_owned()];
            if settings.asks_for_gpus() {
                words.push("--nv".to_owned());
            }
            words.push(format!("--bind={}{agent}", quote(&mounts.join(","))));
            words.push(quote(image));
            let lines = names
                .iter()
                .map(|name| {
                    format!("[ -z \"${{{name}+set}}\" ] || export APPTAINERENV_{name}=\"${name}\"")
                })
                .collect();
            (words, lines)
        }
    })
}
