//! What keeps a stranger from having this node multiply: mac1, mac2, cookies, and how many handshakes a second are
//! worth a multiplication (R5.2, R5.3).
//!
//! A flood with right mac1 costs a MAC each, and the answers are shorter than the requests. A node that returns a
//! cookie has shown that it receives at its address, and is then counted by that address, so a flood from elsewhere
//! takes nothing from it.

use super::keys::{KEY_LEN, PublicKey};
use super::limit::{COOKIE_LIFE, HANDSHAKES_BURST, HANDSHAKES_PER_S, PROVED_BURST, PROVED_PER_S};
use super::message::{COOKIE, COOKIE_LEN, MAC_LEN, MACS_LEN, SALT_LEN, put_head, u32_at};
use super::noise::{CipherKey, TAG_LEN};
use blake2::digest::consts::U16;
use blake2::digest::{Digest as _, KeyInit, Mac as _};
use blake2::{Blake2s256, Blake2sMac};
use common::Instant;
use std::net::{IpAddr, SocketAddr};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, ZeroizeOnDrop};

pub(super) type MacBytes = [u8; MAC_LEN];

/// Writes mac1 into an initiation (200 bytes) or a response (156), so that `receiver` reads the rest of it. Anyone
/// who knows a node's public key can do so; here it is for tests and measurements.
pub fn authenticate(message: &mut [u8], receiver: &PublicKey) {
    MacKey::of(receiver).put(message, None);
}

/// Keys of mac1, by receiver. They follow from the receiver's public key.
#[derive(Clone, Copy, Debug)]
pub(super) struct MacKey([u8; KEY_LEN]);

impl MacKey {
    pub(super) fn of(receiver: &PublicKey) -> Self {
        Self(hash(&[b"ctflow mac1", &receiver.0]))
    }

    /// Writes mac1 of a handshake message, and mac2 if there is a cookie; returns mac1.
    pub(super) fn put(&self, message: &mut [u8], cookie: Option<&MacBytes>) -> MacBytes {
        let at = message.len() - MACS_LEN;
        let mac1 = mac(&self.0, &[&message[..at]]);
        message[at..at + MAC_LEN].copy_from_slice(&mac1);
        let mac2 = cookie.map_or([0; MAC_LEN], |key| mac(key, &[&message[..at + MAC_LEN]]));
        message[at + MAC_LEN..].copy_from_slice(&mac2);
        mac1
    }

    /// Whether mac1 of a handshake message is right.
    pub(super) fn is_right(&self, message: &[u8]) -> bool {
        let (text, macs) = message.split_at(message.len() - MACS_LEN);
        mac(&self.0, &[text]).ct_eq(&macs[..MAC_LEN]).into()
    }
}

/// How often something may happen: so many a second on average, so many at once.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u32,
    /// When there is one more.
    more_at: Instant,
}

impl Bucket {
    const fn full(burst: u32) -> Self {
        Self { left: burst, more_at: Instant(0) }
    }

    fn take(&mut self, now: Instant, per_s: u32, burst: u32) -> bool {
        let every = u64::from(1_000_000_000 / per_s);
        if now >= self.more_at {
            let more = 1 + (now.0 - self.more_at.0) / every;
            self.left = self.left.saturating_add(more.try_into().unwrap_or(u32::MAX)).min(burst);
            self.more_at = Instant(self.more_at.0 + more * every);
        }
        let some = self.left > 0;
        self.left -= u32::from(some);
        some
    }
}

/// What becomes of an initiation with right mac1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The initiation is worth the multiplications.
    Read,
    /// A cookie is the answer.
    Cookie,
    /// The initiation had a cookie, and there were too many from its address.
    Drop,
}

/// Addresses with cookies are counted in so many buckets.
const PROVED_BUCKETS: usize = 64;

/// The gate in front of the multiplications.
pub(super) struct Gate {
    anybody: Bucket,
    responses: Bucket,
    proved: [Bucket; PROVED_BUCKETS],
    secrets: Secrets,
    /// When the secret changes.
    change_at: Instant,
    salt: [u8; SALT_LEN],
    salts: u64,
}

/// Cookies are made with the first; the second is the one before.
#[derive(ZeroizeOnDrop)]
struct Secrets([[u8; KEY_LEN]; 2]);

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            anybody: Bucket::full(HANDSHAKES_BURST),
            responses: Bucket::full(HANDSHAKES_BURST),
            proved: [Bucket::full(PROVED_BURST); PROVED_BUCKETS],
            secrets: Secrets([[0; KEY_LEN]; 2]),
            change_at: Instant(0),
            salt: [0; SALT_LEN],
            salts: 0,
        }
    }

    /// Whether a response may be read now.
    pub(super) fn admit_response(&mut self, now: Instant) -> bool {
        self.responses.take(now, HANDSHAKES_PER_S, HANDSHAKES_BURST)
    }

    /// Looks at an initiation whose mac1 is right.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &[u8],
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Verdict {
        if self.anybody.take(now, HANDSHAKES_PER_S, HANDSHAKES_BURST) {
            return Verdict::Read;
        }
        self.renew(now, random);
        let (text, mac2) = message.split_at(message.len() - MAC_LEN);
        let right = |secret| mac(&cookie(secret, from), &[text]).ct_eq(mac2).into();
        // Zeros are what an initiation has that knows no cookie.
        if mac2 == [0; MAC_LEN] || !self.secrets.0.iter().any(right) {
            return Verdict::Cookie;
        }
        let place = mac(&self.secrets.0[0], &[b"place", &network(from.ip())])[0];
        let bucket = &mut self.proved[usize::from(place) % PROVED_BUCKETS];
        if bucket.take(now, PROVED_PER_S, PROVED_BURST) { Verdict::Read } else { Verdict::Drop }
    }

    /// The cookie that answers an initiation to `own`.
    pub(super) fn answer(
        &mut self,
        from: SocketAddr,
        own: &PublicKey,
        message: &[u8],
    ) -> [u8; COOKIE_LEN] {
        let mut out = [0; COOKIE_LEN];
        put_head(&mut out, COOKIE, &[u32_at(message, 4)]);
        // One salt, one key: what makes it new each time is the count.
        self.salts += 1;
        self.salt[SALT_LEN - 8..].copy_from_slice(&self.salts.to_be_bytes());
        out[8..8 + SALT_LEN].copy_from_slice(&self.salt);
        let (text, tag) = out[8 + SALT_LEN..].split_at_mut(MAC_LEN);
        text.copy_from_slice(&cookie(&self.secrets.0[0], from));
        let sealed = seal_key(own, &self.salt).seal(0, mac1(message), text);
        tag.copy_from_slice(&sealed);
        out
    }

    fn renew(&mut self, now: Instant, random: &mut dyn FnMut(&mut [u8])) {
        if now < self.change_at {
            return;
        }
        let [present, before] = &mut self.secrets.0;
        before.copy_from_slice(present);
        random(present);
        if self.change_at == Instant(0) || now.since(self.change_at) >= COOKIE_LIFE {
            random(before);
        }
        random(&mut self.salt);
        self.change_at = now + COOKIE_LIFE;
    }
}

/// Reads the cookie that answered a message of ours to `receiver`, whose mac1 was `mac1`.
pub(super) fn open(message: &[u8], receiver: &PublicKey, mac1: &MacBytes) -> Option<MacBytes> {
    let salt = message.get(8..8 + SALT_LEN)?.try_into().ok()?;
    let mut sealed: [u8; MAC_LEN + TAG_LEN] = message.get(8 + SALT_LEN..)?.try_into().ok()?;
    seal_key(receiver, salt).open(0, mac1, &mut sealed).ok()?;
    let cookie = sealed.first_chunk::<MAC_LEN>().copied();
    sealed.zeroize();
    cookie
}

fn mac1(message: &[u8]) -> &[u8] {
    &message[message.len() - MACS_LEN..message.len() - MAC_LEN]
}

fn seal_key(node: &PublicKey, salt: &[u8; SALT_LEN]) -> CipherKey {
    CipherKey::new(&hash(&[b"ctflow cookie", &node.0, salt]))
}

fn cookie(secret: &[u8; KEY_LEN], from: SocketAddr) -> MacBytes {
    match from.ip() {
        IpAddr::V4(ip) => mac(secret, &[&ip.octets(), &from.port().to_be_bytes()]),
        IpAddr::V6(ip) => mac(secret, &[&ip.octets(), &from.port().to_be_bytes()]),
    }
}

/// Addresses that one host easily has, as one: all ports, and a whole /64.
fn network(ip: IpAddr) -> [u8; 8] {
    let mut network = [0; 8];
    match ip {
        IpAddr::V4(ip) => network[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => network.copy_from_slice(&ip.octets()[..8]),
    }
    network
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Blake2s256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

fn mac(key: &[u8], parts: &[&[u8]]) -> MacBytes {
    let mut mac =
        <Blake2sMac<U16> as KeyInit>::new_from_slice(key).expect("a key is at most 32 bytes");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
#[path = "tests/cookie.rs"]
mod tests;
