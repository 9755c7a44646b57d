//! The XDP program that makes the kernel send the frames to itself: every run counts one up, and turns the frame it
//! is given into the next one.
//!
//! ```text
//!  n = counter++     step = n / window % steps     flow = (n / window / steps * window + n % window) & mask + base
//!  frame = template[step]; its client = flow; its checksums; XDP_PASS
//! ```
//!
//! It is assembled here, because it depends on the templates alone: every offset and every sum is a constant, and it
//! works in builds that carry no eBPF object.

use super::frame::{Checksum, Template};

/// Instructions as 64-bit words: `struct bpf_insn` of `include/uapi/linux/bpf.h`.
#[derive(Debug, Default)]
struct Assembler {
    words: Vec<u64>,
}

/// Opcodes (`include/uapi/linux/bpf.h`, `bpf_common.h`).
mod op {
    pub(super) const ADD: u8 = 0x07;
    pub(super) const AND: u8 = 0x57;
    pub(super) const OR: u8 = 0x47;
    pub(super) const XOR: u8 = 0xa7;
    pub(super) const SHIFT_LEFT: u8 = 0x67;
    pub(super) const SHIFT_RIGHT: u8 = 0x77;
    pub(super) const DIVIDE: u8 = 0x37;
    pub(super) const MODULO: u8 = 0x97;
    pub(super) const MOVE: u8 = 0xb7;
    /// The second operand is a register instead of a constant.
    pub(super) const REGISTER: u8 = 0x08;
    pub(super) const TO_BIG_ENDIAN: u8 = 0xdc;
    pub(super) const LOAD_CONSTANT: u8 = 0x18;
    pub(super) const LOAD_32: u8 = 0x61;
    pub(super) const STORE_16: u8 = 0x6b;
    pub(super) const STORE_32: u8 = 0x63;
    pub(super) const STORE_64: u8 = 0x7b;
    pub(super) const STORE_CONSTANT_8: u8 = 0x72;
    pub(super) const ATOMIC_64: u8 = 0xdb;
    pub(super) const JUMP_UNLESS_GREATER: u8 = 0xbd;
    pub(super) const JUMP_IF_DIFFERENT: u8 = 0x55;
    pub(super) const EXIT: u8 = 0x95;
}

/// The value behind a map's descriptor (`BPF_PSEUDO_MAP_VALUE`).
const MAP_VALUE: u8 = 2;
/// `BPF_ADD | BPF_FETCH`.
const FETCH_ADD: i32 = 1;
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;

// What the registers hold.
const VERDICT: u8 = 0;
const SCRATCH: u8 = 1;
const COUNT: u8 = 2;
const FLOW: u8 = 3;
const SUM: u8 = 4;
const STEP: u8 = 5;
const FRAME: u8 = 6;
const END: u8 = 7;
const COUNTER: u8 = 9;

/// The range of flows that a program goes through, and how.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// How many flows take a step one after the other, before all of them take the next: a power of two. A flow's SYN
    /// must have left the router before its SYN/ACK arrives, and the kernel receives up to 64 frames at once.
    pub window: u32,
    /// The number of the first.
    pub base: u32,
    /// How many there are before it begins again, a power of two; `None` is no end.
    pub flows: Option<u32>,
}

impl Range {
    /// Flow after flow from number 0 on, many at a time.
    pub const ALL: Self = Self { window: super::WINDOW, base: 0, flows: None };
}

/// The program for these steps, whose templates are of one length, with the map of its counter.
#[must_use]
pub fn assemble(templates: &[Template], counter_fd: i32, range: Range) -> Vec<u64> {
    let len = templates[0].bytes.len();
    let mut a = Assembler::default();
    a.put(op::LOAD_32, FRAME, SCRATCH, 0, 0);
    a.put(op::LOAD_32, END, SCRATCH, 4, 0);
    a.copy(SCRATCH, FRAME);
    a.constant(op::ADD, SCRATCH, len as i32);
    a.put(op::JUMP_UNLESS_GREATER, SCRATCH, END, 2, 0);
    a.constant(op::MOVE, VERDICT, XDP_DROP);
    a.put(op::EXIT, 0, 0, 0, 0);
    a.load(COUNTER, MAP_VALUE, u64::from(counter_fd.cast_unsigned()));
    a.constant(op::MOVE, COUNT, 1);
    a.put(op::ATOMIC_64, COUNTER, COUNT, 0, FETCH_ADD);
    number(&mut a, templates, range);
    for (step, template) in templates.iter().enumerate() {
        let mut block = Assembler::default();
        write(&mut block, template);
        if step + 1 < templates.len() {
            a.put(op::JUMP_IF_DIFFERENT, STEP, 0, block.words.len() as i16, step as i32);
        }
        a.words.append(&mut block.words);
    }
    a.words
}

/// A program that lets everything pass.
#[must_use]
pub fn pass() -> Vec<u64> {
    let mut a = Assembler::default();
    a.constant(op::MOVE, VERDICT, XDP_PASS);
    a.put(op::EXIT, 0, 0, 0, 0);
    a.words
}

/// From the count to step, flow and the flow's part of the sums.
fn number(a: &mut Assembler, templates: &[Template], range: Range) {
    let steps = templates.len() as i32;
    a.copy(FLOW, COUNT);
    a.constant(op::SHIFT_RIGHT, FLOW, range.window.ilog2() as i32);
    a.copy(STEP, FLOW);
    a.constant(op::MODULO, STEP, steps);
    a.constant(op::DIVIDE, FLOW, steps);
    a.constant(op::SHIFT_LEFT, FLOW, range.window.ilog2() as i32);
    a.constant(op::AND, COUNT, range.window as i32 - 1);
    a.put(op::OR | op::REGISTER, FLOW, COUNT, 0, 0);
    if let Some(flows) = range.flows {
        a.constant(op::AND, FLOW, flows as i32 - 1);
    }
    a.load(SCRATCH, 0, range.base.into());
    a.put(op::ADD | op::REGISTER, FLOW, SCRATCH, 0, 0);
    match templates[0].client_high {
        0 => {
            a.constant(op::SHIFT_LEFT, FLOW, 32);
            a.constant(op::SHIFT_RIGHT, FLOW, 32);
        }
        high => {
            a.constant(op::AND, FLOW, 0x00ff_ffff);
            a.constant(op::OR, FLOW, i32::from(high) << 24);
        }
    }
    a.copy(SUM, FLOW);
    a.constant(op::SHIFT_RIGHT, SUM, 16);
    a.copy(SCRATCH, FLOW);
    a.constant(op::AND, SCRATCH, 0xffff);
    a.put(op::ADD | op::REGISTER, SUM, SCRATCH, 0, 0);
}

/// One frame, then the end.
fn write(a: &mut Assembler, template: &Template) {
    let mut at = 0;
    let (words, rest) = template.bytes.as_chunks::<8>();
    for word in words {
        a.load(SCRATCH, 0, u64::from_ne_bytes(*word));
        a.put(op::STORE_64, FRAME, SCRATCH, at, 0);
        at += 8;
    }
    for byte in rest {
        a.put(op::STORE_CONSTANT_8, FRAME, 0, at, i32::from(*byte));
        at += 1;
    }
    a.copy(SCRATCH, FLOW);
    a.put(op::TO_BIG_ENDIAN, SCRATCH, 0, 0, 32);
    a.put(op::STORE_32, FRAME, SCRATCH, template.client_at as i16, 0);
    template.checksums.iter().for_each(|checksum| finish(a, checksum));
    a.constant(op::MOVE, VERDICT, XDP_PASS);
    a.put(op::EXIT, 0, 0, 0, 0);
}

/// A checksum: the constant part and the flow's, folded, the other zero instead of 0.
fn finish(a: &mut Assembler, checksum: &Checksum) {
    a.copy(SCRATCH, SUM);
    a.constant(op::ADD, SCRATCH, checksum.base as i32);
    for _ in 0..2 {
        a.copy(COUNT, SCRATCH);
        a.constant(op::SHIFT_RIGHT, COUNT, 16);
        a.constant(op::AND, SCRATCH, 0xffff);
        a.put(op::ADD | op::REGISTER, SCRATCH, COUNT, 0, 0);
    }
    a.constant(op::XOR, SCRATCH, 0xffff);
    a.put(op::JUMP_IF_DIFFERENT, SCRATCH, 0, 1, 0);
    a.constant(op::MOVE, SCRATCH, 0xffff);
    a.put(op::TO_BIG_ENDIAN, SCRATCH, 0, 0, 16);
    a.put(op::STORE_16, FRAME, SCRATCH, checksum.at as i16, 0);
}

impl Assembler {
    fn put(&mut self, code: u8, destination: u8, source: u8, offset: i16, constant: i32) {
        let registers = u64::from(source << 4 | destination) << 8;
        let offset = u64::from(offset.cast_unsigned()) << 16;
        let constant = u64::from(constant.cast_unsigned()) << 32;
        self.words.push(u64::from(code) | registers | offset | constant);
    }

    /// An operation with a constant.
    fn constant(&mut self, code: u8, register: u8, value: i32) {
        self.put(code, register, 0, 0, value);
    }

    fn copy(&mut self, to: u8, from: u8) {
        self.put(op::MOVE | op::REGISTER, to, from, 0, 0);
    }

    /// A 64-bit constant; `kind` says what it stands for.
    fn load(&mut self, register: u8, kind: u8, value: u64) {
        self.put(op::LOAD_CONSTANT, register, kind, 0, value as u32 as i32);
        self.words.push(value >> 32 << 32);
    }
}
