//! One tree for TOML, YAML and JSON, in which every value and every key knows its place.
//!
//! ```text
//! text ──→ toml.rs  (DeTable)  ──┐
//! text ──→ yaml.rs  (events)   ──┼→ Node { Value, Span } ──→ layers, overrides, schema, check ──→ JSON
//! text ──→ json.rs  (AST)      ──┘
//! ```
//!
//! Numbers keep the text they were written with, so that `1e-3` is shown and passed on as `1e-3`. Duplicate keys, numbers that
//! do not fit, and nesting deeper than [`DEPTH_LIMIT`] are errors of the parser.
//!
//! To add a format: one file beside the three, a variant of [`Format`], a line in [`parse`].

mod json;
mod toml;
mod write;
mod yaml;

pub use write::{WriteError, write};

use std::collections::HashMap;

use super::diagnostic::{Diagnostic, SourceId, Span, quote};

pub(crate) use toml::parse_value as parse_toml_value;

/// How deeply values may nest, in every format.
pub const DEPTH_LIMIT: usize = 64;

/// The notation of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// TOML 1.0 and what the parser takes of 1.1.
    Toml,
    /// YAML 1.2, core schema, one document.
    Yaml,
    /// JSON as RFC 8259 has it: no comments, no trailing commas.
    Json,
}

impl Format {
    /// The format that a file's name tells: `.toml`, `.yaml`, `.yml`, `.json`, in any case.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        let (_, extension) = path.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "toml" => Some(Self::Toml),
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// A value and its place.
#[derive(Debug, Clone)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it stands.
    pub span: Span,
}

/// A value of any of the formats. TOML's dates and times are strings here.
#[derive(Debug, Clone)]
pub enum Value {
    /// YAML's and JSON's null: the key counts as not given.
    Null,
    /// True or false.
    Boolean(bool),
    /// A number with its text.
    Number(Number),
    /// A string, escapes resolved.
    String(String),
    /// A list.
    List(Vec<Node>),
    /// A table, in the order of the text.
    Table(Table),
}

/// A finite number and the text that it was written with.
#[derive(Debug, Clone)]
pub struct Number {
    /// As written, without underscores.
    pub text: String,
    /// What it means.
    pub value: serde_json::Number,
}

impl Number {
    /// A whole number.
    #[must_use]
    pub fn integer(value: i64) -> Self {
        Self {
            text: value.to_string(),
            value: value.into(),
        }
    }

    /// A finite floating-point number; `None` for infinities and NaN.
    #[must_use]
    pub fn float(value: f64) -> Option<Self> {
        serde_json::Number::from_f64(value).map(|number| Self {
            text: number.to_string(),
            value: number,
        })
    }

    /// Whether it was written as a whole number.
    #[must_use]
    pub fn is_integer(&self) -> bool {
        self.value.is_i64() || self.value.is_u64()
    }

    /// Whether the JSON number shows the same text.
    #[must_use]
    pub fn is_canonical(&self) -> bool {
        self.value.to_string() == self.text
    }

    /// Reads `digits` (sign allowed) in a radix, remembering `text`.
    fn from_radix(text: &str, digits: &str, radix: u32) -> Option<Self> {
        let value = i64::from_str_radix(digits, radix)
            .map(serde_json::Number::from)
            .or_else(|_| u64::from_str_radix(digits, radix).map(serde_json::Number::from))
            .ok()?;
        Some(Self {
            text: text.to_owned(),
            value,
        })
    }

    /// Reads a decimal float, remembering `text`; `None` when it is not finite.
    fn from_decimal(text: &str) -> Option<Self> {
        let value = serde_json::Number::from_f64(text.parse::<f64>().ok()?)?;
        Some(Self {
            text: text.to_owned(),
            value,
        })
    }
}

/// One key of a table with its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key, quotes removed.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub node: Node,
}

/// Keys and values in the order of the text, each key once.
#[derive(Debug, Clone, Default)]
pub struct Table {
    entries: Vec<Entry>,
    /// Built only for large tables: a short one is searched faster than hashed.
    index: HashMap<String, usize>,
}

/// From this many keys on a table keeps an index.
const INDEXED_FROM: usize = 16;

impl Table {
    fn position(&self, key: &str) -> Option<usize> {
        if self.index.is_empty() {
            self.entries.iter().position(|entry| entry.key == key)
        } else {
            self.index.get(key).copied()
        }
    }

    /// The entry of a key.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.position(key).map(|at| &self.entries[at])
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.position(key).map(|at| &mut self.entries[at].node)
    }

    /// Sets a key; an earlier entry keeps its position and is returned.
    pub fn insert(&mut self, entry: Entry) -> Option<Entry> {
        if let Some(at) = self.position(&entry.key) {
            return Some(std::mem::replace(&mut self.entries[at], entry));
        }
        if self.entries.len() >= INDEXED_FROM {
            if self.index.is_empty() {
                self.index = self
                    .entries
                    .iter()
                    .enumerate()
                    .map(|(at, known)| (known.key.clone(), at))
                    .collect();
            }
            self.index.insert(entry.key.clone(), self.entries.len());
        }
        self.entries.push(entry);
        None
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) -> Option<Entry> {
        let at = self.position(key)?;
        let removed = self.entries.remove(at);
        self.reindex();
        Some(removed)
    }

    /// Keeps the entries that a rule wants.
    pub fn retain(&mut self, rule: impl FnMut(&Entry) -> bool) {
        self.entries.retain(rule);
        self.reindex();
    }

    fn reindex(&mut self) {
        if !self.index.is_empty() {
            self.index = self
                .entries
                .iter()
                .enumerate()
                .map(|(at, known)| (known.key.clone(), at))
                .collect();
        }
    }

    /// The entries in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.entries.iter()
    }

    /// Keys and values in order, the values to be changed.
    pub fn pairs_mut(&mut self) -> impl Iterator<Item = (&str, &mut Node)> {
        self.entries
            .iter_mut()
            .map(|entry| (entry.key.as_str(), &mut entry.node))
    }

    /// The entries in order, given away.
    pub fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// The keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.key.as_str())
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Node {
    /// A value at a place.
    #[must_use]
    pub const fn new(value: Value, span: Span) -> Self {
        Self { value, span }
    }

    /// An empty table at a place.
    #[must_use]
    pub fn empty_table(span: Span) -> Self {
        Self::new(Value::Table(Table::default()), span)
    }

    /// The table, if it is one.
    #[must_use]
    pub fn table(&self) -> Option<&Table> {
        if let Value::Table(table) = &self.value {
            Some(table)
        } else {
            None
        }
    }

    /// The table, if it is one, to be changed.
    pub fn table_mut(&mut self) -> Option<&mut Table> {
        if let Value::Table(table) = &mut self.value {
            Some(table)
        } else {
            None
        }
    }

    /// The elements, if it is a list.
    #[must_use]
    pub fn list(&self) -> Option<&[Node]> {
        if let Value::List(list) = &self.value {
            Some(list)
        } else {
            None
        }
    }

    /// The text, if it is a string.
    #[must_use]
    pub fn string(&self) -> Option<&str> {
        if let Value::String(text) = &self.value {
            Some(text)
        } else {
            None
        }
    }

    /// The value of a key, if it is a table that has it with a value other than null.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.table()?
            .get(key)
            .filter(|node| !matches!(node.value, Value::Null))
    }

    /// The text of a string, a number or a boolean, as it would stand in an argument.
    #[must_use]
    pub fn scalar_text(&self) -> Option<String> {
        match &self.value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.text.clone()),
            Value::Boolean(value) => Some(value.to_string()),
            Value::Null | Value::List(_) | Value::Table(_) => None,
        }
    }

    /// What it is, in words: `a string`, `an integer`, `a list`.
    #[must_use]
    pub fn described(&self) -> &'static str {
        match &self.value {
            Value::Null => "null",
            Value::Boolean(_) => "a boolean",
            Value::Number(number) if number.is_integer() => "an integer",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// The same value as JSON. Keys with null are left out.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        self.converted(false)
    }

    /// The same value as JSON, keys with null included.
    #[must_use]
    pub fn to_json_with_nulls(&self) -> serde_json::Value {
        self.converted(true)
    }

    fn converted(&self, nulls: bool) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Boolean(value) => Json::Bool(*value),
            Value::Number(number) => Json::Number(number.value.clone()),
            Value::String(text) => Json::String(text.clone()),
            Value::List(list) => {
                Json::Array(list.iter().map(|node| node.converted(nulls)).collect())
            }
            Value::Table(table) => Json::Object(
                table
                    .iter()
                    .filter(|entry| nulls || !matches!(entry.node.value, Value::Null))
                    .map(|entry| (entry.key.clone(), entry.node.converted(nulls)))
                    .collect(),
            ),
        }
    }

    /// How deeply it nests: 1 for a scalar.
    #[must_use]
    pub fn depth(&self) -> usize {
        match &self.value {
            Value::List(list) => 1 + list.iter().map(Node::depth).max().unwrap_or(0),
            Value::Table(table) => {
                1 + table
                    .iter()
                    .map(|entry| entry.node.depth())
                    .max()
                    .unwrap_or(0)
            }
            _ => 1,
        }
    }
}

/// Reads a text into a tree. The root is a table.
///
/// # Errors
/// What the parser found, with its place; more than one where the format allows to go on.
pub fn parse(format: Format, text: &str, source: SourceId) -> Result<Node, Vec<Diagnostic>> {
    let node = parse_any(format, text, source)?;
    match node.value {
        Value::Table(_) => Ok(node),
        _ => Err(vec![Diagnostic::at(
            first_character(text, node.span),
            "a document is a table of keys",
            format!("found {}", node.described()),
        )]),
    }
}

/// Reads a text into a tree, whatever its root is.
///
/// # Errors
/// What the parser found, with its place; more than one where the format allows to go on.
pub fn parse_any(format: Format, text: &str, source: SourceId) -> Result<Node, Vec<Diagnostic>> {
    match format {
        Format::Toml => toml::parse(text, source),
        Format::Yaml => yaml::parse(text, source),
        Format::Json => json::parse(text, source),
    }
}

/// The span's first character alone, for things too large to underline.
fn first_character(text: &str, span: Span) -> Span {
    let end = text
        .get(span.start..)
        .and_then(|rest| rest.chars().next())
        .map_or(span.start, |character| span.start + character.len_utf8());
    Span {
        end: end.min(span.end.max(span.start)),
        ..span
    }
}

fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::at(
        span,
        format!("values are nested more than {DEPTH_LIMIT} deep"),
        "",
    )
}

fn duplicate_key(key: &str, again: Span, first: Span) -> Diagnostic {
    Diagnostic::at(
        again,
        format!("the key {} is given twice", quote(key)),
        "given again here",
    )
    .with_label(first, "first given here")
}

fn number_too_large(text: &str, span: Span) -> Diagnostic {
    Diagnostic::at(
        span,
        format!("the number {} does not fit in 64 bits", quote(text)),
        "",
    )
    .with_hint("write it in quotes if it is meant as text")
}

fn not_finite(text: &str, span: Span) -> Diagnostic {
    Diagnostic::at(span, format!("{} is not a finite number", quote(text)), "")
        .with_hint("write it in quotes if it is meant as text")
}
