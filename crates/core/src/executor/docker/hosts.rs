//! The machines that a job runs on, one container each.
//!
//! ```text
//! "[user@]host[:port]" ─┐
//! a table ──────────────┴─▶ HostEntry ── tunnel(base) ──▶ the way there: what the entry leaves out is the executor's `tunnel`'s
//!                               └─ address() ──▶ how the other machines reach it
//! ```
//!
//! Pitfall: the name by which ssh knows a machine may mean nothing to the other machines. So the plan notes the name that stands
//! behind it in ssh's configuration ([`settled`]), once, on the machine that makes the plan.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use camino::Utf8PathBuf;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use super::DockerSettings;
use crate::context::Context;
use crate::tunnel::{SshTunnel, TunnelSettings};

/// How an entry is written, for messages.
const WRITTEN: &str = "write \"host\", \"user@host\", \"user@host:port\" or \"[address]:port\", or a table with `host`";

/// A machine: `"[user@]host[:port]"`, or a table that says more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    written: Written,
    host: Host,
}

/// As it stood in the document: it is written down the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Written {
    Text(String),
    Table,
}

/// A machine, as a table says it. What is left out is as the executor's `tunnel` says, and ~/.ssh/config.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Host {
    /// The machine: a name of ~/.ssh/config or of the network, or an address.
    host: String,
    /// The user there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// The folder for jobs' files there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    job_dir: Option<Utf8PathBuf>,
    /// The port of its sshd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// The file of a private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    identity: Option<Utf8PathBuf>,
    /// The shell that runs `pre_command` and then the command, such as `bash -l`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shell: Option<String>,
    /// Shell text that runs before each command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pre_command: Option<String>,
    /// Another file than ~/.ssh/config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    ssh_config: Option<Utf8PathBuf>,
    /// How the other machines reach it; without it, the name that ssh connects to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
}

impl HostEntry {
    /// Reads `[user@]host[:port]`.
    ///
    /// # Errors
    /// What is wrong with it, and how it is written.
    pub fn parse(text: &str) -> Result<HostEntry, String> {
        let wrong = |words: &str| Err(format!("{text:?} is no host: {words}; {WRITTEN}"));
        let (user, place) = match text.rsplit_once('@') {
            Some(("", _)) => return wrong("there is no user before the `@`"),
            Some((user, place)) => (Some(user.to_owned()), place),
            None => (None, text),
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                Some((host, "")) => (host, None),
                Some((host, port)) => match port.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None => return wrong("behind the `]` only `:port` may stand"),
                },
                None => return wrong("the `[` is not closed"),
            },
            // An address with several colons is one of IPv6 without a port.
            None if place.matches(':').count() > 1 => (place, None),
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        if host.is_empty() {
            return wrong("it has no name");
        }
        if host.chars().any(|c| c.is_whitespace() || c.is_control()) || host.starts_with('-') {
            return wrong("its name is none that ssh takes");
        }
        let port = match port.map(str::parse::<u16>) {
            None => None,
            Some(Ok(port)) if port > 0 => Some(port),
            Some(_) => return wrong("its port is no number from 1 to 65535"),
        };
        Ok(HostEntry {
            written: Written::Text(text.to_owned()),
            host: Host {
                host: host.to_owned(),
                user,
                port,
                ..Host::default()
            },
        })
    }

    /// The way there; what the entry does not say is `base`'s.
    #[must_use]
    pub fn tunnel(&self, base: &TunnelSettings) -> TunnelSettings {
        let mut way = match base {
            TunnelSettings::Ssh(ssh) => ssh.clone(),
            TunnelSettings::Local(local) => SshTunnel {
                job_dir: local.job_dir.clone(),
                ..SshTunnel::new("")
            },
        };
        let own = self.host.clone();
        way.host = own.host;
        way.user = own.user.or(way.user);
        way.job_dir = own.job_dir.or(way.job_dir);
        way.port = own.port.or(way.port);
        way.identity = own.identity.or(way.identity);
        way.shell = own.shell.or(way.shell);
        way.pre_command = own.pre_command.or(way.pre_command);
        way.ssh_config = own.ssh_config.or(way.ssh_config);
        TunnelSettings::Ssh(way)
    }

    /// How the other machines reach it.
    #[must_use]
    pub fn address(&self) -> String {
        let Host { address, host, .. } = &self.host;
        address.as_ref().unwrap_or(host).clone()
    }

    /// The same, with what the entry leaves out.
    fn with_address(&self, address: String) -> HostEntry {
        HostEntry {
            written: Written::Table,
            host: Host {
                address: Some(address),
                ..self.host.clone()
            },
        }
    }
}

/// The settings with the address of each machine, where a document does not give it and jobs need it: the name that stands in
/// ssh's configuration (`HostName`). Nobody is asked over the network.
pub(super) fn settled(settings: &DockerSettings, context: &Context) -> Option<Map<String, Value>> {
    if !settings.spans_hosts() || settings.hosts.iter().all(|one| one.host.address.is_some()) {
        return None;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    let hosts: Vec<HostEntry> = runtime.block_on(async {
        let mut hosts = Vec::with_capacity(settings.hosts.len());
        for one in &settings.hosts {
            let known = match (one.tunnel(&settings.tunnel), &one.host.address) {
                (TunnelSettings::Ssh(way), None) => way.host_name(context).await.ok(),
                _ => None,
            };
            hosts.push(known.map_or_else(|| one.clone(), |address| one.with_address(address)));
        }
        hosts
    });
    let hosts = serde_json::to_value(hosts).ok()?;
    Some([("hosts".to_owned(), hosts)].into_iter().collect())
}

/// Reads the list of machines: each once.
pub(super) fn list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<HostEntry>, D::Error> {
    struct Hosts;
    impl<'de> de::Visitor<'de> for Hosts {
        type Value = Vec<HostEntry>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a list of machines")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            let hosts = Vec::<HostEntry>::deserialize(SeqAccessDeserializer::new(list))?;
            let mut seen = BTreeSet::new();
            for HostEntry { host: one, .. } in &hosts {
                if !seen.insert((&one.user, &one.host, one.port)) {
                    return Err(de::Error::custom(format!(
                        "`hosts` names {} twice: name each machine once; with more `nodes` than hosts, some have several",
                        one.host
                    )));
                }
            }
            Ok(hosts)
        }
    }
    from.deserialize_seq(Hosts)
}

impl<'de> Deserialize<'de> for HostEntry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<HostEntry, D::Error> {
        struct Entry;
        impl<'de> de::Visitor<'de> for Entry {
            type Value = HostEntry;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "a machine ({WRITTEN})")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<HostEntry, E> {
                HostEntry::parse(text).map_err(E::custom)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, table: A) -> Result<HostEntry, A::Error> {
                let host = Host::deserialize(MapAccessDeserializer::new(table))?;
                Ok(HostEntry {
                    written: Written::Table,
                    host,
                })
            }
        }
        from.deserialize_any(Entry)
    }
}

impl Serialize for HostEntry {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.written {
            Written::Text(text) => to.serialize_str(text),
            Written::Table => self.host.serialize(to),
        }
    }
}

impl JsonSchema for HostEntry {
    fn schema_name() -> Cow<'static, str> {
        "HostEntry".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<Host>();
        json_schema!({
            "description": "A machine: \"[user@]host[:port]\", or a table that says more.",
            "anyOf": [{ "type": "string" }, table]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<HostEntry>, String> {
        let mut reader = serde_json::Deserializer::from_str(text);
        list(&mut reader).map_err(|error| error.to_string())
    }

    fn ssh(tunnel: TunnelSettings) -> SshTunnel {
        match tunnel {
            TunnelSettings::Ssh(ssh) => ssh,
            TunnelSettings::Local(_) => panic!("a host is reached by ssh"),
        }
    }

    #[test]
    fn a_text_names_user_host_and_port() {
        for (text, user, host, port) in [
            ("gpu1", None, "gpu1", None),
            ("ada@gpu1:2222", Some("ada"), "gpu1", Some(2222)),
            (
                "ada@example.org@gpu1",
                Some("ada@example.org"),
                "gpu1",
                None,
            ),
            ("[::1]:22", None, "::1", Some(22)),
            ("ada@[::1]", Some("ada"), "::1", None),
            ("fe80::1", None, "fe80::1", None),
        ] {
            let entry = HostEntry::parse(text).unwrap();
            let way = ssh(entry.tunnel(&TunnelSettings::default()));
            assert_eq!(
                (way.user.as_deref(), way.host.as_str(), way.port),
                (user, host, port)
            );
            assert_eq!(entry.address(), host);
            assert_eq!(serde_json::to_value(&entry).unwrap(), text);
        }
        for (text, said) in [
            ("", "no name"),
            ("@gpu1", "no user"),
            ("gpu1:", "no number"),
            ("gpu1:0", "no number"),
            ("gpu1:70000", "no number"),
            ("[::1", "not closed"),
            ("[::1]22", "only `:port`"),
            ("gpu 1", "none that ssh takes"),
            ("-oProxyCommand=x", "none that ssh takes"),
        ] {
            let error = HostEntry::parse(text).unwrap_err();
            assert!(error.contains(said) && error.contains(WRITTEN), "{error}");
        }
    }

    #[test]
    fn what_an_entry_leaves_out_is_the_tunnels() {
        let base: TunnelSettings = serde_json::from_str(
            r#"{"kind":"ssh","host":"login","user":"ada","port":22,"job_dir":"/scratch","identity":"~/.ssh/id","pre_command":"umask 77"}"#,
        )
        .unwrap();
        let hosts = read(
            r#"["gpu1", {"host":"gpu2","user":"bob","job_dir":"/data","address":"10.0.0.2"}]"#,
        )
        .unwrap();
        let plain = ssh(hosts[0].tunnel(&base));
        assert_eq!(plain.host, "gpu1");
        assert_eq!(
            SshTunnel {
                host: "login".to_owned(),
                ..plain
            },
            ssh(base.clone())
        );
        let own = ssh(hosts[1].tunnel(&base));
        assert_eq!((own.user.as_deref(), own.port), (Some("bob"), Some(22)));
        assert_eq!(own.job_dir.unwrap(), "/data");
        assert_eq!(own.identity.unwrap(), "~/.ssh/id");
        assert_eq!(own.pre_command.unwrap(), "umask 77");
        assert_eq!(hosts[1].address(), "10.0.0.2");
        let local: TunnelSettings =
            serde_json::from_str(r#"{"kind":"local","job_dir":"/jobs"}"#).unwrap();
        assert_eq!(ssh(hosts[0].tunnel(&local)).job_dir.unwrap(), "/jobs");
    }

    #[test]
    fn entries_stay_as_they_were_written() {
        let text = r#"["ada@gpu1",{"host":"gpu2","port":2222,"address":"10.0.0.2"}]"#;
        assert_eq!(serde_json::to_string(&read(text).unwrap()).unwrap(), text);
        for (wrong, said) in [
            (r#"["a","b","a"]"#, "names a twice"),
            (r#"["a:0"]"#, "no number from 1 to 65535"),
            (r#"[{"user":"ada"}]"#, "missing field `host`"),
            (r#"[{"host":"a","prot":22}]"#, "unknown field `prot`"),
            ("[7]", "expected a machine"),
            (r#""a""#, "expected a list of machines"),
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
