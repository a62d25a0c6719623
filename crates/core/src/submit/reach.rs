//! Logs in to the places that an experiment needs, before anything of it is created.
//!
//! This is where a second factor is asked for, once: supervisors and everything else that runs by itself use what is open
//! and ask nobody.

use super::SubmitError;
use crate::context::Context;
use crate::executor;
use crate::plan::Plan;
use crate::tunnel::{Login, TunnelSettings};

/// Opens a connection to every place of the plan, as far as `login` allows. Blocks. `say` gets what ssh says while it asks.
///
/// # Errors
/// An executor can't be made, or a place can't be reached or does not let us in.
pub fn reach(
    context: &Context,
    plan: &Plan,
    login: Login,
    say: &(dyn Fn(&[u8]) + Sync),
) -> Result<(), SubmitError> {
    let mut tunnels: Vec<TunnelSettings> = Vec::new();
    for (name, config) in &plan.executors {
        for tunnel in executor::build(name, config)?.tunnels() {
            if !tunnels.contains(tunnel) {
                tunnels.push(tunnel.clone());
            }
        }
    }
    if tunnels.is_empty() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SubmitError::Files)?;
    runtime.block_on(async {
        for tunnel in tunnels {
            tunnel.login(context, login, say).await?;
        }
        Ok(())
    })
}
