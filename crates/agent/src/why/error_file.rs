//! The file in which PyTorch leaves what a rank failed of (`TORCHELASTIC_ERROR_FILE`, written by functions under `@record`).
//!
//! ```text
//! {"message": {"message": "ValueError: x", "extraInfo": {"py_callstack": "Traceback …", "timestamp": "1795400000"}}}
//! {"message": "words"}                                                                 other handlers
//! ```
//! Source: torch/distributed/elastic/multiprocessing/errors/error_handler.py.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;

/// A larger file is no error file.
const MOST: u64 = 4 << 20;

/// What an error file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ErrorFile {
    /// `ValueError: x`.
    pub(super) message: String,
    /// The traceback, if there is one.
    pub(super) traceback: String,
}

/// Reads an error file; none if it is not there or is none.
pub(super) fn read(path: &Path) -> Option<ErrorFile> {
    let mut text = Vec::new();
    File::open(path)
        .ok()?
        .take(MOST)
        .read_to_end(&mut text)
        .ok()?;
    parse(&text)
}

fn parse(text: &[u8]) -> Option<ErrorFile> {
    let document: Value = serde_json::from_slice(text).ok()?;
    let said = document.get("message")?;
    if let Some(words) = said.as_str() {
        return Some(ErrorFile {
            message: words.to_owned(),
            traceback: String::new(),
        });
    }
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let found = ErrorFile {
        message: text(said.get("message")),
        traceback: text(said.pointer("/extraInfo/py_callstack")),
    };
    (!found.message.is_empty() || !found.traceback.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_others_are_not() {
        let torch = br#"{"message": {"message": "ValueError: x", "extraInfo": {"py_callstack": "Traceback (most recent call last):\nValueError: x\n", "timestamp": "1795400000"}, "errorCode": 1}}"#;
        let found = parse(torch).unwrap();
        assert_eq!(found.message, "ValueError: x");
        assert!(found.traceback.starts_with("Traceback"));
        assert_eq!(
            parse(br#"{"message": "words", "timestamp": 3}"#)
                .unwrap()
                .message,
            "words"
        );
        for none in [
            &b""[..],
            b"{",
            b"[]",
            b"{}",
            br#"{"message": 3}"#,
            br#"{"message": {}}"#,
            b"\xff",
        ] {
            assert_eq!(parse(none), None, "{none:?}");
        }
    }
}
