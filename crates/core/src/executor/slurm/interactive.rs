//! Sessions at somebody's terminal: `srun` for a shell or a command on the nodes, `salloc` for the nodes alone.
//!
//! ```text
//! SlurmSettings ─ directives ─▶ options, without what a batch job has alone ─▶ srun [--pty] … COMMAND | salloc … COMMAND
//! ```
//!
//! Settings that are texts of a batch job (`setup_lines`), its files or its environment (`export`) have no place here: a
//! session begins with the environment of where it was started, the executor's variables and the request's.

use super::container::RUN_DIR_MARK;
use super::directives;
use super::render::job_name;
use super::settings::{ContainerRuntime, Flag, SlurmSettings};
use crate::executor::Interactive;
use crate::tunnel::Cmd;

/// What sbatch takes, or what is a batch job's: neither srun nor salloc gets it.
const OF_BATCH_JOBS: [&str; 8] = [
    "error",
    "export",
    "export-file",
    "get-user-env",
    "no-requeue",
    "open-mode",
    "output",
    "requeue",
];
/// The shell that is given where no command is.
const SHELL: &str = "bash";

/// The command of a session.
pub(super) fn command(settings: &SlurmSettings, request: &Interactive<'_>) -> Cmd {
    let mut words = Vec::new();
    if request.allocate {
        words.push("salloc".to_owned());
        words.extend(options(settings, request));
        words.extend(request.command.iter().cloned());
    } else {
        words.push("srun".to_owned());
        words.extend(options(settings, request));
        if request.terminal {
            words.push("--pty".to_owned());
        }
        let inside = container(settings, request, &mut words);
        words.extend(settings.srun_args.iter().flatten().cloned());
        words.extend(inside);
        if request.command.is_empty() {
            words.push(SHELL.to_owned());
        }
        words.extend(request.command.iter().cloned());
    }
    let mut command = Cmd::new(words);
    for (name, value) in settings.env_vars.iter().chain(request.env.iter()) {
        command = command.env(name, value);
    }
    if !request.allocate && settings.container_runtime == ContainerRuntime::Apptainer {
        for name in settings.container_env.iter().flatten() {
            if let Some(value) = command.env.get(name).cloned() {
                command = command.env(format!("APPTAINERENV_{name}"), value);
            }
        }
    }
    command
}

/// The options that both programs take, by name.
fn options(settings: &SlurmSettings, request: &Interactive<'_>) -> Vec<String> {
    let mut options = directives::flags(settings, settings.size());
    options.insert(
        "job-name".to_owned(),
        Flag::Value(job_name(settings, request.name)),
    );
    let in_container = settings.container_image.is_some() && !request.allocate;
    if let (Some(workdir), false) = (request.workdir, in_container) {
        options.insert("chdir".to_owned(), Flag::Value(workdir.to_owned()));
    }
    directives::add_parameters(&mut options, settings);
    options.retain(|name, flag| {
        // There is no batch script that a signal could go to.
        let to_batch = name == "signal"
            && matches!(flag, Flag::Value(text) if text.split(':').next().is_some_and(|mark| mark.contains('B')) && text.contains(':'));
        !to_batch && !OF_BATCH_JOBS.contains(&name.as_str())
    });
    options
        .iter()
        .filter_map(|(name, flag)| directives::option(name, flag))
        .collect()
}

/// Puts a command into its container: options of srun, or words before the command.
fn container(
    settings: &SlurmSettings,
    request: &Interactive<'_>,
    options: &mut Vec<String>,
) -> Vec<String> {
    let Some(image) = &settings.container_image else {
        return Vec::new();
    };
    // A session has no job's folder.
    let mounts: Vec<&str> = settings
        .container_mounts
        .iter()
        .map(String::as_str)
        .filter(|mount| !mount.starts_with(RUN_DIR_MARK))
        .collect();
    let workdir = settings.container_workdir.as_deref().or(request.workdir);
    let names = settings.container_env.as_deref().unwrap_or_default();
    match settings.container_runtime {
        ContainerRuntime::Pyxis => {
            options.push(format!("--container-image={image}"));
            if !mounts.is_empty() {
                options.push(format!("--container-mounts={}", mounts.join(",")));
            }
            if let Some(workdir) = workdir {
                options.push(format!("--container-workdir={workdir}"));
            }
            if !names.is_empty() {
                options.push(format!("--container-env={}", names.join(",")));
            }
            Vec::new()
        }
        ContainerRuntime::Apptainer => {
            let mut words = vec!["apptainer".to_owned(), "exec".to_owned()];
            if settings.asks_for_gpus() {
                words.push("--nv".to_owned());
            }
            if !mounts.is_empty() {
                words.push(format!("--bind={}", mounts.join(",")));
            }
            if let Some(workdir) = workdir {
                words.push(format!("--pwd={workdir}"));
            }
            words.push(image.clone());
            words
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Env;

    fn of(settings: serde_json::Value, change: impl Fn(&mut Interactive<'_>)) -> Cmd {
        let env = [("FROM_TASK", "it's")].into_iter().collect::<Env>();
        let mut request = Interactive {
            name: "shell",
            command: &[],
            allocate: false,
            terminal: true,
            env: &env,
            workdir: None,
        };
        change(&mut request);
        command(&SlurmSettings::from_value(settings).unwrap(), &request)
    }

    #[test]
    fn a_shell_gets_the_settings_without_those_of_batch_jobs() {
        let shell = of(
            json!({
                "account": "a_team", "partition": "gpu", "gpus_per_node": 8, "nodes": 2, "time": "1:00:00",
                "requeue": true, "export": "NONE", "signal": "B:USR1@90", "setup_lines": "module load x",
                "comment": "two words", "exclusive": true, "srun_args": ["--mpi=pmix"],
                "env_vars": {"A": "1", "FROM_TASK": "no"},
                "additional_parameters": {"open_mode": "truncate", "cpu-freq": "high", "partition": "other"},
            }),
            |_| {},
        );
        assert_eq!(
            shell.argv,
            [
                "srun",
                "--account=a_team",
                "--comment=two words",
                "--cpu-freq=high",
                "--exclusive",
                "--gpus-per-node=8",
                "--job-name=a_team-team.shell",
                "--nodes=2",
                "--ntasks-per-node=1",
                "--partition=other",
                "--time=1:00:00",
                "--pty",
                "--mpi=pmix",
                "bash",
            ]
        );
        assert_eq!(shell.env["A"], "1");
        assert_eq!(shell.env["FROM_TASK"], "it's");
        let kept = of(json!({"signal": "USR1@90"}), |_| {});
        assert!(kept.argv.contains(&"--signal=USR1@90".to_owned()));
    }

    #[test]
    fn a_command_without_a_terminal_and_an_allocation() {
        let words = ["python3".to_owned(), "a b".to_owned()];
        let run = of(json!({"ntasks": 3}), |request| {
            request.terminal = false;
            request.workdir = Some("/data");
        });
        assert!(!run.argv.contains(&"--pty".to_owned()));
        assert!(run.argv.contains(&"--chdir=/data".to_owned()));
        assert!(run.argv.contains(&"--ntasks=3".to_owned()));
        let settings = json!({"container_image": "i.sqsh", "srun_args": ["--mpi=pmix"]});
        let mut request = Interactive {
            name: "x",
            command: &words,
            allocate: true,
            terminal: true,
            env: &Env::new(),
            workdir: None,
        };
        let settings = SlurmSettings::from_value(settings).unwrap();
        let allocated = command(&settings, &request);
        assert_eq!(
            allocated.argv,
            [
                "salloc",
                "--job-name=x",
                "--nodes=1",
                "--ntasks-per-node=1",
                "--time=00:10:00",
                "python3",
                "a b"
            ]
        );
        request.allocate = false;
        let inside = command(&settings, &request);
        assert!(inside.argv.ends_with(&words));
        assert!(inside.argv.contains(&"--container-image=i.sqsh".to_owned()));
    }

    #[test]
    fn containers() {
        let settings = json!({
            "container_image": "nvcr.io#nvidia/pytorch", "container_env": ["A"], "env_vars": {"A": "1"},
            "container_mounts": ["/data:/data:ro", "/$nemo_run/x:/y"], "gpus_per_node": "h100:8",
        });
        let pyxis = of(settings.clone(), |request| request.workdir = Some("/data"));
        assert_eq!(
            pyxis.argv[pyxis.argv.len() - 6..],
            [
                "--pty",
                "--container-image=nvcr.io#nvidia/pytorch",
                "--container-mounts=/data:/data:ro",
                "--container-workdir=/data",
                "--container-env=A",
                "bash"
            ]
        );
        let mut apptainer = settings;
        apptainer["container_runtime"] = json!("apptainer");
        let apptainer = of(apptainer, |_| {});
        assert_eq!(
            apptainer.argv[apptainer.argv.len() - 6..],
            [
                "apptainer",
                "exec",
                "--nv",
                "--bind=/data:/data:ro",
                "nvcr.io#nvidia/pytorch",
                "bash"
            ]
        );
        assert_eq!(apptainer.env["APPTAINERENV_A"], "1");
    }
}
