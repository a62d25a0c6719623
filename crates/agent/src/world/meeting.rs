//! How the agents of a world's nodes speak to each other: one listens, the others connect; JSON, an object a line.
//!
//! ```text
//! node 0    listens on a free port ──▶ <attempt>/meeting.json {addresses, port, token}, 0600, by rename
//! node n    reads that file as soon as it is there ──▶ connects ──▶ {"token", "node", "host"} first
//! ```
//!
//! Addresses are numbers: names would need a resolver, which a program without shared libraries does not have, and which nodes
//! may not agree with. The node tells all that it has, the one that the place named first.
//! The token is what makes a node believe another: only who can read the attempt's folder has it. Nothing here waits; what is not
//! there yet is tried again at [`Link::deadline`].

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mizzen_agent::protocol::MEETING_FILE;
use nix::poll::{PollFd, PollFlags};
use serde::{Deserialize, Serialize};

use super::head::Order;

/// A line that is longer is no agent's.
const LONGEST_LINE: usize = 1 << 20;
/// So many connections that have not said who they are.
const STRANGERS: usize = 64;
/// And so long.
const STRANGER_LIMIT: Duration = Duration::from_secs(10);
/// The pause between two tries to connect, growing from the first to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(500));
/// How long one try may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// What an agent says first.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    token: String,
    node: u32,
    host: String,
}

/// Where to meet.
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    addresses: Vec<IpAddr>,
    port: u16,
    token: String,
}

/// What came in.
#[derive(Debug)]
pub(super) enum Heard {
    Joined(u32),
    Said(u32, Order),
    Lost(u32),
}

/// The connections of one agent.
#[derive(Debug)]
pub(super) enum Link {
    /// There are no others.
    Alone,
    Head {
        listener: TcpListener,
        token: String,
        file: PathBuf,
        nodes: BTreeMap<u32, Wire>,
        strangers: Vec<(Wire, Instant)>,
    },
    Node {
        file: PathBuf,
        node: u32,
        host: String,
        wire: Option<Wire>,
        next_try: Instant,
        pause: Duration,
        /// It was connected once: it is not tried again.
        lost: bool,
    },
}

impl Link {
    /// Listens, and tells where. Where the nodes share no folder, whoever started them has agreed on the port and the token, and
    /// has told the others.
    pub(super) fn listen(
        folder: &Path,
        address: &str,
        port: Option<u16>,
        agreed: Option<&str>,
    ) -> io::Result<Link> {
        let port = port.unwrap_or(0);
        let listener = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
            .or_else(|_| TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))))
            .map_err(|error| match port {
                0 => error,
                port => io::Error::new(error.kind(), format!("port {port}: {error}")),
            })?;
        listener.set_nonblocking(true)?;
        let place = Place {
            addresses: addresses(address),
            port: listener.local_addr()?.port(),
            token: agreed.map_or_else(token, |agreed| Ok(agreed.to_owned()))?,
        };
        let file = folder.join(MEETING_FILE);
        let draft = folder.join(format!("{MEETING_FILE}.new"));
        let mut written = fs::File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        written.write_all(&serde_json::to_vec(&place)?)?;
        drop(written);
        fs::rename(&draft, &file)?;
        Ok(Link::Head {
            listener,
            token: place.token,
            file,
            nodes: BTreeMap::new(),
            strangers: Vec::new(),
        })
    }

    /// Will connect to whoever listens.
    pub(super) fn to(folder: &Path, node: u32, host: &str) -> Link {
        Link::Node {
            file: folder.join(MEETING_FILE),
            node,
            host: host.to_owned(),
            wire: None,
            next_try: Instant::now(),
            pause: PAUSES.0,
            lost: false,
        }
    }

    pub(super) fn descriptors<'a>(&'a self, polled: &mut Vec<PollFd<'a>>) {
        match self {
            Link::Alone => {}
            Link::Head {
                listener,
                nodes,
                strangers,
                ..
            } => {
                polled.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
                let known = nodes.values();
                for wire in known.chain(strangers.iter().map(|(wire, _)| wire)) {
                    polled.push(wire.descriptor());
                }
            }
            Link::Node { wire, .. } => polled.extend(wire.as_ref().map(Wire::descriptor)),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Link::Alone => None,
            Link::Head { strangers, .. } => strangers.iter().map(|(_, until)| *until).min(),
            Link::Node {
                wire,
                next_try,
                lost,
                ..
            } => (wire.is_none() && !lost).then_some(*next_try),
        }
    }

    /// The head was reached.
    pub(super) fn is_connected(&self) -> bool {
        !matches!(self, Link::Node { wire: None, .. })
    }

    /// Others are still connected.
    pub(super) fn has_others(&self) -> bool {
        matches!(self, Link::Head { nodes, .. } if !nodes.is_empty())
    }

    /// The link as long as others may need it.
    pub(super) fn ends(self) -> Option<Link> {
        if let Link::Head { file, .. } = &self {
            // Nobody is to come any more.
            let _ = fs::remove_file(file);
        }
        self.has_others().then_some(self)
    }

    pub(super) fn tell_all(&mut self, order: &Order) {
        if let Link::Head { nodes, .. } = self {
            for wire in nodes.values_mut() {
                wire.say(order);
            }
        }
    }

    pub(super) fn tell_head(&mut self, order: &Order) {
        if let Link::Node {
            wire: Some(wire), ..
        } = self
        {
            wire.say(order);
        }
    }

    /// Takes what has come, sends what waits, connects where that is due.
    pub(super) fn turn(&mut self, now: Instant) -> Vec<Heard> {
        let mut heard = Vec::new();
        match self {
            Link::Alone => {}
            Link::Head {
                listener,
                token,
                nodes,
                strangers,
                ..
            } => {
                while let Ok((stream, _)) = listener.accept() {
                    if strangers.len() < STRANGERS
                        && let Ok(wire) = Wire::new(stream)
                    {
                        strangers.push((wire, now + STRANGER_LIMIT));
                    }
                }
                let mut still = Vec::new();
                for (mut wire, until) in std::mem::take(strangers) {
                    let (mut lines, open) = wire.turn();
                    if lines.is_empty() {
                        if open && now < until {
                            still.push((wire, until));
                        }
                        continue;
                    }
                    let hello = serde_json::from_str::<Hello>(&lines.remove(0));
                    let Ok(hello) = hello else { continue };
                    if hello.token != *token || nodes.contains_key(&hello.node) {
                        continue;
                    }
                    heard.push(Heard::Joined(hello.node));
                    heard.extend(said(hello.node, &lines));
                    nodes.insert(hello.node, wire);
                }
                *strangers = still;
                nodes.retain(|node, wire| {
                    let (lines, open) = wire.turn();
                    heard.extend(said(*node, &lines));
                    if !open {
                        heard.push(Heard::Lost(*node));
                    }
                    open
                });
            }
            Link::Node {
                file,
                node,
                host,
                wire,
                next_try,
                pause,
                lost,
            } => {
                if wire.is_none() && !*lost && *next_try <= now {
                    match connect(file, *node, host) {
                        Ok(connected) => *wire = Some(connected),
                        Err(_) => {
                            *next_try = Instant::now() + *pause;
                            *pause = (*pause * 3 / 2).min(PAUSES.1);
                        }
                    }
                }
                if let Some(connected) = wire {
                    let (lines, open) = connected.turn();
                    heard.extend(said(0, &lines));
                    if !open {
                        heard.push(Heard::Lost(0));
                        *wire = None;
                        *lost = true;
                    }
                }
            }
        }
        heard
    }
}

/// Lines that are no orders are left out.
fn said(node: u32, lines: &[String]) -> Vec<Heard> {
    let orders = lines
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok());
    orders.map(|order| Heard::Said(node, order)).collect()
}

fn connect(file: &Path, node: u32, host: &str) -> io::Result<Wire> {
    let place: Place = serde_json::from_slice(&fs::read(file)?)?;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in place.addresses {
        let address = SocketAddr::new(address, place.port);
        match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
            Ok(stream) => {
                let mut wire = Wire::new(stream)?;
                let hello = Hello {
                    token: place.token,
                    node,
                    host: host.to_owned(),
                };
                wire.say(&hello);
                return Ok(wire);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// By which others may reach this node, the likeliest first: what the place calls it, its own addresses, itself.
fn addresses(named: &str) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = named.parse().into_iter().collect();
    let mut own = Vec::new();
    for interface in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        let Some(address) = interface.address else {
            continue;
        };
        own.extend(
            address
                .as_sockaddr_in()
                .map(|address| IpAddr::V4(address.ip())),
        );
        // Those of one link alone would need its number.
        own.extend(
            { address.as_sockaddr_in6() }
                .map(|address| address.ip())
                .filter(|address| !address.is_unicast_link_local())
                .map(IpAddr::V6),
        );
    }
    own.sort_by_key(IpAddr::is_loopback);
    for address in own {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

fn token() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// One connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
    waiting: Vec<u8>,
    broken: bool,
}

impl Wire {
    fn new(stream: TcpStream) -> io::Result<Wire> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Wire {
            stream,
            received: Vec::new(),
            waiting: Vec::new(),
            broken: false,
        })
    }

    fn descriptor(&self) -> PollFd<'_> {
        let mut flags = PollFlags::POLLIN;
        if !self.waiting.is_empty() {
            flags |= PollFlags::POLLOUT;
        }
        PollFd::new(self.stream.as_fd(), flags)
    }

    fn say(&mut self, what: &impl Serialize) {
        if let Ok(line) = serde_json::to_vec(what) {
            self.waiting.extend(line);
            self.waiting.push(b'\n');
            self.send();
        }
    }

    fn send(&mut self) {
        while !self.waiting.is_empty() {
            match self.stream.write(&self.waiting) {
                Ok(0) => self.broken = true,
                Ok(count) => {
                    self.waiting.drain(..count);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => self.broken = true,
            }
            return;
        }
    }

    /// The whole lines that have come, and whether the connection is still there.
    fn turn(&mut self) -> (Vec<String>, bool) {
        self.send();
        let mut open = !self.broken;
        let mut piece = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => {
                    open = false;
                    break;
                }
                Ok(count) => self.received.extend(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    open = false;
                    break;
                }
            }
            if self.received.len() > LONGEST_LINE {
                open = false;
                break;
            }
        }
        let Some(end) = self.received.iter().rposition(|byte| *byte == b'\n') else {
            return (Vec::new(), open);
        };
        let lines = self.received.drain(..=end).collect::<Vec<u8>>();
        let lines = lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| String::from_utf8_lossy(line).into_owned());
        (lines.collect(), open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn_until(links: &mut [&mut Link], wanted: &dyn Fn(&[Heard]) -> bool) -> Vec<Heard> {
        let give_up_at = Instant::now() + Duration::from_secs(20);
        let mut all = Vec::new();
        while !wanted(&all) {
            assert!(Instant::now() < give_up_at, "{all:?}");
            for link in &mut *links {
                all.extend(link.turn(Instant::now()));
            }
        }
        all
    }

    #[test]
    fn a_node_tells_the_named_address_first_and_itself_last() {
        let told = addresses("192.0.2.7");
        assert_eq!(told.first(), Some(&"192.0.2.7".parse().unwrap()));
        assert!(told.last().unwrap().is_loopback(), "{told:?}");
        assert!(
            addresses("n1.cluster")
                .iter()
                .all(|address| *address != IpAddr::from([192, 0, 2, 7]))
        );
    }

    #[test]
    fn nodes_without_a_common_folder_meet_where_they_were_told() {
        let dir = std::env::temp_dir().join(format!("mizzen-apart-{}", std::process::id()));
        let (here, there) = (dir.join("0"), dir.join("1"));
        fs::create_dir_all(&here).unwrap();
        fs::create_dir_all(&there).unwrap();
        let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let told = format!(r#"{{"addresses":["127.0.0.1"],"port":{port},"token":"t"}}"#);
        fs::write(there.join(MEETING_FILE), told).unwrap();
        let mut node = Link::to(&there, 1, "n2");
        let mut head = Link::listen(&here, "127.0.0.1", Some(port), Some("t")).unwrap();
        let heard = turn_until(&mut [&mut head, &mut node], &|heard| !heard.is_empty());
        assert!(matches!(heard[0], Heard::Joined(1)), "{heard:?}");
        let taken = Link::listen(&here, "127.0.0.1", Some(port), Some("t")).unwrap_err();
        assert!(taken.to_string().contains(&port.to_string()), "{taken}");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn nodes_meet_and_strangers_do_not() {
        let dir = std::env::temp_dir().join(format!("mizzen-meeting-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut node = Link::to(&dir, 1, "n2");
        // Nobody listens yet.
        assert!(node.turn(Instant::now()).is_empty());
        let mut head = Link::listen(&dir, "127.0.0.1", None, None).unwrap();
        let place: Place =
            serde_json::from_slice(&fs::read(dir.join(MEETING_FILE)).unwrap()).unwrap();
        let mut stranger = TcpStream::connect(("127.0.0.1", place.port)).unwrap();
        stranger
            .write_all(b"{\"token\":\"guess\",\"node\":1,\"host\":\"x\"}\n")
            .unwrap();
        let heard = turn_until(&mut [&mut head, &mut node], &|heard| {
            heard.iter().any(|heard| matches!(heard, Heard::Joined(1)))
        });
        assert_eq!(heard.len(), 1, "{heard:?}");
        node.tell_head(&Order::Gone {
            round: 7,
            failure: None,
        });
        let heard = turn_until(&mut [&mut head], &|heard| !heard.is_empty());
        assert!(matches!(
            heard[0],
            Heard::Said(1, Order::Gone { round: 7, .. })
        ));
        // The stranger was turned away.
        stranger
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        assert_eq!(stranger.read(&mut [0; 1]).unwrap(), 0);
        drop(head);
        let heard = turn_until(&mut [&mut node], &|heard| !heard.is_empty());
        assert!(matches!(heard[0], Heard::Lost(0)));
        fs::remove_dir_all(&dir).unwrap();
    }
}
