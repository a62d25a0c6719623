//! Text that came from elsewhere (log lines, messages), made safe for a terminal, and cut to a width.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// One line without escape sequences and control characters: a job's log must not be able to write into the reader's
/// terminal when mizzen quotes it.
pub(crate) fn printable(line: &str) -> String {
    let line = line
        .rsplit('\r')
        .find(|part| !part.trim().is_empty())
        .unwrap_or(line);
    anstream::adapter::strip_str(line)
        .to_string()
        .chars()
        .map(|c| if c == '\t' { ' ' } else { c })
        .filter(|c| !c.is_control())
        .collect()
}

/// How many columns the text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The text cut to a number of columns, with `…` where something was left out.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut taken = String::new();
    let mut used = 0;
    for c in text.chars() {
        let more = c.width().unwrap_or(0);
        if used + more + 1 > columns {
            break;
        }
        used += more;
        taken.push(c);
    }
    if columns > 0 {
        taken.push('…');
    }
    taken
}

/// `1 job`, `3 jobs`.
pub(crate) fn count(number: usize, word: &str) -> String {
    if number == 1 {
        format!("1 {word}")
    } else {
        format!("{number} {word}s")
    }
}

/// Bytes as people say them: `812 B`, `3.4 MiB`.
pub(crate) fn bytes(number: u64) -> String {
    let mut amount = number as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if amount < 1024.0 || unit == "TiB" {
            return if unit == "B" {
                format!("{number} B")
            } else {
                format!("{amount:.1} {unit}")
            };
        }
        amount /= 1024.0;
    }
    unreachable!("the last unit returns")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_log_lines_cant_drive_the_terminal() {
        assert_eq!(
            printable("\u{1b}[31mred\u{1b}[0m\tand \u{1b}]0;title\u{7}loud\u{7}"),
            "red and loud"
        );
        assert_eq!(printable("10%\r50%\r100%"), "100%");
        assert_eq!(printable("done\r"), "done");
    }

    #[test]
    fn text_is_cut_by_columns() {
        assert_eq!(cut("short", 10), "short");
        assert_eq!(cut("a longer line", 8), "a longe…");
        assert_eq!(cut("日本語テキスト", 7), "日本語…");
        assert_eq!(cut("x", 0), "");
    }

    #[test]
    fn amounts() {
        assert_eq!(count(1, "job"), "1 job");
        assert_eq!(count(0, "job"), "0 jobs");
        assert_eq!(bytes(812), "812 B");
        assert_eq!(bytes(3_600_000), "3.4 MiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }
}
