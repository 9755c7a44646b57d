//! The stream link: two connections, each used in one direction.
//!
//! ```text
//!        this node                                   peer
//!   any port  outbound --------- ours ---------> listener, Port
//!   Port      listener <-------- theirs -------- outbound, any port
//!                `-> inbound: the latest one accepted
//! ```
//!
//! The outbound connection is kept up all the time, on links that only stand by too, so that a change of link costs
//! no handshake. Attempts are at most one per second. A buffer that was sent in part goes on where it stopped; if the
//! connection breaks within it, the rest is sent again from the start of the message that was cut, because the peer
//! throws away the half it has with the connection.

use super::member::Place;
use super::poller::{Poller, Role, Token};
use super::queue::ErrorQueue;
use super::stream::{Broken, Cutter, boundary};
use super::{Ends, LinkCounters, LinkError, Settings, socket};
use crate::sys;
use common::Instant;
use rustix::net::{RecvFlags, SendFlags};
use socket2::{SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How soon after an attempt to connect the next one may follow.
const ATTEMPT_INTERVAL: Duration = Duration::from_secs(1);
/// How long an attempt may take. The kernel would go on for two minutes, with longer and longer pauses.
const ATTEMPT_TIME: Duration = Duration::from_secs(3);
/// How long the peer may leave what was sent unacknowledged.
const ACKNOWLEDGE_TIME: Duration = Duration::from_secs(10);
/// Connections that may wait to be accepted.
pub(super) const BACKLOG: i32 = 8;
/// Reads of a stream in one turn.
const READS_PER_TURN: usize = 8;
/// Reads of a connection that is replaced: all there is in its buffer, unless it has an enormous one.
const READS_AT_END: usize = 64;

/// The way out.
#[derive(Debug)]
enum Outbound {
    None,
    Connecting(Socket),
    Connected(Socket),
}

/// A connection in, and what has arrived of its next message.
#[derive(Debug)]
struct Inbound {
    socket: Socket,
    from: IpAddr,
    cutter: Cutter,
}

/// What one turn does to a stream link, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Our connection to the peer stands.
    Connected,
    /// Our connection to the peer broke.
    Disconnected,
    /// The peer's connection to us stands.
    Accepted,
    /// The peer's connection to us ended.
    Ended,
    /// The peer's connection carried a message whose length cannot be, and was closed.
    Garbage,
}

/// A stream link.
#[derive(Debug)]
pub(super) struct TcpLink {
    settings: Settings,
    /// Our address, if one is named: the peer takes connections from that alone.
    local: Option<SockAddr>,
    peer: SockAddr,
    /// Number of the link, in tokens.
    at: usize,
    listener: Socket,
    inbound: Option<Inbound>,
    outbound: Outbound,
    /// When the last attempt to connect began.
    attempt: Option<Instant>,
    /// A buffer that was sent in part, and how many bytes of it were.
    unfinished: Vec<u8>,
    sent: usize,
    wants_room: bool,
}

impl TcpLink {
    /// Opens the listener.
    pub(super) fn open(
        settings: &Settings,
        ends: &Ends,
        place: &Place<'_>,
    ) -> Result<Self, LinkError> {
        let Place { poller, at, index, shares } = *place;
        let listen = || {
            let listener = socket::new(ends.local, Type::STREAM)?;
            listener.set_reuse_address(true)?;
            listener.set_keepalive(true)?;
            // Connections that are accepted have these from the listener.
            socket::set_receive_buffer(&listener, settings, Type::STREAM);
            socket::bind(&listener, ends, index, shares)?;
            listener.listen(BACKLOG)?;
            poller.add(&listener, Token { link: at, role: Role::Listener })?;
            Ok(listener)
        };
        let what = || format!("{} port {}", ends.local, ends.port);
        let listener = listen().map_err(|e| LinkError::Socket(what(), e))?;
        Ok(Self {
            settings: settings.clone(),
            local: (!ends.local.is_unspecified())
                .then(|| socket::scoped(ends.local, 0, index).into()),
            peer: socket::scoped(ends.peer, ends.port, index).into(),
            at,
            listener,
            inbound: None,
            outbound: Outbound::None,
            attempt: None,
            unfinished: Vec::new(),
            sent: 0,
            wants_room: false,
        })
    }

    /// Whether the peer's connection to us stands, and ours to it.
    pub(super) const fn connected(&self) -> [bool; 2] {
        [self.inbound.is_some(), matches!(self.outbound, Outbound::Connected(_))]
    }

    /// Connects if a connection is missing and the time for an attempt has come.
    pub(super) fn keep_up(&mut self, now: Instant, poller: &Poller) {
        let since = self.attempt.map(|at| now.since(at));
        match self.outbound {
            Outbound::Connecting(_) if since.is_some_and(|t| t >= ATTEMPT_TIME) => {}
            Outbound::None if since.is_none_or(|t| t >= ATTEMPT_INTERVAL) => {}
            _ => return,
        }
        self.attempt = Some(now);
        // An attempt that fails at once is repeated like one that fails later.
        self.outbound = self.connect(poller).map_or(Outbound::None, Outbound::Connecting);
        self.wants_room = true;
    }

    fn connect(&self, poller: &Poller) -> io::Result<Socket> {
        let address = self.peer.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
        let socket = socket::new(address.ip(), Type::STREAM)?;
        socket.set_keepalive(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_user_timeout(Some(ACKNOWLEDGE_TIME))?;
        socket::set_send_buffer(&socket, &self.settings);
        if let Some(local) = &self.local {
            socket.bind(local)?;
        }
        match socket.connect(&self.peer) {
            Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => return Err(e),
            _ => {}
        }
        poller.add(&socket, self.token(Role::Outbound))?;
        poller.want_room(&socket, self.token(Role::Outbound), true)?;
        Ok(socket)
    }

    const fn token(&self, role: Role) -> Token {
        Token { link: self.at, role }
    }

    /// Sends a buffer of whole messages. False when there is no room for it now: the poller then reports when there is.
    /// Without a connection it goes into `queue`.
    pub(super) fn send(
        &mut self,
        bytes: &[u8],
        poller: &Poller,
        queue: &mut ErrorQueue,
        counters: &mut LinkCounters,
    ) -> bool {
        self.flush(true, poller, queue, counters);
        if !self.connected()[1] {
            counters.errors_sent += 1;
            queue.push(bytes.to_vec());
            return true;
        }
        if !self.unfinished.is_empty() || !queue.is_empty() {
            return false;
        }
        match self.write(bytes) {
            Ok(0) => {
                self.want_room(poller, true);
                return false;
            }
            Ok(sent) => self.account(bytes, sent, poller, counters),
            Err(_) => {
                counters.errors_sent += 1;
                self.lose(queue);
                queue.push(bytes.to_vec());
            }
        }
        true
    }

    /// Notes that `sent` bytes of `bytes` are gone, and keeps the rest.
    fn account(&mut self, bytes: &[u8], sent: usize, poller: &Poller, counters: &mut LinkCounters) {
        counters.bytes_sent += sent as u64;
        if sent == bytes.len() {
            counters.packets_sent += 1;
            return;
        }
        self.unfinished = bytes.to_vec();
        self.sent = sent;
        self.want_room(poller, true);
    }

    /// Writes what fits: 0 bytes when nothing does.
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let Outbound::Connected(socket) = &self.outbound else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match rustix::net::send(socket, bytes, flags).map_err(io::Error::from) {
            Err(e) if sys::would_block(&e) => Ok(0),
            other => other,
        }
    }

    /// Sends what is left over: the rest of a buffer, then, on the active link, the queue.
    pub(super) fn flush(
        &mut self,
        active: bool,
        poller: &Poller,
        queue: &mut ErrorQueue,
        counters: &mut LinkCounters,
    ) {
        while self.connected()[1] {
            if self.unfinished.is_empty() {
                let Some(buffer) = active.then(|| queue.pop()).flatten() else { break };
                (self.unfinished, self.sent) = (buffer, 0);
            }
            match self.write(&self.unfinished[self.sent..]) {
                Ok(0) => return self.want_room(poller, true),
                Ok(sent) => {
                    counters.bytes_sent += sent as u64;
                    self.sent += sent;
                }
                Err(_) => {
                    counters.errors_sent += 1;
                    return self.lose(queue);
                }
            }
            if self.sent == self.unfinished.len() {
                counters.packets_sent += 1;
                self.unfinished.clear();
                self.sent = 0;
            }
        }
        self.want_room(poller, false);
    }

    fn want_room(&mut self, poller: &Poller, wanted: bool) {
        if let (Outbound::Connected(socket), true) = (&self.outbound, self.wants_room != wanted) {
            // It is our descriptor and in the poller, so this does not fail.
            let _ = poller.want_room(socket, self.token(Role::Outbound), wanted);
            self.wants_room = wanted;
        }
    }

    /// Gives the connection up. What was begun and is not through comes first on the next one.
    fn lose(&mut self, queue: &mut ErrorQueue) {
        self.outbound = Outbound::None;
        let mut rest = std::mem::take(&mut self.unfinished);
        rest.drain(..boundary(&rest, std::mem::take(&mut self.sent)));
        if !rest.is_empty() {
            queue.put_back(rest);
        }
    }

    /// Breaks the connection off, with what the kernel still holds of it: another link carries on, and old messages
    /// must not come after newer ones.
    pub(super) fn abandon(&mut self, queue: &mut ErrorQueue) {
        if let Outbound::Connected(socket) = &self.outbound {
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
        self.lose(queue);
    }

    /// Handles the outbound connection, which the poller reported.
    pub(super) fn on_outbound(&mut self, writable: bool, queue: &mut ErrorQueue) -> Option<Change> {
        match std::mem::replace(&mut self.outbound, Outbound::None) {
            Outbound::Connecting(socket) => match socket.take_error() {
                Ok(None) if writable => {
                    self.outbound = Outbound::Connected(socket);
                    Some(Change::Connected)
                }
                Ok(None) => {
                    self.outbound = Outbound::Connecting(socket);
                    None
                }
                _ => None,
            },
            Outbound::Connected(socket) => {
                // Nothing comes this way but its end.
                match rustix::net::recv(&socket, &mut [0_u8; 4096], RecvFlags::DONTWAIT) {
                    Ok((_, 0)) => {}
                    Err(e) if !sys::would_block(&e.into()) => {}
                    _ => {
                        self.outbound = Outbound::Connected(socket);
                        return None;
                    }
                }
                self.lose(queue);
                Some(Change::Disconnected)
            }
            Outbound::None => None,
        }
    }

    /// Accepts a connection that waits, and whose it is.
    pub(super) fn accept(&self) -> Option<(Socket, SocketAddr)> {
        let (socket, from) = self.listener.accept().ok()?;
        Some((socket, from.as_socket()?))
    }

    /// Takes a connection of the peer that some link has accepted; the latest one is the one that counts. What the one
    /// before it has sent is still taken.
    pub(super) fn adopt(
        &mut self,
        (socket, from): (Socket, IpAddr),
        poller: &Poller,
        counters: &mut LinkCounters,
        sink: &mut dyn FnMut(IpAddr, &[u8]),
    ) -> Option<Change> {
        let watched = socket
            .set_nonblocking(true)
            .and_then(|()| poller.add(&socket, self.token(Role::Inbound)));
        watched.ok()?;
        self.read(READS_AT_END, counters, sink);
        self.inbound = Some(Inbound { socket, from, cutter: Cutter::new() });
        Some(Change::Accepted)
    }

    /// Takes what has arrived.
    pub(super) fn on_inbound(
        &mut self,
        counters: &mut LinkCounters,
        sink: &mut dyn FnMut(IpAddr, &[u8]),
    ) -> Option<Change> {
        self.read(READS_PER_TURN, counters, sink)
    }

    fn read(
        &mut self,
        reads: usize,
        counters: &mut LinkCounters,
        sink: &mut dyn FnMut(IpAddr, &[u8]),
    ) -> Option<Change> {
        let inbound = self.inbound.as_mut()?;
        for _ in 0..reads {
            let room = inbound.cutter.room();
            let len = match rustix::net::recv(&inbound.socket, room, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return self.end(Change::Ended),
                Ok((_, len)) => len,
                Err(e) if sys::would_block(&e.into()) => return None,
                Err(_) => {
                    counters.errors_received += 1;
                    return self.end(Change::Ended);
                }
            };
            counters.bytes_received += len as u64;
            counters.packets_received += 1;
            let from = inbound.from;
            if inbound.cutter.cut(len, &mut |bytes| sink(from, bytes)) == Err(Broken) {
                return self.end(Change::Garbage);
            }
        }
        None
    }

    fn end(&mut self, change: Change) -> Option<Change> {
        self.inbound = None;
        Some(change)
    }
}
