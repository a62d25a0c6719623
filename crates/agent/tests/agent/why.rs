//! Why ranks fail, with programs that really fail: the record names the reason, and the rank that had it.

use std::fs;

use mizzen_agent::record::{ExitRecord, FirstFailure};
use mizzen_agent::why::WhyKind;

use crate::support::{Agent, Scratch};

/// What is known of the first failure of a script for python3.
fn of_python(scratch: &Scratch, agent: &mut Agent, name: &str, script: &str) -> FirstFailure {
    let file = scratch.script(&format!("{name}.py"), script);
    let record = agent.finish(&scratch.command(name, &["python3", &file]));
    record.first_failure.expect("a failure")
}

#[test]
#[rustfmt::skip]
fn python_programs_that_fail() {
    let scratch = Scratch::new();
    let mut agent = Agent::start();
    let no_core = "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))";
    let chained = "try:\n    {}['lr']\nexcept KeyError as error:\n    raise RuntimeError('no rate') from error\n";
    let segfault = format!("{no_core}\nimport ctypes\nctypes.string_at(0)\n");
    let told = format!("{no_core}\nimport faulthandler, ctypes\nfaulthandler.enable()\ndef step():\n    ctypes.string_at(0)\nstep()\n");
    let table = [
        ("raises", "def step():\n    raise ValueError('bad rate')\nstep()\n", WhyKind::Exception, "ValueError: bad rate (raises.py:2)"),
        ("chained", chained, WhyKind::Exception, "RuntimeError: no rate (chained.py:4), because of KeyError: 'lr'"),
        ("module", "import no_such_module_here\n", WhyKind::MissingModule, "there is no Python module no_such_module_here"),
        ("memory", "bytearray(1 << 62)\n", WhyKind::MemoryError, "not enough memory (MemoryError)"),
        ("full", "with open('/dev/full', 'w', buffering=1) as file:\n    file.write('x\\n')\n", WhyKind::DiskFull, "no space left on the disk"),
        ("syntax", "def f(:\n", WhyKind::Exception, "SyntaxError: invalid syntax (syntax.py:1)"),
        ("thread", "import threading, os\ndef f():\n    raise ValueError('in a thread')\nt = threading.Thread(target=f)\nt.start()\nt.join()\nos._exit(1)\n", WhyKind::Exception, "ValueError: in a thread (thread.py:3)"),
        ("segfault", &segfault, WhyKind::SegmentationFault, "segmentation fault"),
        ("handler", &told, WhyKind::SegmentationFault, "segmentation fault (handler.py:5)"),
        ("bus", &format!("{no_core}\nimport mmap, os\nfile = os.open('short', os.O_RDWR | os.O_CREAT)\nos.ftruncate(file, 1)\nshared = mmap.mmap(file, 1)\nos.ftruncate(file, 0)\nshared[0]\n"), WhyKind::BusError, "bus error"),
        ("abort", &format!("{no_core}\nimport os\nos.abort()\n"), WhyKind::Aborted, "aborted (SIGABRT)"),
        ("port", "import socket\nfirst = socket.socket()\nfirst.bind(('127.0.0.1', 0))\nfirst.listen()\nsocket.socket().bind(first.getsockname())\n", WhyKind::PortTaken, "a port is in use (address already in use)"),
        ("usage", "import argparse\nparser = argparse.ArgumentParser('train.py')\nparser.add_argument('--rate', required=True)\nparser.parse_args()\n", WhyKind::Usage, "train.py: error: the following arguments are required: --rate"),
    ];
    for (name, script, kind, text) in table {
        let failure = of_python(&scratch, &mut agent, name, script);
        let why = failure
            .reason
            .unwrap_or_else(|| panic!("{name}: no reason in {:?}", failure.last_lines));
        assert!(
            why.kind == kind && why.text.starts_with(text),
            "{name}: {why:?} of {:?}",
            failure.last_lines
        );
    }
}

#[test]
fn shells_that_fail() {
    let scratch = Scratch::new();
    let mut agent = Agent::start();
    let table = [
        ("missing", "no-such-program-here", WhyKind::NotFound),
        (
            "forbidden",
            "touch ./plain; ./plain",
            WhyKind::PermissionDenied,
        ),
        ("told", "kill -TERM $$", WhyKind::Terminated),
        ("killed", "kill -KILL $$", WhyKind::Killed),
        (
            "inner",
            "sh -c 'ulimit -c 0; kill -SEGV $$'; exit $?",
            WhyKind::SegmentationFault,
        ),
    ];
    for (name, script, kind) in table {
        let record = agent.finish(&scratch.shell(name, script));
        let why = record.first_failure.and_then(|failure| failure.reason);
        assert_eq!(
            why.as_ref().map(|why| why.kind),
            Some(kind),
            "{name}: {why:?}"
        );
    }
    let record = agent.finish(&scratch.shell("silent", "echo loss 3.5; exit 3"));
    assert_eq!(record.first_failure.expect("a failure").reason, None);
}

/// Runs one rank for each script, to the record.
fn several(scratch: &Scratch, scripts: &[&str]) -> ExitRecord {
    let member = scratch.member("job", scripts);
    Agent::start().finish(&scratch.job("job", vec![member]))
}

#[test]
fn a_rank_that_only_lost_its_peer_is_not_blamed() {
    let scratch = Scratch::new();
    let gone = scratch.fifo("gone");
    // Rank 1 knows the reason; its peers see that it is gone before it has ended.
    let peer = format!(
        "read -r x <{}; echo 'RuntimeError: [pair.cc:534] Connection closed by peer [127.0.0.1]:10895'; exit 1",
        gone.path
    );
    let culprit = format!(
        "trap 'exit 1' TERM; echo 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB. '; echo now >{}; read -r never <{}",
        gone.path,
        scratch.fifo("never").path
    );
    let record = several(&scratch, &[&peer, &culprit]);
    let first = record.first_failure.expect("a failure");
    let why = first.reason.expect("a reason");
    assert_eq!(
        (first.rank, why.kind),
        (1, WhyKind::GpuOutOfMemory),
        "{why:?}"
    );
    assert!(first.last_lines[0].contains("out of memory"));
    // It ended after the other, so it is ahead of nobody.
    assert_eq!(first.ahead, None);
}

#[test]
fn the_first_is_so_much_ahead_of_the_rest() {
    let scratch = Scratch::new();
    let never = scratch.fifo("never");
    let waits = format!("read -r x <{}", never.path);
    let record = several(
        &scratch,
        &[&waits, "echo 'Segmentation fault'; exit 7", &waits],
    );
    let first = record.first_failure.expect("a failure");
    assert_eq!(first.rank, 1);
    let rest = record.ranks[0].ended.min(record.ranks[2].ended);
    let expected = (rest - record.ranks[1].ended) as f64 / 1e6;
    assert_eq!(first.ahead, Some(expected));
    let words = first.words(record.ranks.len()).expect("words");
    assert!(
        words.starts_with("rank 1 failed first") && words.ends_with(": segmentation fault"),
        "{words}"
    );
}

#[test]
fn the_error_file_of_a_rank_is_read() {
    let scratch = Scratch::new();
    let job = scratch.shell("job", "exit 1");
    let errors = scratch.0.join("attempts/job/errors");
    fs::create_dir_all(&errors).expect("a folder");
    let said = r#"{"message": {"message": "KeyError: 'lr'", "extraInfo": {"timestamp": "1"}}}"#;
    fs::write(errors.join("rank-0.json"), said).expect("an error file");
    let record = Agent::start().finish(&job);
    let why = record.first_failure.and_then(|failure| failure.reason);
    assert_eq!(why.map(|why| why.text).as_deref(), Some("KeyError: 'lr'"));
}
