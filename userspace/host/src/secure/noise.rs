//! The handshake `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s`, by the crate `snow`, and the cipher that it ends in.
//!
//! ```text
//!   initiator                                   responder
//!   Initiator::new --- e, es, s, ss, payload ---> Responder::read     who it says it is, and the payload
//!   Initiator::finish <--- e, ee, se, psk, payload --- Responder::finish
//!        Keys (seal, open)                           Keys (seal, open)
//! ```
//!
//! `snow` keeps the order of the steps; the primitives are ours to hand in, so that they are fast (ring) and wiped, and
//! so that the one random thing, the ephemeral key, comes from outside. What `snow` itself keeps of a handshake lies in
//! [`Wiped`] memory. Data goes through ring in place: `snow` would copy it.

use super::keys::{KEY_LEN, PublicKey, Secret};
use crate::sys::Wiped;
use blake2::Blake2s256;
use blake2::digest::Digest as _;
use curve25519_dalek::montgomery::MontgomeryPoint;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, Error, HandshakeState};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const PROTOCOL: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
/// Both ends must begin with it, so that no other protocol's handshake fits.
pub(super) const PROLOGUE: &[u8] = b"ctflow 2";
/// Bytes that sealing adds.
pub const TAG_LEN: usize = 16;
/// Bytes of a handshake message around its payload: initiation, response.
pub(super) const INITIATION_EXTRA: usize = 32 + 32 + TAG_LEN + TAG_LEN;
pub(super) const RESPONSE_EXTRA: usize = 32 + TAG_LEN;
/// Longest handshake message we make.
const MESSAGE_LEN_MAX: usize = 256;

/// A message was not made by the peer that it names, or not for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotGenuine;

impl From<Error> for NotGenuine {
    fn from(_: Error) -> Self {
        Self
    }
}

/// The key of one direction of a session.
pub(super) struct CipherKey(Wiped<LessSafeKey>);

impl CipherKey {
    pub(super) fn new(key: &[u8; KEY_LEN]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("a key of this length is one");
        Self(Wiped::new(LessSafeKey::new(key)))
    }

    /// Seals `text` in place; returns the tag, which belongs behind it. A nonce must not come twice.
    pub(super) fn seal(&self, nonce: u64, associated: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        let tag =
            self.0.seal_in_place_separate_tag(noise_nonce(nonce), Aad::from(associated), text);
        let tag = tag.expect("a datagram is shorter than 256 GiB");
        tag.as_ref().try_into().expect("the tag of Poly1305 has 16 bytes")
    }

    /// Opens in place what [`CipherKey::seal`] made, tag included; the length of the text at its beginning.
    ///
    /// # Errors
    /// When it was not made with this key, nonce and associated data. The bytes are then worth nothing.
    pub(super) fn open(
        &self,
        nonce: u64,
        associated: &[u8],
        sealed: &mut [u8],
    ) -> Result<usize, NotGenuine> {
        let text = self.0.open_in_place(noise_nonce(nonce), Aad::from(associated), sealed);
        text.map(|text| text.len()).map_err(|_| NotGenuine)
    }
}

impl ZeroizeOnDrop for CipherKey {}

impl fmt::Debug for CipherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CipherKey(..)")
    }
}

/// Noise specification, 12.3: 32 bits of zeros, then the number, little-endian.
fn noise_nonce(nonce: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&nonce.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Both directions of a session, as one end uses them.
#[derive(Debug)]
pub(super) struct Pair {
    /// What this node sends is sealed with it.
    pub(super) seal: CipherKey,
    /// What the peer sends is opened with it.
    pub(super) open: CipherKey,
}

/// What an end knows when a handshake begins.
#[derive(Clone, Copy)]
pub(super) struct Own<'a> {
    pub(super) secret: &'a Secret,
    pub(super) preshared: &'a Secret,
    pub(super) prologue: &'a [u8],
}

/// The sender of the first message, until the answer comes.
pub(super) struct Initiator(Wiped<HandshakeState>);

impl Initiator {
    /// Begins with `peer`: writes the first message into `message` and returns its length. `ephemeral` is random.
    pub(super) fn new(
        own: Own<'_>,
        peer: &PublicKey,
        ephemeral: Secret,
        payload: &[u8],
        message: &mut [u8],
    ) -> Result<(Self, usize), NotGenuine> {
        let builder = builder(own, ephemeral)?.remote_public_key(&peer.0)?;
        let mut state = Wiped::new(builder.build_initiator()?);
        let len = state.write_message(payload, message)?;
        Ok((Self(state), len))
    }

    /// Reads the answer. When it is not genuine, the right one may still come.
    pub(super) fn finish(
        &mut self,
        message: &[u8],
        payload: &mut [u8],
    ) -> Result<(Pair, usize), NotGenuine> {
        let len = self.0.read_message(message, payload)?;
        Ok((split(&mut self.0, true), len))
    }
}

/// The receiver of the first message, until it has answered.
pub(super) struct Responder(Wiped<HandshakeState>);

impl Responder {
    /// Reads a first message: its sender, and the length of its payload. It may still be a repetition.
    pub(super) fn read(
        own: Own<'_>,
        ephemeral: Secret,
        message: &[u8],
        payload: &mut [u8],
    ) -> Result<(Self, PublicKey, usize), NotGenuine> {
        let mut state = Wiped::new(builder(own, ephemeral)?.build_responder()?);
        let len = state.read_message(message, payload)?;
        let from = state.get_remote_static().ok_or(NotGenuine)?;
        let from = PublicKey(from.try_into().map_err(|_| NotGenuine)?);
        Ok((Self(state), from, len))
    }

    /// Writes the answer.
    pub(super) fn finish(
        mut self,
        payload: &[u8],
        message: &mut [u8],
    ) -> Result<(Pair, usize), NotGenuine> {
        let len = self.0.write_message(payload, message)?;
        Ok((split(&mut self.0, false), len))
    }
}

fn split(state: &mut HandshakeState, initiator: bool) -> Pair {
    let (mut first, mut second) = state.dangerously_get_raw_split();
    let (ours, theirs) = if initiator { (&first, &second) } else { (&second, &first) };
    let pair = Pair { seal: CipherKey::new(ours), open: CipherKey::new(theirs) };
    first.zeroize();
    second.zeroize();
    pair
}

fn builder(own: Own<'_>, ephemeral: Secret) -> Result<Builder<'_>, Error> {
    let suite = Box::new(Suite(ephemeral));
    Builder::with_resolver(PROTOCOL.parse()?, suite)
        .local_private_key(own.secret.bytes())?
        .prologue(own.prologue)?
        .psk(2, own.preshared.bytes())
}

/// The primitives; the secret is what the next ephemeral key is made of.
struct Suite(Secret);

impl CryptoResolver for Suite {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once { secret: self.0.clone(), used: false }))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        let curve = matches!(choice, DHChoice::Curve25519);
        curve.then(|| Box::new(X25519 { secret: Secret::ZERO, public: [0; KEY_LEN] }) as Box<_>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::Blake2s).then(|| Box::new(Blake(Blake2s256::new())) as Box<_>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        let unset = || Box::new(CipherKey::new(&[0; KEY_LEN])) as Box<_>;
        matches!(choice, CipherChoice::ChaChaPoly).then(unset)
    }
}

/// Random bytes for one ephemeral key, and no second time. They stay where they are until they are wiped.
struct Once {
    secret: Secret,
    used: bool,
}

impl Random for Once {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        if std::mem::replace(&mut self.used, true) || dest.len() != KEY_LEN {
            return Err(Error::Rng);
        }
        dest.copy_from_slice(self.secret.bytes());
        Ok(())
    }
}

#[derive(ZeroizeOnDrop)]
struct X25519 {
    secret: Secret,
    public: [u8; KEY_LEN],
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY_LEN
    }

    fn priv_len(&self) -> usize {
        KEY_LEN
    }

    fn set(&mut self, privkey: &[u8]) {
        let mut bytes: [u8; KEY_LEN] = privkey.try_into().expect("the builder was given a key");
        self.secret = Secret::new(bytes);
        bytes.zeroize();
        self.public = self.secret.public().0;
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        rng.try_fill_bytes(&mut *bytes)?;
        self.set(&*bytes);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.secret.bytes()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let point = pubkey.get(..KEY_LEN).and_then(|key| key.try_into().ok()).ok_or(Error::Dh)?;
        let shared = Zeroizing::new(MontgomeryPoint(point).mul_clamped(*self.secret.bytes()).0);
        // RFC 7748, 6.1: a key of low order makes the outcome independent of ours.
        if shared.iter().fold(0, |all, byte| all | byte) == 0 {
            return Err(Error::Dh);
        }
        out[..KEY_LEN].copy_from_slice(&*shared);
        Ok(())
    }
}

struct Blake(Blake2s256);

impl Hash for Blake {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Blake2s256::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(&self.0.finalize_reset());
    }
}

impl Cipher for CipherKey {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; KEY_LEN]) {
        *self = Self::new(key);
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (text, tag) = out.split_at_mut(plaintext.len());
        text.copy_from_slice(plaintext);
        tag[..TAG_LEN].copy_from_slice(&self.seal(nonce, authtext, text));
        plaintext.len() + TAG_LEN
    }

    fn decrypt(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let mut sealed = Zeroizing::new([0; MESSAGE_LEN_MAX]);
        let sealed = sealed.get_mut(..ciphertext.len()).ok_or(Error::Decrypt)?;
        sealed.copy_from_slice(ciphertext);
        let len = self.open(nonce, authtext, sealed).map_err(|_| Error::Decrypt)?;
        out.get_mut(..len).ok_or(Error::Decrypt)?.copy_from_slice(&sealed[..len]);
        Ok(len)
    }
}

#[cfg(test)]
#[path = "tests/noise.rs"]
pub(super) mod tests;
