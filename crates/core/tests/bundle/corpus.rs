//! Runs the corpus that fuzzing left behind through the fuzz target, on stable.

use std::path::PathBuf;

#[path = "../../../../fuzz/unpack.rs"]
mod unpack;

#[test]
fn streams_of_the_corpus_are_handled() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/unpack");
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        unpack::unpack(&std::fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files >= 10, "the corpus in {} is gone", folder.display());
}
