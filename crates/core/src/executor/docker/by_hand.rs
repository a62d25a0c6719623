//! The line by which somebody starts the same without us: at a terminal, in the foreground, with the folder as it stands as code.
//!
//! It is what is sent, but for what only makes sense for a job of ours: labels, the experiment's folder, the agent. A command that
//! needs files of the experiment has no such line.

use camino::Utf8Path;

use super::engine::{Engine, Kind};
use super::options::gpu_words;
use super::payload::{Container, Gpus, User};
use super::settings::DockerSettings;
use crate::plan::Code;
use crate::tunnel::quote;

/// The line, or `None` where there can be none.
pub(super) fn line(
    settings: &DockerSettings,
    container: &Container,
    directory: &Utf8Path,
    code: Option<&Code>,
) -> Option<String> {
    let member = container.job.members.first()?;
    let rank = member.ranks.first()?;
    let (first, rest) = rank.argv.split_first()?;
    // What stands in the experiment's folder, but for the code, is not there yet.
    let own = container.code.as_ref().map(|code| code.to.as_str());
    let needs = |text: &String| {
        let text = own.map_or_else(|| text.clone(), |own| text.replace(own, ""));
        text.contains(directory.as_str())
    };
    let options: Vec<&String> = container
        .options
        .iter()
        .filter(|word| !word.starts_with("--label=mizzen."))
        .filter(|word| !word.starts_with("--restart="))
        .filter(|word| !word.starts_with(&format!("--volume={directory}")))
        .filter(|word| !word.starts_with("--env=MIZZEN_"))
        .filter(|word| !word.starts_with("--network-alias="))
        .collect();
    if rank.argv.iter().any(needs) || options.iter().any(|word| needs(word)) {
        return None;
    }
    let engine = Engine::new(settings);
    let mut words: Vec<String> = engine
        .words(["run", "--rm"])
        .iter()
        .map(|word| quote(word))
        .collect();
    // One network of a group's own is not there either.
    let own_network = format!("--network={}", container.job.key);
    words.extend(
        options
            .into_iter()
            .filter(|word| **word != own_network)
            .map(|word| quote(word)),
    );
    if let Some(gpus) = &container.gpus {
        words.extend(
            self::gpus(gpus, engine.kind())
                .iter()
                .map(|word| quote(word)),
        );
    }
    match &container.user {
        // The shell that takes the line knows who is at it.
        User::Me { .. } => words.push("--user=\"$(id -u):$(id -g)\"".to_owned()),
        User::Image => {}
        User::Named(name) => words.push(quote(&format!("--user={name}"))),
    }
    for (name, value) in &rank.env {
        words.push(quote(&format!("--env={name}={value}")));
    }
    if let (Some(own), Some(code)) = (own, code) {
        words.push(quote(&format!("--volume={}:{own}", code.root)));
    }
    words.push(quote(&format!("--workdir={}", member.workdir)));
    if !container.keep_entrypoint {
        words.push(quote(&format!("--entrypoint={first}")));
    }
    words.push(quote(&container.image));
    if container.keep_entrypoint {
        words.push(quote(first));
    }
    words.extend(rest.iter().map(|word| quote(word)));
    Some(words.join(" "))
}

/// Options for GPUs of which nobody keeps a book: the first ones.
pub(super) fn gpus(wanted: &Gpus, kind: Kind) -> Vec<String> {
    let first = |pool: &Vec<String>| -> Vec<String> {
        let count = wanted.count.map_or(pool.len(), |count| count as usize);
        pool.iter().take(count).cloned().collect()
    };
    let numbers =
        |count: u32| -> Vec<String> { (0..count).map(|number| number.to_string()).collect() };
    match (wanted.pool.as_ref().map(first), wanted.count, kind) {
        (Some(names), _, _) => gpu_words(Some(&names), kind),
        (None, Some(count), Kind::Podman) => gpu_words(Some(&numbers(count)), kind),
        (None, Some(count), _) => vec![format!("--gpus={count}")],
        (None, None, _) => gpu_words(None, kind),
    }
}
