//! Runs the corpus that fuzzing left behind through the fuzz targets, on stable.

use std::path::PathBuf;

#[path = "../../../fuzz/targets.rs"]
mod targets;

fn each(target: &str, run: fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus is there") {
        let path = entry.expect("the corpus can be listed").path();
        run(&std::fs::read(&path).expect("the corpus can be read"));
        files += 1;
    }
    assert!(files >= 10, "the corpus in {} is gone", folder.display());
}

#[test]
fn documents_of_the_corpus_are_handled() {
    each("document", targets::document);
}

#[test]
fn overrides_of_the_corpus_are_handled() {
    each("overrides", targets::overrides);
}
