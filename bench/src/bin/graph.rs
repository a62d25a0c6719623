//! The graph of 100,000 nodes and 200,000 edges: planned, run through in memory, stored, reopened.
//!
//! ```text
//! plan ─▶ insert ─▶ transitions in memory ─▶ the same, stored in batches ─▶ reopen: rows and graph again
//! ```
//!
//! Prints one JSON object: seconds, and transitions a second (a start and an end are two). Usage: `graph [NODES] [FOLDER]`.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

use camino::Utf8PathBuf;
use mizzen_core::model::{EventKind, ExperimentId, Handle, JobState, Role, Timestamp};
use mizzen_core::plan::{
    Dependency, ExecutorConfig, OnFailure, Plan, PlannedJob, PlannedTask, Retries, When,
};
use mizzen_core::store::Store;
use mizzen_core::watch::{Engine, reopen};

/// How many events go into one transaction.
const BATCH: usize = 1000;

fn graph(nodes: u32) -> Plan {
    let task = |number: u32| PlannedTask {
        name: format!("node-{number}"),
        first_job: number,
        jobs: 1,
        executor: "here".to_owned(),
        // Two edges into each node, from the nodes at half and at two thirds of its number: deep and wide at once.
        after: (number > 1)
            .then_some([number / 2, number * 2 / 3])
            .into_iter()
            .flatten()
            .map(|task| Dependency {
                task,
                when: When::Ok,
            })
            .collect(),
        group: None,
    };
    let job = |number: u32| PlannedJob {
        name: format!("node-{number}"),
        task: number,
        role: Role {
            name: format!("node-{number}"),
            entrypoint: "true".to_owned(),
            ..Role::default()
        },
        secrets: Default::default(),
        workdir: "/".to_owned(),
        files: Vec::new(),
        variables: Vec::new(),
        launcher: None,
        retries: Retries::NONE,
        timeout: None,
        grace: 30.0,
    };
    Plan {
        title: "graph".to_owned(),
        description: String::new(),
        on_failure: OnFailure::Continue,
        executors: [(
            "here".to_owned(),
            ExecutorConfig {
                kind: "none".to_owned(),
                settings: Default::default(),
            },
        )]
        .into(),
        tasks: (0..nodes).map(task).collect(),
        code: BTreeMap::new(),
        files: Vec::new(),
        groups: Vec::new(),
        jobs: (0..nodes).map(job).collect(),
    }
}

/// Runs the whole graph; `each` gets every start and end in order.
fn run(
    engine: &mut Engine,
    mut each: impl FnMut(u32, bool),
) -> Result<u64, Box<dyn std::error::Error>> {
    let mut transitions = 0;
    engine.begin();
    while let Some(job) = engine.next_ready(0) {
        engine.started(job, 1)?;
        each(job, true);
        engine.ended(job, 1, JobState::Succeeded, None, None)?;
        each(job, false);
        transitions += 2;
    }
    Ok(transitions)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let nodes: u32 = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let home = arguments.next().map_or_else(
        || {
            Utf8PathBuf::try_from(std::env::temp_dir())
                .map(|dir| dir.join(format!("mizzen-graph-{}", std::process::id())))
        },
        |text| Ok(Utf8PathBuf::from(text)),
    )?;

    let start = Instant::now();
    let plan = graph(nodes);
    let mut engine = Engine::new(&plan);
    let plan_seconds = start.elapsed().as_secs_f64();

    let start = Instant::now();
    let transitions = run(&mut engine, |_, _| {})?;
    let memory_seconds = start.elapsed().as_secs_f64();
    if engine.outcome() != Some(JobState::Succeeded) || transitions != 2 * u64::from(nodes) {
        return Err("the graph did not run to its end".into());
    }

    let mut store = Store::open(&home)?;
    let id = ExperimentId::from_bytes(b"graphbench");
    let start = Instant::now();
    store.insert_experiment(&id, &plan, &serde_json::json!({}), Timestamp(0))?;
    let insert_seconds = start.elapsed().as_secs_f64();

    let mut engine = Engine::new(&plan);
    let mut events = Vec::with_capacity(2 * nodes as usize);
    run(&mut engine, |job, starts| {
        let kind = if starts {
            EventKind::Started {
                job,
                attempt: 1,
                handle: Handle(format!("none://here/mz-graphbench-{job}-1")),
                nodes: vec!["here".to_owned()],
                time: Timestamp(1),
            }
        } else {
            EventKind::Ended {
                job,
                attempt: 1,
                state: JobState::Succeeded,
                cause: None,
                message: None,
                record: None,
                retry: None,
            }
        };
        events.push((Timestamp(1), kind));
    })?;
    let start = Instant::now();
    for batch in events.chunks(BATCH) {
        store.append_unleased(&id, batch)?;
    }
    let store_seconds = start.elapsed().as_secs_f64();
    drop(store);

    let start = Instant::now();
    let store = Store::open(&home)?;
    let (_, reopened) = reopen(&store, &id)?;
    let reopen_seconds = start.elapsed().as_secs_f64();
    if reopened.outcome() != Some(JobState::Succeeded) {
        return Err("the reopened graph is another".into());
    }
    drop(store);
    std::fs::remove_dir_all(&home)?;

    let answer = serde_json::json!({
        "nodes": nodes,
        "transitions": transitions,
        "plan_seconds": plan_seconds,
        "transitions_per_second": transitions as f64 / memory_seconds,
        "insert_seconds": insert_seconds,
        "stored_per_second": transitions as f64 / store_seconds,
        "reopen_seconds": reopen_seconds,
    });
    writeln!(std::io::stdout(), "{answer}")?;
    Ok(())
}
