//! The fake by itself: its answers beside those of a real Slurm 22.05, and each fault.

use std::time::Duration;

use super::*;
use crate::tunnel::Finished;

/// A cluster and a folder.
struct Place(Ground);

impl std::ops::Deref for Place {
    type Target = Ground;

    fn deref(&self) -> &Ground {
        &self.0
    }
}

impl Place {
    fn new(settings: Settings) -> Place {
        Place(Ground::new(settings).unwrap())
    }

    /// Writes the script of a job's first attempt, and gives its path.
    fn script(&self, job: &str, options: &str) -> String {
        let folder = self.at.join(job).join("submit");
        std::fs::create_dir_all(&folder).unwrap();
        let options: String = options
            .lines()
            .map(|line| format!("#SBATCH {line}\n"))
            .collect();
        let text = format!("#!/bin/bash\n#SBATCH --comment=mz-e-{job}-1\n{options}true\n");
        std::fs::write(folder.join("1.sh"), text).unwrap();
        format!("{job}/submit/1.sh")
    }

    async fn run(&self, words: &[&str]) -> Finished {
        self.slurm.run(&self.command(words)).await.unwrap()
    }

    fn command(&self, words: &[&str]) -> Cmd {
        Cmd::new(words.iter().copied())
            .cwd(self.at.clone())
            .timeout(Duration::from_secs(60))
    }

    /// Submits a script, with arguments, and gives the number.
    async fn sbatch(&self, arguments: &[&str], script: &str) -> String {
        let mut words = vec!["sbatch", "--parsable"];
        words.extend(arguments);
        words.push(script);
        let answer = self.run(&words).await;
        assert_eq!(answer.status, 0, "{}", text(&answer.stderr));
        text(&answer.stdout).trim().to_owned()
    }

    /// What sbatch says when it refuses, and its status.
    async fn refused(&self, arguments: &[&str], script: &str) -> (i32, String) {
        let mut words = vec!["sbatch", "--parsable"];
        words.extend(arguments);
        words.push(script);
        let answer = self.run(&words).await;
        assert_eq!(text(&answer.stdout), "");
        (answer.status, text(&answer.stderr))
    }

    /// The queue's rows, with single spaces.
    async fn queue(&self) -> Vec<String> {
        let command = super::super::queue::squeue();
        let answer = self.slurm.run(&command).await.unwrap();
        assert_eq!(answer.status, 0);
        text(&answer.stdout)
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    async fn sacct(&self, ids: &str) -> Vec<String> {
        let answer = self
            .run(&[
                "sacct",
                "--noheader",
                "--parsable2",
                &format!("--jobs={ids}"),
                "--format=JobIDRaw,JobID,State,ExitCode,DerivedExitCode,NodeList,Reason,Comment",
            ])
            .await;
        assert_eq!(answer.status, 0, "{}", text(&answer.stderr));
        text(&answer.stdout).lines().map(str::to_owned).collect()
    }

    fn state(&self, id: &str) -> String {
        self.slurm.job(id).map(|job| job.state).unwrap_or_default()
    }

    fn attempt(&self, job: &str, number: u32) -> Utf8PathBuf {
        self.at.join(job).join("attempts").join(number.to_string())
    }

    fn claim(&self, job: &str, number: u32) -> Option<String> {
        let link = std::fs::read_link(self.attempt(job, number).join("job")).ok()?;
        Some(link.to_str().unwrap().to_owned())
    }

    fn record(&self, job: &str, number: u32) -> Option<mizzen_agent::record::ExitRecord> {
        let text = std::fs::read(self.attempt(job, number).join("exit.json")).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_job_is_sent_runs_and_is_forgotten() {
    let place = Place::new(Settings::default());
    let script = place.script("a", "");
    assert_eq!(place.sbatch(&[], &script).await, "1");
    assert_eq!(
        place.queue().await,
        ["1 |PENDING |0 |None | |0 |N/A |N/A |mz-e-a-1 |N/A |N/A |"]
    );
    place.slurm.advance(1.0);
    assert_eq!(
        place.queue().await,
        ["1 |RUNNING |0 |None |n1 |0 |2026-01-01T00:00:01 |NONE |mz-e-a-1 |N/A |N/A |"]
    );
    assert_eq!(place.claim("a", 1).as_deref(), Some("1"));
    place.slurm.advance(10.0);
    assert_eq!(
        place.queue().await,
        [
            "1 |COMPLETED |0 |None |n1 |0 |2026-01-01T00:00:01 |2026-01-01T00:00:11 |mz-e-a-1 |N/A |N/A |"
        ]
    );
    let record = place.record("a", 1).unwrap();
    assert_eq!(record.outcome, mizzen_agent::record::Outcome::Succeeded);
    assert_eq!((record.key.as_str(), record.ranks.len()), ("mz-e-a-1", 1));
    place.slurm.advance(300.0);
    assert!(place.queue().await.is_empty());
    let answer = place.run(&["scontrol", "show", "job", "-o", "1"]).await;
    assert_eq!(
        (answer.status, text(&answer.stderr).as_str()),
        (1, "slurm_load_jobs error: Invalid job id specified\n")
    );
    assert_eq!(place.slurm.runs().len(), 1);
    assert_eq!(place.slurm.accepted()[0].comment, "mz-e-a-1");
}

#[tokio::test]
async fn a_line_of_the_queue_is_as_wide_as_slurms() {
    let place = Place::new(Settings::default());
    let script = place.script("a", "");
    place.sbatch(&[], &script).await;
    let answer = place
        .slurm
        .run(&super::super::queue::squeue())
        .await
        .unwrap();
    let line = text(&answer.stdout);
    let widths: Vec<usize> = line
        .trim_end_matches('\n')
        .split('|')
        .map(str::len)
        .collect();
    assert_eq!(widths, [48, 24, 8, 64, 256, 16, 24, 24, 160, 16, 16, 0]);
}

#[tokio::test]
async fn ends_have_slurms_words() {
    let place = Place::new(Settings {
        accounting: Accounting::On,
        keeps_comments: true,
        ..Settings::default()
    });
    place.slurm.work(|key, _| Work {
        end: match key {
            "mz-e-failed-1" => WorkEnd::Exits(3),
            "mz-e-killed-1" => WorkEnd::Killed(9),
            "mz-e-memory-1" => WorkEnd::OutOfMemory,
            _ => WorkEnd::Exits(0),
        },
        seconds: if key == "mz-e-long-1" { 1e6 } else { 10.0 },
        ..Work::default()
    });
    for job in ["failed", "killed", "memory"] {
        place.sbatch(&[], &place.script(job, "")).await;
    }
    place.sbatch(&[], &place.script("long", "--time=2")).await;
    place.sbatch(&["--hold"], &place.script("held", "")).await;
    place.slurm.advance(200.0);
    assert!(place.slurm.cancel("5"));
    let seen: Vec<String> = place
        .queue()
        .await
        .iter()
        .map(|row| row.split(" |").take(6).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        seen,
        [
            "5 CANCELLED 0 JobHeldUser  0",
            "1 FAILED 0 NonZeroExitCode n1 768",
            "2 FAILED 0 JobLaunchFailure n1 9",
            "3 OUT_OF_MEMORY 0 OutOfMemory n1 32000",
            "4 TIMEOUT 0 TimeLimit n1 15",
        ]
    );
    assert_eq!(
        place.sacct("1,2,4,5").await,
        [
            "1|1|FAILED|3:0|0:0|n1|None|mz-e-failed-1",
            "2|2|FAILED|0:9|0:0|n1|None|mz-e-killed-1",
            "4|4|TIMEOUT|0:0|0:0|n1|None|mz-e-long-1",
            "5|5|CANCELLED by 0|0:0|0:0|None assigned|JobHeldUser|mz-e-held-1",
        ]
    );
    assert!(place.record("killed", 1).is_none());
    assert_eq!(place.record("failed", 1).unwrap().ranks[0].code, Some(3));
    assert_eq!(
        place.record("long", 1).unwrap().outcome,
        mizzen_agent::record::Outcome::Interrupted
    );
}

#[tokio::test]
async fn sbatch_refuses_in_slurms_words() {
    let place = Place::new(Settings {
        accounting: Accounting::On,
        ..Settings::default()
    });
    let script = place.script("a", "");
    std::fs::write(place.at.join("bad.sh"), "true\n").unwrap();
    let failed = "sbatch: error: Batch job submission failed: ";
    let cases: [(&[&str], &str, i32, String); 11] = [
        (
            &["-p", "nope"],
            &script,
            1,
            format!(
                "sbatch: error: invalid partition specified: nope\n{failed}Invalid partition name specified\n"
            ),
        ),
        (
            &["--array=0-1001"],
            &script,
            1,
            format!("{failed}Invalid job array specification\n"),
        ),
        (
            &["--array=x"],
            &script,
            1,
            format!("{failed}Invalid job array specification\n"),
        ),
        (
            &[],
            "none.sh",
            1,
            "sbatch: error: Unable to open file none.sh\n".to_owned(),
        ),
        (
            &["-A", "foo"],
            &script,
            1,
            format!("{failed}Invalid account or account/partition combination specified\n"),
        ),
        (
            &["--qos=nope"],
            &script,
            1,
            format!("{failed}Invalid qos specification\n"),
        ),
        (
            &["--reservation=x"],
            &script,
            1,
            format!("{failed}Requested reservation is invalid\n"),
        ),
        (
            &["--time=nope"],
            &script,
            255,
            "sbatch: error: Invalid --time specification\n".to_owned(),
        ),
        (
            &["--nodes=x"],
            &script,
            255,
            "sbatch: error: \"x\" is not a valid node count\n".to_owned(),
        ),
        (
            &["--dependency=nonsense:1"],
            &script,
            1,
            format!("{failed}Job dependency problem\n"),
        ),
        (
            &["--nope"],
            &script,
            255,
            "sbatch: unrecognized option '--nope'\nTry \"sbatch --help\" for more information\n"
                .to_owned(),
        ),
    ];
    for (arguments, script, status, words) in cases {
        assert_eq!(
            place.refused(arguments, script).await,
            (status, words),
            "{arguments:?}"
        );
    }
    let (_, words) = place.refused(&[], "bad.sh").await;
    assert!(words.ends_with("For instance: #!/bin/sh\n"), "{words}");
    assert!(place.slurm.accepted().is_empty());
    let answer = place.run(&["sbatch", "--test-only", &script]).await;
    assert_eq!(answer.status, 0);
    assert!(place.slurm.jobs().is_empty());
}

#[tokio::test]
async fn limits_on_jobs() {
    let place = Place::new(Settings {
        max_submit: Some(("AssocMaxSubmitJobLimit".to_owned(), 2)),
        max_job_count: 3,
        ..Settings::default()
    });
    let script = place.script("a", "");
    let limit = "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates \
                 accounting/QOS policy (job submit limit, user's size and/or time limits)\n";
    assert_eq!(
        place.refused(&["--array=0-2"], &script).await,
        (1, limit.to_owned())
    );
    place.sbatch(&["--hold"], &script).await;
    place.sbatch(&["--hold"], &script).await;
    assert_eq!(place.refused(&[], &script).await, (1, limit.to_owned()));
    // The controller's own limit: sbatch waits for room, longer than we do.
    place.slurm.settings(|settings| settings.max_submit = None);
    place.sbatch(&["--hold"], &script).await;
    let error = place
        .slurm
        .run(&place.command(&["sbatch", &script]))
        .await
        .unwrap_err();
    assert!(matches!(error, TunnelError::TimedOut { .. }), "{error}");
    assert_eq!(place.slurm.accepted().len(), 3);
}

#[tokio::test]
async fn arrays_are_jobs_of_one_number() {
    let place = Place::new(Settings {
        accounting: Accounting::On,
        ..Settings::default()
    });
    for job in ["x", "y", "z"] {
        place.script(job, "");
    }
    let array = place.at.join("arrays/mz-e-x-1");
    std::fs::create_dir_all(&array).unwrap();
    std::fs::write(
        array.join("batch.sh"),
        "#!/bin/bash\n#SBATCH --comment=mz-e-x-1\n",
    )
    .unwrap();
    let keys = ["x", "y", "z"].map(|job| format!("mz-e-{job}-1 1 0 {job}/submit/1.sh\n"));
    std::fs::write(array.join("keys"), keys.concat()).unwrap();
    let script = "arrays/mz-e-x-1/batch.sh";
    assert_eq!(place.sbatch(&["--array=0-2%1"], script).await, "1");
    assert_eq!(
        place.sacct("1").await,
        ["1|1_[0-2%1]|PENDING|0:0|0:0|None assigned|None|"]
    );
    place.slurm.advance(1.0);
    assert_eq!(place.state("1_0"), "RUNNING");
    assert_eq!(place.slurm.job("1_1").unwrap().reason, "JobArrayTaskLimit");
    assert_eq!(place.claim("x", 1).as_deref(), Some("1_0"));
    // A waiting task that is cancelled alone leaves no trace.
    assert_eq!(place.run(&["scancel", "1_2"]).await.status, 0);
    assert!(place.slurm.job("1_2").is_none());
    place.slurm.advance(30.0);
    assert_eq!(place.claim("y", 1).as_deref(), Some("1_1"));
    assert_eq!(place.record("y", 1).unwrap().key, "mz-e-y-1");
    assert_eq!(
        place.sacct("1").await,
        [
            "2|1_0|COMPLETED|0:0|0:0|n1|None|",
            "1|1_1|COMPLETED|0:0|0:0|n1|JobArrayTaskLimit|"
        ]
    );
}

#[tokio::test]
async fn heterogeneous_jobs_have_components() {
    let place = Place::new(Settings::default());
    let script = place.script("h", "--nodes=2\nhetjob\n--comment=mz-e-h-1\n--nodes=1");
    assert_eq!(place.sbatch(&[], &script).await, "1");
    place.slurm.advance(1.0);
    let rows = place.queue().await;
    assert!(
        rows[0].starts_with("1+0 |RUNNING |0 |None |n[1-2] |"),
        "{rows:?}"
    );
    assert!(rows[0].ends_with("|mz-e-h-1 |1 |0 |"), "{rows:?}");
    assert!(rows[1].ends_with("|mz-e-h-1 |1 |1 |"), "{rows:?}");
    assert_eq!(place.run(&["scancel", "1"]).await.status, 0);
    place.slurm.advance(2.0);
    assert_eq!(
        (place.state("1+0"), place.state("1+1")),
        ("CANCELLED".into(), "CANCELLED".into())
    );
}

#[tokio::test]
async fn dependencies() {
    let place = Place::new(Settings::default());
    place.slurm.work(|key, _| Work {
        end: WorkEnd::Exits(i32::from(key == "mz-e-bad-1")),
        ..Work::default()
    });
    let (good, bad) = (place.script("good", ""), place.script("bad", ""));
    let (other, last) = (place.script("other", ""), place.script("last", ""));
    let first = place.sbatch(&[], &good).await;
    let second = place.sbatch(&[], &bad).await;
    let after = place
        .sbatch(&[&format!("--dependency=afterok:{first}:{second}")], &good)
        .await;
    let killed = place
        .sbatch(
            &[
                &format!("--dependency=afterok:{second}"),
                "--kill-on-invalid-dep=yes",
            ],
            &good,
        )
        .await;
    let otherwise = place
        .sbatch(&[&format!("--dependency=afternotok:{second}")], &other)
        .await;
    let unknown = place.sbatch(&["--dependency=afterok:99999"], &last).await;
    place.slurm.advance(2.0);
    assert_eq!(place.slurm.job(&after).unwrap().reason, "Dependency");
    assert_eq!(place.state(&unknown), "RUNNING");
    place.slurm.advance(12.0);
    let job = place.slurm.job(&after).unwrap();
    assert_eq!(
        (job.state.as_str(), job.reason.as_str()),
        ("PENDING", "DependencyNeverSatisfied")
    );
    let job = place.slurm.job(&killed).unwrap();
    assert_eq!(
        (job.state.as_str(), job.reason.as_str()),
        ("CANCELLED", "DependencyNeverSatisfied")
    );
    assert_eq!(place.state(&otherwise), "RUNNING");
}

#[tokio::test]
async fn a_requeue_is_another_attempt() {
    let place = Place::new(Settings {
        accounting: Accounting::On,
        ..Settings::default()
    });
    place.slurm.work(|_, _| Work {
        seconds: 1000.0,
        ..Work::default()
    });
    let id = place.sbatch(&[], &place.script("a", "")).await;
    place.slurm.advance(5.0);
    assert_eq!(place.run(&["scontrol", "requeue", &id]).await.status, 0);
    let job = place.slurm.job(&id).unwrap();
    assert_eq!((job.state.as_str(), job.restarts), ("COMPLETING", 1));
    place.slurm.advance(2.0);
    let job = place.slurm.job(&id).unwrap();
    assert_eq!(
        (job.state.as_str(), job.reason.as_str()),
        ("PENDING", "BeginTime")
    );
    assert_eq!(
        place.sacct(&id).await,
        [
            "1|1|REQUEUED|0:0|0:0|n1|None|",
            "1|1|PENDING|0:0|0:0|None assigned|BeginTime|"
        ]
    );
    let again = place.run(&["scontrol", "requeue", &id]).await;
    assert_eq!(text(&again.stderr), "Job is pending execution for job 1\n");
    place.slurm.advance(130.0);
    assert_eq!(place.state(&id), "RUNNING");
    assert_eq!(
        (place.claim("a", 1), place.claim("a", 2)),
        (Some(id.clone()), Some(id))
    );
    let fixed = place
        .sbatch(&["--no-requeue"], &place.script("b", ""))
        .await;
    place.slurm.advance(2.0);
    let no = place.run(&["scontrol", "requeue", &fixed]).await;
    assert_eq!(
        text(&no.stderr),
        "Requested operation is presently disabled for job 2\n"
    );
}

#[tokio::test]
async fn preemption_and_broken_nodes() {
    let place = Place::new(Settings {
        accounting: Accounting::On,
        jobs_per_node: 1,
        ..Settings::default()
    });
    place.slurm.work(|_, _| Work {
        seconds: 1000.0,
        ..Work::default()
    });
    for job in ["a", "b", "c", "d"] {
        let options = if job == "d" { "--no-requeue" } else { "" };
        place.sbatch(&[], &place.script(job, options)).await;
    }
    place.slurm.advance(2.0);
    assert!(place.slurm.preempt("1", true) && place.slurm.preempt("2", false));
    place.slurm.break_node("n3");
    place.slurm.break_node("n4");
    place.slurm.advance(2.0);
    let states: Vec<(String, u32)> = place
        .slurm
        .jobs()
        .into_iter()
        .map(|job| (job.state, job.restarts))
        .collect();
    let expected = [
        ("PENDING", 1),
        ("PREEMPTED", 0),
        ("PENDING", 1),
        ("NODE_FAIL", 0),
    ];
    assert_eq!(
        states,
        expected.map(|(state, restarts)| (state.to_owned(), restarts))
    );
    assert_eq!(
        place.sacct("1,3").await,
        [
            "1|1|PREEMPTED|0:0|0:0|n1|None|",
            "1|1|PENDING|0:0|0:0|None assigned|BeginTime|",
            "3|3|NODE_FAIL|0:0|0:0|n3|None|",
            "3|3|PENDING|0:0|0:0|None assigned|BeginTime|",
        ]
    );
    assert!(place.record("a", 1).is_some() && place.record("c", 1).is_none());
    let answer = place
        .run(&[
            "sinfo",
            "--Node",
            "--noheader",
            "--format=%N|%T",
            "--nodes=n[3-4]",
        ])
        .await;
    assert_eq!(text(&answer.stdout), "n3|down\nn4|down\n");
}

#[tokio::test]
async fn a_claim_is_taken_once() {
    let place = Place::new(Settings::default());
    let script = place.script("a", "");
    place.sbatch(&[], &script).await;
    place.sbatch(&[], &script).await;
    place.slurm.advance(20.0);
    assert_eq!(
        (place.state("1"), place.state("2")),
        ("COMPLETED".into(), "FAILED".into())
    );
    assert_eq!(place.claim("a", 1).as_deref(), Some("1"));
    assert_eq!(
        place.slurm.runs(),
        [(place.attempt("a", 1).into_string(), 1)]
    );
}

#[tokio::test]
async fn answers_are_lost_before_and_after() {
    let place = Place::new(Settings::default());
    let script = place.script("a", "");
    let command = place.command(&["sbatch", "--parsable", &script]);
    for (after, taken) in [(false, 0), (true, 1)] {
        place
            .slurm
            .fault(Kind::Sbatch, 1, Fault::TimedOut { after });
        let before = place
            .slurm
            .clock
            .0
            .load(std::sync::atomic::Ordering::SeqCst);
        let error = place.slurm.run(&command).await.unwrap_err();
        assert!(matches!(error, TunnelError::TimedOut { .. }), "{error}");
        assert_eq!(place.slurm.accepted().len(), taken);
        let passed = place
            .slurm
            .clock
            .0
            .load(std::sync::atomic::Ordering::SeqCst)
            - before;
        assert!(passed >= 60 * SECOND);
    }
    for (after, taken) in [(false, 1), (true, 2)] {
        place
            .slurm
            .fault(Kind::Sbatch, 1, Fault::Interrupted { after });
        let error = place.slurm.run(&command).await.unwrap_err();
        assert!(matches!(error, TunnelError::Interrupted { .. }), "{error}");
        assert_eq!(place.slurm.accepted().len(), taken);
    }
    for (after, taken) in [(false, 2), (true, 3)] {
        place
            .slurm
            .fault(Kind::Sbatch, 1, Fault::SlowController { after });
        let (status, words) = place.refused(&[], &script).await;
        assert_eq!(status, 1);
        assert_eq!(
            words,
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n"
        );
        assert_eq!(place.slurm.accepted().len(), taken);
    }
    place.slurm.fault(Kind::Sbatch, 2, Fault::Unreachable);
    place.sbatch(&[], &script).await;
    let error = place.slurm.run(&command).await.unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    assert_eq!(place.slurm.accepted().len(), 4);
}

#[tokio::test]
async fn a_command_arrives_when_nobody_waits_for_it_any_more() {
    let place = Place::new(Settings::default());
    let script = place.script("a", "");
    place.slurm.fault(Kind::Sbatch, 1, Fault::Delayed(30));
    let command = place.command(&["sbatch", "--parsable", &script]);
    let error = place.slurm.run(&command).await.unwrap_err();
    assert!(matches!(error, TunnelError::TimedOut { .. }), "{error}");
    place.slurm.advance(29.0);
    assert!(place.slurm.accepted().is_empty());
    place.slurm.advance(1.0);
    assert_eq!(place.slurm.accepted().len(), 1);
}

#[tokio::test]
async fn a_command_hangs_until_its_client_is_gone() {
    let place = Place::new(Settings::default());
    let script = place.script("a", "");
    place
        .slurm
        .fault(Kind::Sbatch, 1, Fault::Hung { after: true });
    let command = place.command(&["sbatch", "--parsable", &script]);
    tokio::select! {
        answer = place.slurm.run(&command) => panic!("{answer:?}"),
        () = place.slurm.hung() => {}
    }
    assert_eq!(place.slurm.accepted().len(), 1);
}

#[tokio::test]
async fn a_controller_that_is_down() {
    let place = Place::new(Settings::default());
    let script = place.script("a", "");
    place.slurm.settings(|settings| settings.controller = false);
    let words = "Unable to contact slurm controller (connect failure)\n";
    let failed = format!("sbatch: error: Batch job submission failed: {words}");
    assert_eq!(place.refused(&[], &script).await, (1, failed));
    let asked = place.run(&["squeue", "--me"]).await;
    assert_eq!(
        text(&asked.stderr),
        format!("slurm_load_jobs error: {words}")
    );
    let asked = place.run(&["scontrol", "show", "config"]).await;
    assert_eq!(
        text(&asked.stderr),
        format!("slurm_load_ctl_conf error: {words}")
    );
    let cancelled = place.run(&["scancel", "7"]).await;
    let expected = format!("scancel: error: Kill job error on job id 7: {words}");
    assert_eq!((cancelled.status, text(&cancelled.stderr)), (8, expected));
    place.slurm.settings(|settings| settings.controller = true);
    place.slurm.fault(Kind::Squeue, 1, Fault::NoController);
    assert_eq!(place.run(&["squeue", "--me"]).await.status, 1);
    assert_eq!(place.run(&["scancel", "7"]).await.status, 0);
}

#[tokio::test]
async fn a_queue_that_lies() {
    let place = Place::new(Settings::default());
    let script = place.script("a", "");
    place.sbatch(&[], &script).await;
    place.slurm.advance(5.0);
    place.sbatch(&[], &script).await;
    place.slurm.fault(Kind::Squeue, 1, Fault::Silent);
    assert!(place.queue().await.is_empty());
    place.slurm.fault(Kind::Squeue, 1, Fault::Cut);
    assert_eq!(place.queue().await.len(), 1);
    place.slurm.fault(Kind::Squeue, 1, Fault::Stale(5));
    let rows = place.queue().await;
    assert!(rows.len() == 1 && rows[0].contains("PENDING"), "{rows:?}");
    assert!(place.slurm.show_as("1", Some("HIBERNATED")));
    assert!(
        place
            .queue()
            .await
            .iter()
            .any(|row| row.contains("|HIBERNATED "))
    );
    place.slurm.fault(
        Kind::Squeue,
        1,
        Fault::Says(1, "slurm_load_jobs error: x\n".to_owned()),
    );
    let answer = place.run(&["squeue", "--me"]).await;
    assert_eq!(
        (answer.status, text(&answer.stderr).as_str()),
        (1, "slurm_load_jobs error: x\n")
    );
    assert_eq!(place.queue().await.len(), 2);
}

#[tokio::test]
async fn accounting_is_off_late_deaf_or_down() {
    let place = Place::new(Settings::default());
    let id = place.sbatch(&[], &place.script("a", "")).await;
    let ask = ["sacct", "--jobs=1", "--format=State"];
    let answer = place.run(&ask).await;
    let disabled = "Slurm accounting storage is disabled\n";
    assert_eq!(
        (answer.status, text(&answer.stderr).as_str()),
        (1, disabled)
    );
    place
        .slurm
        .settings(|settings| settings.accounting = Accounting::Down);
    let answer = place.run(&ask).await;
    assert!(text(&answer.stderr).contains("Problem talking to the database"));
    place
        .slurm
        .settings(|settings| settings.accounting = Accounting::Late(60.0));
    assert!(place.sacct(&id).await.is_empty());
    place.slurm.advance(66.0);
    assert!(place.sacct(&id).await[0].contains("|RUNNING|"));
    place.slurm.advance(60.0);
    assert!(place.sacct(&id).await[0].contains("|COMPLETED|"));
    place
        .slurm
        .settings(|settings| settings.accounting = Accounting::Deaf);
    place.slurm.advance(400.0);
    assert!(place.queue().await.is_empty());
    assert!(place.sacct(&id).await[0].contains("|RUNNING|"));
    assert!(place.sacct("77").await.is_empty());
    let answer = place.run(&["sacct", "--jobs=1", "--format=Restarts"]).await;
    assert_eq!(
        text(&answer.stderr),
        "sacct: error: Invalid field requested: \"Restarts\"\n"
    );
}

#[tokio::test]
async fn numbers_are_used_again() {
    let place = Place::new(Settings::default());
    let script = place.script("a", "");
    place.sbatch(&[], &script).await;
    place.slurm.forget_everything();
    assert!(place.slurm.jobs().is_empty());
    assert_eq!(place.sbatch(&[], &place.script("b", "")).await, "1");
    place.slurm.next_id(700);
    place
        .slurm
        .settings(|settings| settings.cluster_name = Some("alpha".to_owned()));
    assert_eq!(place.sbatch(&[], &script).await, "700;alpha");
}

#[tokio::test]
async fn records_come_late_or_never() {
    let place = Place::new(Settings::default());
    place.slurm.work(|key, _| Work {
        record: if key == "mz-e-a-1" { Some(5.0) } else { None },
        ..Work::default()
    });
    place.sbatch(&[], &place.script("a", "")).await;
    place.sbatch(&[], &place.script("b", "")).await;
    place.slurm.advance(12.0);
    assert_eq!(place.state("1"), "COMPLETED");
    assert!(place.record("a", 1).is_none());
    place.slurm.advance(5.0);
    assert!(place.record("a", 1).is_some() && place.record("b", 1).is_none());
}

#[tokio::test]
async fn units_of_several_members() {
    let place = Place::new(Settings::default());
    let member = |name: &str, ranks| Member {
        folder: place.at.join(name),
        attempt: 3,
        key: "mz-e-a-1".to_owned(),
        ranks,
    };
    place
        .slurm
        .members("mz-e-a-1", vec![member("a", 2), member("b", 1)]);
    place.sbatch(&[], &place.script("a", "")).await;
    place.slurm.advance(12.0);
    assert_eq!(place.record("a", 3).unwrap().ranks.len(), 2);
    assert_eq!(place.claim("b", 3).as_deref(), Some("1"));
}

#[tokio::test]
async fn other_commands_run_here() {
    let place = Place::new(Settings::default());
    assert_eq!(
        text(&place.run(&["sh", "-c", "echo here"]).await.stdout),
        "here\n"
    );
    place
        .slurm
        .fault(Kind::Other, 1, Fault::Interrupted { after: false });
    let command = place.command(&["touch", "file"]);
    assert!(place.slurm.run(&command).await.is_err());
    assert!(!place.at.join("file").exists());
    place
        .slurm
        .fault(Kind::Other, 1, Fault::Interrupted { after: true });
    assert!(place.slurm.run(&command).await.is_err());
    assert!(place.at.join("file").exists());
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let place = Place::new(Settings::default());
        let script = place.script("a", "");
        place
            .slurm
            .random_faults(7, vec![(Kind::Sbatch, 0.5, Fault::NoController)]);
        let mut statuses = Vec::new();
        for _ in 0..40 {
            statuses.push(place.run(&["sbatch", &script]).await.status);
        }
        place.slurm.no_faults();
        assert_eq!(place.run(&["sbatch", &script]).await.status, 0);
        seen.push(statuses);
    }
    assert_eq!(seen[0], seen[1]);
    let failed = seen[0].iter().filter(|status| **status != 0).count();
    assert!((5..35).contains(&failed), "{failed}");
}
