//! The words of messages: user text quoted, names listed, the likely one suggested.

/// What a tab is shown as.
const TAB: &str = "    ";

/// How one character of a source is shown.
pub(super) fn shown(character: char) -> String {
    match character {
        '\t' => TAB.to_owned(),
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(character))
            .map(String::from)
            .unwrap_or_default(),
        '\u{7f}' => "␡".to_owned(),
        // Marks that turn the direction of text, or hide: they would make the excerpt lie.
        '\u{80}'..='\u{9f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => "\u{fffd}".to_owned(),
        _ => character.to_string(),
    }
}

/// `text` with everything that could drive a terminal made visible.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(shown).collect()
}

/// User text inside a message: in backquotes, printable, shortened to some 60 characters.
#[must_use]
pub fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut out = String::from("`");
    for (count, character) in text.chars().enumerate() {
        if count == LONGEST {
            out.push('…');
            break;
        }
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            _ => out.push_str(&shown(character)),
        }
    }
    out.push('`');
    out
}

/// Joins quoted names: `` `a`, `b` and `c` `` with the given last word.
#[must_use]
pub fn list_names<'a>(names: impl IntoIterator<Item = &'a str>, last: &str) -> String {
    const MOST: usize = 12;
    let quoted: Vec<String> = names.into_iter().map(quote).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        many if many.len() > MOST => {
            format!("{} and {} more", many[..MOST].join(", "), many.len() - MOST)
        }
        [init @ .., end] => format!("{} {last} {end}", init.join(", ")),
    }
}

/// The candidate that `word` was probably meant to be.
#[must_use]
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    const LONGEST: usize = 100;
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    let lower = word.to_lowercase();
    let length = lower.chars().count();
    let allowed = length.max(3) / 3;
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST && *candidate != word)
        .map(|candidate| {
            (
                strsim::osa_distance(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| {
            // In words of one or two letters anything is near anything.
            *distance <= allowed
                && (*distance == 0 || *distance + 1 < length.max(candidate.chars().count()))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The words beside a caret for an unknown name: the likely one, or the first few that there are.
#[must_use]
pub fn suggestion(word: &str, candidates: &[&str], many: &str) -> String {
    match did_you_mean(word, candidates.iter().copied()) {
        Some(close) => format!("did you mean {}?", quote(close)),
        None if candidates.is_empty() => String::new(),
        None => format!("{many}: {}", list_names(candidates.iter().copied(), "and")),
    }
}
