//! `mizzen executors`: the places where jobs can run.

use std::collections::BTreeMap;

use clap::Args;
use mizzen_core::config::{self, Layer};
use mizzen_core::executor;
use serde_json::Value;

use crate::complete;
use crate::render::documents::{ConfiguredExecutor, ExecutorsDocument, KindDocument, Layout, json};
use crate::render::table::{Cell, Column, Table};
use crate::render::{Outcome, Show, View, style};
use crate::report::Report;
use crate::surroundings::Surroundings;
use mizzen_core::submit::surrounding_layers;

/// Lists the places where jobs can run: the kinds there are, and the configured ones
#[derive(Debug, Args)]
pub(crate) struct ExecutorsArgs {
    /// A configured executor or a kind: show its settings
    #[arg(value_name = "NAME", add = complete::executors())]
    name: Option<String>,
    /// Print JSON (schema: `mizzen schema executors`)
    #[arg(long)]
    json: bool,
}

/// Lists executors, or shows one.
///
/// # Errors
/// A configuration file is wrong, or there is no such executor.
pub(crate) fn run(args: ExecutorsArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let mut document = configured(surroundings)?;
    let Some(name) = args.name else {
        return Ok(Outcome::show(Places(document), args.json));
    };
    document.configured.retain(|executor| executor.name == name);
    let kind = document
        .configured
        .first()
        .map_or(name.clone(), |executor| executor.kind.clone());
    document.kinds.retain(|entry| entry.kind == kind);
    if document.kinds.is_empty() {
        return Err(Report::usage(format!("there is no executor `{name}`"))
            .hint("`mizzen executors` lists them; executors.toml in mizzen's home and mizzen.toml configure more"));
    }
    Ok(Outcome::show(Place { name, document }, args.json))
}

/// All kinds and all configured executors.
///
/// # Errors
/// A configuration file is wrong.
pub(crate) fn configured(surroundings: &Surroundings) -> Result<ExecutorsDocument, Report> {
    let context = &surroundings.context;
    let layers = surrounding_layers(&context.home, &context.workdir)
        .map_err(|error| Report::usage(error.to_string()))?;
    let environment = |name: &str| context.variable(name).map(str::to_owned);
    let loaded = config::load(&layers, &[], &environment, &executor::vocabulary())
        .map_err(|failure| Report::rendered(failure.render(surroundings.output.talk.color)))?;
    let origins = origins(&layers);
    let configured = loaded
        .spec
        .executors
        .into_iter()
        .map(|(name, spec)| ConfiguredExecutor {
            origin: origins
                .get(&name)
                .cloned()
                .unwrap_or_else(|| "built-in".to_owned()),
            kind: spec.kind,
            settings: Value::Object(spec.settings),
            name,
        });
    let kinds = executor::registry().iter().map(|entry| KindDocument {
        kind: entry.kind.to_owned(),
        summary: entry.summary.to_owned(),
        settings: (entry.schema)(),
    });
    Ok(ExecutorsDocument {
        kinds: kinds.collect(),
        configured: configured.collect(),
    })
}

/// The file that has the last word about each executor.
fn origins(layers: &[Layer]) -> BTreeMap<String, String> {
    let mut origins = BTreeMap::new();
    for layer in layers {
        let Ok(document) = layer.text.parse::<toml::Table>() else {
            continue;
        };
        let executors = document.get("executors").and_then(toml::Value::as_table);
        for name in executors.into_iter().flat_map(|table| table.keys()) {
            origins.insert(name.clone(), layer.name.clone());
        }
    }
    origins
}

struct Places(ExecutorsDocument);

impl Show for Places {
    fn text(&self, view: &View) -> String {
        let mut configured = Table::new([
            Column::new("EXECUTOR"),
            Column::new("KIND"),
            Column::new("SETTINGS").may_be_cut(),
            Column::new("FROM").may_be_cut(),
        ]);
        for executor in &self.0.configured {
            configured.row([
                Cell::styled(&executor.name, style::STRONG),
                executor.kind.as_str().into(),
                settings(&executor.settings).into(),
                executor.origin.as_str().into(),
            ]);
        }
        let mut kinds = Table::new([Column::new("KIND"), Column::new("WHAT IT IS").may_be_cut()]);
        for entry in &self.0.kinds {
            kinds.row([entry.kind.as_str().into(), entry.summary.as_str().into()]);
        }
        format!(
            "{}\n{}",
            configured.render(&view.page),
            kinds.render(&view.page)
        )
    }

    fn json(&self, layout: Layout) -> String {
        json(layout, &self.0)
    }
}

/// `nodes=2 partition="a100"`.
fn settings(settings: &Value) -> String {
    let Value::Object(settings) = settings else {
        return String::new();
    };
    settings
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(" ")
}

struct Place {
    name: String,
    document: ExecutorsDocument,
}

impl Show for Place {
    fn text(&self, view: &View) -> String {
        let page = &view.page;
        let mut text = String::new();
        for executor in &self.document.configured {
            text.push_str(&format!(
                "{}  {}, from {}\n",
                page.paint(style::STRONG, &executor.name),
                executor.kind,
                executor.origin
            ));
            for (name, value) in executor.settings.as_object().into_iter().flatten() {
                text.push_str(&format!("  {name} = {value}\n"));
            }
        }
        for entry in &self.document.kinds {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&format!("kind = \"{}\": {}\n\n", entry.kind, entry.summary));
            let mut table = Table::new([
                Column::new("SETTING"),
                Column::new("TYPE").may_be_cut(),
                Column::new("DEFAULT").may_be_cut(),
                Column::new("MEANING").may_be_cut(),
            ]);
            let properties = entry.settings.get("properties").and_then(Value::as_object);
            for (name, schema) in properties.into_iter().flatten() {
                table.row([
                    Cell::styled(name, style::STRONG),
                    type_words(schema).into(),
                    schema
                        .get("default")
                        .filter(|value| !value.is_null())
                        .map_or(String::new(), Value::to_string)
                        .into(),
                    schema
                        .get("description")
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                        .replace('\n', " ")
                        .into(),
                ]);
            }
            text.push_str(&table.render(page));
        }
        let _ = &self.name;
        text
    }

    fn json(&self, layout: Layout) -> String {
        json(layout, &self.document)
    }
}

/// `integer`, `string or table`, `one of a, b`.
fn type_words(schema: &Value) -> String {
    let word = |value: &Value| match value.as_str() {
        Some("object") => Some("table".to_owned()),
        Some("array") => Some("list".to_owned()),
        Some("null") | None => None,
        Some(word) => Some(word.to_owned()),
    };
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let words: Vec<String> = words
            .iter()
            .filter_map(|word| word.as_str().map(str::to_owned))
            .collect();
        return format!("one of {}", words.join(", "));
    }
    match schema.get("type") {
        Some(Value::Array(types)) => types
            .iter()
            .filter_map(word)
            .collect::<Vec<_>>()
            .join(" or "),
        Some(one) => word(one).unwrap_or_default(),
        None => {
            let any = schema
                .get("anyOf")
                .or_else(|| schema.get("oneOf"))
                .and_then(Value::as_array);
            let mut words: Vec<String> = any
                .into_iter()
                .flatten()
                .map(type_words)
                .filter(|word| !word.is_empty())
                .collect();
            words.dedup();
            words.join(" or ")
        }
    }
}
