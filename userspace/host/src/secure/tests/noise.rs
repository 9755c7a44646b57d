use super::*;

const fn wiped_on_drop<T: ZeroizeOnDrop>() {}
const _: () = wiped_on_drop::<CipherKey>();
const _: () = wiped_on_drop::<X25519>();
const _: () = wiped_on_drop::<Wiped<HandshakeState>>();
const _: () = wiped_on_drop::<Wiped<LessSafeKey>>();

/// The vector of this protocol in cacophony's set, which all Noise libraries share (`tests/vectors/cacophony.txt` of
/// `snow` 0.10.0).
const PSK: &str = "54686973206973206d7920417573747269616e20706572737065637469766521";
const INITIATOR: &str = "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1";
const INITIATOR_EPHEMERAL: &str =
    "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a";
const RESPONDER: &str = "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893";
const RESPONDER_PUBLIC: &str = "31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62";
const RESPONDER_EPHEMERAL: &str =
    "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b";
/// Payload and message: the two of the handshake, then data by the initiator, by the responder, and so on.
const MESSAGES: [(&str, &str); 6] = [
    (
        "4c756477696720766f6e204d69736573",
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944001e21de9f98ddd8e2ad57527207feb56253c9c94a9e496\
         782ecfcb2a75fbcaf1b52948cc48daefe660c62119ab5000980c84831215f2441eba616548e832985464cf17e51ee93109008399a21f7e1\
         3f",
    ),
    (
        "4d757272617920526f746862617264",
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843cb765f2caef0751b8f007572dab0322217755c0632f3657\
         17edbf34d33e87a",
    ),
    ("462e20412e20486179656b", "8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7"),
    ("4361726c204d656e676572", "07af0c9c86e1b4e80f36b04ff7688d51141af3debd0332f0a705ef"),
    (
        "4a65616e2d426170746973746520536179",
        "6ab1467c0448cc78394494abaaf23afce0e234315d6e2624dcbfa8a21c1c4d073d",
    ),
    (
        "457567656e2042f6686d20766f6e2042617765726b",
        "dfc346c0d2296ae6cf1acf6f12b8456a1dba228cf8d8b774aacf1c47fc53aa80ebc7a4c292",
    ),
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().collect();
    let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
    pairs.map(|pair| u8::from_str_radix(&pair, 16).unwrap()).collect()
}

fn key(hex: &str) -> [u8; KEY_LEN] {
    bytes(hex).try_into().unwrap()
}

fn secret(hex: &str) -> Secret {
    Secret::new(key(hex))
}

fn own<'a>(secret: &'a Secret, preshared: &'a Secret) -> Own<'a> {
    Own { secret, preshared, prologue: b"John Galt" }
}

#[test]
fn the_handshake_and_what_follows_are_those_of_the_noise_vector() {
    let (psk, a, b) = (secret(PSK), secret(INITIATOR), secret(RESPONDER));
    let to = PublicKey(key(RESPONDER_PUBLIC));
    assert_eq!(b.public(), to);
    let (mut message, mut payload) = ([0; 256], [0; 256]);
    let said = |n: usize| (bytes(MESSAGES[n].0), bytes(MESSAGES[n].1));

    let (hello, wanted) = said(0);
    let ephemeral = secret(INITIATOR_EPHEMERAL);
    let (mut initiator, len) =
        Initiator::new(own(&a, &psk), &to, ephemeral, &hello, &mut message).unwrap();
    assert_eq!(message[..len], wanted);
    let ephemeral = secret(RESPONDER_EPHEMERAL);
    let (responder, from, len) =
        Responder::read(own(&b, &psk), ephemeral, &wanted, &mut payload).unwrap();
    assert_eq!((from, &payload[..len]), (a.public(), &hello[..]));

    let (hello, wanted) = said(1);
    let (b_keys, len) = responder.finish(&hello, &mut message).unwrap();
    assert_eq!(message[..len], wanted);
    let (a_keys, len) = initiator.finish(&wanted, &mut payload).unwrap();
    assert_eq!(payload[..len], hello);

    for n in 2..MESSAGES.len() {
        let (by, to) = if n % 2 == 0 { (&a_keys, &b_keys) } else { (&b_keys, &a_keys) };
        let (text, wanted) = said(n);
        let (mut sealed, nonce) = (text.clone(), n as u64 / 2 - 1);
        let tag = by.seal.seal(nonce, &[], &mut sealed);
        sealed.extend(tag);
        assert_eq!(sealed, wanted, "{n}");
        assert_eq!(to.open.open(nonce, &[], &mut sealed), Ok(text.len()));
        assert_eq!(sealed[..text.len()], text);
    }
}

/// A handshake of two nodes, with a hand in the response and at the preshared keys.
fn handshake(psks: &[Secret; 2], spoil: impl Fn(&mut Vec<u8>)) -> Result<(), NotGenuine> {
    let (a, b) = (secret(INITIATOR), secret(RESPONDER));
    let (mut message, mut payload) = ([0; 256], [0; 256]);
    let (mut initiator, len) =
        Initiator::new(own(&a, &psks[0]), &b.public(), secret(PSK), b"a", &mut message)?;
    let first = message[..len].to_vec();
    let (responder, _, _) =
        Responder::read(own(&b, &psks[1]), secret(PUBLIC_BY_CHANCE), &first, &mut payload)?;
    let (_, len) = responder.finish(b"b", &mut message)?;
    let mut response = message[..len].to_vec();
    spoil(&mut response);
    let spoilt = initiator.finish(&response, &mut payload);
    if response != message[..len] {
        assert_eq!(spoilt.err(), Some(NotGenuine));
        // What was not genuine took nothing away: the right one still works.
        return initiator.finish(&message[..len], &mut payload).map(drop);
    }
    spoilt.map(drop)
}

const PUBLIC_BY_CHANCE: &str = INITIATOR_EPHEMERAL;

#[test]
fn a_response_that_is_not_genuine_does_not_spoil_the_one_that_is() {
    for at in 0..RESPONSE_EXTRA + 1 {
        let spoil = |response: &mut Vec<u8>| response[at] ^= 1;
        assert_eq!(handshake(&[Secret::ZERO, Secret::ZERO], spoil), Ok(()), "byte {at}");
    }
}

#[test]
fn the_preshared_key_counts() {
    assert_eq!(handshake(&[secret(PSK), secret(PSK)], |_| {}), Ok(()));
    assert_eq!(handshake(&[secret(PSK), Secret::ZERO], |_| {}), Err(NotGenuine));
}

#[test]
fn a_key_of_low_order_is_refused() {
    let (a, mut message) = (secret(INITIATOR), [0; 256]);
    for low in [0, 1] {
        let mut point = [0; KEY_LEN];
        point[0] = low;
        let to = PublicKey(point);
        let begun = Initiator::new(own(&a, &Secret::ZERO), &to, secret(PSK), b"", &mut message);
        assert!(begun.is_err(), "{low}");
    }
}

/// A Diffie-Hellman of who has the responder's secret and claims to have another one, whose public key is known.
struct Stolen {
    responder: Secret,
    claimed: PublicKey,
    ephemeral: Option<X25519>,
}

impl Dh for Stolen {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY_LEN
    }

    fn priv_len(&self) -> usize {
        KEY_LEN
    }

    fn set(&mut self, _: &[u8]) {}

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut own = X25519 { secret: Secret::ZERO, public: [0; KEY_LEN] };
        own.generate(rng)?;
        self.ephemeral = Some(own);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        self.ephemeral.as_ref().map_or(&self.claimed.0, |own| &own.public)
    }

    fn privkey(&self) -> &[u8] {
        &[]
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        if let Some(own) = &self.ephemeral {
            return own.dh(pubkey, out);
        }
        // The product of both static keys, from the other side.
        let mut own = X25519 { secret: Secret::ZERO, public: [0; KEY_LEN] };
        own.set(self.responder.bytes());
        own.dh(&self.claimed.0, out)
    }
}

struct StolenSuite(Suite, Secret, PublicKey);

impl CryptoResolver for StolenSuite {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        self.0.resolve_rng()
    }

    fn resolve_dh(&self, _: &DHChoice) -> Option<Box<dyn Dh>> {
        Some(Box::new(Stolen { responder: self.1.clone(), claimed: self.2, ephemeral: None }))
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        self.0.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        self.0.resolve_cipher(choice)
    }
}

/// The first message to the owner of `responder`, made with that secret alone, as if `claimed` had sent it.
pub(in super::super) fn impostor(
    responder: &Secret,
    claimed: &PublicKey,
    preshared: &Secret,
    payload: &[u8],
    message: &mut [u8],
) {
    let suite = StolenSuite(Suite(secret(PSK)), responder.clone(), *claimed);
    let to = responder.public();
    let builder = Builder::with_resolver(PROTOCOL.parse().unwrap(), Box::new(suite));
    let builder = builder.local_private_key(&[0; KEY_LEN]).unwrap().prologue(PROLOGUE).unwrap();
    let builder = builder.psk(2, preshared.bytes()).unwrap();
    let mut state = builder.remote_public_key(&to.0).unwrap().build_initiator().unwrap();
    state.write_message(payload, message).unwrap();
}
