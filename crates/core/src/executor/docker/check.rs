//! What would keep a job from running: looked at before anything is started, for `mizzen doctor`. Nothing is changed.

use super::DockerExecutor;
use super::engine::{Engine, LIMIT, words};
use crate::context::Context;
use crate::executor::{Check, CheckStatus};
use crate::tunnel::Cmd;

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
    for tunnel in executor.host_tunnels() {
        let place = tunnel.place();
        let connection = tunnel.open(context);
        let question = engine.words(["version", "--format={{.Server.Version}}"]);
        let answer = connection.run(&Cmd::new(question).timeout(LIMIT)).await;
        let (status, detail, hint) = match answer {
            Ok(finished) if finished.status == 0 => (
                CheckStatus::Ok,
                format!(
                    "{} {} on {place}",
                    engine.name(),
                    String::from_utf8_lossy(&finished.stdout).trim()
                ),
                None,
            ),
            Ok(finished) => (
                CheckStatus::Failed,
                words(&finished.stderr),
                Some(format!(
                    "install {}, start it, and see that you may use it",
                    engine.name()
                )),
            ),
            Err(error) => (CheckStatus::Failed, error.to_string(), None),
        };
        let works = status == CheckStatus::Ok;
        checks.push(Check {
            name: "engine".to_owned(),
            status,
            detail,
            hint,
        });
        if let (true, Some(image)) = (works, &settings.container_image) {
            let question = engine.words([
                "image",
                "inspect",
                "--format={{.Os}}/{{.Architecture}}",
                image,
            ]);
            let answer = connection.run(&Cmd::new(question).timeout(LIMIT)).await;
            let (status, detail, hint) = match answer {
                Ok(finished) if finished.status == 0 => (
                    CheckStatus::Ok,
                    format!(
                        "{image} ({})",
                        String::from_utf8_lossy(&finished.stdout).trim()
                    ),
                    None,
                ),
                Ok(_) => (
                    CheckStatus::Warning,
                    format!("{image} is not on {place}"),
                    Some("it is pulled with the first job, unless `pull` is \"never\"".to_owned()),
                ),
                Err(error) => (CheckStatus::Failed, error.to_string(), None),
            };
            checks.push(Check {
                name: "image".to_owned(),
                status,
                detail,
                hint,
            });
        }
    }
    checks
}
