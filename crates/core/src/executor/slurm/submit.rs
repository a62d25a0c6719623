//! From requests to jobs of Slurm's: files, arrays, sbatch.
//!
//! ```text
//! requests ─ secrets ─▶ submissions ─ same needs? ─▶ arrays and single jobs ─ one archive ─▶ E ─ sbatch each ─▶ handles
//! ```
//!
//! All files of a batch travel as one archive; each sbatch is a command of its own, several at once. An answer that was
//! lost says so: it is the caller's to look for the key before sending anything again.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::archive::Archive;
use super::array::array;
use super::payload::{Submission, secrets_text};
use super::queue::LIMIT;
use super::words::{Refusal, refusal};
use crate::context::Context;
use crate::executor::{Request, SubmitError, resolve_secret};
use crate::model::Handle;
use crate::plan::When;
use crate::tunnel::{Cmd, Tunnel};

/// So many sbatch run at once: one is waiting for its connection while another is being answered.
const AT_ONCE: usize = 4;

/// One thing to hand to sbatch, and the requests that it stands for.
struct Batch {
    /// The numbers of its requests; in an array, its tasks by index.
    requests: Vec<usize>,
    script: String,
    directory: String,
    dependencies: Vec<String>,
    /// The nodes that its settings exclude: an argument replaces what the script says.
    exclude: Option<String>,
    /// The number of tasks, if it is an array.
    tasks: Option<usize>,
}

/// What the controller allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// An array's indexes are below this; 0 where arrays are not allowed.
    pub(super) array: usize,
}

/// What is to be put into sbatch's arguments.
#[derive(Debug, Clone, Default)]
pub(super) struct Extra {
    /// Nodes to stay away from.
    pub(super) exclude: Option<String>,
}

/// Sends requests. For each the number of its job, such as `12` or `12_3`.
pub(super) async fn submit(
    context: &Context,
    tunnel: &Arc<dyn Tunnel>,
    requests: &[Request],
    limits: Limits,
    extra: &Extra,
) -> Vec<Result<String, SubmitError>> {
    let mut answers: Vec<Option<Result<String, SubmitError>>> = vec![None; requests.len()];
    let mut submissions: BTreeMap<usize, Submission> = BTreeMap::new();
    let time = u64::try_from(context.clock.now().0 / 1_000_000).unwrap_or(0);
    let mut archive = Archive::new(time);
    for (number, request) in requests.iter().enumerate() {
        match prepare(context, request, &mut archive) {
            Ok(submission) => {
                submissions.insert(number, submission);
            }
            Err(error) => answers[number] = Some(Err(error)),
        }
    }
    let batches = batches(&submissions, limits, time, &mut archive);
    if !batches.is_empty()
        && let Err(error) = archive.send(tunnel.as_ref()).await
    {
        for number in submissions.keys() {
            answers[*number] = Some(Err(error.clone()));
        }
        return finish(answers);
    }
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for batch in batches {
        let (tunnel, turns, extra) = (Arc::clone(tunnel), Arc::clone(&turns), extra.clone());
        running.spawn(async move {
            let _turn = turns.acquire().await;
            let mut answer = sbatch(tunnel.as_ref(), &batch, &extra).await;
            if extra.exclude.is_some() && matches!(answer, Err(SubmitError::Rejected(_))) {
                // Without the nodes that are only stayed away from, none may be left that it can run on.
                answer = sbatch(tunnel.as_ref(), &batch, &Extra::default()).await;
            }
            (batch, answer)
        });
    }
    while let Some(Ok((batch, answer))) = running.join_next().await {
        for (index, number) in batch.requests.iter().enumerate() {
            answers[*number] = Some(answer.clone().map(|id| match batch.tasks {
                Some(_) => format!("{id}_{index}"),
                None => id,
            }));
        }
    }
    finish(answers)
}

fn finish(answers: Vec<Option<Result<String, SubmitError>>>) -> Vec<Result<String, SubmitError>> {
    let lost = || {
        Err(SubmitError::Uncertain(
            "its sending was given up".to_owned(),
        ))
    };
    answers
        .into_iter()
        .map(|answer| answer.unwrap_or_else(lost))
        .collect()
}

/// The number of a job, from its handle: `slurm://<place>/<id>/<key>`.
pub(super) fn id_of(handle: &Handle) -> Option<&str> {
    handle.0.rsplit('/').nth(1)
}

/// Reads a request and puts its secrets into the archive.
fn prepare(
    context: &Context,
    request: &Request,
    archive: &mut Archive,
) -> Result<Submission, SubmitError> {
    let mut submission = Submission::from_payload(&request.payload)
        .map_err(|error| SubmitError::Rejected(format!("the request can't be read: {error}")))?;
    for (when, handles) in &request.after {
        let ids: Vec<&str> = handles.iter().filter_map(id_of).collect();
        let word = match when {
            When::Ok => "afterok",
            When::Any => "afterany",
            When::Failed => "afternotok",
            When::Start => "after",
        };
        submission
            .dependencies
            .push(format!("{word}:{}", ids.join(":")));
    }
    let mut secrets: BTreeMap<usize, Vec<(&str, String)>> = BTreeMap::new();
    for secret in &request.secrets {
        let value = resolve_secret(&secret.reference, &context.environment).map_err(|error| {
            SubmitError::Rejected(format!("the secret {}: {error}", secret.variable))
        })?;
        secrets
            .entry(secret.member)
            .or_default()
            .push((&secret.variable, value));
    }
    for (member, values) in secrets {
        let text = secrets_text(values.iter().map(|(name, value)| (*name, value.as_str())));
        if let Some(path) = submission.secrets_path(member) {
            archive.file(&submission.directory, &path, text.as_bytes(), 0o600);
        }
    }
    Ok(submission)
}

/// What can share an array does so, as far as the controller's limit allows. All files go into the archive.
fn batches(
    submissions: &BTreeMap<usize, Submission>,
    limits: Limits,
    time: u64,
    archive: &mut Archive,
) -> Vec<Batch> {
    let mut alike: Vec<Vec<usize>> = Vec::new();
    for (number, submission) in submissions {
        let place = alike.iter_mut().find(|numbers| {
            numbers.len() < limits.array.max(1)
                && submissions[&numbers[0]].shares_array_with(submission)
        });
        match place {
            Some(numbers) => numbers.push(*number),
            None => alike.push(vec![*number]),
        }
    }
    let mut batches = Vec::with_capacity(alike.len());
    for requests in alike {
        let units: Vec<&Submission> = requests.iter().map(|number| &submissions[number]).collect();
        let whole = (units.len() > 1).then(|| array(&units, time)).flatten();
        match whole {
            Some(whole) => {
                archive.files(&whole.directory, &whole.files);
                let (path, packed) = &whole.units;
                archive.file(&whole.directory, path, packed, 0o600);
                batches.push(Batch {
                    script: whole.script,
                    tasks: Some(units.len()),
                    ..single(&requests, units[0])
                });
            }
            None => {
                for (number, unit) in requests.iter().zip(units) {
                    archive.files(&unit.directory, &unit.files);
                    batches.push(single(&[*number], unit));
                }
            }
        }
    }
    batches
}

fn single(requests: &[usize], submission: &Submission) -> Batch {
    Batch {
        requests: requests.to_vec(),
        script: submission.script.clone(),
        directory: submission.directory.clone(),
        dependencies: submission.dependencies.clone(),
        exclude: excluded(submission),
        tasks: None,
    }
}

fn excluded(submission: &Submission) -> Option<String> {
    submission
        .options
        .iter()
        .find_map(|option| option.trim_matches('"').strip_prefix("--exclude="))
        .map(str::to_owned)
}

async fn sbatch(tunnel: &dyn Tunnel, batch: &Batch, extra: &Extra) -> Result<String, SubmitError> {
    let mut argv = vec!["sbatch".to_owned(), "--parsable".to_owned()];
    if !batch.dependencies.is_empty() {
        argv.push(format!("--dependency={}", batch.dependencies.join(",")));
        argv.push("--kill-on-invalid-dep=yes".to_owned());
    }
    if let Some(nodes) = &extra.exclude {
        let all = [batch.exclude.as_deref(), Some(nodes)];
        let all: Vec<&str> = all.into_iter().flatten().collect();
        argv.push(format!("--exclude={}", all.join(",")));
    }
    if let Some(tasks) = batch.tasks {
        argv.push(format!("--array=0-{}", tasks - 1));
    }
    argv.push(batch.script.clone());
    let command = Cmd::new(argv).cwd(batch.directory.clone()).timeout(LIMIT);
    let finished = match tunnel.run(&command).await {
        Ok(finished) => finished,
        Err(error) => return Err(error.into()),
    };
    let said = String::from_utf8_lossy(&finished.stderr);
    let words: Vec<&str> = said
        .lines()
        .map(|line| line.trim_start_matches("sbatch: error: ").trim())
        .filter(|line| !line.is_empty())
        .collect();
    if finished.status == 0 {
        let answer = String::from_utf8_lossy(&finished.stdout);
        // Sites put words of their own before it; a cluster's name stands behind it.
        let id = answer
            .lines()
            .filter_map(|line| line.trim().split(';').next())
            .rfind(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()));
        return id
            .map(str::to_owned)
            .ok_or_else(|| SubmitError::Uncertain(format!("sbatch answered {:?}", answer.trim())));
    }
    let words = words.join("; ");
    if finished.status == 127 {
        return Err(SubmitError::Rejected("there is no `sbatch`".to_owned()));
    }
    Err(match refusal(&said) {
        Refusal::ForGood if words.is_empty() => {
            SubmitError::Rejected(format!("sbatch ended with status {}", finished.status))
        }
        Refusal::ForGood => SubmitError::Rejected(words),
        Refusal::ForNow => SubmitError::Later(words),
        Refusal::Unknown => SubmitError::Uncertain(words),
    })
}
