//! Secrets that a program printed are masked when its log is shown. The log itself stays as it was written.

use std::collections::BTreeMap;

use crate::executor::resolve_secret;

/// Stands where a secret was.
const MASK: &[u8] = b"********";
/// Shorter values would mask ordinary words.
const SHORTEST: usize = 6;

/// Masks known values.
#[derive(Debug, Default)]
pub struct Redactor {
    values: Vec<Vec<u8>>,
}

impl Redactor {
    /// Masks the values that these references stand for, as far as they can be had here without running a command.
    pub fn new<'a>(
        references: impl Iterator<Item = &'a str>,
        environment: &BTreeMap<String, String>,
    ) -> Redactor {
        let mut values: Vec<Vec<u8>> = references
            .filter(|reference| !reference.starts_with("cmd:"))
            .filter_map(|reference| resolve_secret(reference, environment).ok())
            .filter(|value| value.len() >= SHORTEST)
            .map(String::into_bytes)
            .collect();
        values.sort_unstable();
        values.dedup();
        Redactor { values }
    }

    /// The line with every known value masked; `None` if it holds none.
    #[must_use]
    pub fn redact(&self, line: &[u8]) -> Option<Vec<u8>> {
        let mut result: Option<Vec<u8>> = None;
        for value in &self.values {
            let current = result.as_deref().unwrap_or(line);
            if let Some(masked) = replace(current, value) {
                result = Some(masked);
            }
        }
        result
    }
}

fn replace(line: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let mut positions = (0..line.len().saturating_sub(value.len() - 1))
        .filter(|start| line[*start..].starts_with(value))
        .peekable();
    positions.peek()?;
    let mut result = Vec::with_capacity(line.len());
    let mut copied = 0;
    for start in positions {
        if start >= copied {
            result.extend_from_slice(&line[copied..start]);
            result.extend_from_slice(MASK);
            copied = start + value.len();
        }
    }
    result.extend_from_slice(&line[copied..]);
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_are_masked() {
        let environment = BTreeMap::from([
            ("T".to_owned(), "s3cret!".to_owned()),
            ("SHORT".to_owned(), "abc".to_owned()),
        ]);
        let redactor = Redactor::new(
            ["env:T", "env:SHORT", "env:NO", "cmd:false"].into_iter(),
            &environment,
        );
        assert_eq!(
            redactor.redact(b"token=s3cret!s3cret!, abc").unwrap(),
            b"token=****************, abc"
        );
        assert_eq!(redactor.redact(b"nothing"), None);
    }
}
