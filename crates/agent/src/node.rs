//! What a machine is, and which Python it would run: for the record of a job. Files are read; nothing is started.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The folder in an attempt's folder with one file a machine, `<host>.json`.
pub const NODES: &str = "nodes";

/// No more packages than this are named.
const MOST_PACKAGES: usize = 2_000;

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Its name.
    pub host: String,
    /// The system's name, such as `Debian GNU/Linux 13 (trixie)`.
    pub os: String,
    /// The kernel's release.
    pub kernel: String,
    /// The processor's architecture, such as `x86_64`.
    pub architecture: String,
    /// The processor's model.
    pub processor: String,
    /// How many processors the job may use.
    pub processors: u32,
    /// Bytes of memory that the machine has.
    pub memory: u64,
    /// Bytes of memory that the job's control group may use; `None`: as many as there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
    /// The models of its GPUs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<String>,
    /// The version of the GPUs' driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The Python that is found first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python: Option<Python>,
}

/// A Python, as its files say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Python {
    /// The program.
    pub program: String,
    /// Its version, as far as its folders tell: `3.13`, or `3.13.5` for a virtual environment.
    pub version: String,
    /// What is installed for it, in order: `name==version`.
    pub packages: Vec<String>,
    /// There are more packages than are named.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

impl Node {
    /// This machine. `environment`: variables of the job, of which `PATH` and `VIRTUAL_ENV` are read; `program`: what it runs,
    /// which may be a Python itself.
    #[must_use]
    pub fn here(
        host: &str,
        environment: &dyn Fn(&str) -> Option<String>,
        program: Option<&str>,
    ) -> Node {
        let line = |path: &str| {
            fs::read_to_string(path)
                .map(|text| text.trim().to_owned())
                .unwrap_or_default()
        };
        Node {
            host: host.to_owned(),
            os: os_name(&line("/etc/os-release")),
            kernel: line("/proc/sys/kernel/osrelease"),
            architecture: std::env::consts::ARCH.to_owned(),
            processor: processor(&line("/proc/cpuinfo")),
            processors: std::thread::available_parallelism()
                .map_or(0, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
            memory: kibibytes(&line("/proc/meminfo"), "MemTotal:"),
            memory_limit: memory_limit(),
            gpus: gpus(Path::new("/proc/driver/nvidia/gpus")),
            driver: driver(&line("/proc/driver/nvidia/version")),
            python: Python::find(environment, program),
        }
    }
}

impl Node {
    /// Writes it into an attempt's folder, or an experiment's.
    ///
    /// # Errors
    /// The folder can't be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let folder = folder.join(NODES);
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // A name of a machine that is no name of a file is nobody's.
        let name = self.host.replace('/', "_");
        let staged = folder.join(format!(".{name}.{}", std::process::id()));
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&staged)?;
        file.write_all(&text)?;
        fs::rename(&staged, folder.join(format!("{name}.json")))
    }
}

/// The machines that are written down in a folder, by name; what can't be read is left out.
#[must_use]
pub fn read_all(folder: &Path) -> Vec<Node> {
    let Ok(entries) = fs::read_dir(folder.join(NODES)) else {
        return Vec::new();
    };
    let mut nodes: Vec<Node> = entries
        .flatten()
        .filter(|entry| entry.path().extension() == Some(OsStr::new("json")))
        .filter_map(|entry| serde_json::from_slice(&fs::read(entry.path()).ok()?).ok())
        .collect();
    nodes.sort_by(|one, other| one.host.cmp(&other.host));
    nodes
}

fn os_name(release: &str) -> String {
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or_default().trim_matches('"').to_owned()
}

fn processor(information: &str) -> String {
    let value = information.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        ["model name", "Model"]
            .contains(&name.trim())
            .then(|| value.trim().to_owned())
    });
    value.unwrap_or_default()
}

fn kibibytes(information: &str, name: &str) -> u64 {
    let value = information
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| {
            rest.trim()
                .trim_end_matches("kB")
                .trim()
                .parse::<u64>()
                .ok()
        });
    value.unwrap_or_default() * 1024
}

/// The smallest limit of this process's control groups of version 2.
fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    Path::new(own)
        .ancestors()
        .filter_map(|group| {
            let group = group.strip_prefix("/").unwrap_or(group);
            let limit = Path::new("/sys/fs/cgroup").join(group).join("memory.max");
            fs::read_to_string(limit).ok()?.trim().parse().ok()
        })
        .min()
}

fn gpus(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders
        .iter()
        .filter_map(|folder| fs::read_to_string(folder.join("information")).ok())
        .filter_map(|text| {
            text.lines()
                .find_map(|line| Some(line.strip_prefix("Model:")?.trim().to_owned()))
        })
        .collect()
}

/// `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue …`, and the like.
fn driver(version: &str) -> Option<String> {
    let line = version
        .lines()
        .find(|line| line.starts_with("NVRM version:"))?;
    line.split_whitespace()
        .find(|word| {
            word.contains('.')
                && word
                    .bytes()
                    .all(|byte| byte == b'.' || byte.is_ascii_digit())
        })
        .map(str::to_owned)
}

impl Python {
    /// The Python that a job would run: its own program, else that of `VIRTUAL_ENV`, else the first in `PATH`.
    #[must_use]
    pub fn find(
        environment: &dyn Fn(&str) -> Option<String>,
        program: Option<&str>,
    ) -> Option<Python> {
        let search = environment("PATH").unwrap_or_default();
        let is_python = |path: &Path| {
            path.file_name()
                .and_then(OsStr::to_str)
                .is_some_and(|name| name.starts_with("python"))
        };
        let own = program.map(Path::new).filter(|program| is_python(program));
        let found = match own {
            Some(program) if program.components().count() > 1 => program.to_owned(),
            Some(program) => in_path(&search, program.to_str()?)?,
            None => match environment("VIRTUAL_ENV") {
                Some(folder) => Path::new(&folder).join("bin/python3"),
                None => in_path(&search, "python3").or_else(|| in_path(&search, "python"))?,
            },
        };
        let real = found.canonicalize().ok()?;
        // A virtual environment is known by the file beside the folder of its programs.
        let prefix = found.parent()?.parent()?;
        let configuration = fs::read_to_string(prefix.join("pyvenv.cfg")).ok();
        let own_prefix = real.parent()?.parent()?;
        let of_system = configuration.as_ref().is_none_or(|text| {
            value(text, "include-system-site-packages").is_some_and(|word| word == "true")
        });
        let minor = real
            .file_name()
            .and_then(OsStr::to_str)
            .and_then(|name| name.strip_prefix("python"))
            .filter(|version| version.contains('.'))
            .map(str::to_owned)
            .or_else(|| newest_library(prefix))
            .unwrap_or_default();
        let version = configuration
            .as_ref()
            .and_then(|text| value(text, "version").or_else(|| value(text, "version_info")))
            .map(|version| version.split(".final").next().unwrap_or(version).to_owned());
        let mut folders = vec![prefix.join(format!("lib/python{minor}/site-packages"))];
        if of_system {
            folders.extend([
                own_prefix.join(format!("lib/python{minor}/site-packages")),
                own_prefix.join(format!("local/lib/python{minor}/dist-packages")),
                own_prefix.join("lib/python3/dist-packages"),
            ]);
        }
        folders.dedup();
        let mut packages: Vec<String> = folders
            .iter()
            .flat_map(|folder| installed(folder))
            .collect();
        packages.sort();
        packages.dedup();
        let cut = packages.len() > MOST_PACKAGES;
        packages.truncate(MOST_PACKAGES);
        Some(Python {
            program: found.display().to_string(),
            version: version.unwrap_or(minor),
            packages,
            cut,
        })
    }
}

fn in_path(search: &str, name: &str) -> Option<PathBuf> {
    search
        .split(':')
        .filter(|folder| !folder.is_empty())
        .map(|folder| Path::new(folder).join(name))
        .find(|path| {
            path.metadata()
                .is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
        })
}

/// A value of pyvenv.cfg.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == name).then(|| value.trim())
    })
}

fn newest_library(prefix: &Path) -> Option<String> {
    let entries = fs::read_dir(prefix.join("lib")).ok()?;
    let versions = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let version = name.strip_prefix("python")?.to_owned();
        let (major, minor) = version.split_once('.')?;
        Some((
            major.parse::<u32>().ok()?,
            minor.parse::<u32>().ok()?,
            version,
        ))
    });
    versions.max().map(|(.., version)| version)
}

/// The packages whose metadata stand in a folder: `name-version.dist-info`.
fn installed(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let stem = name
                .strip_suffix(".dist-info")
                .or_else(|| name.strip_suffix(".egg-info"))?;
            let (package, rest) = stem.split_once('-')?;
            let version = rest.split("-py").next()?;
            Some(format!(
                "{}=={version}",
                package.replace('_', "-").to_lowercase()
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_files_say_is_read() {
        assert_eq!(
            os_name("NAME=x\nPRETTY_NAME=\"Some System 1\"\n"),
            "Some System 1"
        );
        assert_eq!(
            processor("processor\t: 0\nmodel name\t: A Model\n"),
            "A Model"
        );
        assert_eq!(kibibytes("MemTotal:       16 kB\n", "MemTotal:"), 16_384);
        let version =
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar 5\nGCC version: 12";
        assert_eq!(driver(version).as_deref(), Some("550.54.15"));
        assert_eq!(driver(""), None);
    }

    #[test]
    fn a_virtual_environment_is_looked_through_without_running_it() {
        let folder = std::env::temp_dir().join(format!("mizzen-node-{}", std::process::id()));
        let site = folder.join("venv/lib/python3.12/site-packages");
        for package in [
            "torch-2.9.1.dist-info",
            "typing_extensions-4.15.dist-info",
            "other",
        ] {
            fs::create_dir_all(site.join(package)).unwrap();
        }
        fs::create_dir_all(folder.join("venv/bin")).unwrap();
        let program = folder.join("venv/bin/python3");
        fs::write(&program, "#!/bin/false").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(
            folder.join("venv/pyvenv.cfg"),
            "include-system-site-packages = false\nversion = 3.12.4\n",
        )
        .unwrap();
        let path = folder.join("venv/bin").display().to_string();
        let environment = |name: &str| (name == "PATH").then(|| path.clone());
        let found = Python::find(&environment, Some("python3")).unwrap();
        assert_eq!(found.version, "3.12.4");
        assert_eq!(found.packages, ["torch==2.9.1", "typing-extensions==4.15"]);
        assert_eq!(Python::find(&|_| None, Some("python3")), None);
        let _ = fs::remove_dir_all(folder);
    }
}
