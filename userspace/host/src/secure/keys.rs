//! Keys, and their text: 44 characters of base64 (`replication-v2.md`, R4.1).
//!
//! A secret is wiped when it is dropped, and has no way to be printed but [`Secret::to_text`], which wipes too.

use base64ct::{Base64, Encoding as _};
use blake2::Blake2s256;
use blake2::digest::Digest as _;
use curve25519_dalek::montgomery::MontgomeryPoint;
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of a key of any kind.
pub const KEY_LEN: usize = 32;
/// Characters of a key as text.
pub const TEXT_LEN: usize = 44;

/// Why a text is no key. It never repeats the text, which may be a secret with a slip in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text has another length; how many characters there are.
    #[error("a key has {TEXT_LEN} characters, this has {0}")]
    Length(usize),
    /// The text has the right length, and is not base64 of 32 bytes.
    #[error("this is not the base64 of a key")]
    NotBase64,
}

/// A static secret key, a preshared one, or what is made of them.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; KEY_LEN]);

impl Secret {
    /// What stands for a preshared key where there is none (section 5).
    pub const ZERO: Self = Self([0; KEY_LEN]);

    /// A secret of these bytes, which the caller wipes.
    #[must_use]
    pub const fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Reads a key file's text; white space around it is no part of it.
    ///
    /// # Errors
    /// When it is no key.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut secret = Self([0; KEY_LEN]);
        decode(text, &mut secret.0)?;
        Ok(secret)
    }

    /// As [`Secret::parse`] reads it. The text is wiped when it is dropped.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(Base64::encode_string(&self.0))
    }

    /// The bytes themselves.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// The key under which all nodes that share this secret sum up their flows (R11.2): half of
    /// BLAKE2s("ctflow digest", secret).
    #[must_use]
    pub fn digest_key(&self) -> [u8; 16] {
        let hash = Blake2s256::new().chain_update(b"ctflow digest").chain_update(self.0).finalize();
        *hash.first_chunk().expect("a hash has 32 bytes")
    }

    /// The public key of this secret one (X25519, RFC 7748).
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(MontgomeryPoint::mul_base_clamped(self.0).0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A static public key: who a node is (R4.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; KEY_LEN]);

impl PublicKey {
    /// Reads the text of a public key.
    ///
    /// # Errors
    /// When it is no key.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut key = Self([0; KEY_LEN]);
        decode(text, &mut key.0)?;
        Ok(key)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; TEXT_LEN];
        f.write_str(Base64::encode(&self.0, &mut text).unwrap_or_default())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

fn decode(text: &str, into: &mut [u8; KEY_LEN]) -> Result<(), KeyError> {
    let text = text.trim_ascii();
    let len = text.chars().count();
    if len != TEXT_LEN {
        return Err(KeyError::Length(len));
    }
    // The crate wants room for what the text might say at most.
    let mut bytes = Zeroizing::new([0; TEXT_LEN / 4 * 3]);
    let said = Base64::decode(text, &mut *bytes).map_err(|_| KeyError::NotBase64)?;
    let said: &[u8; KEY_LEN] = said.try_into().map_err(|_| KeyError::NotBase64)?;
    *into = *said;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn wiped_on_drop<T: ZeroizeOnDrop>() {}
    const _: () = wiped_on_drop::<Secret>();
    const _: () = wiped_on_drop::<Zeroizing<String>>();

    /// RFC 7748, section 6.1: Alice's.
    const SECRET: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
    const PUBLIC: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

    #[test]
    fn r4_1_a_secret_key_has_the_public_key_of_rfc_7748_and_both_their_text() {
        let secret = Secret::parse(&format!("{SECRET}\n")).unwrap();
        assert_eq!(secret.public().to_string(), PUBLIC);
        assert_eq!(secret.to_text().as_str(), SECRET);
        assert_eq!(PublicKey::parse(PUBLIC), Ok(secret.public()));
    }

    #[test]
    fn r4_1_no_way_to_print_a_secret_shows_it() {
        let shown = format!("{:?} {:#?}", Secret::ZERO, Secret::parse(SECRET).unwrap());
        assert_eq!(shown, "Secret(..) Secret(..)");
        let wrong = SECRET.replace('d', "!");
        let error = Secret::parse(&wrong).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("NYpX08"), "{error}");
    }

    #[test]
    fn r3_2_what_is_no_key_is_refused_with_its_length() {
        let short = PublicKey::parse(&PUBLIC[..43]).unwrap_err();
        assert_eq!(short.to_string(), "a key has 44 characters, this has 43");
        assert_eq!(PublicKey::parse(""), Err(KeyError::Length(0)));
        // A whole 33 bytes, and bits where the padding is.
        for wrong in [PUBLIC.replace('=', "A"), PUBLIC.replace("mo=", "mp="), "ä".repeat(44)] {
            assert_eq!(PublicKey::parse(&wrong), Err(KeyError::NotBase64), "{wrong}");
        }
    }

    #[test]
    fn wiping_reaches_the_bytes() {
        let mut secret = Secret::parse(SECRET).unwrap();
        secret.zeroize();
        assert_eq!(secret.bytes(), &[0; KEY_LEN]);
    }
}
