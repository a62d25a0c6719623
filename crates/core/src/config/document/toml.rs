//! TOML through `toml`'s spanned tables.
//!
//! The tables come sorted by key; the order of the text is brought back by the keys' places. Dates and times become strings:
//! `timeout = 01:30:00` is then the duration it looks like.

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::super::diagnostic::{Diagnostic, SourceId, Span};
use super::{
    DEPTH_LIMIT, Entry, Node, Number, Table, Value, not_finite, number_too_large, too_deep,
};

/// Reads a document.
pub(super) fn parse(text: &str, source: SourceId) -> Result<Node, Vec<Diagnostic>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let reader = Reader {
        text,
        source,
        offset: 0,
    };
    if !errors.is_empty() {
        return Err(errors.iter().map(|error| reader.error(error)).collect());
    }
    reader
        .table(table.get_ref(), reader.span(0..text.len()), 1)
        .map_err(|error| vec![*error])
}

/// Reads one value in TOML's inline notation that stands at byte `offset` of the source.
pub(crate) fn parse_value(
    text: &str,
    source: SourceId,
    offset: usize,
) -> Result<Node, Box<Diagnostic>> {
    let reader = Reader {
        text,
        source,
        offset,
    };
    let value = DeValue::parse(text).map_err(|error| Box::new(reader.error(&error)))?;
    reader.value(&value, 1)
}

struct Reader<'a> {
    text: &'a str,
    source: SourceId,
    offset: usize,
}

impl Reader<'_> {
    fn span(&self, range: std::ops::Range<usize>) -> Span {
        Span::new(
            self.source,
            range.start + self.offset,
            range.end + self.offset,
        )
    }

    fn error(&self, error: &::toml::de::Error) -> Diagnostic {
        let mut range = error.span().unwrap_or(0..0);
        range.end = range.end.max(range.start);
        let span = self.span(range);
        let message = error.message();
        if message.contains("recursion limit") || message.contains("cannot recurse") {
            return too_deep(span);
        }
        let mut lines = message.lines();
        let first = lines.next().unwrap_or("not valid TOML").to_owned();
        Diagnostic::at(
            span,
            format!("not valid TOML: {first}"),
            lines.collect::<Vec<_>>().join("; "),
        )
    }

    fn table(
        &self,
        table: &DeTable<'_>,
        span: Span,
        depth: usize,
    ) -> Result<Node, Box<Diagnostic>> {
        if depth > DEPTH_LIMIT {
            return Err(Box::new(too_deep(span)));
        }
        let mut pairs: Vec<_> = table.iter().collect();
        pairs.sort_by_key(|(key, _)| key.span().start);
        let mut entries = Table::default();
        for (key, value) in pairs {
            let node = self.value(value, depth + 1)?;
            entries.insert(Entry {
                key: key.get_ref().to_string(),
                key_span: self.span(key.span()),
                node,
            });
        }
        Ok(Node::new(Value::Table(entries), span))
    }

    fn value(&self, value: &Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Box<Diagnostic>> {
        let span = self.span(value.span());
        if depth > DEPTH_LIMIT {
            return Err(Box::new(too_deep(span)));
        }
        let value = match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Integer(integer) => {
                let number =
                    Number::from_radix(&integer.to_string(), integer.as_str(), integer.radix());
                Value::Number(number.ok_or_else(|| number_too_large(&integer.to_string(), span))?)
            }
            DeValue::Float(float) => Value::Number(
                Number::from_decimal(float.as_str())
                    .ok_or_else(|| not_finite(float.as_str(), span))?,
            ),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(_) => {
                let range = span.start - self.offset..span.end - self.offset;
                Value::String(self.text.get(range).unwrap_or_default().to_owned())
            }
            DeValue::Array(elements) => Value::List(
                elements
                    .iter()
                    .map(|element| self.value(element, depth + 1))
                    .collect::<Result<_, _>>()?,
            ),
            DeValue::Table(table) => return self.table(table, span, depth),
        };
        Ok(Node::new(value, span))
    }
}
