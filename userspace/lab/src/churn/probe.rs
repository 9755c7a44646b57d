//! Single flows with a clock: from the packet of a new flow to the datagram about it on the link to the peer.
//!
//! ```text
//!   probe          router                         link
//!   start --packet--> conntrack --> daemon --datagram--> (kernel's stamp: on the link) --> probe wakes: heard
//! ```
//!
//! The kernel's stamp says when the datagram went out. The time when the probe receives it includes the probe's own
//! wake-up, which competes with the peer's for a CPU.

use super::Cable;
use super::frame::{Life, Shape, Template};
use crate::sys::packet::{ETH_P_ALL, PacketSocket};
use host::sys::interface::interface;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use std::io;
use std::time::{Duration, Instant, SystemTime};

/// Room for what waits on the link while traffic goes on beside the probes.
const BUFFER: i32 = 32 << 20;
/// A datagram of any link.
const FRAME_MAX: usize = 64 << 10;

/// How long after its packet the datagram about a flow was on the link, and how long until the probe had read it.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// By the kernel's stamp of the datagram.
    pub on_link: Duration,
    /// By the probe's clock.
    pub heard: Duration,
}

/// Sends probes and listens on the link.
#[derive(Debug)]
pub struct Probe {
    template: Template,
    sender: PacketSocket,
    link: PacketSocket,
    frame: Vec<u8>,
    heard: Vec<u8>,
}

impl Probe {
    /// Prepares probes into `cable`, heard on interface `link` of its router.
    ///
    /// # Errors
    /// When a socket cannot be opened.
    pub fn open(cable: Cable<'_>, link: &str) -> io::Result<Self> {
        let template = Shape::v4(Life::Datagram).templates().remove(0);
        let (sender, name) = cable.sender;
        let sender = sender.within(|| PacketSocket::open(interface(name)?.index, 0))??;
        let link =
            cable.router.0.within(|| PacketSocket::open(interface(link)?.index, ETH_P_ALL))??;
        host::netlink::set_receive_buffer(link.as_fd(), BUFFER as usize)?;
        // From here on the kernel stamps what it hands to the socket.
        let _ = link.last_stamp();
        let frame = vec![0; template.bytes.len()];
        Ok(Self { template, sender, link, frame, heard: vec![0; FRAME_MAX] })
    }

    /// Begins flow number `flow` and waits for the datagram about it; `None` when none came in time.
    ///
    /// # Errors
    /// When a socket fails.
    pub fn time(&mut self, flow: u32, patience: Duration) -> io::Result<Option<Took>> {
        while self.link.receive(&mut self.heard)?.is_some() {}
        self.template.render(flow.into(), &mut self.frame);
        let client = self.template.client(flow.into()).to_be_bytes();
        let (start, wall) = (Instant::now(), SystemTime::now());
        self.sender.send(&self.frame, self.frame.len())?;
        loop {
            let left = patience.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            let wait = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut ready = [PollFd::new(&self.link, PollFlags::IN)];
            match poll(&mut ready, Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            while let Some(len) = self.link.receive(&mut self.heard)? {
                if self.heard[..len].windows(4).any(|bytes| bytes == client) {
                    let heard = start.elapsed();
                    let on_link = self.link.last_stamp()?;
                    let began = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                    return Ok(Some(Took { on_link: on_link.saturating_sub(began), heard }));
                }
            }
        }
    }
}
