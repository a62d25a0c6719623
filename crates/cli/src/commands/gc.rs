//! `mizzen gc`: gives back what kept code takes up.

use std::time::Duration;

use clap::Args;
use mizzen_core::config::duration::Timespan;
use mizzen_core::executor;
use mizzen_core::plan::ExecutorConfig;
use mizzen_core::submit;

use crate::commands::executors;
use crate::complete;
use crate::reach::login;
use crate::render::documents::{GcDocument, GcItem, GcPlace, Layout, json};
use crate::render::text::{bytes, count};
use crate::render::{Outcome, Show, View};
use crate::report::Report;
use crate::select;
use crate::surroundings::Surroundings;

/// Removes kept code that no experiment needs any more
///
/// The code of every experiment that `mizzen ls` lists is kept, so that `mizzen repro` can run it again; `mizzen rm` lets go of
/// it. At other places (`-e`) only what nobody has used for a while is removed.
#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Clean up at this executor's place as well
    #[arg(short, long = "executor", value_name = "NAME", add = complete::executors())]
    executors: Vec<String>,
    /// At other places, leave what was used since this long ago
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = age)]
    older_than: Duration,
    /// Remove nothing: say what would be removed
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print JSON (schema: `mizzen schema gc`)
    #[arg(long)]
    json: bool,
}

fn age(text: &str) -> Result<Duration, String> {
    Timespan::parse(text)
        .map(|span| span.duration())
        .map_err(|error| error.to_string())
}

/// Removes what no experiment needs.
///
/// # Errors
/// There is no such executor, its place can't be reached, or something can't be removed.
pub(crate) fn run(args: GcArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let (context, output) = (&surroundings.context, &surroundings.output);
    let store = select::open(surroundings)?;
    let configured = match args.executors.is_empty() {
        true => Vec::new(),
        false => executors::configured(surroundings)?.configured,
    };
    let mut places = Vec::new();
    for name in &args.executors {
        let found = configured
            .iter()
            .find(|executor| executor.name == *name)
            .ok_or_else(|| {
                Report::usage(format!("there is no executor `{name}`"))
                    .hint("`mizzen executors` lists them")
            })?;
        let config = ExecutorConfig {
            kind: found.kind.clone(),
            settings: found.settings.as_object().cloned().unwrap_or_default(),
        };
        let executor =
            executor::build(name, &config).map_err(|error| Report::usage(error.to_string()))?;
        places.push((name, executor));
    }
    let freed = submit::collect(context, &store, args.dry_run)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Report::usage(format!("can't begin: {error}")))?;
    let mut there = Vec::new();
    for (name, executor) in places {
        for tunnel in executor.tunnels() {
            let relay = |words: &[u8]| output.relay(words);
            runtime
                .block_on(tunnel.login(context, login(output), &relay))
                .map_err(crate::reach::report)?;
        }
        let collect =
            submit::collect_at(context, &store, &*executor, args.older_than, args.dry_run);
        match runtime.block_on(collect)? {
            Some(trees) => there.push(GcPlace {
                executor: name.clone(),
                trees: trees.iter().map(ToString::to_string).collect(),
            }),
            None => output.say(&format!("{name} keeps its code in our own home")),
        }
    }
    let document = GcDocument {
        dry_run: args.dry_run,
        trees: freed.trees,
        packs: freed.packs,
        bytes: freed.bytes,
        items: freed
            .items
            .iter()
            .map(|(path, size)| GcItem {
                path: path.to_string(),
                bytes: *size,
            })
            .collect(),
        places: there,
    };
    Ok(Outcome::show(Collected(document), args.json))
}

struct Collected(GcDocument);

impl Show for Collected {
    fn text(&self, _: &View) -> String {
        let Collected(document) = self;
        let mut text = String::new();
        if document.dry_run {
            for item in &document.items {
                text.push_str(&format!("{}  {}\n", item.path, bytes(item.bytes)));
            }
        }
        let verb = if document.dry_run {
            "would be removed"
        } else {
            "removed"
        };
        text.push_str(&match document.items.len() {
            0 => "nothing to remove here: all kept code belongs to an experiment\n".to_owned(),
            items => format!(
                "{}, {} {verb}\n",
                count(items, "item"),
                bytes(document.bytes)
            ),
        });
        for place in &document.places {
            text.push_str(&format!(
                "{}: {} {verb}\n",
                place.executor,
                count(place.trees.len(), "tree")
            ));
        }
        text
    }

    fn json(&self, layout: Layout) -> String {
        json(layout, &self.0)
    }
}
