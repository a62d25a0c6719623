//! `extends`: executors built on others.
//!
//! ```text
//! executors.big { extends = "gpu", nodes = 8 } ──→ gpu's settings, deep-merged under big's own ──→ no `extends` left
//! ```
//!
//! It happens on the tree, before the schema is looked at: what a kind requires may come from below. Inline executors may extend
//! named ones. An executor whose chain is broken is set to null, so that its other errors are not reported for nothing.

use std::collections::{HashMap, HashSet};

use super::diagnostic::{Diagnostic, Span, quote, suggestion};
use super::document::{Entry, Node, Table, Value};
use super::layers::merge;

/// The longest chain of executors.
const CHAIN_LIMIT: usize = 32;

/// Resolves every `extends`. Returns the errors and the names of the executors that could not be resolved.
pub(super) fn resolve(root: &mut Node) -> (Vec<Diagnostic>, HashSet<String>) {
    let mut errors = Vec::new();
    let mut broken = HashSet::new();
    let mut resolved: HashMap<String, Node> = HashMap::new();
    let empty = Table::default();
    let named = root
        .get("executors")
        .and_then(Node::table)
        .unwrap_or(&empty);
    for entry in named.iter() {
        match resolve_one(Some(entry), &entry.node, named) {
            Ok(None) => {}
            Ok(Some(node)) => {
                resolved.insert(entry.key.clone(), node);
            }
            Err(error) => {
                errors.push(*error);
                broken.insert(entry.key.clone());
            }
        }
    }
    let mut inline: Vec<Result<Option<Node>, Box<Diagnostic>>> = Vec::new();
    for node in inline_executors(root) {
        inline.push(resolve_one(None, node, named));
    }
    let mut inline = inline.into_iter();
    for node in inline_executors_mut(root) {
        match inline.next() {
            Some(Ok(Some(new))) => *node = new,
            Some(Err(error)) => {
                errors.push(*error);
                node.value = Value::Null;
            }
            _ => {}
        }
    }
    if let Some(named) = root
        .table_mut()
        .and_then(|table| table.get_mut("executors"))
        .and_then(Node::table_mut)
    {
        for (name, node) in resolved {
            if let Some(slot) = named.get_mut(&name) {
                *slot = node;
            }
        }
        for name in &broken {
            if let Some(slot) = named.get_mut(name) {
                slot.value = Value::Null;
            }
        }
    }
    (errors, broken)
}

fn holders(root: &Node) -> impl Iterator<Item = &Node> {
    root.get("defaults")
        .into_iter()
        .chain(root.get("tasks").and_then(Node::list).into_iter().flatten())
}

fn inline_executors(root: &Node) -> impl Iterator<Item = &Node> {
    holders(root)
        .filter_map(|holder| holder.get("executor"))
        .filter(|node| node.table().is_some())
}

fn inline_executors_mut(root: &mut Node) -> impl Iterator<Item = &mut Node> {
    let mut defaults = None;
    let mut tasks = None;
    if let Some(table) = root.table_mut() {
        for (key, node) in table.pairs_mut() {
            match key {
                "defaults" => defaults = Some(node),
                "tasks" => tasks = Some(node),
                _ => {}
            }
        }
    }
    let tasks = tasks.and_then(|node| {
        if let Value::List(list) = &mut node.value {
            Some(list)
        } else {
            None
        }
    });
    defaults
        .into_iter()
        .chain(tasks.into_iter().flatten())
        .filter_map(|holder| holder.table_mut()?.get_mut("executor"))
        .filter(|node| node.table().is_some())
}

/// The executor with everything that it builds on; `None` if it builds on nothing.
fn resolve_one(
    start: Option<&Entry>,
    node: &Node,
    named: &Table,
) -> Result<Option<Node>, Box<Diagnostic>> {
    let Some(mut extends) = node.get("extends") else {
        return Ok(None);
    };
    let mut path: Vec<&str> = start.map(|entry| entry.key.as_str()).into_iter().collect();
    let mut chain: Vec<&Node> = vec![node];
    loop {
        let Some(base) = extends.string() else {
            return Err(Box::new(Diagnostic::at(
                extends.span,
                format!("expected an executor's name, found {}", extends.described()),
                "",
            )));
        };
        if path.contains(&base) {
            return Err(circle(&path, base, named, extends.span));
        }
        let Some(entry) = named
            .entry(base)
            .filter(|entry| !matches!(entry.node.value, Value::Null))
        else {
            let known: Vec<&str> = named.keys().collect();
            return Err(Box::new(Diagnostic::at(
                extends.span,
                format!("unknown executor {}", quote(base)),
                suggestion(base, &known, "known are"),
            )));
        };
        path.push(base);
        chain.push(&entry.node);
        if chain.len() > CHAIN_LIMIT {
            return Err(Box::new(Diagnostic::at(
                node.get("extends").map_or(node.span, |node| node.span),
                format!("the executor builds on more than {CHAIN_LIMIT} others"),
                "",
            )));
        }
        match entry.node.get("extends") {
            Some(next) => extends = next,
            None => break,
        }
    }
    let mut merged = Node::empty_table(node.span);
    let mut kind: Option<(&str, Span)> = None;
    for part in chain.into_iter().rev() {
        if let Some(own) = part.get("kind")
            && let Some(text) = own.string()
        {
            if let Some((below, below_span)) = kind
                && below != text
            {
                let error = Diagnostic::at(
                    own.span,
                    format!(
                        "an executor of kind {} cannot extend one of kind {}",
                        quote(text),
                        quote(below)
                    ),
                    "",
                )
                .with_label(below_span, "the kind that is extended");
                return Err(Box::new(error));
            }
            kind = Some((text, own.span));
        }
        merge(&mut merged, part.clone());
    }
    if let Some(table) = merged.table_mut() {
        table.remove("extends");
    }
    merged.span = node.span;
    Ok(Some(merged))
}

/// The error for a circle: the same for all executors that run into it, so that it is reported once.
fn circle(path: &[&str], closing: &str, named: &Table, span: Span) -> Box<Diagnostic> {
    let begin = path.iter().position(|name| *name == closing).unwrap_or(0);
    let mut names = path[begin..].to_vec();
    let smallest = (0..names.len()).min_by_key(|at| names[*at]).unwrap_or(0);
    names.rotate_left(smallest);
    let span = names
        .first()
        .and_then(|name| named.get(name)?.get("extends"))
        .map_or(span, |node| node.span);
    names.extend(names.first().copied());
    Box::new(Diagnostic::at(
        span,
        format!(
            "executors extend each other in a circle: {}",
            arrows(&names)
        ),
        "",
    ))
}

/// `` `a` → `b` → `a` ``
pub(super) fn arrows(path: &[&str]) -> String {
    path.iter()
        .map(|name| quote(name))
        .collect::<Vec<_>>()
        .join(" → ")
}
