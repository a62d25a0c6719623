//! A Slurm of shell scripts: `srun`, `squeue`, `scancel` and `scontrol` on a PATH of their own, just enough to bring a batch
//! script to life on this machine, and a stand-in for the agent.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use mizzen_core::executor::slurm::Submission;

/// Starts `--ntasks` tasks, each with Slurm's variables; a failing task ends the others; SIGTERM kills them all.
const SRUN: &str = r#"#!/bin/bash
name=step ntasks=1 nodes=1 relative=0 het=0
echo "$*" >>"$FAKE/srun.log"
while [ $# -gt 0 ]; do
    case $1 in
    --job-name=*) name=${1#*=} ;;
    --ntasks=*) ntasks=${1#*=} ;;
    --nodes=*) nodes=${1#*=} ;;
    --het-group=*) het=${1#*=} ;;
    --*) ;;
    *) break ;;
    esac
    shift
done
exec {lock}>"$FAKE/lock"; flock "$lock"
step=$SLURM_JOB_ID.$(wc -l <"$FAKE/steps"); echo "$step|$name" >>"$FAKE/steps"
exec {lock}>&-
# As with Slurm, a step is known before its tasks begin: they wait for this lock.
exec {go}>"$FAKE/go-$step"; flock "$go"
pids=()
for ((rank = 0; rank < ntasks; rank++)); do
    SLURM_PROCID=$rank SLURM_NTASKS=$ntasks SLURM_NNODES=$nodes SLURM_NODEID=$((rank * nodes / ntasks)) SLURM_LOCALID=$((rank % ((ntasks + nodes - 1) / nodes))) \
        SLURM_NTASKS_PER_NODE=$(((ntasks + nodes - 1) / nodes)) SLURM_STEP_ID=${step#*.} bash -c 'flock "$0" true; exec "$@"' "$FAKE/go-$step" "$@" {go}>&- &
    pids+=($!)
done
trap 'kill -KILL "${pids[@]}" 2>/dev/null' TERM
echo "${pids[@]}" >"$FAKE/step-$step"
exec {go}>&-
result=0
for pid in "${pids[@]}"; do
    wait "$pid"; while kill -0 "$pid" 2>/dev/null; do wait "$pid"; done; wait "$pid"; status=$?
    if [ $status -ne 0 ]; then [ $result -ne 0 ] || { result=$status; kill -TERM "${pids[@]}" 2>/dev/null; }; fi
done
rm "$FAKE/step-$step"
exit $result
"#;

/// The steps that run.
const SQUEUE: &str = r#"#!/bin/bash
echo "$SLURM_JOB_ID.batch|batch"
while IFS='|' read -r step name; do [ ! -e "$FAKE/step-$step" ] || echo "$step|$name"; done <"$FAKE/steps"
"#;

const SCANCEL: &str = r#"#!/bin/bash
echo "$*" >>"$FAKE/scancel.log"
kill -"${1#--signal=}" $(cat "$FAKE/step-$2")
"#;

const SCONTROL: &str = r#"#!/bin/bash
case "$1 $2" in
"show hostnames") echo "$3" | tr ',' '\n' ;;
"show node") echo "NodeName=$3 Arch=x86_64"; echo "   NodeAddr=192.0.2.${3//[!0-9]/} NodeHostName=$3" ;;
esac
"#;

/// What the agent would do, as far as the script can tell.
const AGENT: &str = r#"#!/bin/bash
[ "$1" != --version ] || exit 0
mode=$1; shift
all="$*"
while [ $# -gt 0 ]; do
    case $1 in
    --attempt) attempt=$2; shift ;;
    --) shift; break ;;
    esac
    shift
done
if [ "$mode" = conclude ]; then printf '%s\n' "$all" >"$attempt/concluded"; exit 0; fi
mkdir -p "$attempt/ranks/$SLURM_PROCID"
ln -s x "$attempt/ranks/$SLURM_PROCID/agent" || exit 75
trap 'kill -TERM $child' TERM
trap 'kill -USR1 $child' USR1
"$@" >>"$attempt/rank-$SLURM_PROCID.log" 2>&1 &
child=$!
wait $child
while kill -0 $child 2>/dev/null; do wait $child; done
wait $child
"#;

/// A place with a folder of an experiment.
pub(crate) struct Place {
    folder: PathBuf,
    /// E.
    pub(crate) experiment: Utf8PathBuf,
}

impl Place {
    /// A fresh one. `name` may hold what paths can hold.
    pub(crate) fn new(test: &str, name: &str) -> Place {
        let folder =
            std::env::temp_dir().join(format!("mizzen-script-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let bin = folder.join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        for (program, text) in [
            ("srun", SRUN),
            ("squeue", SQUEUE),
            ("scancel", SCANCEL),
            ("scontrol", SCONTROL),
            ("agent", AGENT),
        ] {
            write(&bin.join(program), text, 0o755);
        }
        write(&folder.join("steps"), "", 0o600);
        let experiment =
            Utf8PathBuf::from_path_buf(folder.join(name).join("title").join("x1")).unwrap();
        std::fs::create_dir_all(&experiment).unwrap();
        Place { folder, experiment }
    }

    /// Puts a program on the PATH of the jobs.
    pub(crate) fn program(&self, name: &str, text: &str) {
        write(&self.folder.join("bin").join(name), text, 0o755);
    }

    /// Puts a submission's files there, as whoever sends it would.
    pub(crate) fn put(&self, submission: &Submission, agent: bool) {
        for file in &submission.files {
            let path = Path::new(&submission.directory).join(&file.path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            write(
                &path,
                &file.contents,
                if file.executable { 0o700 } else { 0o600 },
            );
        }
        if agent {
            let _ = symlink(
                self.folder.join("bin/agent"),
                self.experiment.join(".agent"),
            );
        }
    }

    /// The batch script as Slurm starts it.
    pub(crate) fn command(&self, script: &Utf8Path, job: u32) -> Command {
        let mut command = Command::new("bash");
        #[expect(
            clippy::disallowed_methods,
            reason = "the tools of the machine are behind the fakes"
        )]
        let path = std::env::var("PATH").unwrap();
        command
            .arg(script)
            .env_clear()
            .env(
                "PATH",
                format!("{}:{path}", self.folder.join("bin").display()),
            )
            .env("HOME", &self.folder)
            .env("USER", "me")
            .env("FAKE", &self.folder)
            .env("SLURM_JOB_ID", job.to_string())
            .env("SLURM_JOB_NODELIST", "n1,n2,n3,n4")
            .env("SLURMD_NODENAME", "n1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts the script of a submission.
    pub(crate) fn start(&self, submission: &Submission, job: u32) -> Child {
        self.command(&self.experiment.join(&submission.script), job)
            .spawn()
            .unwrap()
    }

    /// Runs the script of a submission to its end.
    pub(crate) fn run(&self, submission: &Submission, job: u32) -> Output {
        self.start(submission, job).wait_with_output().unwrap()
    }

    /// A file of the experiment.
    pub(crate) fn read(&self, path: &str) -> String {
        let path = self.experiment.join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// A named pipe: whoever opens it waits until somebody opens its other end.
    pub(crate) fn pipe(&self, path: &str) {
        let made = Command::new("mkfifo")
            .arg(self.experiment.join(path))
            .status()
            .unwrap();
        assert!(made.success());
    }

    /// What the fakes were told.
    pub(crate) fn told(&self, program: &str) -> String {
        std::fs::read_to_string(self.folder.join(format!("{program}.log"))).unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
