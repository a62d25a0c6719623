//! The round trip of `true` over a channel that is warm.
//!
//! Prints one JSON list: microseconds of each. Usage: `channel HOME SSH_CONFIG HOST JOB_DIR MIZZEN_AGENT COUNT`.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use camino::Utf8PathBuf;
use mizzen_core::context::{Agent, Context, RandomIds, SystemClock};
use mizzen_core::tunnel::{Cmd, Login, SshTunnel};

#[expect(
    clippy::disallowed_methods,
    reason = "a binary reads its own environment"
)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [home, config, host, job_dir, agent, count] = &words[..] else {
        return Err("usage: channel HOME SSH_CONFIG HOST JOB_DIR MIZZEN_AGENT COUNT".into());
    };
    let context = Context {
        home: home.into(),
        workdir: "/".into(),
        environment: Arc::new(std::env::vars().collect()),
        host: "here".to_owned(),
        user: "bench".to_owned(),
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
        program: "/nowhere/mizzen".into(),
        agent: Agent::File(agent.into()),
    };
    let settings = SshTunnel {
        ssh_config: Some(config.into()),
        job_dir: Some(Utf8PathBuf::from(job_dir)),
        ..SshTunnel::new(host.as_str())
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let times = runtime.block_on(async {
        let tunnel = settings.open(&context, Login::Silent);
        let command = Cmd::new(["true"]);
        if tunnel.agent().await?.is_none() {
            return Err("the agent does not run there".into());
        }
        let mut times = Vec::new();
        for _ in 0..count.parse::<usize>()? {
            let began = Instant::now();
            tunnel.run(&command).await?;
            times.push(began.elapsed().as_micros());
        }
        settings.close(&context).await?;
        Ok::<_, Box<dyn std::error::Error>>(times)
    })?;
    let line = serde_json::to_string(&times)?;
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
