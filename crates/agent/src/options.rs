//! `--name value` options of the agent's modes, which scripts give and people hardly ever do.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::str::FromStr;

/// The options of one command line.
#[derive(Debug)]
pub(crate) struct Options {
    mode: &'static str,
    values: BTreeMap<String, String>,
    /// What stands behind `--`.
    pub(crate) rest: Vec<String>,
}

impl Options {
    /// Reads `--name value` pairs up to a `--`; only these names are known.
    pub(crate) fn read(
        mode: &'static str,
        arguments: &[OsString],
        known: &[&str],
    ) -> Result<Options, String> {
        let mut options = Options {
            mode,
            values: BTreeMap::new(),
            rest: Vec::new(),
        };
        let mut words = arguments.iter().map(|word| {
            let text = word.to_str();
            text.map(str::to_owned)
                .ok_or_else(|| format!("{word:?} is not UTF-8"))
        });
        while let Some(word) = words.next().transpose()? {
            if word == "--" {
                options.rest = words.collect::<Result<_, _>>()?;
                break;
            }
            let name = word.strip_prefix("--").filter(|name| known.contains(name));
            let Some(name) = name else {
                return Err(format!("`{mode}` does not know {word}"));
            };
            let value = words
                .next()
                .transpose()?
                .ok_or_else(|| format!("`{word}` needs a value"))?;
            options.values.insert(name.to_owned(), value);
        }
        Ok(options)
    }

    /// An option that need not be there.
    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// An option that must be there.
    pub(crate) fn get(&self, name: &str) -> Result<&str, String> {
        self.find(name)
            .ok_or_else(|| format!("`{}` needs --{name}", self.mode))
    }

    /// The same as a number.
    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        self.find(name)
            .map(|text| {
                text.parse()
                    .map_err(|_| format!("--{name}: {text:?} is no number that fits"))
            })
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Options, String> {
        let words: Vec<OsString> = words.iter().map(Into::into).collect();
        Options::read("rank", &words, &["key", "grace"])
    }

    #[test]
    fn pairs_up_to_the_command() {
        let options = read(&["--key", "k", "--grace", "2.5", "--", "echo", "--key"]).unwrap();
        assert_eq!(options.get("key").unwrap(), "k");
        assert_eq!(options.number::<f64>("grace").unwrap(), Some(2.5));
        assert_eq!(options.rest, ["echo", "--key"]);
        assert!(options.get("name").is_err());
        for wrong in [&["--kay", "k"][..], &["key"], &["--key"], &["--grace"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
        let options = read(&["--grace", "soon"]).unwrap();
        assert!(options.number::<f64>("grace").is_err());
    }
}
