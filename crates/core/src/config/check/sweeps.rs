//! Whether a sweep gives jobs, each once, and not too many.
//!
//! Everything is counted without making the jobs: a grid has duplicates exactly if one of its lists has, a zip if a row comes again.

use std::collections::HashMap;

use super::super::diagnostic::{Diagnostic, Span, did_you_mean, list_names, quote};
use super::super::document::{Entry, Node, Table, Value};
use super::super::interpolate::is_identifier;
use super::super::sweep::{JOB_LIMIT, RESERVED};
use super::Checker;

/// The variables with their lists, in the two ways to combine them.
struct Lists<'a> {
    grid: Vec<&'a Entry>,
    zip: Vec<&'a Entry>,
}

fn lists(table: &Table) -> Lists<'_> {
    let part = |key: &str| {
        table
            .get(key)
            .and_then(Node::table)
            .into_iter()
            .flat_map(Table::iter)
            .collect::<Vec<_>>()
    };
    let mut lists = Lists {
        grid: part("grid"),
        zip: part("zip"),
    };
    lists.grid.extend(
        table
            .iter()
            .filter(|entry| !matches!(entry.key.as_str(), "grid" | "zip")),
    );
    lists
}

/// The names of a sweep's variables.
pub(super) fn variables(sweep: &Node) -> Vec<&str> {
    match &sweep.value {
        Value::Table(table) => {
            let lists = lists(table);
            lists
                .grid
                .into_iter()
                .chain(lists.zip)
                .map(|entry| entry.key.as_str())
                .collect()
        }
        Value::List(jobs) => jobs
            .first()
            .and_then(Node::table)
            .into_iter()
            .flat_map(Table::keys)
            .collect(),
        _ => Vec::new(),
    }
}

/// How many jobs a sweep gives; `None` when that cannot be told.
pub(super) fn count(sweep: &Node) -> Option<usize> {
    match &sweep.value {
        Value::List(jobs) => Some(jobs.len()),
        Value::Table(table) => {
            let lists = lists(table);
            let length = |entry: &Entry| entry.node.list().map(<[Node]>::len);
            let zipped = match lists.zip.first() {
                Some(entry) => length(entry)?,
                None => 1,
            };
            lists.grid.into_iter().try_fold(zipped, |product, entry| {
                Some(product.saturating_mul(length(entry)?))
            })
        }
        _ => None,
    }
}

/// Equal for equal values, whatever their notation.
fn identity(node: &Node) -> String {
    match &node.value {
        Value::Number(number) => format!("n{}", number.value),
        Value::String(text) => format!("s{text}"),
        Value::Boolean(value) => format!("b{value}"),
        // `{ number = "1e-3" }` is the number.
        Value::Table(table) => match table
            .get("number")
            .and_then(Node::string)
            .and_then(super::super::sweep::number_from_text)
        {
            Some(number) => format!("n{number}"),
            None => String::new(),
        },
        Value::Null | Value::List(_) => String::new(),
    }
}

/// The first two places that have the same key.
fn twice<K: std::hash::Hash + Eq>(keys: impl Iterator<Item = (K, Span)>) -> Option<(Span, Span)> {
    let mut seen = HashMap::new();
    for (key, span) in keys {
        if let Some(first) = seen.insert(key, span) {
            return Some((first, span));
        }
    }
    None
}

fn duplicate((first, again): (Span, Span), what: &str) -> Diagnostic {
    Diagnostic::at(
        again,
        format!("the sweep has {what} twice, which would be the same job twice"),
        "given again here",
    )
    .with_label(first, "first given here")
}

impl<'a> Checker<'a> {
    pub(super) fn sweep(&mut self, number: usize) {
        let Some(sweep) = self.tasks[number].sweep else {
            return;
        };
        let mut errors = Vec::new();
        match &sweep.value {
            Value::Table(table) => self.sweep_table(sweep, table, &mut errors),
            Value::List(jobs) => self.sweep_list(sweep, jobs, &mut errors),
            _ => {}
        }
        if let Some(jobs) = count(sweep).filter(|jobs| *jobs > JOB_LIMIT) {
            errors.push(Diagnostic::at(
                sweep.span,
                format!(
                    "the sweep gives {} jobs, and {JOB_LIMIT} are allowed",
                    if jobs == usize::MAX {
                        "uncountably many".to_owned()
                    } else {
                        jobs.to_string()
                    }
                ),
                "",
            ));
        }
        self.errors.extend(errors);
    }

    fn variable(&self, entry: &Entry, errors: &mut Vec<Diagnostic>) {
        let name = entry.key.as_str();
        if !is_identifier(name) {
            errors.push(Diagnostic::at(
                entry.key_span,
                format!("{} is not the name of a variable", quote(name)),
                "letters, digits and `_` are allowed, and no digit at the front",
            ));
        } else if RESERVED.contains(&name) {
            errors.push(Diagnostic::at(
                entry.key_span,
                format!("a variable cannot be named {}", quote(name)),
                "the name has a meaning of its own",
            ));
        } else if self
            .subject
            .vocabulary
            .macros
            .iter()
            .any(|known| known == name)
        {
            errors.push(Diagnostic::at(
                entry.key_span,
                format!("a variable cannot be named {}", quote(name)),
                "the executors have a macro of that name",
            ));
        }
    }

    fn sweep_table(&self, sweep: &Node, table: &Table, errors: &mut Vec<Diagnostic>) {
        let lists = lists(table);
        if lists.grid.is_empty() && lists.zip.is_empty() {
            let error = Diagnostic::at(sweep.span, "the sweep is empty", "");
            errors.push(error.with_hint("give it variables with lists of values, or leave it out"));
            return;
        }
        for entry in lists.grid.iter().chain(&lists.zip) {
            self.variable(entry, errors);
            if entry.node.list().is_some_and(<[Node]>::is_empty) {
                errors.push(Diagnostic::at(
                    entry.node.span,
                    format!(
                        "the variable {} has no values, so there would be no job",
                        quote(&entry.key)
                    ),
                    "",
                ));
            }
        }
        if table.get("grid").or_else(|| table.get("zip")).is_some()
            && let Some(entry) = table
                .iter()
                .find(|entry| !matches!(entry.key.as_str(), "grid" | "zip"))
        {
            let label = did_you_mean(&entry.key, ["grid", "zip"])
                .map(|close| format!("did you mean {}?", quote(close)))
                .unwrap_or_default();
            errors.push(
                Diagnostic::at(
                    entry.key_span,
                    format!(
                        "beside `grid` and `zip` there can be no variable {}",
                        quote(&entry.key)
                    ),
                    label,
                )
                .with_hint("put it into `grid`"),
            );
        }
        for zipped in &lists.zip {
            if let Some(entry) = lists.grid.iter().find(|entry| entry.key == zipped.key) {
                errors.push(
                    Diagnostic::at(
                        zipped.key_span,
                        format!(
                            "the variable {} is in `grid` and in `zip`",
                            quote(&zipped.key)
                        ),
                        "",
                    )
                    .with_label(entry.key_span, "also here"),
                );
            }
        }
        for entry in &lists.grid {
            let values = entry.node.list().unwrap_or_default();
            errors.extend(
                twice(values.iter().map(|node| (identity(node), node.span)))
                    .map(|places| duplicate(places, &format!("a value of {}", quote(&entry.key)))),
            );
        }
        self.zip(&lists.zip, errors);
    }

    fn zip(&self, zip: &[&Entry], errors: &mut Vec<Diagnostic>) {
        let Some((first, rest)) = zip.split_first() else {
            return;
        };
        let columns: Vec<&[Node]> = zip.iter().filter_map(|entry| entry.node.list()).collect();
        if columns.len() < zip.len() {
            return;
        }
        let length = columns[0].len();
        let values = |count: usize| {
            if count == 1 {
                "1 value".to_owned()
            } else {
                format!("{count} values")
            }
        };
        if let Some((column, entry)) = columns[1..]
            .iter()
            .zip(rest)
            .find(|(column, _)| column.len() != length)
        {
            let error = Diagnostic::at(
                entry.node.span,
                "the lists of a `zip` must be equally long",
                values(column.len()),
            );
            errors.push(error.with_label(first.node.span, values(length)));
            return;
        }
        let row = |at: usize| {
            columns
                .iter()
                .map(|column| identity(&column[at]))
                .collect::<Vec<_>>()
        };
        errors.extend(
            twice((0..length).map(|at| (row(at), columns[0][at].span)))
                .map(|places| duplicate(places, "a combination of the `zip`")),
        );
    }

    fn sweep_list(&self, sweep: &Node, jobs: &[Node], errors: &mut Vec<Diagnostic>) {
        let Some((first, rest)) = jobs.split_first() else {
            errors.push(
                Diagnostic::at(sweep.span, "the sweep is empty", "")
                    .with_hint("give it tables of variables, or leave it out"),
            );
            return;
        };
        let Some(table) = first.table() else { return };
        if table.is_empty() {
            errors.push(Diagnostic::at(first.span, "the combination is empty", ""));
            return;
        }
        table.iter().for_each(|entry| self.variable(entry, errors));
        for job in rest {
            let Some(other) = job.table() else { return };
            let missing: Vec<&str> = table
                .keys()
                .filter(|key| other.get(key).is_none())
                .collect();
            let extra: Vec<&str> = other
                .keys()
                .filter(|key| table.get(key).is_none())
                .collect();
            if missing.is_empty() && extra.is_empty() {
                continue;
            }
            let label = match (missing.as_slice(), extra.as_slice()) {
                ([], extra) => format!(
                    "this one also has {}",
                    list_names(extra.iter().copied(), "and")
                ),
                (missing, _) => format!(
                    "this one lacks {}",
                    list_names(missing.iter().copied(), "and")
                ),
            };
            errors.push(
                Diagnostic::at(
                    job.span,
                    "all combinations of a sweep have the same variables",
                    label,
                )
                .with_label(first.span, "the first one"),
            );
            return;
        }
        let row = |job: &Node| {
            let mut row: Vec<(String, String)> = job
                .table()
                .into_iter()
                .flat_map(Table::iter)
                .map(|entry| (entry.key.clone(), identity(&entry.node)))
                .collect();
            row.sort();
            row
        };
        errors.extend(
            twice(jobs.iter().map(|job| (row(job), job.span)))
                .map(|places| duplicate(places, "a combination")),
        );
    }
}
