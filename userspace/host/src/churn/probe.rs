//! Single flows on which a clock is held: from the packet of a new flow to the datagram on the link to the peer that
//! tells of it.

use super::Cable;
use super::frame::{Life, Shape, Template};
use crate::sys::interface::interface;
use crate::sys::packet::{ETH_P_ALL, PacketSocket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use std::io;
use std::time::{Duration, Instant};

/// Room for what waits on the link while traffic goes on beside the probes.
const BUFFER: i32 = 32 << 20;
/// A datagram of any link.
const FRAME_MAX: usize = 64 << 10;

/// Sends probes and hears the link.
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
        crate::netlink::set_receive_buffer(link.as_fd(), BUFFER as usize)?;
        let frame = vec![0; template.bytes.len()];
        Ok(Self { template, sender, link, frame, heard: vec![0; FRAME_MAX] })
    }

    /// Begins flow number `flow` and waits for the datagram that tells of it; `None` when none came in time.
    ///
    /// # Errors
    /// When a socket fails.
    pub fn time(&mut self, flow: u32, patience: Duration) -> io::Result<Option<Duration>> {
        while self.link.receive(&mut self.heard)?.is_some() {}
        self.template.render(flow.into(), &mut self.frame);
        let client = self.template.client(flow.into()).to_be_bytes();
        let start = Instant::now();
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
                    return Ok(Some(start.elapsed()));
                }
            }
        }
    }
}
