//! The rules for texts: names, titles, variables, and what else `x-mizzen-format` can ask for.
//!
//! ```text
//! schema { "x-mizzen-format": F } + Node ── problem(F, node) ──→ nothing, or the words for a diagnostic
//! ```
//!
//! To add a format: one arm in [`problem`]. Schemas of executor kinds may use all of them.

use super::diagnostic::{list_names, quote};
use super::document::{Node, Value};
use super::duration::Timespan;
use super::interpolate::is_identifier;
use super::size::{self, Size};
use super::spec::SecretReference;
use super::sweep::number_from_text;

/// The keyword of a schema that names one of these rules.
pub const FORMAT_KEYWORD: &str = "x-mizzen-format";
/// The longest name, in characters.
pub const NAME_LIMIT: usize = 100;
/// Titles that mean something else on the command line.
pub const RESERVED_TITLES: [&str; 1] = ["latest"];

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
    /// Over [`NAME_LIMIT`] characters.
    #[error("it has {0} characters, and {NAME_LIMIT} are allowed")]
    Long(usize),
    /// The first character must be a letter, a digit or `_`.
    #[error("it must begin with a letter, a digit or `_`, not with {0}")]
    First(String),
    /// A character that names do not have.
    #[error("it has {0}; letters, digits and `_`, `.`, `+`, `-` are allowed")]
    Character(String),
}

fn describe_character(character: char) -> String {
    match character {
        ' ' => "a space".to_owned(),
        '\n' | '\r' => "a line break".to_owned(),
        '\t' => "a tab".to_owned(),
        '/' | '\\' => format!("a slash ({})", quote(&character.to_string())),
        _ => quote(&character.to_string()),
    }
}

/// Checks a name: `[A-Za-z0-9_][A-Za-z0-9_.+-]*`, at most [`NAME_LIMIT`] characters.
///
/// # Errors
/// The first rule that it breaks, as a fragment that completes "`…` is not a name: …".
pub fn check_name(name: &str) -> Result<(), NameError> {
    let Some(first) = name.chars().next() else {
        return Err(NameError::Empty);
    };
    let allowed = |character: char| {
        character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '+' | '-')
    };
    if let Some(character) = name.chars().find(|character| !allowed(*character)) {
        return Err(NameError::Character(describe_character(character)));
    }
    if !first.is_ascii_alphanumeric() && first != '_' {
        return Err(NameError::First(describe_character(first)));
    }
    let length = name.chars().count();
    if length > NAME_LIMIT {
        Err(NameError::Long(length))
    } else {
        Ok(())
    }
}

/// Checks a time limit as batch systems write it: `minutes`, `minutes:seconds`, `hours:minutes:seconds`, `days-hours`,
/// `days-hours:minutes`, `days-hours:minutes:seconds` or a word for none.
#[must_use]
pub fn is_time_limit(text: &str) -> bool {
    if ["UNLIMITED", "INFINITE", "-1"].contains(&text.to_ascii_uppercase().as_str()) {
        return true;
    }
    let number = |part: &str| {
        (1..=9).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) if number(days) => (true, rest),
        Some(_) => return false,
        None => (false, text),
    };
    let parts: Vec<&str> = rest.split(':').collect();
    // Slurm takes minutes and seconds over 59 and counts on.
    parts.len() <= 3 && parts.iter().all(|part| number(part)) && (!days || !rest.is_empty())
}

/// A broken rule: the message, and what to say beside the caret.
pub(crate) struct Problem {
    pub(crate) message: String,
    pub(crate) label: String,
}

fn not_a(text: &str, what: &str, why: impl ToString) -> Option<Problem> {
    Some(Problem {
        message: format!("{} is not {what}", quote(text)),
        label: why.to_string(),
    })
}

/// What a format finds wrong with a value of the right type.
pub(crate) fn problem(format: &str, node: &Node) -> Option<Problem> {
    match (format, &node.value) {
        ("timespan" | "positive-timespan", value) => {
            let span = match value {
                Value::String(text) => Timespan::parse(text).map_err(|error| (text.clone(), error)),
                Value::Number(number) => {
                    Timespan::from_seconds_f64(number.value.as_f64().unwrap_or(f64::NAN))
                        .map_err(|error| (number.text.clone(), error))
                }
                _ => return None,
            };
            match span {
                Ok(span) if format == "positive-timespan" && span.is_zero() => Some(Problem {
                    message: "the time must be more than 0".to_owned(),
                    label: "leave the key out for no limit".to_owned(),
                }),
                Ok(_) => None,
                Err((text, error)) => not_a(&text, "a length of time", error),
            }
        }
        ("size", Value::String(text)) => match Size::parse(text) {
            Some(_) => None,
            None => not_a(text, "a size", size::WRITTEN),
        },
        (_, Value::String(text)) => text_problem(format, text),
        _ => None,
    }
}

/// Why a text is no path of a file inside a folder of ours.
fn file_problem(text: &str) -> Option<&'static str> {
    let parts: Vec<&str> = text.split('/').collect();
    if text.is_empty() || text.contains('\0') {
        Some("it names nothing")
    } else if text.starts_with('/') {
        Some("it must be relative")
    } else if parts.iter().any(|part| ["", ".", ".."].contains(part)) {
        Some("its parts must be names")
    } else if parts[0] == "attempts" {
        Some("`attempts` is where logs are kept")
    } else {
        None
    }
}

/// What a format finds wrong with a text, of a value or of a key.
pub(crate) fn text_problem(format: &str, text: &str) -> Option<Problem> {
    match format {
        "name" => check_name(text)
            .err()
            .and_then(|error| not_a(text, "a name", error)),
        "title" => match check_name(text) {
            Err(error) => not_a(text, "a title", error),
            Ok(()) if RESERVED_TITLES.contains(&text) => not_a(
                text,
                "a title",
                format!(
                    "{} always means the newest experiment",
                    list_names(RESERVED_TITLES, "and")
                ),
            ),
            Ok(()) => None,
        },
        "variable" if !is_identifier(text) => not_a(
            text,
            "the name of a variable",
            "letters, digits and `_` are allowed, and no digit at the front",
        ),
        "file" => file_problem(text).and_then(|why| not_a(text, "a file's path", why)),
        "secret" if SecretReference::parse(text).is_none() => {
            // The text may be the secret itself: it is not repeated.
            Some(Problem {
                message: "a secret is given by reference".to_owned(),
                label: "write `env:NAME`, `file:PATH` or `cmd:COMMAND`".to_owned(),
            })
        }
        "time-limit" if !is_time_limit(text) => not_a(
            text,
            "a time limit",
            "write minutes, hours:minutes:seconds (02:00:00) or days-hours (1-12)",
        ),
        "number" if number_from_text(text).is_none() => not_a(text, "a number", ""),
        "words" => match shlex::split(text) {
            None => Some(Problem {
                message: "the command cannot be split into words".to_owned(),
                label: "a quote is not closed, or a backslash ends it".to_owned(),
            }),
            Some(words) if words.is_empty() => Some(Problem {
                message: "the command is empty".to_owned(),
                label: String::new(),
            }),
            Some(_) => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limits() {
        for good in [
            "10",
            "10:00",
            "00:10:00",
            "1-12",
            "1-12:30",
            "1-12:30:15",
            "UNLIMITED",
            "90:90",
        ] {
            assert!(is_time_limit(good), "{good}");
        }
        for bad in [
            "", "2h", "1:2:3:4", "-", "1-", "-5", "1-a", "10m", ":", "1:", "0x10",
        ] {
            assert!(!is_time_limit(bad), "{bad}");
        }
    }
}
