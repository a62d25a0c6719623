//! Asks a master whether it lives, as `ssh -O check` does, without the process: that takes longer than all else which is
//! done to use a connection that is open.
//!
//! The words are those of OpenSSH's PROTOCOL.mux, version 4: frames of a length and numbers of 32 bits.

use std::time::Duration;

use camino::Utf8Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// MUX_MSG_HELLO.
const HELLO: u32 = 0x0000_0001;
/// MUX_C_ALIVE_CHECK.
const IS_ALIVE: u32 = 0x1000_0004;
/// MUX_S_ALIVE.
const ALIVE: u32 = 0x8000_0005;
/// Of the protocol, since OpenSSH 5.4.
const VERSION: u32 = 4;
/// A hello may name extensions; what is longer is no hello.
const LONGEST: u32 = 4096;
/// A master on this machine answers at once, or never.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It lives, under this number.
    Process(u32),
    /// Nobody listens.
    Nobody,
    /// Something else than expected: `ssh` itself has to find out.
    Odd,
}

/// Asks who is behind a socket.
pub(super) async fn ask(socket: &Utf8Path) -> Heard {
    let stream = match UnixStream::connect(socket.as_std_path()).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            return Heard::Nobody;
        }
        Err(_) => return Heard::Odd,
    };
    match tokio::time::timeout(PATIENCE, talk(stream)).await {
        Ok(Ok(Some(process))) => Heard::Process(process),
        _ => Heard::Odd,
    }
}

async fn talk(mut stream: UnixStream) -> std::io::Result<Option<u32>> {
    stream.write_all(&frame(&[HELLO, VERSION])).await?;
    let hello = read(&mut stream).await?;
    if hello.get(..2) != Some(&[HELLO, VERSION]) {
        return Ok(None);
    }
    stream.write_all(&frame(&[IS_ALIVE, 0])).await?;
    let answer = read(&mut stream).await?;
    Ok(match answer[..] {
        [ALIVE, 0, process] => Some(process),
        _ => None,
    })
}

fn frame(numbers: &[u32]) -> Vec<u8> {
    let length = (numbers.len() * 4) as u32;
    std::iter::once(&length)
        .chain(numbers)
        .flat_map(|number| number.to_be_bytes())
        .collect()
}

/// The numbers of a frame; nothing of one that is too long.
async fn read(stream: &mut UnixStream) -> std::io::Result<Vec<u32>> {
    let length = stream.read_u32().await?;
    if length > LONGEST {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes).await?;
    let numbers = bytes.as_chunks::<4>().0.iter();
    Ok(numbers.map(|number| u32::from_be_bytes(*number)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_answers(answers: &[&[u32]]) -> Heard {
        let folder = std::env::temp_dir().join(format!(
            "mz-alive-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&folder).unwrap();
        let path = camino::Utf8PathBuf::from_path_buf(folder.join("s")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let heard = runtime.block_on(async {
            let listener = tokio::net::UnixListener::bind(path.as_std_path()).unwrap();
            let master = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                for answer in answers {
                    read(&mut stream).await.unwrap();
                    stream.write_all(&frame(answer)).await.unwrap();
                }
            };
            tokio::join!(ask(&path), master).0
        });
        assert_eq!(runtime.block_on(ask(&path)), Heard::Nobody);
        std::fs::remove_dir_all(&folder).unwrap();
        heard
    }

    #[test]
    fn a_master_says_who_it_is_and_others_are_odd() {
        // Extensions may stand behind the version.
        let hello = &[HELLO, VERSION, 0, 0][..];
        assert_eq!(with_answers(&[hello, &[ALIVE, 0, 17]]), Heard::Process(17));
        assert_eq!(with_answers(&[hello, &[0x8000_0003, 0]]), Heard::Odd);
        assert_eq!(with_answers(&[&[HELLO, 5]]), Heard::Odd);
        assert_eq!(with_answers(&[]), Heard::Odd);
    }
}
