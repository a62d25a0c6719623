//! What would keep a job from running: looked at before anything is started, for `mizzen doctor`. Nothing is changed.

use std::sync::Arc;

use super::engine::{Engine, LIMIT, words};
use super::render::JOB_DIR_HINT;
use super::scheduler::{FIND, missing_of};
use super::settings::{DockerSettings, Pull};
use super::{DockerExecutor, options};
use crate::context::Context;
use crate::executor::{Check, CheckStatus};
use crate::tunnel::{Cmd, Finished, Tunnel, TunnelError, TunnelSettings};

/// Looks at the engine of each host.
pub(super) fn check(executor: &DockerExecutor, context: &Context) -> Vec<Check> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(look(executor, context)),
        Err(error) => vec![Check {
            name: "engine".to_owned(),
            status: CheckStatus::Failed,
            detail: error.to_string(),
            hint: None,
        }],
    }
}

async fn look(executor: &DockerExecutor, context: &Context) -> Vec<Check> {
    let settings = executor.settings();
    let engine = Engine::new(settings);
    let mut checks = Vec::new();
    if let Err(words) = options::of(settings) {
        checks.push(check_of("settings", CheckStatus::Failed, words, None));
    }
    if settings.container_image.is_none() {
        let hint = "write `container_image`, such as \"python:3.12-slim\"";
        let words = "there is no image".to_owned();
        checks.push(check_of("image", CheckStatus::Failed, words, Some(hint)));
    }
    for tunnel in executor.host_tunnels() {
        if matches!(tunnel, TunnelSettings::Ssh(_)) && tunnel.job_dir().is_none() {
            let words = JOB_DIR_HINT.to_owned();
            checks.push(check_of("tunnel.job_dir", CheckStatus::Failed, words, None));
        }
        let host = Host {
            place: tunnel.place(),
            connection: tunnel.open(context),
            engine: &engine,
        };
        let answers = host.engine().await;
        let works = answers.status == CheckStatus::Ok;
        checks.push(answers);
        if works {
            checks.extend(host.image(settings).await);
            checks.extend(host.volumes(settings).await);
            checks.extend(host.gpus(settings).await);
        }
    }
    checks
}

fn check_of(name: &str, status: CheckStatus, detail: String, hint: Option<&str>) -> Check {
    Check {
        name: name.to_owned(),
        status,
        detail,
        hint: hint.map(str::to_owned),
    }
}

/// A machine that is looked at.
struct Host<'a> {
    place: String,
    connection: Arc<dyn Tunnel>,
    engine: &'a Engine,
}

impl Host<'_> {
    async fn ask(&self, command: Cmd) -> Result<Finished, TunnelError> {
        self.connection.run(&command.timeout(LIMIT)).await
    }

    async fn engine(&self) -> Check {
        let name = self.engine.name();
        let question = self
            .engine
            .command(["version", "--format={{.Server.Version}}"]);
        match self.ask(question).await {
            Ok(finished) if finished.status == 0 => {
                let version = String::from_utf8_lossy(&finished.stdout);
                let words = format!("{name} {} on {}", version.trim(), self.place);
                check_of("engine", CheckStatus::Ok, words, None)
            }
            Ok(finished) => {
                let hint = format!("install {name}, start it, and see that you may use it");
                let words = words(&finished.stderr);
                check_of("engine", CheckStatus::Failed, words, Some(&hint))
            }
            Err(error) => check_of("engine", CheckStatus::Failed, error.to_string(), None),
        }
    }

    async fn image(&self, settings: &DockerSettings) -> Option<Check> {
        let image = settings.container_image.as_deref()?;
        let format = "--format={{.Os}}/{{.Architecture}}";
        let question = self.engine.command(["image", "inspect", format, image]);
        let missing = format!("{image} is not on {}", self.place);
        Some(match self.ask(question).await {
            Ok(finished) if finished.status == 0 => {
                let kind = String::from_utf8_lossy(&finished.stdout);
                let words = format!("{image} ({})", kind.trim());
                check_of("image", CheckStatus::Ok, words, None)
            }
            Ok(_) if settings.pull == Pull::Never => {
                let hint = "`pull` is \"never\": build it there, or write `pull = \"missing\"`";
                check_of("image", CheckStatus::Failed, missing, Some(hint))
            }
            Ok(_) => {
                let hint = "it is pulled with the first job";
                check_of("image", CheckStatus::Warning, missing, Some(hint))
            }
            Err(error) => check_of("image", CheckStatus::Failed, error.to_string(), None),
        })
    }

    /// Volumes whose folders are not there.
    async fn volumes(&self, settings: &DockerSettings) -> Option<Check> {
        let mut sources = Vec::new();
        for volume in &settings.volumes {
            if let Err(words) = options::volume_of(volume, "", &mut sources) {
                return Some(check_of("volumes", CheckStatus::Failed, words, None));
            }
        }
        // A job's own folder is there when the job is.
        sources.retain(|source| !source.is_empty());
        if sources.is_empty() {
            return None;
        }
        let missing = match self.ask(missing_of(&sources)).await {
            Ok(finished) => String::from_utf8_lossy(&finished.stdout).into_owned(),
            Err(error) => {
                let words = error.to_string();
                return Some(check_of("volumes", CheckStatus::Failed, words, None));
            }
        };
        let missing: Vec<&str> = missing.lines().collect();
        Some(match missing.is_empty() {
            true => {
                let words = format!("{} on {}", sources.join(", "), self.place);
                check_of("volumes", CheckStatus::Ok, words, None)
            }
            false => {
                let words = format!("not on {}: {}", self.place, missing.join(", "));
                let hint = "make the folder: the engine would make one that is root's";
                check_of("volumes", CheckStatus::Failed, words, Some(hint))
            }
        })
    }

    /// GPUs that jobs ask for.
    async fn gpus(&self, settings: &DockerSettings) -> Option<Check> {
        if !settings.asks_for_gpus() || settings.gpus.is_some() {
            return None;
        }
        let wanted = settings.num_gpus.unwrap_or_default();
        let finished = self.ask(Cmd::script(FIND, [""; 0])).await.ok()?;
        let found = String::from_utf8_lossy(&finished.stdout).lines().count();
        let words = format!("{found} of NVIDIA's on {}", self.place);
        Some(match usize::try_from(wanted) {
            Ok(wanted) if wanted > found => {
                let hint =
                    "lower `num_gpus`; if there are others, write their names: `gpus = [...]`";
                check_of("gpus", CheckStatus::Failed, words, Some(hint))
            }
            Err(_) if found == 0 => {
                let hint =
                    "`num_gpus` asks for all: whether there are others is the engine's to say";
                check_of("gpus", CheckStatus::Warning, words, Some(hint))
            }
            _ => check_of("gpus", CheckStatus::Ok, words, None),
        })
    }
}
