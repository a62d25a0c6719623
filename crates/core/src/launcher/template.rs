//! Scripts from templates: every value is one word of a shell, unless the template says otherwise (`|safe`), and nothing is ever
//! escaped for HTML.
//!
//! ```text
//! {{ name }}         a value as one word of a shell, the executor's macros included
//! {{ command }}      the whole command, each of its words quoted        {{ argv }}   the same as a list
//! {{ name|safe }}    a value as it is: text of a shell's own
//! ```

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

/// How the templates escape.
const SHELL: &str = "sh";

/// A text that a template puts in as it is.
pub(super) fn safe(text: String) -> Value {
    Value::from_safe_string(text)
}

/// Words, each of them quoted.
pub(super) fn line(words: &[String], quote: fn(&str) -> String) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    words.join(" ")
}

fn one(value: &Value, quote: fn(&str) -> String) -> Result<String, minijinja::Error> {
    Ok(match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            let words: Result<Vec<String>, _> =
                value.try_iter()?.map(|word| one(&word, quote)).collect();
            words?.join(" ")
        }
        ValueKind::None | ValueKind::Undefined => String::new(),
        _ => match value.as_str() {
            Some(text) if value.is_safe() => text.to_owned(),
            Some(text) => quote(text),
            None => quote(&value.to_string()),
        },
    })
}

/// Fills a template in. What is wrong with it comes as text, with the line and a mark under the place.
pub(super) fn fill(
    name: &str,
    text: &str,
    values: &Value,
    quote: fn(&str) -> String,
) -> Result<String, String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_auto_escape_callback(|_| AutoEscape::Custom(SHELL.into()));
    environment.set_formatter(move |output, state, value| {
        if value.is_undefined() {
            return Err(minijinja::Error::from(minijinja::ErrorKind::UndefinedError));
        }
        if matches!(state.auto_escape(), AutoEscape::Custom(name) if name == SHELL) {
            output.write_str(&one(value, quote)?)?;
        } else {
            write!(output, "{value}")?;
        }
        Ok(())
    });
    environment
        .template_from_named_str(name, text)
        .and_then(|template| template.render(values.clone()))
        .map_err(|error| shown(name, text, &error))
}

/// An error with the line that it is in.
fn shown(name: &str, text: &str, error: &minijinja::Error) -> String {
    let detail = error.detail().map(|detail| format!(": {detail}"));
    let what = format!("{}{}", error.kind(), detail.unwrap_or_default());
    let Some(number) = error.line() else {
        return format!("{name}: {what}");
    };
    let line = text
        .lines()
        .nth(number.saturating_sub(1))
        .unwrap_or_default();
    let start: usize = text
        .split_inclusive('\n')
        .take(number - 1)
        .map(str::len)
        .sum();
    // The place within the line; of an error that ends on another line, the rest of this one.
    let (from, to) = match error.range() {
        Some(range) if range.start >= start => {
            let from = (range.start - start).min(line.len());
            (from, (range.end - start).clamp(from, line.len()))
        }
        _ => (line.len() - line.trim_start().len(), line.len()),
    };
    let column = line
        .get(..from)
        .map_or(from, |before| before.chars().count());
    let width = line
        .get(from..to)
        .map_or(1, |inside| inside.chars().count().max(1));
    let gutter = " ".repeat(number.to_string().len());
    let blank: String = line
        .chars()
        .take(column)
        .map(|character| if character == '\t' { '\t' } else { ' ' })
        .collect();
    format!(
        "{name}:{number}:{}: {what}\n{number} | {line}\n{gutter} | {blank}{}",
        column + 1,
        "^".repeat(width)
    )
}
