//! The rendezvous port: free when it is chosen, and kept from others until the rank that needs it listens on it.
//!
//! A socket that is bound and does not listen keeps the kernel from giving the port to anybody who asks for any port, while a
//! program that asks for this very one, with SO_REUSEADDR as servers do (PyTorch's store among them), still gets it (socket(7)).
//! Pitfall: a server that does not set SO_REUSEADDR can't take a port that is held so.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::errno::Errno;

/// A port that nobody gets by chance.
#[derive(Debug)]
pub(super) struct HeldPort {
    _socket: OwnedFd,
    number: u16,
}

impl HeldPort {
    /// Takes a port: this one, or a free one.
    ///
    /// # Errors
    /// Words: the port is somebody's, or no socket can be made.
    pub(super) fn hold(wanted: Option<u16>) -> Result<HeldPort, String> {
        let held = hold(libc::AF_INET6, wanted).or_else(|error| match error.raw_os_error() {
            Some(libc::EADDRINUSE | libc::EACCES) => Err(error),
            // Without IPv6.
            _ => hold(libc::AF_INET, wanted),
        });
        held.map_err(|error| match wanted {
            Some(port) => format!(
                "the rendezvous port {port} can't be used: {error}; leave `port` out and a free one is taken"
            ),
            None => format!("no free port for the rendezvous: {error}"),
        })
    }

    pub(super) const fn number(&self) -> u16 {
        self.number
    }
}

fn hold(family: i32, wanted: Option<u16>) -> io::Result<HeldPort> {
    // SAFETY: socket(2) takes integers.
    let number =
        Errno::result(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor was just made and is nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    let set = |level, option, value: i32| {
        // SAFETY: the pointer is to a live local of the length that is told.
        Errno::result(unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                option,
                (&raw const value).cast(),
                size_of::<i32>() as libc::socklen_t,
            )
        })
    };
    set(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    let port = wanted.unwrap_or(0).to_be();
    let bound = if family == libc::AF_INET6 {
        set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0)?;
        // SAFETY: plain integers, all zeroes is a value of it: the address "any".
        let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
        address.sin6_family = libc::AF_INET6 as libc::sa_family_t;
        address.sin6_port = port;
        bind(&socket, &address)?
    } else {
        // SAFETY: as above.
        let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
        address.sin_family = libc::AF_INET as libc::sa_family_t;
        address.sin_port = port;
        bind(&socket, &address)?
    };
    if wanted.is_some() && is_listened_on(bound) {
        return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
    }
    Ok(HeldPort {
        _socket: socket,
        number: bound,
    })
}

/// Binds, and says to which port. Both kinds of addresses have the port at the same place.
fn bind<A>(socket: &OwnedFd, address: &A) -> io::Result<u16> {
    let mut length = size_of::<A>() as libc::socklen_t;
    // SAFETY: the pointer is to a live address of the length that is told.
    Errno::result(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            std::ptr::from_ref(address).cast(),
            length,
        )
    })?;
    // SAFETY: plain integers, all zeroes is a value of it.
    let mut bound: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: both pointers are to live locals; the length is that of the first.
    Errno::result(unsafe {
        libc::getsockname(socket.as_raw_fd(), (&raw mut bound).cast(), &raw mut length)
    })?;
    // SAFETY: large enough and aligned for either kind; the port lies at the same place in both.
    let bound = unsafe { &*(&raw const bound).cast::<libc::sockaddr_in>() };
    Ok(u16::from_be(bound.sin_port))
}

/// Somebody on this machine listens there already.
fn is_listened_on(port: u16) -> bool {
    TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok()
}

/// The lines say that this port was somebody else's when a rank wanted to listen on it.
pub(super) fn is_named_as_taken(lines: &[String], port: u16) -> bool {
    let number = port.to_string();
    let taken = |line: &String| {
        let line = line.to_ascii_lowercase();
        line.contains("address already in use") || line.contains("eaddrinuse")
    };
    lines.iter().any(taken) && lines.iter().any(|line| line.contains(&number))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_held_port_is_nobodys_by_chance_and_a_servers_by_name() {
        let held = HeldPort::hold(None).unwrap();
        assert_ne!(held.number(), 0);
        // The standard library's listener sets SO_REUSEADDR, as servers do.
        let server = TcpListener::bind(("127.0.0.1", held.number())).unwrap();
        assert_eq!(server.local_addr().unwrap().port(), held.number());
        let error = HeldPort::hold(Some(held.number())).unwrap_err();
        assert!(error.contains("can't be used"), "{error}");
    }

    #[test]
    fn a_taken_port_is_recognised() {
        let lines = |text: &str| vec![text.to_owned()];
        let torch = "[c10d] The server socket has failed to bind to [::]:41234 (errno: 98 - Address already in use).";
        assert!(is_named_as_taken(&lines(torch), 41234));
        assert!(!is_named_as_taken(&lines(torch), 29500));
        assert!(!is_named_as_taken(&lines("port 41234"), 41234));
    }
}
