//! Prints conntrack events of this network namespace as they come, as `conntrack -E` does. Needs root.
//!
//! ```text
//! cargo run -p ctnetlink --example follow [NUMBER OF EVENTS]
//! ```

use ctnetlink::uapi::group;
use ctnetlink::{Change, Message, Messages};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use std::io::{self, Write};

const GROUPS: [u32; 3] = [group::CONNTRACK_NEW, group::CONNTRACK_UPDATE, group::CONNTRACK_DESTROY];

fn main() -> io::Result<()> {
    let most = std::env::args().nth(1).and_then(|number| number.parse().ok());
    follow(&subscribe()?, most.unwrap_or(usize::MAX), &mut io::stdout().lock())
}

/// A socket that events are sent to from now on.
pub(crate) fn subscribe() -> io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(NETFILTER))?;
    let groups = GROUPS.iter().fold(0, |bits, group| bits | 1 << (group - 1));
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// Writes one line per event until there were `most`. Nothing is allocated: views borrow from the datagram.
pub(crate) fn follow(socket: &OwnedFd, most: usize, out: &mut impl Write) -> io::Result<()> {
    let (mut buffer, mut count) = ([0; 8192], 0);
    while count < most {
        let len = match rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((len, _)) => len,
            // The socket's buffer was full and the kernel dropped events: a program that keeps a table must list it
            // again.
            Err(Errno::NOBUFS) => {
                writeln!(out, "events were lost")?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for raw in Messages::new(&buffer[..len]).map_while(Result::ok) {
            // A message that cannot be read is no reason to stop.
            let Ok(Message::Flow { event, flow }) = ctnetlink::decode(&raw) else { continue };
            let word = match event {
                Change::New => "new",
                Change::Update => "update",
                Change::Destroy => "destroy",
            };
            writeln!(out, "{word} {:?} {:?}", flow.orig, flow.proto)?;
            count += 1;
        }
    }
    Ok(())
}
