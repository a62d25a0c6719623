//! What the tests have in common: a laptop with executors, documents, and what Slurm itself says has run.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::scene::{Scene, launch_detached, status, until};
use crate::slurm::{Cluster, Laptop, Variant};
use crate::support::Said;

/// A laptop of a cluster that tests share, with one executor `cluster` of these settings. `None`, said aloud, where there
/// can be none.
pub(crate) fn shared(variant: Variant, settings: &str) -> Option<(&'static Cluster, Laptop)> {
    let cluster = Cluster::shared(variant)?;
    let laptop = laptop(cluster, settings)?;
    Some((cluster, laptop))
}

/// As [`shared`], on a cluster of the test's own. The cluster goes last.
pub(crate) fn own(variant: Variant, settings: &str) -> Option<(Laptop, Cluster)> {
    let cluster = Cluster::own(variant)?;
    let laptop = laptop(&cluster, settings)?;
    Some((laptop, cluster))
}

/// A laptop whose executor `cluster` has these settings.
pub(crate) fn laptop(cluster: &Cluster, settings: &str) -> Option<Laptop> {
    let laptop = Laptop::new(cluster)?;
    executors(&laptop, &[("cluster", settings)]);
    Some(laptop)
}

/// Writes the project's executors, all of them over the laptop's tunnel.
pub(crate) fn executors(laptop: &Laptop, executors: &[(&str, &str)]) {
    let mut text = String::new();
    for (name, settings) in executors {
        text.push_str(&format!(
            "[executors.{name}]\nkind = \"slurm\"\ntunnel = {}\n{settings}\n",
            laptop.tunnel()
        ));
    }
    laptop.session.write("mizzen.toml", &text);
}

/// What a test does on a laptop.
pub(crate) trait Desk {
    /// Starts a document and leaves it; its id.
    fn launch(&self, document: &Value) -> String;
    /// Waits for the end; the exit status.
    fn wait(&self, id: &str) -> i32;
    /// What `status --json` says.
    fn status(&self, id: &str) -> Value;
    /// Waits until a job is in a state, by `status`.
    fn until_state(&self, id: &str, job: &str, state: &str) -> Value;
    /// The experiment's folder there, by its title.
    fn there(&self, title: &str, id: &str) -> std::path::PathBuf;
    /// A rank's log, as it is here.
    fn log(&self, title: &str, id: &str, path: &str) -> String;
}

impl Desk for Laptop {
    fn launch(&self, document: &Value) -> String {
        launch_detached(&self.session, document)
    }

    fn wait(&self, id: &str) -> i32 {
        let said = self.session.run(&["wait", id]);
        assert!((0..=1).contains(&said.status), "{said:?}");
        said.status
    }

    fn status(&self, id: &str) -> Value {
        status(&self.session, id)
    }

    fn until_state(&self, id: &str, job: &str, state: &str) -> Value {
        let mut seen = Value::Null;
        let give_up = until_some(|| {
            seen = self.status(id);
            (crate::scene::job(&seen, job)["state"] == state).then_some(())
        });
        assert!(give_up.is_some(), "{job} does not become {state}: {seen:#}");
        seen
    }

    fn there(&self, title: &str, id: &str) -> std::path::PathBuf {
        self.job_dir().join(title).join(id)
    }

    fn log(&self, title: &str, id: &str, path: &str) -> String {
        let path = self
            .session
            .home()
            .join("experiments")
            .join(title)
            .join(id)
            .join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

fn until_some<T>(mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let give_up_at = std::time::Instant::now() + crate::support::LIMIT;
    while std::time::Instant::now() < give_up_at {
        if let Some(found) = condition() {
            return Some(found);
        }
        crate::scene::pause(std::time::Duration::from_millis(100));
    }
    None
}

/// How often Slurm has run a job of each name for an experiment to its end, by its own books.
pub(crate) fn books(cluster: &Cluster, id: &str) -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(cluster.folder.join("log/jobcomp.txt")).unwrap_or_default();
    let mut books = BTreeMap::new();
    for line in text.lines() {
        let value = |name: &str| {
            line.split(' ')
                .find_map(|word| word.strip_prefix(name))
                .unwrap_or_default()
                .to_owned()
        };
        if value("WorkDir=").contains(id) {
            *books.entry(value("Name=")).or_default() += 1;
        }
    }
    books
}

/// So many jobs of an experiment stand in Slurm's books; they are written when a job's nodes are clean.
pub(crate) fn until_booked(cluster: &Cluster, id: &str, jobs: usize) {
    let mut seen = BTreeMap::new();
    let found = until_some(|| {
        seen = books(cluster, id);
        (seen.values().sum::<usize>() == jobs).then_some(())
    });
    assert!(found.is_some(), "{jobs} jobs should have run: {seen:?}");
}

/// The number that Slurm has given to a job's newest attempt.
pub(crate) fn slurm_id(status: &Value, name: &str) -> String {
    let job = crate::scene::job(status, name);
    let handle = job["handle"].as_str().unwrap_or_default();
    handle
        .rsplit('/')
        .nth(1)
        .unwrap_or_else(|| panic!("{name} has no handle: {status:#}"))
        .to_owned()
}

/// Waits until a job notes that it runs.
pub(crate) fn runs(laptop: &Laptop, attempt: &str) {
    until(&format!("{attempt} runs"), || {
        laptop.session.ledger().contains_key(attempt).then_some(())
    });
}

/// What a command says that is refused.
pub(crate) fn refused(said: &Said, status: i32, words: &[&str]) {
    assert_eq!(said.status, status, "{said:?}");
    for word in words {
        assert!(said.stderr.contains(word), "no `{word}`: {said:?}");
    }
}

/// Text as it must stand in a document, where a dollar means more.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}
