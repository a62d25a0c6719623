//! Gives devices to a job, each to one job at a time.
//!
//! Each device has a lock file; whoever holds its flock(2) has the device. The kernel lets go of it when the agent
//! dies, however it dies: no stale lock, no clean-up. Pitfall: the lock belongs to the open file, so the descriptor
//! must not reach a rank (it is closed on exec), or a straggler would keep the device.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use mizzen_agent::protocol::Devices;

/// Devices in the hands of one job, free again when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct HeldDevices {
    /// As written to `CUDA_VISIBLE_DEVICES`.
    pub(crate) names: Vec<String>,
    /// Held for what their drop does.
    _locks: Vec<File>,
}

/// Why no devices were given.
#[derive(Debug)]
pub(crate) enum DeviceError {
    /// Only so many are free.
    Busy { free: u32 },
    /// A lock file could not be made.
    Storage { path: PathBuf, error: io::Error },
}

impl HeldDevices {
    /// Takes as many as are asked for, the first free ones of the pool, or none at all.
    pub(crate) fn take(asked: &Devices) -> Result<HeldDevices, DeviceError> {
        if asked.shared {
            return Ok(HeldDevices {
                names: asked.pool.clone(),
                _locks: Vec::new(),
            });
        }
        let mut names = Vec::new();
        let mut locks = Vec::new();
        let folder = Path::new(&asked.locks);
        let count = usize::try_from(asked.count).unwrap_or(usize::MAX);
        if count > 0 {
            let made = fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder);
            made.map_err(|error| DeviceError::Storage {
                path: folder.to_owned(),
                error,
            })?;
        }
        for device in &asked.pool {
            if names.len() == count {
                break;
            }
            let path = folder.join(lock_name(device));
            let lock = open_lock(&path).map_err(|error| DeviceError::Storage {
                path: path.clone(),
                error,
            })?;
            match lock.try_lock() {
                Ok(()) => {
                    names.push(device.clone());
                    locks.push(lock);
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(DeviceError::Storage { path, error });
                }
            }
        }
        if names.len() < count {
            return Err(DeviceError::Busy {
                free: u32::try_from(names.len()).unwrap_or(u32::MAX),
            });
        }
        Ok(HeldDevices {
            names,
            _locks: locks,
        })
    }
}

/// Open for writing, because flock on NFS is a lock for writing there.
fn open_lock(path: &Path) -> io::Result<File> {
    File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// A file name that no two devices share: what is not a letter, a digit, `-` or `_` is written as `%` and its bytes.
fn lock_name(device: &str) -> String {
    let mut name = String::with_capacity(device.len() + 5);
    for byte in device.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name.push_str(".lock");
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_names_stay_in_their_folder_and_apart() {
        assert_eq!(lock_name("0"), "0.lock");
        assert_eq!(lock_name("GPU-8f3c_1"), "GPU-8f3c_1.lock");
        assert_eq!(lock_name("../x"), "%2E%2E%2Fx.lock");
        assert_ne!(lock_name("a/b"), lock_name("a%2Fb"));
    }
}
