//! The grammar of a value on a command line, before anybody knows its type.
//!
//! ```text
//! [1, 'a b', opt(lr=0.1, betas=(0.9, 0.99))] ── parse ──→ Literal tree ── an annotation (Python) ──→ a value
//! ```
//!
//! ```text
//! value  := list | tuple | set | table | call | quoted | word
//! list   := "[" [value ("," value)* [","]] "]"           tuple and set alike, in "()" and "{}"
//! table  := "{" [value ":" value ("," …)* [","]] "}"     "{}" is an empty table
//! call   := name "(" [[name "="] value ("," …)* [","]] ")"
//! quoted := "'" … "'" | '"' … '"'                        with Python's escapes
//! word   := anything else, up to what ends it where it stands
//! ```
//!
//! A text that does not begin like a structure is one word as a whole, so `note=hello, world (today)` needs no quotes.
//! Nothing is looked up or executed here: a call is a name with arguments, and what it means is decided by the type that
//! is wanted.

use std::ops::Range;

use super::document::DEPTH_LIMIT;

/// A value's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literal {
    /// A text, with or without quotes.
    Text {
        /// The text, its escapes resolved if it was quoted.
        text: String,
        /// It stood in quotes.
        quoted: bool,
    },
    /// Digits with what may stand around them: an integer or a float as Python writes them.
    Number(String),
    /// A name, dotted or not.
    Name(String),
    /// `[…]`
    List(Vec<Literal>),
    /// `(…)`
    Tuple(Vec<Literal>),
    /// `{a, b}`
    Set(Vec<Literal>),
    /// `{a: b}`
    Table(Vec<(Literal, Literal)>),
    /// `name(…)`
    Call {
        /// The name, dotted or not.
        name: String,
        /// The arguments; those without a name are positional.
        arguments: Vec<(Option<String>, Literal)>,
    },
}

/// Where a value can't be read, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at character {})", range.start + 1)]
pub struct LiteralError {
    /// The bytes of the text.
    pub range: Range<usize>,
    /// What is wrong.
    pub message: String,
}

/// Reads a value.
///
/// # Errors
/// A bracket or a quote that is not closed, or something behind the value's end.
pub fn parse(text: &str) -> Result<Literal, LiteralError> {
    let mut parser = Parser { text, at: 0 };
    parser.blanks();
    let opens = parser.rest().starts_with(['[', '(', '{', '\'', '"']);
    let is_call = call_name(parser.rest()).is_some();
    if !opens && !is_call {
        return Ok(word(text.trim()));
    }
    let value = match parser.value(&[], 0) {
        Ok(value) => value,
        // `f(x) = 2 (see page 3` is no call that lacks its end, but a sentence.
        Err(_) if is_call && !text.trim_end().ends_with(')') => return Ok(word(text.trim())),
        Err(error) => return Err(error),
    };
    parser.blanks();
    if parser.rest().is_empty() {
        return Ok(value);
    }
    if is_call {
        return Ok(word(text.trim()));
    }
    Err(LiteralError {
        range: parser.at..text.len(),
        message: "the value has ended, and more follows".to_owned(),
    })
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn eat(&mut self, symbol: char) -> bool {
        self.blanks();
        let found = self.rest().starts_with(symbol);
        if found {
            self.at += symbol.len_utf8();
        }
        found
    }

    fn error(&self, from: usize, message: impl Into<String>) -> LiteralError {
        LiteralError {
            range: from..self.text.len(),
            message: message.into(),
        }
    }

    /// One value; a bare word ends before one of `ends`.
    fn value(&mut self, ends: &[char], depth: usize) -> Result<Literal, LiteralError> {
        if depth > DEPTH_LIMIT {
            return Err(self.error(
                self.at,
                format!("more than {DEPTH_LIMIT} brackets are open"),
            ));
        }
        self.blanks();
        let start = self.at;
        match self.rest().chars().next() {
            Some('[') => {
                self.at += 1;
                Ok(Literal::List(self.items(']', start, depth)?))
            }
            Some('(') => {
                self.at += 1;
                Ok(Literal::Tuple(self.items(')', start, depth)?))
            }
            Some('{') => {
                self.at += 1;
                self.braces(start, depth)
            }
            Some(quotation @ ('\'' | '"')) => self.quoted(quotation),
            _ => {
                if let Some(name) = call_name(self.rest()) {
                    let name = name.to_owned();
                    self.at += name.len() + 1;
                    return self.arguments(name, start, depth);
                }
                let end = self.rest().find(ends).unwrap_or(self.rest().len());
                let found = self.rest()[..end].trim();
                self.at += end;
                if found.is_empty() {
                    return Err(LiteralError {
                        range: start..self.at.max(start + 1).min(self.text.len()),
                        message: "a value is missing".to_owned(),
                    });
                }
                Ok(word(found))
            }
        }
    }

    fn items(
        &mut self,
        close: char,
        start: usize,
        depth: usize,
    ) -> Result<Vec<Literal>, LiteralError> {
        let mut items = Vec::new();
        loop {
            if self.eat(close) {
                return Ok(items);
            }
            items.push(self.value(&[',', close], depth + 1)?);
            if !self.eat(',') && !self.rest().starts_with(close) {
                return Err(self.unclosed(close, start));
            }
        }
    }

    fn unclosed(&self, close: char, start: usize) -> LiteralError {
        if self.rest().is_empty() {
            self.error(start, format!("`{close}` is missing"))
        } else {
            self.error(self.at, format!("`,` or `{close}` is missing"))
        }
    }

    fn braces(&mut self, start: usize, depth: usize) -> Result<Literal, LiteralError> {
        if self.eat('}') {
            return Ok(Literal::Table(Vec::new()));
        }
        let first = self.value(&[',', ':', '}'], depth + 1)?;
        if !self.eat(':') {
            let mut items = vec![first];
            if !self.eat(',') && !self.rest().starts_with('}') {
                return Err(self.unclosed('}', start));
            }
            items.extend(self.items('}', start, depth)?);
            return Ok(Literal::Set(items));
        }
        let mut pairs = vec![(first, self.value(&[',', '}'], depth + 1)?)];
        loop {
            let comma = self.eat(',');
            if self.eat('}') {
                return Ok(Literal::Table(pairs));
            }
            if !comma {
                return Err(self.unclosed('}', start));
            }
            let key = self.value(&[',', ':', '}'], depth + 1)?;
            if !self.eat(':') {
                return Err(self.error(self.at, "`:` and a value are missing behind the key"));
            }
            pairs.push((key, self.value(&[',', '}'], depth + 1)?));
        }
    }

    fn arguments(
        &mut self,
        name: String,
        start: usize,
        depth: usize,
    ) -> Result<Literal, LiteralError> {
        let mut arguments = Vec::new();
        loop {
            if self.eat(')') {
                return Ok(Literal::Call { name, arguments });
            }
            self.blanks();
            let key = argument_name(self.rest()).map(str::to_owned);
            if let Some(key) = &key {
                self.at += key.len();
                self.eat('=');
            }
            arguments.push((key, self.value(&[',', ')'], depth + 1)?));
            if !self.eat(',') && !self.rest().starts_with(')') {
                return Err(self.unclosed(')', start));
            }
        }
    }

    fn quoted(&mut self, quotation: char) -> Result<Literal, LiteralError> {
        let start = self.at;
        let mut text = String::new();
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((offset, character)) = characters.next() {
            if character == quotation {
                self.at = start + offset + 1;
                return Ok(Literal::Text { text, quoted: true });
            }
            if character != '\\' {
                text.push(character);
                continue;
            }
            let Some((_, escaped)) = characters.next() else {
                break;
            };
            let simple = match escaped {
                'n' => Some('\n'),
                't' => Some('\t'),
                'r' => Some('\r'),
                '0' => Some('\0'),
                '\\' | '\'' | '"' => Some(escaped),
                _ => None,
            };
            let digits = match escaped {
                'x' => 2,
                'u' => 4,
                'U' => 8,
                _ => 0,
            };
            if let Some(simple) = simple {
                text.push(simple);
            } else if digits > 0 {
                let hexadecimal: String = characters
                    .by_ref()
                    .take(digits)
                    .map(|(_, digit)| digit)
                    .collect();
                let character = u32::from_str_radix(&hexadecimal, 16)
                    .ok()
                    .filter(|_| hexadecimal.len() == digits)
                    .and_then(char::from_u32);
                text.push(character.ok_or_else(|| LiteralError {
                    range: start + offset..start + offset + 2,
                    message: format!("`\\{escaped}` needs {digits} hexadecimal digits"),
                })?);
            } else {
                // As Python does with an escape that it does not know.
                text.push('\\');
                text.push(escaped);
            }
        }
        Err(self.error(start, "the quote is not closed"))
    }
}

fn is_start(character: char) -> bool {
    character.is_alphabetic() || character == '_'
}

fn is_part(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Whether the text is a name, or names with dots between them.
fn is_dotted_name(text: &str) -> bool {
    text.split('.')
        .all(|part| part.starts_with(is_start) && part.chars().all(is_part))
}

/// The name in front of `(`, if the text begins so.
fn call_name(text: &str) -> Option<&str> {
    let end = text.find(|character| !(is_part(character) || character == '.'))?;
    (text[end..].starts_with('(') && is_dotted_name(&text[..end])).then(|| &text[..end])
}

/// The name in front of `=`, if the text begins so.
fn argument_name(text: &str) -> Option<&str> {
    let end = text.find(|character| !is_part(character))?;
    let rest = text[end..].trim_start();
    let is_name = text[..end].starts_with(is_start);
    (is_name && rest.starts_with('=') && !rest.starts_with("==")).then(|| &text[..end])
}

/// A word without quotes: a number, a name, or text.
fn word(text: &str) -> Literal {
    if is_number(text) {
        Literal::Number(text.to_owned())
    } else if is_dotted_name(text) {
        Literal::Name(text.to_owned())
    } else {
        Literal::Text {
            text: text.to_owned(),
            quoted: false,
        }
    }
}

/// An integer (also `0x`, `0o`, `0b`) or a float, as Python's own grammar has them.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let run = |text: &str, radix: u32| {
        text.split('_')
            .all(|part| !part.is_empty() && part.chars().all(|digit| digit.is_digit(radix)))
    };
    for (prefixes, radix) in [(["0x", "0X"], 16), (["0o", "0O"], 8), (["0b", "0B"], 2)] {
        if let Some(rest) = prefixes
            .iter()
            .find_map(|prefix| digits.strip_prefix(prefix))
        {
            return run(rest, radix);
        }
    }
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    let exponent_fits = exponent
        .is_none_or(|exponent| run(exponent.strip_prefix(['+', '-']).unwrap_or(exponent), 10));
    let mantissa_fits = match mantissa.split_once('.') {
        Some((whole, fraction)) => {
            !(whole.is_empty() && fraction.is_empty())
                && (whole.is_empty() || run(whole, 10))
                && (fraction.is_empty() || run(fraction, 10))
        }
        None => run(mantissa, 10),
    };
    mantissa_fits && exponent_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree as one line.
    fn shown(literal: &Literal) -> String {
        let all = |items: &[Literal]| items.iter().map(shown).collect::<Vec<_>>().join(" ");
        match literal {
            Literal::Text { text, quoted: true } => format!("{text:?}"),
            Literal::Text { text, .. } => format!("<{text}>"),
            Literal::Number(text) => format!("#{text}"),
            Literal::Name(text) => text.clone(),
            Literal::List(items) => format!("[{}]", all(items)),
            Literal::Tuple(items) => format!("({})", all(items)),
            Literal::Set(items) => format!("{{{}}}", all(items)),
            Literal::Table(pairs) => {
                let pairs: Vec<_> = pairs
                    .iter()
                    .map(|(key, value)| format!("{}:{}", shown(key), shown(value)))
                    .collect();
                format!("{{{}}}", pairs.join(" "))
            }
            Literal::Call { name, arguments } => {
                let arguments: Vec<_> = arguments
                    .iter()
                    .map(|(key, value)| match key {
                        Some(key) => format!("{key}={}", shown(value)),
                        None => shown(value),
                    })
                    .collect();
                format!("{name}({})", arguments.join(" "))
            }
        }
    }

    #[test]
    fn values_are_taken_apart() {
        for (text, tree) in [
            ("0.1", "#0.1"),
            ("-1_000", "#-1_000"),
            ("0xff", "#0xff"),
            ("1e-3", "#1e-3"),
            (".5", "#.5"),
            ("1.", "#1."),
            ("1.2.3", "<1.2.3>"),
            ("e5", "e5"),
            ("", "<>"),
            ("True", "True"),
            ("a.b.c", "a.b.c"),
            ("hello, world (today)", "<hello, world (today)>"),
            ("/data/a=b", "</data/a=b>"),
            ("'a\\n\\x41\\q'", r#""a\nA\\q""#),
            (r#""it's""#, r#""it's""#),
            ("[1, a b, 'c,d',]", r#"[#1 <a b> "c,d"]"#),
            ("[[1], (2, 3), {}]", "[[#1] (#2 #3) {}]"),
            ("{1, 2}", "{#1 #2}"),
            (
                "{a: 1, 'b c': [2], d: http://x:80}",
                r#"{a:#1 "b c":[#2] d:<http://x:80>}"#,
            ),
            (
                "opt(lr=0.1, betas=(0.9, 0.99), 3)",
                "opt(lr=#0.1 betas=(#0.9 #0.99) #3)",
            ),
            ("a.b(c(d=[e(), 'f)']))", r#"a.b(c(d=[e() "f)"]))"#),
            ("f(x) = 2", "<f(x) = 2>"),
            ("print(1) and more (", "<print(1) and more (>"),
            ("()", "()"),
            (" [ ] ", "[]"),
        ] {
            assert_eq!(
                parse(text).map(|literal| shown(&literal)),
                Ok(tree.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_closed_is_said() {
        for (text, message) in [
            ("[1, 2", "`]` is missing (at character 1)"),
            ("[1, [2]", "`]` is missing (at character 1)"),
            ("{a: 1", "`}` is missing (at character 1)"),
            (
                "{a: 1, b}",
                "`:` and a value are missing behind the key (at character 9)",
            ),
            ("'abc", "the quote is not closed (at character 1)"),
            ("f(x=1", "`)` is missing (at character 1)"),
            (
                "[1] 2",
                "the value has ended, and more follows (at character 5)",
            ),
            ("[,]", "a value is missing (at character 2)"),
            (
                "'\\x4'",
                "`\\x` needs 2 hexadecimal digits (at character 2)",
            ),
        ] {
            let found = parse(text);
            if text.starts_with("f(") {
                // Without its closing bracket this is only text.
                assert_eq!(
                    found.map(|literal| shown(&literal)),
                    Ok("<f(x=1>".to_owned())
                );
                continue;
            }
            assert_eq!(
                found.map_err(|error| error.to_string()),
                Err(message.to_owned()),
                "{text}"
            );
        }
        let deep = "[".repeat(10_000);
        assert!(parse(&deep).is_err());
    }
}
