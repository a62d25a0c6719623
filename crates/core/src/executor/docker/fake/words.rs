//! The words of an engine's command: a verb, options (`--name=value` or `--name`, as the executor writes them), the rest.

use std::collections::BTreeMap;

/// A command.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) verb: String,
    options: Vec<(String, String)>,
    pub(super) rest: Vec<String>,
}

impl Words {
    pub(super) fn read(words: &[String]) -> Words {
        let mut words = words.iter();
        let mut read = Words {
            verb: words.next().cloned().unwrap_or_default(),
            ..Words::default()
        };
        if read.verb == "network" {
            let second = words.next().cloned().unwrap_or_default();
            read.verb = format!("network {second}");
        }
        for word in words {
            match word.strip_prefix("--") {
                // Behind the image everything is the container's.
                Some(option) if read.rest.is_empty() => {
                    let (name, value) = option.split_once('=').unwrap_or((option, ""));
                    read.options.push((name.to_owned(), value.to_owned()));
                }
                _ => read.rest.push(word.clone()),
            }
        }
        read
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let of_name = move |(own, value): &'a (String, String)| (own == name).then_some(&**value);
        self.options.iter().filter_map(of_name)
    }

    pub(super) fn one<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).last()
    }

    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let pair = |label: &str| {
            let (name, value) = label.split_once('=').unwrap_or((label, ""));
            (name.to_owned(), value.to_owned())
        };
        self.all("label").map(pair).collect()
    }

    pub(super) fn filters(&self) -> Filters {
        let of_label = |filter: &str| {
            let (name, value) = filter.strip_prefix("label=")?.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        Filters(self.all("filter").filter_map(of_label).collect())
    }
}

/// Labels that something must have.
pub(super) struct Filters(Vec<(String, String)>);

impl Filters {
    pub(super) fn fit(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |(name, value): &(String, String)| labels.get(name) == Some(value);
        self.0.iter().all(has)
    }
}
