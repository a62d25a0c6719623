//! `mizzen rm`: forgets experiments and deletes their folders.

use std::io::{BufRead, IsTerminal};

use clap::Args;
use mizzen_core::model::CancelMode;
use mizzen_core::submit;
use mizzen_core::watch::ensure_supervised;

use crate::attach::{SUPERVISION_CHECK, wait_for_change};
use crate::complete;
use crate::render::documents::{Layout, RemovedDocument, json};
use crate::render::text::count;
use crate::render::{Outcome, Show, View};
use crate::report::{Report, Status};
use crate::select;
use crate::surroundings::Surroundings;

/// Removes experiments: their record, their logs and their folders
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// The experiments: ids, beginnings of ids, titles, or `latest`
    #[arg(value_name = "EXPERIMENT", required = true, add = complete::experiments())]
    experiments: Vec<String>,
    /// End them first if they still run
    #[arg(short, long)]
    force: bool,
    /// Don't ask
    #[arg(short, long)]
    yes: bool,
    /// Print what was removed as JSON (schema: `mizzen schema rm`)
    #[arg(long)]
    json: bool,
}

/// Removes experiments.
///
/// # Errors
/// There is no such experiment, it still runs, the user does not want it, or files can't be removed.
pub(crate) fn run(args: RmArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let mut store = select::open(surroundings)?;
    let mut ids = Vec::new();
    for text in &args.experiments {
        let id = select::experiment(&store, text)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    for id in &ids {
        let summary = store.summary(id)?;
        if !summary.is_over() && !args.force {
            return Err(Report::usage(format!(
                "{id} ({}) is {}; nothing was removed",
                summary.title, summary.state
            ))
            .hint(format!(
                "`mizzen cancel {id}` ends it; `mizzen rm --force {id}` does both"
            )));
        }
    }
    if !args.yes
        && !confirmed(
            &ids.iter().map(ToString::to_string).collect::<Vec<_>>(),
            surroundings,
        )?
    {
        surroundings.output.say("nothing was removed");
        return Ok(Outcome::done(Status::Failed));
    }
    for id in &ids {
        if args.force && !store.summary(id)?.is_over() {
            submit::cancel(
                &surroundings.context,
                &mut store,
                id,
                &[],
                CancelMode::Terminate,
            )?;
            let mut version = store.data_version()?;
            while !store.summary(id)?.is_over() {
                ensure_supervised(&surroundings.context, &store, id)?;
                wait_for_change(&store, &mut version, SUPERVISION_CHECK)?;
            }
        }
        submit::remove(&surroundings.context, &mut store, id)?;
    }
    surroundings
        .output
        .say(&format!("removed {}", count(ids.len(), "experiment")));
    let removed = Removed(RemovedDocument {
        removed: ids.iter().map(ToString::to_string).collect(),
    });
    Ok(Outcome::show(removed, args.json))
}

/// Asks on a terminal; elsewhere the command itself is the answer, as with rm(1).
fn confirmed(ids: &[String], surroundings: &Surroundings) -> Result<bool, Report> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() || !surroundings.output.talk.terminal {
        return Ok(true);
    }
    surroundings.output.complain(&format!(
        "remove {} with all logs and files? [y/N]",
        ids.join(", ")
    ));
    let mut answer = String::new();
    stdin
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Report::usage(format!("can't read the answer: {error}")))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

struct Removed(RemovedDocument);

impl Show for Removed {
    fn text(&self, _: &View) -> String {
        String::new()
    }

    fn json(&self, layout: Layout) -> String {
        json(layout, &self.0)
    }
}
