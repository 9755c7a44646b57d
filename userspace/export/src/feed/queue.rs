//! What waits for a client: a queue with a limit in bytes, and chunks that clients share.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use tokio::sync::Notify;
use wire::feed::Lost;

/// Records of one shard, encoded, and what is lost if they are dropped.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    pub(super) shard: u16,
    pub(super) holds: Lost,
    /// Bytes of all chunks that live.
    memory: Rc<Cell<usize>>,
}

impl Chunk {
    pub(super) fn new(
        bytes: Vec<u8>,
        (shard, holds): (u16, Lost),
        memory: &Rc<Cell<usize>>,
    ) -> Self {
        memory.set(memory.get() + bytes.len());
        Self { bytes, shard, holds, memory: Rc::clone(memory) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.memory.set(self.memory.get() - self.bytes.len());
    }
}

/// A piece of what a client reads.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    Chunk(Rc<Chunk>),
    /// A control line, framed as the client wants it.
    Line(Vec<u8>),
    /// The end of the stream.
    End,
}

impl Piece {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Chunk(chunk) => &chunk.bytes,
            Self::Line(bytes) => bytes,
            Self::End => &[],
        }
    }
}

/// What waits for one client.
#[derive(Debug)]
pub(super) struct Queue {
    pieces: RefCell<VecDeque<Piece>>,
    bytes: Cell<usize>,
    /// The hub is woken when fewer bytes wait than before and at most this many.
    low: Cell<usize>,
    filled: Notify,
    hub: Rc<Notify>,
}

impl Queue {
    pub(super) fn new(hub: Rc<Notify>) -> Self {
        Self {
            pieces: RefCell::default(),
            bytes: Cell::new(0),
            low: Cell::new(0),
            filled: Notify::new(),
            hub,
        }
    }

    /// Bytes that wait.
    pub(super) const fn len(&self) -> usize {
        self.bytes.get()
    }

    /// Wakes the hub when so few bytes are left.
    pub(super) fn wake_at(&self, low: usize) {
        self.low.set(low);
    }

    pub(super) fn push(&self, piece: Piece) {
        self.bytes.set(self.bytes.get() + piece.bytes().len());
        self.pieces.borrow_mut().push_back(piece);
        self.filled.notify_one();
    }

    /// The next piece, which counts until it is [`Queue::written`].
    pub(super) async fn next(&self) -> Piece {
        loop {
            let next = self.pieces.borrow_mut().pop_front();
            match next {
                Some(piece) => return piece,
                None => self.filled.notified().await,
            }
        }
    }

    /// So many bytes have been written.
    pub(super) fn written(&self, len: usize) {
        let before = self.bytes.get();
        self.bytes.set(before - len);
        if before > self.low.get() && before - len <= self.low.get() {
            self.hub.notify_one();
        }
    }
}
