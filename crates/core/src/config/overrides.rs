//! `--set PATH=VALUE`: the grammar, and where an override lands in the tree.
//!
//! ```text
//! tasks.train.env."ODD-NAME" += value
//! └── path ─────────────────┘ op  └─ typed by the schema at that place (operators.rs)
//! ```
//!
//! A path is keys with dots, `[n]` for an element of a list, quotes around odd keys. A name applied to a list of tables selects the
//! element with that `name`. Operators are `= += -= *= /= |= &=`. Overrides are applied in the user's order to the merged tree,
//! before validation, so a wrong one is reported like a wrong file: with a caret under the word, in the override's own text.
//!
//! A value is what the schema wants at that place: for a string the raw text without one pair of quotes; otherwise TOML's inline
//! notation; where nothing is known, TOML if it is that, else a string. `null` takes a key away (so does `none` where no text is
//! wanted). Nothing is ever executed or looked up.

mod operators;

use std::ops::Range;

use super::diagnostic::{
    Diagnostic, Failure, SourceId, SourceMap, Span, did_you_mean, list_names, quote,
};
use super::document::{DEPTH_LIMIT, Entry, Node, Value};
use super::layers::Origin;
use super::schema::Candidates;

/// One parsed override.
#[derive(Debug, Clone)]
pub struct Override {
    origin: Origin,
    /// What messages call it: the flag or the variable that it was given with.
    name: String,
    text: String,
    path: Vec<Segment>,
    operator: Operator,
    /// Where the value begins in the text.
    value: usize,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment {
    step: Step,
    range: Range<usize>,
}

/// What a step of a path selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A key, or the name of a list's element.
    Name(String),
    /// An element of a list.
    Index(usize),
}

/// What an override does to the value that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Assign,
    /// `+=`
    Add,
    /// `-=`
    Subtract,
    /// `*=`
    Multiply,
    /// `/=`
    Divide,
    /// `|=`
    Union,
    /// `&=`
    Intersect,
}

impl Operator {
    const ALL: [(&'static str, Self); 7] = [
        ("+=", Self::Add),
        ("-=", Self::Subtract),
        ("*=", Self::Multiply),
        ("/=", Self::Divide),
        ("|=", Self::Union),
        ("&=", Self::Intersect),
        ("=", Self::Assign),
    ];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, operator)| *operator == self)
            .map_or("=", |(text, _)| text)
    }

    fn at_start(text: &str) -> Option<(&'static str, Self)> {
        Self::ALL
            .into_iter()
            .find(|(symbol, _)| text.starts_with(symbol))
    }
}

/// How the places of an override's text are called.
fn source_name(origin: Origin) -> &'static str {
    match origin {
        Origin::Environment => "MIZZEN_SET",
        _ => "--set",
    }
}

/// A syntax error: the bytes, the message, the words beside the caret.
type SyntaxError = (Range<usize>, String, String);

impl Override {
    /// Reads `PATH OP VALUE`.
    ///
    /// # Errors
    /// What is wrong with its form, with a caret into its text.
    pub fn parse(text: &str, origin: Origin) -> Result<Self, Failure> {
        parse_override(text, origin).map_err(|(range, message, label)| {
            let mut sources = SourceMap::default();
            let source = sources.add_text(origin, source_name(origin), text);
            Failure {
                diagnostics: vec![Diagnostic::at(
                    Span::new(source, range.start, range.end),
                    message,
                    label,
                )],
                sources,
            }
        })
    }

    /// The same, called by another name in messages: the flag that stands for it.
    #[must_use]
    pub fn called(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The text that it was read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where it comes from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// What it does to the value that is there.
    #[must_use]
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// The path's steps as they would be written with dots, indices in brackets.
    #[must_use]
    pub fn path(&self) -> Vec<String> {
        self.path
            .iter()
            .map(|segment| match &segment.step {
                Step::Name(name) => name.clone(),
                Step::Index(index) => format!("[{index}]"),
            })
            .collect()
    }

    /// The path's steps.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.path.iter().map(|segment| &segment.step)
    }

    /// The value as it was written.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.text[self.value..]
    }
}

/// Reads several overrides from one text, split as a shell would split it (`MIZZEN_SET`).
///
/// # Errors
/// A quote that is not closed, or everything that is wrong with the single overrides.
pub fn parse_words(text: &str, origin: Origin) -> Result<Vec<Override>, Failure> {
    let Some(words) = shlex::split(text) else {
        let mut sources = SourceMap::default();
        let source = sources.add_text(origin, source_name(origin), text);
        let error = Diagnostic::at(
            Span::new(source, 0, text.len()),
            "the overrides cannot be split into words",
            "a quote is not closed, or a backslash ends it",
        );
        return Err(Failure {
            diagnostics: vec![error],
            sources,
        });
    };
    let mut overrides = Vec::new();
    let mut diagnostics = Vec::new();
    let mut sources = SourceMap::default();
    for word in words {
        match parse_override(&word, origin) {
            Ok(parsed) => overrides.push(parsed),
            Err((range, message, label)) => {
                let source = sources.add_text(origin, source_name(origin), &word);
                diagnostics.push(Diagnostic::at(
                    Span::new(source, range.start, range.end),
                    message,
                    label,
                ));
            }
        }
    }
    if diagnostics.is_empty() {
        Ok(overrides)
    } else {
        Err(Failure {
            diagnostics,
            sources,
        })
    }
}

fn parse_override(text: &str, origin: Origin) -> Result<Override, SyntaxError> {
    let mut path = Vec::new();
    let mut at = 0;
    loop {
        let segment = parse_segment(text, at, path.is_empty())?;
        at = segment.range.end;
        path.push(segment);
        if path.len() > DEPTH_LIMIT {
            return Err((
                0..at,
                format!("the path has more than {DEPTH_LIMIT} steps"),
                String::new(),
            ));
        }
        let rest = &text[at..];
        if rest.starts_with('.') {
            at += 1;
        } else if !rest.starts_with('[') {
            break;
        }
    }
    let blank = text[at..].len() - text[at..].trim_start_matches(' ').len();
    let Some((symbol, operator)) = Operator::at_start(&text[at + blank..]) else {
        let end = text[at..]
            .chars()
            .next()
            .map_or(at, |character| at + character.len_utf8());
        let label = format!(
            "expected one of {}",
            list_names(Operator::ALL.iter().map(|(symbol, _)| *symbol), "and")
        );
        return Err((
            at..end,
            "an override is written PATH=VALUE".to_owned(),
            label,
        ));
    };
    at += blank + symbol.len();
    if blank > 0 {
        at += text[at..].len() - text[at..].trim_start_matches(' ').len();
    }
    Ok(Override {
        origin,
        name: source_name(origin).to_owned(),
        text: text.to_owned(),
        path,
        operator,
        value: at,
    })
}

fn parse_segment(text: &str, at: usize, first: bool) -> Result<Segment, SyntaxError> {
    let rest = &text[at..];
    let next = |end: usize| {
        text[end..]
            .chars()
            .next()
            .map_or(end, |character| end + character.len_utf8())
    };
    if let Some(inner) = rest.strip_prefix('[').filter(|_| !first) {
        let unclosed = || (at..at + 1, "`[` is not closed".to_owned(), String::new());
        // `a["k"]` is `a."k"`, as Python's users write it.
        if inner.starts_with(['"', '\'']) {
            let key = parse_segment(text, at + 1, true)?;
            return if text[key.range.end..].starts_with(']') {
                Ok(Segment {
                    range: at..key.range.end + 1,
                    ..key
                })
            } else {
                Err(unclosed())
            };
        }
        let end = inner.find(']').ok_or_else(unclosed)?;
        let digits = &inner[..end];
        let range = at..at + end + 2;
        let index = if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            digits.parse().ok()
        } else {
            None
        };
        let Some(index) = index else {
            return Err((
                range,
                "an index is a number from 0 on".to_owned(),
                "elements are also selected by name: tasks.NAME".to_owned(),
            ));
        };
        return Ok(Segment {
            step: Step::Index(index),
            range,
        });
    }
    for quotation in ['"', '\''] {
        if let Some(inner) = rest.strip_prefix(quotation) {
            let end = inner.find(quotation).ok_or_else(|| {
                (
                    at..at + 1,
                    "the quote is not closed".to_owned(),
                    String::new(),
                )
            })?;
            return Ok(Segment {
                step: Step::Name(inner[..end].to_owned()),
                range: at..at + end + 2,
            });
        }
    }
    let allowed =
        |character: char| character.is_alphanumeric() || character == '_' || character == '-';
    let mut end = rest
        .find(|character| !allowed(character))
        .unwrap_or(rest.len());
    // `a-=1` subtracts; it does not assign to `a-`.
    if rest[end..].starts_with('=') {
        end = rest[..end].strip_suffix('-').map_or(end, str::len);
    }
    if end == 0 {
        return Err((
            at..next(at),
            "a key is missing".to_owned(),
            "odd keys go in quotes".to_owned(),
        ));
    }
    Ok(Segment {
        step: Step::Name(rest[..end].to_owned()),
        range: at..at + end,
    })
}

/// Applies overrides in order to the merged tree.
pub(super) fn apply(
    root: &mut Node,
    overrides: &[Override],
    sources: &mut SourceMap,
    schema: &serde_json::Value,
) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    for wanted in overrides {
        let source = sources.add_text(wanted.origin, &wanted.name, &wanted.text);
        let application = Application { wanted, source };
        if let Err(error) = application.apply(root, Candidates::of(schema)) {
            errors.push(*error);
        }
    }
    errors
}

type Outcome<T> = Result<T, Box<Diagnostic>>;

/// One override on its way into the tree.
struct Application<'a> {
    wanted: &'a Override,
    source: SourceId,
}

impl Application<'_> {
    fn span(&self, range: &Range<usize>) -> Span {
        Span::new(self.source, range.start, range.end)
    }

    fn value_span(&self) -> Span {
        Span::new(self.source, self.wanted.value, self.wanted.text.len())
    }

    /// The path up to and with step `number`, as written.
    fn shown_path(&self, number: usize) -> String {
        let end = self.wanted.path[number].range.end;
        quote(&self.wanted.text[..end])
    }

    /// Whether the operator can make something out of nothing.
    fn creates(&self) -> bool {
        matches!(
            self.wanted.operator,
            Operator::Assign | Operator::Add | Operator::Union
        )
    }

    fn apply(&self, root: &mut Node, candidates: Candidates<'_>) -> Outcome<()> {
        let mut node = root;
        let mut candidates = candidates;
        let last = self.wanted.path.len() - 1;
        for number in 0..last {
            let inner = self.step_candidates(node, &candidates, number);
            node = self.descend(node, number, &inner)?;
            candidates = inner;
        }
        let inner = self.step_candidates(node, &candidates, last);
        self.finish(node, last, &inner)
    }

    fn step_candidates<'s>(
        &self,
        node: &Node,
        candidates: &Candidates<'s>,
        number: usize,
    ) -> Candidates<'s> {
        match (&self.wanted.path[number].step, &node.value) {
            (Step::Name(_), Value::List(_)) | (Step::Index(_), _) => candidates.item(),
            (Step::Name(name), _) => candidates.key(Some(node), name),
        }
    }

    /// The element of a list that a step selects.
    fn element(&self, list: &[Node], number: usize) -> Outcome<usize> {
        let segment = &self.wanted.path[number];
        let span = self.span(&segment.range);
        let parent = if number == 0 {
            "the document".to_owned()
        } else {
            self.shown_path(number - 1)
        };
        match &segment.step {
            Step::Index(index) if *index < list.len() => Ok(*index),
            Step::Index(index) => Err(Box::new(Diagnostic::at(
                span,
                format!("there is no element {index} in {parent}"),
                match list.len() {
                    0 => "the list is empty".to_owned(),
                    1 => "the list has 1 element, [0]".to_owned(),
                    many => format!("the list has {many} elements, [0] to [{}]", many - 1),
                },
            ))),
            Step::Name(name) => {
                let name_of =
                    |node: &Node| node.get("name").and_then(Node::string).map(str::to_owned);
                if let Some(found) = list
                    .iter()
                    .position(|node| name_of(node).as_deref() == Some(name))
                {
                    return Ok(found);
                }
                let known: Vec<String> = list.iter().filter_map(name_of).collect();
                if known.is_empty() && !list.is_empty() {
                    return Err(Box::new(Diagnostic::at(
                        span,
                        format!("the elements of {parent} have no names"),
                        "select one by its index: [0]",
                    )));
                }
                let label = match did_you_mean(name, known.iter().map(String::as_str)) {
                    Some(close) => format!("did you mean {}?", quote(close)),
                    None if known.is_empty() => "the list is empty".to_owned(),
                    None => format!(
                        "there are: {}",
                        list_names(known.iter().map(String::as_str), "and")
                    ),
                };
                Err(Box::new(Diagnostic::at(
                    span,
                    format!("nothing in {parent} is named {}", quote(name)),
                    label,
                )))
            }
        }
    }

    /// Goes one step down, making tables where there is nothing.
    fn descend<'n>(
        &self,
        node: &'n mut Node,
        number: usize,
        inner: &Candidates<'_>,
    ) -> Outcome<&'n mut Node> {
        let segment = &self.wanted.path[number];
        let span = self.span(&segment.range);
        let described = node.described();
        match (&mut node.value, &segment.step) {
            (Value::List(list), _) => {
                let at = self.element(list, number)?;
                Ok(&mut list[at])
            }
            (Value::Table(table), Step::Name(name)) => {
                if table
                    .get(name)
                    .is_none_or(|node| matches!(node.value, Value::Null))
                {
                    let next_is_index = matches!(self.wanted.path[number + 1].step, Step::Index(_));
                    let wants_list = inner.accepts("array") && !inner.accepts("object");
                    if !self.creates() || next_is_index || wants_list {
                        return Err(self.not_set(number));
                    }
                    table.insert(Entry {
                        key: name.clone(),
                        key_span: span,
                        node: Node::empty_table(span),
                    });
                }
                table.get_mut(name).ok_or_else(|| self.not_set(number))
            }
            _ => Err(self.no_children(number, described)),
        }
    }

    fn not_set(&self, number: usize) -> Box<Diagnostic> {
        let span = self.span(&self.wanted.path[number].range);
        Box::new(Diagnostic::at(
            span,
            format!("{} is not set", self.shown_path(number)),
            "there is nothing to change",
        ))
    }

    fn no_children(&self, number: usize, described: &str) -> Box<Diagnostic> {
        let segment = &self.wanted.path[number];
        let parent = if number == 0 {
            "the document".to_owned()
        } else {
            self.shown_path(number - 1)
        };
        let what = match &segment.step {
            Step::Index(_) => "no elements".to_owned(),
            Step::Name(name) => format!("no key {}", quote(name)),
        };
        Box::new(Diagnostic::at(
            self.span(&segment.range),
            format!("{parent} is {described}, so it has {what}"),
            "",
        ))
    }

    /// Applies the operator to what the last step names.
    fn finish(&self, node: &mut Node, number: usize, inner: &Candidates<'_>) -> Outcome<()> {
        let segment = &self.wanted.path[number];
        let span = self.span(&segment.range);
        let described = node.described();
        let operand = self.operand(inner)?;
        match (&mut node.value, &segment.step) {
            (Value::List(list), _) => {
                let at = self.element(list, number)?;
                match operand {
                    Some(operand) => {
                        list[at] = self.compute(Some(&list[at]), operand, inner, number)?
                    }
                    None => {
                        list.remove(at);
                    }
                }
                Ok(())
            }
            (Value::Table(table), Step::Name(name)) => {
                let Some(operand) = operand else {
                    table.remove(name);
                    return Ok(());
                };
                let current = table
                    .get(name)
                    .filter(|node| !matches!(node.value, Value::Null));
                let node = self.compute(current, operand, inner, number)?;
                match table.get_mut(name) {
                    Some(slot) => *slot = node,
                    None => {
                        table.insert(Entry {
                            key: name.clone(),
                            key_span: span,
                            node,
                        });
                    }
                }
                Ok(())
            }
            _ => Err(self.no_children(number, described)),
        }
    }
}
