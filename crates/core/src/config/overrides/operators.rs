//! The right side of an override: its value by the type that is wanted, and the operators.
//!
//! ```text
//! text ── operand(schema) ──→ Node (or: take the key away) ── compute(current, operator) ──→ Node
//! ```
//!
//! A whole number stays whole where the result is exact; where the place wants a whole number and the result is none, that is an
//! error and not a float.

use super::super::diagnostic::{Diagnostic, quote};
use super::super::document::{Node, Number, Table, Value, parse_toml_value};
use super::super::duration::Timespan;
use super::super::layers::merge;
use super::super::schema::Candidates;
use super::{Application, Operator, Outcome};

/// What an unset target can be made from by `+=` and `|=`.
fn is_collection(node: &Node) -> bool {
    matches!(node.value, Value::List(_) | Value::Table(_))
}

/// The text without one pair of quotes around it.
fn unquoted(text: &str) -> &str {
    for quotation in ['"', '\''] {
        if let Some(inner) = text
            .strip_prefix(quotation)
            .and_then(|rest| rest.strip_suffix(quotation))
        {
            return inner;
        }
    }
    text
}

/// Whether two values are the same, wherever they stand.
fn same(left: &Node, right: &Node) -> bool {
    left.to_json() == right.to_json()
}

impl Application<'_> {
    /// The value, typed by what the place accepts. `None` takes the key away.
    pub(super) fn operand(&self, place: &Candidates<'_>) -> Outcome<Option<Node>> {
        let raw = self.wanted.value();
        let span = self.value_span();
        let trimmed = raw.trim();
        let takes_text = place.accepts("string");
        if self.wanted.operator == Operator::Assign
            && (trimmed == "null" || (trimmed == "none" && !takes_text && !place.is_unknown()))
        {
            return Ok(None);
        }
        let text = || Node::new(Value::String(unquoted(raw).to_owned()), span);
        let is_list = place.accepts("array");
        let element_operator = !matches!(
            self.wanted.operator,
            Operator::Assign | Operator::Multiply | Operator::Divide
        );
        // One element for a list: `run+=--verbose`.
        let element = place.item();
        let takes_element = is_list && element_operator;
        let accepts = |kind: &str| {
            place.accepts(kind)
                || (takes_element && (element.is_unknown() || element.accepts(kind)))
        };
        let only_text = takes_text
            && !["boolean", "integer", "number", "array", "object"]
                .into_iter()
                .any(accepts);
        if only_text {
            return Ok(Some(text()));
        }
        match self.literal(raw) {
            Ok(node) => {
                let fits = match &node.value {
                    Value::String(_) => true,
                    Value::Null => false,
                    Value::Boolean(_) => accepts("boolean"),
                    Value::Number(number) if number.is_integer() => {
                        accepts("integer") || accepts("number")
                    }
                    Value::Number(_) => accepts("number"),
                    Value::List(_) => accepts("array"),
                    // What `-=` takes from a table may be named by its keys.
                    Value::Table(_) => accepts("object"),
                };
                if !fits && (takes_text || (takes_element && element.accepts("string"))) {
                    Ok(Some(text()))
                } else {
                    Ok(Some(node))
                }
            }
            Err(error) => {
                if let Some(value) = switch(trimmed)
                    && place.accepts("boolean")
                    && !takes_text
                {
                    return Ok(Some(Node::new(Value::Boolean(value), span)));
                }
                // Where a list or a table may stand, a broken one is not taken for a text: quotes say that a text is meant.
                let broken_list = trimmed.starts_with('[') && (is_list || place.is_unknown());
                let broken_table =
                    trimmed.starts_with('{') && (place.accepts("object") || place.is_unknown());
                let unusable_number = !takes_text && !error.message.starts_with("not valid");
                if broken_list || broken_table || unusable_number {
                    Err(error)
                } else {
                    Ok(Some(text()))
                }
            }
        }
    }

    /// The value in TOML's inline notation.
    fn literal(&self, raw: &str) -> Outcome<Node> {
        let lead = raw.len() - raw.trim_start().len();
        parse_toml_value(raw.trim(), self.source, self.wanted.value + lead)
    }

    fn cannot(&self, current: &Node, number: usize) -> Box<Diagnostic> {
        let message = format!(
            "`{}` does not work on {}: {} is {}",
            self.wanted.operator.as_str(),
            current.described(),
            self.shown_path(number),
            current.described()
        );
        Box::new(Diagnostic::at(
            self.span(&self.wanted.path[number].range),
            message,
            "",
        ))
    }

    fn mismatch(&self, current: &Node, operand: &Node, number: usize) -> Box<Diagnostic> {
        let message = format!(
            "`{}` does not work with {} on {}",
            self.wanted.operator.as_str(),
            operand.described(),
            current.described()
        );
        Box::new(Diagnostic::at(
            self.value_span(),
            message,
            format!("{} is {}", self.shown_path(number), current.described()),
        ))
    }

    /// What the place holds afterwards.
    pub(super) fn compute(
        &self,
        current: Option<&Node>,
        operand: Node,
        place: &Candidates<'_>,
        number: usize,
    ) -> Outcome<Node> {
        let operator = self.wanted.operator;
        if operator == Operator::Assign {
            return Ok(operand);
        }
        let Some(current) = current else {
            let makes = matches!(operator, Operator::Add | Operator::Union);
            if makes && is_collection(&operand) {
                return Ok(operand);
            }
            if makes
                && place.accepts("array")
                && !place.accepts("string")
                && !place.accepts("number")
            {
                let span = operand.span;
                return Ok(Node::new(Value::List(vec![operand]), span));
            }
            return Err(Box::new(
                Diagnostic::at(
                    self.span(&self.wanted.path[number].range),
                    format!("{} is not set", self.shown_path(number)),
                    format!("`{}` needs a value to change", operator.as_str()),
                )
                .with_hint("use `=` to set it"),
            ));
        };
        if place.is_timespan()
            && let Some(result) = self.compute_timespan(current, &operand)
        {
            return result;
        }
        match (&current.value, operand.value) {
            (Value::Number(left), Value::Number(right)) => self
                .compute_number(left, &right, place)
                .map(|result| Node::new(Value::Number(result), self.value_span())),
            (Value::Boolean(left), Value::Boolean(right)) => match operator {
                Operator::Union => Ok(Node::new(Value::Boolean(*left || right), self.value_span())),
                Operator::Intersect => {
                    Ok(Node::new(Value::Boolean(*left && right), self.value_span()))
                }
                _ => Err(self.cannot(current, number)),
            },
            (Value::List(list), value) => {
                let operand = Node::new(value, operand.span);
                self.compute_list(list, operand, current, number)
            }
            (Value::Table(table), value) => {
                let operand = Node::new(value, operand.span);
                self.compute_table(table, operand, current, number)
            }
            (Value::String(left), right) => {
                let operand = Node::new(right, operand.span);
                match (operator, operand.scalar_text()) {
                    (Operator::Add, Some(right)) => Ok(Node::new(
                        Value::String(format!("{left}{right}")),
                        self.value_span(),
                    )),
                    (Operator::Add, None) => Err(self.mismatch(current, &operand, number)),
                    _ => Err(self.cannot(current, number)),
                }
            }
            (_, value) => Err(self.mismatch(current, &Node::new(value, operand.span), number)),
        }
    }

    /// Lengths of time are added, subtracted and scaled as such. `None` when one of the sides is none.
    fn compute_timespan(&self, current: &Node, operand: &Node) -> Option<Outcome<Node>> {
        let seconds = |node: &Node| match &node.value {
            Value::Number(number) => number.value.as_f64(),
            Value::String(text) => Timespan::parse(text)
                .ok()
                .map(|span| span.duration().as_secs_f64()),
            _ => None,
        };
        let left = seconds(current)?;
        let result = match (self.wanted.operator, &operand.value) {
            (Operator::Add, _) => left + seconds(operand)?,
            (Operator::Subtract, _) => left - seconds(operand)?,
            (Operator::Multiply, Value::Number(factor)) => left * factor.value.as_f64()?,
            (Operator::Divide, Value::Number(factor)) => left / factor.value.as_f64()?,
            _ => return None,
        };
        Some(match Timespan::from_seconds_f64(result) {
            Ok(span) => {
                let milliseconds = span.duration().as_secs_f64();
                let number = if span.duration().subsec_nanos() == 0 {
                    Some(Number::integer(milliseconds as i64))
                } else {
                    Number::float(milliseconds)
                };
                number
                    .map(|number| Node::new(Value::Number(number), self.value_span()))
                    .ok_or_else(|| self.out_of_range())
            }
            Err(error) => Err(Box::new(Diagnostic::at(
                self.value_span(),
                format!("the result is not a length of time: {error}"),
                "",
            ))),
        })
    }

    fn out_of_range(&self) -> Box<Diagnostic> {
        Box::new(Diagnostic::at(
            self.value_span(),
            "the result is out of range",
            "",
        ))
    }

    fn compute_number(
        &self,
        left: &Number,
        right: &Number,
        place: &Candidates<'_>,
    ) -> Outcome<Number> {
        let operator = self.wanted.operator;
        let whole = |number: &Number| {
            number
                .value
                .as_i64()
                .map(i128::from)
                .or_else(|| number.value.as_u64().map(i128::from))
        };
        let is_zero = right.value.as_f64() == Some(0.0);
        if operator == Operator::Divide && is_zero {
            return Err(Box::new(Diagnostic::at(
                self.value_span(),
                "a number cannot be divided by 0",
                "",
            )));
        }
        if let (Some(a), Some(b)) = (whole(left), whole(right)) {
            let result = match operator {
                Operator::Add => a.checked_add(b),
                Operator::Subtract => a.checked_sub(b),
                Operator::Multiply => a.checked_mul(b),
                Operator::Union => Some(a | b),
                Operator::Intersect => Some(a & b),
                Operator::Divide if a % b == 0 => Some(a / b),
                Operator::Divide if place.accepts("integer") && !place.accepts("number") => {
                    let message = format!(
                        "{} / {} is not a whole number, and a whole number is wanted",
                        left.text, right.text
                    );
                    return Err(Box::new(Diagnostic::at(self.value_span(), message, "")));
                }
                Operator::Divide | Operator::Assign => return self.float(left, right),
            };
            let result = result.and_then(|result| match i64::try_from(result) {
                Ok(number) => Some(Number::integer(number)),
                Err(_) => u64::try_from(result).ok().map(|number| Number {
                    text: number.to_string(),
                    value: number.into(),
                }),
            });
            return result.ok_or_else(|| self.out_of_range());
        }
        self.float(left, right)
    }

    fn float(&self, left: &Number, right: &Number) -> Outcome<Number> {
        let (a, b) = (
            left.value.as_f64().unwrap_or(f64::NAN),
            right.value.as_f64().unwrap_or(f64::NAN),
        );
        let result = match self.wanted.operator {
            Operator::Add => a + b,
            Operator::Subtract => a - b,
            Operator::Multiply => a * b,
            Operator::Divide => a / b,
            Operator::Union | Operator::Intersect | Operator::Assign => {
                let message = format!(
                    "`{}` works on whole numbers, booleans, lists and tables",
                    self.wanted.operator.as_str()
                );
                return Err(Box::new(Diagnostic::at(self.value_span(), message, "")));
            }
        };
        Number::float(result).ok_or_else(|| self.out_of_range())
    }

    fn compute_list(
        &self,
        list: &[Node],
        operand: Node,
        current: &Node,
        number: usize,
    ) -> Outcome<Node> {
        let others = match operand.value {
            Value::List(others) => others,
            value => vec![Node::new(value, operand.span)],
        };
        let elements = match self.wanted.operator {
            Operator::Add => list.iter().cloned().chain(others).collect(),
            Operator::Union => {
                let mut all = list.to_vec();
                for other in others {
                    if !all.iter().any(|known| same(known, &other)) {
                        all.push(other);
                    }
                }
                all
            }
            Operator::Subtract => list
                .iter()
                .filter(|known| !others.iter().any(|other| same(known, other)))
                .cloned()
                .collect(),
            Operator::Intersect => list
                .iter()
                .filter(|known| others.iter().any(|other| same(known, other)))
                .cloned()
                .collect(),
            _ => return Err(self.cannot(current, number)),
        };
        Ok(Node::new(Value::List(elements), current.span))
    }

    fn compute_table(
        &self,
        table: &Table,
        operand: Node,
        current: &Node,
        number: usize,
    ) -> Outcome<Node> {
        let mut result = current.clone();
        match (self.wanted.operator, &operand.value) {
            (Operator::Add | Operator::Union, Value::Table(_)) => {
                merge(&mut result, operand);
                return Ok(result);
            }
            (Operator::Add | Operator::Union, _) => {
                return Err(self.mismatch(current, &operand, number));
            }
            (Operator::Subtract | Operator::Intersect, _) => {}
            _ => return Err(self.cannot(current, number)),
        }
        let keys: Vec<String> = match &operand.value {
            Value::Table(other) => other.keys().map(str::to_owned).collect(),
            Value::List(list) => list.iter().filter_map(Node::scalar_text).collect(),
            _ => operand.scalar_text().into_iter().collect(),
        };
        if self.wanted.operator == Operator::Subtract
            && let Some(unknown) = keys.iter().find(|key| table.get(key).is_none())
        {
            return Err(Box::new(Diagnostic::at(
                self.value_span(),
                format!(
                    "{} has no key {} to take away",
                    self.shown_path(number),
                    quote(unknown)
                ),
                "",
            )));
        }
        let keep = self.wanted.operator == Operator::Intersect;
        if let Some(table) = result.table_mut() {
            table.retain(|entry| keys.contains(&entry.key) == keep);
        }
        Ok(result)
    }
}

/// The words for true and false that people type.
fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}
