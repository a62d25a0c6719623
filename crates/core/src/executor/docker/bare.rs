//! A container without the agent: its place can't run ours (another kind of processor or system). A script for the image's own shell
//! stands in: it claims the attempt, starts the ranks, writes their logs and ends with the status of the first that failed.
//! It writes no record: the engine's word is the only evidence.

use mizzen_agent::protocol::Job;

use crate::tunnel::quote;

/// The script's path, from that of the job's file.
pub(super) fn script_path(job_file: &str) -> String {
    match job_file.strip_suffix(".json") {
        Some(stem) => format!("{stem}.sh"),
        None => format!("{job_file}.sh"),
    }
}

/// The script. It may hold secrets: it removes itself before it does anything else.
pub(super) fn script(job: &Job) -> Result<String, String> {
    let [member] = job.members.as_slice() else {
        return Err("a container holds one job".to_owned());
    };
    if member.world.is_some() {
        return Err(
            "the launcher `ranks` needs mizzen's agent, which can't run there: its processor or system is another one"
                .to_owned(),
        );
    }
    let logs = member.log_dir.as_ref().unwrap_or(&member.attempt_dir);
    let mut text = format!(
        "rm -f -- \"$0\"\numask 077\nln -s -- {key} {claim} 2>/dev/null || exit 75\ncd -- {workdir} || exit 127\npids=\n",
        key = quote(&job.key),
        claim = quote(&format!("{}/job", member.attempt_dir)),
        workdir = quote(&member.workdir),
    );
    for (number, rank) in member.ranks.iter().enumerate() {
        let number = u64::from(member.first_rank) + number as u64;
        text.push_str("(\n");
        for (name, value) in member.env.iter().chain(&rank.env) {
            if !is_variable(name) {
                return Err(format!(
                    "`{name}` is no name that a shell can give a variable, and mizzen's agent can't run there"
                ));
            }
            text.push_str(&format!("export {name}={}\n", quote(value)));
        }
        let words: Vec<String> = rank.argv.iter().map(|word| quote(word)).collect();
        let log = quote(&format!("{logs}/rank-{number}.log"));
        text.push_str(&format!(
            "exec {}\n) >>{log} 2>&1 </dev/null & pids=\"$pids $!\"\n",
            words.join(" ")
        ));
    }
    text.push_str(WAIT);
    Ok(text)
}

/// Waits for all, one after the other. The first that ends badly ends the others; a signal is passed on.
const WAIT: &str = r#"trap 'kill -TERM $pids 2>/dev/null' TERM INT
status=0
for pid in $pids; do
  wait "$pid"; ended=$?
  # A signal ends the waiting, not always the process.
  while kill -0 "$pid" 2>/dev/null; do wait "$pid"; ended=$?; done
  if [ "$ended" -ne 0 ] && [ "$status" -eq 0 ]; then
    status=$ended
    kill -TERM $pids 2>/dev/null
  fi
done
exit "$status"
"#;

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
