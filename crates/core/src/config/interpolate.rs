//! `${…}` in `run`, `args`, `env` and `workdir`.
//!
//! ```text
//! text ── parse() ──→ [Piece] ── expand(&Resolver) ──→ Expanded ──→ an argument, or several
//!           │ errors with their place in the text        │ template? then for safe_substitute, else as it is
//! ```
//!
//! `${lr}` is a variable of the sweep, `${job_dir}` and `${experiment_dir}` are the job's folder and the experiment's, `${env:NAME}` and `${env:NAME:-default}` the environment, `${dir:TASK}` another job's
//! directory, `${head_node_ip_var}` a macro that the executor replaces when the job runs. `$$` is one dollar; a dollar before
//! anything else stays as it is, so `$HOME` reaches the shell inside the job.
//!
//! Pitfall: executors replace macros with Python's `string.Template.safe_substitute`, for which `$` is special. So text that holds
//! a macro leaves here as a *template* (`$` doubled); all other text leaves as it is and must not be substituted again. Text that
//! only looks like a macro, because a value brought it in, becomes a template as well: then it survives.

use std::ops::Range;

/// The variables that every task has; a sweep may not have one of these names.
pub const FOLDERS: [&str; 2] = ["job_dir", "experiment_dir"];

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text as it is, `$$` already one dollar.
    Literal(String),
    /// `${name}`: a variable of the task's sweep.
    Variable(String),
    /// `${env:NAME}` or `${env:NAME:-default}`.
    Env {
        /// The variable's name.
        name: String,
        /// What stands in when it is unset or empty.
        default: Option<String>,
    },
    /// `${dir:TASK}`: the directory of that task's job, or of its jobs.
    Dir(String),
    /// `${name}` where the executor knows the name.
    Macro(String),
}

/// What is wrong inside a text, and at which bytes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// The bytes of the text.
    pub range: Range<usize>,
    /// What it is.
    pub kind: SyntaxErrorKind,
}

/// The ways `${…}` can be miswritten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxErrorKind {
    /// No `}` follows.
    #[error("`${{` has no closing `}}`")]
    Unclosed,
    /// `${}`.
    #[error("`${{}}` names nothing")]
    Empty,
    /// Something that is neither a name nor a known prefix.
    #[error("what stands in `${{…}}` is a name, `env:NAME`, `env:NAME:-default` or `dir:TASK`")]
    Form,
}

/// One piece and the bytes of the text that it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedPiece {
    /// The piece.
    pub piece: Piece,
    /// Its bytes, `${` and `}` included.
    pub range: Range<usize>,
}

/// Whether the text is a name as programming languages have it.
#[must_use]
pub fn is_identifier(text: &str) -> bool {
    let mut characters = text.chars();
    characters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|character| character.is_ascii_alphanumeric() || character == '_')
}

/// Takes a text apart.
///
/// # Errors
/// The first miswritten `${…}`.
pub fn parse(text: &str, macros: &[String]) -> Result<Vec<Piece>, SyntaxError> {
    Ok(parse_placed(text, macros)?
        .into_iter()
        .map(|placed| placed.piece)
        .collect())
}

/// Takes a text apart, remembering where each piece stood.
///
/// # Errors
/// The first miswritten `${…}`.
pub fn parse_placed(text: &str, macros: &[String]) -> Result<Vec<PlacedPiece>, SyntaxError> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut literal_start = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find('$') {
        let dollar = at + found;
        literal.push_str(&text[at..dollar]);
        let rest = &text[dollar + 1..];
        if rest.starts_with('$') {
            literal.push('$');
            at = dollar + 2;
        } else if let Some(inner) = rest.strip_prefix('{') {
            let end = inner.find('}').ok_or(SyntaxError {
                range: dollar..text.len().min(dollar + 2),
                kind: SyntaxErrorKind::Unclosed,
            })?;
            let range = dollar..dollar + 2 + end + 1;
            let piece = reference(&inner[..end], macros).map_err(|kind| SyntaxError {
                range: range.clone(),
                kind,
            })?;
            if !literal.is_empty() {
                pieces.push(PlacedPiece {
                    piece: Piece::Literal(std::mem::take(&mut literal)),
                    range: literal_start..dollar,
                });
            }
            at = range.end;
            literal_start = at;
            pieces.push(PlacedPiece { piece, range });
        } else {
            literal.push('$');
            at = dollar + 1;
        }
    }
    literal.push_str(&text[at..]);
    if !literal.is_empty() {
        pieces.push(PlacedPiece {
            piece: Piece::Literal(literal),
            range: literal_start..text.len(),
        });
    }
    Ok(pieces)
}

/// What stands between the braces.
fn reference(inner: &str, macros: &[String]) -> Result<Piece, SyntaxErrorKind> {
    if inner.is_empty() {
        return Err(SyntaxErrorKind::Empty);
    }
    if let Some(rest) = inner.strip_prefix("env:") {
        let (name, default) = match rest.split_once(":-") {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (rest, None),
        };
        return if is_identifier(name) {
            Ok(Piece::Env {
                name: name.to_owned(),
                default,
            })
        } else {
            Err(SyntaxErrorKind::Form)
        };
    }
    if let Some(task) = inner.strip_prefix("dir:") {
        return if task.is_empty() {
            Err(SyntaxErrorKind::Form)
        } else {
            Ok(Piece::Dir(task.to_owned()))
        };
    }
    if macros.iter().any(|known| known == inner) {
        return Ok(Piece::Macro(inner.to_owned()));
    }
    if is_identifier(inner) {
        Ok(Piece::Variable(inner.to_owned()))
    } else {
        Err(SyntaxErrorKind::Form)
    }
}

/// What the names in `${…}` stand for in one job.
pub trait Resolver {
    /// The text of a sweep variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// A variable of the environment of whoever launches.
    fn environment(&self, name: &str) -> Option<String>;
    /// The directories of a task's jobs, in order.
    fn directories(&self, task: &str) -> Option<Vec<String>>;
    /// The names of the executor's macros.
    fn macros(&self) -> &[String];
}

/// A text whose names have been resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The text.
    pub text: String,
    /// Whether macros are still to be replaced in it by `safe_substitute`. If not, it must be left alone.
    pub template: bool,
}

/// What became of a text: one text, or several where it was exactly the `${dir:TASK}` of a task with several jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expanded {
    /// The texts; empty only if the task has no jobs.
    pub texts: Vec<Text>,
}

impl Expanded {
    /// The text, if it is exactly one.
    #[must_use]
    pub fn single(self) -> Option<Text> {
        let mut texts = self.texts;
        if texts.len() == 1 { texts.pop() } else { None }
    }
}

/// Why a text cannot be resolved. [`check`](super::check) finds all of these with their places beforehand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// No such variable in the sweep.
    #[error("unknown variable `{0}`")]
    Variable(String),
    /// Not set, and no default.
    #[error("the environment has no `{0}`")]
    Environment(String),
    /// No such task.
    #[error("unknown task `{0}`")]
    Task(String),
    /// Several directories inside a longer text.
    #[error("`${{dir:{0}}}` stands for several directories, so it must be an argument of its own")]
    SeveralDirectories(String),
}

/// Puts the pieces together.
///
/// # Errors
/// A name that the resolver does not know, or several directories inside a longer text.
pub fn expand(pieces: &[Piece], resolver: &dyn Resolver) -> Result<Expanded, ExpandError> {
    if let [Piece::Dir(task)] = pieces {
        let directories = resolver
            .directories(task)
            .ok_or_else(|| ExpandError::Task(task.clone()))?;
        return Ok(Expanded {
            texts: directories
                .into_iter()
                .map(|text| plain_or_escaped(text, resolver.macros()))
                .collect(),
        });
    }
    let mut parts: Vec<(bool, String)> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let text = match piece {
            Piece::Literal(text) => text.clone(),
            Piece::Variable(name) => resolver
                .variable(name)
                .ok_or_else(|| ExpandError::Variable(name.clone()))?,
            Piece::Env { name, default } => match (resolver.environment(name), default) {
                (Some(value), None) => value,
                (Some(value), Some(_)) if !value.is_empty() => value,
                (_, Some(default)) => default.clone(),
                (None, None) => return Err(ExpandError::Environment(name.clone())),
            },
            Piece::Dir(task) => {
                let mut directories = resolver
                    .directories(task)
                    .ok_or_else(|| ExpandError::Task(task.clone()))?;
                match (directories.pop(), directories.is_empty()) {
                    (Some(directory), true) => directory,
                    _ => return Err(ExpandError::SeveralDirectories(task.clone())),
                }
            }
            Piece::Macro(name) => {
                parts.push((true, name.clone()));
                continue;
            }
        };
        parts.push((false, text));
    }
    if !parts.iter().any(|(is_macro, _)| *is_macro) {
        let text = parts.into_iter().map(|(_, text)| text).collect();
        return Ok(Expanded {
            texts: vec![plain_or_escaped(text, resolver.macros())],
        });
    }
    let text = parts
        .into_iter()
        .map(|(is_macro, text)| {
            if is_macro {
                format!("${{{text}}}")
            } else {
                text.replace('$', "$$")
            }
        })
        .collect();
    Ok(Expanded {
        texts: vec![Text {
            text,
            template: true,
        }],
    })
}

/// Text without macros: left alone, unless it holds something that looks like one.
fn plain_or_escaped(text: String, macros: &[String]) -> Text {
    let looks_like_macro = text.match_indices('$').any(|(at, _)| {
        let rest = &text[at + 1..];
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        macros.iter().any(|name| rest.starts_with(name.as_str()))
    });
    if looks_like_macro {
        Text {
            text: text.replace('$', "$$"),
            template: true,
        }
    } else {
        Text {
            text,
            template: false,
        }
    }
}
