//! JSON through `jsonc-parser`'s syntax tree, with everything that JSON does not have turned off.

use std::collections::HashMap;

use jsonc_parser::ast;
use jsonc_parser::common::Ranged as _;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::super::diagnostic::{Diagnostic, SourceId, Span};
use super::{
    DEPTH_LIMIT, Entry, Node, Number, Table, Value, duplicate_key, not_finite, number_too_large,
    too_deep,
};

const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// Reads a document.
pub(super) fn parse(text: &str, source: SourceId) -> Result<Node, Vec<Diagnostic>> {
    let parsed = parse_to_ast(text, &CollectOptions::default(), &STRICT).map_err(|error| {
        let range = error.range();
        let span = Span::new(source, range.start, range.end.max(range.start));
        match error.kind() {
            jsonc_parser::errors::ParseErrorKind::NestingDepthExceeded => vec![too_deep(span)],
            kind => {
                let words = kind.to_string();
                let mut characters = words.chars();
                let fragment: String = characters
                    .next()
                    .into_iter()
                    .flat_map(char::to_lowercase)
                    .chain(characters)
                    .collect();
                vec![Diagnostic::at(
                    span,
                    format!("not valid JSON: {fragment}"),
                    "",
                )]
            }
        }
    })?;
    let Some(value) = parsed.value else {
        return Err(vec![Diagnostic::at(
            Span::new(source, 0, 0),
            "not valid JSON: the text is empty",
            "",
        )]);
    };
    let mut errors = Vec::new();
    let node = Reader {
        source,
        errors: &mut errors,
    }
    .value(&value, 1);
    if errors.is_empty() {
        Ok(node)
    } else {
        Err(errors)
    }
}

struct Reader<'a> {
    source: SourceId,
    errors: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    fn value(&mut self, value: &ast::Value<'_>, depth: usize) -> Node {
        let range = value.range();
        let span = Span::new(self.source, range.start, range.end);
        if depth > DEPTH_LIMIT {
            self.errors.push(too_deep(span));
            return Node::new(Value::Null, span);
        }
        let value = match value {
            ast::Value::StringLit(string) => Value::String(string.value.to_string()),
            ast::Value::NumberLit(number) => self.number(number.value, span),
            ast::Value::BooleanLit(boolean) => Value::Boolean(boolean.value),
            ast::Value::NullKeyword(_) => Value::Null,
            ast::Value::Array(array) => Value::List(
                array
                    .elements
                    .iter()
                    .map(|element| self.value(element, depth + 1))
                    .collect(),
            ),
            ast::Value::Object(object) => {
                let mut table = Table::default();
                let mut seen: HashMap<&str, Span> = HashMap::new();
                for property in &object.properties {
                    let range = property.name.range();
                    let key_span = Span::new(self.source, range.start, range.end);
                    let key = property.name.as_str();
                    if let Some(first) = seen.insert(key, key_span) {
                        self.errors.push(duplicate_key(key, key_span, first));
                        continue;
                    }
                    let node = self.value(&property.value, depth + 1);
                    table.insert(Entry {
                        key: key.to_owned(),
                        key_span,
                        node,
                    });
                }
                Value::Table(table)
            }
        };
        Node::new(value, span)
    }

    fn number(&mut self, text: &str, span: Span) -> Value {
        let number = if text.contains(['.', 'e', 'E']) {
            Number::from_decimal(text).ok_or_else(|| not_finite(text, span))
        } else {
            Number::from_radix(text, text, 10).ok_or_else(|| number_too_large(text, span))
        };
        match number {
            Ok(number) => Value::Number(number),
            Err(error) => {
                self.errors.push(error);
                Value::Null
            }
        }
    }
}
