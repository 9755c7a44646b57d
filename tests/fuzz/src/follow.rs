//! What a daemon says to `ctflow top`, which believes none of it: control lines, records, and answers about a flow.

use tools::ctflow::feed::{Piece, piece};
use tools::ctflow::top::answer::Answer;
use tools::ctflow::top::follow::heard;
use tools::print::parsed;

/// Limit of flows in the mirror: low, so that short inputs exceed it.
const FLOWS_MAX: usize = 3;

/// The mirror is the same however the bytes are cut into pieces, and keeps its limit; lines that `ctflow top` shows of an
/// answer hold no control characters.
///
/// # Panics
/// When one of these does not hold.
pub fn follow(data: &[u8]) {
    let whole = heard(&[data], FLOWS_MAX).expect("there are sockets");
    assert!(whole.1 <= FLOWS_MAX);
    let (first, second) = data.split_at(data.len() / 2);
    let halves = heard(&[first, second], FLOWS_MAX).expect("there are sockets");
    assert_eq!(whole, halves);
    let _ = parsed::flow(data);
    let mut rest = data;
    while let Ok(Some((found, len))) = piece(rest) {
        if let Piece::Control(value) = found {
            let key = parsed::flow(value["flow"].to_string().as_bytes()).map(|flow| flow.key());
            let answer = Answer::new(key.unwrap_or_default(), &value);
            assert!(!answer.lines.iter().any(|line| line.contains(char::is_control)), "{answer:?}");
        }
        rest = &rest[len..];
    }
}
