//! The rules of the tree that no compiler checks: the stages' order, where an executor's name may stand, the picture in
//! `docs/architecture.md`, the size of files, words and paths that have no place in a source.
//!
//! ```text
//! source ── Code::read ──▶ text without comments and literals, literals by line ──▶ rules ──▶ "file:line: what"
//! ```
//!
//! Only what is compiled outside of tests counts for the order and the names: prose may point anywhere, and a test may
//! use what it tests with. A new stage is one word in [`STAGES`]; a new executor needs nothing here.
#![expect(clippy::unwrap_used, reason = "what can't be read fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The stages in their order: each may use those before it.
const STAGES: [&str; 10] = [
    "config", "plan", "launcher", "packager", "tunnel", "executor", "store", "submit", "watch",
    "logs",
];
/// What every stage may use; they use only each other.
const BELOW: [&str; 2] = ["model", "context"];
/// The user of examples: a path below that home is nobody's.
const NOBODY: &str = "me";
/// A longer file has two subjects.
const LONGEST_FILE: usize = 900;

#[test]
fn a_stage_uses_only_those_before_it() {
    let source = root().join("crates/core/src");
    let mut found = Vec::new();
    for path in files(&source, &["rs"]) {
        let code = Code::read(&path).without_tests();
        found.extend(order_violations(&module_of(&source, &path), &code, &path));
    }
    none(found);
}

#[test]
fn an_executors_name_stands_in_its_folder_and_in_the_registry() {
    let mut found = Vec::new();
    let executors = root().join("crates/core/src/executor");
    for entry in mizzen_core::executor::registry() {
        let folder = executors.join(entry.kind.replace('-', "_"));
        assert!(
            folder.is_dir(),
            "{} is the folder of `{}`",
            show(&folder),
            entry.kind
        );
        for path in sources(&["crates/core/src", "crates/cli/src"]) {
            if path.starts_with(&folder) {
                continue;
            }
            let code = Code::read(&path).without_tests();
            let mut lines = name_lines(entry.kind, &code, path.parent() == Some(&executors));
            // The two places that must know it: `mod`, and one line of the table.
            if path == executors.join("mod.rs") {
                let declared = format!("mod {};", entry.kind.replace('-', "_"));
                lines.retain(|line| !code.line(*line).trim_end().ends_with(&declared));
            } else if path == executors.join("registry.rs") {
                let position = lines
                    .iter()
                    .position(|line| code.line(*line).contains("ENTRY"));
                position.map(|position| lines.remove(position));
            }
            let what = format!("the executor `{}` is named here", entry.kind);
            found.extend(lines.iter().map(|line| at(&path, *line, &what)));
        }
    }
    none(found);
}

#[test]
fn every_folder_of_an_executor_is_in_the_registry() {
    let kinds = mizzen_core::executor::registry()
        .iter()
        .map(|entry| entry.kind.replace('-', "_"));
    let folders = folders(&root().join("crates/core/src/executor"));
    assert_eq!(folders, kinds.collect::<BTreeSet<_>>());
}

#[test]
fn the_picture_of_the_tree_is_the_tree() {
    let path = root().join("docs/architecture.md");
    let text = fs::read_to_string(&path).unwrap();
    let (_, after) = text
        .split_once("<!-- the tree -->")
        .expect("the picture's mark");
    let picture = after.split("```").nth(1).expect("the picture");
    let (mut crates, mut stages, mut others) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for line in picture.lines() {
        let indent = line.len() - line.trim_start().len();
        let words = line
            .split_whitespace()
            .take_while(|word| !word.starts_with('#'));
        for name in words.map_while(|word| word.strip_suffix('/')) {
            match (indent, name.strip_prefix("src/")) {
                (0, _) => others.insert(name.to_owned()),
                (2, None) => crates.insert(name.to_owned()),
                (4, Some(stage)) => stages.insert(stage.to_owned()),
                _ => panic!("{}: this line is not understood: {line}", show(&path)),
            };
        }
    }
    let mut there = folders(&root().join("crates"));
    there.retain(|name| root().join("crates").join(name).join("Cargo.toml").exists());
    assert_eq!(crates, there, "the folders of crates/");
    assert_eq!(
        stages,
        folders(&root().join("crates/core/src")),
        "the folders of crates/core/src/"
    );
    for name in others {
        assert!(
            root().join(&name).is_dir(),
            "{name}/ is in the picture and not in the tree"
        );
    }
}

#[test]
fn no_file_is_too_long() {
    let length = |path: &PathBuf| fs::read_to_string(path).unwrap().lines().count();
    let long = sources(&["crates"])
        .into_iter()
        .filter(|path| show(path).contains("/src/"));
    let words =
        |lines| format!("{lines} lines, {LONGEST_FILE} at most: look for the second subject");
    none(
        long.map(|path| (length(&path), path))
            .filter(|(lines, _)| *lines > LONGEST_FILE)
            .map(|(lines, path)| at(&path, 1, &words(lines)))
            .collect(),
    );
}

#[test]
fn nothing_is_left_to_do_and_no_machine_is_named() {
    let mut found = Vec::new();
    for path in sources(&["crates", "bench", "fuzz"]) {
        let code = Code::read(&path);
        for unfinished in ["todo", "dbg", "unimplemented"] {
            let call = format!("{unfinished}!");
            let lines = code.lines().filter(|(_, line)| has_word(line, &call));
            found.extend(
                lines.map(|(line, _)| at(&path, line, &format!("`{call}` is no code to keep"))),
            );
        }
    }
    let kinds = [
        "rs", "py", "toml", "sh", "sql", "json", "yaml", "yml", "snap", "md", "run", "justfile",
    ];
    for path in files(&root(), &kinds) {
        // A corpus holds what a fuzzer found.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            let folder = ["work", "home", "root"]
                .into_iter()
                .find(|folder| names_folder(line, folder));
            if let Some(folder) = folder {
                found.push(at(
                    &path,
                    number + 1,
                    &format!("a path under /{folder} is one machine's"),
                ));
            }
        }
    }
    none(found);
}

/// The rules themselves can fail.
#[test]
fn the_rules_find_what_they_are_for() {
    let order = |module: &str, text: &str| {
        let module: Vec<String> = module.split("::").map(str::to_owned).collect();
        order_violations(&module, &Code::of(text).without_tests(), Path::new("x.rs")).len()
    };
    assert_eq!(
        order(
            "plan::expand",
            "use crate::config::spec;\nuse crate::model::Env;"
        ),
        0
    );
    assert_eq!(
        order(
            "plan::expand",
            "use crate::{model::Env, watch::{Engine, x}, store};"
        ),
        2
    );
    assert_eq!(
        order("plan::expand", "fn f() { super::super::logs::read() }"),
        1
    );
    assert_eq!(order("plan", "use super::{logs, config};"), 1);
    assert_eq!(
        order("plan::expand", "use super::logs;"),
        0,
        "a module of its own by that name"
    );
    assert_eq!(order("model::ids", "use crate::config;"), 1);
    assert_eq!(order("logs", "use crate::surprise;"), 1);
    assert_eq!(
        order(
            "plan",
            "/// [`crate::watch`]\n// crate::watch\nconst A: &str = \"crate::watch\";"
        ),
        0
    );
    assert_eq!(
        order(
            "plan",
            "#[cfg(test)]\nmod tests { use crate::watch::Engine; }\nfn f() {}"
        ),
        0
    );
    assert_eq!(
        order(
            "plan",
            "#[cfg(test)]\nmod tests { const A: char = '}'; }\nuse crate::watch;"
        ),
        1
    );

    let names = |text: &str, beside: bool| name_lines("place", &Code::of(text), beside);
    assert_eq!(
        names(
            "let a = \"place\";\nlet b = r#\"kind = \"place\"\"#;",
            false
        ),
        [1, 2]
    );
    assert_eq!(
        names(
            "format!(\"place://{host}\");\nuse crate::executor::place::X;",
            false
        ),
        [1, 2]
    );
    assert_eq!(
        names(
            "use crate::{model, executor::{self, place}};\nPlaceExecutor::new();",
            false
        ),
        [1, 2]
    );
    assert_eq!(
        names("let place = \"the place\"; // \"place\"", false),
        [0usize; 0]
    );
    assert_eq!(
        names("use super::{base, place};\nfn place() {}", true),
        [1, 2]
    );

    assert!(names_folder("cd /opt/ada", "opt"));
    assert!(names_folder("x = \"/opt/ada\"", "opt"));
    assert!(!names_folder("/opt/me/.mizzen", "opt"));
    assert!(!names_folder(
        "[FOLDER]/opt/x https://x.org/opt/y ~/opt/",
        "opt"
    ));
    assert_eq!(
        Code::of("'\\'' b'\"' /* \" /* */ */ 'a x \"y\\\"z\" 'b'").literals,
        [(1, "y\\\"z".to_owned())]
    );
}

/// Where a file stands among the modules: `plan/expand.rs` is `plan::expand`, `lib.rs` is the root.
fn module_of(source: &Path, path: &Path) -> Vec<String> {
    let relative = path.strip_prefix(source).unwrap().with_extension("");
    let mut names: Vec<String> = relative
        .iter()
        .map(|name| name.to_str().unwrap().to_owned())
        .collect();
    if matches!(names.last().map(String::as_str), Some("mod" | "lib")) {
        names.pop();
    }
    names
}

/// The uses of a later stage, and of what is no stage at all.
fn order_violations(module: &[String], code: &Code, path: &Path) -> Vec<String> {
    let Some(own) = module.first() else {
        return Vec::new();
    };
    let place = |name: &str| STAGES.iter().position(|stage| *stage == name);
    let known = |name: &str| place(name).is_some() || BELOW.contains(&name);
    if !known(own) {
        return vec![at(
            path,
            1,
            "this module is no stage: give it its place in the order",
        )];
    }
    let mut found = Vec::new();
    for (line, used) in root_uses(module.len(), code) {
        let allowed = used == *own || BELOW.contains(&used.as_str()) || place(&used) < place(own);
        if !known(&used) {
            found.push(at(path, line, &format!("`{used}` is no stage")));
        } else if !allowed {
            found.push(at(path, line, &format!("`{own}` comes before `{used}`")));
        }
    }
    found
}

/// The names that stand directly under the crate's root in paths, by way of `crate::` or of enough `super::`s.
fn root_uses(depth: usize, code: &Code) -> Vec<(usize, String)> {
    let tokens = code.tokens();
    let word = |index: usize| tokens.get(index).map_or("", |(_, token)| token.as_str());
    let mut found = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        let first = index;
        index += 1;
        let in_a_path = first > 0 && word(first - 1) == "::";
        if in_a_path || !matches!(word(first), "crate" | "super") || word(first + 1) != "::" {
            continue;
        }
        let mut supers = usize::from(word(first) == "super");
        let mut next = first + 2;
        while word(next) == "super" && word(next + 1) == "::" {
            supers += 1;
            next += 2;
        }
        index = next;
        if word(first) == "super" && supers != depth {
            continue;
        }
        if word(next) != "{" {
            found.push((tokens[next].0, word(next).to_owned()));
            continue;
        }
        let mut open = 0;
        loop {
            let starts = open == 1 && matches!(word(next - 1), "{" | ",");
            match word(next) {
                "{" => open += 1,
                "}" => open -= 1,
                "," | "self" => {}
                name if starts => found.push((tokens[next].0, name.to_owned())),
                _ => {}
            }
            next += 1;
            if open == 0 || next >= tokens.len() {
                break;
            }
        }
    }
    found
}

/// The lines on which an executor is named: as a literal, in a path, by one of its types. `beside`: in the folder of all
/// executors, where its module is in sight.
fn name_lines(kind: &str, code: &Code, beside: bool) -> Vec<usize> {
    let module = kind.replace('-', "_");
    let type_stem: String = kind.split(['-', '_']).map(capitalised).collect();
    let types = ["Executor", "Scheduler", "Settings"].map(|ending| format!("{type_stem}{ending}"));
    let is_literal = |text: &str| {
        let text = text.replace("\\\"", "\"");
        text == kind
            || text.starts_with(&format!("{kind}://"))
            || ['"', '`', '\'']
                .iter()
                .any(|quote| text.contains(&format!("{quote}{kind}{quote}")))
    };
    let mut lines: BTreeSet<usize> = code
        .literals
        .iter()
        .filter(|(_, text)| is_literal(text))
        .map(|(line, _)| *line)
        .collect();
    let tokens = code.tokens();
    let mut in_use_of_executors = false;
    let mut in_use = false;
    for (index, (line, token)) in tokens.iter().enumerate() {
        match token.as_str() {
            "use" => in_use = true,
            ";" => (in_use, in_use_of_executors) = (false, false),
            "executor" => in_use_of_executors |= in_use,
            _ => {}
        }
        let before = |back: usize| {
            index
                .checked_sub(back)
                .map_or("", |index| tokens[index].1.as_str())
        };
        let in_path = before(1) == "::" && before(2) == "executor";
        if types.contains(token) || (*token == module && (beside || in_path || in_use_of_executors))
        {
            lines.insert(*line);
        }
    }
    lines.into_iter().collect()
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

/// An absolute path under this folder of the root: not one that goes on behind something else, nor [`NOBODY`]'s.
fn names_folder(line: &str, folder: &str) -> bool {
    let path = format!("/{folder}/");
    line.match_indices(&path).any(|(position, _)| {
        let before = line[..position].chars().next_back();
        let after = &line[position + path.len()..];
        let name = after
            .find(|c: char| !c.is_alphanumeric())
            .map_or(after, |end| &after[..end]);
        let goes_on = before.is_some_and(|c| c.is_alphanumeric() || "_.-/~+@*$%)]}>".contains(c))
            || line[..position].ends_with("ends_with(\"");
        !goes_on && name != NOBODY
    })
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word)
        .any(|(position, _)| !line[..position].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// A source's code: comments and literals are blanks in `text`, whose lines are the source's.
struct Code {
    text: String,
    /// Line and content (escapes as written) of each string literal.
    literals: Vec<(usize, String)>,
}

impl Code {
    fn read(path: &Path) -> Code {
        Code::of(&fs::read_to_string(path).unwrap())
    }

    fn of(source: &str) -> Code {
        let mut code = Code {
            text: String::with_capacity(source.len()),
            literals: Vec::new(),
        };
        let mut rest = source;
        let mut line = 1;
        while let Some(first) = rest.chars().next() {
            let in_word = code
                .text
                .ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let (length, literal) = match first {
                '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), None),
                '/' if rest.starts_with("/*") => (comment_length(rest), None),
                '"' => string_length(rest),
                'r' | 'b' | 'c' if !in_word => prefixed_length(rest),
                '\'' => (character_length(rest), None),
                _ => (0, None),
            };
            if let Some(content) = literal {
                code.literals.push((line, rest[content].to_owned()));
            }
            let (blanked, length) = if length == 0 {
                (false, first.len_utf8())
            } else {
                (true, length)
            };
            for c in rest[..length].chars() {
                line += usize::from(c == '\n');
                code.text.push(if blanked && c != '\n' { ' ' } else { c });
            }
            rest = &rest[length..];
        }
        code
    }

    /// The same without items that are compiled for tests only.
    fn without_tests(mut self) -> Code {
        let mut from = 0;
        while let Some(position) = self.text[from..].find("#[cfg(") {
            let start = from + position;
            let Some(length) = self.text[start..].find(")]") else {
                break;
            };
            from = start + length + 2;
            let condition = &self.text[start..from];
            if !has_word(condition, "test") || condition.contains("not(") {
                continue;
            }
            // To the end of the item: its block's end, or a semicolon before any block.
            let mut open = 0;
            let end = self.text[from..].find(|c| {
                open += i32::from(c == '{') - i32::from(c == '}');
                open == 0 && matches!(c, '}' | ';')
            });
            from = end.map_or(self.text.len(), |end| from + end + 1);
            let first_line = self.text[..start].matches('\n').count() + 1;
            let last_line = self.text[..from].matches('\n').count() + 1;
            self.literals
                .retain(|(line, _)| !(first_line..=last_line).contains(line));
            let blank = self.text[start..from].replace(|c| c != '\n', " ");
            let rest = self.text.split_off(from);
            self.text.truncate(start);
            self.text.push_str(&blank);
            from = self.text.len();
            self.text.push_str(&rest);
        }
        self
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(number, line)| (number + 1, line))
    }

    fn line(&self, number: usize) -> &str {
        self.text.lines().nth(number - 1).unwrap_or_default()
    }

    /// Words, `::` and single signs, each with its line.
    fn tokens(&self) -> Vec<(usize, String)> {
        let in_word = |c: char| c.is_alphanumeric() || c == '_';
        let mut tokens = Vec::new();
        for (number, line) in self.lines() {
            let mut rest = line.trim_start();
            while let Some(first) = rest.chars().next() {
                let length = if in_word(first) {
                    rest.find(|c| !in_word(c)).unwrap_or(rest.len())
                } else if rest.starts_with("::") {
                    2
                } else {
                    first.len_utf8()
                };
                tokens.push((number, rest[..length].to_owned()));
                rest = rest[length..].trim_start();
            }
        }
        tokens
    }
}

/// The length of a block comment, which may hold others.
fn comment_length(rest: &str) -> usize {
    let mut open = 0;
    let mut position = 0;
    while position < rest.len() {
        if rest[position..].starts_with("/*") {
            open += 1;
            position += 2;
        } else if rest[position..].starts_with("*/") {
            open -= 1;
            position += 2;
            if open == 0 {
                return position;
            }
        } else {
            position += rest[position..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

type Literal = (usize, Option<std::ops::Range<usize>>);

/// The length of a literal that begins with a quote, and where its content is.
fn string_length(rest: &str) -> Literal {
    let mut escaped = false;
    let end = rest[1..].find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    let end = end.map_or(rest.len(), |end| end + 1);
    ((end + 1).min(rest.len()), Some(1..end))
}

/// The same behind `b`, `c`, `r`, `br` or `cr`; nothing if this is a word.
fn prefixed_length(rest: &str) -> Literal {
    let prefix = ["br", "cr", "r", "b", "c"]
        .into_iter()
        .find(|prefix| rest.starts_with(prefix));
    let Some(prefix) = prefix else {
        return (0, None);
    };
    let after = &rest[prefix.len()..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    if prefix.ends_with('r') && after[hashes..].starts_with('"') {
        let start = prefix.len() + hashes + 1;
        let close = format!("\"{}", "#".repeat(hashes));
        let end = rest[start..]
            .find(&close)
            .map_or(rest.len(), |end| start + end);
        return ((end + close.len()).min(rest.len()), Some(start..end));
    }
    if !after.starts_with('"') {
        return (
            if prefix == "b" && after.starts_with('\'') {
                1
            } else {
                0
            },
            None,
        );
    }
    let (length, content) = string_length(after);
    let shift = prefix.len();
    (
        length + shift,
        content.map(|content| content.start + shift..content.end + shift),
    )
}

/// The length of a character's literal; 0 for a lifetime.
fn character_length(rest: &str) -> usize {
    let mut letters = rest.char_indices().skip(1);
    match letters.next() {
        Some((_, '\\')) => {
            letters.next();
            letters
                .find(|(_, c)| *c == '\'')
                .map_or(0, |(end, _)| end + 1)
        }
        Some(_) => match letters.next() {
            Some((end, '\'')) => end + 1,
            _ => 0,
        },
        None => 0,
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

/// A path as people see it from the repository's root.
fn show(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

fn at(path: &Path, line: usize, what: &str) -> String {
    format!("{}:{line}: {what}", show(path))
}

fn none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

fn sources(folders: &[&str]) -> Vec<PathBuf> {
    folders
        .iter()
        .flat_map(|folder| files(&root().join(folder), &["rs"]))
        .collect()
}

/// All files below a folder whose extension (or whole name) is one of these; built and hidden folders are left out.
fn files(folder: &Path, kinds: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return found;
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let kind = path
            .extension()
            .and_then(|kind| kind.to_str())
            .unwrap_or(name);
        let skipped = name == "target" || (name.starts_with('.') && name != ".ci");
        if path.is_dir() && !path.is_symlink() && !skipped {
            found.extend(files(&path, kinds));
        } else if path.is_file() && kinds.contains(&kind) {
            found.push(path);
        }
    }
    found
}

fn folders(path: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.path().is_dir());
    folders
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}
