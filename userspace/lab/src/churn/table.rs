//! Flows written into the kernel's table by request, without packets: the fastest way to fill and to empty it.

use ctnetlink::flow::{Known, ProtoState, Status, TcpState, tcp};
use ctnetlink::request::{self, IfExists, Selection};
use ctnetlink::{Flow, Tuple, Writer};
use host::exchange::writes::{WriteOutcome, Writes};
use std::io;

/// A socket for requests; it belongs to the namespace that the thread was in when it was opened.
#[derive(Debug)]
pub struct Requests {
    writes: Writes<()>,
}

impl Requests {
    /// Opens it.
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`.
    pub fn open() -> io::Result<Self> {
        Ok(Self { writes: Writes::open()? })
    }

    /// Creates established TCP connections, `count` of them from number `base` on.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn fill(&mut self, base: u32, count: u32) -> io::Result<()> {
        self.fill_zone(base, count, 0)
    }

    /// Fills the table with flows in a conntrack zone.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn fill_zone(&mut self, base: u32, count: u32, zone: u16) -> io::Result<()> {
        for n in 0..count {
            let flow = Flow { zone, ..established(base.wrapping_add(n)) };
            let request = |w: &mut Writer<'_>, ticket, (): &()| {
                request::create(w, ticket, &flow, IfExists::Fail);
            };
            self.writes.push((), request, accepted)?;
        }
        self.writes.flush(accepted)
    }

    /// Deletes all flows with one request.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn flush(&mut self) -> io::Result<()> {
        let all = Selection::default();
        self.writes.push((), |w, ticket, ()| request::flush(w, ticket, &all), accepted)?;
        self.writes.flush(accepted)
    }
}

/// What the kernel refuses is an error.
fn accepted((): (), came: WriteOutcome<'_>) -> io::Result<()> {
    match came.errno {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// The `n`-th of many TCP connections.
fn established(n: u32) -> Flow {
    let [_, a, b, c] = n.to_be_bytes();
    let orig = Tuple::v4([10, a, b, c], [172, 16, 0, 1], ctnetlink::tuple::ipproto::TCP);
    let mut flow = Flow::new(orig.with_ports(40_000, 443));
    flow.reply = flow.orig.inverted();
    flow.timeout_s = 3000;
    flow.status = Status::CONFIRMED | Status::SEEN_REPLY | Status::ASSURED;
    flow.known |= Known::TIMEOUT | Known::STATUS;
    flow.proto = ProtoState::Tcp(TcpState { state: tcp::ESTABLISHED, ..TcpState::default() });
    flow
}
