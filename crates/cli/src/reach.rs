//! Logs in to the places that an experiment needs, before anything of it is created.

use std::io::IsTerminal;

use mizzen_core::plan::Plan;
use mizzen_core::submit;
use mizzen_core::tunnel::{Login, TunnelError};

use crate::output::Output;
use crate::report::{Report, Status};
use crate::surroundings::Surroundings;

/// How a login may be done here: ssh may ask where somebody can answer.
pub(crate) fn login(output: &Output) -> Login {
    if std::io::stdin().is_terminal() && output.talk.terminal {
        Login::Terminal
    } else {
        Login::Silent
    }
}

/// A tunnel's error with what to do, and the exit status that it stands for.
pub(crate) fn report(error: TunnelError) -> Report {
    let report = Report::usage(error.to_string()).with_status(exit_status(&error));
    match error.hint() {
        Some(hint) => report.hint(hint),
        None => report,
    }
}

/// The exit status that a tunnel's error stands for.
pub(crate) fn exit_status(error: &TunnelError) -> Status {
    match error {
        TunnelError::Configuration { .. } | TunnelError::Unsendable(_) | TunnelError::Here(_) => {
            Status::Usage
        }
        TunnelError::Failed { .. } | TunnelError::PreCommand { .. } => Status::Failed,
        _ => Status::Unreachable,
    }
}

/// Opens a connection to every place of the plan.
///
/// # Errors
/// An executor can't be made, or a place can't be reached or does not let us in.
pub(crate) fn reach(surroundings: &Surroundings, plan: &Plan) -> Result<(), Report> {
    let output = &surroundings.output;
    submit::reach(&surroundings.context, plan, login(output), &|words| {
        output.relay(words);
    })
    .map_err(Report::from)
}
