//! A path between two nodes that is slow, far and loses, because kernels here have no netem: each node sends to its
//! own loopback, and a thread for each direction carries datagrams to the other namespace.
//!
//! ```text
//!   node 0: daemon -> 127.0.0.2:4790 ==queue, rate, loss, delay==> 127.0.0.2:4790 -> daemon, node 1
//! ```

use crate::mesh::{Mesh, PORT};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use socket2::{Domain, Socket, Type};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Where a node finds the path.
const NEAR: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 2), 4_790);
/// Bytes of the heads of Ethernet, IPv4 and UDP, which take their time on the cable.
const HEADS: usize = 42;
/// What a thread reads at most before it sends what is due.
const READ_MAX: usize = 64;
/// How often a thread looks whether it must end.
const LOOK: Duration = Duration::from_millis(50);

/// How a path is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Bits a second.
    pub rate: u64,
    /// From one end to the other.
    pub delay: Duration,
    /// How many of a thousand datagrams it loses.
    pub loses: u32,
    /// Bytes that wait for the rate at most; what comes beyond is lost.
    pub queue: usize,
    /// Bytes of the longest datagram; longer ones are lost.
    pub carries: usize,
}

impl Shape {
    /// 20 Mbit/s, 50 ms from one end to the other and back, a queue of 100 ms, and so many of a thousand lost.
    #[must_use]
    pub const fn wan(loses: u32) -> Self {
        Self {
            rate: 20_000_000,
            delay: Duration::from_millis(25),
            loses,
            queue: 250_000,
            carries: 1_472,
        }
    }
}

/// What a direction did.
#[derive(Debug, Default)]
pub struct Counts {
    /// Bytes that it carried, with the heads.
    pub bytes: AtomicU64,
    /// Datagrams that it carried.
    pub carried: AtomicU64,
    /// Datagrams that it lost at random.
    pub lost: AtomicU64,
    /// Datagrams that found no room in its queue.
    pub full: AtomicU64,
}

/// The path between nodes 0 and 1 of a mesh. It ends with the value.
#[derive(Debug)]
pub struct Wan {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// From node 0 to node 1, and back.
    pub counts: [Arc<Counts>; 2],
}

impl Wan {
    /// Lays it.
    ///
    /// # Panics
    /// When a socket cannot be opened or a thread started.
    #[must_use]
    pub fn lay(mesh: &Mesh, shape: Shape) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let counts: [Arc<Counts>; 2] = Default::default();
        let ends = [0, 1].map(|node| mesh.nodes[node].within(end));
        let threads = (0..2).map(|from| {
            let (from_end, to_end) = (&ends[from], &ends[1 - from]);
            let mut direction = Direction {
                from: from_end.try_clone().expect("a socket has another name"),
                to: to_end.try_clone().expect("a socket has another name"),
                shape,
                random: 0x9e37_79b9_7f4a_7c15 + from as u64,
                free_at: Instant::now(),
                flying: VecDeque::new(),
                counts: Arc::clone(&counts[from]),
            };
            let stop = Arc::clone(&stop);
            thread::spawn(move || direction.run(&stop))
        });
        let threads = threads.collect();
        Self { stop, threads, counts }
    }

    /// The configuration of a node whose peer is behind the path.
    #[must_use]
    pub fn conf(mesh: &Mesh, node: usize) -> String {
        let conf = mesh.conf(node, "", "");
        let direct = format!("Address {}", mesh.address(node, 1 - node));
        crate::conf::swap(&conf, &direct, &format!("Address {}\n   Port {}", NEAR.0, NEAR.1))
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// The end of the path in a namespace.
fn end() -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
    socket.set_recv_buffer_size(8 << 20).expect("a buffer");
    socket.set_nonblocking(true).expect("a socket that does not wait");
    socket.bind(&SocketAddr::from(NEAR).into()).expect("loopback has room");
    socket.into()
}

/// One direction.
struct Direction {
    from: UdpSocket,
    to: UdpSocket,
    shape: Shape,
    random: u64,
    /// When the cable has sent what waits.
    free_at: Instant,
    /// What is on its way, and when it arrives.
    flying: VecDeque<(Instant, Vec<u8>)>,
    counts: Arc<Counts>,
}

impl Direction {
    fn run(&mut self, stop: &AtomicBool) {
        let daemon = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        while !stop.load(Ordering::Relaxed) {
            let next =
                self.flying.front().map_or(LOOK, |(at, _)| at.duration_since(Instant::now()));
            let wait = Timespec { tv_sec: 0, tv_nsec: next.min(LOOK).as_nanos() as i64 };
            let _ = poll(&mut [PollFd::new(&self.from, PollFlags::IN)], Some(&wait));
            self.read();
            while self.flying.front().is_some_and(|(at, _)| *at <= Instant::now()) {
                let (_, bytes) = self.flying.pop_front().expect("there is one");
                // Without a daemon there is no receiver.
                let _ = self.to.send_to(&bytes, daemon);
            }
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; 9_216];
        for _ in 0..READ_MAX {
            match self.from.recv(&mut buffer) {
                Ok(len) => self.take(&buffer[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // What an earlier datagram met.
                Err(_) => {}
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let now = Instant::now();
        let Shape { rate, delay, loses, queue, carries } = self.shape;
        if bytes.len() > carries {
            return;
        }
        let time = |bytes: usize| Duration::from_nanos(bytes as u64 * 8_000_000_000 / rate);
        let begins = self.free_at.max(now);
        if begins.duration_since(now) > time(queue) {
            self.counts.full.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.free_at = begins + time(bytes.len() + HEADS);
        self.counts.bytes.fetch_add((bytes.len() + HEADS) as u64, Ordering::Relaxed);
        if self.draw() % 1_000 < u64::from(loses) {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.counts.carried.fetch_add(1, Ordering::Relaxed);
        self.flying.push_back((self.free_at + delay, bytes.to_vec()));
    }

    /// The next number of xorshift64.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}
