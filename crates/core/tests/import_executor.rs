//! `import_executor`: by name from the home's file or another, extended, overridden; and what it says of mistakes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use camino::Utf8PathBuf;
use mizzen_core::context::{Agent, Context, RandomIds, SystemClock};
use mizzen_core::executor::{Executor, import_executor};

const EXECUTORS: &str = r#"
[executors.two]
kind = "local"
ntasks_per_node = 2
retries = 1
env_vars = { A = "1", B = "2" }

[executors.four]
extends = "two"
nodes = 2
env_vars = { B = "3" }
"#;

struct Home(Utf8PathBuf);

impl Home {
    fn new(name: &str, executors: &str) -> Home {
        let folder =
            std::env::temp_dir().join(format!("mizzen-import-{}-{name}", std::process::id()));
        let folder = Utf8PathBuf::from_path_buf(folder).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("executors.toml"), executors).unwrap();
        Home(folder)
    }

    fn context(&self) -> Context {
        Context {
            home: self.0.clone(),
            workdir: "/".into(),
            environment: Arc::new(BTreeMap::new()),
            host: "here".to_owned(),
            user: "me".to_owned(),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            program: "/nowhere/mizzen".into(),
            agent: Agent::File("/nowhere/mizzen-agent".into()),
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn env(executor: &dyn Executor) -> Vec<(String, String)> {
    executor
        .base()
        .env_vars
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn one_executor_extends_another_and_overrides_come_last() {
    let home = Home::new("extends", EXECUTORS);
    let two = import_executor(&home.context(), "two", None, &[]).unwrap();
    assert_eq!(
        (two.nnodes(), two.nproc_per_node(), two.base().retries),
        (1, 2, 1)
    );
    let four = import_executor(&home.context(), "four", None, &[]).unwrap();
    assert_eq!(
        (four.nnodes(), four.nproc_per_node(), four.base().retries),
        (2, 2, 1)
    );
    assert_eq!(
        env(four.as_ref()),
        [
            ("A".to_owned(), "1".to_owned()),
            ("B".to_owned(), "3".to_owned())
        ]
    );
    let overrides = [
        ("nodes".to_owned(), "5".to_owned()),
        ("env_vars.C".to_owned(), "x y".to_owned()),
    ];
    let five = import_executor(&home.context(), "four", None, &overrides).unwrap();
    assert_eq!(five.nnodes(), 5);
    assert!(env(five.as_ref()).contains(&("C".to_owned(), "x y".to_owned())));
    assert_eq!(five.to_config()["nodes"], 5);
}

#[test]
fn another_file_may_be_named_and_mistakes_are_explained() {
    let home = Home::new(
        "mistakes",
        "[executors.bad]\nkind = \"local\"\nntasks = 2\n",
    );
    let other = home.0.join("other.yaml");
    std::fs::write(&other, "executors:\n  mine: {kind: local, slots: 3}\n").unwrap();
    let mine = import_executor(&home.context(), "mine", Some(&other), &[]).unwrap();
    assert_eq!(mine.to_config()["slots"], 3);

    let unknown = import_executor(&home.context(), "her", Some(&other), &[])
        .unwrap_err()
        .to_string();
    assert!(
        unknown.contains("no executor `her`") && unknown.contains("mine"),
        "{unknown}"
    );
    let wrong = import_executor(&home.context(), "bad", None, &[])
        .unwrap_err()
        .to_string();
    assert!(
        wrong.contains("unknown key `ntasks`") && wrong.contains("executors.toml:3"),
        "{wrong}"
    );
    let wrong_type = [("slots".to_owned(), "many".to_owned())];
    let typed = import_executor(&home.context(), "mine", Some(&other), &wrong_type)
        .unwrap_err()
        .to_string();
    assert!(
        typed.contains("integer") || typed.contains("number"),
        "{typed}"
    );
    let missing = import_executor(&home.context(), "x", Some(&home.0.join("none.toml")), &[])
        .unwrap_err()
        .to_string();
    assert!(missing.contains("none.toml"), "{missing}");
}

#[test]
fn the_seeds_methods_do_what_they_say() {
    let home = Home::new("seed", EXECUTORS);
    let mut executor = import_executor(&home.context(), "two", None, &[]).unwrap();
    let before = executor.clone_boxed();
    executor.assign("id", home.0.as_str(), "task", "job");
    let base = executor.base();
    assert_eq!(base.experiment_id.as_deref(), Some("id"));
    assert_eq!(base.experiment_dir, home.0.as_str());
    assert_eq!(base.job_dir, home.0.join("job").as_str());
    assert_eq!(
        before.base().experiment_id,
        None,
        "a clone is a value of its own"
    );
    executor.create_job_dir().unwrap();
    assert!(home.0.join("job").is_dir());
    let paths = executor
        .package_configs(&[("a.yaml".to_owned(), "x: 1".to_owned())])
        .unwrap();
    assert_eq!(std::fs::read_to_string(&paths[0]).unwrap(), "x: 1");
    assert_eq!(executor.get_launcher().unwrap().kind, "none");
    assert_eq!(executor.get_launcher_prefix().unwrap(), None);
    assert_eq!(executor.get_nsys_entrypoint(), "nsys");
    assert!(!executor.supports_launcher_transform());
    assert!(executor.macro_values().is_some());
    assert!(
        executor.info().contains("1 node(s) with 2 process(es)"),
        "{}",
        executor.info()
    );
}
