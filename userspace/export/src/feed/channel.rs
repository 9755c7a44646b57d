//! Clients that want the same: a record is filtered and encoded once for all of them.

use super::queue::Chunk;
use super::request::{Format, Subscription};
use super::{Product, lines};
use ctnetlink::Flow;
use engine::Side;
use engine::query::{Program, Read};
use std::cell::Cell;
use std::rc::Rc;
use wire::feed::{FRAME_LEN, Flags, Frame, Head, Lost, Op, Record, frame};

/// A chunk that has grown so long is handed out.
const CHUNK_LEN: usize = 16 << 10;

/// What clients of a channel have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) filter: String,
    pub(super) format: Format,
    pub(super) kinds: u8,
    pub(super) side: Side,
}

impl Key {
    pub(super) fn of(wanted: &Subscription) -> Self {
        let Subscription { format, filter, kinds, side, .. } = wanted;
        Self { filter: filter.clone(), format: *format, kinds: *kinds, side: *side }
    }
}

/// Records that are being encoded.
#[derive(Debug, Default)]
struct Open {
    bytes: Vec<u8>,
    shard: u16,
    holds: Lost,
}

/// A filter, an encoding, and what was made with them.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) key: Key,
    program: Program,
    /// How many clients read it.
    pub(super) members: usize,
    open: Open,
    /// Chunks for all members.
    pub(super) ready: Vec<Rc<Chunk>>,
    /// Rows of a snapshot, for the members that wait for them; whether any member does.
    rows: Open,
    pub(super) page: Vec<Rc<Chunk>>,
    pub(super) wants_rows: bool,
    /// All members are losing records: those are counted, and not encoded.
    pub(super) counts_only: bool,
    memory: Rc<Cell<usize>>,
}

/// A record of a lane, and the flow it is about once a filter needs it.
pub(super) struct Heard<'a> {
    pub(super) record: Record<'a>,
    pub(super) flow: &'a mut Option<Flow>,
    pub(super) shard: u16,
    /// Wall clock, nanoseconds since 1970.
    pub(super) now_ns: u64,
}

impl Channel {
    pub(super) fn new(key: Key, program: Program, memory: &Rc<Cell<usize>>) -> Self {
        Self {
            key,
            program,
            members: 0,
            open: Open::default(),
            ready: Vec::new(),
            rows: Open::default(),
            page: Vec::new(),
            wants_rows: false,
            counts_only: false,
            memory: Rc::clone(memory),
        }
    }

    /// Takes a record, if its clients want it.
    pub(super) fn take(&mut self, heard: &mut Heard<'_>, product: &dyn Product) {
        let head = heard.record.head;
        let is_row = head.flags.contains(Flags::ROW);
        let is_wanted = self.key.kinds & (1 << head.op as u8) != 0;
        if !is_wanted || (is_row && !self.wants_rows) || !self.matches(heard) {
            return;
        }
        let (open, done) = if is_row {
            (&mut self.rows, &mut self.page)
        } else {
            (&mut self.open, &mut self.ready)
        };
        if open.shard != heard.shard {
            seal(open, self.key.format, done, &self.memory);
            open.shard = heard.shard;
        }
        open.holds.add(head.op, head.seq);
        if self.counts_only && !is_row {
            return;
        }
        if open.bytes.is_empty() && self.key.format == Format::Binary {
            // The header is written when the length is known.
            open.bytes.extend_from_slice(&[0; FRAME_LEN]);
        }
        encode(&mut open.bytes, self.key.format, heard, product);
        if open.bytes.len() >= CHUNK_LEN {
            seal(open, self.key.format, done, &self.memory);
        }
    }

    /// Closes the chunk that is being filled.
    pub(super) fn seal(&mut self) {
        seal(&mut self.open, self.key.format, &mut self.ready, &self.memory);
    }

    /// Closes the chunk of rows that is being filled; all chunks of the page.
    pub(super) fn take_page(&mut self) -> Vec<Rc<Chunk>> {
        seal(&mut self.rows, self.key.format, &mut self.page, &self.memory);
        self.wants_rows = false;
        std::mem::take(&mut self.page)
    }

    /// Forgets rows of a page that was given up.
    pub(super) fn drop_rows(&mut self) {
        (self.rows, self.page) = (Open::default(), Vec::new());
    }

    fn matches(&self, heard: &mut Heard<'_>) -> bool {
        if self.program.is_everything() || heard.record.head.op == Op::Cleared {
            return true;
        }
        let record = &heard.record;
        let flow = &*heard.flow.get_or_insert_with(|| record.flow());
        self.program.matches(&Read { flow, now_ns: heard.now_ns })
    }
}

fn encode(out: &mut Vec<u8>, format: Format, heard: &mut Heard<'_>, product: &dyn Product) {
    let record = &heard.record;
    let Head { seq, op, time_ns, .. } = record.head;
    match format {
        Format::Binary => {
            let at = out.len();
            out.extend_from_slice(record.bytes);
            out[at + 8..at + 16].copy_from_slice(&time_ns.to_le_bytes());
            out.extend_from_slice(record.tail);
        }
        Format::Json if op == Op::Cleared => {
            out.extend_from_slice(&lines::framed(format, &lines::cleared(heard.shard, seq)));
        }
        Format::Json => {
            let flow = &*heard.flow.get_or_insert_with(|| record.flow());
            product.line(out, record, flow, heard.shard);
        }
    }
}

fn seal(open: &mut Open, format: Format, done: &mut Vec<Rc<Chunk>>, memory: &Rc<Cell<usize>>) {
    if open.holds.is_nothing() {
        return;
    }
    let Open { mut bytes, shard, holds } =
        std::mem::replace(open, Open { shard: open.shard, ..Open::default() });
    if format == Format::Binary && !bytes.is_empty() {
        let len = (bytes.len() - FRAME_LEN) as u32;
        bytes[..FRAME_LEN].copy_from_slice(&frame(Frame::Records, shard, len));
    }
    bytes.shrink_to_fit();
    done.push(Rc::new(Chunk::new(bytes, (shard, holds), memory)));
}
