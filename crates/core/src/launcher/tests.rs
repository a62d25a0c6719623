use serde_json::json;

use super::*;

pub(super) fn site<'a>(nodes: u32, per_node: u32) -> Site<'a> {
    Site {
        nodes,
        per_node,
        job: "train",
        job_dir: "/nemo_run",
        run_id: "mz-x-0-1",
        address: "$head_node_ip",
        port: "$MASTER_PORT",
        node: "$SLURM_NODEID",
        metrics: "$METRICS",
        nsys: "nsys",
        quote: Some(|text| shlex::try_quote(text).unwrap().into_owned()),
        agents: true,
    }
}

pub(super) fn role(command: &[&str]) -> Role {
    Role {
        entrypoint: command[0].to_owned(),
        args: command[1..].iter().map(|&word| word.to_owned()).collect(),
        ..Role::default()
    }
}

pub(super) fn launch(value: &Value, command: &[&str], site: &Site<'_>) -> Launched {
    let launcher = Launcher::from_value(value).unwrap();
    launcher.launch(&role(command), site, &Env::new()).unwrap()
}

fn line(value: &Value, command: &[&str], site: &Site<'_>) -> String {
    launch(value, command, site).argv.join(" ")
}

#[test]
fn the_profilers_words_are_nemo_runs() {
    let launcher = Launcher::from_value(&json!({"kind": "none", "nsys_profile": true})).unwrap();
    let golden = "profile -s none -t nvtx,cuda -o /nemo_run/nsys_profile/profile_%p --force-overwrite=true \
         --capture-range=cudaProfilerApi --capture-range-end=stop --cuda-graph-trace=node --cuda-event-trace=false";
    assert_eq!(launcher.nsys_prefix("/nemo_run").unwrap().join(" "), golden);
    assert_eq!(Launcher::default().nsys_prefix("/x"), None);
    let profiled = json!({"kind": "torchrun", "nsys_profile": true, "rdzv_id": 7});
    assert_eq!(
        line(&profiled, &["python", "t.py"], &site(1, 2)),
        format!(
            "nsys {golden} torchrun --rdzv-backend c10d --rdzv-endpoint localhost:0 --rdzv-id 7 --nnodes 1 --nproc-per-node 2 \
             --node-rank 0 --tee 3 t.py"
        )
    );
}

#[test]
fn torchruns_words_are_nemo_runs() {
    assert_eq!(
        line(
            &json!("torchrun"),
            &["python", "train.py", "--x"],
            &site(1, 2)
        ),
        "torchrun --rdzv-backend c10d --rdzv-endpoint localhost:0 --rdzv-id mz-x-0-1 --nnodes 1 --nproc-per-node 2 \
         --node-rank 0 --tee 3 train.py --x"
    );
    let settings = json!({
        "kind": "torchrun", "rdzv_port": 29500, "rdzv_id": "a", "max_restarts": 0, "rdzv_conf": "timeout=900",
        "log_dir": "/logs", "local_addr": "10.0.0.1",
    });
    let launched = launch(&settings, &["python", "-m", "pkg.mod", "args"], &site(2, 8));
    assert_eq!(
        launched.argv.join(" "),
        "torchrun --rdzv-backend c10d --rdzv-endpoint $head_node_ip:29500 --rdzv-id a --nnodes 2 --nproc-per-node 8 \
         --node-rank $SLURM_NODEID --tee 3 --max-restarts 0 --rdzv-conf timeout=900 --log-dir /logs --local-addr 10.0.0.1 \
         -m pkg.mod args"
    );
    assert_eq!(
        (launched.processes, launched.needs),
        (1, vec!["torchrun".to_owned()])
    );
    let own = launch(
        &json!("torchrun"),
        &["/opt/x/bin/python3", "t.py"],
        &site(2, 1),
    );
    assert!(
        own.argv
            .join(" ")
            .starts_with("/opt/x/bin/python3 -m torch.distributed.run --rdzv-backend c10d")
    );
    assert!(own.argv.join(" ").contains(" $head_node_ip:$MASTER_PORT "));
    assert!(own.needs.is_empty());
}

#[test]
fn profiles_of_several_processes_do_not_overwrite_each_other() {
    let name = |settings: Value, nodes, per_node| {
        let argv = launch(&settings, &["x"], &site(nodes, per_node)).argv;
        argv[7].clone()
    };
    let none = json!({"kind": "none", "nsys_profile": true});
    assert_eq!(
        name(none.clone(), 1, 1),
        "/nemo_run/nsys_profile/profile_%p"
    );
    assert_eq!(
        name(none, 1, 2),
        "/nemo_run/nsys_profile/profile_%p_rank%q{RANK}"
    );
    let ranks = json!({"kind": "ranks", "nsys_profile": true});
    assert_eq!(
        name(ranks, 1, 2),
        "/nemo_run/nsys_profile/profile_%p_rank%q{RANK}"
    );
    let torchrun = json!({"kind": "torchrun", "nsys_profile": true});
    assert_eq!(
        name(torchrun.clone(), 1, 8),
        "/nemo_run/nsys_profile/profile_%p"
    );
    assert_eq!(
        name(torchrun, 2, 8),
        "/nemo_run/nsys_profile/profile_%p_rank%q{RANK}"
    );
    let own = json!({"kind": "none", "nsys_profile": true, "nsys_filename": "p%q{SLURM_PROCID}"});
    assert_eq!(name(own, 2, 8), "/nemo_run/nsys_profile/p%q{SLURM_PROCID}");
}

#[test]
fn gpus_are_sampled_by_one_process_of_each_chosen_node() {
    let of = |extra: Value, env: &[(&str, &str)], site: &Site<'_>| {
        let mut value = json!({"kind": "none", "nsys_profile": true, "nsys_gpu_metrics": true});
        value
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let launcher = Launcher::from_value(&value).unwrap();
        let env: Env = env.iter().copied().collect();
        let launched = launcher.launch(&role(&["x"]), site, &env).unwrap();
        let word = launched
            .argv
            .iter()
            .find(|word| word.starts_with("--gpu-metrics"));
        (word.unwrap().clone(), launched.metrics)
    };
    let (word, metrics) = of(json!({}), &[], &site(4, 1));
    assert_eq!((word.as_str(), metrics), ("--gpu-metrics-device=all", None));
    let (word, metrics) = of(json!({}), &[], &site(1, 8));
    assert_eq!(word, "--gpu-metrics-device=$METRICS");
    assert_eq!(metrics, Some(Metrics { nodes: None }));
    let nodes = Some(Metrics {
        nodes: Some(vec![0, 2]),
    });
    let (_, metrics) = of(json!({"nsys_gpu_metrics_nodes": [0, 2]}), &[], &site(4, 1));
    assert_eq!(metrics, nodes);
    let (_, metrics) = of(json!({}), &[("GPU_METRICS_NODES", "0, 2")], &site(4, 1));
    assert_eq!(metrics, nodes);
}

#[test]
fn ranks_are_a_world_of_the_agents() {
    let launched = launch(
        &json!({"kind": "ranks", "max_restarts": 2, "hang_timeout": "30m", "bind": "cores", "port": 4000}),
        &["./train", "a b"],
        &site(2, 4),
    );
    assert_eq!(launched.argv, ["./train", "a b"]);
    assert_eq!(launched.processes, 4);
    let world = launched.world.unwrap();
    assert_eq!((world.nodes, world.per_node, world.max_restarts), (2, 4, 2));
    assert_eq!((world.hang_timeout, world.port), (Some(1800.0), Some(4000)));
    assert_eq!((world.stop_grace, world.join_timeout), (0.8, 300.0));
    assert_eq!(world.run_id, "mz-x-0-1");
    let nowhere = Site {
        agents: false,
        ..site(1, 1)
    };
    let error =
        Launcher::from_value(&json!("ranks"))
            .unwrap()
            .launch(&role(&["x"]), &nowhere, &Env::new());
    assert_eq!(
        error.unwrap_err().to_string(),
        "the launcher `ranks` needs an agent on every node, which this executor does not have"
    );
}

#[test]
fn words_of_ones_own_go_before_the_command() {
    let prefix = json!({"kind": "command", "command": ["numactl", "--interleave=all", "--"]});
    let launched = launch(&prefix, &["./train", "$x"], &site(2, 4));
    assert_eq!(
        launched.argv.join(" "),
        "numactl --interleave=all -- ./train $x"
    );
    assert_eq!(
        (launched.processes, launched.needs),
        (4, vec!["numactl".to_owned()])
    );
    let once = json!({"kind": "command", "command": ["accelerate", "launch"], "once_per_node": true, "needs": []});
    let launched = launch(&once, &["t.py"], &site(2, 4));
    assert_eq!((launched.processes, launched.needs.len()), (1, 0));
}

#[test]
fn what_is_no_launcher_is_named() {
    let refused = |value: Value| Launcher::from_value(&value).unwrap_err().to_string();
    assert_eq!(
        refused(json!("torchrum")),
        format!(
            "there is no launcher `torchrum`; there are: {}",
            Entry::names().collect::<Vec<_>>().join(", ")
        )
    );
    let words = refused(json!({"kind": "torchrun", "max_restart": 1}));
    assert!(
        words.starts_with(
            "the settings of the launcher `torchrun` can't be read: unknown field `max_restart`"
        ),
        "{words}"
    );
    let words = refused(json!({"kind": "none", "nsys_profile": "yes"}));
    assert!(
        words.contains("`none`") && words.contains("invalid type"),
        "{words}"
    );
}

#[test]
fn the_fault_tolerance_launchers_words_are_nemo_runs() {
    let argv = |settings: Value| launch(&settings, &["python", "train.py"], &site(1, 2)).argv;
    let tail = "--rdzv-backend c10d --rdzv-endpoint localhost:0 --rdzv-id mz-x-0-1 --nnodes 1 --nproc-per-node 2 --node-rank 0 \
                --tee 3 train.py";
    let golden = argv(json!({"kind": "ft", "rank_heartbeat_timeout": 60, "max_restarts": 3}));
    assert_eq!(
        golden.join(" "),
        format!(
            "sh /nemo_run/launcher/ft.sh /nemo_run/train_finished_flag /nemo_run/train_job_results $SLURM_NODEID \
             ft_launcher --ft-rank_heartbeat_timeout 60.0 --max-restarts 3 {tail}"
        )
    );
    assert!(argv(json!("ft")).join(" ").ends_with(&format!(
        "ft_launcher --ignore-missing-fault-tol-cfg {tail}"
    )));
    // 0 is a value.
    let zero =
        argv(json!({"kind": "ft", "max_restarts": 0, "workload_check_interval": 0})).join(" ");
    assert!(
        zero.contains("ft_launcher --ft-workload_check_interval 0.0 --max-restarts 0 --rdzv"),
        "{zero}"
    );
    let launched = launch(
        &json!({"kind": "ft", "cfg_path": "/c.yml"}),
        &["python", "t.py"],
        &site(1, 1),
    );
    assert!(
        launched
            .env
            .contains(&("FAULT_TOL_CFG_PATH".to_owned(), "/c.yml".to_owned()))
    );
    assert!(
        !launched
            .argv
            .contains(&"--ignore-missing-fault-tol-cfg".to_owned())
    );
}

#[test]
fn values_in_templates_are_words_and_mistakes_are_shown() {
    let script = |settings: Value| {
        let mut all = json!({"kind": "slurm_template"});
        all.as_object_mut()
            .unwrap()
            .extend(settings.as_object().unwrap().clone());
        let launcher = Launcher::from_value(&all).unwrap();
        let launched = launcher.launch(
            &role(&["echo", "a b", "$x", "<&>"]),
            &site(1, 1),
            &Env::new(),
        );
        launched.map(|launched| (launched.argv.join(" "), launched.files[0].contents.clone()))
    };
    let (argv, text) = script(json!({
        "template_inline": "a && b > c \"d\"\n{{ command }}\n{{ v }} {{ v|safe }} {{ n }} {{ argv|length }}{% if yes %}!{% endif %}\n",
        "template_vars": {"v": "x; y", "n": 3, "yes": true},
    }))
    .unwrap();
    assert_eq!(argv, "bash /nemo_run/launcher/script.sh");
    assert_eq!(
        text,
        "a && b > c \"d\"\necho 'a b' '$x' '<&>'\n'x; y' x; y 3 4!\n"
    );
    let wrong = |text: &str| {
        script(json!({"template_inline": text}))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        wrong("set -e\n\techo {{ nobody }}\n"),
        "the template of the launcher `slurm_template` is wrong: template_inline:2:10: undefined value: `nobody` is undefined\n\
         2 | \techo {{ nobody }}\n  | \t        ^^^^^^"
    );
    let unclosed = wrong("one\ntwo {% if x %}\nthree {{ y \n");
    assert!(unclosed.contains("template_inline:"), "{unclosed}");
    assert!(
        unclosed.contains(" | ") && unclosed.contains('^'),
        "{unclosed}"
    );
    let none = script(json!({})).unwrap_err().to_string();
    assert!(
        none.contains("it needs `template_path` or `template_inline`"),
        "{none}"
    );
    let nowhere = Site {
        quote: None,
        ..site(1, 1)
    };
    for kind in [SLURM_TEMPLATE, SLURM_RAY] {
        let launcher = Launcher::from_value(&json!(kind)).unwrap();
        let error = launcher
            .launch(&role(&["x"]), &nowhere, &Env::new())
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("a place where a script can replace the command"),
            "{error}"
        );
    }
}
