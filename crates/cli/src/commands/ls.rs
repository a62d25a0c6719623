//! `mizzen ls`: experiments, newest first.

use clap::Args;
use mizzen_core::model::JobState;

use mizzen_core::store::{ExperimentSummary, Filter, Store};

use crate::complete;
use crate::render::documents::{Layout, ListDocument, ListedExperiment, json};
use crate::render::table::{Cell, Column, Table};
use crate::render::time::{ago, duration};
use crate::render::{Outcome, Show, View, style};
use crate::report::Report;
use crate::surroundings::Surroundings;

/// Lists experiments, newest first
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Only those with this title
    #[arg(short, long)]
    title: Option<String>,
    /// Only those in this state, such as running or failed
    #[arg(short, long, value_parser = state, add = complete::states())]
    state: Option<JobState>,
    /// At most so many; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// Print JSON (schema: `mizzen schema ls`)
    #[arg(long)]
    json: bool,
}

/// Reads a state's word, in any case.
fn state(text: &str) -> Result<JobState, String> {
    text.parse().map_err(|()| {
        let known: Vec<String> = JobState::ALL
            .iter()
            .map(|state| state.as_str().to_lowercase())
            .collect();
        format!("there is no such state; there are: {}", known.join(", "))
    })
}

/// Lists experiments.
///
/// # Errors
/// The store can't be read.
pub(crate) fn run(args: LsArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let filter = Filter {
        title: args.title,
        state: args.state,
        limit: (args.limit > 0).then_some(args.limit),
    };
    let Some(store) = Store::open_existing(&surroundings.context.home)? else {
        return Ok(Outcome::show(List(Vec::new()), args.json));
    };
    let experiments = store.experiments(&filter)?;
    if !args.json && Some(experiments.len()) == filter.limit.map(|limit| limit as usize) {
        surroundings.output.hint(&format!(
            "only the newest {} are shown; `-n 0` shows all",
            args.limit
        ));
    }
    Ok(Outcome::show(List(experiments), args.json))
}

struct List(Vec<ExperimentSummary>);

impl Show for List {
    fn text(&self, view: &View) -> String {
        let mut table = Table::new([
            Column::new("ID"),
            Column::new("TITLE").may_be_cut(),
            Column::new("STATE"),
            Column::new("JOBS").right(),
            Column::new("CREATED"),
            Column::new("DURATION").right(),
        ]);
        for experiment in &self.0 {
            let ended: u32 = JobState::ALL
                .iter()
                .filter(|state| state.is_final())
                .map(|state| experiment.counts.of(*state))
                .sum();
            let lasted = experiment
                .ended
                .unwrap_or(view.now)
                .seconds_since(experiment.created);
            table.row([
                Cell::from(experiment.id.as_str()),
                experiment.title.as_str().into(),
                Cell::styled(experiment.state.as_str(), style::state(experiment.state)),
                format!("{ended}/{}", experiment.counts.total()).into(),
                ago(experiment.created, view.now).into(),
                if experiment.state == JobState::Unknown && experiment.is_over() {
                    // Nobody saw its end.
                    String::new().into()
                } else {
                    duration(lasted).into()
                },
            ]);
        }
        table.render(&view.page)
    }

    fn json(&self, layout: Layout) -> String {
        json(
            layout,
            &ListDocument(self.0.iter().map(ListedExperiment::of).collect()),
        )
    }
}
