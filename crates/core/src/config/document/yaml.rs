//! YAML through `saphyr-parser`'s events: YAML 1.2, core schema, one document.
//!
//! ```text
//! events ──→ a stack of open lists and tables ──→ Node
//!               ↑ anchors: finished nodes, copied where an alias names them
//! ```
//!
//! Aliases are copies, so their size is bounded ([`EXPANSION_LIMIT`]): the document whose nine lines stand for a billion values
//! is an error. `<<` merges tables as YAML 1.1 has it, because files with anchors live from it. `yes`, `no`, `on` and `off` are
//! strings, as in YAML 1.2.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::super::diagnostic::{Diagnostic, SourceId, Span, quote};
use super::{
    DEPTH_LIMIT, Entry, Node, Number, Table, Value, duplicate_key, not_finite, number_too_large,
    too_deep,
};

/// How many bytes copies made by aliases may take, all together.
const EXPANSION_LIMIT: usize = 16 << 20;
/// What a value costs beside its text.
const NODE_COST: usize = 64;

/// Reads a document.
pub(super) fn parse(text: &str, source: SourceId) -> Result<Node, Vec<Diagnostic>> {
    let places = Places::new(text, source);
    Builder::new(&places)
        .run(text)
        .map_err(|error| vec![*error])
}

/// Turns the parser's character counts into bytes.
struct Places<'a> {
    text: &'a str,
    source: SourceId,
    /// The byte of each character; empty when all are ASCII.
    bytes: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(text: &'a str, source: SourceId) -> Self {
        let bytes = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().map(|(at, _)| at).collect()
        };
        Self {
            text,
            source,
            bytes,
        }
    }

    fn byte(&self, character: usize) -> usize {
        let byte = if self.bytes.is_empty() {
            character
        } else {
            self.bytes
                .get(character)
                .copied()
                .unwrap_or(self.text.len())
        };
        byte.min(self.text.len())
    }

    fn span(&self, span: saphyr_parser::Span) -> Span {
        let start = self.byte(span.start.index());
        Span::new(self.source, start, self.byte(span.end.index()).max(start))
    }

    fn point(&self, marker: &saphyr_parser::Marker) -> Span {
        let at = self.byte(marker.index());
        Span::new(self.source, at, at)
    }
}

/// A list or table whose end has not come yet.
enum Open {
    List {
        span: Span,
        anchor: usize,
        elements: Vec<Node>,
    },
    Table {
        span: Span,
        anchor: usize,
        table: Table,
        merges: Vec<Node>,
        key: Option<(String, Span, bool)>,
        seen: HashMap<String, Span>,
    },
}

/// A finished node that aliases may name.
struct Anchored {
    node: Node,
    depth: usize,
    cost: usize,
}

struct Builder<'a> {
    places: &'a Places<'a>,
    open: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, Anchored>,
    copied: usize,
}

type Step<T> = Result<T, Box<Diagnostic>>;

impl<'a> Builder<'a> {
    fn new(places: &'a Places<'a>) -> Self {
        Self {
            places,
            open: Vec::new(),
            root: None,
            anchors: HashMap::new(),
            copied: 0,
        }
    }

    fn run(mut self, text: &str) -> Step<Node> {
        let mut parser = Parser::new_from_str(text);
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| {
                Box::new(Diagnostic::at(
                    self.places.point(error.marker()),
                    format!("not valid YAML: {}", error.info()),
                    "",
                ))
            })?;
            let span = self.places.span(span);
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(Box::new(Diagnostic::at(
                            span,
                            "a file holds one document, and a second one starts here",
                            "",
                        )));
                    }
                }
                Event::Alias(anchor) => self.alias(anchor, span)?,
                Event::Scalar(text, style, anchor, tag) => {
                    let value = if self.expects_key() {
                        Value::String(text.into_owned())
                    } else {
                        scalar(&text, style, tag.as_deref(), span)?
                    };
                    let plain = style == ScalarStyle::Plain;
                    self.finish(Node::new(value, span), anchor, plain)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.check_open(span, tag.as_deref(), "seq")?;
                    self.open.push(Open::List {
                        span,
                        anchor,
                        elements: Vec::new(),
                    });
                }
                Event::MappingStart(anchor, tag) => {
                    self.check_open(span, tag.as_deref(), "map")?;
                    self.open.push(Open::Table {
                        span,
                        anchor,
                        table: Table::default(),
                        merges: Vec::new(),
                        key: None,
                        seen: HashMap::new(),
                    });
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(span)?,
                Event::StreamEnd => break,
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
            }
        }
        match self.root {
            Some(Node {
                value: Value::Null,
                span,
            }) => Ok(Node::empty_table(span)),
            Some(node) => Ok(node),
            None => Ok(Node::empty_table(Span::new(self.places.source, 0, 0))),
        }
    }

    /// Whether the next node is a table's key.
    fn expects_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Table { key: None, .. }))
    }

    fn check_open(&self, span: Span, tag: Option<&Tag>, expected: &str) -> Step<()> {
        if self.expects_key() {
            return Err(Box::new(Diagnostic::at(
                span,
                "a key must be a plain text, not a list or a table",
                "",
            )));
        }
        if self.open.len() >= DEPTH_LIMIT {
            return Err(Box::new(too_deep(span)));
        }
        match tag {
            Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == expected) => {
                Err(unknown_tag(tag, span))
            }
            _ => Ok(()),
        }
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Step<()> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            return Err(Box::new(Diagnostic::at(
                span,
                "the alias names a value that contains it",
                "",
            )));
        };
        if self.open.len() + anchored.depth > DEPTH_LIMIT {
            return Err(Box::new(too_deep(span)));
        }
        self.copied = self.copied.saturating_add(anchored.cost);
        if self.copied > EXPANSION_LIMIT {
            return Err(Box::new(Diagnostic::at(
                span,
                format!(
                    "aliases stand for more than {} MiB of values",
                    EXPANSION_LIMIT >> 20
                ),
                "this one goes beyond the limit",
            )));
        }
        let node = anchored.node.clone();
        if self.expects_key() {
            let Some(text) = node.scalar_text() else {
                return Err(Box::new(Diagnostic::at(
                    span,
                    "a key must be a plain text, not a list or a table",
                    "",
                )));
            };
            return self.finish(Node::new(Value::String(text), span), 0, false);
        }
        self.finish(node, 0, false)
    }

    fn close(&mut self, end: Span) -> Step<()> {
        match self.open.pop() {
            Some(Open::List {
                span,
                anchor,
                elements,
            }) => {
                let span = Span {
                    end: end.end.max(span.end),
                    ..span
                };
                self.finish(Node::new(Value::List(elements), span), anchor, false)
            }
            Some(Open::Table {
                span,
                anchor,
                mut table,
                merges,
                ..
            }) => {
                for merged in merges {
                    merge_into(&mut table, merged)?;
                }
                let span = Span {
                    end: end.end.max(span.end),
                    ..span
                };
                self.finish(Node::new(Value::Table(table), span), anchor, false)
            }
            None => Ok(()),
        }
    }

    /// Puts a complete node where it belongs.
    fn finish(&mut self, node: Node, anchor: usize, plain: bool) -> Step<()> {
        if anchor != 0 {
            let cost = cost(&node);
            self.anchors.insert(
                anchor,
                Anchored {
                    depth: node.depth(),
                    cost,
                    node: node.clone(),
                },
            );
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { elements, .. }) => elements.push(node),
            Some(Open::Table {
                table,
                merges,
                key,
                seen,
                ..
            }) => match key.take() {
                None => {
                    let Value::String(text) = node.value else {
                        return Err(Box::new(Diagnostic::at(
                            node.span,
                            "a key must be a plain text, not a list or a table",
                            "",
                        )));
                    };
                    let is_merge = plain && text == "<<";
                    *key = Some((text, node.span, is_merge));
                }
                Some((_, _, true)) => merges.push(node),
                Some((text, key_span, false)) => {
                    if let Some(first) = seen.insert(text.clone(), key_span) {
                        return Err(Box::new(duplicate_key(&text, key_span, first)));
                    }
                    table.insert(Entry {
                        key: text,
                        key_span,
                        node,
                    });
                }
            },
        }
        Ok(())
    }
}

/// Fills `table` with the keys of a merged table that it does not have.
fn merge_into(table: &mut Table, merged: Node) -> Step<()> {
    match merged.value {
        Value::Table(other) => {
            for entry in other.into_entries() {
                if table.get(&entry.key).is_none() {
                    table.insert(entry);
                }
            }
            Ok(())
        }
        Value::List(list) if list.iter().all(|node| node.table().is_some()) => list
            .into_iter()
            .try_for_each(|node| merge_into(table, node)),
        _ => Err(Box::new(Diagnostic::at(
            merged.span,
            "`<<` takes a table or a list of tables",
            "",
        ))),
    }
}

/// What a copy of the node takes, roughly in bytes.
fn cost(node: &Node) -> usize {
    NODE_COST
        + match &node.value {
            Value::String(text) => text.len(),
            Value::List(list) => list.iter().map(cost).sum(),
            Value::Table(table) => table
                .iter()
                .map(|entry| entry.key.len() + NODE_COST + cost(&entry.node))
                .sum(),
            Value::Null | Value::Boolean(_) | Value::Number(_) => 0,
        }
}

fn unknown_tag(tag: &Tag, span: Span) -> Box<Diagnostic> {
    Box::new(Diagnostic::at(
        span,
        format!("the tag {} has no meaning here", quote(&tag.to_string())),
        "",
    ))
}

/// A scalar by YAML's core schema, or by its tag.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Step<Value> {
    let kind = match tag {
        None if style == ScalarStyle::Plain => None,
        None => Some("str"),
        Some(tag) if tag.is_yaml_core_schema() => Some(tag.suffix.as_str()),
        Some(tag) if tag.handle == "!" && tag.suffix.is_empty() => Some("str"),
        Some(tag) => return Err(unknown_tag(tag, span)),
    };
    let resolved = match kind {
        Some("str") => return Ok(Value::String(text.to_owned())),
        _ => plain(text, span)?,
    };
    let fits = match (kind, &resolved) {
        (None, _) => true,
        (Some("null"), Value::Null)
        | (Some("bool"), Value::Boolean(_))
        | (Some("float"), Value::Number(_)) => true,
        (Some("int"), Value::Number(number)) => number.is_integer(),
        _ => false,
    };
    if fits {
        return Ok(resolved);
    }
    match tag {
        Some(tag) => Err(Box::new(Diagnostic::at(
            span,
            format!(
                "{} is no value for the tag {}",
                quote(text),
                quote(&tag.to_string())
            ),
            "",
        ))),
        None => Ok(resolved),
    }
}

fn plain(text: &str, span: Span) -> Step<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Boolean(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Boolean(false)),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(Box::new(not_finite(text, span)));
    }
    let number = if let Some(digits) = text
        .strip_prefix("0x")
        .filter(|digits| all(digits, |digit| digit.is_ascii_hexdigit()))
    {
        Number::from_radix(text, digits, 16).ok_or_else(|| number_too_large(text, span))
    } else if let Some(digits) = text
        .strip_prefix("0o")
        .filter(|digits| all(digits, |digit| matches!(digit, '0'..='7')))
    {
        Number::from_radix(text, digits, 8).ok_or_else(|| number_too_large(text, span))
    } else if all(unsigned, |digit| digit.is_ascii_digit()) {
        Number::from_radix(text, text, 10).ok_or_else(|| number_too_large(text, span))
    } else if is_float(unsigned) {
        Number::from_decimal(text).ok_or_else(|| not_finite(text, span))
    } else {
        return Ok(Value::String(text.to_owned()));
    };
    Ok(Value::Number(number.map_err(Box::new)?))
}

fn all(text: &str, rule: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(rule)
}

/// `(\. [0-9]+ | [0-9]+ (\. [0-9]*)?) ([eE] [-+]? [0-9]+)?`
fn is_float(unsigned: &str) -> bool {
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        all(
            exponent.strip_prefix(['-', '+']).unwrap_or(exponent),
            |digit| digit.is_ascii_digit(),
        )
    });
    let digits = |text: &str| text.chars().all(|digit| digit.is_ascii_digit());
    let mantissa_fits = match mantissa.split_once('.') {
        Some((whole, fraction)) => {
            digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty())
        }
        None => all(mantissa, |digit| digit.is_ascii_digit()),
    };
    exponent_fits && mantissa_fits
}
