//! The last lines of a log, for the exit record: bounded in bytes read, in lines and in the length of each.
//!
//! What a person would have seen on a terminal is what counts: of a line that was rewritten with carriage returns (a
//! progress bar) only its last state is kept.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use mizzen_agent::record::{LAST_LINES, LAST_LINES_BYTES};

/// At most so many bytes of one line are kept.
const LINE_BYTES: usize = 2048;

/// So much of a log is read to find out why its rank failed.
const WORDS_BYTES: u64 = 256 << 10;
/// And at most so many lines of it.
const WORDS_LINES: usize = 4000;

/// Reads the last lines of a file. A log that can't be read has none: the record must be written all the same.
pub(crate) fn last_lines(path: &Path) -> Vec<String> {
    read_end(path, LAST_LINES_BYTES)
        .map(|(end, from_the_start)| lines(&end, from_the_start, LAST_LINES))
        .unwrap_or_default()
}

/// Reads more of a file's end than is kept: the reason of a failure often stands above what was written while winding up.
pub(crate) fn last_words(path: &Path) -> Vec<String> {
    read_end(path, WORDS_BYTES)
        .map(|(end, from_the_start)| lines(&end, from_the_start, WORDS_LINES))
        .unwrap_or_default()
}

fn read_end(path: &Path, most: u64) -> io::Result<(Vec<u8>, bool)> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let offset = length.saturating_sub(most);
    let mut end = vec![0; usize::try_from(length - offset).unwrap_or(0)];
    let mut filled = 0;
    while filled < end.len() {
        match file.read_at(&mut end[filled..], offset + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    end.truncate(filled);
    Ok((end, offset == 0))
}

/// The last `most` lines. `from_the_start`: the first line is whole.
fn lines(end: &[u8], from_the_start: bool, most: usize) -> Vec<String> {
    let mut pieces: Vec<&[u8]> = end.split(|byte| *byte == b'\n').collect();
    if pieces.last().is_some_and(|last| last.is_empty()) {
        pieces.pop();
    }
    let mut first_is_whole = from_the_start;
    // The beginning of the first line is missing: worth showing only if there is nothing else.
    if !from_the_start && pieces.len() > 1 {
        pieces.remove(0);
        first_is_whole = true;
    }
    let skipped = pieces.len().saturating_sub(most);
    let whole = |index: usize| index > 0 || first_is_whole;
    pieces
        .iter()
        .enumerate()
        .skip(skipped)
        .map(|(index, line)| cut(line, whole(index)))
        .collect()
}

fn cut(line: &[u8], whole: bool) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (line, whole) = match line.iter().rposition(|byte| *byte == b'\r') {
        Some(rewritten) => (&line[rewritten + 1..], true),
        None => (line, whole),
    };
    if !whole {
        // The end of an endless line is its newest part.
        let kept = &line[line.len().saturating_sub(LINE_BYTES)..];
        return format!("…{}", lossy(kept));
    }
    if line.len() > LINE_BYTES {
        return format!("{}…", lossy(&line[..LINE_BYTES]));
    }
    lossy(line)
}

/// Bytes that are not UTF-8 are replaced; a character cut in two at either end is dropped instead.
fn lossy(bytes: &[u8]) -> String {
    let start = bytes
        .iter()
        .take(3)
        .take_while(|byte| (**byte & 0xC0) == 0x80)
        .count();
    let mut bytes = &bytes[start..];
    if let Err(error) = std::str::from_utf8(bytes)
        && error.error_len().is_none()
    {
        bytes = &bytes[..error.valid_up_to()];
    }
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_and_no_line_ends() {
        assert_eq!(lines(b"", true, LAST_LINES), Vec::<String>::new());
        assert_eq!(lines(b"a\r\nb", true, LAST_LINES), ["a", "b"]);
        assert_eq!(lines(b"a\n\nb\n", true, LAST_LINES), ["a", "", "b"]);
        let many: String = (0..100).map(|number| format!("{number}\n")).collect();
        let kept = lines(many.as_bytes(), true, LAST_LINES);
        assert_eq!(
            (kept.len(), kept[0].as_str(), kept[19].as_str()),
            (20, "80", "99")
        );
    }

    #[test]
    fn a_torn_first_line_is_left_out_unless_it_is_all() {
        assert_eq!(lines(b"orn\nwhole\n", false, LAST_LINES), ["whole"]);
        assert_eq!(lines(b"endless", false, LAST_LINES), ["…endless"]);
    }

    #[test]
    fn long_lines_binary_and_progress_bars() {
        let long = lines(&[b'x'; 5000], true, LAST_LINES);
        assert_eq!(long[0].chars().count(), LINE_BYTES + 1);
        assert!(long[0].ends_with('…'));
        assert_eq!(
            lines(b"\xff\xfe ok\n", true, LAST_LINES),
            ["\u{fffd}\u{fffd} ok"]
        );
        assert_eq!(
            lines(b"\r 1%\r 2%\r100%\nTraceback\n", true, LAST_LINES),
            ["100%", "Traceback"]
        );
        let cut_in_two = [
            b"x".repeat(LINE_BYTES - 1),
            "é".as_bytes().to_vec(),
            b"y".to_vec(),
        ]
        .concat();
        assert!(lines(&cut_in_two, true, LAST_LINES)[0].ends_with("x…"));
    }
}
