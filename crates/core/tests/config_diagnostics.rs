//! What users read when a document is wrong: whole reports, and a table of mistakes with their messages.

mod config_support;

use config_support::{environment, layer, load_file, vocabulary};
use mizzen_core::config::{Origin, Override, load};

/// One task that is right, for documents whose mistake is elsewhere.
const TASK: &str = "[[tasks]]\nname = \"a\"\nrun = [\"true\"]\n";

/// The report about a TOML document.
fn report(text: &str, sets: &[&str]) -> String {
    match load_file("e.toml", text, sets) {
        Ok(loaded) => format!("accepted: {}", loaded.document),
        Err(failure) => failure.to_string(),
    }
}

#[track_caller]
fn expect(document: &str, sets: &[&str], expected: &str) {
    assert_eq!(report(document, sets), expected.trim_matches('\n'));
}

#[test]
fn an_unknown_key_is_underlined_and_the_likely_one_named() {
    expect(
        "[[tasks]]\nname = \"train\"\nrun = [\"true\"]\nretrys = 3\n",
        &[],
        "
error: unknown key `retrys`
  ┌─ e.toml:4:1
  │
4 │ retrys = 3
  │ ^^^^^^ did you mean `retries`?
",
    );
}

#[test]
fn an_override_is_underlined_in_its_own_text() {
    expect(
        TASK,
        &["tasks.a.retrys=3", "tasks.b.retries=3"],
        "
error: unknown key `retrys`
  ┌─ --set
  │
1 │ tasks.a.retrys=3
  │         ^^^^^^ did you mean `retries`?

error: nothing in `tasks` is named `b`
  ┌─ --set
  │
1 │ tasks.b.retries=3
  │       ^ there are: `a`
",
    );
}

#[test]
fn both_places_of_a_duplicate_are_shown() {
    expect(
        &format!("{TASK}\n\n{TASK}"),
        &[],
        "
error: two tasks are named `a`
  ┌─ e.toml:7:8
  │
2 │ name = \"a\"
  │        --- first used here
  ·
7 │ name = \"a\"
  │        ^^^ used again here
",
    );
}

#[test]
fn places_in_two_files_are_shown_one_after_the_other() {
    let user = layer(
        Origin::User,
        "executors.toml",
        "[executors.gpu]\nkind = \"slurm\"\naccount = \"ml\"\n",
    );
    let file = layer(
        Origin::File,
        "e.toml",
        &format!("[executors.big]\nkind = \"local\"\nextends = \"gpu\"\n{TASK}"),
    );
    let failure =
        load(&[user, file], &[], &environment, &vocabulary()).expect_err("the kinds differ");
    assert_eq!(
        failure.to_string(),
        "error: an executor of kind `local` cannot extend one of kind `slurm`
  ┌─ e.toml:2:8
  │
2 │ kind = \"local\"
  │        ^^^^^^^
  ┌─ executors.toml:2:8
  │
2 │ kind = \"slurm\"
  │        ------- the kind that is extended"
    );
}

#[test]
fn columns_count_characters_and_carets_count_columns() {
    expect(
        "[[tasks]]\nname = \"a\"\nrun = [\"日本語\", \"é\t${lr}\"]\n",
        &[],
        "
error: unknown variable `lr`
  ┌─ e.toml:3:18
  │
3 │ run = [\"日本語\", \"é    ${lr}\"]
  │                        ^^^^^ the task has no sweep
hint: `$${lr}` leaves it to the shell inside the job; `${env:lr}` takes it from your environment
",
    );
}

#[test]
fn several_mistakes_are_reported_in_the_order_of_the_file() {
    expect(
        "title = \"a b\"\n[[tasks]]\nname = \"train\"\nrun = [\"true\", \"${lrr}\"]\nsweep = { lr = [1, 2] }\nafter = [\"prepare\"]\nexecutor = \"gpu\"\n",
        &[],
        "
error: `a b` is not a title
  ┌─ e.toml:1:9
  │
1 │ title = \"a b\"
  │         ^^^^^ it has a space; letters, digits and `_`, `.`, `+`, `-` are allowed

error: unknown variable `lrr`
  ┌─ e.toml:4:17
  │
4 │ run = [\"true\", \"${lrr}\"]
  │                 ^^^^^^ did you mean `${lr}`?
hint: `$${lrr}` leaves it to the shell inside the job; `${env:lrr}` takes it from your environment

error: unknown task `prepare`
  ┌─ e.toml:6:10
  │
6 │ after = [\"prepare\"]
  │          ^^^^^^^^^

error: unknown executor `gpu`
  ┌─ e.toml:7:12
  │
7 │ executor = \"gpu\"
  │            ^^^^^ known are: `local`
",
    );
}

#[test]
fn a_long_line_is_cut_around_the_caret() {
    let filler = "x".repeat(300);
    let text =
        format!("[[tasks]]\nname = \"a\"\nrun = [\"{filler}\", \"${{no}}\", \"{filler}\"]\n");
    let report = report(&text, &[]);
    let lines: Vec<&str> = report.lines().collect();
    let column = |line: &str, what: &str| {
        line.chars()
            .position(|character| what.starts_with(character))
            .expect("it is shown")
    };
    assert!(
        lines[3].contains("…xxx") && lines[3].contains("${no}") && lines[3].ends_with("xxx…"),
        "{report}"
    );
    assert!(lines[3].chars().count() < 110, "{report}");
    assert_eq!(column(lines[3], "$"), column(lines[4], "^"), "{report}");
}

#[test]
fn colours_change_nothing_but_the_colours() {
    let failure = load_file("e.toml", "titel = 1", &[]).expect_err("an unknown key");
    let coloured = failure.render(true);
    assert!(coloured.contains("\u{1b}["));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').expect("an escape ends").1;
    }
    plain.push_str(rest);
    assert_eq!(plain, failure.render(false));
}

#[test]
fn a_secret_written_in_place_is_not_shown() {
    let text = "[[tasks]]\nname = \"a\"\nrun = [\"true\"]\nsecrets = { TOKEN = \"hunter2\" }\nenv = { TOKEN = 1 }\n";
    let report = report(text, &[]);
    assert!(!report.contains("hunter2"), "{report}");
    assert!(
        report.contains("secrets = { TOKEN = ********* }"),
        "{report}"
    );
    let set = "tasks.a.secrets.TOKEN=hunter2";
    let report = self::report(TASK, &[set]);
    assert!(
        !report.contains("hunter2") && report.contains("tasks.a.secrets.TOKEN=*******"),
        "{report}"
    );
}

#[test]
fn terminal_control_in_a_file_is_made_visible() {
    let report = report("title = '\u{9b}31m'\n", &[]);
    assert!(
        report
            .chars()
            .all(|character| character == '\n' || !character.is_control()),
        "{report:?}"
    );
}

/// Each document, and a message that must be in its report.
#[test]
fn every_mistake_has_its_message() {
    let with = |extra: &str| format!("[[tasks]]\nname = \"a\"\n{extra}\n");
    let run = |extra: &str| with(&format!("run = [\"true\"]\n{extra}"));
    let two = |first: &str, second: &str| {
        format!(
            "[[tasks]]\nname = \"a\"\nrun = \"true\"\n{first}\n[[tasks]]\nname = \"b\"\nrun = \"true\"\n{second}\n"
        )
    };
    let named = |name: &str| format!("[[tasks]]\nname = {name:?}\nrun = \"true\"\n");
    let table: Vec<(String, &str)> = vec![
        (String::new(), "the experiment has no tasks"),
        ("tasks = []".into(), "the experiment has no tasks"),
        (
            "tasks = 1".into(),
            "expected a list of tables, found an integer",
        ),
        ("tasks = [1]".into(), "expected a table, found an integer"),
        ("title = \"latest\"".into(), "`latest` is not a title"),
        (named(""), "it is empty"),
        (named("a/b"), "it has a slash (`/`)"),
        (
            named(".."),
            "it must begin with a letter, a digit or `_`, not with `.`",
        ),
        (named("a b"), "it has a space"),
        (named("a\nb"), "it has a line break"),
        (named("🚀"), "it has `🚀`"),
        (
            named(&"x".repeat(300)),
            "it has 300 characters, and 100 are allowed",
        ),
        (with(""), "the task `a` has nothing to run"),
        (
            "[[tasks]]\nrun = \"true\"".into(),
            "the key `name` is missing",
        ),
        (
            with("run = \"x\"\nscript = \"y\""),
            "the task `a` has more than one thing to run",
        ),
        (with("run = []"), "the list must not be empty"),
        (with("run = \"\""), "the command is empty"),
        (
            with("run = \"a 'b\""),
            "the command cannot be split into words",
        ),
        (
            with("run = [[\"a\"]]"),
            "expected a string, a number or a boolean, found a list",
        ),
        (
            with("run = 3"),
            "expected a string or a list of strings, numbers or booleans, found an integer",
        ),
        (with("script = \"\""), "the text must not be empty"),
        (run("args = [\"x\"]"), "`args` does not go with `run`"),
        (
            run("interpreter = \"sh\""),
            "`interpreter` does not go with `run`",
        ),
        (
            with("inline = \"x\"\nargs = [\"x\"]"),
            "`args` does not go with `inline`",
        ),
        (run("timeout = \"1x\""), "`1x` is not a length of time"),
        (run("timeout = \"10:30\""), "write hours:minutes:seconds"),
        (run("timeout = 0"), "the time must be more than 0"),
        (run("grace = -1"), "the number must be at least 0"),
        (
            run("timeout = true"),
            "expected a length of time, found a boolean",
        ),
        (run("retries = -1"), "the number must be at least 0"),
        (
            run("retries = 1.5"),
            "expected an integer or a table, found a number",
        ),
        (run("retries = { failures = 1 }"), "did you mean `failure`?"),
        (run("after = \"b\""), "unknown task `b`"),
        (run("after = \"a\""), "the task `a` comes after itself"),
        (run("after = { tsk = \"a\" }"), "unknown key `tsk`"),
        (
            two(
                "after = \"b\"",
                "after = { task = \"a\", when = \"start\" }",
            ),
            "tasks wait for each other in a circle: `a` → `b` → `a`",
        ),
        (
            two("", "after = { task = \"a\", when = \"fail\" }"),
            "unknown value `fail`",
        ),
        (run("executor = \"gpu\""), "unknown executor `gpu`"),
        (
            run("executor = { kind = \"slurn\" }"),
            "unknown executor kind `slurn`",
        ),
        (
            run("executor = { account = \"x\" }"),
            "the key `kind` is missing",
        ),
        (
            run("executor = { kind = \"slurm\" }"),
            "the key `account` is missing",
        ),
        (
            run("executor = { extends = \"x\" }"),
            "unknown executor `x`",
        ),
        (
            run("[executors.a]\nextends = \"a\""),
            "executors extend each other in a circle: `a` → `a`",
        ),
        (
            run("[executors.a]\nextends = 1"),
            "expected an executor's name, found an integer",
        ),
        (
            run("[executors.\"a b\"]\nkind = \"local\""),
            "`a b` is not a name",
        ),
        (
            run("[executors.a]\nkind = \"slurm\"\naccount = \"x\"\ntags = 3"),
            "expected a list of strings, found an integer",
        ),
        (
            run("[executors.a]\nkind = \"slurm\"\naccount = \"x\"\ntunnel = { kind = \"shh\" }"),
            "did you mean `ssh`?",
        ),
        (
            run("[executors.a]\nkind = \"slurm\"\naccount = \"x\"\nexclusive = \"yes\""),
            "hint: write `true`",
        ),
        (run("launcher = \"torchrn\""), "unknown launcher `torchrn`"),
        (run("launcher = { x = 1 }"), "the key `kind` is missing"),
        (
            run("env = { \"A=B\" = 1 }"),
            "`A=B` is not the name of a variable",
        ),
        (
            run("env = { A = [1] }"),
            "expected a string, a number or a boolean, found a list",
        ),
        (
            run("env = { A = 1 }\nsecrets = { A = \"env:X\" }"),
            "`A` is both in `env` and in `secrets`",
        ),
        (
            run("secrets = { A = \"vault:x\" }"),
            "a secret is given by reference",
        ),
        (
            run("env = { A = \"a\\u0000b\" }"),
            "the text holds a NUL character",
        ),
        (
            with("run = [\"a\\u0000\"]"),
            "the text holds a NUL character",
        ),
        (with("run = \"${x}\""), "unknown variable `x`"),
        (
            with("run = \"${env:NOPE}\""),
            "the environment has no `NOPE`",
        ),
        (with("run = \"${\""), "`${` has no closing `}`"),
        (with("run = \"${}\""), "`${}` names nothing"),
        (
            with("run = [\"${a b}\"]"),
            "what stands in `${…}` is a name",
        ),
        (with("run = \"${dir:a}\""), "a task's own directory"),
        (with("run = \"${dir:b}\""), "unknown task `b`"),
        (
            run("workdir = \"${head_node_ip}\""),
            "did you mean `${head_node_ip_var}`?",
        ),
        (
            two("", "workdir = \"${dir:a}\""),
            "hint: add `a` to its `after`",
        ),
        (
            two(
                "sweep = { x = [1, 2] }",
                "after = \"a\"\nworkdir = \"${dir:a}\"",
            ),
            "`a` has 2 jobs, so this stands for 2 directories",
        ),
        (
            two(
                "sweep = { x = [1, 2] }",
                "after = \"a\"\nenv = { X = \"-${dir:a}\" }",
            ),
            "only an argument of a command can become several",
        ),
        (run("group = \"g\""), "unknown group `g`"),
        (run("[groups.g]"), "the group `g` has no members"),
        (
            two("group = \"g\"", "[groups.g]\nleader = \"b\""),
            "the leader `b` is not a member of the group `g`",
        ),
        (
            two("group = \"g\"", "group = \"g\"\nafter = \"a\"\n[groups.g]"),
            "cannot come after a task of its own group",
        ),
        (
            two(
                "group = \"g\"",
                "group = \"g\"\nexecutor = { kind = \"slurm\", account = \"x\" }\n[groups.g]",
            ),
            "have different executors",
        ),
        (
            run("group = \"g\"\nsweep = { x = [1, 2] }\n[groups.g]"),
            "it cannot have a sweep",
        ),
        (run("sweep = {}"), "the sweep is empty"),
        (run("sweep = []"), "the sweep is empty"),
        (run("sweep = [{}]"), "the combination is empty"),
        (run("sweep = { x = [] }"), "the variable `x` has no values"),
        (run("sweep = { x = 1 }"), "expected a list"),
        (run("sweep = { x = [[1]] }"), "found a list"),
        (
            run("sweep = { env = [1] }"),
            "a variable cannot be named `env`",
        ),
        (
            run("sweep = { head_node_ip_var = [1] }"),
            "the executors have a macro of that name",
        ),
        (
            run("sweep = { a-b = [1] }"),
            "`a-b` is not the name of a variable",
        ),
        (
            run("sweep = { x = [0.1, 0.10] }"),
            "the sweep has a value of `x` twice",
        ),
        (
            run("sweep = { zip = { x = [1, 2], y = [1] } }"),
            "must be equally long",
        ),
        (
            run("sweep = { zip = { x = [1, 1], y = [1, 1] } }"),
            "a combination of the `zip` twice",
        ),
        (
            run("sweep = { zip = { x = [1] }, grid = { x = [1] } }"),
            "the variable `x` is in `grid` and in `zip`",
        ),
        (
            run("sweep = { zip = { x = [1] }, y = [1] }"),
            "put it into `grid`",
        ),
        (run("sweep = [{ x = 1 }, { y = 1 }]"), "this one lacks `x`"),
        (
            run("sweep = [{ x = 1 }, { x = 1 }]"),
            "the sweep has a combination twice",
        ),
        (
            run("on_failure = \"stop\"").replace("on_failure", "\n[defaults]\non_failure"),
            "unknown key `on_failure`",
        ),
        (
            "on_failure = \"stop\"".into(),
            "known are: `continue`, `finish` and `cancel`",
        ),
        ("a = 1\na = 2".into(), "duplicate key"),
        ("a = inf".into(), "`inf` is not a finite number"),
        ("a = 99999999999999999999".into(), "does not fit in 64 bits"),
        (
            format!("a = {}{}", "[".repeat(70), "]".repeat(70)),
            "nested more than 64 deep",
        ),
        (
            format!("a = {}{}", "[".repeat(7000), "]".repeat(7000)),
            "nested more than 64 deep",
        ),
        (
            run("[defaults]\nenv = { A = \"${lr}\" }"),
            "the defaults have no sweep",
        ),
        (
            run("[defaults]\nworkdir = \"${dir:a}\""),
            "has no place in the defaults",
        ),
    ];
    let wrong: Vec<String> = table
        .iter()
        .map(|(document, message)| (document, message, report(document, &[])))
        .filter(|(_, message, report)| !report.contains(*message))
        .map(|(document, message, report)| {
            format!("--- {document}\n--- wanted: {message}\n{report}\n")
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn mistakes_of_the_other_notations() {
    let laughs: String = (1..30)
        .map(|at| {
            format!(
                "a{at}: &a{at} [{0}, {0}, {0}, {0}]\n",
                format!("*a{}", at - 1)
            )
        })
        .collect();
    let table: Vec<(&str, String, &str)> = vec![
        ("e.yaml", "a: 1\na: 2".into(), "the key `a` is given twice"),
        ("e.yaml", "a: 1\n---\nb: 1".into(), "a second one starts here"),
        ("e.yaml", "a: &x [*x]".into(), "the alias names a value that contains it"),
        ("e.yaml", "a: *x".into(), "not valid YAML"),
        ("e.yaml", "a: !thing 1".into(), "has no meaning here"),
        ("e.yaml", "[a]: 1".into(), "a key must be a plain text"),
        ("e.yaml", "- a".into(), "a document is a table of keys"),
        ("e.yaml", "a: .nan".into(), "`.nan` is not a finite number"),
        ("e.yaml", format!("a0: &a0 [x]\n{laughs}"), "aliases stand for more than 16 MiB"),
        ("e.yaml", format!("a: {}{}", "[".repeat(70), "]".repeat(70)), "nested more than 64 deep"),
        ("e.yaml", "tasks:\n  - name: a\n    run: yes please\n    executor: {kind: slurm, account: x, exclusive: on}".into(), "hint: write `true`"),
        ("e.json", String::new(), "the text is empty"),
        ("e.json", "{\"a\": 1, \"a\": 2}".into(), "the key `a` is given twice"),
        ("e.json", "{\"a\": 1,}".into(), "trailing commas are not allowed"),
        ("e.json", "{\"a\": 1} // b".into(), "comments are not allowed"),
        ("e.json", "[]".into(), "a document is a table of keys"),
        ("e.json", "{\"a\": 1e999}".into(), "`1e999` is not a finite number"),
        ("e.json", format!("{{\"a\": {}{}}}", "[".repeat(70), "]".repeat(70)), "nested more than 64 deep"),
        ("e.json", format!("{{\"a\": {}{}}}", "[".repeat(70_000), "]".repeat(70_000)), "nested more than 64 deep"),
        ("e.json", "{\"tasks\": [{\"name\": \"a\", \"run\": [\"x\", null]}]}".into(), "found null"),
    ];
    for (name, document, message) in table {
        let report = load_file(name, &document, &[])
            .map(|loaded| loaded.document.to_string())
            .unwrap_or_else(|failure| failure.to_string());
        assert!(
            report.contains(message),
            "--- {}\n--- wanted: {message}\n{report}",
            document.chars().take(200).collect::<String>()
        );
    }
}

#[test]
fn a_project_cannot_hold_tasks() {
    let project = layer(Origin::Project, "mizzen.toml", TASK);
    let failure =
        load(&[project], &[], &environment, &vocabulary()).expect_err("tasks in a project's file");
    assert!(
        failure
            .to_string()
            .contains("`tasks` belongs in an experiment file"),
        "{failure}"
    );
}

#[test]
fn a_circle_through_a_group_is_found() {
    let text = "[groups.g]\n[[tasks]]\nname = \"a\"\nrun = \"x\"\ngroup = \"g\"\nafter = \"x\"\n[[tasks]]\nname = \"b\"\nrun = \"x\"\ngroup = \"g\"\n[[tasks]]\nname = \"x\"\nrun = \"x\"\nafter = \"b\"\n";
    let report = report(text, &[]);
    assert!(report.contains("in a circle: `a` → `x` → `b`"), "{report}");
    assert!(
        report.contains("`b` and `a` start together in the group `g`"),
        "{report}"
    );
}

#[test]
fn an_override_that_is_no_override_says_so() {
    let table = [
        ("", "a key is missing"),
        ("=1", "a key is missing"),
        ("a", "an override is written PATH=VALUE"),
        ("a..b=1", "a key is missing"),
        ("a[x]=1", "an index is a number from 0 on"),
        ("a[1=1", "`[` is not closed"),
        ("\"a=1", "the quote is not closed"),
        ("a b=1", "an override is written PATH=VALUE"),
    ];
    for (text, message) in table {
        let failure = Override::parse(text, Origin::CommandLine).expect_err(text);
        assert!(failure.to_string().contains(message), "{text}: {failure}");
    }
}
