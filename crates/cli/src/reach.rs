//! Logs in to the places that an experiment needs, before anything of it is created.

use std::io::IsTerminal;

use camino::Utf8Path;
use mizzen_core::executor;
use mizzen_core::plan::Plan;
use mizzen_core::submit;
use mizzen_core::tunnel::{ConnectionState, Login, TunnelError, TunnelSettings, connection};
use mizzen_core::watch::{NotSent, not_sent};

use crate::output::Output;
use crate::render::time::duration;
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

/// Why jobs of the experiment in this folder wait to be handed to their places: a line for each executor.
pub(crate) fn not_sent_lines(dir: &Utf8Path, surroundings: &Surroundings) -> Vec<String> {
    let now = surroundings.now();
    let line = |entry: NotSent| {
        let since = duration(now.seconds_since(entry.since).max(0.0));
        let NotSent {
            executor, reason, ..
        } = entry;
        format!("not sent to {executor} for {since}, and tried again: {reason}")
    };
    not_sent(dir).into_iter().map(line).collect()
}

/// The connections that an experiment depends on, and what was last said of them.
///
/// A connection that is lost is no state of a job: it is told beside them.
#[derive(Debug)]
pub(crate) struct Connections {
    places: Vec<(TunnelSettings, bool)>,
}

impl Connections {
    /// Those of a plan's executors.
    pub(crate) fn of(plan: &Plan) -> Connections {
        let mut places: Vec<(TunnelSettings, bool)> = Vec::new();
        for (name, config) in &plan.executors {
            let Ok(executor) = executor::build(name, config) else {
                continue;
            };
            for tunnel in executor.tunnels() {
                if !places.iter().any(|(known, _)| known == tunnel) {
                    places.push((tunnel.clone(), false));
                }
            }
        }
        Connections { places }
    }

    /// What is new: a sentence for each connection that was lost, or is there again.
    pub(crate) fn news(&mut self, surroundings: &Surroundings) -> Vec<String> {
        let mut news = Vec::new();
        for (tunnel, told) in &mut self.places {
            let Some(fact) = connection(&surroundings.context, tunnel) else {
                continue;
            };
            let closed = fact.state == ConnectionState::Closed;
            if closed == *told {
                continue;
            }
            *told = closed;
            news.push(if closed {
                let since = duration(surroundings.now().seconds_since(fact.since).max(0.0));
                format!(
                    "not connected for {since}: {}; what runs there goes on, its state here is as old",
                    fact.words
                )
            } else {
                format!("connected to {} again", fact.place)
            });
        }
        news
    }
}
