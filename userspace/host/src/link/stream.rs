//! Bytes of a stream become whole messages, and a row of messages becomes shorter rows. Nothing here does I/O.

use wire::sync::v1::Messages;

/// Bytes of the longest message there is, and one more.
const BUFFER_LEN: usize = 1 << 16;
/// Bytes that show what is wrong with a message whose length cannot be: its longest header.
const HEADER_LEN_MAX: usize = wire::sync::v1::RANGE_HEADER_LEN;

/// The stream is beyond repair: where its next message begins is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// What has arrived of a stream and is not a whole message yet. One for each connection, so that two never mix.
#[derive(Debug)]
pub(super) struct Cutter {
    bytes: Vec<u8>,
    filled: usize,
}

impl Cutter {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; BUFFER_LEN], filled: 0 }
    }

    /// Where the next bytes go; never empty after [`Cutter::cut`], because no message fills the whole buffer.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..]
    }

    /// Takes the first `len` bytes of the room as arrived and hands out the whole messages there are, in one piece.
    ///
    /// A message with an impossible length is handed out too, as far as its header goes, so that it is counted.
    pub(super) fn cut(&mut self, len: usize, sink: &mut dyn FnMut(&[u8])) -> Result<(), Broken> {
        self.filled = (self.filled + len).min(self.bytes.len());
        let bytes = &self.bytes[..self.filled];
        let mut walk = Messages::stream(bytes);
        let broken = walk.by_ref().any(|m| m.is_err_and(|fault| fault.kind.ends_walk()));
        let whole = walk.consumed();
        if whole > 0 {
            sink(&bytes[..whole]);
        }
        if broken {
            sink(&bytes[whole..self.filled.min(whole + HEADER_LEN_MAX)]);
            return Err(Broken);
        }
        self.bytes.copy_within(whole..self.filled, 0);
        self.filled -= whole;
        Ok(())
    }
}

/// Where the message begins that byte `at` of a row of messages belongs to. The end of the row is a beginning too.
pub(super) fn boundary(row: &[u8], at: usize) -> usize {
    let mut walk = Messages::datagram(row);
    let mut begin = 0;
    while walk.next().is_some() && walk.consumed() <= at {
        begin = walk.consumed();
    }
    begin
}

/// Bytes of the first message of a row.
pub(super) fn first(row: &[u8]) -> usize {
    let mut walk = Messages::datagram(row);
    match walk.next() {
        Some(_) if walk.consumed() > 0 => walk.consumed(),
        // Not a row of messages: its pieces cannot be separated.
        _ => row.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::Writer;
    use wire::sync::v1::{Control, Stamp, encode_control};

    /// `ALIVE` (8 bytes) and `RESYNC` (16 bytes) in turn.
    fn row(messages: u32) -> Vec<u8> {
        let mut bytes = vec![0; 16 * messages as usize];
        let mut writer = Writer::new(&mut bytes);
        for seq in 0..messages {
            let control = if seq % 2 == 0 { Control::Alive } else { Control::Resync };
            encode_control(control, Stamp { seq, ..Stamp::default() }, &mut writer);
        }
        let len = writer.finish().unwrap();
        bytes.truncate(len);
        bytes
    }

    fn feed(cutter: &mut Cutter, bytes: &[u8], out: &mut Vec<Vec<u8>>) -> Result<(), Broken> {
        cutter.room()[..bytes.len()].copy_from_slice(bytes);
        cutter.cut(bytes.len(), &mut |whole| out.push(whole.to_vec()))
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_whole_messages() {
        let row = row(40);
        for piece in 1..=row.len() {
            let (mut cutter, mut out) = (Cutter::new(), Vec::new());
            for bytes in row.chunks(piece) {
                feed(&mut cutter, bytes, &mut out).unwrap();
            }
            assert_eq!(out.concat(), row, "in pieces of {piece}");
            let whole = |bytes: &Vec<u8>| Messages::datagram(bytes).all(|m| m.is_ok());
            assert!(out.iter().all(whole), "in pieces of {piece}");
        }
    }

    #[test]
    fn a_message_of_the_greatest_length_passes_byte_by_byte() {
        let mut message = vec![0; usize::from(u16::MAX)];
        message[..4].copy_from_slice(&[0x10, 0, 0xff, 0xff]);
        let (mut cutter, mut out) = (Cutter::new(), Vec::new());
        for byte in &message {
            assert!(!cutter.room().is_empty());
            feed(&mut cutter, &[*byte], &mut out).unwrap();
        }
        assert_eq!(out, [message]);
        assert_eq!(cutter.room().len(), BUFFER_LEN);
    }

    #[test]
    fn an_impossible_length_breaks_the_stream_after_what_came_before_it() {
        for bad in [[0x10, 0, 0, 7, 0, 0, 0, 0].as_slice(), &[0x1a, 4, 0, 8, 0, 0, 0, 0, 1, 2, 3]] {
            let mut bytes = row(3);
            bytes.extend(bad);
            let (mut cutter, mut out) = (Cutter::new(), Vec::new());
            assert_eq!(feed(&mut cutter, &bytes, &mut out), Err(Broken));
            assert_eq!(out, [row(3), bad.to_vec()]);
            let faults = Messages::datagram(bad).filter(Result::is_err).count();
            assert_eq!(faults, 1, "the engine counts it once");
        }
    }

    #[test]
    fn a_refused_message_of_a_possible_length_does_not_break_the_stream() {
        let mut bytes = vec![0x90, 0, 0, 8, 0, 0, 0, 0];
        bytes.extend(row(2));
        let (mut cutter, mut out) = (Cutter::new(), Vec::new());
        feed(&mut cutter, &bytes, &mut out).unwrap();
        assert_eq!(out.concat(), bytes);
    }

    #[test]
    fn a_boundary_is_where_the_message_begins() {
        let row = row(3);
        let found: Vec<_> = [0, 7, 8, 23, 24, 31, 32, 99].map(|at| boundary(&row, at)).into();
        assert_eq!(found, [0, 0, 8, 8, 24, 24, 32, 32]);
        assert_eq!(boundary(&[], 0), 0);
    }

    #[test]
    fn the_first_message_of_a_row_has_its_length() {
        assert_eq!(first(&row(3)), 8);
        assert_eq!(first(&row(3)[8..]), 16);
        assert_eq!(first(&[1, 2, 3]), 3);
    }
}
