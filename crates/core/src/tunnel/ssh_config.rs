//! Entries of ours in ~/.ssh/config: put in and taken out again, everything else left byte for byte.
//!
//! ```text
//! read ─▶ change (pure) ─▶ temporary file beside it ─▶ still what was read? ─▶ rename
//! ```
//!
//! An entry stands at the file's beginning, because ssh takes the first value that it finds, and ends with `Match all`, so
//! that what follows holds for all hosts as before. Its first and last lines are marks; what is between them is ours.
//!
//! Pitfalls: the file may be a symbolic link (into a repository of settings), which must stay one; it may have no line end
//! at its end, or lines that end in CR LF; somebody else may write it meanwhile.

use std::io;
use std::os::unix::fs::PermissionsExt;

use camino::{Utf8Path, Utf8PathBuf};

use crate::context::{create_private_dir, write_file};

/// How often an edit is done again because somebody else wrote the file meanwhile.
const TRIES: u32 = 20;
/// How many links a path may lead through.
const MOST_LINKS: u32 = 16;

/// A configuration of ssh. The name is NeMo-Run's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshConfigFile {
    path: Utf8PathBuf,
}

impl SshConfigFile {
    /// The file at this path, which need not be there.
    #[must_use]
    pub fn new(path: impl Into<Utf8PathBuf>) -> SshConfigFile {
        SshConfigFile { path: path.into() }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Puts the entry of this name in, in the place of an older one. `options` are its lines, without `Host`.
    ///
    /// # Errors
    /// The file can't be read or written, an older entry is damaged, or somebody else's entry has the name.
    pub fn add_entry(&self, name: &str, options: &[String]) -> io::Result<()> {
        self.edit(|text| with_entry(text, name, options).map(Some))
    }

    /// Takes the entry of this name out. Answers whether there was one. A file that is empty then is removed, unless a link
    /// leads to it.
    ///
    /// # Errors
    /// The file can't be read or written, or the entry is damaged.
    pub fn remove_entry(&self, name: &str) -> io::Result<bool> {
        let mut was_there = false;
        self.edit(|text| {
            let without = without_entry(text, name)?;
            was_there = without.is_some();
            Ok(without)
        })?;
        Ok(was_there)
    }

    /// The line of an entry of somebody else's that has this name, counted from 1.
    ///
    /// # Errors
    /// The file can't be read, or an entry of ours is damaged.
    pub fn foreign_entry(&self, name: &str) -> io::Result<Option<usize>> {
        let text = read(&self.path)?.map(|(text, _)| text).unwrap_or_default();
        foreign(&text, name).map_err(|words| self.wrong(&words))
    }

    fn edit(
        &self,
        mut change: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, String>,
    ) -> io::Result<()> {
        let target = self.target()?;
        let folder = target.parent().unwrap_or(Utf8Path::new("/"));
        create_private_dir(folder)?;
        let _lock = lock(folder);
        for _ in 0..TRIES {
            let before = read(&target)?;
            let text = before.as_ref().map_or(&b""[..], |(text, _)| text);
            let after = match change(text) {
                Ok(Some(after)) => after,
                Ok(None) => return Ok(()),
                Err(words) => return Err(self.wrong(&words)),
            };
            let temporary = folder.join(format!(
                ".{}.mizzen-{}-{:?}",
                target.file_name().unwrap_or("config"),
                std::process::id(),
                std::thread::current().id()
            ));
            let mode = before.as_ref().map_or(0o600, |(_, mode)| mode & 0o777);
            write_file(&temporary, &after, 0o600)?;
            let written = fs_err::set_permissions(&temporary, PermissionsExt::from_mode(mode))
                .and_then(|()| fs_err::File::open(&temporary)?.sync_all())
                .and_then(|()| read(&target));
            let done = match written {
                Ok(now) if now == before => {
                    if after.is_empty() && target == self.path {
                        fs_err::remove_file(&target).and_then(|()| fs_err::remove_file(&temporary))
                    } else {
                        fs_err::rename(&temporary, &target)
                    }
                }
                Ok(_) => {
                    fs_err::remove_file(&temporary)?;
                    continue;
                }
                Err(error) => Err(error),
            };
            if done.is_err() {
                let _ = fs_err::remove_file(&temporary);
            }
            return done;
        }
        Err(self.wrong("somebody else keeps writing it"))
    }

    /// The file itself, behind links.
    fn target(&self) -> io::Result<Utf8PathBuf> {
        let mut path = self.path.clone();
        for _ in 0..MOST_LINKS {
            match std::fs::read_link(&path) {
                Err(_) => return Ok(path),
                Ok(link) => {
                    let link = Utf8PathBuf::from_path_buf(link)
                        .map_err(|_| self.wrong("it is a link to what is not UTF-8"))?;
                    path = path.parent().unwrap_or(Utf8Path::new("/")).join(link);
                }
            }
        }
        Err(self.wrong("its links lead in a circle"))
    }

    fn wrong(&self, words: &str) -> io::Error {
        io::Error::other(format!("{}: {words}", self.path))
    }
}

/// The text and the permissions; nothing if it is not there.
fn read(path: &Utf8Path) -> io::Result<Option<(Vec<u8>, u32)>> {
    match fs_err::read(path) {
        Ok(text) => Ok(Some((text, fs_err::metadata(path)?.permissions().mode()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Held while one edits, so that no two of ours do. Where folders can't be locked, the look before the rename must do.
fn lock(folder: &Utf8Path) -> Option<nix::fcntl::Flock<std::fs::File>> {
    let file = std::fs::File::open(folder).ok()?;
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).ok()
}

fn begin_mark(name: &str) -> String {
    format!("# mizzen devspace {name} begin")
}

fn end_mark(name: &str) -> String {
    format!("# mizzen devspace {name} end")
}

/// Where the entries of ours with this name stand, whole lines. Entries with other names if `name` is `None`.
fn entries(text: &[u8], name: Option<&str>) -> Result<Vec<std::ops::Range<usize>>, String> {
    let mut found = Vec::new();
    let mut open: Option<(usize, &str)> = None;
    let mut position = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let from = position;
        position += line.len();
        let line = line.trim_ascii();
        let Some(words) = line
            .strip_prefix(b"# mizzen devspace ")
            .and_then(|rest| std::str::from_utf8(rest).ok())
        else {
            continue;
        };
        let Some((of, word)) = words.rsplit_once(' ') else {
            continue;
        };
        match (word, open) {
            ("begin", None) => open = Some((from, of)),
            ("end", Some((begin, opened))) if opened == of => {
                if name.is_none_or(|name| name == of) {
                    found.push(begin..position);
                }
                open = None;
            }
            ("begin" | "end", _) => {
                return Err(damage(open.map_or(of, |(_, opened)| opened)));
            }
            _ => {}
        }
    }
    match open {
        Some((_, of)) => Err(damage(of)),
        None => Ok(found),
    }
}

fn damage(name: &str) -> String {
    format!(
        "the entry of the devspace {name} is damaged: its lines `{}` and `{}` don't match; remove what is left of it by hand",
        begin_mark(name),
        end_mark(name)
    )
}

fn without_entry(text: &[u8], name: &str) -> Result<Option<Vec<u8>>, String> {
    let found = entries(text, Some(name))?;
    if found.is_empty() {
        return Ok(None);
    }
    let mut rest = Vec::with_capacity(text.len());
    let mut position = 0;
    for range in found {
        rest.extend_from_slice(&text[position..range.start]);
        position = range.end;
    }
    rest.extend_from_slice(&text[position..]);
    Ok(Some(rest))
}

fn with_entry(text: &[u8], name: &str, options: &[String]) -> Result<Vec<u8>, String> {
    if let Some(line) = foreign(text, name)? {
        return Err(format!(
            "line {line} has an entry for {name} already: choose another name"
        ));
    }
    let rest = without_entry(text, name)?;
    let rest = rest.as_deref().unwrap_or(text);
    let mut entry = format!("{}\nHost {name}\n", begin_mark(name));
    for option in options {
        entry.push_str("    ");
        entry.push_str(option);
        entry.push('\n');
    }
    entry.push_str("Match all\n");
    entry.push_str(&end_mark(name));
    entry.push('\n');
    let mut entry = entry.into_bytes();
    entry.extend_from_slice(rest);
    Ok(entry)
}

/// The line of a `Host` of somebody else's that names this host as it is.
fn foreign(text: &[u8], name: &str) -> Result<Option<usize>, String> {
    let ours = entries(text, None)?;
    let mut position = 0;
    for (number, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let from = position;
        position += line.len();
        if ours.iter().any(|range| range.contains(&from)) {
            continue;
        }
        let line = String::from_utf8_lossy(line);
        let mut words = line
            .split(|c: char| c.is_ascii_whitespace() || c == '=')
            .map(|word| word.trim_matches('"'))
            .filter(|word| !word.is_empty());
        if words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("host"))
            && words.any(|word| word.eq_ignore_ascii_case(name))
        {
            return Ok(Some(number + 1));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Vec<String> {
        vec!["Port 2222".to_owned()]
    }

    /// A folder of a test's own.
    fn folder(name: &str) -> Utf8PathBuf {
        let folder = Utf8PathBuf::from_path_buf(std::env::temp_dir())
            .unwrap()
            .join(format!("mz-config-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn an_entry_comes_and_goes_and_leaves_everything_else() {
        for before in [
            &b""[..],
            b"Host a\n  Port 1\n",
            b"Host a\r\n  Port 1\r\n",
            b"ServerAliveInterval 5\nHost *\n\tUser x",
            b"\n\n# a comment without an end",
            b"# mizzen devspace other begin\nHost other\nMatch all\n# mizzen devspace other end\nHost b\n",
            b"\xff\xfe no text\n\0\n",
            b"Host nam names name2 *name*\nMatch host name\n",
            b"# mizzen devspace name beginning\n",
        ] {
            let with = with_entry(before, "name", &options()).unwrap();
            assert!(with.ends_with(before));
            assert!(
                with.starts_with(b"# mizzen devspace name begin\nHost name\n    Port 2222\n"),
                "{}",
                with.escape_ascii()
            );
            let again = with_entry(&with, "name", &["Port 3".to_owned()]).unwrap();
            assert_eq!(again.len(), with.len() - 3);
            let without = without_entry(&again, "name").unwrap().unwrap();
            assert_eq!(without, before, "{}", before.escape_ascii());
            assert_eq!(without_entry(before, "name").unwrap(), None);
        }
    }

    #[test]
    fn an_editor_may_change_the_line_ends_and_move_the_entry() {
        let text = b"Host a\r\n# mizzen devspace n begin\r\nHost n\r\n\t# mizzen devspace n end \r\nHost b";
        let without = without_entry(text, "n").unwrap().unwrap();
        assert_eq!(without, b"Host a\r\nHost b");
    }

    #[test]
    fn what_is_damaged_or_somebody_elses_is_left_alone() {
        for text in [
            "# mizzen devspace n begin\nHost n\n",
            "# mizzen devspace n end\n",
            "# mizzen devspace n begin\n# mizzen devspace m begin\n# mizzen devspace m end\n# mizzen devspace n end\n",
            "# mizzen devspace m begin\nHost m\n# mizzen devspace n begin\n# mizzen devspace n end\n",
        ] {
            assert!(with_entry(text.as_bytes(), "n", &[]).is_err(), "{text}");
            assert!(without_entry(text.as_bytes(), "n").is_err(), "{text}");
        }
        for text in ["Host n", "x\nhost = \"N\" b\n", "HOST a n\r\n"] {
            let words = with_entry(text.as_bytes(), "n", &[]).unwrap_err();
            assert!(words.contains("has an entry for n"), "{words}");
        }
    }

    #[test]
    fn files_keep_their_permissions_and_links_stay_links() {
        let folder = folder("links");
        let file = SshConfigFile::new(folder.join("new/config"));
        file.add_entry("n", &options()).unwrap();
        let mode = |path: &Utf8Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(file.path()), 0o600);
        assert_eq!(mode(&folder.join("new")), 0o700);
        assert!(file.remove_entry("n").unwrap());
        assert!(!file.path().exists());
        assert!(!file.remove_entry("n").unwrap());
        assert!(!file.path().exists());

        std::fs::write(folder.join("real"), "Host a\n").unwrap();
        std::fs::set_permissions(folder.join("real"), PermissionsExt::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("../real", folder.join("new/config")).unwrap();
        file.add_entry("n", &options()).unwrap();
        assert!(std::fs::read_link(file.path()).is_ok());
        assert!(
            std::fs::read_to_string(folder.join("real"))
                .unwrap()
                .contains("Host n\n")
        );
        assert_eq!(mode(&folder.join("real")), 0o640);
        assert!(file.remove_entry("n").unwrap());
        assert_eq!(
            std::fs::read_to_string(folder.join("real")).unwrap(),
            "Host a\n"
        );
        std::os::unix::fs::symlink("circle", folder.join("circle")).unwrap();
        let circle = SshConfigFile::new(folder.join("circle"));
        assert!(circle.add_entry("n", &[]).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn edits_at_the_same_time_lose_nothing() {
        let folder = folder("many");
        let file = SshConfigFile::new(folder.join("config"));
        std::fs::write(file.path(), "Host a\n").unwrap();
        std::thread::scope(|scope| {
            for number in 0..8 {
                let file = &file;
                scope.spawn(move || {
                    let name = format!("n{number}");
                    for _ in 0..10 {
                        file.add_entry(&name, &options()).unwrap();
                        assert!(file.remove_entry(&name).unwrap());
                    }
                    file.add_entry(&name, &options()).unwrap();
                });
            }
        });
        let text = std::fs::read(file.path()).unwrap();
        assert_eq!(entries(&text, None).unwrap().len(), 8);
        assert!(text.ends_with(b" end\nHost a\n"));
        let names = std::fs::read_dir(&folder).unwrap().count();
        assert_eq!(names, 1, "nothing is left beside it");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
