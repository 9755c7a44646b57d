//! Makes flows for measurements: packets that a router forwards, as fast as one CPU can, and entries by request.
//!
//! ```text
//!   namespace "sender"                  namespace "router": conntrack, forwarding, the daemon under test
//!   gen0 --------------- veth --------- rtr0  -->  sink
//!     ^ AF_PACKET, one sendmmsg a          ^ XDP: the kernel runs our program over frames of its own and
//!       window                               receives them on rtr0 (kernel 5.18; about twice as fast)
//! ```
//!
//! Both directions of a flow arrive on `rtr0`: conntrack does not look at interfaces.

pub mod frame;
pub mod probe;
pub mod program;
pub mod table;

use crate::place::Namespace;
use crate::sys::packet::PacketSocket;
use crate::sys::process::{sleep_exactly, thread_cpu_ns};
use crate::sys::xdp;
use frame::{Shape, Template};
use host::sys::interface::interface;
use program::Range;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use std::io;
use std::time::{Duration, Instant};

/// Flows in a window when many come at once.
pub const WINDOW: u32 = 64;
/// Frames per system call of the XDP generator: each call costs it tens of milliseconds before the first frame.
const CHUNK: u64 = 1 << 24;
/// How many pieces a paced second is cut into, as far as windows allow.
const PIECES_PER_S: f64 = 1000.0;

/// How frames come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// From inside the kernel; not fit for pacing, because it takes long to begin.
    Xdp,
    /// Through a packet socket.
    Packet,
}

impl Method {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "XDP live frames",
            Self::Packet => "AF_PACKET, sendmmsg",
        }
    }
}

/// The stage: both ends of the cable, by namespace and interface.
#[derive(Clone, Copy, Debug)]
pub struct Cable<'a> {
    /// Where frames are sent from.
    pub sender: (&'a Namespace, &'a str),
    /// Where they arrive and are forwarded.
    pub router: (&'a Namespace, &'a str),
}

/// What a run of a generator did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Run {
    /// How many flows.
    pub flows: u64,
    /// Packets of all flows.
    pub packets: u64,
    /// How long it took, seconds.
    pub wall_s: f64,
    /// CPU time of the sending thread, seconds; the router's work is in it.
    pub cpu_s: f64,
}

/// Makes packets of flows.
#[derive(Debug)]
pub struct Generator<'a> {
    cable: Cable<'a>,
    templates: Vec<Template>,
    range: Range,
    /// Windows sent so far.
    position: u64,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Xdp { program: OwnedFd, index: u32, _counter: OwnedFd, _attached: Option<OwnedFd> },
    Packet { socket: PacketSocket, frames: Vec<u8> },
}

impl<'a> Generator<'a> {
    /// Prepares one.
    ///
    /// # Errors
    /// When the kernel refuses; for [`Method::Xdp`] every kernel before 5.18 does.
    pub fn open(method: Method, shape: Shape, cable: Cable<'a>, range: Range) -> io::Result<Self> {
        let templates = shape.templates();
        let way = match method {
            Method::Xdp => {
                cable.router.0.within(|| xdp_way(&templates, cable.router.1, range))??
            }
            Method::Packet => {
                let socket = cable
                    .sender
                    .0
                    .within(|| PacketSocket::open(interface(cable.sender.1)?.index, 0))??;
                let frames = vec![0; templates[0].bytes.len() * range.window as usize];
                Way::Packet { socket, frames }
            }
        };
        Ok(Self { cable, templates, range, position: 0, way })
    }

    /// The best method that works here.
    ///
    /// # Errors
    /// When none does.
    pub fn best(cable: Cable<'_>) -> io::Result<Method> {
        let shape = Shape::v4(frame::Life::Datagram);
        let range = Range { base: 0x00ff_ff00, ..Range::ALL };
        let xdp = Generator::open(Method::Xdp, shape, cable, range);
        if xdp.and_then(|mut generator| generator.run(WINDOW.into(), None)).is_ok() {
            return Ok(Method::Xdp);
        }
        Generator::open(Method::Packet, shape, cable, range).map(|_| Method::Packet)
    }

    /// Sends all packets of the next `flows` flows (rounded up to whole windows), `rate` of them per second if given.
    ///
    /// # Errors
    /// When the kernel does not take them.
    pub fn run(&mut self, flows: u64, rate: Option<f64>) -> io::Result<Run> {
        let window = u64::from(self.range.window);
        let windows = flows.div_ceil(window);
        let steps = self.templates.len() as u64;
        sleep_exactly();
        let (start, cpu) = (Instant::now(), thread_cpu_ns());
        let most = CHUNK / window / steps;
        let largest =
            rate.map_or(most, |rate| ((rate / PIECES_PER_S / window as f64) as u64).clamp(1, most));
        let mut done = 0;
        let router = self.cable.router.0;
        router.within(|| {
            while done < windows {
                let piece = largest.min(windows - done);
                self.send(piece)?;
                done += piece;
                if let Some(rate) = rate {
                    sleep_until(start + Duration::from_secs_f64((done * window) as f64 / rate));
                }
            }
            Ok::<(), io::Error>(())
        })??;
        Ok(Run {
            flows: windows * window,
            packets: windows * window * steps,
            wall_s: start.elapsed().as_secs_f64(),
            cpu_s: (thread_cpu_ns() - cpu) as f64 / 1e9,
        })
    }

    /// All steps of some windows.
    fn send(&mut self, windows: u64) -> io::Result<()> {
        let steps = self.templates.len() as u64;
        match &mut self.way {
            Way::Xdp { program, index, .. } => {
                let count = windows as u32 * self.range.window * steps as u32;
                let frame = &self.templates[0].bytes;
                xdp::run_live(program.as_fd(), frame, *index, count, self.range.window)?;
            }
            Way::Packet { socket, frames } => {
                for window in self.position..self.position + windows {
                    for template in &self.templates {
                        send_window(socket, frames, template, window, self.range)?;
                    }
                }
            }
        }
        self.position += windows;
        Ok(())
    }
}

fn xdp_way(templates: &[Template], name: &str, range: Range) -> io::Result<Way> {
    let index = interface(name)?.index;
    let counter = xdp::counter()?;
    let program = xdp::load(&program::assemble(templates, counter.as_raw_fd(), range))?;
    // A veth has queues that frames can come from only while a program is attached. Another generator may have done
    // that already.
    let attached = xdp::attach(xdp::load(&program::pass())?.as_fd(), index).ok();
    Ok(Way::Xdp { program, index, _counter: counter, _attached: attached })
}

fn send_window(
    socket: &PacketSocket,
    frames: &mut [u8],
    template: &Template,
    window: u64,
    range: Range,
) -> io::Result<()> {
    let len = template.bytes.len();
    for (at, frame) in frames.chunks_exact_mut(len).enumerate() {
        let flow = window * u64::from(range.window) + at as u64;
        let flow = range.flows.map_or(flow, |flows| flow & u64::from(flows - 1));
        template.render(flow + u64::from(range.base), frame);
    }
    let mut sent = 0;
    while sent < range.window as usize {
        match socket.send(&frames[sent * len..], len) {
            Ok(count) => sent += count,
            // The other end's queue is full: let it work.
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => std::thread::yield_now(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Sleeps until then; not at all when it is past.
pub fn sleep_until(then: Instant) {
    let left = then.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        std::thread::sleep(left);
    }
}
