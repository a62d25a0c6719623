//! Layers of documents, merged in order.
//!
//! ```text
//! built-in ─ user (executors.toml) ─ project (mizzen.toml) ─ file ──→ merge ──→ one tree ── overrides ──→ …
//! ```
//!
//! Later layers win: tables merge key by key, scalars and lists replace, null takes a key away. A table that names another `kind`
//! replaces the earlier one as a whole, because settings of one kind mean nothing to another. Every node keeps the place it came from,
//! so provenance needs no book-keeping.

use std::fmt;

use super::diagnostic::Diagnostic;
use super::document::{Entry, Format, Node, Value};

/// Where a layer comes from; later ones win.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// What Mizzen brings along.
    BuiltIn,
    /// The user's `executors.toml`.
    User,
    /// The project's `mizzen.toml`.
    Project,
    /// The experiment file, or what stands for one.
    File,
    /// An environment variable.
    Environment,
    /// An option of the command line.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::BuiltIn => "built-in",
            Self::User => "user",
            Self::Project => "project",
            Self::File => "file",
            Self::Environment => "environment",
            Self::CommandLine => "command line",
        })
    }
}

/// A document that was handed in.
#[derive(Debug, Clone)]
pub struct Layer {
    /// What it is to the experiment.
    pub origin: Origin,
    /// Its path as users should see it.
    pub name: String,
    /// Its notation.
    pub format: Format,
    /// Its text.
    pub text: String,
}

/// The keys that belong to one experiment, not to a user or a project.
const EXPERIMENT_KEYS: [&str; 4] = ["title", "description", "tasks", "groups"];

/// Refuses an experiment's own keys in layers that hold for all experiments.
pub(super) fn check_scope(origin: Origin, root: &Node) -> Vec<Diagnostic> {
    if !matches!(origin, Origin::User | Origin::Project) {
        return Vec::new();
    }
    let misplaced = |entry: &&Entry| EXPERIMENT_KEYS.contains(&entry.key.as_str());
    root.table()
        .into_iter()
        .flat_map(|table| table.iter().filter(misplaced))
        .map(|entry| {
            Diagnostic::at(
                entry.key_span,
                format!("`{}` belongs in an experiment file", entry.key),
                format!("this file holds for every experiment of the {origin}"),
            )
        })
        .collect()
}

/// Lays `upper` over `lower`.
pub(super) fn merge(lower: &mut Node, upper: Node) {
    let span = upper.span;
    match (&mut lower.value, upper.value) {
        (Value::Table(below), Value::Table(above))
            if same_kind(below.get("kind"), above.get("kind")) =>
        {
            for entry in above.into_entries() {
                match below.get_mut(&entry.key) {
                    Some(node) => merge(node, entry.node),
                    None => {
                        below.insert(entry);
                    }
                }
            }
        }
        (value, above) => {
            *value = above;
            lower.span = span;
        }
    }
}

/// Whether two tables can be parts of one: at most one says its kind, or both say the same.
fn same_kind(below: Option<&Node>, above: Option<&Node>) -> bool {
    match (below.and_then(Node::string), above.and_then(Node::string)) {
        (Some(below), Some(above)) => below == above,
        _ => true,
    }
}
