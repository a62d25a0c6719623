//! Files of experiments, copied from where their jobs run.

mod support;

use support::Session;

#[test]
fn a_file_or_a_folder_of_a_job_is_copied() {
    let session = Session::new();
    session.write(
        "e.toml",
        "title = \"made\"\n[[tasks]]\nname = \"train\"\nrun = [\"sh\", \"-c\", 'mkdir -p \"$MIZZEN_JOB_DIR/out\" && echo 7 >\"$MIZZEN_JOB_DIR/out/a b.txt\"']\n",
    );
    let said = session.run(&["launch", "e.toml"]);
    assert_eq!(said.status, 0, "{said:?}");
    let read = |path: &str| std::fs::read_to_string(session.workdir().join(path)).unwrap();
    let printed = session.ok(&["get", "made", "train/out/a b.txt"]);
    assert!(printed.ends_with("/a b.txt\n"), "{printed}");
    assert_eq!(read("a b.txt"), "7\n");
    session.ok(&["get", "made", "train/out/a b.txt", "copies/"]);
    assert_eq!(read("copies/a b.txt"), "7\n");
    session.ok(&["get", "made", "train/out"]);
    assert_eq!(read("out/a b.txt"), "7\n");
    session.ok(&["get", "made", "train/out/", "copies/again"]);
    assert_eq!(read("copies/again/a b.txt"), "7\n");
    // A folder that is there is not replaced.
    std::fs::write(session.workdir().join("out/mine"), "mine").unwrap();
    let again = session.run(&["get", "made", "train/out"]);
    assert_eq!(again.status, 2, "{again:?}");
    assert_eq!(read("out/mine"), "mine");
    for wrong in ["train/none", "../../mizzen.db", "/etc/passwd"] {
        let said = session.run(&["get", "made", wrong, "wrong"]);
        assert_ne!(said.status, 0, "{said:?}");
        assert!(!session.workdir().join("wrong").exists());
    }
}
