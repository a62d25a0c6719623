//! `launchers`: launchers of the document's own, by name.
//!
//! ```text
//! launchers.numa { command = ["numactl", "--"] }          task { launcher = "numa" }  ──→ { kind = "command", command = … }
//! launchers.big  { kind = "torchrun", max_restarts = 3 }  task { launcher = { kind = "big", log_dir = "l" } }  ──→ both
//! ```
//!
//! It happens on the tree, after `extends` and before the schema is looked at: a name becomes the table that it stands for, wherever
//! a launcher may stand, and the settings beside it win.

use super::diagnostic::{Diagnostic, quote};
use super::document::{Entry, Node, Table, Value};
use super::layers::merge;

/// The kind of a launcher that names none.
const COMMAND: &str = "command";
/// The longest chain of launchers.
const CHAIN_LIMIT: usize = 32;

/// Resolves every name of a launcher of the document's own. `known`: the launchers that there are without it.
pub(super) fn resolve(root: &mut Node, known: &[String]) -> Vec<Diagnostic> {
    let Some(named) = root.get("launchers").and_then(Node::table).cloned() else {
        return Vec::new();
    };
    let mut errors = Vec::new();
    for entry in named.iter() {
        if known.contains(&entry.key) {
            errors.push(Diagnostic::at(
                entry.key_span,
                format!("{} is a launcher already", quote(&entry.key)),
                "give yours another name",
            ));
        }
        let mut node = entry.node.clone();
        if !settle(&mut node, &named) {
            errors.push(Diagnostic::at(
                entry.key_span,
                format!("the launcher {} is built on itself", quote(&entry.key)),
                "",
            ));
        }
    }
    if !errors.is_empty() {
        return errors;
    }
    let Some(table) = root.table_mut() else {
        return errors;
    };
    for (key, node) in table.pairs_mut() {
        match (key, &mut node.value) {
            ("defaults", _) => holder(node, &named),
            ("tasks", Value::List(list)) => list.iter_mut().for_each(|node| holder(node, &named)),
            ("executors", Value::Table(executors)) => {
                for (_, executor) in executors.pairs_mut() {
                    launcher(executor, &named);
                }
            }
            ("launchers", Value::Table(launchers)) => {
                for (_, node) in launchers.pairs_mut() {
                    settle(node, &named);
                }
            }
            _ => {}
        }
    }
    errors
}

/// What has a launcher, and may have an executor with another one.
fn holder(node: &mut Node, named: &Table) {
    launcher(node, named);
    let executor = node.table_mut().and_then(|table| table.get_mut("executor"));
    if let Some(executor) = executor {
        launcher(executor, named);
    }
}

fn launcher(holder: &mut Node, named: &Table) {
    let Some(node) = holder
        .table_mut()
        .and_then(|table| table.get_mut("launcher"))
    else {
        return;
    };
    if let Some(name) = node.string() {
        if let Some(found) = named.get(name) {
            let span = node.span;
            *node = found.clone();
            node.span = span;
            settle(node, named);
        }
    } else {
        let kind = node.get("kind").and_then(Node::string);
        if kind.is_some_and(|kind| named.get(kind).is_some()) {
            settle(node, named);
        }
    }
}

/// A table with the settings of all launchers that it is built on. False if it is built on itself.
fn settle(node: &mut Node, named: &Table) -> bool {
    for _ in 0..CHAIN_LIMIT {
        let span = node.span;
        let Some(table) = node.table_mut() else {
            // The schema says what is wrong with it.
            return true;
        };
        let Some(kind) = table.get("kind").and_then(Node::string) else {
            if table.get("kind").is_none() {
                table.insert(Entry {
                    key: "kind".to_owned(),
                    key_span: span,
                    node: Node {
                        value: Value::String(COMMAND.to_owned()),
                        span,
                    },
                });
            }
            return true;
        };
        let Some(base) = named.get(kind) else {
            return true;
        };
        let mut whole = base.clone();
        table.remove("kind");
        let own = std::mem::replace(&mut node.value, Value::Null);
        merge(&mut whole, Node { value: own, span });
        whole.span = span;
        *node = whole;
    }
    false
}
