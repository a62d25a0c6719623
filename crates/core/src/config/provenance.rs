//! Where each leaf of the document came from.
//!
//! ```text
//! Node tree (places) ── of() ──→ JSON pointer → Place { span } ── SourceMap ──→ origin, file, line
//! ```
//!
//! A leaf is a scalar, or an empty list or table. Pointers are RFC 6901's, into [`Loaded::document`](super::Loaded::document).

use std::collections::BTreeMap;

use super::diagnostic::{SourceMap, Span};
use super::document::{Node, Value};
use super::layers::Origin;

/// The places of a document's leaves, by JSON pointer.
#[derive(Debug, Clone, Default)]
pub struct Provenance {
    leaves: BTreeMap<String, Span>,
}

/// A leaf's place in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The layer.
    pub origin: Origin,
    /// The file as it was named, or `--set`.
    pub source: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl Provenance {
    pub(super) fn of(root: &Node) -> Self {
        let mut leaves = BTreeMap::new();
        collect(root, &mut String::new(), &mut leaves);
        Self { leaves }
    }

    /// The span of the leaf at that pointer.
    #[must_use]
    pub fn span(&self, pointer: &str) -> Option<Span> {
        self.leaves.get(pointer).copied()
    }

    /// The place of the leaf at that pointer, in words.
    #[must_use]
    pub fn place(&self, pointer: &str, sources: &SourceMap) -> Option<Place> {
        self.span(pointer).map(|span| place(span, sources))
    }

    /// All leaves, ordered by pointer.
    pub fn iter<'a>(&'a self, sources: &'a SourceMap) -> impl Iterator<Item = (&'a str, Place)> {
        self.leaves
            .iter()
            .map(|(pointer, span)| (pointer.as_str(), place(*span, sources)))
    }

    /// How many leaves there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leaves.len()
    }

    /// Whether the document is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }
}

fn place(span: Span, sources: &SourceMap) -> Place {
    let source = sources.get(span.source);
    let (line, column) = source.position(span.start);
    Place {
        origin: source.origin,
        source: source.name.clone(),
        line,
        column,
    }
}

fn collect(node: &Node, pointer: &mut String, leaves: &mut BTreeMap<String, Span>) {
    let length = pointer.len();
    match &node.value {
        Value::Table(table) if !table.is_empty() => {
            for entry in table.iter() {
                pointer.push('/');
                pointer.push_str(&entry.key.replace('~', "~0").replace('/', "~1"));
                collect(&entry.node, pointer, leaves);
                pointer.truncate(length);
            }
        }
        Value::List(list) if !list.is_empty() => {
            for (number, element) in list.iter().enumerate() {
                pointer.push_str(&format!("/{number}"));
                collect(element, pointer, leaves);
                pointer.truncate(length);
            }
        }
        Value::Null => {}
        _ => {
            leaves.insert(pointer.clone(), node.span);
        }
    }
}
