//! Files are followed by the script as the agent follows them.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "sshd/place.rs"]
mod place;
mod sshd;

use std::collections::BTreeMap;
use std::io::Write;

use camino::{Utf8Path, Utf8PathBuf};
use mizzen_core::tunnel::{LocalTunnel, Tunnel, follow_without_agent};
use place::wait;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

struct Folder(Utf8PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let base = Utf8PathBuf::from_path_buf(std::env::temp_dir()).unwrap();
        let folder = base.join(format!("mz-follow it's {name}-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("attempts")).unwrap();
        Folder(folder)
    }

    fn attempts(&self) -> Utf8PathBuf {
        self.0.join("attempts")
    }

    fn add(&self, file: &str, bytes: &[u8]) {
        let path = self.attempts().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut open = std::fs::File::options();
        let mut open = open.create(true).append(true).open(path).unwrap();
        open.write_all(bytes).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn here(folder: &Utf8Path) -> std::sync::Arc<dyn Tunnel> {
    LocalTunnel::default().connect(&place::context(folder))
}

/// Reads one frame.
async fn frame(reader: &mut (impl AsyncBufReadExt + Unpin)) -> (Value, Vec<u8>) {
    let mut line = String::new();
    reader.read_line(&mut line).await.unwrap();
    let header: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(header["id"], 7);
    let size = header["size"].as_u64().unwrap_or(0);
    let mut bytes = vec![0; usize::try_from(size).unwrap()];
    reader.read_exact(&mut bytes).await.unwrap();
    (header, bytes)
}

#[test]
fn one_pass_sends_what_is_new() {
    let folder = Folder::new("once");
    folder.add("1/rank-0.log", b"one\ntwo\n");
    folder.add("1/rank-1.log", &vec![b'x'; 600_000]);
    folder.add("1/rank-2.log", b"short");
    folder.add("2/exit.json", b"{}");
    folder.add("2/other", b"not ours");
    let known: BTreeMap<String, u64> = [
        ("1/rank-0.log".to_owned(), 4),
        ("1/rank-2.log".to_owned(), 99),
    ]
    .into();
    wait(async {
        let command = follow_without_agent(7, &folder.attempts(), &known, true);
        let printed = here(&folder.0).run(&command).await.unwrap();
        assert_eq!((printed.status, &*printed.stderr), (0, &b""[..]));
        let mut reader = BufReader::new(&printed.stdout[..]);
        let mut seen = Vec::new();
        loop {
            let (header, bytes) = frame(&mut reader).await;
            if header["quiet"] == true {
                break;
            }
            seen.push(format!(
                "{} {} {} {}",
                header["file"].as_str().unwrap(),
                header["offset"],
                bytes.len(),
                header.get("restart").is_some()
            ));
        }
        assert_eq!(
            seen,
            [
                "1/rank-0.log 4 4 false",
                "1/rank-1.log 0 262144 false",
                "1/rank-1.log 262144 262144 false",
                "1/rank-1.log 524288 75712 false",
                "1/rank-2.log 0 5 true",
                "2/exit.json 0 2 false",
            ]
        );
        assert_eq!(reader.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    });
}

#[test]
fn what_comes_later_is_sent_until_the_input_ends() {
    let folder = Folder::new("later");
    wait(async {
        let command = follow_without_agent(7, &folder.attempts(), &BTreeMap::new(), false);
        let tunnel = here(&folder.0);
        let (mut output, reader) = tokio::io::duplex(1 << 16);
        let (closing, mut input) = tokio::io::duplex(1);
        let mut reader = BufReader::new(reader);
        let work = async {
            assert_eq!(frame(&mut reader).await.0["quiet"], true);
            folder.add("1/rank-0.log", b"one\n");
            assert_eq!(frame(&mut reader).await.1, b"one\n");
            folder.add("1/rank-0.log", b"two\n");
            let (header, bytes) = frame(&mut reader).await;
            assert_eq!(
                (&header["offset"], &*bytes),
                (&Value::from(4), &b"two\n"[..])
            );
            // Another file under the same name, of the same length.
            let path = folder.attempts().join("1/rank-0.log");
            std::fs::write(path.with_extension("new"), b"ONE\nTWO\n").unwrap();
            std::fs::rename(path.with_extension("new"), &path).unwrap();
            let (header, bytes) = frame(&mut reader).await;
            assert_eq!(
                (&header["restart"], &*bytes),
                (&Value::from(true), &b"ONE\nTWO\n"[..])
            );
            drop(closing);
        };
        let (ended, ()) = tokio::join!(tunnel.exec(&command, &mut input, &mut output), work);
        assert_eq!(ended.unwrap().status, 0);
    });
}
