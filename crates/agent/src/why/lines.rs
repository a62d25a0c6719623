//! Log lines made plain: without colours, and sorted by who wrote them where a launcher's prefix says it.

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// What stood in front of it: `rank3` of `[rank3]: …`, `default0` of `[default0]:…`, `train pid=7` of `(train pid=7) …`;
    /// empty without such a prefix.
    pub(super) tag: String,
    /// The rest.
    pub(super) text: String,
}

/// Takes a line apart.
pub(super) fn plain(line: &str) -> Line {
    let line = without_escapes(line);
    let split = bracketed(&line).or_else(|| parenthesised(&line));
    match split {
        Some((tag, text)) => Line {
            tag: tag.to_owned(),
            text: text.trim_end().to_owned(),
        },
        None => Line {
            tag: String::new(),
            text: line.trim_end().to_owned(),
        },
    }
}

/// `[rank3]: text` (torch's hook for uncaught exceptions), `[default0]:text` (`torchrun --tee`).
fn bracketed(line: &str) -> Option<(&str, &str)> {
    let (tag, text) = line.strip_prefix('[')?.split_once("]:")?;
    let named = tag.len() <= 40
        && tag.starts_with(|c: char| c.is_ascii_alphabetic())
        && tag.ends_with(|c: char| c.is_ascii_digit())
        && tag
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let text = text.strip_prefix(' ').unwrap_or(text);
    named.then_some((tag, text))
}

/// `(train pid=7, ip=10.0.0.1) text` (Ray).
fn parenthesised(line: &str) -> Option<(&str, &str)> {
    let (tag, text) = line.strip_prefix('(')?.split_once(") ")?;
    (tag.len() <= 80 && tag.contains("pid=")).then_some((tag, text))
}

/// Without ECMA-48 escape sequences, which colour tracebacks.
fn without_escapes(line: &str) -> String {
    if !line.contains('\u{1b}') {
        return line.to_owned();
    }
    let mut text = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c != '\u{1b}' {
            text.push(c);
            continue;
        }
        match rest.next() {
            // A control sequence ends with a letter or a few signs.
            Some('[') => {
                for c in rest.by_ref() {
                    if ('@'..='~').contains(&c) {
                        break;
                    }
                }
            }
            // An operating system command ends with BEL or with ESC \.
            Some(']') => {
                while let Some(c) = rest.next() {
                    if c == '\u{7}' {
                        break;
                    }
                    if c == '\u{1b}' {
                        rest.next();
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    text
}

/// The rank that a tag names: 3 of `rank3`.
pub(super) fn rank_of(tag: &str) -> Option<u32> {
    tag.strip_prefix("rank")?.parse().ok()
}

/// The different tags, in the order of their last lines: who wrote last is last.
pub(super) fn tags(lines: &[Line]) -> Vec<&str> {
    let mut tags: Vec<&str> = Vec::new();
    for line in lines.iter().rev() {
        if !tags.contains(&line.tag.as_str()) {
            tags.push(&line.tag);
        }
    }
    tags.reverse();
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_and_colours_come_off() {
        for (line, tag, text) in [
            (
                "[rank3]: Traceback (most recent call last):",
                "rank3",
                "Traceback (most recent call last):",
            ),
            (
                "[rank3]:   File \"a.py\", line 1, in f",
                "rank3",
                "  File \"a.py\", line 1, in f",
            ),
            (
                "[rank0]:[E626 06:24:44.903881913 ProcessGroupNCCL.cpp:616] [Rank 0] Watchdog",
                "rank0",
                "[E626 06:24:44.903881913 ProcessGroupNCCL.cpp:616] [Rank 0] Watchdog",
            ),
            ("[default0]:hello", "default0", "hello"),
            ("[train.py2]: hello ", "train.py2", "hello"),
            (
                "(train_fn pid=71, ip=10.0.0.2) hello",
                "train_fn pid=71, ip=10.0.0.2",
                "hello",
            ),
            (
                "[E ProcessGroupNCCL.cpp:458] x",
                "",
                "[E ProcessGroupNCCL.cpp:458] x",
            ),
            ("[2026-01-01 00:00:00]: x", "", "[2026-01-01 00:00:00]: x"),
            ("(1) pid", "", "(1) pid"),
            ("\u{1b}[31mred\u{1b}[0m \u{1b}]0;t\u{7}x", "", "red x"),
            ("  indented\t", "", "  indented"),
            ("", "", ""),
        ] {
            let expected = Line {
                tag: tag.to_owned(),
                text: text.to_owned(),
            };
            assert_eq!(plain(line), expected, "{line:?}");
        }
        assert_eq!((rank_of("rank12"), rank_of("default1")), (Some(12), None));
    }
}
