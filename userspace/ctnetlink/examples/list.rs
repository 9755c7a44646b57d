//! Lists the flows of this network namespace, as `conntrack -L` does. Needs root.
//!
//! ```text
//! cargo run -p ctnetlink --example list
//! ```

use ctnetlink::request::{self, Selection, Source};
use ctnetlink::uapi::flag;
use ctnetlink::{Detail, Message, Messages, Writer};
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io::{self, Write};

/// The kernel fills dump buffers up to 32 KiB when the reader offers that much.
const BUFFER_LEN: usize = 32 * 1024;

fn main() -> io::Result<()> {
    let count = list(&mut io::stdout().lock())?;
    eprintln!("{count} flows");
    Ok(())
}

/// Writes one line per flow; how many there were.
pub(crate) fn list(out: &mut impl Write) -> io::Result<usize> {
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(NETFILTER))?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;

    let mut buffer = vec![0; BUFFER_LEN];
    let mut writer = Writer::new(&mut buffer);
    request::dump(&mut writer, 1, Source::Table, &Selection::default());
    let len = writer.finish().map_err(|_| io::ErrorKind::StorageFull)?;
    rustix::net::send(&socket, &buffer[..len], SendFlags::empty())?;

    let (mut count, mut torn) = (0, false);
    loop {
        let (len, _) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        for raw in Messages::new(&buffer[..len]) {
            let raw = raw.map_err(io::Error::other)?;
            torn |= raw.header.has(flag::DUMP_INTR);
            match ctnetlink::decode(&raw).map_err(io::Error::other)? {
                Message::Flow { flow, .. } => {
                    count += 1;
                    let flow = flow.to_flow(Detail::Full);
                    writeln!(out, "{:?} {} s {:?}", flow.orig, flow.timeout_s, flow.status)?;
                }
                // The end, or what went wrong: a dump that breaks off says so here.
                Message::Done(answer) | Message::Error(answer) if answer.errno != 0 => {
                    return Err(io::Error::from_raw_os_error(answer.errno));
                }
                Message::Done(_) => {
                    if torn {
                        eprintln!(
                            "the table changed meanwhile: some flows may be missing, some be here twice"
                        );
                    }
                    return Ok(count);
                }
                _ => {}
            }
        }
    }
}
