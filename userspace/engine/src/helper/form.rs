//! How addresses and ports are written in payloads, and how they are rewritten.

use alloc::format;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::ops::Range;
use wire::transport::Edit;

/// How an address or a port is written in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The address as text: `10.0.0.1`, `2001:db8::1`.
    Address,
    /// Address and port in a URL: `10.0.0.1:80`, `[2001:db8::1]:80`.
    Endpoint,
    /// The port in decimal digits.
    Port,
    /// `10,0,0,1,19,137`, IPv4 alone.
    Commas,
    /// Four bytes, network order, that hold the port.
    Port32,
    /// A string of XDR, with its length and padding: `10.0.0.1.19.137`.
    Universal,
    /// Two bytes, network order, that hold this length of something in which all other pieces lie.
    Length16(u16),
    /// A length in four bytes.
    Length32(u32),
}

impl Form {
    /// The bytes of an address or a port. `None` if it is a length, or cannot be said of this address.
    fn text(self, outer: IpAddr, port: u16) -> Option<Vec<u8>> {
        let [high, low] = port.to_be_bytes();
        let text = match (self, outer) {
            (Self::Address, outer) => format!("{outer}"),
            (Self::Endpoint, outer) => format!("{}", SocketAddr::new(outer, port)),
            (Self::Port, _) => format!("{port}"),
            (Self::Commas, IpAddr::V4(outer)) => {
                let [a, b, c, d] = outer.octets();
                format!("{a},{b},{c},{d},{high},{low}")
            }
            (Self::Port32, _) => return Some([0, 0, high, low].to_vec()),
            (Self::Universal, outer) => return Some(xdr(&format!("{outer}.{high}.{low}"))),
            (Self::Commas, IpAddr::V6(_)) | (Self::Length16(_) | Self::Length32(_), _) => {
                return None;
            }
        };
        Some(text.into_bytes())
    }

    /// The bytes of a length that grows by `growth`. `None` if it is none, or would be too long.
    fn length(self, growth: i64) -> Option<Vec<u8>> {
        match self {
            Self::Length16(before) => {
                let after = u16::try_from(i64::from(before) + growth).ok()?;
                Some(after.to_be_bytes().to_vec())
            }
            Self::Length32(before) => {
                let after = u32::try_from(i64::from(before) + growth).ok()?;
                Some(after.to_be_bytes().to_vec())
            }
            _ => None,
        }
    }
}

/// A string as XDR has it (RFC 4506, 4.11): its length, its bytes, zeros up to a multiple of four.
fn xdr(text: &str) -> Vec<u8> {
    let mut out = (text.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(text.as_bytes());
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// A piece of the payload that names the announced flow, or depends on the length of those that do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where in the payload.
    pub range: Range<usize>,
    /// How it is written.
    pub form: Form,
}

/// The edits that make all pieces say `outer` and `port`. None at all if a length would be too long for its bytes.
pub(super) fn edits(pieces: &[Piece], outer: IpAddr, port: u16) -> Vec<Edit> {
    let (lengths, texts): (Vec<_>, Vec<_>) =
        pieces.iter().partition(|piece| piece.form.length(0).is_some());
    let edit = |piece: &Piece, bytes| Edit { range: piece.range.clone(), bytes };
    let written = |piece: &Piece| edit(piece, piece.form.text(outer, port).unwrap_or_default());
    let mut edits: Vec<_> = texts.into_iter().map(written).collect();
    let growth: i64 = edits.iter().map(|e| e.bytes.len() as i64 - e.range.len() as i64).sum();
    for piece in lengths {
        let Some(bytes) = piece.form.length(growth) else { return Vec::new() };
        edits.push(edit(piece, bytes));
    }
    edits
}
