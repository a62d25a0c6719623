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

use super::payload::{AGENT_LINK, Submission, secrets_text};
use super::queue::LIMIT;
use super::words::{Refusal, refusal};
use crate::context::Context;
use crate::executor::{Request, SubmitError, resolve_secret};
use crate::model::Handle;
use crate::plan::When;
use crate::tunnel::{Cmd, Tunnel, TunnelError};

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
    let mut archive = Archive {
        time: u64::try_from(context.clock.now().0 / 1_000_000).unwrap_or(0),
        ..Archive::default()
    };
    for (number, request) in requests.iter().enumerate() {
        match prepare(context, request, &mut archive) {
            Ok(submission) => {
                submissions.insert(number, submission);
            }
            Err(error) => answers[number] = Some(Err(error)),
        }
    }
    let batches = batches(&submissions, limits, &mut archive);
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
            let answer = sbatch(tunnel.as_ref(), &batch, &extra).await;
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

/// Reads a request and puts its files, its secrets among them, into the archive.
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
    for file in &submission.files {
        let mode = if file.executable { 0o700 } else { 0o600 };
        archive.file(&submission.directory, &file.path, &file.contents, mode);
    }
    for (member, values) in secrets {
        let text = secrets_text(values.iter().map(|(name, value)| (*name, value.as_str())));
        if let Some(path) = submission.secrets_path(member) {
            archive.file(&submission.directory, &path, &text, 0o600);
        }
    }
    Ok(submission)
}

/// What can share an array does so, as far as the controller's limit allows.
fn batches(
    submissions: &BTreeMap<usize, Submission>,
    limits: Limits,
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
    alike
        .into_iter()
        .flat_map(|requests| {
            let single = |number: usize| {
                let submission = &submissions[&number];
                Batch {
                    requests: vec![number],
                    script: submission.script.clone(),
                    directory: submission.directory.clone(),
                    dependencies: submission.dependencies.clone(),
                    exclude: excluded(submission),
                    tasks: None,
                }
            };
            let array = (requests.len() > 1).then(|| as_array(&requests, submissions, archive));
            match array.flatten() {
                Some(array) => vec![array],
                None => requests.into_iter().map(single).collect(),
            }
        })
        .collect()
}

/// Several submissions as one array, whose files go into the archive.
fn as_array(
    requests: &[usize],
    submissions: &BTreeMap<usize, Submission>,
    archive: &mut Archive,
) -> Option<Batch> {
    let first = &submissions[&requests[0]];
    let units: Vec<Submission> = requests
        .iter()
        .map(|number| submissions[number].clone())
        .collect();
    let array = super::script::array(&units)?;
    for file in &array.files {
        let mode = if file.executable { 0o700 } else { 0o600 };
        archive.file(&array.directory, &file.path, &file.contents, mode);
    }
    for (path, target) in &array.links {
        archive.link(&array.directory, path, target);
    }
    Some(Batch {
        tasks: Some(requests.len()),
        requests: requests.to_vec(),
        script: array.script,
        directory: array.directory,
        dependencies: first.dependencies.clone(),
        exclude: excluded(first),
    })
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
        Err(error) => return Err(unsent(error)),
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
    Err(match refusal(&said) {
        Refusal::ForGood if words.is_empty() => {
            SubmitError::Rejected(format!("sbatch ended with status {}", finished.status))
        }
        Refusal::ForGood => SubmitError::Rejected(words),
        Refusal::ForNow => SubmitError::Later(words),
        Refusal::Unknown => SubmitError::Uncertain(words),
    })
}

/// What a tunnel's error means for a command that may have been run.
fn unsent(error: TunnelError) -> SubmitError {
    let words = error.to_string();
    match error {
        TunnelError::Interrupted { .. } | TunnelError::TimedOut { .. } => {
            SubmitError::Uncertain(words)
        }
        TunnelError::Unsendable(_)
        | TunnelError::Path { .. }
        | TunnelError::PreCommand { .. }
        | TunnelError::Failed { .. } => SubmitError::Rejected(words),
        _ => SubmitError::Unreachable(words),
    }
}

/// What is to be in E.
#[derive(Default)]
struct Archive {
    /// By folder: an archive for each experiment's.
    folders: BTreeMap<String, tar::Builder<Vec<u8>>>,
    /// When all of it was written, in seconds since the epoch.
    time: u64,
    broken: Option<std::io::Error>,
}

/// Unpacks an archive and links the agent. `$1`: E, `$2`: the agent or nothing, `$3`: the link.
const UNPACK: &str = r#"umask 077
mkdir -p -- "$1" && cd -- "$1" && tar -xf - || exit
if [ -n "$2" ]; then ln -sfn -- "$2" "$3"; fi"#;

impl Archive {
    fn add(&mut self, directory: &str, path: &str, mode: u32, kind: tar::EntryType, text: &str) {
        let builder = self
            .folders
            .entry(directory.to_owned())
            .or_insert_with(|| tar::Builder::new(Vec::new()));
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        // Places remove what has not been touched for weeks.
        header.set_mtime(self.time);
        let added = if kind == tar::EntryType::Symlink {
            header.set_size(0);
            builder.append_link(&mut header, path, text)
        } else {
            header.set_size(text.len() as u64);
            builder.append_data(&mut header, path, text.as_bytes())
        };
        if let Err(error) = added {
            self.broken.get_or_insert(error);
        }
    }

    fn file(&mut self, directory: &str, path: &str, text: &str, mode: u32) {
        self.add(directory, path, mode, tar::EntryType::Regular, text);
    }

    fn link(&mut self, directory: &str, path: &str, target: &str) {
        self.add(directory, path, 0o777, tar::EntryType::Symlink, target);
    }

    /// Unpacks everything at the place. Nothing was submitted yet, so whatever goes wrong may be tried again.
    async fn send(self, tunnel: &dyn Tunnel) -> Result<(), SubmitError> {
        let failed = |error: std::io::Error| {
            SubmitError::Rejected(format!("its files can't be packed: {error}"))
        };
        if let Some(error) = self.broken {
            return Err(failed(error));
        }
        let again = |error: TunnelError| match unsent(error) {
            SubmitError::Uncertain(words) => SubmitError::Unreachable(words),
            other => other,
        };
        let agent = tunnel.agent().await.map_err(again)?;
        let agent = agent.map(|path| path.to_string()).unwrap_or_default();
        for (directory, builder) in self.folders {
            let bytes = builder.into_inner().map_err(failed)?;
            let command = Cmd::script(UNPACK, [directory.as_str(), &agent, AGENT_LINK])
                .stdin(bytes)
                .timeout(LIMIT);
            tunnel
                .run(&command)
                .await
                .map_err(again)?
                .ok(&command)
                .map_err(|error| match error {
                    TunnelError::Failed { words, .. } => SubmitError::Rejected(format!(
                        "its files can't be written to {directory}: {words}"
                    )),
                    other => SubmitError::Rejected(other.to_string()),
                })?;
        }
        Ok(())
    }
}
