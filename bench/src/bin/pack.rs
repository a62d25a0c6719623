//! Packs a working tree, sends it, takes it in: the library as `mizzen launch` uses it, without the rest of a launch.
//!
//! ```text
//! pack HOME FOLDER           what is selected is packed; prints one JSON object
//! stream HOME TREE [BASE]    the bundle, on stdout
//! receive PLACE              the bundle on stdin is unpacked
//! link TREE_DIR INTO         a job's own copy
//! ```

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};
use mizzen_agent::bundle::{TreeHash, link, receive};
use mizzen_core::context::{Agent, Context, RandomIds, SystemClock};
use mizzen_core::packager::bundle::Bundles;
use mizzen_core::packager::{Limits, Packager, list};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    #[expect(
        clippy::disallowed_methods,
        reason = "a program is told everything by its environment"
    )]
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["pack", home, folder] => pack(home, folder, environment),
        ["stream", home, tree, ref bases @ ..] => {
            let bases = bases.iter().map(|base| base.parse()).collect::<Result<Vec<TreeHash>, _>>()?;
            let mut out = std::io::stdout().lock();
            Bundles::open(Utf8Path::new(home))?.stream(&tree.parse()?, &bases, &mut out)?;
            Ok(())
        }
        ["receive", place] => {
            receive(std::io::stdin().lock(), Path::new(place))?;
            Ok(())
        }
        ["link", tree, into] => Ok(link(Path::new(tree), Path::new(into))?),
        _ => Err("usage: pack HOME FOLDER | stream HOME TREE [BASE] | receive PLACE | link TREE_DIR INTO".into()),
    }
}

fn pack(home: &str, folder: &str, environment: BTreeMap<String, String>) -> Outcome {
    let context = Context {
        home: Utf8PathBuf::from(home),
        workdir: Utf8PathBuf::from(folder),
        environment: Arc::new(environment),
        host: "bench".to_owned(),
        user: "bench".to_owned(),
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
        program: "/bin/false".into(),
        agent: Agent::Embedded(b""),
    };
    let begin = Instant::now();
    let listing = list(&Packager::default(), Utf8Path::new(folder), &context)?;
    let listed = begin.elapsed();
    let limits = Limits {
        total: u64::MAX,
        file: u64::MAX,
    };
    let packed = Bundles::open(Utf8Path::new(home))?.pack(&listing, &limits)?;
    let total = begin.elapsed();
    let report = serde_json::json!({
        "tree": packed.tree.to_string(),
        "files": packed.files,
        "bytes": packed.bytes,
        "written": packed.written,
        "listed_ms": listed.as_secs_f64() * 1e3,
        "packed_ms": (total - listed).as_secs_f64() * 1e3,
        "peak_memory": peak_memory(),
    });
    Ok(writeln!(std::io::stdout(), "{report}")?)
}

/// The largest resident memory of this process so far, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}
