//! Whether full datagrams reach the peer whole: a question to its kernel that needs no program there.
//!
//! A datagram that may not be fragmented goes to a port where no one listens (discard, RFC 863), and the peer's
//! kernel refuses it: ICMP "port unreachable" shows that it came in whole. A large datagram that a switch without
//! jumbo frames drops has no answer, while a small one has.
//!
//! ```text
//!  small --> refused       it answers        small --> nothing     it does not: nothing is known
//!  full  --> refused       passes            full  --> EMSGSIZE    too large, the path takes `mtu`
//!  full  --> nothing, and small --> refused once more              vanishes
//! ```

use super::{Ends, socket};
use crate::sys;
use crate::sys::interface::interface;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd as _;
use rustix::time::Timespec;
use socket2::{Socket, Type};
use std::io;

/// The discard service, which hardly any machine has.
const PORT: u16 = 9;
/// How long an answer may take: a cable between two nodes takes far less, a loaded peer may take more.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 700_000_000 };
/// Datagrams of each size before silence is believed. A kernel answers six in a burst, then one a second.
const TRIES: usize = 2;
/// IP and UDP headers.
const HEADERS_V4: usize = 28;
const HEADERS_V6: usize = 48;

/// What became of full datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Full datagrams reach the peer.
    Passes,
    /// The path takes packets of `mtu` bytes at most.
    TooLarge {
        /// Bytes of the largest packet, as the kernel has learnt.
        mtu: usize,
    },
    /// Small ones reach the peer, full ones do not, and no ICMP message reports it.
    Vanishes,
    /// The peer does not answer small ones either: a packet filter, or no peer.
    Silent,
}

/// Sends a few datagrams as large as the interface takes to the peer's discard port. Nothing stays behind on either
/// side, except that the kernel may learn the path's MTU.
///
/// # Errors
/// As `socket(2)`, `bind(2)`, `connect(2)`; `ENODEV` without the interface.
pub fn try_path(ends: &Ends, name: &str) -> io::Result<Path> {
    let interface = interface(name)?;
    let socket = socket::new(ends.local, Type::DGRAM)?;
    let (level, discover, mtu, headers) = match ends.peer.is_ipv6() {
        true => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_MTU, HEADERS_V6),
        false => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_MTU, HEADERS_V4),
    };
    // IPV6_PMTUDISC_DO has the same number.
    sys::set_option(socket.as_fd(), level, discover, libc::IP_PMTUDISC_DO)?;
    socket.bind(&socket::scoped(ends.local, 0, interface.index).into())?;
    socket.connect(&socket::scoped(ends.peer, PORT, interface.index).into())?;
    let full = interface.mtu.saturating_sub(headers);
    if !is_refused(&socket, 1)? {
        return Ok(Path::Silent);
    }
    match is_refused(&socket, full) {
        Ok(true) => Ok(Path::Passes),
        Ok(false) => Ok(if is_refused(&socket, 1)? { Path::Vanishes } else { Path::Silent }),
        Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
            let mtu = sys::option(socket.as_fd(), level, mtu)?;
            Ok(Path::TooLarge { mtu: usize::try_from(mtu).unwrap_or(0) })
        }
        Err(error) => Err(error),
    }
}

/// Whether the peer's kernel refuses a datagram of so many bytes, which means that it has it.
fn is_refused(socket: &Socket, bytes: usize) -> io::Result<bool> {
    let payload = vec![0; bytes];
    for _ in 0..TRIES {
        let sent = socket.send(&payload).map(drop);
        let error = sent.and_then(|()| {
            let _ = poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&PATIENCE));
            socket.take_error().map(|error| error.map_or(Ok(()), Err))?
        });
        match error {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(true),
            // The next hop does not know where the peer is: no host answers there.
            Err(error) if error.raw_os_error() == Some(libc::EHOSTUNREACH) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
